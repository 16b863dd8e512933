//! An open wall: reads server-sent events, and times each event that a message shows for the first time.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use http::HeaderValue;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde::Deserialize;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::source::{PARTITIONS, Source, label};
use crate::city::Place;
use crate::connection::open_stream;
use crate::report::Latencies;

const PATH: &str = "/ioc/v1/stream";
/// The most that one message may have, in bytes.
const MAX_MESSAGE: usize = 4 << 20;

/// An open wall.
pub(super) struct Wall {
    shown: Arc<AtomicU64>,
    closing: CancellationToken,
    reading: JoinHandle<anyhow::Result<Latencies>>,
}

/// What a message says of the day, as far as it is looked at.
#[derive(Debug, Deserialize)]
struct Message {
    today: Vec<Tally>,
}

#[derive(Debug, Deserialize)]
struct Tally {
    kind: String,
    outcome: String,
    count: usize,
}

impl Wall {
    /// Opens a wall and waits for its first picture.
    pub(super) async fn open(place: &Place, who: &HeaderValue, source: Arc<Source>) -> anyhow::Result<Self> {
        let mut reader = Reader { body: open_stream(place.address, PATH, who).await?, text: Vec::new() };
        let first = reader.next().await?.context("a wall begins with a picture")?;
        let (shown, closing) = (Arc::<AtomicU64>::default(), CancellationToken::new());
        let mut view = View::new(source, shown.clone());
        view.show(&first)?;
        let ended = closing.clone();
        let reading = tokio::spawn(async move {
            loop {
                let message = tokio::select! {
                    message = reader.next() => message?,
                    () = ended.cancelled() => return Ok(view.latencies),
                };
                if let Some(message) = message {
                    view.show(&message)?;
                }
            }
        });
        Ok(Self { shown, closing, reading })
    }

    /// How many events it shows.
    pub(super) fn shown(&self) -> u64 {
        self.shown.load(Ordering::Relaxed)
    }

    /// Closes it; gives how long events took to it.
    pub(super) async fn close(self) -> anyhow::Result<Latencies> {
        self.closing.cancel();
        self.reading.await?
    }
}

/// Takes messages out of a stream.
struct Reader {
    body: Incoming,
    text: Vec<u8>,
}

impl Reader {
    /// The next message; `None` for one that says nothing of the day.
    async fn next(&mut self) -> anyhow::Result<Option<Message>> {
        loop {
            if let Some(end) = self.text.windows(2).position(|pair| pair == b"\n\n") {
                let message: Vec<u8> = self.text.drain(..end + 2).collect();
                return parse(std::str::from_utf8(&message)?);
            }
            ensure!(self.text.len() < MAX_MESSAGE, "a message is too long");
            let Some(frame) = self.body.frame().await else { bail!("the stream ended") };
            if let Ok(data) = frame?.into_data() {
                self.text.extend_from_slice(&data);
            }
        }
    }
}

fn parse(message: &str) -> anyhow::Result<Option<Message>> {
    let field = |name: &str| message.lines().find_map(|line| line.strip_prefix(name)).map(str::trim_start);
    match (field("event:"), field("data:")) {
        (Some("snapshot" | "delta"), Some(data)) => Ok(Some(serde_json::from_str(data)?)),
        _ => Ok(None),
    }
}

/// What a wall has shown of each partition.
struct View {
    source: Arc<Source>,
    partitions: HashMap<(String, String), usize>,
    seen: [usize; PARTITIONS],
    shown: Arc<AtomicU64>,
    latencies: Latencies,
}

impl View {
    fn new(source: Arc<Source>, shown: Arc<AtomicU64>) -> Self {
        let partitions = (0..PARTITIONS).map(|partition| {
            let (kind, outcome) = label(partition);
            ((kind, outcome.to_owned()), partition)
        });
        Self { source, partitions: partitions.collect(), seen: [0; PARTITIONS], shown, latencies: Latencies::new() }
    }

    /// Times the events that a message shows for the first time.
    fn show(&mut self, message: &Message) -> anyhow::Result<()> {
        let now = Instant::now();
        for tally in &message.today {
            let label = (tally.kind.clone(), tally.outcome.clone());
            let Some(partition) = self.partitions.get(&label) else { continue };
            let seen = self.seen[*partition];
            ensure!(tally.count >= seen, "a count went down");
            let sent = self.source.times(*partition, seen..tally.count).context("events that nobody sent here")?;
            sent.into_iter().for_each(|sent| self.latencies.add(now - sent));
            self.seen[*partition] = tally.count;
            self.shown.fetch_add((tally.count - seen) as u64, Ordering::Relaxed);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_message_is_read_and_a_pulse_is_not() {
        let delta = "event: delta\nid: a.1\ndata: {\"today\":[{\"kind\":\"x\",\"outcome\":\"y\",\"count\":3}]}\n\n";
        let message = parse(delta).expect("its form").expect("a change of the day");
        assert_eq!((message.today[0].kind.as_str(), message.today[0].count), ("x", 3));
        assert!(parse("event: pulse\ndata: {}\n\n").expect("its form").is_none());
        assert!(parse(": comment\n\n").expect("its form").is_none());
    }
}

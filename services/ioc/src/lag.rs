//! How far the figures trail the streams that they are counted from.
//!
//! A look notes the newest entry of each partition. Once the centre's consumers have taken all of those in, the figures are known to include
//! whatever the stream had at that look. What can't be looked at, because Redis or the database is away, is not known and grows old like the
//! rest: so nothing here ever says that figures are fresh because nobody could tell.
//!
//! Limits: a look takes at most [`TIMEOUT`] a stream; locks nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use platform::clock::Clock;
use platform::events::{PARTITIONS, stream_key};
use platform::metrics::Metrics;
use platform::redis::RedisLink;
use platform::service::Context;
use platform::task::Shutdown;
use prometheus::IntGaugeVec;
use redis::streams::{StreamInfoGroupsReply, StreamInfoStreamReply, StreamPendingReply};
use sqlx::PgPool;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, timeout};
use tracing::debug;

use crate::overview::StreamLag;
use crate::{SCHEMA, sql};

/// How often the streams are looked at.
const INTERVAL: Duration = Duration::from_secs(2);
/// The longest look at one stream, and at the database.
const TIMEOUT: Duration = Duration::from_secs(2);

type Positions = [i64; PARTITIONS];

/// Up to which moment each stream is known to be included.
#[derive(Clone, Debug)]
pub(crate) struct Fresh(BTreeMap<&'static str, DateTime<Utc>>);

impl Fresh {
    /// How old that is now.
    pub(crate) fn at(&self, now: DateTime<Utc>) -> Vec<StreamLag> {
        let behind = |fresh: &DateTime<Utc>| (now - *fresh).num_seconds().max(0);
        self.0
            .iter()
            .map(|(name, fresh)| StreamLag { stream: (*name).to_owned(), behind_seconds: behind(fresh) })
            .collect()
    }
}

/// The task that looks.
pub(crate) struct Lookout {
    pool: PgPool,
    redis: RedisLink,
    clock: Clock,
    streams: BTreeMap<&'static str, Progress>,
    fresh: watch::Sender<Fresh>,
    behind: IntGaugeVec,
}

/// What is waited for of one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Progress(Option<(DateTime<Utc>, Positions)>);

/// One stream at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Look {
    newest: Positions,
    /// Up to where every entry has had its effect.
    taken: Positions,
}

impl Progress {
    /// Until when the stream is known to be included after another look; `None` when that is not later than before.
    fn advance(&mut self, now: DateTime<Utc>, look: &Look) -> Option<DateTime<Utc>> {
        let has = |wanted: &Positions| wanted.iter().zip(&look.taken).all(|(wanted, taken)| wanted <= taken);
        if has(&look.newest) {
            self.0 = None;
            return Some(now);
        }
        let reached = self.0.as_ref().filter(|(_, wanted)| has(wanted)).map(|(at, _)| *at);
        if reached.is_some() || self.0.is_none() {
            self.0 = Some((now, look.newest));
        }
        reached
    }
}

impl Lookout {
    pub(crate) fn new(context: &Context, metrics: &Metrics, streams: impl IntoIterator<Item = &'static str>) -> Self {
        let streams: BTreeMap<&'static str, Progress> =
            streams.into_iter().map(|stream| (stream, Progress::default())).collect();
        let began = context.clock.now();
        Self {
            pool: context.pool.clone(),
            redis: context.redis.clone(),
            clock: context.clock.clone(),
            fresh: watch::Sender::new(Fresh(streams.keys().map(|stream| (*stream, began)).collect())),
            streams,
            behind: metrics.gauge(
                "stream_behind_seconds",
                "For how long something that a stream had has not been counted here, or could not be asked for.",
                &["stream"],
            ),
        }
    }

    /// Where the newest result is seen.
    pub(crate) fn watch(&self) -> watch::Receiver<Fresh> {
        self.fresh.subscribe()
    }

    /// Looks until shutdown.
    pub(crate) async fn run(mut self, shutdown: Shutdown) {
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let looked = async {
                ticks.tick().await;
                self.look().await;
            };
            tokio::select! {
                () = looked => {}
                () = shutdown.cancelled() => return,
            }
            for lag in self.fresh.borrow().at(self.clock.now()) {
                self.behind.with_label_values(&[&lag.stream]).set(lag.behind_seconds);
            }
        }
    }

    async fn look(&mut self) {
        let now = self.clock.now();
        // Figures that can't be read are not those of now, whatever was counted.
        let read = timeout(TIMEOUT, async { sql::head(&mut *self.pool.acquire().await?).await }).await;
        if !matches!(read, Ok(Ok(_))) {
            debug!("the board can't be read: its figures grow old");
            return;
        }
        for (stream, progress) in &mut self.streams {
            match timeout(TIMEOUT, ask(&self.redis, stream)).await {
                Ok(Ok(look)) => {
                    if let Some(at) = progress.advance(now, &look) {
                        self.fresh.send_modify(|fresh| {
                            fresh.0.insert(stream, at);
                        });
                    }
                }
                Ok(Err(error)) => debug!(stream, %error, "a stream can't be looked at: its figures grow old"),
                Err(_) => debug!(stream, "a stream was not looked at in time: its figures grow old"),
            }
        }
    }
}

/// The newest entry of each partition, and then how far the centre's group has come.
async fn ask(redis: &RedisLink, stream: &str) -> Result<Look, redis::RedisError> {
    let mut pipe = redis::pipe();
    for partition in 0..PARTITIONS {
        let key = stream_key(stream, partition);
        pipe.cmd("XINFO").arg("STREAM").arg(&key);
        pipe.cmd("XINFO").arg("GROUPS").arg(&key);
        pipe.cmd("XPENDING").arg(&key).arg(SCHEMA.name());
    }
    let answers: Vec<redis::Value> = pipe.query_async(&mut redis.manager()?).await?;
    let mut look = Look { newest: [0; PARTITIONS], taken: [0; PARTITIONS] };
    let mut answers = answers.into_iter();
    for (newest, taken) in look.newest.iter_mut().zip(&mut look.taken) {
        let mut next = || answers.next().unwrap_or_default();
        let known: StreamInfoStreamReply = redis::from_redis_value(next())?;
        let groups: StreamInfoGroupsReply = redis::from_redis_value(next())?;
        let pending: StreamPendingReply = redis::from_redis_value(next())?;
        // Not the last id ever given: what was trimmed before a new group came is missing nowhere.
        *newest = if known.length == 0 { 0 } else { position(&known.last_entry.id) };
        let delivered = groups.groups.iter().find(|group| group.name == SCHEMA.name());
        let delivered = delivered.map_or(0, |group| position(&group.last_delivered_id));
        *taken = match pending {
            StreamPendingReply::Data(pending) => delivered.min(position(&pending.start_id) - 1),
            // Nothing is pending.
            _ => delivered,
        };
    }
    Ok(look)
}

/// An entry's id begins with its position.
fn position(id: &str) -> i64 {
    id.split('-').next().and_then(|position| position.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn look(newest: i64, taken: i64) -> Look {
        let mut look = Look { newest: [0; PARTITIONS], taken: [0; PARTITIONS] };
        (look.newest[3], look.taken[3]) = (newest, taken);
        look
    }

    #[test]
    fn figures_are_as_fresh_as_the_last_look_whose_entries_are_all_in() {
        let at = |seconds: i64| DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds);
        let mut progress = Progress::default();
        assert_eq!(progress.advance(at(0), &look(0, 0)), Some(at(0)), "an empty stream is all in");
        assert_eq!(progress.advance(at(2), &look(5, 3)), None);
        assert_eq!(progress.advance(at(4), &look(9, 4)), None, "still waits for what was there at 2");
        assert_eq!(progress.advance(at(6), &look(12, 7)), Some(at(2)), "busy, and no more than that behind");
        assert_eq!(progress.advance(at(8), &look(14, 11)), None);
        assert_eq!(progress.advance(at(10), &look(14, 14)), Some(at(10)));
        let fresh = Fresh(BTreeMap::from([("wallet", at(10))]));
        assert_eq!(fresh.at(at(75))[0].behind_seconds, 65);
    }
}

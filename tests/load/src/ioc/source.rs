//! The events, and when each was sent.
//!
//! Events of one partition are consumed in order, those of different ones are not. So each partition has a label of its own on the wall:
//! when its count is `n`, the first `n` events of the partition are shown, and no others.

use std::sync::RwLock;
use std::time::{Duration, Instant};

use chrono::Utc;
use platform::db::Schema;
use platform::events::Event;
use platform::outbox::{self, NewEvent};
use proto::notifications::v1::MessageSettled;
use sqlx::PgPool;
use uuid::Uuid;

/// Whose outbox the events are written into.
const NOTIFICATIONS: Schema = Schema::new("notifications");
/// Partitions of a stream.
pub(super) const PARTITIONS: usize = 16;
/// How messages of a channel end: four channels by four outcomes are a label for each partition.
const CHANNELS: [&str; 4] = ["in-app", "push", "sms", "email"];
const OUTCOMES: [&str; 4] = ["delivered", "failed", "suppressed", "other"];
/// What the operations centre counts under these labels.
pub(super) const COUNTED: &str = "
    SELECT coalesce(sum(count), 0)::bigint FROM ioc.day_tally WHERE kind LIKE 'message-%'";
/// Transactions a second; each writes the events that are due.
const TRANSACTIONS: u32 = 200;

/// Writes the events.
pub(super) struct Source {
    /// A subject of each partition.
    subjects: Vec<Uuid>,
    /// When each event of each partition was sent, in order.
    sent: Vec<RwLock<Vec<Instant>>>,
}

/// What events of a partition count as: kind and outcome of its tally.
pub(super) fn label(partition: usize) -> (String, &'static str) {
    (format!("message-{}", CHANNELS[partition / OUTCOMES.len()]), OUTCOMES[partition % OUTCOMES.len()])
}

impl Source {
    pub(super) fn new() -> Self {
        let subject = |partition| loop {
            let subject = Uuid::new_v4();
            if partition_of(subject) == partition {
                return subject;
            }
        };
        Self {
            subjects: (0..PARTITIONS).map(subject).collect(),
            sent: (0..PARTITIONS).map(|_| RwLock::default()).collect(),
        }
    }

    /// Sends at a pace that nothing slows down; gives how long it took.
    pub(super) async fn send(&self, admin: &PgPool, rate: u32, seconds: f64) -> anyhow::Result<f64> {
        let (began, wanted) = (Instant::now(), (f64::from(rate) * seconds) as u64);
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / TRANSACTIONS);
        let mut sent = 0;
        while sent < wanted {
            ticks.tick().await;
            let due = ((began.elapsed().as_secs_f64() * f64::from(rate)) as u64).min(wanted);
            self.commit(admin, sent..due).await?;
            sent = due;
        }
        Ok(began.elapsed().as_secs_f64())
    }

    /// Writes the events that are due, in one transaction. Their time counts from when they were due, so from before it.
    async fn commit(&self, admin: &PgPool, due: std::ops::Range<u64>) -> anyhow::Result<()> {
        if due.is_empty() {
            return Ok(());
        }
        let partitions: Vec<usize> = due.map(|number| usize::try_from(number).unwrap_or(0) % PARTITIONS).collect();
        let now = Instant::now();
        for partition in &partitions {
            self.sent[*partition].write().expect("nobody panics while holding it").push(now);
        }
        let events: Vec<NewEvent> = partitions.iter().map(|partition| self.event(*partition)).collect();
        let mut tx = platform::db::begin(admin).await?;
        outbox::append(&mut tx, NOTIFICATIONS, Utc::now(), &events).await?;
        tx.commit().await?;
        Ok(())
    }

    fn event(&self, partition: usize) -> NewEvent {
        let message = MessageSettled {
            message_id: Uuid::now_v7().to_string(),
            lane: "news".to_owned(),
            channel: CHANNELS[partition / OUTCOMES.len()].to_owned(),
            outcome: OUTCOMES[partition % OUTCOMES.len()].to_owned(),
        };
        NewEvent::new(self.subjects[partition], &message)
    }

    /// How many events were sent.
    pub(super) fn sent(&self) -> u64 {
        self.sent.iter().map(|sent| sent.read().expect("nobody panics while holding it").len() as u64).sum()
    }

    /// When these events of a partition were sent; `None` when they were not sent from here.
    pub(super) fn times(&self, partition: usize, events: std::ops::Range<usize>) -> Option<Vec<Instant>> {
        Some(self.sent[partition].read().expect("nobody panics while holding it").get(events)?.to_vec())
    }
}

/// Where a subject's events go.
fn partition_of(subject: Uuid) -> usize {
    let event = Event {
        id: Uuid::nil(),
        source: String::new(),
        position: 0,
        kind: String::new(),
        subject,
        time: Utc::now(),
        traceparent: None,
        data: bytes::Bytes::new(),
    };
    event.partition()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{PARTITIONS, Source, label, partition_of};

    #[test]
    fn each_partition_has_a_label_and_a_subject_of_its_own() {
        assert_eq!((0..PARTITIONS).map(label).collect::<BTreeSet<_>>().len(), PARTITIONS);
        let source = Source::new();
        let partitions: Vec<usize> = source.subjects.iter().map(|subject| partition_of(*subject)).collect();
        assert_eq!(partitions, (0..PARTITIONS).collect::<Vec<_>>());
    }
}

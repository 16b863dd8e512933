//! Events from Redis Streams into a transaction, exactly once in effect and in order per subject.
//!
//! A stream has 16 partitions; a subject's events are all in one of them. Over all replicas of a service each partition
//! has one consumer at a time, by a lease with a fencing token in the service's own schema (see `lease`).
//!
//! One effect, in order: begin → check the leases under their rows' lock → record the event ids that are new →
//! [`Handler::handle`] → commit → acknowledge in Redis. A crash anywhere repeats the delivery and the recorded ids make
//! the repetition empty; a consumer that lost its lease can't commit.
//!
//! | module | what it holds |
//! | --- | --- |
//! | `consumer` | the loop: leases, reading, rounds of work (`consumer::round`) |
//! | `lane` | what one partition has read and not yet finished; which subjects wait for a retry. Pure |
//! | `effect` | the transaction |
//! | `dead` | events given up on, their list and their redrive |
//! | `group` | the Redis side: groups, reads, acknowledgements |
//!
//! Invariants:
//! - An event is handled only after all earlier events of its subject in the stream are consumed or dead.
//! - While Redis is away nothing is lost and nothing else waits; when it was wiped, consumers make their groups again
//!   and the relay adds what is missing.

mod consumer;
mod dead;
mod effect;
mod group;
mod lane;

use std::future::Future;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use prost::{DecodeError, Message, Name};
use sqlx::PgConnection;
use uuid::Uuid;

pub use self::consumer::{Consumer, ConsumerSettings};
pub use self::dead::{DeadEvent, MAX_LISTED, dead_events, redrive, redrive_all};
pub(crate) use self::group::read_entries;
use crate::trace::{self, TraceContext};

/// How many partitions a stream has. Part of what is stored: never changes.
pub const PARTITIONS: usize = 16;

/// One position per partition.
pub(crate) type PerPartition = [i64; PARTITIONS];

/// An event as it was received, with the attributes of CloudEvents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Unique; the same in each delivery.
    pub id: Uuid,
    /// The stream it comes from.
    pub source: String,
    /// Where it stands in its stream; grows within a subject.
    pub position: i64,
    /// The payload's full protobuf name (CloudEvents `type`).
    pub kind: String,
    /// Whom or what it is about.
    pub subject: Uuid,
    /// When it occurred.
    pub time: DateTime<Utc>,
    /// The trace that caused it.
    pub traceparent: Option<String>,
    /// The protobuf payload.
    pub data: Bytes,
}

impl Event {
    /// The payload as `M`; `None` if the event is of another kind.
    pub fn decode<M: Message + Name + Default>(&self) -> Option<Result<M, DecodeError>> {
        (self.kind == M::full_name()).then(|| M::decode(self.data.clone()))
    }

    /// Runs `work` in the trace that caused this event, so that calls and events of `work` carry it on.
    ///
    /// A batch whose events share one trace is handled inside it already.
    pub async fn in_trace<F: Future>(&self, work: F) -> F::Output {
        match self.traceparent.as_deref().and_then(TraceContext::parse) {
            Some(context) => trace::scope(context, work).await,
            None => work.await,
        }
    }

    /// The partition that the event's subject belongs to, below [`PARTITIONS`].
    pub fn partition(&self) -> usize {
        partition_of(self.subject)
    }
}

/// What a consumer does with events.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Brings about the effect of `events` inside `transaction`, which also records that they were consumed.
    ///
    /// Events come in order, several at once, none twice. An error undoes all of it; the events are then handed over
    /// in smaller batches until the faulty one is alone. Kinds that don't concern the service are skipped silently.
    /// Outside parties are not called from here (schedule a job instead): the leases' rows are locked meanwhile.
    async fn handle(&self, transaction: &mut PgConnection, events: &[Event]) -> Result<(), HandleError>;
}

/// Why events could not be handled.
#[derive(Debug, thiserror::Error)]
pub enum HandleError {
    /// It may work later: the event is tried again, with growing pauses, up to [`Patience::attempts`](crate::retry::Patience::attempts) times.
    #[error("{0}")]
    Retry(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It will never work: the event goes to the dead letters at once.
    #[error("{0}")]
    Poison(String),
}

impl HandleError {
    /// An error that may pass.
    pub fn retry(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Retry(source.into())
    }

    /// An error that stays; `reason` is shown to operators and must name no person.
    pub fn poison(reason: impl Into<String>) -> Self {
        Self::Poison(reason.into())
    }
}

impl From<sqlx::Error> for HandleError {
    fn from(source: sqlx::Error) -> Self {
        Self::retry(source)
    }
}

impl From<DecodeError> for HandleError {
    fn from(source: DecodeError) -> Self {
        Self::Poison(format!("the payload is malformed: {source}"))
    }
}

/// The partition of a subject: FNV-1a over its bytes, folded. Part of what is stored: never changes.
pub(crate) fn partition_of(subject: Uuid) -> usize {
    let hash = subject
        .as_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    let folded = hash ^ (hash >> 32);
    usize::try_from(folded % PARTITIONS as u64).expect("smaller than the number of partitions")
}

/// The key of one partition of a stream in Redis; all keys of a stream share one hash tag.
pub fn stream_key(stream: &str, partition: usize) -> String {
    format!("trangtien:{{{stream}}}:{partition}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_never_change_and_are_even() {
        assert_eq!(partition_of(Uuid::nil()), partition_of(Uuid::nil()));
        assert_eq!(
            [1_u128, 2, 3, 0x0192_f0c1_2233_7000_8000_0000_0000_0001].map(|id| partition_of(Uuid::from_u128(id))),
            [11, 6, 5, 8]
        );
        let mut counts = [0_usize; PARTITIONS];
        for _ in 0..16_000 {
            counts[partition_of(crate::id::new())] += 1;
        }
        assert!(counts.iter().all(|count| (800..1_200).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_payload_is_decoded_by_its_kind_only() {
        let message = prost_types::Duration::default();
        let event = Event {
            id: crate::id::new(),
            source: "wallet".to_owned(),
            position: 1,
            kind: prost_types::Duration::full_name(),
            subject: crate::id::new(),
            time: Utc::now(),
            traceparent: None,
            data: message.encode_to_vec().into(),
        };
        assert!(matches!(event.decode::<prost_types::Duration>(), Some(Ok(_))));
        let foreign = Event { kind: "trangtien.other.v1.Thing".to_owned(), ..event.clone() };
        assert!(foreign.decode::<prost_types::Duration>().is_none());
        let broken = Event { data: Bytes::from_static(&[0xff]), ..event };
        assert!(matches!(broken.decode::<prost_types::Duration>(), Some(Err(_))));
    }
}

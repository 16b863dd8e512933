//! Events out of a transaction and into Redis Streams, in order.
//!
//! [`append`] writes events in the transaction that causes them, without a position: nobody who writes waits for the commit of another.
//! The relay gives positions to what is committed, before it reads. Positions are given one transaction after the other, under the lock
//! of `outbox_head`: whoever has read up to a position has missed nothing below it.
//! Events keep the order in which they were written wherever that order says something: within a transaction, and between transactions of
//! which the later one saw the earlier. So append after taking the locks that order what the events tell of.
//! A statement that writes more than events calls the same function of the schema, `append_events`, with [`EventColumns`].
//!
//! A [`Relay`] moves a [`Source`] (this outbox by [`TableSource`], or a journal that is its own outbox) to the 16
//! partitions of a stream. `LISTEN`/`NOTIFY` wakes it; a slow poll finds what a lost notification would have told.
//! Transactions that notify are committed one after the other in the whole database, and each wakes every listener of it.
//! So they notify only while the stream's relay says in `outbox_cursor` that it sleeps. It says so while nobody appends (they share a lock,
//! which it takes for itself), and reads once more before it sleeps.
//!
//! | step | round trips |
//! | --- | --- |
//! | append n events | 1 to PostgreSQL, or a part of one |
//! | move up to 500 entries | 2 to PostgreSQL (number, read), 1 to Redis (one script); the cursor is saved at most once a second |
//!
//! Invariants:
//! - A partition of a stream holds a gap-free run of the source's entries in order, whatever relays, PostgreSQL or Redis do:
//!   the script adds a batch only if the partition already holds everything before it (see `stream`).
//! - Redis holds nothing that can't be built again from the source and the cursor (see `cursor`).
//! - Nothing waits for Redis: while it is away, events wait in PostgreSQL and count as lag.

mod cursor;
mod relay;
mod rest;
mod stream;

use std::error::Error;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use prost::{Message, Name};
use sqlx::{AssertSqlSafe, PgConnection, PgPool};
use uuid::Uuid;

pub use self::cursor::forget_reader;
pub use self::relay::{Relay, RelaySettings};
use crate::db::Schema;

/// The most bytes that an event's payload may have; the table refuses more.
pub const MAX_DATA: usize = 65_536;
/// The most events written by one statement; a longer list takes several.
const APPEND_BATCH: usize = 1_000;

/// An event that a transaction causes.
#[derive(Clone, Debug)]
pub struct NewEvent {
    id: Uuid,
    stream: Option<&'static str>,
    kind: String,
    subject: Uuid,
    traceparent: Option<String>,
    data: Vec<u8>,
}

impl NewEvent {
    /// An event about `subject`; its kind is the message's full protobuf name.
    ///
    /// Events of one subject are consumed in order. The event carries the current trace on.
    pub fn new<M: Message + Name>(subject: Uuid, message: &M) -> Self {
        Self {
            id: crate::id::new(),
            stream: None,
            kind: M::full_name(),
            subject,
            traceparent: crate::trace::current_traceparent(),
            data: message.encode_to_vec(),
        }
    }

    /// Sends the event on a stream other than the service's main one (which has the schema's name).
    #[must_use]
    pub fn stream(mut self, stream: &'static str) -> Self {
        self.stream = Some(stream);
        self
    }

    /// The event's id.
    pub fn id(&self) -> Uuid {
        self.id
    }
}

/// Writes events to the outbox in the transaction that causes them, in the order given.
///
/// `now` is the time of the occurrence. Relays hear of the events when the transaction commits.
///
/// # Errors
/// What the database answered; a payload longer than [`MAX_DATA`] violates `outbox_data_is_small`.
pub async fn append(
    connection: &mut PgConnection,
    schema: Schema,
    now: DateTime<Utc>,
    events: &[NewEvent],
) -> Result<(), sqlx::Error> {
    let sql = schema.sql(APPEND);
    for batch in events.chunks(APPEND_BATCH) {
        let columns = EventColumns::of(schema, batch);
        sqlx::query(AssertSqlSafe(sql.clone()))
            .bind(columns.streams)
            .bind(columns.ids)
            .bind(columns.kinds)
            .bind(columns.subjects)
            .bind(columns.traces)
            .bind(columns.data)
            .bind(vec![now; batch.len()])
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// Events as the arguments of a schema's function `append_events`, in their order, for a statement that writes more than events.
///
/// Such a statement calls it last, with at least one event, and gives the time of each occurrence.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "they are named like the arguments")]
pub struct EventColumns<'a> {
    pub streams: Vec<&'a str>,
    pub ids: Vec<Uuid>,
    pub kinds: Vec<&'a str>,
    pub subjects: Vec<Uuid>,
    pub traces: Vec<Option<&'a str>>,
    pub data: Vec<&'a [u8]>,
}

impl<'a> EventColumns<'a> {
    /// The columns of events of a schema.
    pub fn of(schema: Schema, events: impl IntoIterator<Item = &'a NewEvent>) -> Self {
        let mut columns = Self::default();
        for event in events {
            columns.streams.push(event.stream.unwrap_or(schema.name()));
            columns.ids.push(event.id);
            columns.kinds.push(&event.kind);
            columns.subjects.push(event.subject);
            columns.traces.push(event.traceparent.as_deref());
            columns.data.push(&event.data);
        }
        columns
    }
}

/// The `NOTIFY` channel of a schema's outbox.
pub fn channel(schema: Schema) -> String {
    format!("{schema}_outbox")
}

/// One entry of a [`Source`], ready for its stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it stands in the source; positive.
    pub position: i64,
    /// The event's id, the same each time the entry is read.
    pub id: Uuid,
    /// The payload's full protobuf name.
    pub kind: String,
    /// Whom or what it is about; decides the partition.
    pub subject: Uuid,
    /// When it occurred.
    pub time: DateTime<Utc>,
    /// The trace that caused it.
    pub traceparent: Option<String>,
    /// The protobuf payload.
    pub data: Bytes,
}

/// What waits in a source behind a position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// How many entries (a source may stop counting at some large number).
    pub rows: i64,
    /// When the oldest of them occurred.
    pub oldest: Option<DateTime<Utc>>,
}

/// Why a source could not be read.
pub type SourceError = Box<dyn Error + Send + Sync>;

/// An ordered, append-only list of entries that a relay can read.
///
/// An entry that becomes visible later must have a higher position than all that were visible before it, and an entry
/// never changes; the relay can't find out if that is broken.
#[async_trait]
pub trait Source: Send + Sync + 'static {
    /// The `NOTIFY` channel that tells of new entries.
    fn channel(&self) -> String;

    /// The next entries after a position in ascending order, at most `limit`; none only if there are none at all.
    async fn read(&self, after: i64, limit: i64) -> Result<Vec<Entry>, SourceError>;

    /// Asks that entries be told on the channel; `false` when one is being written just now, so that it is worth looking again soon.
    ///
    /// Whoever asked reads once more before sleeping. A source that tells of every entry has nothing to do.
    async fn rest(&self) -> Result<bool, SourceError> {
        Ok(true)
    }

    /// Entries need not be told any more: somebody looks by themself.
    async fn wake(&self) -> Result<(), SourceError> {
        Ok(())
    }

    /// What is to be done for another relay that moves the entries, and may be of an earlier version: every now and then, while this one waits.
    async fn stand_by(&self) -> Result<(), SourceError> {
        Ok(())
    }

    /// What waits after a position.
    async fn backlog(&self, after: i64) -> Result<Backlog, SourceError>;

    /// A position such that it and everything below it was recorded before a machine time; 0 if nothing was.
    async fn position_before(&self, time: DateTime<Utc>) -> Result<i64, SourceError>;

    /// Removes entries at or below a position, at most a batch, and says how many. A source that keeps all removes none.
    async fn prune(&self, through: i64) -> Result<u64, SourceError> {
        let _ = through;
        Ok(0)
    }
}

/// The outbox table of a schema as a source of one stream.
#[derive(Clone, Debug)]
pub struct TableSource {
    pool: PgPool,
    schema: Schema,
    stream: &'static str,
}

/// Counting what waits stops here, so that a long outage doesn't make the count itself a burden.
const BACKLOG_MAX: i64 = 100_000;
/// The most rows that one pruning statement removes.
const PRUNE_BATCH: i64 = 5_000;
/// The most events, of all streams together, that are given positions at once.
const NUMBERED_AT_ONCE: i64 = 1_000;

impl TableSource {
    /// The entries that `schema` appends for `stream`.
    pub fn new(pool: PgPool, schema: Schema, stream: &'static str) -> Self {
        Self { pool, schema, stream }
    }

    /// Gives positions to what is committed. By itself: what is read then has a position that is committed.
    async fn number(&self) -> Result<(), sqlx::Error> {
        let number = self.schema.sql(NUMBER);
        let mut numbered = NUMBERED_AT_ONCE;
        while numbered == NUMBERED_AT_ONCE {
            let query = sqlx::query_scalar(AssertSqlSafe(number.clone())).bind(NUMBERED_AT_ONCE);
            numbered = query.fetch_one(&self.pool).await?;
        }
        Ok(())
    }
}

type EntryRow = (i64, Uuid, String, Uuid, DateTime<Utc>, Option<String>, Vec<u8>);

#[async_trait]
impl Source for TableSource {
    fn channel(&self) -> String {
        channel(self.schema)
    }

    async fn read(&self, after: i64, limit: i64) -> Result<Vec<Entry>, SourceError> {
        self.number().await?;
        let rows: Vec<EntryRow> = sqlx::query_as(AssertSqlSafe(self.schema.sql(READ)))
            .bind(self.stream)
            .bind(after)
            .bind(limit)
            .fetch_all(&self.pool)
            .await?;
        let entry = |(position, id, kind, subject, time, traceparent, data): EntryRow| Entry {
            position,
            id,
            kind,
            subject,
            time,
            traceparent,
            data: data.into(),
        };
        Ok(rows.into_iter().map(entry).collect())
    }

    async fn rest(&self) -> Result<bool, SourceError> {
        Ok(sqlx::query_scalar(AssertSqlSafe(self.schema.sql(REST))).bind(self.stream).fetch_one(&self.pool).await?)
    }

    async fn wake(&self) -> Result<(), SourceError> {
        sqlx::query(AssertSqlSafe(self.schema.sql(WAKE))).bind(self.stream).execute(&self.pool).await?;
        Ok(())
    }

    /// A relay from before events were numbered by it sees only those that have a position.
    async fn stand_by(&self) -> Result<(), SourceError> {
        Ok(self.number().await?)
    }

    async fn backlog(&self, after: i64) -> Result<Backlog, SourceError> {
        let (rows, oldest) = sqlx::query_as(AssertSqlSafe(self.schema.sql(BACKLOG)))
            .bind(self.stream)
            .bind(after)
            .bind(BACKLOG_MAX)
            .fetch_one(&self.pool)
            .await?;
        Ok(Backlog { rows, oldest })
    }

    async fn position_before(&self, time: DateTime<Utc>) -> Result<i64, SourceError> {
        let position = sqlx::query_scalar(AssertSqlSafe(self.schema.sql(POSITION_BEFORE)))
            .bind(self.stream)
            .bind(time)
            .fetch_one(&self.pool)
            .await?;
        Ok(position)
    }

    async fn prune(&self, through: i64) -> Result<u64, SourceError> {
        let removed = sqlx::query(AssertSqlSafe(self.schema.sql(PRUNE)))
            .bind(self.stream)
            .bind(through)
            .bind(PRUNE_BATCH)
            .execute(&self.pool)
            .await?;
        Ok(removed.rows_affected())
    }
}

// Every statement on outbox, beside the schema's functions `append_events`, `number_event` and `rest_relay`.

const APPEND: &str = "SELECT {schema}.append_events($1, $2, $3, $4, $5, $6, $7)";

const NUMBER: &str = "SELECT {schema}.number_event($1)";

const REST: &str = "SELECT {schema}.rest_relay($1)";

const WAKE: &str = "UPDATE {schema}.outbox_cursor SET asleep = false WHERE stream = $1 AND asleep";

const READ: &str = "
    SELECT position, event_id, kind, subject, occurred_at, traceparent, data
    FROM {schema}.outbox WHERE stream = $1 AND position > $2 ORDER BY position LIMIT $3";

const BACKLOG: &str = "
    SELECT count(*), min(waiting.occurred_at)
    FROM ((SELECT occurred_at FROM {schema}.outbox WHERE stream = $1 AND position > $2 ORDER BY position LIMIT $3)
        UNION ALL
        (SELECT occurred_at FROM {schema}.outbox WHERE stream = $1 AND position IS NULL ORDER BY arrival LIMIT $3)) AS waiting";

// Old rows are removed all the time, so the first young one is found within a few steps of the primary key.
const POSITION_BEFORE: &str = "
    SELECT coalesce(
        (SELECT position - 1 FROM {schema}.outbox WHERE stream = $1 AND recorded_at >= $2 ORDER BY position LIMIT 1),
        (SELECT max(position) FROM {schema}.outbox WHERE stream = $1),
        0)";

const PRUNE: &str = "
    DELETE FROM {schema}.outbox WHERE stream = $1 AND position = ANY (ARRAY(
        SELECT position FROM {schema}.outbox WHERE stream = $1 AND position <= $2 ORDER BY position LIMIT $3))";

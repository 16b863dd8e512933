//! Events that a consumer gave up on: how they get here, how operators list them, how they are tried again.
//!
//! A dead event is recorded as consumed too, so that later events of its subject go on. A redrive marks the row; the
//! holder of the partition's lease handles it and removes the row in one transaction. It then comes after later events
//! of its subject, which a handler has to expect of a redriven event.

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, FromRow, PgConnection, PgPool};
use uuid::Uuid;

use super::Event;
use super::effect::{EffectError, Effects};
use crate::db::Schema;
use crate::lease::Leased;

/// The most dead events listed at once.
pub const MAX_LISTED: i64 = 200;
/// The most letters kept of a reason.
const MAX_REASON: usize = 500;

/// A dead letter, for operators.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct DeadEvent {
    /// The consumer group that gave up.
    pub consumer: String,
    /// The event's id.
    pub event_id: Uuid,
    /// The stream it came from.
    pub stream: String,
    /// Where it stands in the stream.
    pub position: i64,
    /// The payload's full protobuf name.
    pub kind: String,
    /// Whom or what it is about.
    pub subject: Uuid,
    /// When it occurred.
    pub occurred_at: DateTime<Utc>,
    /// Why it was given up on.
    pub reason: String,
    /// How often it was tried.
    pub attempts: i32,
    /// When it was given up on.
    pub died_at: DateTime<Utc>,
    /// Since when it waits to be tried again, if an operator asked for it.
    pub redrive_at: Option<DateTime<Utc>>,
}

/// The oldest dead events of a service, at most [`MAX_LISTED`], after the last one of a former list.
///
/// # Errors
/// What the database answered.
pub async fn dead_events(
    pool: &PgPool,
    schema: Schema,
    after: Option<&DeadEvent>,
) -> Result<Vec<DeadEvent>, sqlx::Error> {
    sqlx::query_as(AssertSqlSafe(schema.sql(LIST)))
        .bind(after.map(|event| event.died_at))
        .bind(after.map(|event| event.event_id))
        .bind(MAX_LISTED)
        .fetch_all(pool)
        .await
}

/// Hands a dead event to its consumer again, within seconds; `false` if there is none with this id.
///
/// # Errors
/// What the database answered.
pub async fn redrive(connection: &mut PgConnection, schema: Schema, event_id: Uuid) -> Result<bool, sqlx::Error> {
    let marked = sqlx::query(AssertSqlSafe(schema.sql(REDRIVE))).bind(event_id).execute(connection).await?;
    Ok(marked.rows_affected() > 0)
}

/// Hands all dead events of a kind to their consumers again; says how many.
///
/// # Errors
/// What the database answered.
pub async fn redrive_all(connection: &mut PgConnection, schema: Schema, kind: &str) -> Result<u64, sqlx::Error> {
    let marked = sqlx::query(AssertSqlSafe(schema.sql(REDRIVE_ALL))).bind(kind).execute(connection).await?;
    Ok(marked.rows_affected())
}

/// Why and after how many attempts an event is given up on.
pub(super) struct Death {
    pub(super) reason: String,
    pub(super) attempts: u32,
}

impl Effects {
    /// Moves an event to the dead letters, unless its effect happened after all.
    pub(super) async fn bury(&self, leased: (Leased, &str), event: &Event, death: &Death) -> Result<(), EffectError> {
        let ((partition, fence), stream) = leased;
        let mut transaction = crate::db::begin(&self.pool).await?;
        if !self.leases.guard(&mut transaction, &[(partition, fence)]).await? {
            return Err(EffectError::LeaseLost);
        }
        if !self.record(&mut transaction, std::slice::from_ref(event)).await?.is_empty() {
            sqlx::query(AssertSqlSafe(self.schema.sql(BURY)))
                .bind(&self.consumer)
                .bind(event.id)
                .bind(stream)
                .bind(i16::try_from(partition).expect("few partitions"))
                .bind(event.position)
                .bind(&event.source)
                .bind(&event.kind)
                .bind(event.subject)
                .bind(event.time)
                .bind(&event.traceparent)
                .bind(&event.data[..])
                .bind(shorten(&death.reason))
                .bind(i32::try_from(death.attempts.max(1)).unwrap_or(i32::MAX))
                .execute(&mut *transaction)
                .await?;
        }
        Ok(transaction.commit().await?)
    }

    /// How many events of a stream are dead.
    pub(super) async fn count_dead(&self, stream: &str) -> Result<i64, sqlx::Error> {
        sqlx::query_scalar(AssertSqlSafe(self.schema.sql(COUNT)))
            .bind(&self.consumer)
            .bind(stream)
            .fetch_one(&self.pool)
            .await
    }

    /// Tries one marked dead event of these partitions; `None` if there is none, else whether it lives.
    pub(super) async fn revive(&self, stream: &str, leased: &[Leased]) -> Result<Option<bool>, EffectError> {
        let partitions: Vec<i16> =
            leased.iter().map(|(partition, _)| i16::try_from(*partition).expect("few partitions")).collect();
        let mut transaction = crate::db::begin(&self.pool).await?;
        let row: Option<DeadRow> = sqlx::query_as(AssertSqlSafe(self.schema.sql(NEXT_REDRIVE)))
            .bind(&self.consumer)
            .bind(stream)
            .bind(partitions)
            .fetch_optional(&mut *transaction)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let partition = usize::try_from(row.partition).expect("a constraint keeps it from 0 to 15");
        let held: Vec<Leased> = leased.iter().copied().filter(|(ours, _)| *ours == partition).collect();
        if !self.leases.guard(&mut transaction, &held).await? {
            return Err(EffectError::LeaseLost);
        }
        let asked_at = row.redrive_at;
        let event = row.event();
        sqlx::query(AssertSqlSafe(self.schema.sql(REMOVE)))
            .bind(&self.consumer)
            .bind(event.id)
            .execute(&mut *transaction)
            .await?;
        let handled = self.handle(&mut transaction, std::slice::from_ref(&event)).await;
        let committed = match handled {
            // A COMMIT of a transaction that a swallowed error has aborted would be a silent rollback.
            Ok(()) => match sqlx::query("SELECT 1").execute(&mut *transaction).await {
                Ok(_) => return transaction.commit().await.map(|()| Some(true)).map_err(Into::into),
                Err(error) => error.to_string(),
            },
            Err(error) => error.to_string(),
        };
        transaction.rollback().await?;
        sqlx::query(AssertSqlSafe(self.schema.sql(REMAIN_DEAD)))
            .bind(&self.consumer)
            .bind(event.id)
            .bind(shorten(&committed))
            .bind(asked_at)
            .execute(&self.pool)
            .await?;
        Ok(Some(false))
    }
}

#[derive(FromRow)]
struct DeadRow {
    partition: i16,
    event_id: Uuid,
    position: i64,
    source: String,
    kind: String,
    subject: Uuid,
    occurred_at: DateTime<Utc>,
    traceparent: Option<String>,
    data: Vec<u8>,
    redrive_at: DateTime<Utc>,
}

impl DeadRow {
    fn event(self) -> Event {
        Event {
            id: self.event_id,
            source: self.source,
            position: self.position,
            kind: self.kind,
            subject: self.subject,
            time: self.occurred_at,
            traceparent: self.traceparent,
            data: self.data.into(),
        }
    }
}

fn shorten(reason: &str) -> String {
    reason.chars().take(MAX_REASON).collect()
}

// Every statement on dead_event.

const LIST: &str = "
    SELECT consumer, event_id, stream, position, kind, subject, occurred_at, reason, attempts, died_at, redrive_at
    FROM {schema}.dead_event WHERE $1::timestamptz IS NULL OR (died_at, event_id) > ($1, $2)
    ORDER BY died_at, event_id LIMIT $3";

const COUNT: &str = "SELECT count(*) FROM {schema}.dead_event WHERE consumer = $1 AND stream = $2";

const REDRIVE: &str = "UPDATE {schema}.dead_event SET redrive_at = clock_timestamp() WHERE event_id = $1";

const REDRIVE_ALL: &str =
    "UPDATE {schema}.dead_event SET redrive_at = clock_timestamp() WHERE kind = $1 AND redrive_at IS NULL";

const BURY: &str = "
    INSERT INTO {schema}.dead_event
        (consumer, event_id, stream, partition, position, source, kind, subject, occurred_at, traceparent, data, reason, attempts)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";

const NEXT_REDRIVE: &str = "
    SELECT partition, event_id, position, source, kind, subject, occurred_at, traceparent, data, redrive_at
    FROM {schema}.dead_event
    WHERE consumer = $1 AND stream = $2 AND partition = ANY ($3) AND redrive_at IS NOT NULL
    ORDER BY position LIMIT 1 FOR UPDATE SKIP LOCKED";

const REMOVE: &str = "DELETE FROM {schema}.dead_event WHERE consumer = $1 AND event_id = $2";

// Somebody may have asked for one more attempt during this one, which is not that one.
const REMAIN_DEAD: &str = "
    UPDATE {schema}.dead_event SET redrive_at = nullif(redrive_at, $4), reason = $3, attempts = attempts + 1
    WHERE consumer = $1 AND event_id = $2";

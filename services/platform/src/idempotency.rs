//! One answer per idempotency key, for requests whose effect is rows of the service itself.
//!
//! The key is claimed in the transaction of the work: a crash leaves neither work nor claim.
//! A concurrent request with the same key waits on the primary key until the first one ends, then replays its answer.
//! Postings have no record here: the ledger's engine keeps their keys.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection, PgPool};
use uuid::Uuid;

use crate::clock::Clock;
use crate::db::Schema;
use crate::problem::{IDEMPOTENCY_KEY_REUSED, IN_PROGRESS, Problem};
use crate::task::{Shutdown, Task};

/// The most rows that one pruning statement removes.
const PRUNE_BATCH: i64 = 1_000;
/// How often old answers are looked for.
const PRUNE_EVERY: Duration = Duration::from_secs(600);

/// What a key is unique for, and the request it belongs to.
#[derive(Clone, Debug)]
pub struct Key {
    /// Whose key it is.
    pub caller: Uuid,
    /// Which operation, for instance `merchant.create`.
    pub operation: &'static str,
    /// The client's key.
    pub key: String,
    /// SHA-256 over the client's request.
    pub fingerprint: [u8; 32],
}

/// An answer given before.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// The HTTP status.
    pub status: u16,
    /// The JSON body.
    pub body: Value,
}

/// What became of a claim.
#[derive(Clone, Debug, PartialEq)]
pub enum Claim {
    /// The key is the caller's now: do the work in this transaction, then [`store`] the answer.
    New,
    /// The work was done before; answer the same.
    Replay(Stored),
}

/// Claims a key inside the transaction of the work.
///
/// # Errors
/// `idempotency-key-reused` when it belongs to another request; `in-progress` when its work left no answer yet;
/// otherwise what the database answered.
pub async fn claim(
    connection: &mut PgConnection,
    schema: Schema,
    key: &Key,
    now: DateTime<Utc>,
) -> Result<Claim, Problem> {
    let insert = schema.sql(
        "INSERT INTO {schema}.idempotency_key (caller, operation, key, fingerprint, claimed_at) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT ON CONSTRAINT idempotency_key_pk DO NOTHING",
    );
    let claimed = sqlx::query(AssertSqlSafe(insert))
        .bind(key.caller)
        .bind(key.operation)
        .bind(&key.key)
        .bind(&key.fingerprint[..])
        .bind(now)
        .execute(&mut *connection)
        .await?;
    if claimed.rows_affected() == 1 {
        return Ok(Claim::New);
    }
    let read = schema.sql("SELECT fingerprint, status, body FROM {schema}.key_answer($1, $2, $3)");
    let known: Option<Known> = sqlx::query_as(AssertSqlSafe(read))
        .bind(key.caller)
        .bind(key.operation)
        .bind(&key.key)
        .fetch_optional(&mut *connection)
        .await?;
    // Pruned between the two statements: that passes.
    known.unwrap_or_default().replay(key)?.map(Claim::Replay).ok_or_else(in_progress)
}

/// What a statement found at a key, by the schema's function `key_answer`: nothing when the key is new.
///
/// For work whose effect and whose answer are written by one statement, without a claim before: [`Answer`].
#[derive(Clone, Debug, Default, sqlx::FromRow)]
#[expect(missing_docs, reason = "they are named like the columns")]
pub struct Known {
    pub fingerprint: Option<Vec<u8>>,
    pub status: Option<i16>,
    pub body: Option<Value>,
}

impl Known {
    /// The answer given before; none when the key is new.
    ///
    /// # Errors
    /// `idempotency-key-reused` when it belongs to another request; `in-progress` when its work left no answer yet.
    pub fn replay(&self, key: &Key) -> Result<Option<Stored>, Problem> {
        match self {
            Self { fingerprint: None, .. } => Ok(None),
            Self { fingerprint: Some(known), .. } if known[..] != key.fingerprint => {
                Err(Problem::new(IDEMPOTENCY_KEY_REUSED))
            }
            Self { status: Some(status), body: Some(body), .. } => {
                Ok(Some(Stored { status: u16::try_from(*status).unwrap_or(200), body: body.clone() }))
            }
            Self { .. } => Err(in_progress()),
        }
    }
}

/// The work of a key is under way, or its claim was pruned just now.
pub fn in_progress() -> Problem {
    Problem::new(IN_PROGRESS).retry_after(1)
}

/// An answer to a key that is written together with the work, by the schema's function `answer_key`, or `answer_keys` for many.
///
/// These fail when the key was answered meanwhile ([`answered_meanwhile`]), and with it the statement: look again then.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The key.
    pub key: Key,
    /// The HTTP status.
    pub status: i16,
    /// The JSON body.
    pub body: Value,
}

impl Answer {
    /// An answer of that status and body.
    ///
    /// # Errors
    /// `internal` when the body can't be written as JSON.
    pub fn try_new(key: &Key, status: u16, body: &impl Serialize) -> Result<Self, Problem> {
        let body =
            serde_json::to_value(body).map_err(|source| Problem::new(crate::problem::INTERNAL).source(source))?;
        Ok(Self { key: key.clone(), status: i16::try_from(status).unwrap_or(200), body })
    }
}

/// Whether a statement failed because its key was answered since it was looked at.
pub fn answered_meanwhile(error: &sqlx::Error) -> bool {
    crate::db::violated(error) == Some("idempotency_key_pk")
}

/// Keeps the answer of a claimed key, in the same transaction.
///
/// # Errors
/// What the database answered.
pub async fn store(
    connection: &mut PgConnection,
    schema: Schema,
    key: &Key,
    status: u16,
    body: &(impl Serialize + Sync),
) -> Result<(), Problem> {
    let Answer { status, body, .. } = Answer::try_new(key, status, body)?;
    let update = schema.sql(
        "UPDATE {schema}.idempotency_key SET status = $4, body = $5 WHERE caller = $1 AND operation = $2 AND key = $3",
    );
    sqlx::query(AssertSqlSafe(update))
        .bind(key.caller)
        .bind(key.operation)
        .bind(&key.key)
        .bind(status)
        .bind(body)
        .execute(connection)
        .await?;
    Ok(())
}

/// Removes answers claimed before `before`, at most a batch; says how many.
///
/// # Errors
/// What the database answered.
pub async fn prune(connection: &mut PgConnection, schema: Schema, before: DateTime<Utc>) -> Result<u64, sqlx::Error> {
    let delete = schema.sql(
        "DELETE FROM {schema}.idempotency_key WHERE ctid = ANY (ARRAY(
             SELECT ctid FROM {schema}.idempotency_key WHERE claimed_at < $1 LIMIT $2))",
    );
    let removed = sqlx::query(AssertSqlSafe(delete)).bind(before).bind(PRUNE_BATCH).execute(connection).await?;
    Ok(removed.rows_affected())
}

/// The task that removes answers once they are older than `life`, in small statements, so that nothing waits for it.
#[must_use]
pub fn retention(pool: PgPool, schema: Schema, clock: Clock, life: TimeDelta) -> Task {
    Task::new("retention", move |shutdown: Shutdown| async move {
        loop {
            tokio::select! {
                pruned = prune_all(&pool, schema, clock.now() - life) => if let Err(error) = pruned {
                    tracing::warn!(%schema, %error, "old idempotency keys can't be removed");
                },
                () = shutdown.cancelled() => return Ok(()),
            }
            tokio::select! {
                () = tokio::time::sleep(PRUNE_EVERY) => {}
                () = shutdown.cancelled() => return Ok(()),
            }
        }
    })
}

/// Removes, batch by batch, until nothing old is left.
async fn prune_all(pool: &PgPool, schema: Schema, before: DateTime<Utc>) -> Result<(), sqlx::Error> {
    while prune(&mut *pool.acquire().await?, schema, before).await? > 0 {}
    Ok(())
}

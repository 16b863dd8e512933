//! Work that is due at some time: timers, retries, escalations and sagas.
//!
//! [`schedule`] writes a job in the transaction that wants it. A [`Runner`] claims due jobs with `FOR UPDATE SKIP LOCKED`,
//! runs them under a lease that it renews, and settles them by their [`Outcome`].
//!
//! States: due → running → done | dead, or back to due. A `running` job whose lease has passed is claimed again.
//!
//! Invariants:
//! - The fence grows with each claim and is part of every settlement: a runner that lost its lease changes nothing.
//!   An effect in the database is exactly once if the handler calls [`Job::finish`] in the effect's own transaction.
//!   An effect on an outside party is at least once: hand over an idempotency key derived from [`Job::id`].
//! - A kind and key name one job: scheduling it again changes nothing, as long as the job is remembered.
//! - Due times are the city's time, from a [`Clock`], so that tests can move them. Leases are machine time (the
//!   database's clock), so that a moved test clock takes no lease from a living runner.
//! - Nothing polls: a runner sleeps until the next job is due, is woken by `NOTIFY`, and looks by itself every
//!   30 seconds in case that a notification was lost.

mod dead;
mod runner;
mod settle;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection};
use uuid::Uuid;

pub use self::dead::{DeadJob, MAX_LISTED, dead_jobs, redrive, redrive_all};
pub use self::runner::{Runner, RunnerSettings};
use crate::clock::Clock;
use crate::db::Schema;

/// A job to be scheduled.
#[derive(Clone, Debug)]
pub struct NewJob {
    kind: &'static str,
    key: String,
    due_at: DateTime<Utc>,
    payload: Value,
}

impl NewJob {
    /// A job of a kind, due at a time. The kind and the key name it: there is one such job.
    pub fn new(kind: &'static str, key: impl Into<String>, due_at: DateTime<Utc>) -> Self {
        Self { kind, key: key.into(), due_at, payload: Value::Object(serde_json::Map::new()) }
    }

    /// What the job needs to know; no phone number, name, token or PIN, because operators see it.
    #[must_use]
    pub fn payload(mut self, payload: Value) -> Self {
        self.payload = payload;
        self
    }
}

/// A job as the arguments of a schema's function `replan_jobs`, for a statement that writes more than the job.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "they are named like the arguments")]
pub struct JobColumns {
    pub id: Uuid,
    pub kind: &'static str,
    pub key: String,
    pub due_at: DateTime<Utc>,
    pub payload: Value,
    pub traceparent: Option<String>,
    pub wakes: bool,
}

impl JobColumns {
    /// The columns of a job that is scheduled now; it carries the current trace on.
    pub fn of(job: NewJob, now: DateTime<Utc>) -> Self {
        let NewJob { kind, key, due_at, payload } = job;
        // Runners look by themselves often enough for jobs that are due later.
        let wakes = due_at < now + runner::IDLE_MAX;
        Self {
            id: crate::id::new(),
            kind,
            key,
            due_at,
            payload,
            traceparent: crate::trace::current_traceparent(),
            wakes,
        }
    }
}

/// Schedules a job in the caller's transaction; `false` if a job of this kind and key is known already.
///
/// The job carries the current trace on.
///
/// # Errors
/// What the database answered.
pub async fn schedule(
    connection: &mut PgConnection,
    schema: Schema,
    now: DateTime<Utc>,
    job: NewJob,
) -> Result<bool, sqlx::Error> {
    Ok(schedule_all(connection, schema, now, &[job]).await? == 1)
}

/// Schedules jobs as [`schedule`] does one, in a single statement; tells how many of them were not known already.
///
/// # Errors
/// What the database answered.
pub async fn schedule_all(
    connection: &mut PgConnection,
    schema: Schema,
    now: DateTime<Utc>,
    jobs: &[NewJob],
) -> Result<u64, sqlx::Error> {
    if jobs.is_empty() {
        return Ok(0);
    }
    let ids: Vec<Uuid> = jobs.iter().map(|_| crate::id::new()).collect();
    let kinds: Vec<&str> = jobs.iter().map(|job| job.kind).collect();
    let keys: Vec<&str> = jobs.iter().map(|job| job.key.as_str()).collect();
    let due: Vec<DateTime<Utc>> = jobs.iter().map(|job| job.due_at).collect();
    let payloads: Vec<&Value> = jobs.iter().map(|job| &job.payload).collect();
    let scheduled = sqlx::query(AssertSqlSafe(schema.sql(SCHEDULE)))
        .bind(ids)
        .bind(kinds)
        .bind(keys)
        .bind(due)
        .bind(payloads)
        .bind(crate::trace::current_traceparent())
        .bind(now)
        .bind(channel(schema))
        .bind(runner::IDLE_MAX.as_secs_f64())
        .execute(connection)
        .await?;
    Ok(scheduled.rows_affected())
}

/// Takes back a job that has not begun; `false` if there is none, or it runs, or it has ended.
///
/// # Errors
/// What the database answered.
pub async fn cancel(connection: &mut PgConnection, schema: Schema, kind: &str, key: &str) -> Result<bool, sqlx::Error> {
    let cancelled = sqlx::query(AssertSqlSafe(schema.sql(CANCEL))).bind(kind).bind(key).execute(connection).await?;
    Ok(cancelled.rows_affected() == 1)
}

/// The `NOTIFY` channel of a schema's jobs.
pub(crate) fn channel(schema: Schema) -> String {
    format!("{schema}_job")
}

/// A claimed job.
#[derive(Clone, Debug)]
pub struct Job {
    /// The job's id, the same in each attempt.
    pub id: Uuid,
    /// What kind of work it is.
    pub kind: String,
    /// What it is about.
    pub key: String,
    /// When it was due.
    pub due_at: DateTime<Utc>,
    /// What it needs to know.
    pub payload: Value,
    /// How often it was begun, this time included.
    pub attempts: u32,
    /// How often in a row it has failed.
    pub failures: u32,
    traceparent: Option<String>,
    fence: i64,
    schema: Schema,
    clock: Clock,
}

impl Job {
    /// The payload as a type of the handler's.
    ///
    /// # Errors
    /// When it has another shape.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        T::deserialize(&self.payload)
    }

    /// Completes the job in the transaction of its effect; the last statement before the commit.
    ///
    /// # Errors
    /// [`JobError::LeaseLost`] when another runner has the job now: roll the transaction back.
    pub async fn finish(&self, transaction: &mut PgConnection) -> Result<(), JobError> {
        let finished = settle::done(transaction, self).await?;
        if finished { Ok(()) } else { Err(JobError::LeaseLost) }
    }
}

/// Why a job could not be finished.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The lease passed and another runner claimed the job, or it was finished before.
    #[error("the lease of the job was lost")]
    LeaseLost,
    /// What the database answered.
    #[error("the database does not answer")]
    Database(#[from] sqlx::Error),
}

/// What became of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The work is done (or was finished by [`Job::finish`]).
    Done,
    /// Not yet: try at this time again. Counts as no failure; the handler looks after an end of it.
    RetryAt(DateTime<Utc>, String),
    /// It could not begin, for this reason: at this time again, as if it had not been tried. Counts neither as attempt nor as failure.
    Postpone(DateTime<Utc>, String),
    /// It failed for this reason: try again after a growing pause, and give up after a maximum.
    Retry(String),
    /// It can never succeed, for this reason.
    Dead(String),
}

/// What a kind of job does.
#[async_trait]
pub trait JobHandler: Send + Sync + 'static {
    /// Makes one attempt. It may be made again, also at the same time as a runner that lost its lease.
    async fn run(&self, job: &Job) -> Outcome;
}

// The statements of those who schedule.

// Runners look by themselves often enough for jobs that are due later.
const SCHEDULE: &str = "
    WITH scheduled AS (
        INSERT INTO {schema}.job (id, kind, key, state, due_at, payload, traceparent, created_at)
        SELECT id, kind, key, 'due', due_at, payload, $6, $7
        FROM unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[], $5::jsonb[]) AS job (id, kind, key, due_at, payload)
        ON CONFLICT ON CONSTRAINT job_kind_and_key_are_unique DO NOTHING
        RETURNING id, due_at
    )
    SELECT id, (SELECT pg_notify($8, '') WHERE due_at < $7 + make_interval(secs => $9)) FROM scheduled";

const CANCEL: &str = "DELETE FROM {schema}.job WHERE kind = $1 AND key = $2 AND state = 'due'";

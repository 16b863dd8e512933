//! Jobs that were given up on: how operators list them and have them tried again.

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, FromRow, PgConnection, PgPool};
use uuid::Uuid;

use crate::db::Schema;

/// The most dead jobs listed at once.
pub const MAX_LISTED: i64 = 200;

/// A dead letter, for operators.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct DeadJob {
    /// The job's id.
    pub id: Uuid,
    /// What kind of work it is.
    pub kind: String,
    /// What it is about.
    pub key: String,
    /// When it was due last.
    pub due_at: DateTime<Utc>,
    /// Why it was given up on.
    pub reason: String,
    /// How often it was begun.
    pub attempts: i32,
    /// When it was given up on.
    pub finished_at: DateTime<Utc>,
}

/// The oldest dead jobs of a service, at most [`MAX_LISTED`], after the last one of a former list.
///
/// # Errors
/// What the database answered.
pub async fn dead_jobs(pool: &PgPool, schema: Schema, after: Option<&DeadJob>) -> Result<Vec<DeadJob>, sqlx::Error> {
    sqlx::query_as(AssertSqlSafe(schema.sql(LIST)))
        .bind(after.map(|job| job.finished_at))
        .bind(after.map(|job| job.id))
        .bind(MAX_LISTED)
        .fetch_all(pool)
        .await
}

/// Makes a dead job due now, with all its attempts before it; `false` if there is no dead job with this id.
///
/// # Errors
/// What the database answered.
pub async fn redrive(
    connection: &mut PgConnection,
    schema: Schema,
    id: Uuid,
    now: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let redriven = sqlx::query(AssertSqlSafe(schema.sql(REDRIVE)))
        .bind(now)
        .bind(super::channel(schema))
        .bind(id)
        .execute(connection)
        .await?;
    Ok(redriven.rows_affected() == 1)
}

/// Makes all dead jobs of a kind due now; says how many.
///
/// # Errors
/// What the database answered.
pub async fn redrive_all(
    connection: &mut PgConnection,
    schema: Schema,
    kind: &str,
    now: DateTime<Utc>,
) -> Result<u64, sqlx::Error> {
    let redriven = sqlx::query(AssertSqlSafe(schema.sql(REDRIVE_ALL)))
        .bind(now)
        .bind(super::channel(schema))
        .bind(kind)
        .execute(connection)
        .await?;
    Ok(redriven.rows_affected())
}

const LIST: &str = "
    SELECT id, kind, key, due_at, reason, attempts, finished_at FROM {schema}.job
    WHERE state = 'dead' AND ($1::timestamptz IS NULL OR (finished_at, id) > ($1, $2))
    ORDER BY finished_at, id LIMIT $3";

const REDRIVE: &str = "
    WITH redriven AS (
        UPDATE {schema}.job SET state = 'due', due_at = $1, failures = 0, finished_at = NULL
        WHERE id = $3 AND state = 'dead' RETURNING id
    )
    SELECT pg_notify($2, '') FROM redriven";

const REDRIVE_ALL: &str = "
    WITH redriven AS (
        UPDATE {schema}.job SET state = 'due', due_at = $1, failures = 0, finished_at = NULL
        WHERE kind = $3 AND state = 'dead' RETURNING id
    )
    SELECT pg_notify($2, '') FROM redriven";

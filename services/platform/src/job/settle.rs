//! Claiming, renewing and settling: every statement of a runner.
//!
//! Each settlement names the job's fence; it changes nothing if another runner has claimed the job since.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, FromRow, PgConnection, PgPool, Postgres};
use uuid::Uuid;

use super::Job;
use crate::clock::Clock;
use crate::db::Schema;

/// The most rows that one pruning statement removes.
const PRUNE_BATCH: i64 = 1_000;
/// The most letters kept of a reason.
const MAX_REASON: usize = 500;

/// The job table as one runner uses it.
#[derive(Clone, Debug)]
pub(super) struct JobTable {
    pub(super) pool: PgPool,
    pub(super) schema: Schema,
    pub(super) clock: Clock,
    pub(super) kinds: Vec<&'static str>,
    pub(super) holder: String,
    pub(super) lease: Duration,
}

#[derive(FromRow)]
struct ClaimedRow {
    id: Uuid,
    kind: String,
    key: String,
    due_at: DateTime<Utc>,
    payload: Value,
    attempts: i32,
    failures: i32,
    traceparent: Option<String>,
    fence: i64,
}

impl JobTable {
    /// Claims up to `count` jobs: first those whose runner is gone, then those due, the oldest first.
    pub(super) async fn claim(&self, count: usize) -> Result<Vec<Job>, sqlx::Error> {
        let mut rows: Vec<ClaimedRow> = sqlx::query_as(AssertSqlSafe(self.schema.sql(CLAIM)))
            .bind(&self.kinds)
            .bind(self.clock.now())
            .bind(i64::try_from(count).unwrap_or(i64::MAX))
            .bind(&self.holder)
            .bind(self.lease)
            .fetch_all(&self.pool)
            .await?;
        rows.sort_by_key(|row| (row.due_at, row.id));
        let job = |row: ClaimedRow| Job {
            id: row.id,
            kind: row.kind,
            key: row.key,
            due_at: row.due_at,
            payload: row.payload,
            attempts: row.attempts.unsigned_abs(),
            failures: row.failures.unsigned_abs(),
            traceparent: row.traceparent,
            fence: row.fence,
            schema: self.schema,
            clock: self.clock.clone(),
        };
        Ok(rows.into_iter().map(job).collect())
    }

    /// When the next job becomes due.
    pub(super) async fn next_due(&self) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
        sqlx::query_scalar(AssertSqlSafe(self.schema.sql(NEXT_DUE))).bind(&self.kinds).fetch_optional(&self.pool).await
    }

    /// Renews the leases of running jobs and gives back those that are still ours. A job that is being finished in its
    /// own transaction right now counts as ours.
    pub(super) async fn renew(&self, jobs: &[(Uuid, i64)]) -> Result<Vec<Uuid>, sqlx::Error> {
        let (ids, fences): (Vec<Uuid>, Vec<i64>) = jobs.iter().copied().unzip();
        sqlx::query(AssertSqlSafe(self.schema.sql(RENEW)))
            .bind(&ids)
            .bind(&fences)
            .bind(self.lease)
            .execute(&self.pool)
            .await?;
        sqlx::query_scalar(AssertSqlSafe(self.schema.sql(OURS))).bind(&ids).bind(&fences).fetch_all(&self.pool).await
    }

    /// Gives a job back unfinished, to be begun again at `due_at`.
    pub(super) async fn put_back(
        &self,
        job: &Job,
        due_at: DateTime<Utc>,
        failures: u32,
        reason: &str,
    ) -> Result<(), sqlx::Error> {
        let failures = i32::try_from(failures).unwrap_or(i32::MAX);
        let put_back = self.settlement(PUT_BACK, job).bind(due_at).bind(failures).bind(shorten(reason));
        put_back.execute(&self.pool).await.map(|_| ())
    }

    /// Gives a job back as it was before it was claimed, to be begun at `due_at`.
    pub(super) async fn postpone(&self, job: &Job, due_at: DateTime<Utc>, reason: &str) -> Result<(), sqlx::Error> {
        let postponed = self.settlement(POSTPONE, job).bind(due_at).bind(shorten(reason));
        postponed.execute(&self.pool).await.map(|_| ())
    }

    /// Completes a job, unless its handler already did.
    pub(super) async fn complete(&self, job: &Job) -> Result<(), sqlx::Error> {
        done(&mut *self.pool.acquire().await?, job).await.map(|_| ())
    }

    /// Moves a job to the dead letters.
    pub(super) async fn bury(&self, job: &Job, failures: u32, reason: &str) -> Result<(), sqlx::Error> {
        let failures = i32::try_from(failures).unwrap_or(i32::MAX);
        let bury = self.settlement(BURY, job).bind(self.clock.now()).bind(failures).bind(shorten(reason));
        bury.execute(&self.pool).await.map(|_| ())
    }

    /// Gives back jobs that this process could not end, so that others can begin them at once.
    pub(super) async fn release(&self, jobs: &[(Uuid, i64)]) -> Result<(), sqlx::Error> {
        let (ids, fences): (Vec<Uuid>, Vec<i64>) = jobs.iter().copied().unzip();
        sqlx::query(AssertSqlSafe(self.schema.sql(RELEASE)))
            .bind(ids)
            .bind(fences)
            .bind(super::channel(self.schema))
            .execute(&self.pool)
            .await
            .map(|_| ())
    }

    /// Removes jobs that were done before `done_before` or died before `dead_before`, at most a batch.
    pub(super) async fn prune(
        &self,
        done_before: DateTime<Utc>,
        dead_before: DateTime<Utc>,
    ) -> Result<u64, sqlx::Error> {
        let removed = sqlx::query(AssertSqlSafe(self.schema.sql(PRUNE)))
            .bind(done_before)
            .bind(dead_before)
            .bind(PRUNE_BATCH)
            .execute(&self.pool)
            .await?;
        Ok(removed.rows_affected())
    }

    /// How many jobs are dead.
    pub(super) async fn count_dead(&self) -> Result<i64, sqlx::Error> {
        sqlx::query_scalar(AssertSqlSafe(self.schema.sql(COUNT_DEAD))).fetch_one(&self.pool).await
    }

    fn settlement(&self, template: &str, job: &Job) -> Query<'_, Postgres, PgArguments> {
        sqlx::query(AssertSqlSafe(self.schema.sql(template))).bind(job.id).bind(job.fence)
    }
}

/// Completes a job on a connection; `false` if it is no longer this holder's or was completed before.
pub(super) async fn done(connection: &mut PgConnection, job: &Job) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(AssertSqlSafe(job.schema.sql(DONE)))
        .bind(job.id)
        .bind(job.fence)
        .bind(job.clock.now())
        .execute(connection)
        .await?;
    Ok(done.rows_affected() == 1)
}

fn shorten(reason: &str) -> String {
    reason.chars().take(MAX_REASON).collect()
}

// Each kind by itself and ids as an array: the planner then takes the index of due jobs however long the queues are.
const CLAIM: &str = "
    WITH abandoned AS (
        SELECT id FROM {schema}.job
        WHERE state = 'running' AND lease_until < clock_timestamp() AND kind = ANY ($1)
        ORDER BY lease_until LIMIT $3 FOR UPDATE SKIP LOCKED
    ), due AS (
        SELECT found.id
        FROM unnest($1::text[]) AS wanted (kind)
        CROSS JOIN LATERAL (
            SELECT id, due_at FROM {schema}.job
            WHERE kind = wanted.kind AND state = 'due' AND due_at <= $2
            ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED
        ) AS found
        ORDER BY found.due_at LIMIT $3 - (SELECT count(*) FROM abandoned)
    ), picked AS (
        SELECT id FROM abandoned UNION ALL SELECT id FROM due
    )
    UPDATE {schema}.job SET
        state = 'running', fence = fence + 1, attempts = attempts + 1,
        failures = failures + CASE WHEN state = 'running' THEN 1 ELSE 0 END,
        holder = $4, lease_until = clock_timestamp() + $5
    WHERE job.id = ANY (ARRAY(SELECT id FROM picked))
    RETURNING job.id, job.kind, job.key, job.due_at, job.payload, job.attempts, job.failures, job.traceparent, job.fence";

const NEXT_DUE: &str = "
    SELECT found.due_at
    FROM unnest($1::text[]) AS wanted (kind)
    CROSS JOIN LATERAL (
        SELECT due_at FROM {schema}.job WHERE kind = wanted.kind AND state = 'due' ORDER BY due_at LIMIT 1
    ) AS found
    ORDER BY found.due_at LIMIT 1";

// A row that is locked is being settled by its own handler: not waited for.
const RENEW: &str = "
    WITH ours AS (
        SELECT job.id FROM {schema}.job JOIN unnest($1::uuid[], $2::bigint[]) AS running (id, fence) USING (id, fence)
        WHERE state = 'running' FOR UPDATE OF job SKIP LOCKED
    )
    UPDATE {schema}.job SET lease_until = clock_timestamp() + $3 FROM ours WHERE job.id = ours.id";

const OURS: &str = "
    SELECT id FROM {schema}.job JOIN unnest($1::uuid[], $2::bigint[]) AS running (id, fence) USING (id, fence)";

const DONE: &str = "
    UPDATE {schema}.job SET state = 'done', finished_at = $3, reason = NULL, holder = NULL, lease_until = NULL
    WHERE id = $1 AND fence = $2 AND state = 'running'";

const PUT_BACK: &str = "
    UPDATE {schema}.job SET state = 'due', due_at = $3, failures = $4, reason = $5, holder = NULL, lease_until = NULL
    WHERE id = $1 AND fence = $2 AND state = 'running'";

const POSTPONE: &str = "
    UPDATE {schema}.job SET state = 'due', due_at = $3, attempts = attempts - 1, reason = $4, holder = NULL, lease_until = NULL
    WHERE id = $1 AND fence = $2 AND state = 'running'";

const BURY: &str = "
    UPDATE {schema}.job SET state = 'dead', finished_at = $3, failures = $4, reason = $5, holder = NULL, lease_until = NULL
    WHERE id = $1 AND fence = $2 AND state = 'running'";

const RELEASE: &str = "
    WITH released AS (
        UPDATE {schema}.job SET state = 'due', holder = NULL, lease_until = NULL
        FROM unnest($1::uuid[], $2::bigint[]) AS running (id, fence)
        WHERE job.id = running.id AND job.fence = running.fence AND state = 'running'
        RETURNING job.id
    )
    SELECT pg_notify($3, '') FROM released LIMIT 1";

const COUNT_DEAD: &str = "SELECT count(*) FROM {schema}.job WHERE state = 'dead'";

const PRUNE: &str = "
    DELETE FROM {schema}.job WHERE id = ANY (ARRAY(
        SELECT id FROM {schema}.job
        WHERE (state = 'done' AND finished_at < $1) OR (state = 'dead' AND finished_at < $2)
        ORDER BY finished_at LIMIT $3))";

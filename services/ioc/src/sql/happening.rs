//! Every statement of what is listed behind the numbers. Written under the lock of the board, with the numbers; read without.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::happening::{Happening, Number, Place, Wanted, When};

/// The most rows that are removed at once.
const MAX_FORGOTTEN: i64 = 5_000;

/// Adds what a batch of a stream's events counted.
pub(super) async fn add(tx: &mut PgConnection, new: &[Happening]) -> Result<(), sqlx::Error> {
    if new.is_empty() {
        return Ok(());
    }
    let kinds: Vec<String> = new.iter().map(|one| one.kind.clone()).collect();
    let outcomes: Vec<String> = new.iter().map(|one| one.outcome.clone()).collect();
    let times: Vec<DateTime<Utc>> = new.iter().map(|one| one.happened_at).collect();
    let events: Vec<Uuid> = new.iter().map(|one| one.event_id).collect();
    let references: Vec<Option<Uuid>> = new.iter().map(|one| one.reference).collect();
    let counts: Vec<i64> = new.iter().map(|one| one.count).collect();
    let amounts: Vec<i64> = new.iter().map(|one| one.amount).collect();
    sqlx::query!(
        "INSERT INTO ioc.happening (kind, outcome, happened_at, event_id, reference, count, amount) \
         SELECT kind, outcome, happened_at, event_id, reference, count, amount \
         FROM UNNEST($1::text[], $2::text[], $3::timestamptz[], $4::uuid[], $5::uuid[], $6::bigint[], $7::bigint[]) \
             AS new (kind, outcome, happened_at, event_id, reference, count, amount)",
        &kinds,
        &outcomes,
        &times,
        &events,
        &references as &[Option<Uuid>],
        &counts,
        &amounts
    )
    .execute(tx)
    .await
    .map(|_| ())
}

/// The numbers that were counted of what is wanted; `minute` is when the wanted time begins.
pub(crate) async fn numbers(pool: &PgPool, wanted: &Wanted, minute: DateTime<Utc>) -> Result<Vec<Number>, sqlx::Error> {
    let outcomes = wanted.outcomes.as_deref();
    match wanted.when {
        When::Day(day) => {
            sqlx::query_as!(
                Number,
                "SELECT kind, outcome, count - listed AS \"unlisted!\" FROM ioc.day_tally \
                 WHERE day = $1 AND kind = ANY ($2) AND ($3::text[] IS NULL OR outcome = ANY ($3))",
                day,
                &wanted.kinds,
                outcomes
            )
            .fetch_all(pool)
            .await
        }
        When::Minute(_) => {
            sqlx::query_as!(
                Number,
                "SELECT kind, outcome, count - listed AS \"unlisted!\" FROM ioc.minute_tally \
                 WHERE minute = $1 AND kind = ANY ($2) AND ($3::text[] IS NULL OR outcome = ANY ($3))",
                minute,
                &wanted.kinds,
                outcomes
            )
            .fetch_all(pool)
            .await
        }
    }
}

/// What numbers count from a time on, the newest first, before a place. Of each number no more rows are read than are asked for.
pub(crate) async fn list(
    pool: &PgPool,
    numbers: &[Number],
    (from, (time, event, kind)): (DateTime<Utc>, &Place),
    limit: i64,
) -> Result<Vec<Happening>, sqlx::Error> {
    let (kinds, outcomes) = labels(numbers);
    sqlx::query_as!(
        Happening,
        "SELECT one.kind, one.outcome, one.happened_at, one.event_id, one.reference, one.count, one.amount \
         FROM UNNEST($1::text[], $2::text[]) AS wanted (kind, outcome) CROSS JOIN LATERAL ( \
             SELECT kind, outcome, happened_at, event_id, reference, count, amount FROM ioc.happening \
             WHERE kind = wanted.kind AND outcome = wanted.outcome AND happened_at >= $3 \
                 AND (happened_at, event_id) <= ($4, $5) AND (happened_at, event_id, kind) < ($4, $5, $6) \
             ORDER BY happened_at DESC, event_id DESC LIMIT $7) AS one \
         ORDER BY one.happened_at DESC, one.event_id DESC, one.kind DESC LIMIT $7",
        &kinds,
        &outcomes,
        from,
        time,
        event,
        kind,
        limit
    )
    .fetch_all(pool)
    .await
}

/// When the first of what numbers count within a time happened, as far as it is listed.
pub(crate) async fn first(
    pool: &PgPool,
    numbers: &[Number],
    (from, until): (DateTime<Utc>, DateTime<Utc>),
) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
    let (kinds, outcomes) = labels(numbers);
    sqlx::query_scalar!(
        "SELECT MIN(one.happened_at) \
         FROM UNNEST($1::text[], $2::text[]) AS wanted (kind, outcome) CROSS JOIN LATERAL ( \
             SELECT happened_at FROM ioc.happening \
             WHERE kind = wanted.kind AND outcome = wanted.outcome AND happened_at >= $3 AND happened_at < $4 \
             ORDER BY happened_at LIMIT 1) AS one",
        &kinds,
        &outcomes,
        from,
        until
    )
    .fetch_one(pool)
    .await
}

fn labels(numbers: &[Number]) -> (Vec<String>, Vec<String>) {
    numbers.iter().map(|number| (number.kind.clone(), number.outcome.clone())).unzip()
}

/// Removes what is older than anybody may list, the oldest first and so many at a time; whether there may be more.
pub(crate) async fn forget(pool: &PgPool, before: DateTime<Utc>) -> Result<bool, sqlx::Error> {
    let removed = sqlx::query!(
        "DELETE FROM ioc.happening WHERE ctid = ANY (ARRAY ( \
             SELECT ctid FROM ioc.happening WHERE happened_at < $1 ORDER BY happened_at LIMIT $2))",
        before,
        MAX_FORGOTTEN
    )
    .execute(pool)
    .await?;
    Ok(removed.rows_affected() == MAX_FORGOTTEN.unsigned_abs())
}

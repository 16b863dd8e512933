//! Every statement of what is listed behind the numbers. Written under the lock of the board, with the numbers; read without.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::happening::{Happening, Place, Wanted};

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

/// What is wanted, the newest first, after a place.
pub(crate) async fn list(
    pool: &PgPool,
    wanted: &Wanted,
    after: Option<&Place>,
    limit: i64,
) -> Result<Vec<Happening>, sqlx::Error> {
    let (time, event, kind) =
        after.cloned().map_or((None, None, None), |(time, event, kind)| (Some(time), Some(event), Some(kind)));
    sqlx::query_as!(
        Happening,
        "SELECT kind, outcome, happened_at, event_id, reference, count, amount FROM ioc.happening \
         WHERE kind = ANY ($1) AND ($2::text[] IS NULL OR outcome = ANY ($2)) AND happened_at >= $3 AND happened_at < $4 \
             AND ($5::timestamptz IS NULL OR (happened_at, event_id, kind) < ($5, $6, $7)) \
         ORDER BY happened_at DESC, event_id DESC, kind DESC LIMIT $8",
        &wanted.kinds,
        wanted.outcomes.as_deref(),
        wanted.from,
        wanted.until,
        time,
        event,
        kind,
        limit
    )
    .fetch_all(pool)
    .await
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

//! What must be refused before it expires: the tokens of ended sessions, and those that say a role which was taken.
//!
//! Both kinds share one row of positions, given under the lock of their head, so that a reader that goes on from the last
//! position it saw misses nothing. Lock order: revocation head before audit head.

use chrono::{DateTime, TimeDelta, Utc};
use platform::auth::{LEEWAY_S, Revoked};
use sqlx::{PgConnection, PgPool};

use crate::config::Lifetimes;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub position: i64,
    pub what: Revoked,
    pub forget_at: DateTime<Utc>,
}

/// When the last token that was issued until `now` has expired for every clock.
pub(crate) fn forget_at(lifetimes: &Lifetimes, now: DateTime<Utc>) -> DateTime<Utc> {
    now + Lifetimes::span(lifetimes.access_token_seconds) + TimeDelta::seconds(2 * LEEWAY_S)
}

/// Takes the next `count` positions and gives the first; holds the head's lock until the transaction ends.
pub(crate) async fn take_positions(conn: &mut PgConnection, count: i64) -> Result<i64, sqlx::Error> {
    let head =
        sqlx::query_scalar!("UPDATE identity.revocation_head SET position = position + $1 RETURNING position", count)
            .fetch_one(conn)
            .await?;
    Ok(head - count + 1)
}

/// Those after a position in order, and the newest position there is.
pub(crate) async fn list(pool: &PgPool, after: i64, limit: i64) -> Result<(Vec<Listed>, i64), sqlx::Error> {
    // The head is read first: a revocation between the two reads is then in the list or above the head, never lost.
    let head = sqlx::query_scalar!("SELECT position FROM identity.revocation_head").fetch_one(pool).await?;
    let rows = sqlx::query!(
        r#"SELECT position AS "position!", id AS "id!", role_epoch, forget_at AS "forget_at!" FROM (
            (SELECT position, session_id AS id, NULL::integer AS role_epoch, forget_at
             FROM identity.revocation WHERE position > $1 ORDER BY position LIMIT $2)
            UNION ALL
            (SELECT position, user_id, role_epoch, forget_at
             FROM identity.role_revocation WHERE position > $1 ORDER BY position LIMIT $2)
        ) AS listed ORDER BY position LIMIT $2"#,
        after,
        limit,
    )
    .fetch_all(pool)
    .await?;
    let listed = rows.into_iter().map(|row| {
        let what = match row.role_epoch {
            None => Revoked::Session(row.id),
            Some(epoch) => Revoked::Roles { subject: row.id, epoch: epoch_of(epoch) },
        };
        Listed { position: row.position, what, forget_at: row.forget_at }
    });
    Ok((listed.collect(), head))
}

/// Removes what no longer matters, at most `batch` rows of each kind; tells the larger number.
pub(crate) async fn prune(pool: &PgPool, now: DateTime<Utc>, batch: i64) -> Result<u64, sqlx::Error> {
    let sessions = sqlx::query!(
        "DELETE FROM identity.revocation WHERE position IN (
            SELECT position FROM identity.revocation WHERE forget_at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED)",
        now,
        batch,
    )
    .execute(pool)
    .await?;
    let roles = sqlx::query!(
        "DELETE FROM identity.role_revocation WHERE position = ANY (ARRAY(
            SELECT position FROM identity.role_revocation WHERE forget_at <= $1 LIMIT $2))",
        now,
        batch,
    )
    .execute(pool)
    .await?;
    Ok(sessions.rows_affected().max(roles.rows_affected()))
}

/// A role epoch as tokens carry it.
pub(crate) fn epoch_of(stored: i32) -> u32 {
    u32::try_from(stored).expect("it counts rows")
}

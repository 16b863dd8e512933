//! Statements on signing keys.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};

use super::Row;

/// Lets one replica at a time make or rotate keys; readers go on.
pub(super) async fn lock(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!("LOCK TABLE identity.signing_key IN SHARE ROW EXCLUSIVE MODE").execute(conn).await?;
    Ok(())
}

pub(super) async fn active(conn: &mut PgConnection) -> Result<Option<Row>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        "SELECT kid, private_key, created_at, activated_at FROM identity.signing_key WHERE algorithm = 'EdDSA' AND state = 'active'",
    )
    .fetch_optional(conn)
    .await
}

pub(super) async fn next(conn: &mut PgConnection) -> Result<Option<Row>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        "SELECT kid, private_key, created_at, activated_at FROM identity.signing_key WHERE algorithm = 'EdDSA' AND state = 'next'",
    )
    .fetch_optional(conn)
    .await
}

pub(super) async fn insert_next(
    conn: &mut PgConnection,
    kid: &str,
    public_key: &[u8],
    private_key: &[u8],
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO identity.signing_key (kid, algorithm, public_key, private_key, state, created_at) VALUES ($1, 'EdDSA', $2, $3, 'next', $4)",
        kid,
        public_key,
        private_key,
        now,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Lets the next key sign; gives its id.
pub(super) async fn activate_next(conn: &mut PgConnection, now: DateTime<Utc>) -> Result<String, sqlx::Error> {
    sqlx::query_scalar!(
        "UPDATE identity.signing_key SET state = 'active', activated_at = $1 WHERE algorithm = 'EdDSA' AND state = 'next' RETURNING kid",
        now,
    )
    .fetch_one(conn)
    .await
}

pub(super) async fn retire_active(
    conn: &mut PgConnection,
    now: DateTime<Utc>,
    remove_at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE identity.signing_key SET state = 'retired', retired_at = $1, remove_at = $2, private_key = NULL
        WHERE algorithm = 'EdDSA' AND state = 'active'",
        now,
        remove_at,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Ids and public halves of the keys that verify tokens, or soon will.
pub(super) async fn published(pool: &PgPool, now: DateTime<Utc>) -> Result<Vec<(String, Vec<u8>)>, sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT kid, public_key FROM identity.signing_key WHERE state <> 'retired' OR remove_at > $1 ORDER BY created_at, kid",
        now,
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(|row| (row.kid, row.public_key)).collect())
}

/// Removes keys that are over; gives their ids.
pub(super) async fn remove_over(conn: &mut PgConnection, now: DateTime<Utc>) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(
        "DELETE FROM identity.signing_key WHERE state = 'retired' AND remove_at <= $1 RETURNING kid",
        now
    )
    .fetch_all(conn)
    .await
}

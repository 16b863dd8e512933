//! Statements on signing keys.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};

use super::algorithm::NewKey;
use super::{Algorithm, KeyStatus, Row};

/// Lets one replica at a time make or rotate keys; readers go on.
pub(super) async fn lock(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!("LOCK TABLE identity.signing_key IN SHARE ROW EXCLUSIVE MODE").execute(conn).await?;
    Ok(())
}

pub(super) async fn active(conn: &mut PgConnection, algorithm: Algorithm) -> Result<Option<Row>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        "SELECT kid, private_key, created_at, activated_at FROM identity.signing_key WHERE algorithm = $1 AND state = 'active'",
        algorithm.as_str(),
    )
    .fetch_optional(conn)
    .await
}

pub(super) async fn next(conn: &mut PgConnection, algorithm: Algorithm) -> Result<Option<Row>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        "SELECT kid, private_key, created_at, activated_at FROM identity.signing_key WHERE algorithm = $1 AND state = 'next'",
        algorithm.as_str(),
    )
    .fetch_optional(conn)
    .await
}

/// Publishes a key; its private half is sealed already.
pub(super) async fn insert_next(
    conn: &mut PgConnection,
    algorithm: Algorithm,
    kid: &str,
    sealed: &NewKey,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO identity.signing_key (kid, algorithm, public_key, private_key, state, created_at) VALUES ($1, $2, $3, $4, 'next', $5)",
        kid,
        algorithm.as_str(),
        sealed.public,
        sealed.private,
        now,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Lets the next key sign; gives its id.
pub(super) async fn activate_next(
    conn: &mut PgConnection,
    algorithm: Algorithm,
    now: DateTime<Utc>,
) -> Result<String, sqlx::Error> {
    sqlx::query_scalar!(
        "UPDATE identity.signing_key SET state = 'active', activated_at = $2 WHERE algorithm = $1 AND state = 'next' RETURNING kid",
        algorithm.as_str(),
        now,
    )
    .fetch_one(conn)
    .await
}

pub(super) async fn retire_active(
    conn: &mut PgConnection,
    algorithm: Algorithm,
    now: DateTime<Utc>,
    remove_at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE identity.signing_key SET state = 'retired', retired_at = $2, remove_at = $3, private_key = NULL
        WHERE algorithm = $1 AND state = 'active'",
        algorithm.as_str(),
        now,
        remove_at,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The newest keys that are kept, as operators see them, oldest first.
pub(super) async fn list(pool: &PgPool, limit: i64) -> Result<Vec<KeyStatus>, sqlx::Error> {
    sqlx::query_as!(
        KeyStatus,
        "SELECT n.kid, n.algorithm, n.state, n.created_at, n.activated_at, n.remove_at FROM (
            SELECT kid, algorithm, state, created_at, activated_at, remove_at FROM identity.signing_key
            ORDER BY created_at DESC, kid LIMIT $1
        ) AS n ORDER BY n.algorithm, n.created_at, n.kid",
        limit,
    )
    .fetch_all(pool)
    .await
}

/// A key's id, algorithm and public half.
pub(super) struct Published {
    pub kid: String,
    pub algorithm: String,
    pub public_key: Vec<u8>,
}

/// The keys that verify tokens, or soon will.
pub(super) async fn published(pool: &PgPool, now: DateTime<Utc>) -> Result<Vec<Published>, sqlx::Error> {
    sqlx::query_as!(
        Published,
        "SELECT kid, algorithm, public_key FROM identity.signing_key WHERE state <> 'retired' OR remove_at > $1
        ORDER BY algorithm, created_at, kid",
        now,
    )
    .fetch_all(pool)
    .await
}

/// A key that is kept, whether it is published or not.
pub(super) async fn find(pool: &PgPool, kid: &str) -> Result<Option<Published>, sqlx::Error> {
    sqlx::query_as!(Published, "SELECT kid, algorithm, public_key FROM identity.signing_key WHERE kid = $1", kid)
        .fetch_optional(pool)
        .await
}

/// Removes keys that left the key set until a time; gives their ids.
pub(super) async fn remove_over(conn: &mut PgConnection, until: DateTime<Utc>) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(
        "DELETE FROM identity.signing_key WHERE state = 'retired' AND remove_at <= $1 RETURNING kid",
        until
    )
    .fetch_all(conn)
    .await
}

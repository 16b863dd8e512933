//! Statements on sessions of the wall's viewers.

use chrono::{DateTime, Utc};
use sqlx::PgPool;

/// A session as it is stored.
pub(crate) struct Row {
    pub(crate) sealed: Vec<u8>,
    pub(crate) generation: i32,
}

/// Stores a new session.
pub(crate) async fn insert(
    pool: &PgPool,
    digest: &[u8],
    sealed: &[u8],
    expires_at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!("INSERT INTO ioc.session (digest, sealed, expires_at) VALUES ($1, $2, $3)", digest, sealed, expires_at)
        .execute(pool)
        .await
        .map(|_| ())
}

/// A session that has not run out.
pub(crate) async fn find(pool: &PgPool, digest: &[u8], now: DateTime<Utc>) -> Result<Option<Row>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        "SELECT sealed, generation FROM ioc.session WHERE digest = $1 AND expires_at > $2",
        digest,
        now
    )
    .fetch_optional(pool)
    .await
}

/// Takes it on oneself to renew the tokens of a generation until a moment; `false` when somebody else does or did.
pub(crate) async fn claim(
    pool: &PgPool,
    (digest, generation): (&[u8], i32),
    (now, until): (DateTime<Utc>, DateTime<Utc>),
) -> Result<bool, sqlx::Error> {
    let claimed = sqlx::query!(
        "UPDATE ioc.session SET refreshing_until = $4
        WHERE digest = $1 AND generation = $2 AND (refreshing_until IS NULL OR refreshing_until <= $3)",
        digest,
        generation,
        now,
        until
    )
    .execute(pool)
    .await?;
    Ok(claimed.rows_affected() == 1)
}

/// Stores the next generation of a session's tokens.
pub(crate) async fn renew(pool: &PgPool, (digest, generation): (&[u8], i32), sealed: &[u8]) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE ioc.session SET sealed = $3, generation = generation + 1, refreshing_until = NULL
        WHERE digest = $1 AND generation = $2",
        digest,
        generation,
        sealed
    )
    .execute(pool)
    .await
    .map(|_| ())
}

/// Lets somebody else try to renew a generation.
pub(crate) async fn release(pool: &PgPool, (digest, generation): (&[u8], i32)) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE ioc.session SET refreshing_until = NULL WHERE digest = $1 AND generation = $2",
        digest,
        generation
    )
    .execute(pool)
    .await
    .map(|_| ())
}

/// Ends a session.
pub(crate) async fn delete(pool: &PgPool, digest: &[u8]) -> Result<(), sqlx::Error> {
    sqlx::query!("DELETE FROM ioc.session WHERE digest = $1", digest).execute(pool).await.map(|_| ())
}

/// Removes what has run out.
pub(crate) async fn prune(pool: &PgPool, now: DateTime<Utc>) -> Result<u64, sqlx::Error> {
    let gone = sqlx::query!("DELETE FROM ioc.session WHERE expires_at <= $1", now).execute(pool).await?;
    Ok(gone.rows_affected())
}

//! Statements on PINs.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::Row;
use super::delay::Tally;
use crate::citizen::CitizenId;

pub(super) async fn exists(conn: &mut PgConnection, citizen: CitizenId) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM identity.pin WHERE citizen_id = $1) AS "exists!""#,
        citizen.uuid()
    )
    .fetch_one(conn)
    .await
}

/// Until when a PIN that was reset cools down, if it was.
pub(super) async fn cooling_until(
    conn: &mut PgConnection,
    citizen: CitizenId,
) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
    let found = sqlx::query_scalar!("SELECT cooling_until FROM identity.pin WHERE citizen_id = $1", citizen.uuid())
        .fetch_optional(conn)
        .await?;
    Ok(found.flatten())
}

/// The PIN, locked until the transaction ends.
pub(super) async fn lock(conn: &mut PgConnection, citizen: CitizenId) -> Result<Option<Row>, sqlx::Error> {
    let row = sqlx::query!(
        "SELECT hash, failures, retry_at FROM identity.pin WHERE citizen_id = $1 FOR UPDATE",
        citizen.uuid()
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| Row {
        hash: row.hash,
        tally: Tally {
            failures: u32::try_from(row.failures).expect("a CHECK holds failures above 0"),
            retry_at: row.retry_at,
        },
    }))
}

pub(super) async fn set_tally(conn: &mut PgConnection, citizen: CitizenId, tally: Tally) -> Result<(), sqlx::Error> {
    let failures = i32::try_from(tally.failures).unwrap_or(i32::MAX);
    sqlx::query!(
        "UPDATE identity.pin SET failures = $2, retry_at = $3 WHERE citizen_id = $1",
        citizen.uuid(),
        failures,
        tally.retry_at
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Forgets wrong PINs after a right one, unless the PIN was changed meanwhile.
pub(super) async fn clear_tally(conn: &mut PgConnection, citizen: CitizenId, hash: &str) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE identity.pin SET failures = 0, retry_at = NULL WHERE citizen_id = $1 AND hash = $2",
        citizen.uuid(),
        hash
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Sets the first PIN; `false` when there is one.
pub(super) async fn insert(
    conn: &mut PgConnection,
    citizen: CitizenId,
    hash: &str,
    now: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let result = sqlx::query!(
        "INSERT INTO identity.pin (citizen_id, hash, set_at) VALUES ($1, $2, $3) ON CONFLICT ON CONSTRAINT pin_pkey DO NOTHING",
        citizen.uuid(),
        hash,
        now,
    )
    .execute(conn)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// Replaces a PIN that still has the hash it was checked against; a cooling that runs goes on. `None` when it has not.
pub(super) async fn replace(
    conn: &mut PgConnection,
    citizen: CitizenId,
    old_hash: &str,
    hash: &str,
    now: DateTime<Utc>,
) -> Result<Option<Option<DateTime<Utc>>>, sqlx::Error> {
    sqlx::query_scalar!(
        "UPDATE identity.pin SET hash = $3, set_at = $4, failures = 0, retry_at = NULL WHERE citizen_id = $1 AND hash = $2
        RETURNING CASE WHEN cooling_until > $4 THEN cooling_until END",
        citizen.uuid(),
        old_hash,
        hash,
        now,
    )
    .fetch_optional(conn)
    .await
}

/// Sets a PIN whatever was there, cooling.
pub(super) async fn reset(
    conn: &mut PgConnection,
    citizen: CitizenId,
    hash: &str,
    cooling_until: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO identity.pin (citizen_id, hash, set_at, cooling_until) VALUES ($1, $2, $3, $4)
        ON CONFLICT ON CONSTRAINT pin_pkey DO UPDATE SET hash = $2, set_at = $3, cooling_until = $4, failures = 0, retry_at = NULL",
        citizen.uuid(),
        hash,
        now,
        cooling_until,
    )
    .execute(conn)
    .await?;
    Ok(())
}

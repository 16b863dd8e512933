//! Statements on challenges and on the pause between codes.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::{ChallengeId, Purpose, RETAKE, Row};
use crate::device::DeviceId;
use crate::vault::Digest;

/// How long a wiped challenge is kept, so that a late answer is told that it is late.
const KEPT: TimeDelta = TimeDelta::minutes(30);

/// When the device last had a code sent to the number.
pub(super) async fn sent_at(
    conn: &mut PgConnection,
    phone: &Digest,
    device: DeviceId,
) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
    sqlx::query_scalar!(
        "SELECT sent_at FROM identity.sending WHERE phone_digest = $1 AND device_id = $2",
        phone.as_slice(),
        device.uuid()
    )
    .fetch_optional(conn)
    .await
}

/// Starts the pause; `false` when one that began after `not_after` is running.
pub(super) async fn mark_sent(
    conn: &mut PgConnection,
    phone: &Digest,
    device: DeviceId,
    now: DateTime<Utc>,
    not_after: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let result = sqlx::query!(
        "INSERT INTO identity.sending AS s (phone_digest, device_id, sent_at) VALUES ($1, $2, $3)
        ON CONFLICT ON CONSTRAINT sending_pkey DO UPDATE SET sent_at = $3 WHERE s.sent_at <= $4",
        phone.as_slice(),
        device.uuid(),
        now,
        not_after,
    )
    .execute(conn)
    .await?;
    Ok(result.rows_affected() == 1)
}

pub(super) async fn insert(conn: &mut PgConnection, row: &Row) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO identity.challenge (id, purpose, phone_digest, phone, device_id, language, code_digest, code, created_at, expires_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        row.id.uuid(),
        row.purpose.as_str(),
        row.phone_digest.as_slice(),
        row.phone.as_deref(),
        row.device.uuid(),
        row.language,
        row.code_digest,
        row.code.as_deref(),
        row.created_at,
        row.expires_at,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// A challenge, locked until the transaction ends.
pub(super) async fn lock(conn: &mut PgConnection, id: ChallengeId) -> Result<Option<Row>, sqlx::Error> {
    // Reading follows in a statement of its own, which sees what was committed before the lock was had.
    sqlx::query!("SELECT id FROM identity.challenge WHERE id = $1 FOR UPDATE", id.uuid())
        .fetch_optional(&mut *conn)
        .await?;
    read(conn, id).await
}

/// A challenge as it is now.
pub(super) async fn read(conn: &mut PgConnection, id: ChallengeId) -> Result<Option<Row>, sqlx::Error> {
    let row = sqlx::query!(
        r#"SELECT purpose, phone_digest, phone, device_id, language, code_digest, code, tries, created_at, expires_at, taken_at,
            consumed_at IS NOT NULL AS "consumed!"
        FROM identity.challenge WHERE id = $1"#,
        id.uuid(),
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| Row {
        id,
        purpose: Purpose::named(&row.purpose).expect("a CHECK knows the purposes"),
        phone_digest: row.phone_digest.try_into().expect("a CHECK holds digests to 32 bytes"),
        phone: row.phone,
        device: row.device_id.into(),
        language: row.language,
        code_digest: row.code_digest,
        code: row.code,
        tries: u8::try_from(row.tries).expect("a CHECK holds tries between 0 and 5"),
        created_at: row.created_at,
        expires_at: row.expires_at,
        taken_at: row.taken_at,
        consumed: row.consumed,
    }))
}

/// Where a code went, whatever became of it.
pub(crate) struct Sent {
    pub phone_digest: Vec<u8>,
    pub device: Uuid,
    /// Who has the number, if anybody.
    pub citizen: Option<Uuid>,
}

/// Where a code went: the same look-ups whether or not somebody has the number.
pub(crate) async fn sent_to(conn: &mut PgConnection, id: ChallengeId) -> Result<Option<Sent>, sqlx::Error> {
    sqlx::query_as!(
        Sent,
        r#"SELECT h.phone_digest, h.device_id AS device,
            (SELECT c.id FROM identity.citizen c WHERE c.phone_digest = h.phone_digest) AS citizen
        FROM identity.challenge h WHERE h.id = $1"#,
        id.uuid(),
    )
    .fetch_optional(conn)
    .await
}

pub(super) async fn mark_taken(
    conn: &mut PgConnection,
    id: ChallengeId,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!("UPDATE identity.challenge SET taken_at = $2 WHERE id = $1", id.uuid(), now).execute(conn).await?;
    Ok(())
}

pub(super) async fn count_wrong(conn: &mut PgConnection, id: ChallengeId) -> Result<(), sqlx::Error> {
    sqlx::query!("UPDATE identity.challenge SET tries = tries + 1 WHERE id = $1", id.uuid()).execute(conn).await?;
    Ok(())
}

/// Uses a challenge up and wipes what is no longer needed.
pub(super) async fn consume(conn: &mut PgConnection, id: ChallengeId, now: DateTime<Utc>) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE identity.challenge SET consumed_at = $2, code = NULL, phone = NULL WHERE id = $1",
        id.uuid(),
        now
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Wipes what was taken or has expired, and removes challenges and pauses that are over. At most `batch` rows of each.
pub(crate) async fn prune(
    pool: &PgPool,
    now: DateTime<Utc>,
    pause_over: DateTime<Utc>,
    batch: i64,
) -> Result<u64, sqlx::Error> {
    let taken = sqlx::query!(
        "UPDATE identity.challenge SET code = NULL WHERE id IN (
            SELECT id FROM identity.challenge WHERE code IS NOT NULL AND taken_at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED)",
        now - RETAKE,
        batch,
    )
    .execute(pool)
    .await?;
    let expired = sqlx::query!(
        "UPDATE identity.challenge SET code = NULL, phone = NULL WHERE id IN (
            SELECT id FROM identity.challenge WHERE phone IS NOT NULL AND expires_at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED)",
        now,
        batch,
    )
    .execute(pool)
    .await?;
    let over = sqlx::query!(
        "DELETE FROM identity.challenge WHERE id IN (
            SELECT id FROM identity.challenge WHERE expires_at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED)",
        now - KEPT,
        batch,
    )
    .execute(pool)
    .await?;
    let pauses = sqlx::query!(
        "DELETE FROM identity.sending WHERE (phone_digest, device_id) IN (
            SELECT phone_digest, device_id FROM identity.sending WHERE sent_at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED)",
        pause_over,
        batch,
    )
    .execute(pool)
    .await?;
    Ok([taken, expired, over, pauses].iter().map(|done| done.rows_affected()).max().unwrap_or_default())
}

//! Statements on devices. The lock of the citizen is held by whoever writes, but for [`confirm_key`], which takes one row.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::{Announcement, DeviceId, Row};
use crate::citizen::CitizenId;
use crate::name::{PlainName, SealedNames, StoredName};
use crate::session::SessionId;
use crate::vault::Digest;

/// Whether a citizen with this number has signed in on the device.
pub(crate) async fn is_known(conn: &mut PgConnection, phone: &Digest, device: DeviceId) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (
            SELECT 1 FROM identity.device d JOIN identity.citizen c ON c.id = d.citizen_id
            WHERE c.phone_digest = $1 AND d.id = $2
        ) AS "known!""#,
        phone.as_slice(),
        device.uuid(),
    )
    .fetch_one(conn)
    .await
}

/// The key of a device.
pub(crate) struct Key {
    /// SubjectPublicKeyInfo, DER.
    pub spki: Vec<u8>,
    /// Since when the device has it.
    pub bound_at: DateTime<Utc>,
    /// Whether the PIN was typed since in a session of the device.
    pub is_confirmed: bool,
}

/// The key of a citizen's device, if it announced one.
pub(crate) async fn key(
    conn: &mut PgConnection,
    citizen: CitizenId,
    device: DeviceId,
) -> Result<Option<Key>, sqlx::Error> {
    sqlx::query_as!(
        Key,
        r#"SELECT public_key AS "spki!", COALESCE(key_bound_at, last_seen_at) AS "bound_at!",
            key_confirmed_at IS NOT NULL AS "is_confirmed!"
        FROM identity.device WHERE citizen_id = $1 AND id = $2 AND public_key IS NOT NULL"#,
        citizen.uuid(),
        device.uuid(),
    )
    .fetch_optional(conn)
    .await
}

/// Confirms the key of the device of a live session, if the session is not older than the key.
pub(crate) async fn confirm_key(
    conn: &mut PgConnection,
    (citizen, session): (CitizenId, SessionId),
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE identity.device AS d SET key_confirmed_at = $3 FROM identity.session AS s
        WHERE s.id = $2 AND s.citizen_id = $1 AND s.ended_at IS NULL AND d.citizen_id = s.citizen_id AND d.id = s.device_id
            AND d.public_key IS NOT NULL AND d.key_confirmed_at IS NULL
            AND COALESCE(d.key_bound_at, d.last_seen_at) <= s.authenticated_at",
        citizen.uuid(),
        session.uuid(),
        now,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Updates a known device; `false` when it is not known. A key once given stays until another comes, which is bound anew.
pub(super) async fn touch(
    conn: &mut PgConnection,
    citizen: CitizenId,
    (device, name): (&Announcement, &[u8]),
    now: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let result = sqlx::query!(
        "UPDATE identity.device SET name = NULL, name_sealed = $3, public_key = COALESCE($4, public_key), last_seen_at = $5,
            key_bound_at = CASE WHEN $4 <> COALESCE(public_key, '') THEN $5
                WHEN public_key IS NOT NULL THEN COALESCE(key_bound_at, last_seen_at) END,
            key_confirmed_at = CASE WHEN $4 <> COALESCE(public_key, '') THEN NULL ELSE key_confirmed_at END
        WHERE citizen_id = $1 AND id = $2",
        citizen.uuid(),
        device.id.uuid(),
        name,
        device.public_key.as_deref(),
        now,
    )
    .execute(conn)
    .await?;
    Ok(result.rows_affected() == 1)
}

pub(super) async fn insert(
    conn: &mut PgConnection,
    citizen: CitizenId,
    (device, name): (&Announcement, &[u8]),
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO identity.device (citizen_id, id, name_sealed, public_key, created_at, last_seen_at, key_bound_at)
        VALUES ($1, $2, $3, $4, $5, $5, CASE WHEN $4::bytea IS NOT NULL THEN $5::timestamptz END)",
        citizen.uuid(),
        device.id.uuid(),
        name,
        device.public_key.as_deref(),
        now,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Deletes all but `keep` and the `spared` others seen last.
pub(super) async fn delete_beyond(
    conn: &mut PgConnection,
    citizen: CitizenId,
    keep: DeviceId,
    spared: i64,
) -> Result<Vec<DeviceId>, sqlx::Error> {
    let gone = sqlx::query_scalar!(
        "DELETE FROM identity.device WHERE citizen_id = $1 AND id IN (
            SELECT id FROM identity.device WHERE citizen_id = $1 AND id <> $2 ORDER BY last_seen_at DESC, id OFFSET $3
        ) RETURNING id",
        citizen.uuid(),
        keep.uuid(),
        spared,
    )
    .fetch_all(conn)
    .await?;
    Ok(gone.into_iter().map(DeviceId::from).collect())
}

pub(super) async fn delete(conn: &mut PgConnection, citizen: CitizenId, device: DeviceId) -> Result<bool, sqlx::Error> {
    let result =
        sqlx::query!("DELETE FROM identity.device WHERE citizen_id = $1 AND id = $2", citizen.uuid(), device.uuid())
            .execute(conn)
            .await?;
    Ok(result.rows_affected() == 1)
}

pub(super) async fn list(conn: &mut PgConnection, citizen: CitizenId) -> Result<Vec<Row>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT d.id, d.name, d.name_sealed, d.public_key IS NOT NULL AS "has_key!", d.created_at,
            GREATEST(d.last_seen_at, s.rotated_at) AS "last_seen_at!", s.id AS "session?"
        FROM identity.device d
        LEFT JOIN identity.session s ON s.citizen_id = d.citizen_id AND s.device_id = d.id AND s.ended_at IS NULL AND s.client IN ('app', 'browser')
        WHERE d.citizen_id = $1
        ORDER BY "last_seen_at!" DESC, d.id
        LIMIT $2"#,
        citizen.uuid(),
        super::MAX_DEVICES,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Row {
            id: row.id.into(),
            name: StoredName { plain: row.name, sealed: row.name_sealed },
            has_key: row.has_key,
            created_at: row.created_at,
            last_seen_at: row.last_seen_at,
            session: row.session.map(Into::into),
        })
        .collect())
}

/// Plain names of citizens who are there, the first `limit` whose rows nobody holds, locked.
pub(crate) async fn plain_names(
    tx: &mut PgConnection,
    passed_over: &[uuid::Uuid],
    limit: i64,
) -> Result<Vec<PlainName>, sqlx::Error> {
    sqlx::query_as!(
        PlainName,
        r#"SELECT d.citizen_id AS citizen, c.data_key, d.id AS row, d.name AS "name!"
        FROM identity.device d JOIN identity.citizen c ON c.id = d.citizen_id
        WHERE d.name IS NOT NULL AND c.erased_at IS NULL AND d.citizen_id <> ALL ($2)
        ORDER BY d.citizen_id, d.id LIMIT $1 FOR NO KEY UPDATE OF d SKIP LOCKED"#,
        limit,
        passed_over,
    )
    .fetch_all(tx)
    .await
}

/// Puts sealed names in the place of plain ones.
pub(crate) async fn seal_names(tx: &mut PgConnection, sealed: &SealedNames) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE identity.device AS d SET name = NULL, name_sealed = s.name
        FROM UNNEST($1::uuid[], $2::uuid[], $3::bytea[]) AS s (citizen_id, id, name)
        WHERE d.citizen_id = s.citizen_id AND d.id = s.id",
        &sealed.citizens,
        &sealed.rows,
        &sealed.names,
    )
    .execute(tx)
    .await?;
    Ok(())
}

//! Statements on sessions and their revocations.
//!
//! Roles, when the first of them ends, and their epoch are read in one statement, so of one moment: a token with the roles of
//! before has the epoch of before.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::{EndReason, RefreshToken, Revoked, Session, SessionId};
use crate::citizen::CitizenId;
use crate::device::DeviceId;
use crate::revocation;

/// How long the row of a session that is over is kept, so that its replays still show as such.
const KEPT: TimeDelta = TimeDelta::days(1);

struct Row {
    id: Uuid,
    citizen_id: Uuid,
    device_id: Uuid,
    client: String,
    scope: String,
    acr: String,
    amr: Vec<String>,
    salt: Vec<u8>,
    generation: i32,
    authenticated_at: DateTime<Utc>,
    rotated_at: DateTime<Utc>,
    idle_expires_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
    ended: bool,
    roles: Vec<String>,
    roles_until: Option<DateTime<Utc>>,
    role_epoch: i32,
    sector: Option<String>,
}

impl From<Row> for Session {
    fn from(row: Row) -> Self {
        Self {
            id: row.id.into(),
            citizen: row.citizen_id.into(),
            device: row.device_id.into(),
            client: row.client,
            scope: row.scope,
            acr: row.acr,
            amr: row.amr,
            salt: row.salt.try_into().expect("a CHECK holds salts to 16 bytes"),
            generation: u32::try_from(row.generation).expect("a CHECK holds generations above 0"),
            authenticated_at: row.authenticated_at,
            rotated_at: row.rotated_at,
            idle_expires_at: row.idle_expires_at,
            expires_at: row.expires_at,
            ended: row.ended,
            roles: row.roles,
            roles_until: row.roles_until,
            role_epoch: revocation::epoch_of(row.role_epoch),
            sector: row.sector,
        }
    }
}

/// Rotates the family of a client if the token is its newest: the whole decision in one statement.
pub(super) async fn rotate(
    conn: &mut PgConnection,
    (client, token): (&str, &RefreshToken),
    idle_expires_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<Option<Session>, sqlx::Error> {
    let Ok(generation) = i32::try_from(token.generation) else { return Ok(None) };
    let row = sqlx::query_as!(
        Row,
        r#"UPDATE identity.session
        SET generation = generation + 1, rotated_at = $5, idle_expires_at = LEAST($4, expires_at)
        WHERE id = $1 AND generation = $2 AND salt = $3 AND ended_at IS NULL AND idle_expires_at > $5 AND client = $6
        RETURNING id, citizen_id, device_id, client, scope, acr, amr, salt, generation, authenticated_at, rotated_at,
            idle_expires_at, expires_at, sector, ended_at IS NOT NULL AS "ended!",
            ARRAY(SELECT g.name FROM identity.role_grant g WHERE g.user_id = session.citizen_id AND g.revoked_at IS NULL
                AND identity.counts_at(g.valid_from, g.valid_until, $5) ORDER BY g.name) AS "roles!",
            (SELECT min(g.valid_until) FROM identity.role_grant g WHERE g.user_id = session.citizen_id
                AND g.revoked_at IS NULL AND identity.counts_at(g.valid_from, g.valid_until, $5)) AS roles_until,
            (SELECT count(*)::integer FROM identity.role_grant g
                WHERE g.user_id = session.citizen_id AND g.revoked_at IS NOT NULL) AS "role_epoch!""#,
        token.session.uuid(),
        generation,
        token.salt.as_slice(),
        idle_expires_at,
        now,
        client,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(Into::into))
}

/// A session, locked until the transaction ends.
pub(crate) async fn lock(
    conn: &mut PgConnection,
    id: SessionId,
    now: DateTime<Utc>,
) -> Result<Option<Session>, sqlx::Error> {
    let row = sqlx::query_as!(
        Row,
        r#"SELECT id, citizen_id, device_id, client, scope, acr, amr, salt, generation, authenticated_at, rotated_at,
            idle_expires_at, expires_at, sector, ended_at IS NOT NULL AS "ended!",
            ARRAY(SELECT g.name FROM identity.role_grant g WHERE g.user_id = session.citizen_id AND g.revoked_at IS NULL
                AND identity.counts_at(g.valid_from, g.valid_until, $2) ORDER BY g.name) AS "roles!",
            (SELECT min(g.valid_until) FROM identity.role_grant g WHERE g.user_id = session.citizen_id
                AND g.revoked_at IS NULL AND identity.counts_at(g.valid_from, g.valid_until, $2)) AS roles_until,
            (SELECT count(*)::integer FROM identity.role_grant g
                WHERE g.user_id = session.citizen_id AND g.revoked_at IS NOT NULL) AS "role_epoch!"
        FROM identity.session WHERE id = $1 FOR UPDATE"#,
        id.uuid(),
        now,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(Into::into))
}

/// A session as it is now.
pub(crate) async fn find(
    conn: &mut PgConnection,
    id: SessionId,
    now: DateTime<Utc>,
) -> Result<Option<Session>, sqlx::Error> {
    let row = sqlx::query_as!(
        Row,
        r#"SELECT id, citizen_id, device_id, client, scope, acr, amr, salt, generation, authenticated_at, rotated_at,
            idle_expires_at, expires_at, sector, ended_at IS NOT NULL AS "ended!",
            ARRAY(SELECT g.name FROM identity.role_grant g WHERE g.user_id = session.citizen_id AND g.revoked_at IS NULL
                AND identity.counts_at(g.valid_from, g.valid_until, $2) ORDER BY g.name) AS "roles!",
            (SELECT min(g.valid_until) FROM identity.role_grant g WHERE g.user_id = session.citizen_id
                AND g.revoked_at IS NULL AND identity.counts_at(g.valid_from, g.valid_until, $2)) AS roles_until,
            (SELECT count(*)::integer FROM identity.role_grant g
                WHERE g.user_id = session.citizen_id AND g.revoked_at IS NOT NULL) AS "role_epoch!"
        FROM identity.session WHERE id = $1"#,
        id.uuid(),
        now,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(Into::into))
}

/// The device of a session that has not ended.
pub(super) async fn device_of(
    conn: &mut PgConnection,
    citizen: CitizenId,
    id: SessionId,
) -> Result<Option<DeviceId>, sqlx::Error> {
    let device = sqlx::query_scalar!(
        "SELECT device_id FROM identity.session WHERE id = $1 AND citizen_id = $2 AND ended_at IS NULL",
        id.uuid(),
        citizen.uuid(),
    )
    .fetch_optional(conn)
    .await?;
    Ok(device.map(DeviceId::from))
}

/// Stores a new session and adds what its citizen holds.
pub(crate) async fn insert(conn: &mut PgConnection, session: Session) -> Result<Session, sqlx::Error> {
    let held = sqlx::query!(
        r#"INSERT INTO identity.session
            (id, citizen_id, device_id, client, scope, acr, amr, salt, authenticated_at, rotated_at, idle_expires_at, expires_at,
             sector)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
        RETURNING
            ARRAY(SELECT g.name FROM identity.role_grant g WHERE g.user_id = session.citizen_id AND g.revoked_at IS NULL
                AND identity.counts_at(g.valid_from, g.valid_until, $10) ORDER BY g.name) AS "roles!",
            (SELECT min(g.valid_until) FROM identity.role_grant g WHERE g.user_id = session.citizen_id
                AND g.revoked_at IS NULL AND identity.counts_at(g.valid_from, g.valid_until, $10)) AS roles_until,
            (SELECT count(*)::integer FROM identity.role_grant g
                WHERE g.user_id = session.citizen_id AND g.revoked_at IS NOT NULL) AS "role_epoch!""#,
        session.id.uuid(),
        session.citizen.uuid(),
        session.device.uuid(),
        session.client,
        session.scope,
        session.acr,
        &session.amr,
        session.salt.as_slice(),
        session.authenticated_at,
        session.rotated_at,
        session.idle_expires_at,
        session.expires_at,
        session.sector,
    )
    .fetch_one(conn)
    .await?;
    let role_epoch = revocation::epoch_of(held.role_epoch);
    Ok(Session { roles: held.roles, roles_until: held.roles_until, role_epoch, ..session })
}

/// Ends one session.
pub(super) async fn end(
    conn: &mut PgConnection,
    id: SessionId,
    reason: EndReason,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE identity.session SET ended_at = $2, end_reason = $3 WHERE id = $1 AND ended_at IS NULL",
        id.uuid(),
        now,
        reason.as_str(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Ends the sessions of a client (of any, without one) on some devices of a citizen, oldest first, and tells which.
pub(super) async fn end_on_devices(
    conn: &mut PgConnection,
    (citizen, client): (CitizenId, Option<&str>),
    devices: &[DeviceId],
    reason: EndReason,
    now: DateTime<Utc>,
) -> Result<Vec<SessionId>, sqlx::Error> {
    let devices: Vec<Uuid> = devices.iter().map(|device| device.uuid()).collect();
    let mut ended = sqlx::query_scalar!(
        "UPDATE identity.session SET ended_at = $3, end_reason = $4
        WHERE citizen_id = $1 AND device_id = ANY ($2) AND ended_at IS NULL AND client = COALESCE($5, client) RETURNING id",
        citizen.uuid(),
        &devices,
        now,
        reason.as_str(),
        client,
    )
    .fetch_all(conn)
    .await?;
    ended.sort_unstable();
    Ok(ended.into_iter().map(SessionId::from).collect())
}

/// Ends sessions of a client, at most `batch`, and tells whose and which.
pub(crate) async fn end_of_client(
    conn: &mut PgConnection,
    client: &str,
    (reason, batch): (EndReason, i64),
    now: DateTime<Utc>,
) -> Result<Vec<(CitizenId, SessionId)>, sqlx::Error> {
    let ended = sqlx::query!(
        "UPDATE identity.session SET ended_at = $2, end_reason = $3 WHERE id = ANY (ARRAY(
            SELECT id FROM identity.session
            WHERE client = $1 AND client NOT IN ('app', 'browser') AND ended_at IS NULL ORDER BY id LIMIT $4 FOR UPDATE))
        RETURNING id, citizen_id",
        client,
        now,
        reason.as_str(),
        batch,
    )
    .fetch_all(conn)
    .await?;
    Ok(ended.into_iter().map(|row| (row.citizen_id.into(), row.id.into())).collect())
}

/// Records revocations at the next positions, under the head's lock.
pub(crate) async fn revoke(
    conn: &mut PgConnection,
    sessions: &[SessionId],
    forget_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<Vec<Revoked>, sqlx::Error> {
    let ids: Vec<Uuid> = sessions.iter().map(|session| session.uuid()).collect();
    let count = i64::try_from(ids.len()).expect("a citizen has few sessions");
    let first = revocation::take_positions(&mut *conn, count).await?;
    sqlx::query!(
        "INSERT INTO identity.revocation (position, session_id, revoked_at, forget_at)
        SELECT $1 + listed.place - 1, listed.id, $3, $4 FROM unnest($2::uuid[]) WITH ORDINALITY AS listed (id, place)",
        first,
        &ids,
        now,
        forget_at,
    )
    .execute(conn)
    .await?;
    Ok(sessions
        .iter()
        .zip(first..)
        .map(|(session, position)| Revoked { session: *session, position, forget_at })
        .collect())
}

/// Removes sessions that are over. At most `batch` rows of each.
pub(crate) async fn prune(pool: &PgPool, now: DateTime<Utc>, batch: i64) -> Result<u64, sqlx::Error> {
    let expired = sqlx::query!(
        "DELETE FROM identity.session WHERE id IN (
            SELECT id FROM identity.session WHERE idle_expires_at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED)",
        now - KEPT,
        batch,
    )
    .execute(pool)
    .await?;
    let ended = sqlx::query!(
        "DELETE FROM identity.session WHERE id IN (
            SELECT id FROM identity.session WHERE ended_at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED)",
        now - KEPT,
        batch,
    )
    .execute(pool)
    .await?;
    Ok(expired.rows_affected().max(ended.rows_affected()))
}

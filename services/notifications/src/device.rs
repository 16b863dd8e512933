//! Devices that take push messages.
//!
//! Invariants:
//! - A token belongs to one citizen, the one who registered it last; a citizen has at most [`MAX_DEVICES`].
//! - Token and name are sealed under the citizen's key (`person`).
//! - A device ends with the session that registered it last.
//!
//! Lock: an advisory one for each citizen, taken by [`register`] and by [`end_sessions`], so that a session that ends
//! while it registers a device leaves none behind. Several are taken in the order of citizens.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use platform::person::{PersonError, PersonKeys};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::error::Error;
use crate::person::{self, NAME, TOKEN};

/// Devices of one citizen at most.
pub(crate) const MAX_DEVICES: i64 = 20;
/// Characters of a token at most.
const MAX_TOKEN: usize = 4_096;
/// Characters of a name at most.
const MAX_NAME: usize = 100;

platform::typed_id! {
    /// One device of a citizen.
    pub(crate) struct DeviceId;
}

/// A device as its owner sees it. The token is not shown again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Device {
    pub(crate) id: DeviceId,
    pub(crate) name: String,
    pub(crate) created_at: DateTime<Utc>,
}

/// A device to register. Invariant: token and name are within their bounds.
#[derive(Clone, Debug)]
pub(crate) struct NewDevice {
    token: String,
    name: String,
}

impl NewDevice {
    /// Checks token and name.
    ///
    /// # Errors
    /// [`Error::InvalidField`].
    pub(crate) fn try_new(token: String, name: String) -> Result<Self, Error> {
        let visible = token.bytes().all(|byte| byte.is_ascii_graphic());
        if token.is_empty() || token.len() > MAX_TOKEN || !visible {
            return Err(Error::InvalidField { field: "token", min: 1, max: MAX_TOKEN });
        }
        let name = name.trim().to_owned();
        if name.is_empty() || name.chars().count() > MAX_NAME || name.chars().any(char::is_control) {
            return Err(Error::InvalidField { field: "name", min: 1, max: MAX_NAME });
        }
        Ok(Self { token, name })
    }
}

/// Who registers a device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner {
    pub(crate) user: Uuid,
    pub(crate) session: Uuid,
}

/// A session that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EndedSession {
    pub(crate) user: Uuid,
    pub(crate) session: Uuid,
    /// When every token of it has expired by itself.
    pub(crate) forget_at: DateTime<Utc>,
}

/// Registers a device, or renames the one that has the token and makes it this session's. Call it in a transaction.
///
/// # Errors
/// [`Error::TooManyDevices`], [`Error::SessionEnded`].
pub(crate) async fn register(
    connection: &mut PgConnection,
    persons: &PersonKeys,
    owner: Owner,
    device: &NewDevice,
    now: DateTime<Utc>,
) -> Result<Device, Error> {
    let Owner { user, session } = owner;
    // Two registrations of one citizen are counted one after the other.
    lock(&mut *connection, user).await?;
    let ended = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM notifications.ended_session WHERE session_id = $1) AS "ended!""#,
        session
    );
    if ended.fetch_one(&mut *connection).await? {
        return Err(Error::SessionEnded);
    }
    let key = persons.for_sealing(&mut *connection, user, now).await?;
    let registered = own_or_new(connection, persons, user, (device, now)).await?;
    let row = registered.id;
    // Whoever else registers the token at this moment waits here, and then takes it over.
    sqlx::query!(
        "INSERT INTO notifications.device
             (id, user_id, platform, token_lookup, token_sealed, name_sealed, created_at, session_id)
         VALUES ($1, $2, 'fcm', $3, $4, $5, $6, $7)
         ON CONFLICT ON CONSTRAINT device_token_lookup_is_unique DO UPDATE
             SET id = excluded.id, created_at = excluded.created_at, user_id = excluded.user_id, session_id = excluded.session_id,
                 token_sealed = excluded.token_sealed, name_sealed = excluded.name_sealed",
        row.uuid(),
        user,
        &persons.lookup(TOKEN, &device.token)[..],
        key.seal(TOKEN, row, &device.token),
        key.seal(NAME, row, &device.name),
        registered.created_at,
        session
    )
    .execute(&mut *connection)
    .await?;
    let count =
        sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM notifications.device WHERE user_id = $1"#, user);
    if count.fetch_one(connection).await? > MAX_DEVICES {
        return Err(Error::TooManyDevices(MAX_DEVICES));
    }
    Ok(registered)
}

/// The citizen's device that has the token, under its new name, else a new one.
///
/// A device that changes hands is a new device: its new owner must not learn the old id.
async fn own_or_new(
    connection: &mut PgConnection,
    persons: &PersonKeys,
    user: Uuid,
    (device, now): (&NewDevice, DateTime<Utc>),
) -> Result<Device, sqlx::Error> {
    // Rows from before tokens were sealed, or from before the configured secret changed, are looked up like all others from now on.
    let known = sqlx::query!(
        "UPDATE notifications.device SET token = NULL, name = NULL, token_lookup = $3
         WHERE platform = 'fcm' AND (token = $1 OR token_lookup = ANY ($2))
         RETURNING id, user_id, created_at",
        device.token,
        &persons.lookups(TOKEN, &device.token),
        &persons.lookup(TOKEN, &device.token)[..]
    )
    .fetch_optional(connection)
    .await?;
    let name = device.name.clone();
    Ok(match known.filter(|known| known.user_id == user) {
        Some(known) => Device { id: known.id.into(), name, created_at: known.created_at },
        None => Device { id: DeviceId::generate(), name, created_at: now },
    })
}

async fn lock(connection: &mut PgConnection, user: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query!("SELECT pg_advisory_xact_lock(hashtextextended('device:' || $1::text, 0))", user.to_string())
        .execute(connection)
        .await
        .map(|_| ())
}

/// Removes the devices of sessions that ended, and keeps those sessions from registering others. Call it in a transaction.
pub(crate) async fn end_sessions(connection: &mut PgConnection, ended: &[EndedSession]) -> Result<(), sqlx::Error> {
    if ended.is_empty() {
        return Ok(());
    }
    for user in ended.iter().map(|one| one.user).collect::<BTreeSet<Uuid>>() {
        lock(&mut *connection, user).await?;
    }
    let sessions: Vec<Uuid> = ended.iter().map(|one| one.session).collect();
    let times: Vec<DateTime<Utc>> = ended.iter().map(|one| one.forget_at).collect();
    sqlx::query!(
        "INSERT INTO notifications.ended_session (session_id, forget_at)
         SELECT session_id, forget_at FROM unnest($1::uuid[], $2::timestamptz[]) AS ended (session_id, forget_at)
         ON CONFLICT ON CONSTRAINT ended_session_pk DO NOTHING",
        &sessions,
        &times
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!("DELETE FROM notifications.device WHERE session_id = ANY ($1)", &sessions).execute(connection).await?;
    Ok(())
}

/// Forgets ended sessions of which no token can be alive, at most `batch`. Tells how many.
pub(crate) async fn forget_sessions(pool: &PgPool, now: DateTime<Utc>, batch: i64) -> Result<u64, sqlx::Error> {
    let forgotten = sqlx::query!(
        "DELETE FROM notifications.ended_session WHERE session_id = ANY (ARRAY(
             SELECT session_id FROM notifications.ended_session WHERE forget_at < $1 LIMIT $2))",
        now,
        batch
    );
    Ok(forgotten.execute(pool).await?.rows_affected())
}

/// A citizen's devices after an id, oldest first, at most `limit`.
///
/// # Errors
/// When the database does not answer, or a name does not open.
pub(crate) async fn list(
    (pool, persons): (&PgPool, &PersonKeys),
    user: Uuid,
    after: Option<DeviceId>,
    limit: i64,
) -> Result<Vec<Device>, Error> {
    let mut connection = pool.acquire().await?;
    let rows = sqlx::query!(
        r#"SELECT id, name, name_sealed, created_at FROM notifications.device
           WHERE user_id = $1 AND ($2::uuid IS NULL OR id > $2) ORDER BY id LIMIT $3"#,
        user,
        after.map(DeviceId::uuid),
        limit
    )
    .fetch_all(&mut *connection)
    .await?;
    let key = persons.find(&mut connection, &[user]).await?.remove(&user);
    let devices = rows.into_iter().map(|row| {
        let name = person::text(key.as_ref(), (NAME, row.id), (row.name_sealed.as_deref(), row.name))?;
        Ok(Device { id: row.id.into(), name: name.unwrap_or_default(), created_at: row.created_at })
    });
    devices.collect()
}

/// Removes a citizen's device.
///
/// # Errors
/// [`Error::NotFound`] when this citizen has no such device.
pub(crate) async fn remove(pool: &PgPool, user: Uuid, device: DeviceId) -> Result<(), Error> {
    let removed = sqlx::query!("DELETE FROM notifications.device WHERE id = $1 AND user_id = $2", device.uuid(), user);
    if removed.execute(pool).await?.rows_affected() == 0 { Err(Error::NotFound) } else { Ok(()) }
}

/// Removes devices whose token the gateway called dead, unless it was registered again meanwhile under another id.
pub(crate) async fn remove_dead(pool: &PgPool, devices: &[Uuid]) -> Result<(), sqlx::Error> {
    sqlx::query!("DELETE FROM notifications.device WHERE id = ANY ($1)", devices).execute(pool).await?;
    Ok(())
}

/// Where a push message still has to go.
pub(crate) struct Target {
    pub(crate) id: Uuid,
    pub(crate) token: String,
}

/// A citizen's devices that no attempt for this message has reached yet.
pub(crate) async fn unreached(
    (pool, persons): (&PgPool, &PersonKeys),
    user: Uuid,
    message: Uuid,
) -> Result<Vec<Target>, PersonError> {
    let mut connection = pool.acquire().await?;
    let rows = sqlx::query!(
        "SELECT id, token, token_sealed FROM notifications.device
         WHERE user_id = $1 AND NOT EXISTS (
             SELECT FROM notifications.attempt
             WHERE attempt.message_id = $2 AND attempt.device_id = device.id AND attempt.outcome = 'delivered')
         ORDER BY id LIMIT $3",
        user,
        message,
        MAX_DEVICES
    )
    .fetch_all(&mut *connection)
    .await?;
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let key = persons.find(&mut connection, &[user]).await?.remove(&user);
    let mut targets = Vec::with_capacity(rows.len());
    for row in rows {
        let token = person::text(key.as_ref(), (TOKEN, row.id), (row.token_sealed.as_deref(), row.token))?;
        targets.extend(token.map(|token| Target { id: row.id, token }));
    }
    Ok(targets)
}

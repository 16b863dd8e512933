//! Statements on visits to VNeID and on links to it.

use chrono::{DateTime, Utc};
use platform::auth::Principal;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::citizen::CitizenId;
use crate::device::DeviceId;
use crate::vault::Digest;

/// Takes out the oldest visits but `kept`.
pub(super) async fn make_room(conn: &mut PgConnection, citizen: Uuid, kept: i64) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "DELETE FROM identity.vneid_attempt WHERE digest = ANY (ARRAY(
            SELECT digest FROM identity.vneid_attempt WHERE citizen_id = $1 ORDER BY expires_at DESC, digest OFFSET $2))",
        citizen,
        kept,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn insert(
    conn: &mut PgConnection,
    caller: &Principal,
    (digest, secret): (&Digest, &[u8]),
    expires_at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO identity.vneid_attempt (digest, citizen_id, session_id, secret, expires_at) VALUES ($1, $2, $3, $4, $5)",
        digest.as_slice(),
        caller.subject,
        caller.session,
        secret,
        expires_at,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes out a visit of this session that still waits; gives its sealed secret.
pub(super) async fn take(
    conn: &mut PgConnection,
    caller: &Principal,
    digest: &Digest,
    now: DateTime<Utc>,
) -> Result<Option<Vec<u8>>, sqlx::Error> {
    sqlx::query_scalar!(
        "DELETE FROM identity.vneid_attempt WHERE digest = $1 AND citizen_id = $2 AND session_id = $3 AND expires_at > $4 RETURNING secret",
        digest.as_slice(),
        caller.subject,
        caller.session,
        now,
    )
    .fetch_optional(conn)
    .await
}

/// A visit by which somebody signs in.
pub(super) struct SignIn {
    /// Of the state that comes back.
    pub digest: Digest,
    pub device: DeviceId,
    /// Of the verifier that an app comes back with; a browser has none.
    pub challenge: Option<Digest>,
}

pub(super) async fn insert_sign_in(
    conn: &mut PgConnection,
    visit: &SignIn,
    secret: &[u8],
    expires_at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO identity.vneid_sign_in (digest, device_id, challenge, secret, expires_at) VALUES ($1, $2, $3, $4, $5)",
        visit.digest.as_slice(),
        visit.device.uuid(),
        visit.challenge.as_ref().map(|digest| digest.as_slice()),
        secret,
        expires_at,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes out a visit that still waits for exactly this return; gives its sealed secret.
pub(super) async fn take_sign_in(
    conn: &mut PgConnection,
    visit: &SignIn,
    now: DateTime<Utc>,
) -> Result<Option<Vec<u8>>, sqlx::Error> {
    sqlx::query_scalar!(
        "DELETE FROM identity.vneid_sign_in WHERE digest = $1 AND device_id = $2 AND challenge IS NOT DISTINCT FROM $3 AND expires_at > $4
        RETURNING secret",
        visit.digest.as_slice(),
        visit.device.uuid(),
        visit.challenge.as_ref().map(|digest| digest.as_slice()),
        now,
    )
    .fetch_optional(conn)
    .await
}

/// Whose an account is.
pub(crate) async fn whose(conn: &mut PgConnection, account: &Digest) -> Result<Option<CitizenId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT citizen_id AS "citizen: CitizenId" FROM identity.vneid_link WHERE digest = $1"#,
        account.as_slice(),
    )
    .fetch_optional(conn)
    .await
}

/// The account that a citizen is linked to.
pub(super) async fn linked(conn: &mut PgConnection, citizen: CitizenId) -> Result<Option<Vec<u8>>, sqlx::Error> {
    sqlx::query_scalar!("SELECT digest FROM identity.vneid_link WHERE citizen_id = $1", citizen.uuid())
        .fetch_optional(conn)
        .await
}

/// Links a citizen to an account; `false` when it is another citizen's. Under the citizen's lock.
pub(super) async fn link(
    conn: &mut PgConnection,
    citizen: CitizenId,
    account: &Digest,
    now: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    sqlx::query!(
        "INSERT INTO identity.vneid_link (citizen_id, digest, linked_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        citizen.uuid(),
        account.as_slice(),
        now,
    )
    .execute(&mut *conn)
    .await?;
    Ok(whose(conn, account).await? == Some(citizen))
}

/// Takes a citizen's link out; `false` when there is none. Under the citizen's lock.
pub(super) async fn unlink(conn: &mut PgConnection, citizen: CitizenId) -> Result<bool, sqlx::Error> {
    let done =
        sqlx::query!("DELETE FROM identity.vneid_link WHERE citizen_id = $1", citizen.uuid()).execute(conn).await?;
    Ok(done.rows_affected() == 1)
}

/// Removes visits that nobody came back from in time.
pub(crate) async fn prune(pool: &PgPool, now: DateTime<Utc>, batch: i64) -> Result<u64, sqlx::Error> {
    let done = sqlx::query!(
        "DELETE FROM identity.vneid_attempt WHERE digest = ANY (ARRAY(
            SELECT digest FROM identity.vneid_attempt WHERE expires_at <= $1 LIMIT $2))",
        now,
        batch,
    )
    .execute(pool)
    .await?;
    let sign_ins = sqlx::query!(
        "DELETE FROM identity.vneid_sign_in WHERE digest = ANY (ARRAY(
            SELECT digest FROM identity.vneid_sign_in WHERE expires_at <= $1 LIMIT $2))",
        now,
        batch,
    )
    .execute(pool)
    .await?;
    Ok(done.rows_affected().max(sign_ins.rows_affected()))
}

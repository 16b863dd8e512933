//! Statements on codes, consents and what clients hold.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::client::{Client, ClientId};
use super::code::Authorisation;
use super::scope::Scopes;
use crate::citizen::CitizenId;
use crate::device::DeviceId;
use crate::session::{EndReason, SessionId};

/// How long a code is kept after its end, so that its replay shows as one.
const KEPT: TimeDelta = TimeDelta::days(1);

/// Keeps a code, while the sign-in lasts that it is given for; `false` when it does not.
pub(super) async fn insert_code(
    conn: &mut PgConnection,
    digest: &[u8],
    given: &Authorisation,
    expires_at: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let result = sqlx::query!(
        "INSERT INTO identity.authorisation (code_digest, client_id, citizen_id, device_id, browser_session, redirect_uri, scope,
            nonce, challenge, acr, amr, authenticated_at, ends_at, expires_at)
        SELECT $1, $2, $3, $4, s.id, $6, $7, $8, $9, $10, $11, $12, $13, $14
        FROM identity.session AS s WHERE s.id = $5 AND s.ended_at IS NULL FOR SHARE OF s",
        digest,
        given.client.uuid(),
        given.citizen.uuid(),
        given.device.uuid(),
        given.browser_session.uuid(),
        given.redirect_uri,
        given.scope,
        given.nonce,
        given.challenge.as_slice(),
        given.acr,
        &given.amr,
        given.authenticated_at,
        given.ends_at,
        expires_at,
    )
    .execute(conn)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// Uses a code up, if it is the client's, alive and unused, and the citizen still lets the client have what it stands for: the
/// whole decision in one statement. Client and consent are locked first, so that whoever disables the one or takes back the other sees
/// what the code gave.
pub(super) async fn redeem(
    conn: &mut PgConnection,
    (digest, client): (&[u8], &Client),
    now: DateTime<Utc>,
) -> Result<Option<Authorisation>, sqlx::Error> {
    let row = sqlx::query!(
        "UPDATE identity.authorisation SET redeemed_at = $3
        WHERE code_digest = $1 AND client_id = $2 AND redeemed_at IS NULL AND expires_at > $3
            AND EXISTS (SELECT FROM identity.client AS k WHERE k.id = $2 AND k.disabled_at IS NULL FOR SHARE)
            AND ($4 OR EXISTS (SELECT FROM identity.consent AS c WHERE c.citizen_id = authorisation.citizen_id
                AND c.client_id = $2 AND c.scopes @> string_to_array(authorisation.scope, ' ') FOR SHARE))
        RETURNING citizen_id, device_id, browser_session, redirect_uri, scope, nonce, challenge, acr, amr, authenticated_at, ends_at",
        digest,
        client.id.uuid(),
        now,
        client.is_first_party(),
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| Authorisation {
        client: client.id,
        citizen: row.citizen_id.into(),
        device: row.device_id.into(),
        browser_session: row.browser_session.into(),
        redirect_uri: row.redirect_uri,
        scope: row.scope,
        nonce: row.nonce,
        challenge: row.challenge.try_into().expect("a CHECK holds challenges to 32 bytes"),
        acr: row.acr,
        amr: row.amr,
        authenticated_at: row.authenticated_at,
        ends_at: row.ends_at,
    }))
}

/// Whether the tokens of a session, or a client's own token, are refused already.
pub(super) async fn is_revoked(conn: &mut PgConnection, id: SessionId) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM identity.revocation WHERE session_id = $1) AS "revoked!""#,
        id.uuid()
    )
    .fetch_one(conn)
    .await
}

/// Remembers what a code gave.
pub(super) async fn set_session(conn: &mut PgConnection, digest: &[u8], session: SessionId) -> Result<(), sqlx::Error> {
    sqlx::query!("UPDATE identity.authorisation SET session_id = $2 WHERE code_digest = $1", digest, session.uuid())
        .execute(conn)
        .await?;
    Ok(())
}

/// What a code that the client used before gave it.
pub(super) async fn session_of_used(
    conn: &mut PgConnection,
    (digest, client): (&[u8], ClientId),
) -> Result<Option<SessionId>, sqlx::Error> {
    let session = sqlx::query_scalar!(
        "SELECT session_id FROM identity.authorisation WHERE code_digest = $1 AND client_id = $2 AND redeemed_at IS NOT NULL",
        digest,
        client.uuid(),
    )
    .fetch_optional(conn)
    .await?;
    Ok(session.flatten().map(SessionId::from))
}

/// What a citizen lets a client know.
pub(super) async fn consented(
    conn: &mut PgConnection,
    citizen: CitizenId,
    client: ClientId,
) -> Result<Scopes, sqlx::Error> {
    let names = sqlx::query_scalar!(
        "SELECT scopes FROM identity.consent WHERE citizen_id = $1 AND client_id = $2",
        citizen.uuid(),
        client.uuid(),
    )
    .fetch_optional(conn)
    .await?;
    Ok(names.map(|names| Scopes::parse(&names.join(" "))).unwrap_or_default())
}

/// Adds to what a citizen lets a client know, in one statement: whoever does so at the same time takes nothing away, and whoever
/// took it back before gives nothing of it again.
pub(super) async fn put_consent(
    conn: &mut PgConnection,
    (citizen, client): (CitizenId, ClientId),
    scopes: &Scopes,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO identity.consent (citizen_id, client_id, scopes, given_at, changed_at) VALUES ($1, $2, $3, $4, $4)
        ON CONFLICT ON CONSTRAINT consent_pkey DO UPDATE SET changed_at = $4, scopes = ARRAY(
            SELECT listed.name FROM unnest(consent.scopes || EXCLUDED.scopes) WITH ORDINALITY AS listed (name, place)
            GROUP BY listed.name ORDER BY min(listed.place))",
        citizen.uuid(),
        client.uuid(),
        &scopes.names(),
        now,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// A consent with the client that has it.
pub(crate) struct ConsentRow {
    pub client_id: Uuid,
    pub name_vi: String,
    pub name_en: String,
    pub agency: Option<String>,
    pub scopes: Vec<String>,
    pub given_at: DateTime<Utc>,
    pub changed_at: DateTime<Utc>,
}

/// A page of a citizen's consents, by client.
pub(super) async fn consents(
    pool: &PgPool,
    citizen: CitizenId,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<ConsentRow>, sqlx::Error> {
    sqlx::query_as!(
        ConsentRow,
        "SELECT c.client_id, k.name_vi, k.name_en, k.agency, c.scopes, c.given_at, c.changed_at
        FROM identity.consent c JOIN identity.client k ON k.id = c.client_id
        WHERE c.citizen_id = $1 AND ($2::uuid IS NULL OR c.client_id > $2) ORDER BY c.client_id LIMIT $3",
        citizen.uuid(),
        after,
        limit,
    )
    .fetch_all(pool)
    .await
}

/// Removes a consent; `false` when there is none.
pub(super) async fn delete_consent(
    conn: &mut PgConnection,
    citizen: CitizenId,
    client: ClientId,
) -> Result<bool, sqlx::Error> {
    let result = sqlx::query!(
        "DELETE FROM identity.consent WHERE citizen_id = $1 AND client_id = $2",
        citizen.uuid(),
        client.uuid(),
    )
    .execute(conn)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// Ends whatever a client holds of a citizen, and uses up its codes.
pub(super) async fn end_of_client(
    conn: &mut PgConnection,
    (citizen, client): (CitizenId, ClientId),
    reason: EndReason,
    now: DateTime<Utc>,
) -> Result<Vec<SessionId>, sqlx::Error> {
    sqlx::query!(
        "UPDATE identity.authorisation SET redeemed_at = $3 WHERE citizen_id = $1 AND client_id = $2 AND redeemed_at IS NULL
            AND expires_at > $3",
        citizen.uuid(),
        client.uuid(),
        now,
    )
    .execute(&mut *conn)
    .await?;
    let mut ended = sqlx::query_scalar!(
        "UPDATE identity.session SET ended_at = $3, end_reason = $4
        WHERE citizen_id = $1 AND client = $2 AND ended_at IS NULL RETURNING id",
        citizen.uuid(),
        client.to_string(),
        now,
        reason.as_str(),
    )
    .fetch_all(conn)
    .await?;
    ended.sort_unstable();
    Ok(ended.into_iter().map(SessionId::from).collect())
}

/// Uses up the codes that wait on devices of a citizen.
pub(crate) async fn use_up_codes(
    conn: &mut PgConnection,
    citizen: CitizenId,
    devices: &[DeviceId],
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let devices: Vec<Uuid> = devices.iter().map(|device| device.uuid()).collect();
    sqlx::query!(
        "UPDATE identity.authorisation SET redeemed_at = $3
        WHERE citizen_id = $1 AND device_id = ANY ($2) AND redeemed_at IS NULL AND expires_at > $3",
        citizen.uuid(),
        &devices,
        now,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Ends a browser's sign-in, the codes that wait there, and what clients got under it without `offline_access`.
///
/// The sign-in first, so that no code is given any more; in the end what a code gave meanwhile.
pub(super) async fn end_of_browser(
    conn: &mut PgConnection,
    (citizen, device): (CitizenId, DeviceId),
    reason: EndReason,
    now: DateTime<Utc>,
) -> Result<Vec<SessionId>, sqlx::Error> {
    let mut ended = end_in_browser(conn, (citizen, device), reason, now).await?;
    use_up_codes(conn, citizen, &[device], now).await?;
    ended.extend(end_in_browser(conn, (citizen, device), reason, now).await?);
    Ok(ended)
}

async fn end_in_browser(
    conn: &mut PgConnection,
    (citizen, device): (CitizenId, DeviceId),
    reason: EndReason,
    now: DateTime<Utc>,
) -> Result<Vec<SessionId>, sqlx::Error> {
    let mut ended = sqlx::query_scalar!(
        "UPDATE identity.session SET ended_at = $3, end_reason = $4
        WHERE citizen_id = $1 AND device_id = $2 AND ended_at IS NULL AND client <> 'app'
            AND NOT 'offline_access' = ANY (string_to_array(scope, ' ')) RETURNING id",
        citizen.uuid(),
        device.uuid(),
        now,
        reason.as_str(),
    )
    .fetch_all(conn)
    .await?;
    ended.sort_unstable();
    Ok(ended.into_iter().map(SessionId::from).collect())
}

/// Removes codes that are over, at most `batch`.
pub(crate) async fn prune(pool: &PgPool, now: DateTime<Utc>, batch: i64) -> Result<u64, sqlx::Error> {
    let result = sqlx::query!(
        "DELETE FROM identity.authorisation WHERE code_digest IN (
            SELECT code_digest FROM identity.authorisation WHERE expires_at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED)",
        now - KEPT,
        batch,
    )
    .execute(pool)
    .await?;
    Ok(result.rows_affected())
}

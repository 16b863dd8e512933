//! Statements on passkeys and their challenges.

use chrono::{DateTime, Utc};
use platform::auth::Principal;
use serde_json::Value;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;
use webauthn_rs::prelude::{CredentialID, Passkey as Credential};

use super::{Challenge, Listed, Locked, MAX_PASSKEYS, PasskeyChallengeId, PasskeyId, Row, Waiting, stored};
use crate::citizen::CitizenId;
use crate::error::Error;
use crate::name::{PlainName, SealedNames, StoredName};
use crate::vault::Digest;

/// As many rows as a citizen has passkeys, at most.
const LIMIT: i64 = MAX_PASSKEYS as i64;

pub(super) async fn credentials(conn: &mut PgConnection, citizen: CitizenId) -> Result<Vec<Credential>, Error> {
    let rows = sqlx::query_scalar!(
        "SELECT credential FROM identity.passkey WHERE citizen_id = $1 ORDER BY id LIMIT $2",
        citizen.uuid(),
        LIMIT,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(stored).collect()
}

pub(super) async fn list(conn: &mut PgConnection, citizen: CitizenId) -> Result<Vec<Listed>, sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT id, name, name_sealed, created_at, last_used_at FROM identity.passkey WHERE citizen_id = $1 ORDER BY id DESC LIMIT $2",
        citizen.uuid(),
        LIMIT,
    )
    .fetch_all(conn)
    .await?;
    let passkeys = rows.into_iter().map(|row| Listed {
        id: row.id.into(),
        name: StoredName { plain: row.name, sealed: row.name_sealed },
        created_at: row.created_at,
        last_used_at: row.last_used_at,
    });
    Ok(passkeys.collect())
}

/// Adds a passkey; `false` when its credential is known already, whoever has it. Under the citizen's lock.
pub(super) async fn insert(
    conn: &mut PgConnection,
    citizen: CitizenId,
    row: &Row,
    credential: Value,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "INSERT INTO identity.passkey (id, citizen_id, credential_id, credential, name_sealed, created_at, cooling_until)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        ON CONFLICT ON CONSTRAINT passkey_credential_key DO NOTHING",
        row.passkey.id.uuid(),
        citizen.uuid(),
        row.credential.cred_id().as_slice(),
        credential,
        row.name,
        row.passkey.created_at,
        row.cooling_until,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

pub(super) async fn delete(
    conn: &mut PgConnection,
    citizen: CitizenId,
    passkey: PasskeyId,
) -> Result<bool, sqlx::Error> {
    let done =
        sqlx::query!("DELETE FROM identity.passkey WHERE citizen_id = $1 AND id = $2", citizen.uuid(), passkey.uuid())
            .execute(conn)
            .await?;
    Ok(done.rows_affected() == 1)
}

/// The citizen's passkey with this credential, locked.
pub(super) async fn lock(
    conn: &mut PgConnection,
    citizen: CitizenId,
    credential: &CredentialID,
) -> Result<Option<Locked>, Error> {
    let row = sqlx::query!(
        r#"SELECT id, credential, COALESCE((credential->'cred'->>'counter')::bigint, 0) AS "counter!", cooling_until
        FROM identity.passkey WHERE citizen_id = $1 AND credential_id = $2 FOR UPDATE"#,
        citizen.uuid(),
        credential.as_slice(),
    )
    .fetch_optional(conn)
    .await?;
    row.map(|row| {
        let credential = stored(row.credential)?;
        Ok(Locked { id: row.id, credential, counter: row.counter, cooling_until: row.cooling_until })
    })
    .transpose()
}

pub(super) async fn used(
    conn: &mut PgConnection,
    passkey: Uuid,
    credential: Value,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE identity.passkey SET credential = $2, last_used_at = $3 WHERE id = $1",
        passkey,
        credential,
        now
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes out the oldest challenges but `kept`.
pub(super) async fn make_room(conn: &mut PgConnection, citizen: Uuid, kept: i64) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "DELETE FROM identity.passkey_challenge WHERE id = ANY (ARRAY(
            SELECT id FROM identity.passkey_challenge WHERE citizen_id = $1 ORDER BY expires_at DESC, id DESC OFFSET $2))",
        citizen,
        kept,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn insert_challenge(
    conn: &mut PgConnection,
    caller: &Principal,
    challenge: &Challenge,
    digest: Option<Digest>,
    state: &Value,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO identity.passkey_challenge (id, citizen_id, session_id, digest, state, expires_at) VALUES ($1, $2, $3, $4, $5, $6)",
        challenge.id.uuid(),
        caller.subject,
        caller.session,
        digest.as_ref().map(<[u8; 32]>::as_slice),
        state,
        challenge.expires_at,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes out a challenge of a session that still waits.
pub(super) async fn take_challenge(
    conn: &mut PgConnection,
    caller: &Principal,
    id: PasskeyChallengeId,
    now: DateTime<Utc>,
) -> Result<Option<Waiting>, sqlx::Error> {
    sqlx::query_as!(
        Waiting,
        "DELETE FROM identity.passkey_challenge WHERE id = $1 AND citizen_id = $2 AND session_id = $3 AND expires_at > $4
        RETURNING digest, state",
        id.uuid(),
        caller.subject,
        caller.session,
        now,
    )
    .fetch_optional(conn)
    .await
}

/// Removes challenges that nobody answered in time.
pub(crate) async fn prune(pool: &PgPool, now: DateTime<Utc>, batch: i64) -> Result<u64, sqlx::Error> {
    let done = sqlx::query!(
        "DELETE FROM identity.passkey_challenge WHERE id = ANY (ARRAY(
            SELECT id FROM identity.passkey_challenge WHERE expires_at <= $1 LIMIT $2))",
        now,
        batch,
    )
    .execute(pool)
    .await?;
    Ok(done.rows_affected())
}

/// Plain names of citizens who are there, the first `limit` whose rows nobody holds, locked.
pub(crate) async fn plain_names(
    tx: &mut PgConnection,
    passed_over: &[Uuid],
    limit: i64,
) -> Result<Vec<PlainName>, sqlx::Error> {
    sqlx::query_as!(
        PlainName,
        r#"SELECT p.citizen_id AS citizen, c.data_key, p.id AS row, p.name AS "name!"
        FROM identity.passkey p JOIN identity.citizen c ON c.id = p.citizen_id
        WHERE p.name IS NOT NULL AND c.erased_at IS NULL AND p.citizen_id <> ALL ($2)
        ORDER BY p.citizen_id, p.id LIMIT $1 FOR NO KEY UPDATE OF p SKIP LOCKED"#,
        limit,
        passed_over,
    )
    .fetch_all(tx)
    .await
}

/// Puts sealed names in the place of plain ones.
pub(crate) async fn seal_names(tx: &mut PgConnection, sealed: &SealedNames) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE identity.passkey AS p SET name = NULL, name_sealed = s.name
        FROM UNNEST($1::uuid[], $2::bytea[]) AS s (id, name) WHERE p.id = s.id",
        &sealed.rows,
        &sealed.names,
    )
    .execute(tx)
    .await?;
    Ok(())
}

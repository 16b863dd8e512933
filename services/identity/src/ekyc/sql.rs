//! Statements on requests to the verifier and on numbers that were proved.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::number::CitizenNumber;
use super::{EkycId, FULL_NAME, NUMBER, Pending, ProvedNumber, Request, State};
use crate::citizen::CitizenId;
use crate::error::Error;
use crate::vault::{Place, Sealer, Unsealable};

/// A number as it is stored.
pub(super) struct NumberRow {
    pub digest: Vec<u8>,
    pub number: Vec<u8>,
    pub full_name: Vec<u8>,
    pub source: String,
    pub proved_at: DateTime<Utc>,
}

impl NumberRow {
    pub(super) fn open(&self, key: &Sealer, citizen: CitizenId) -> Result<ProvedNumber, Error> {
        let number = key.open_text(Place::new(NUMBER, citizen), &self.number)?;
        Ok(ProvedNumber {
            masked: CitizenNumber::parse(&number).map_err(|_| Unsealable)?.masked(),
            full_name: key.open_text(Place::new(FULL_NAME, citizen), &self.full_name)?,
            source: self.source.clone(),
            proved_at: self.proved_at,
        })
    }
}

pub(super) async fn number(conn: &mut PgConnection, citizen: CitizenId) -> Result<Option<NumberRow>, sqlx::Error> {
    sqlx::query_as!(
        NumberRow,
        "SELECT digest, number, full_name, source, proved_at FROM identity.citizen_number WHERE citizen_id = $1",
        citizen.uuid(),
    )
    .fetch_optional(conn)
    .await
}

/// Whose a number is.
pub(super) async fn holder(conn: &mut PgConnection, digest: &[u8]) -> Result<Option<CitizenId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT citizen_id AS "id: CitizenId" FROM identity.citizen_number WHERE digest = $1"#,
        digest,
    )
    .fetch_optional(conn)
    .await
}

/// Adds a number; `false` when another account has it. Waits for one that is being added at the same time.
pub(super) async fn insert_number(
    conn: &mut PgConnection,
    citizen: CitizenId,
    row: &NumberRow,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "INSERT INTO identity.citizen_number (citizen_id, digest, number, full_name, source, proved_at) VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT ON CONSTRAINT citizen_number_digest_key DO NOTHING",
        citizen.uuid(),
        row.digest,
        row.number,
        row.full_name,
        row.source,
        row.proved_at,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The request that a citizen made last.
pub(super) async fn latest(conn: &mut PgConnection, citizen: CitizenId) -> Result<Option<Request>, sqlx::Error> {
    sqlx::query_as!(
        Request,
        r#"SELECT id AS "id: EkycId", state AS "state: State", reason, asked_at, decided_at
        FROM identity.ekyc WHERE citizen_id = $1 ORDER BY asked_at DESC, id DESC LIMIT 1"#,
        citizen.uuid(),
    )
    .fetch_optional(conn)
    .await
}

pub(super) async fn count_since(
    conn: &mut PgConnection,
    citizen: CitizenId,
    since: DateTime<Utc>,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM identity.ekyc WHERE citizen_id = $1 AND asked_at > $2"#,
        citizen.uuid(),
        since,
    )
    .fetch_one(conn)
    .await
}

pub(super) async fn insert(
    conn: &mut PgConnection,
    citizen: CitizenId,
    request: &Request,
    claim: &[u8],
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO identity.ekyc (id, citizen_id, state, claim, asked_at) VALUES ($1, $2, 'pending', $3, $4)",
        request.id.uuid(),
        citizen.uuid(),
        claim,
        request.asked_at,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// A request that is not decided.
pub(super) async fn pending(conn: &mut PgConnection, id: EkycId) -> Result<Option<Pending>, sqlx::Error> {
    sqlx::query_as!(
        Pending,
        r#"SELECT citizen_id AS "citizen: CitizenId", claim AS "claim!", asked_at FROM identity.ekyc
        WHERE id = $1 AND state = 'pending'"#,
        id.uuid(),
    )
    .fetch_optional(conn)
    .await
}

/// The same, locked; under the citizen's lock.
pub(super) async fn lock_pending(conn: &mut PgConnection, id: EkycId) -> Result<Option<Pending>, sqlx::Error> {
    sqlx::query_as!(
        Pending,
        r#"SELECT citizen_id AS "citizen: CitizenId", claim AS "claim!", asked_at FROM identity.ekyc
        WHERE id = $1 AND state = 'pending' FOR UPDATE"#,
        id.uuid(),
    )
    .fetch_optional(conn)
    .await
}

/// Ends a request: verified without a reason, refused with one.
pub(super) async fn decide(
    conn: &mut PgConnection,
    id: EkycId,
    reason: Option<&str>,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE identity.ekyc SET state = CASE WHEN $2::text IS NULL THEN 'verified' ELSE 'refused' END,
            claim = NULL, reason = $2, decided_at = $3
        WHERE id = $1 AND state = 'pending'",
        id.uuid(),
        reason,
        now,
    )
    .execute(conn)
    .await?;
    Ok(())
}

//! Statements on delegations.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Delegation, DelegationId, Terms};
use crate::citizen::CitizenId;
use crate::session::SessionId;

/// The most that one list shows.
const MAX_LISTED: i64 = 200;

/// The keyed digest of a citizen's number; none where they have none.
pub(super) async fn digest_of(conn: &mut PgConnection, citizen: CitizenId) -> Result<Option<Vec<u8>>, sqlx::Error> {
    sqlx::query_scalar!("SELECT phone_digest FROM identity.citizen WHERE id = $1", citizen.uuid())
        .fetch_optional(conn)
        .await
        .map(Option::flatten)
}

/// Since when the device of a session is there or has its key: the inner `None` for the one on which its citizen registered.
pub(super) async fn device_since(
    conn: &mut PgConnection,
    citizen: CitizenId,
    session: SessionId,
) -> Result<Option<Option<DateTime<Utc>>>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT CASE WHEN GREATEST(d.created_at, d.key_bound_at) > c.created_at THEN GREATEST(d.created_at, d.key_bound_at) END AS "since"
        FROM identity.session AS s JOIN identity.device AS d ON d.citizen_id = s.citizen_id AND d.id = s.device_id
            JOIN identity.citizen AS c ON c.id = s.citizen_id
        WHERE s.id = $2 AND s.citizen_id = $1"#,
        citizen.uuid(),
        session.uuid(),
    )
    .fetch_optional(conn)
    .await
}

/// How many proposals and delegations of a citizen have not ended; those whose time is over do not count.
pub(super) async fn count_open(
    conn: &mut PgConnection,
    citizen: CitizenId,
    now: DateTime<Utc>,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM identity.delegation
        WHERE proposed_by = $1 AND ended_at IS NULL AND valid_until > $2
            AND (guardian_id = $1 OR dependent_id = $1)"#,
        citizen.uuid(),
        now,
    )
    .fetch_one(conn)
    .await
}

pub(super) async fn insert(
    conn: &mut PgConnection,
    new: &Delegation,
    terms: &Terms,
    other: &[u8],
) -> Result<(), sqlx::Error> {
    let kinds: Vec<String> = terms.kinds.iter().map(|kind| kind.as_str().to_owned()).collect();
    sqlx::query!(
        "INSERT INTO identity.delegation (id, proposed_by, guardian_id, dependent_id, other_digest, kinds, transaction_maximum,
            day_maximum, month_maximum, valid_until, proposed_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        new.id.uuid(),
        new.proposed_by,
        new.guardian_id,
        new.dependent_id,
        other,
        &kinds,
        terms.maxima[0],
        terms.maxima[1],
        terms.maxima[2],
        terms.until,
        new.proposed_at,
    )
    .execute(conn)
    .await
    .map(|_| ())
}

/// A delegation, locked until the transaction ends.
pub(super) async fn lock(conn: &mut PgConnection, id: DelegationId) -> Result<Option<Delegation>, sqlx::Error> {
    sqlx::query_as!(
        Delegation,
        r#"SELECT id AS "id: DelegationId", proposed_by, guardian_id, dependent_id, other_digest, kinds, transaction_maximum,
            day_maximum, month_maximum, valid_until, proposed_at, confirmed_at, ended_at
        FROM identity.delegation WHERE id = $1 FOR UPDATE"#,
        id.uuid(),
    )
    .fetch_optional(conn)
    .await
}

/// Locks two people, by id; tells whether both are there.
pub(super) async fn lock_pair(
    conn: &mut PgConnection,
    (guardian, dependent): (Uuid, Uuid),
) -> Result<bool, sqlx::Error> {
    let there = sqlx::query_scalar!(
        "SELECT id FROM identity.citizen WHERE id IN ($1, $2) AND erased_at IS NULL ORDER BY id FOR NO KEY UPDATE",
        guardian,
        dependent,
    )
    .fetch_all(conn)
    .await?;
    Ok(there.len() == 2)
}

/// A delegation as it is now.
pub(super) async fn find(conn: &mut PgConnection, id: DelegationId) -> Result<Option<Delegation>, sqlx::Error> {
    sqlx::query_as!(
        Delegation,
        r#"SELECT id AS "id: DelegationId", proposed_by, guardian_id, dependent_id, other_digest, kinds, transaction_maximum,
            day_maximum, month_maximum, valid_until, proposed_at, confirmed_at, ended_at
        FROM identity.delegation WHERE id = $1"#,
        id.uuid(),
    )
    .fetch_optional(conn)
    .await
}

/// Those of a citizen and those that are proposed to their number, the newest first.
pub(super) async fn list(
    conn: &mut PgConnection,
    citizen: CitizenId,
    digest: &[u8],
) -> Result<Vec<Delegation>, sqlx::Error> {
    sqlx::query_as!(
        Delegation,
        r#"SELECT id AS "id: DelegationId", proposed_by, guardian_id, dependent_id, other_digest, kinds, transaction_maximum,
            day_maximum, month_maximum, valid_until, proposed_at, confirmed_at, ended_at
        FROM identity.delegation WHERE guardian_id = $1 OR dependent_id = $1 OR other_digest = $2 ORDER BY id DESC LIMIT $3"#,
        citizen.uuid(),
        digest,
        MAX_LISTED,
    )
    .fetch_all(conn)
    .await
}

/// The one between two people that was confirmed and that nobody has ended, and whether both were told that its date has come; locked.
pub(super) async fn unended(
    conn: &mut PgConnection,
    (guardian, dependent): (Uuid, Uuid),
) -> Result<Option<(DelegationId, bool)>, sqlx::Error> {
    let row = sqlx::query!(
        r#"SELECT id AS "id: DelegationId", expiry_told_at IS NOT NULL AS "told!" FROM identity.delegation
        WHERE guardian_id = $1 AND dependent_id = $2 AND confirmed_at IS NOT NULL AND ended_at IS NULL FOR UPDATE"#,
        guardian,
        dependent,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| (row.id, row.told)))
}

pub(super) async fn confirm(
    conn: &mut PgConnection,
    id: DelegationId,
    (guardian, dependent): (Uuid, Uuid),
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE identity.delegation SET guardian_id = $2, dependent_id = $3, other_digest = NULL, confirmed_at = $4 WHERE id = $1",
        id.uuid(),
        guardian,
        dependent,
        now,
    )
    .execute(conn)
    .await
    .map(|_| ())
}

pub(super) async fn end(
    conn: &mut PgConnection,
    id: DelegationId,
    by: CitizenId,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE identity.delegation SET ended_at = $3, ended_by = $2, other_digest = NULL WHERE id = $1 AND ended_at IS NULL",
        id.uuid(),
        by.uuid(),
        now,
    )
    .execute(conn)
    .await
    .map(|_| ())
}

/// Marks delegations whose date has come and of which nobody was told; those that others lock are left to them.
pub(super) async fn mark_expired(
    conn: &mut PgConnection,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<InForce>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"UPDATE identity.delegation SET expiry_told_at = $1
        WHERE id IN (SELECT id FROM identity.delegation
            WHERE confirmed_at IS NOT NULL AND ended_at IS NULL AND expiry_told_at IS NULL AND valid_until <= $1
            ORDER BY valid_until LIMIT $2 FOR UPDATE SKIP LOCKED)
        RETURNING id AS "id: DelegationId", guardian_id AS "guardian!", dependent_id AS "dependent!""#,
        now,
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| InForce { id: row.id, guardian: row.guardian, dependent: row.dependent }).collect())
}

/// A delegation that was in force.
#[derive(Clone, Debug)]
pub(crate) struct InForce {
    pub id: DelegationId,
    pub guardian: Uuid,
    pub dependent: Uuid,
}

/// Ends every delegation of somebody who leaves, and every proposal of theirs and to their number; gives those that were in force.
pub(crate) async fn leave(
    conn: &mut PgConnection,
    citizen: CitizenId,
    now: DateTime<Utc>,
) -> Result<Vec<InForce>, sqlx::Error> {
    let ended = sqlx::query!(
        "UPDATE identity.delegation SET ended_at = $2, other_digest = NULL,
            ended_by = CASE WHEN guardian_id = $1 OR dependent_id = $1 THEN $1 ELSE proposed_by END
        WHERE ended_at IS NULL AND (guardian_id = $1 OR dependent_id = $1
            OR other_digest = (SELECT phone_digest FROM identity.citizen WHERE id = $1))
        RETURNING id, guardian_id, dependent_id, confirmed_at, valid_until",
        citizen.uuid(),
        now,
    )
    .fetch_all(conn)
    .await?;
    let in_force = ended.into_iter().filter(|row| row.confirmed_at.is_some() && row.valid_until > now);
    Ok(in_force
        .filter_map(|row| Some(InForce { id: row.id.into(), guardian: row.guardian_id?, dependent: row.dependent_id? }))
        .collect())
}

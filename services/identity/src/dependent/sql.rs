//! Statements on registrations of dependents.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::{Dependent, RegistrationId};
use crate::citizen::CitizenId;
use crate::delegation::{Delegation, DelegationId, InForce, OPEN_FOR};

/// The most that a guardian is shown.
const MAX_LISTED: i64 = 50;

/// Adds a registration; `false` when one for this person waits already. Waits for one that is being added at the same time.
pub(super) async fn insert(
    conn: &mut PgConnection,
    new: &Dependent,
    number_digest: &[u8],
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "INSERT INTO identity.dependent (id, guardian_id, registered_by, ward, claim, number_digest, kinds, transaction_maximum,
            day_maximum, month_maximum, valid_until, registered_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
        ON CONFLICT (number_digest) WHERE number_digest IS NOT NULL DO NOTHING",
        new.id.uuid(),
        new.guardian_id,
        new.registered_by,
        new.ward,
        new.claim.as_deref(),
        number_digest,
        &new.kinds,
        new.transaction_maximum,
        new.day_maximum,
        new.month_maximum,
        new.valid_until,
        new.registered_at,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// A registration, locked until the transaction ends.
pub(super) async fn lock(conn: &mut PgConnection, id: RegistrationId) -> Result<Option<Dependent>, sqlx::Error> {
    sqlx::query_as!(
        Dependent,
        r#"SELECT id AS "id: RegistrationId", guardian_id, registered_by, ward, claim, kinds, transaction_maximum, day_maximum,
            month_maximum, valid_until, registered_at, confirmed_at, citizen_id, delegation_id, ended_at
        FROM identity.dependent WHERE id = $1 FOR UPDATE"#,
        id.uuid(),
    )
    .fetch_optional(conn)
    .await
}

/// A registration as it is now.
pub(super) async fn find(conn: &mut PgConnection, id: RegistrationId) -> Result<Option<Dependent>, sqlx::Error> {
    sqlx::query_as!(
        Dependent,
        r#"SELECT id AS "id: RegistrationId", guardian_id, registered_by, ward, claim, kinds, transaction_maximum, day_maximum,
            month_maximum, valid_until, registered_at, confirmed_at, citizen_id, delegation_id, ended_at
        FROM identity.dependent WHERE id = $1"#,
        id.uuid(),
    )
    .fetch_optional(conn)
    .await
}

/// Those of a guardian, the newest first.
pub(super) async fn of_guardian(conn: &mut PgConnection, guardian: CitizenId) -> Result<Vec<Dependent>, sqlx::Error> {
    sqlx::query_as!(
        Dependent,
        r#"SELECT id AS "id: RegistrationId", guardian_id, registered_by, ward, claim, kinds, transaction_maximum, day_maximum,
            month_maximum, valid_until, registered_at, confirmed_at, citizen_id, delegation_id, ended_at
        FROM identity.dependent WHERE guardian_id = $1 ORDER BY id DESC LIMIT $2"#,
        guardian.uuid(),
        MAX_LISTED,
    )
    .fetch_all(conn)
    .await
}

/// Those of wards after one, the oldest first.
pub(super) async fn of_wards(
    pool: &PgPool,
    wards: &[String],
    (after, limit): (Option<Uuid>, i64),
) -> Result<Vec<Dependent>, sqlx::Error> {
    sqlx::query_as!(
        Dependent,
        r#"SELECT id AS "id: RegistrationId", guardian_id, registered_by, ward, claim, kinds, transaction_maximum, day_maximum,
            month_maximum, valid_until, registered_at, confirmed_at, citizen_id, delegation_id, ended_at
        FROM identity.dependent WHERE ward = ANY ($1) AND ($2::uuid IS NULL OR id > $2) ORDER BY id LIMIT $3"#,
        wards,
        after,
        limit,
    )
    .fetch_all(pool)
    .await
}

/// How many people a guardian stands for or is asked to. Under the guardian's lock.
pub(super) async fn count_of(
    conn: &mut PgConnection,
    guardian: CitizenId,
    now: DateTime<Utc>,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM identity.dependent d LEFT JOIN identity.delegation g ON g.id = d.delegation_id
        WHERE d.guardian_id = $1
            AND ((d.claim IS NOT NULL AND d.registered_at > $2 AND d.valid_until > $3) OR (g.id IS NOT NULL AND g.ended_at IS NULL))"#,
        guardian.uuid(),
        now - OPEN_FOR,
        now,
    )
    .fetch_one(conn)
    .await
}

/// Whether a guardian stands for somebody who has no number and is not erased.
pub(crate) async fn stands_for_anybody(conn: &mut PgConnection, guardian: CitizenId) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM identity.delegation g JOIN identity.citizen c ON c.id = g.dependent_id
            WHERE g.guardian_id = $1 AND g.confirmed_at IS NOT NULL AND g.ended_at IS NULL
                AND c.phone IS NULL AND c.erased_at IS NULL) AS "stands!""#,
        guardian.uuid(),
    )
    .fetch_one(conn)
    .await
}

/// Whether somebody has no number, so that nobody stands for them but their guardian.
pub(crate) async fn is_without_phone(conn: &mut PgConnection, citizen: Uuid) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM identity.citizen WHERE id = $1 AND phone IS NULL AND erased_at IS NULL) AS "without!""#,
        citizen,
    )
    .fetch_one(conn)
    .await
}

/// Writes down that a guardian has confirmed it.
pub(super) async fn confirm(
    conn: &mut PgConnection,
    id: RegistrationId,
    (citizen, delegation): (CitizenId, DelegationId),
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE identity.dependent SET confirmed_at = $4, citizen_id = $2, delegation_id = $3, claim = NULL, number_digest = NULL
        WHERE id = $1",
        id.uuid(),
        citizen.uuid(),
        delegation.uuid(),
        now,
    )
    .execute(conn)
    .await
    .map(|_| ())
}

/// Writes down that it was refused or taken back.
pub(super) async fn end(
    conn: &mut PgConnection,
    id: RegistrationId,
    by: CitizenId,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE identity.dependent SET ended_at = $3, ended_by = $2, claim = NULL, number_digest = NULL WHERE id = $1",
        id.uuid(),
        by.uuid(),
        now,
    )
    .execute(conn)
    .await
    .map(|_| ())
}

/// Ends what is proposed to a guardian who leaves.
pub(crate) async fn leave(conn: &mut PgConnection, guardian: CitizenId, now: DateTime<Utc>) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE identity.dependent SET ended_at = $2, ended_by = $1, claim = NULL, number_digest = NULL
        WHERE guardian_id = $1 AND claim IS NOT NULL",
        guardian.uuid(),
        now,
    )
    .execute(conn)
    .await
    .map(|_| ())
}

/// Wipes what nobody answered in time, of one number or of all; tells how many.
pub(super) async fn lapse(
    conn: &mut PgConnection,
    number_digest: Option<&[u8]>,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<u64, sqlx::Error> {
    let done = sqlx::query!(
        "UPDATE identity.dependent SET ended_at = LEAST(valid_until, registered_at + $4), claim = NULL, number_digest = NULL
        WHERE id IN (SELECT id FROM identity.dependent
            WHERE claim IS NOT NULL AND (registered_at <= $1 OR valid_until <= $2) AND ($3::bytea IS NULL OR number_digest = $3)
            LIMIT $5 FOR UPDATE)",
        now - OPEN_FOR,
        now,
        number_digest,
        sqlx::postgres::types::PgInterval::try_from(OPEN_FOR).expect("whole days are an interval"),
        limit,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}

/// Adds a delegation that is in force at once.
pub(super) async fn insert_delegation(conn: &mut PgConnection, new: &Delegation) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO identity.delegation (id, proposed_by, guardian_id, dependent_id, kinds, transaction_maximum, day_maximum,
            month_maximum, valid_until, proposed_at, confirmed_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        new.id.uuid(),
        new.proposed_by,
        new.guardian_id,
        new.dependent_id,
        &new.kinds,
        new.transaction_maximum,
        new.day_maximum,
        new.month_maximum,
        new.valid_until,
        new.proposed_at,
        new.confirmed_at,
    )
    .execute(conn)
    .await
    .map(|_| ())
}

/// Delegations by which somebody is acted for, those whose time is over among them, and whether that was told; locked.
pub(super) async fn delegations_for(
    conn: &mut PgConnection,
    dependent: CitizenId,
) -> Result<Vec<(InForce, bool)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT id AS "id: DelegationId", guardian_id AS "guardian!", dependent_id AS "dependent!",
            expiry_told_at IS NOT NULL AS "told!" FROM identity.delegation
        WHERE dependent_id = $1 AND confirmed_at IS NOT NULL AND ended_at IS NULL ORDER BY id FOR UPDATE"#,
        dependent.uuid(),
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (InForce { id: row.id, guardian: row.guardian, dependent: row.dependent }, row.told))
        .collect())
}

/// Whether a delegation has not been ended, also if its time is over.
pub(super) async fn still_stands(conn: &mut PgConnection, delegation: Uuid) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM identity.delegation WHERE id = $1 AND ended_at IS NULL) AS "stands!""#,
        delegation,
    )
    .fetch_one(conn)
    .await
}

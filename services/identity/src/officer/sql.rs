//! Statements on grants of roles.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::{Filter, Grant, Role, Sight, Term};
use crate::citizen::CitizenId;
use crate::revocation;

/// Locks people for a change of their roles, by id; tells which of them there are.
pub(super) async fn lock_people(conn: &mut PgConnection, people: &[Uuid]) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!("SELECT id FROM identity.citizen WHERE id = ANY ($1) ORDER BY id FOR NO KEY UPDATE", people)
        .fetch_all(conn)
        .await
}

/// Whether a person, under their lock, is here to stay; nothing when they are erased or never were.
pub(super) async fn stays(conn: &mut PgConnection, person: CitizenId) -> Result<Option<bool>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT NOT EXISTS (SELECT FROM identity.closing AS l
            WHERE l.citizen_id = c.id AND l.state IN ('asked', 'cooling', 'erasing')) AS "stays!"
        FROM identity.citizen AS c WHERE c.id = $1 AND c.erased_at IS NULL"#,
        person.uuid(),
    )
    .fetch_optional(conn)
    .await
}

/// The roles of a person that count at a time.
pub(super) async fn held(
    conn: &mut PgConnection,
    person: CitizenId,
    at: DateTime<Utc>,
) -> Result<Vec<Role>, sqlx::Error> {
    let names = sqlx::query_scalar!(
        "SELECT name FROM identity.role_grant
        WHERE user_id = $1 AND revoked_at IS NULL AND identity.counts_at(valid_from, valid_until, $2)",
        person.uuid(),
        at,
    )
    .fetch_all(conn)
    .await?;
    Ok(names.iter().map(|name| name.parse().expect("CHECKs hold grants to the form of roles")).collect())
}

/// How many roles of a person count at a time or will.
pub(super) async fn count_kept(
    conn: &mut PgConnection,
    person: CitizenId,
    at: DateTime<Utc>,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM identity.role_grant
        WHERE user_id = $1 AND revoked_at IS NULL AND (valid_until IS NULL OR valid_until > $2)"#,
        person.uuid(),
        at,
    )
    .fetch_one(conn)
    .await
}

/// The newest grant of a role to a person, whether it has ended or not.
pub(super) async fn newest(
    conn: &mut PgConnection,
    person: CitizenId,
    role: &Role,
) -> Result<Option<Grant>, sqlx::Error> {
    sqlx::query_as!(
        Grant,
        "SELECT id, user_id, name, role, agency, ward, granted_at, valid_from, valid_until, granted_by, revoked_at,
            revoked_by
        FROM identity.role_grant WHERE user_id = $1 AND name = $2 ORDER BY revoked_at DESC NULLS FIRST LIMIT 1",
        person.uuid(),
        role.to_string(),
    )
    .fetch_optional(conn)
    .await
}

pub(super) async fn insert(
    conn: &mut PgConnection,
    (person, role, term): (CitizenId, &Role, Term),
    by: Option<CitizenId>,
    now: DateTime<Utc>,
) -> Result<Grant, sqlx::Error> {
    sqlx::query_as!(
        Grant,
        "INSERT INTO identity.role_grant (id, user_id, role, agency, ward, granted_at, granted_by, valid_from, valid_until)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        RETURNING id, user_id, name, role, agency, ward, granted_at, valid_from, valid_until, granted_by, revoked_at, revoked_by",
        platform::id::new(),
        person.uuid(),
        role.kind().as_str(),
        role.agency(),
        role.ward(),
        now,
        by.map(|by| by.uuid()),
        term.from,
        term.until,
    )
    .fetch_one(conn)
    .await
}

/// Writes down that a grant's term is over, so that the role can be given again. No token says it any more.
pub(super) async fn close(conn: &mut PgConnection, grant: &Grant) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE identity.role_grant SET revoked_at = GREATEST(valid_until, granted_at) WHERE id = $1",
        grant.id
    )
    .execute(conn)
    .await
    .map(|_| ())
}

/// Ends a grant, tells how many have ended for its holder, and writes down that older tokens of theirs are stale.
pub(super) async fn end(
    conn: &mut PgConnection,
    grant: &Grant,
    by: Option<CitizenId>,
    (now, forget_at): (DateTime<Utc>, DateTime<Utc>),
) -> Result<u32, sqlx::Error> {
    sqlx::query!(
        // The clock of whoever gave it may have been ahead.
        "UPDATE identity.role_grant SET revoked_at = GREATEST($2, granted_at), revoked_by = $3 WHERE id = $1",
        grant.id,
        now,
        by.map(|by| by.uuid()),
    )
    .execute(&mut *conn)
    .await?;
    let position = revocation::take_positions(conn, 1).await?;
    let epoch = sqlx::query_scalar!(
        "INSERT INTO identity.role_revocation (position, user_id, role_epoch, revoked_at, forget_at)
        SELECT $1, $2, count(*)::integer, $3, $4 FROM identity.role_grant WHERE user_id = $2 AND revoked_at IS NOT NULL
        RETURNING role_epoch",
        position,
        grant.user_id,
        now,
        forget_at,
    )
    .fetch_one(conn)
    .await?;
    Ok(revocation::epoch_of(epoch))
}

/// Grants that a filter and a sight let through, oldest first; `at` says which of them are held.
pub(super) async fn list(
    pool: &PgPool,
    (filter, sight): (&Filter, &Sight),
    (after, limit): (Option<Uuid>, i64),
    at: DateTime<Utc>,
) -> Result<Vec<Grant>, sqlx::Error> {
    let roles: Vec<String> = sight.roles.iter().map(|role| (*role).to_owned()).collect();
    sqlx::query_as!(
        Grant,
        "SELECT id, user_id, name, role, agency, ward, granted_at, valid_from, valid_until, granted_by, revoked_at,
            revoked_by
        FROM identity.role_grant
        WHERE ($1::uuid IS NULL OR id > $1) AND ($2::uuid IS NULL OR user_id = $2) AND ($3::text IS NULL OR role = $3)
            AND ($4::text IS NULL OR agency = $4)
            AND ($5::boolean IS NULL OR (revoked_at IS NULL AND (valid_until IS NULL OR valid_until > $10)) = $5)
            AND ($6 OR role = ANY ($7) OR agency = ANY ($8))
        ORDER BY id LIMIT $9",
        after,
        filter.user_id,
        filter.role.map(|role| role.as_str()),
        filter.agency.as_deref(),
        filter.held,
        sight.everything,
        &roles,
        &sight.agencies,
        limit,
        at,
    )
    .fetch_all(pool)
    .await
}

/// Who holds a role of the operations centre at a time, or one that counts in a ward of these agencies; at most `limit`, oldest grants first.
pub(super) async fn on_duty(
    pool: &PgPool,
    (agencies, ward): (&[String], Option<&str>),
    (at, limit): (DateTime<Utc>, i64),
) -> Result<Vec<(CitizenId, Role)>, sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT user_id, name FROM identity.role_grant
        WHERE revoked_at IS NULL AND identity.counts_at(valid_from, valid_until, $3)
            AND (role IN ('ioc.operator', 'ioc.lead') OR (agency = ANY ($1) AND (ward IS NULL OR ward = $2)))
        ORDER BY id LIMIT $4",
        agencies,
        ward,
        at,
        limit,
    )
    .fetch_all(pool)
    .await?;
    let role = |name: &str| name.parse().expect("CHECKs hold grants to the form of roles");
    Ok(rows.into_iter().map(|row| (row.user_id.into(), role(&row.name))).collect())
}

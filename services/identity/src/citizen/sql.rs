//! Statements on citizens.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::{CitizenId, Row, Tier};
use crate::vault::Digest;

/// The citizen, unlocked.
pub(crate) async fn find(conn: &mut PgConnection, id: CitizenId) -> Result<Option<Row>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        r#"SELECT id AS "id: CitizenId", data_key, phone, display_name, language, tier, version, created_at,
            EXISTS (SELECT 1 FROM identity.pin p WHERE p.citizen_id = c.id) AS "pin_set!"
        FROM identity.citizen c WHERE id = $1 AND erased_at IS NULL"#,
        id.uuid(),
    )
    .fetch_optional(conn)
    .await
}

/// The citizen with a number, unlocked.
pub(super) async fn find_by_phone(conn: &mut PgConnection, phone: &Digest) -> Result<Option<Row>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        r#"SELECT id AS "id: CitizenId", data_key, phone, display_name, language, tier, version, created_at,
            EXISTS (SELECT 1 FROM identity.pin p WHERE p.citizen_id = c.id) AS "pin_set!"
        FROM identity.citizen c WHERE phone_digest = $1"#,
        phone.as_slice(),
    )
    .fetch_optional(conn)
    .await
}

/// The citizen, locked for a change.
pub(crate) async fn lock(conn: &mut PgConnection, id: CitizenId) -> Result<Option<Row>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        r#"SELECT id AS "id: CitizenId", data_key, phone, display_name, language, tier, version, created_at,
            EXISTS (SELECT 1 FROM identity.pin p WHERE p.citizen_id = c.id) AS "pin_set!"
        FROM identity.citizen c WHERE id = $1 AND erased_at IS NULL FOR NO KEY UPDATE"#,
        id.uuid(),
    )
    .fetch_optional(conn)
    .await
}

/// The citizen with a number, locked for a change.
pub(super) async fn lock_by_phone(conn: &mut PgConnection, phone: &Digest) -> Result<Option<Row>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        r#"SELECT id AS "id: CitizenId", data_key, phone, display_name, language, tier, version, created_at,
            EXISTS (SELECT 1 FROM identity.pin p WHERE p.citizen_id = c.id) AS "pin_set!"
        FROM identity.citizen c WHERE phone_digest = $1 FOR NO KEY UPDATE"#,
        phone.as_slice(),
    )
    .fetch_optional(conn)
    .await
}

/// Adds a citizen; `false` when the number has one.
pub(super) async fn insert(conn: &mut PgConnection, row: &Row, phone: Option<&Digest>) -> Result<bool, sqlx::Error> {
    let result = sqlx::query!(
        "INSERT INTO identity.citizen (id, phone_digest, data_key, phone, display_name, language, tier, version, created_at, updated_at)
        VALUES ($1, $2, $3, $4, $9, $5, $6, $7, $8, $8) ON CONFLICT ON CONSTRAINT citizen_phone_key DO NOTHING",
        row.id.uuid(),
        phone.map(Digest::as_slice),
        row.data_key,
        row.phone.as_deref(),
        row.language,
        row.tier,
        row.version,
        row.created_at,
        row.display_name.as_deref(),
    )
    .execute(conn)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// Gives somebody a number who has none; violates `citizen_phone_key` when it is another account's.
pub(super) async fn attach_phone(
    conn: &mut PgConnection,
    citizen: CitizenId,
    (digest, sealed): (&Digest, &[u8]),
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE identity.citizen SET phone_digest = $2, phone = $3, version = version + 1, updated_at = $4
        WHERE id = $1 AND phone IS NULL",
        citizen.uuid(),
        digest.as_slice(),
        sealed,
        now,
    )
    .execute(conn)
    .await
    .map(|_| ())
}

/// Lets a citizen rise to a tier; `false` when they are there already, or higher.
pub(crate) async fn raise_tier(
    conn: &mut PgConnection,
    citizen: CitizenId,
    tier: Tier,
    now: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "UPDATE identity.citizen SET tier = $2, version = version + 1, updated_at = $3 WHERE id = $1 AND tier < $2",
        citizen.uuid(),
        tier.number(),
        now,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Stores a changed profile.
pub(super) async fn update(conn: &mut PgConnection, row: &Row, now: DateTime<Utc>) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE identity.citizen SET display_name = $2, language = $3, version = $4, updated_at = $5 WHERE id = $1",
        row.id.uuid(),
        row.display_name.as_deref(),
        row.language,
        row.version,
        now,
    )
    .execute(conn)
    .await?;
    Ok(())
}

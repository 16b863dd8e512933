//! Statements on closings.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::rule::State;
use super::{Answer, Closing, ClosingId};
use crate::citizen::CitizenId;

/// Stores a closing that asks each service.
pub(super) async fn insert(
    conn: &mut PgConnection,
    (id, user): (ClosingId, CitizenId),
    services: &[&str],
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO identity.closing (id, citizen_id, state, asked_at) VALUES ($1, $2, 'asked', $3)",
        id.uuid(),
        user.uuid(),
        now,
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "INSERT INTO identity.closing_answer (closing_id, service) SELECT $1, service FROM unnest($2::text[]) AS all_of (service)",
        id.uuid(),
        services as &[&str],
    )
    .execute(conn)
    .await
    .map(|_| ())
}

/// A citizen's closing that has not ended.
pub(super) async fn open_of(conn: &mut PgConnection, user: CitizenId) -> Result<Option<Closing>, sqlx::Error> {
    sqlx::query_as!(
        Closing,
        r#"SELECT id AS "id: ClosingId", citizen_id AS "citizen: CitizenId", state AS "state: State", asked_at, erase_at, ended_at
        FROM identity.closing WHERE citizen_id = $1 AND state IN ('asked', 'cooling', 'erasing')"#,
        user.uuid(),
    )
    .fetch_optional(conn)
    .await
}

/// The same, locked.
pub(super) async fn lock_open_of(conn: &mut PgConnection, user: CitizenId) -> Result<Option<Closing>, sqlx::Error> {
    sqlx::query_as!(
        Closing,
        r#"SELECT id AS "id: ClosingId", citizen_id AS "citizen: CitizenId", state AS "state: State", asked_at, erase_at, ended_at
        FROM identity.closing WHERE citizen_id = $1 AND state IN ('asked', 'cooling', 'erasing') FOR NO KEY UPDATE"#,
        user.uuid(),
    )
    .fetch_optional(conn)
    .await
}

/// A citizen's newest closing.
pub(super) async fn newest_of(conn: &mut PgConnection, user: CitizenId) -> Result<Option<Closing>, sqlx::Error> {
    sqlx::query_as!(
        Closing,
        r#"SELECT id AS "id: ClosingId", citizen_id AS "citizen: CitizenId", state AS "state: State", asked_at, erase_at, ended_at
        FROM identity.closing WHERE citizen_id = $1 ORDER BY id DESC LIMIT 1"#,
        user.uuid(),
    )
    .fetch_optional(conn)
    .await
}

/// A closing, locked.
pub(super) async fn lock(conn: &mut PgConnection, id: ClosingId) -> Result<Option<Closing>, sqlx::Error> {
    sqlx::query_as!(
        Closing,
        r#"SELECT id AS "id: ClosingId", citizen_id AS "citizen: CitizenId", state AS "state: State", asked_at, erase_at, ended_at
        FROM identity.closing WHERE id = $1 FOR NO KEY UPDATE"#,
        id.uuid(),
    )
    .fetch_optional(conn)
    .await
}

/// Whose a closing is.
pub(super) async fn citizen_of(conn: &mut PgConnection, id: ClosingId) -> Result<Option<CitizenId>, sqlx::Error> {
    sqlx::query_scalar!(r#"SELECT citizen_id AS "id: CitizenId" FROM identity.closing WHERE id = $1"#, id.uuid())
        .fetch_optional(conn)
        .await
}

/// What services have said.
pub(super) async fn answers(conn: &mut PgConnection, id: ClosingId) -> Result<Vec<Answer>, sqlx::Error> {
    sqlx::query_as!(
        Answer,
        r#"SELECT service, answered_at IS NOT NULL AS "answered!", hindrances FROM identity.closing_answer
        WHERE closing_id = $1 ORDER BY service"#,
        id.uuid(),
    )
    .fetch_all(conn)
    .await
}

/// Writes down what a service says; its first word counts.
pub(super) async fn answer(
    conn: &mut PgConnection,
    (id, service): (ClosingId, &str),
    hindrances: &[String],
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE identity.closing_answer SET answered_at = $4, hindrances = $3
        WHERE closing_id = $1 AND service = $2 AND answered_at IS NULL",
        id.uuid(),
        service,
        hindrances,
        now,
    )
    .execute(conn)
    .await
    .map(|_| ())
}

/// Whether somebody acts for the city.
pub(super) async fn holds_roles(conn: &mut PgConnection, user: CitizenId) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM identity.role_grant WHERE user_id = $1 AND revoked_at IS NULL) AS "held!""#,
        user.uuid(),
    )
    .fetch_one(conn)
    .await
}

/// All services agree.
pub(super) async fn agree(conn: &mut PgConnection, id: ClosingId, erase_at: DateTime<Utc>) -> Result<(), sqlx::Error> {
    sqlx::query!("UPDATE identity.closing SET state = 'cooling', erase_at = $2 WHERE id = $1", id.uuid(), erase_at)
        .execute(conn)
        .await
        .map(|_| ())
}

/// There is no way back.
pub(super) async fn begin_erasure(conn: &mut PgConnection, id: ClosingId) -> Result<(), sqlx::Error> {
    sqlx::query!("UPDATE identity.closing SET state = 'erasing' WHERE id = $1", id.uuid())
        .execute(conn)
        .await
        .map(|_| ())
}

/// A closing ends.
pub(super) async fn end(
    conn: &mut PgConnection,
    id: ClosingId,
    state: State,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!("UPDATE identity.closing SET state = $2, ended_at = $3 WHERE id = $1", id.uuid(), state.as_str(), now,)
        .execute(conn)
        .await
        .map(|_| ())
}

/// A service has erased.
pub(super) async fn erased(
    conn: &mut PgConnection,
    (id, service): (ClosingId, &str),
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE identity.closing_answer SET erased_at = $3 WHERE closing_id = $1 AND service = $2 AND erased_at IS NULL",
        id.uuid(),
        service,
        now,
    )
    .execute(conn)
    .await
    .map(|_| ())
}

/// Whether all have.
pub(super) async fn all_erased(conn: &mut PgConnection, id: ClosingId) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT NOT EXISTS (SELECT FROM identity.closing_answer WHERE closing_id = $1 AND erased_at IS NULL) AS "all!""#,
        id.uuid(),
    )
    .fetch_one(conn)
    .await
}

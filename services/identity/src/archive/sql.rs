//! Statements on archives.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::{Archive, ArchiveId, Piece, Reading};
use crate::citizen::CitizenId;

/// How far a part has come.
pub(super) struct Part {
    pub attempt: Option<Uuid>,
    pub pieces: i32,
    pub finished: bool,
}

/// The archive that is being gathered for a citizen.
pub(super) async fn gathering(
    conn: &mut PgConnection,
    user: CitizenId,
    now: DateTime<Utc>,
) -> Result<Option<ArchiveId>, sqlx::Error> {
    // One whose time is over may still stand there until it is removed.
    sqlx::query!(
        "DELETE FROM identity.archive WHERE citizen_id = $1 AND ready_at IS NULL AND expires_at <= $2",
        user.uuid(),
        now,
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query_scalar!(
        r#"SELECT id AS "id: ArchiveId" FROM identity.archive WHERE citizen_id = $1 AND ready_at IS NULL"#,
        user.uuid(),
    )
    .fetch_optional(conn)
    .await
}

/// How many archives of a citizen are kept.
pub(super) async fn count(conn: &mut PgConnection, user: CitizenId, now: DateTime<Utc>) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM identity.archive WHERE citizen_id = $1 AND expires_at > $2"#,
        user.uuid(),
        now,
    )
    .fetch_one(conn)
    .await
}

/// Stores an archive with a part for each service.
pub(super) async fn insert(
    conn: &mut PgConnection,
    (id, user): (ArchiveId, CitizenId),
    services: &[&str],
    (now, expires_at): (DateTime<Utc>, DateTime<Utc>),
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO identity.archive (id, citizen_id, requested_at, expires_at) VALUES ($1, $2, $3, $4)",
        id.uuid(),
        user.uuid(),
        now,
        expires_at,
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "INSERT INTO identity.archive_part (archive_id, service) SELECT $1, service FROM unnest($2::text[]) AS all_of (service)",
        id.uuid(),
        services as &[&str],
    )
    .execute(conn)
    .await
    .map(|_| ())
}

/// A citizen's archives, newest first.
pub(super) async fn list(
    conn: &mut PgConnection,
    user: CitizenId,
    now: DateTime<Utc>,
) -> Result<Vec<Archive>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT a.id AS "id: ArchiveId", a.requested_at, a.ready_at, a.expires_at,
            array_agg(p.service ORDER BY array_position($3::text[], p.service)) AS "services!",
            array_agg(p.finished_at IS NOT NULL ORDER BY array_position($3::text[], p.service)) AS "finished!"
        FROM identity.archive a JOIN identity.archive_part p ON p.archive_id = a.id
        WHERE a.citizen_id = $1 AND a.expires_at > $2 GROUP BY a.id ORDER BY a.id DESC"#,
        user.uuid(),
        now,
        &super::SERVICES as &[&str],
    )
    .fetch_all(conn)
    .await?;
    let archive = rows.into_iter().map(|row| Archive {
        id: row.id,
        requested_at: row.requested_at,
        ready_at: row.ready_at,
        expires_at: row.expires_at,
        parts: row.services.into_iter().zip(row.finished).collect(),
    });
    Ok(archive.collect())
}

/// One of a citizen's archives.
pub(super) async fn find(
    conn: &mut PgConnection,
    user: CitizenId,
    id: ArchiveId,
    now: DateTime<Utc>,
) -> Result<Option<Archive>, sqlx::Error> {
    Ok(list(conn, user, now).await?.into_iter().find(|archive| archive.id == id))
}

/// Whose an archive is, locked, if it is still being gathered.
pub(super) async fn lock_gathering(
    conn: &mut PgConnection,
    id: ArchiveId,
    now: DateTime<Utc>,
) -> Result<Option<CitizenId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT citizen_id AS "citizen: CitizenId" FROM identity.archive
        WHERE id = $1 AND ready_at IS NULL AND expires_at > $2 FOR NO KEY UPDATE"#,
        id.uuid(),
        now,
    )
    .fetch_optional(conn)
    .await
}

/// A service's part.
pub(super) async fn part(conn: &mut PgConnection, id: ArchiveId, service: &str) -> Result<Option<Part>, sqlx::Error> {
    sqlx::query_as!(
        Part,
        r#"SELECT attempt_id AS attempt, pieces, finished_at IS NOT NULL AS "finished!" FROM identity.archive_part
        WHERE archive_id = $1 AND service = $2"#,
        id.uuid(),
        service,
    )
    .fetch_optional(conn)
    .await
}

/// Lets an attempt count in place of the one before.
pub(super) async fn begin_attempt(conn: &mut PgConnection, piece: &Piece<'_>) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "DELETE FROM identity.archive_piece WHERE archive_id = $1 AND service = $2",
        piece.archive.uuid(),
        piece.service,
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "UPDATE identity.archive_part SET attempt_id = $3, pieces = 0 WHERE archive_id = $1 AND service = $2",
        piece.archive.uuid(),
        piece.service,
        piece.attempt,
    )
    .execute(conn)
    .await
    .map(|_| ())
}

/// Adds a piece; the last one finishes the part.
pub(super) async fn add_piece(
    conn: &mut PgConnection,
    piece: &Piece<'_>,
    sealed: &[u8],
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO identity.archive_piece (archive_id, service, ordinal, sealed) VALUES ($1, $2, $3, $4)",
        piece.archive.uuid(),
        piece.service,
        piece.ordinal,
        sealed,
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "UPDATE identity.archive_part SET pieces = pieces + 1, finished_at = CASE WHEN $3 THEN $4::timestamptz END
        WHERE archive_id = $1 AND service = $2",
        piece.archive.uuid(),
        piece.service,
        piece.last,
        now,
    )
    .execute(conn)
    .await
    .map(|_| ())
}

/// Makes an archive ready once all its parts are finished; tells whether it became so now.
pub(super) async fn make_ready(
    conn: &mut PgConnection,
    id: ArchiveId,
    (now, expires_at): (DateTime<Utc>, DateTime<Utc>),
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "UPDATE identity.archive a SET ready_at = $2, expires_at = $3 WHERE a.id = $1 AND a.ready_at IS NULL
            AND NOT EXISTS (SELECT FROM identity.archive_part p WHERE p.archive_id = a.id AND p.finished_at IS NULL)",
        id.uuid(),
        now,
        expires_at,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The parts of an archive, in the order of the document.
pub(super) async fn readings(conn: &mut PgConnection, id: ArchiveId) -> Result<Vec<Reading>, sqlx::Error> {
    sqlx::query_as!(
        Reading,
        r#"SELECT archive_id AS "archive: ArchiveId", service, attempt_id AS "attempt!", pieces FROM identity.archive_part
        WHERE archive_id = $1 AND finished_at IS NOT NULL ORDER BY array_position($2::text[], service)"#,
        id.uuid(),
        &super::SERVICES as &[&str],
    )
    .fetch_all(conn)
    .await
}

/// A sealed piece.
pub(super) async fn piece(
    conn: &mut PgConnection,
    (id, service): (ArchiveId, &str),
    ordinal: i32,
) -> Result<Option<Vec<u8>>, sqlx::Error> {
    sqlx::query_scalar!(
        "SELECT sealed FROM identity.archive_piece WHERE archive_id = $1 AND service = $2 AND ordinal = $3",
        id.uuid(),
        service,
        ordinal,
    )
    .fetch_optional(conn)
    .await
}

/// Removes archives whose time is over, at most `batch`; tells how many.
pub(crate) async fn prune(pool: &PgPool, now: DateTime<Utc>, batch: i64) -> Result<u64, sqlx::Error> {
    let pruned = sqlx::query!(
        "DELETE FROM identity.archive WHERE id = ANY (ARRAY(
            SELECT id FROM identity.archive WHERE expires_at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED))",
        now,
        batch,
    )
    .execute(pool)
    .await?;
    Ok(pruned.rows_affected())
}

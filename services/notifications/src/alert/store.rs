//! Reads and writes alerts.
//!
//! Lock: the rows of an alert and of the one it supersedes, in the order of their ids, by [`lock`].

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::cap::Entry;
use super::{AlertId, Content, Kind, Life, Origin, State};
use crate::city::City;
use crate::error::Error;

/// An alert as it is stored.
#[derive(Clone, Debug)]
pub(crate) struct Alert {
    pub(crate) id: AlertId,
    pub(crate) identifier: String,
    pub(crate) life: Life,
    pub(crate) origin: Origin,
    /// What it comes from: an alarm's id, or sender and identifier of a document.
    pub(crate) origin_reference: Option<String>,
    pub(crate) content: Content,
    /// Counts what it has said; whoever releases it says which they read.
    pub(crate) revision: i32,
    pub(crate) supersedes: Option<AlertId>,
    pub(crate) drafted_at: DateTime<Utc>,
    pub(crate) released_at: Option<DateTime<Utc>>,
    pub(crate) ended_by: Option<Uuid>,
    pub(crate) ended_at: Option<DateTime<Utc>>,
    /// The CAP document; there since the release.
    pub(crate) document: Option<String>,
}

struct Row {
    id: AlertId,
    identifier: String,
    kind: String,
    state: String,
    content: Value,
    revision: i32,
    supersedes: Option<AlertId>,
    origin: String,
    origin_reference: Option<String>,
    drafted_by: Option<Uuid>,
    drafted_at: DateTime<Utc>,
    released_by: Option<Uuid>,
    released_at: Option<DateTime<Utc>>,
    ended_by: Option<Uuid>,
    ended_at: Option<DateTime<Utc>>,
    expires_at: DateTime<Utc>,
    document: Option<String>,
}

impl TryFrom<Row> for Alert {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        let unreadable = || Error::Unreadable(row.id);
        Ok(Self {
            id: row.id,
            identifier: row.identifier,
            life: Life {
                kind: Kind::from_name(&row.kind).ok_or_else(unreadable)?,
                state: State::from_name(&row.state).ok_or_else(unreadable)?,
                drafted_by: row.drafted_by,
                released_by: row.released_by,
                expires_at: row.expires_at,
            },
            origin: Origin::from_name(&row.origin).ok_or_else(unreadable)?,
            origin_reference: row.origin_reference,
            content: serde_json::from_value(row.content).map_err(|_| Error::Unreadable(row.id))?,
            revision: row.revision,
            supersedes: row.supersedes,
            drafted_at: row.drafted_at,
            released_at: row.released_at,
            ended_by: row.ended_by,
            ended_at: row.ended_at,
            document: row.document,
        })
    }
}

/// Reads an alert.
///
/// # Errors
/// [`Error::NotFound`].
pub(crate) async fn read(connection: &mut PgConnection, id: AlertId) -> Result<Alert, Error> {
    let row = sqlx::query_as!(
        Row,
        r#"SELECT id AS "id: AlertId", identifier, kind, state, content, revision, supersedes AS "supersedes: AlertId", origin,
                  origin_reference, drafted_by, drafted_at, released_by, released_at, ended_by, ended_at, expires_at, document
           FROM notifications.alert WHERE id = $1"#,
        id.uuid()
    );
    row.fetch_optional(connection).await?.ok_or(Error::NotFound)?.try_into()
}

/// Locks an alert and the one it supersedes, until the transaction ends.
pub(crate) async fn lock(
    connection: &mut PgConnection,
    id: AlertId,
    supersedes: Option<AlertId>,
) -> Result<(), sqlx::Error> {
    let ids: Vec<Uuid> = supersedes.into_iter().chain([id]).map(AlertId::uuid).collect();
    // A statement of its own: what is read afterwards is what the one before left.
    sqlx::query!("SELECT FROM notifications.alert WHERE id = ANY ($1) ORDER BY id FOR UPDATE", &ids)
        .execute(connection)
        .await
        .map(|_| ())
}

/// Alerts that an alert follows, and that follow it, at most; a warning of a week has some dozen.
const MAX_FAMILY: i64 = 500;

/// Locks an alert, all that it follows and all that follow it, and gives them, the oldest first.
pub(crate) async fn family(connection: &mut PgConnection, id: AlertId) -> Result<Vec<Alert>, Error> {
    let ids = sqlx::query_scalar!(
        r#"WITH RECURSIVE family AS (
               SELECT id, supersedes FROM notifications.alert WHERE id = $1
               UNION SELECT alert.id, alert.supersedes
               FROM family JOIN notifications.alert ON alert.id = family.supersedes OR alert.supersedes = family.id)
           SELECT id AS "id!" FROM family ORDER BY id DESC LIMIT $2"#,
        id.uuid(),
        MAX_FAMILY
    );
    let ids = ids.fetch_all(&mut *connection).await?;
    // As in [`lock`], a statement of its own, in the order of the ids.
    sqlx::query!("SELECT FROM notifications.alert WHERE id = ANY ($1) ORDER BY id FOR UPDATE", &ids)
        .execute(&mut *connection)
        .await?;
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT id AS "id: AlertId", identifier, kind, state, content, revision, supersedes AS "supersedes: AlertId", origin,
                  origin_reference, drafted_by, drafted_at, released_by, released_at, ended_by, ended_at, expires_at, document
           FROM notifications.alert WHERE id = ANY ($1) ORDER BY id"#,
        &ids
    );
    rows.fetch_all(connection).await?.into_iter().map(Alert::try_from).collect()
}

/// How many drafts that a partner's documents made wait for an officer.
pub(crate) async fn waiting_of(
    connection: &mut PgConnection,
    partner: &str,
    now: DateTime<Utc>,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT count(DISTINCT alert.id) AS "count!" FROM notifications.cap_message
           JOIN notifications.alert ON alert.id = alert_id
           WHERE partner = $1 AND state = $2 AND drafted_by IS NULL AND expires_at > $3"#,
        partner,
        State::Drafted.name(),
        now
    )
    .fetch_one(connection)
    .await
}

/// Alerts before an id (`None`: the newest), newest first, at most `limit`; only drafts that wait at a time, if one is given.
pub(crate) async fn list(
    pool: &PgPool,
    (before, waiting_at): (Option<AlertId>, Option<DateTime<Utc>>),
    limit: i64,
) -> Result<Vec<Alert>, Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT id AS "id: AlertId", identifier, kind, state, content, revision, supersedes AS "supersedes: AlertId", origin,
                  origin_reference, drafted_by, drafted_at, released_by, released_at, ended_by, ended_at, expires_at, document
           FROM notifications.alert WHERE ($1::uuid IS NULL OR id < $1) 
             AND ($3::timestamptz IS NULL OR (state = 'drafted' AND expires_at > $3))
           ORDER BY id DESC LIMIT $2"#,
        before.map(AlertId::uuid),
        limit,
        waiting_at
    );
    rows.fetch_all(pool).await?.into_iter().map(Alert::try_from).collect()
}

/// Writes a new alert.
pub(crate) async fn insert(connection: &mut PgConnection, alert: &Alert) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO notifications.alert (id, identifier, kind, state, content, supersedes, drafted_by, drafted_at,
                                          released_by, released_at, expires_at, document, origin, origin_reference)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
        alert.id.uuid(),
        alert.identifier,
        alert.life.kind.name(),
        alert.life.state.name(),
        serde_json::to_value(&alert.content).expect("content serialises"),
        alert.supersedes.map(AlertId::uuid),
        alert.life.drafted_by,
        alert.drafted_at,
        alert.life.released_by,
        alert.released_at,
        alert.life.expires_at,
        alert.document,
        alert.origin.name(),
        alert.origin_reference
    )
    .execute(connection)
    .await
    .map(|_| ())
}

/// Writes where an alert stands now.
pub(crate) async fn update(connection: &mut PgConnection, alert: &Alert) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE notifications.alert SET state = $2, released_by = $3, released_at = $4, ended_by = $5, ended_at = $6,
                                        document = $7
         WHERE id = $1",
        alert.id.uuid(),
        alert.life.state.name(),
        alert.life.released_by,
        alert.released_at,
        alert.ended_by,
        alert.ended_at,
        alert.document
    )
    .execute(connection)
    .await
    .map(|_| ())
}

/// Writes what an officer who adopts a draft makes of it.
pub(crate) async fn adopt(connection: &mut PgConnection, alert: &Alert) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE notifications.alert SET drafted_by = $2, content = $3, expires_at = $4, revision = $5 WHERE id = $1",
        alert.id.uuid(),
        alert.life.drafted_by,
        serde_json::to_value(&alert.content).expect("content serialises"),
        alert.life.expires_at,
        alert.revision
    )
    .execute(connection)
    .await
    .map(|_| ())
}

/// The document with an identifier.
pub(crate) async fn document(pool: &PgPool, identifier: &str) -> Result<Option<String>, sqlx::Error> {
    let document = sqlx::query_scalar!(
        r#"SELECT document AS "document!" FROM notifications.alert WHERE identifier = $1 AND document IS NOT NULL"#,
        identifier
    );
    document.fetch_optional(pool).await
}

/// What was released after a time, newest first, at most `limit`.
pub(crate) async fn released_since(
    pool: &PgPool,
    since: DateTime<Utc>,
    limit: i64,
    city: &City,
) -> Result<Vec<Entry>, Error> {
    let rows = sqlx::query!(
        r#"SELECT id AS "id: AlertId", identifier, content, released_at AS "released_at!"
           FROM notifications.alert WHERE released_at > $1 ORDER BY released_at DESC, id DESC LIMIT $2"#,
        since,
        limit
    );
    let rows = rows.fetch_all(pool).await?.into_iter();
    rows.map(|row| {
        let content = serde_json::from_value(row.content).map_err(|_| Error::Unreadable(row.id))?;
        Ok(Entry { identifier: row.identifier, sent: city.local(row.released_at), content })
    })
    .collect()
}

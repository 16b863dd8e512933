//! Reading reports: one, lists, what lies near, counts.
//!
//! No statement here reads `reports.reporter` but [`reporter`], [`mine`] and [`whole`], which ask for one citizen.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgConnection;
use sqlx::types::Json;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::lifecycle::Case;

/// The most features of one map.
pub(crate) const MAX_FEATURES: i64 = 2_000;
/// The most neighbours that are read before the distance decides.
const MAX_NEAR: i64 = 200;

/// One report, whole.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) id: Uuid,
    pub(crate) category: String,
    pub(crate) lane: String,
    /// What a reporter or a caller wrote, as `address` and the texts of `attributes`: plain, or [opened](crate::person::open).
    pub(crate) body: Option<String>,
    pub(crate) body_sealed: Option<Vec<u8>>,
    pub(crate) address_sealed: Option<Vec<u8>>,
    pub(crate) answers_sealed: Option<Vec<u8>>,
    pub(crate) public_body: String,
    pub(crate) attributes: Value,
    pub(crate) lon: Option<f64>,
    pub(crate) lat: Option<f64>,
    pub(crate) address: Option<String>,
    pub(crate) ward_code: Option<String>,
    pub(crate) agency_code: Option<String>,
    pub(crate) progress: Json<Case>,
    pub(crate) result: Option<String>,
    pub(crate) due_at: Option<DateTime<Utc>>,
    pub(crate) first_due_at: Option<DateTime<Utc>>,
    pub(crate) public_since: Option<DateTime<Utc>>,
    pub(crate) merged_into: Option<Uuid>,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) updated_at: DateTime<Utc>,
}

/// One report of a list. Names no citizen; its text is the public one.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Item {
    pub(crate) id: Uuid,
    pub(crate) category: String,
    /// `instant` or `timed`.
    pub(crate) lane: String,
    /// What was reported, without numbers of persons.
    pub(crate) text: String,
    pub(crate) lat: Option<f64>,
    pub(crate) lon: Option<f64>,
    pub(crate) ward_code: Option<String>,
    pub(crate) state: String,
    pub(crate) version: i64,
    pub(crate) round: i32,
    /// Code of the agency that answers for it.
    pub(crate) lead_agency: Option<String>,
    /// When the running time limit ends; absent when none runs.
    pub(crate) due_at: Option<DateTime<Utc>>,
    /// The work's first deadline; `due_at` is later after an extension.
    pub(crate) first_due_at: Option<DateTime<Utc>>,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) updated_at: DateTime<Utc>,
}

/// Which reports of a list.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) category: Option<String>,
    pub(crate) ward: Option<String>,
    pub(crate) state: Option<&'static str>,
}

/// One report.
pub(crate) async fn find(connection: &mut PgConnection, id: Uuid) -> Result<Option<Row>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        r#"SELECT id, category, lane, body, body_sealed, address_sealed, answers_sealed, public_body, attributes, lon, lat, address, ward_code, agency_code,
               progress AS "progress: Json<Case>", result, due_at, first_due_at, public_since, merged_into, created_at, updated_at
           FROM reports.report WHERE id = $1"#,
        id
    )
    .fetch_optional(connection)
    .await
}

/// Who sent a report, unless they were erased.
pub(crate) async fn reporter(connection: &mut PgConnection, id: Uuid) -> Result<Option<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        "SELECT reporter.user_id FROM reports.reporter JOIN reports.report ON report.id = reporter.report_id
         WHERE report.id = $1 AND report.erased_at IS NULL",
        id
    )
    .fetch_optional(connection)
    .await
}

/// One citizen's reports behind one of them, oldest first; what they wrote is still sealed.
pub(crate) async fn whole(
    connection: &mut PgConnection,
    user: Uuid,
    after: Uuid,
    limit: i64,
) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        r#"SELECT report.id, category, lane, body, body_sealed, address_sealed, answers_sealed, public_body, attributes, lon, lat, address,
               ward_code, agency_code, progress AS "progress: Json<Case>", result, due_at, first_due_at, public_since, merged_into,
               created_at, updated_at
           FROM reports.reporter JOIN reports.report ON report.id = reporter.report_id
           WHERE reporter.user_id = $1 AND reporter.report_id > $2 ORDER BY reporter.report_id LIMIT $3"#,
        user,
        after,
        limit
    )
    .fetch_all(connection)
    .await
}

/// Public reports, newest first.
pub(crate) async fn public(
    connection: &mut PgConnection,
    filter: &Filter,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Item>, sqlx::Error> {
    sqlx::query_as!(
        Item,
        "SELECT id, category, lane, public_body AS text, lat, lon, ward_code, state, version, round, lead_agency, due_at, first_due_at,
             created_at, updated_at
         FROM reports.report
         WHERE public_since IS NOT NULL AND state NOT IN ('rejected', 'duplicate')
             AND ($1::text IS NULL OR category = $1) AND ($2::text IS NULL OR ward_code = $2) AND ($3::text IS NULL OR state = $3)
             AND ($4::uuid IS NULL OR id < $4)
         ORDER BY id DESC LIMIT $5",
        filter.category,
        filter.ward,
        filter.state,
        before,
        limit + 1
    )
    .fetch_all(connection)
    .await
}

/// One citizen's reports, newest first; their own words are still [sealed](crate::person::open_all).
pub(crate) async fn mine(
    connection: &mut PgConnection,
    user: Uuid,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Item>, sqlx::Error> {
    sqlx::query_as!(
        Item,
        r#"SELECT report.id, category, lane, coalesce(body, public_body) AS "text!", lat, lon, ward_code, state, version, round,
             lead_agency, due_at, first_due_at, created_at, updated_at
         FROM reports.report JOIN reports.reporter ON reporter.report_id = report.id
         WHERE reporter.user_id = $1 AND ($2::uuid IS NULL OR report.id < $2)
         ORDER BY reporter.report_id DESC LIMIT $3"#,
        user,
        before,
        limit + 1
    )
    .fetch_all(connection)
    .await
}

/// A corner-to-corner box in degrees.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) west: f64,
    pub(crate) south: f64,
    pub(crate) east: f64,
    pub(crate) north: f64,
}

/// Public reports inside a box, newest first, at most [`MAX_FEATURES`].
pub(crate) async fn inside(connection: &mut PgConnection, bounds: Bounds) -> Result<Vec<Item>, sqlx::Error> {
    sqlx::query_as!(
        Item,
        "SELECT id, category, lane, public_body AS text, lat, lon, ward_code, state, version, round, lead_agency, due_at, first_due_at,
             created_at, updated_at
         FROM reports.report
         WHERE public_since IS NOT NULL AND state NOT IN ('rejected', 'duplicate')
             AND lon BETWEEN $1 AND $3 AND lat BETWEEN $2 AND $4
         ORDER BY id DESC LIMIT $5",
        bounds.west,
        bounds.south,
        bounds.east,
        bounds.north,
        MAX_FEATURES
    )
    .fetch_all(connection)
    .await
}

/// A report near a point; its text only if it is public.
#[derive(Debug)]
pub(crate) struct Near {
    pub(crate) id: Uuid,
    pub(crate) lat: f64,
    pub(crate) lon: f64,
    pub(crate) state: String,
    pub(crate) text: Option<String>,
    pub(crate) created_at: DateTime<Utc>,
}

/// Reports of a category inside a box and after a time that are neither rejected nor duplicates, and still say where they are.
pub(crate) async fn near(
    connection: &mut PgConnection,
    category: &str,
    bounds: Bounds,
    since: DateTime<Utc>,
) -> Result<Vec<Near>, sqlx::Error> {
    sqlx::query_as!(
        Near,
        r#"SELECT id, lat AS "lat!", lon AS "lon!", state, CASE WHEN public_since IS NOT NULL THEN public_body END AS text, created_at
           FROM reports.report
           WHERE category = $1 AND lat BETWEEN $3 AND $5 AND lon BETWEEN $2 AND $4 AND created_at > $6
               AND state NOT IN ('rejected', 'duplicate') AND erased_at IS NULL
           ORDER BY id DESC LIMIT $7"#,
        category,
        bounds.west,
        bounds.south,
        bounds.east,
        bounds.north,
        since,
        MAX_NEAR
    )
    .fetch_all(connection)
    .await
}

/// Reports that have not ended, by state and leading agency.
pub(crate) async fn open(connection: &mut PgConnection) -> Result<Vec<(String, String, i64)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT state, coalesce(lead_agency, '') AS "agency!", count(*) AS "count!" FROM reports.report
           WHERE state NOT IN ('rejected', 'duplicate', 'published', 'closed') GROUP BY 1, 2"#
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.state, row.agency, row.count)).collect())
}

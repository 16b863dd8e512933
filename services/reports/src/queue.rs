//! The officers' lists: what has not ended, and what happened, report by report, as the operations centre counts it.
//!
//! No statement here reads who sent a report.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use sqlx::PgConnection;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::list::Item;
use crate::officer::Post;

/// Which reports of a list; absent what does not matter.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    /// Agencies that lead or help, each in its ward if it names one.
    pub(crate) posts: Option<Vec<Post>>,
    pub(crate) state: Option<&'static str>,
    /// Its code; empty for reports whose ward is not known.
    pub(crate) ward: Option<String>,
    /// The agency that leads or, of what happened, led at that time.
    pub(crate) lead_agency: Option<String>,
}

impl Filter {
    /// Agencies, and beside each the ward that it is for.
    fn posts(&self) -> (Option<Vec<String>>, Vec<Option<String>>) {
        let agencies = self.posts.as_ref().map(|posts| posts.iter().map(|post| post.agency.clone()).collect());
        (agencies, self.posts.iter().flatten().map(|post| post.ward.clone()).collect())
    }
}

/// What can happen to a report, and how it then stands in the centre's counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Happening {
    /// It came in.
    Submitted,
    /// A time limit was missed; the outcome is the state whose limit it was.
    Breach,
    /// A result was published; `first` kept the first deadline, `extended` only the one in force, `late` none.
    Result,
    /// A round ended: `satisfied`, `acceptable`, `dissatisfied`, or `none` where nobody rated.
    Rating,
}

impl Happening {
    const fn name(self) -> &'static str {
        match self {
            Self::Submitted => "submitted",
            Self::Breach => "breach",
            Self::Result => "result",
            Self::Rating => "rating",
        }
    }
}

/// What happened, how and when.
#[derive(Clone, Debug)]
pub(crate) struct Happened {
    pub(crate) what: Happening,
    pub(crate) outcome: Option<String>,
    /// From one moment until before another.
    pub(crate) between: Option<(DateTime<Utc>, DateTime<Utc>)>,
}

/// Reports that have not ended, the most urgent first; with a moment, those of them whose office ran out of time before it.
pub(crate) async fn open(
    connection: &mut PgConnection,
    filter: &Filter,
    late_at: Option<DateTime<Utc>>,
    after: Option<(DateTime<Utc>, Uuid)>,
    limit: i64,
) -> Result<Vec<Item>, sqlx::Error> {
    let ((agencies, wards), (due, id)) = (filter.posts(), after.unzip());
    sqlx::query_as!(
        Item,
        "SELECT id, category, lane, public_body AS text, lat, lon, ward_code, state, version, round, lead_agency, due_at, first_due_at,
             created_at, updated_at
         FROM reports.report
         WHERE state NOT IN ('rejected', 'duplicate', 'published', 'closed')
             AND ($1::text[] IS NULL OR EXISTS (
                 SELECT FROM unnest($1, $2::text[]) AS post (agency, ward)
                 WHERE (post.agency = lead_agency OR post.agency = ANY (co_agencies)) AND (post.ward IS NULL OR post.ward = ward_code)))
             AND ($3::text IS NULL OR state = $3)
             AND ($4::text IS NULL OR coalesce(ward_code, '') = $4)
             AND ($5::text IS NULL OR lead_agency = $5)
             AND ($6::timestamptz IS NULL OR (state <> 'needs-info' AND due_at <= $6))
             AND ($7::timestamptz IS NULL OR (due_at, id) > ($7, $8))
         ORDER BY due_at, id LIMIT $9",
        agencies.as_deref(),
        &wards as &[Option<String>],
        filter.state,
        filter.ward,
        filter.lead_agency,
        late_at,
        due,
        id,
        limit + 1,
    )
    .fetch_all(connection)
    .await
}

/// Reports to which something happened, ended ones too, the newest first; each once, however often it happened. What happened is looked up
/// first: within some time by its moment, else all of it.
pub(crate) async fn happened(
    connection: &mut PgConnection,
    filter: &Filter,
    happened: &Happened,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Item>, sqlx::Error> {
    let ((agencies, wards), (from, until)) = (filter.posts(), happened.between.unzip());
    sqlx::query_as!(
        Item,
        r#"WITH happened AS (
             SELECT id, lead_agency AS agency FROM reports.report
             WHERE $1 = 'submitted' AND created_at >= coalesce($2, '-infinity'::timestamptz) AND created_at < coalesce($3, 'infinity'::timestamptz)
                 AND $4::text IS NULL
             UNION ALL
             SELECT report_id, agency FROM reports.escalation
             WHERE $1 = 'breach' AND level = 100 AND escalated_at >= coalesce($2, '-infinity'::timestamptz)
                 AND escalated_at < coalesce($3, 'infinity'::timestamptz) AND ($4::text IS NULL OR state = $4)
             UNION ALL
             SELECT report_id, agency FROM reports.outcome
             WHERE $1 = 'result' AND published_at >= coalesce($2, '-infinity'::timestamptz) AND published_at < coalesce($3, 'infinity'::timestamptz)
                 AND ($4::text IS NULL OR CASE WHEN kept_first THEN 'first' WHEN kept_extended THEN 'extended' ELSE 'late' END = $4)
             UNION ALL
             SELECT rating.report_id, outcome.agency FROM reports.rating
                 JOIN reports.outcome ON outcome.report_id = rating.report_id AND outcome.round = rating.round
             WHERE $1 = 'rating' AND rating.rated_at >= coalesce($2, '-infinity'::timestamptz)
                 AND rating.rated_at < coalesce($3, 'infinity'::timestamptz) AND ($4::text IS NULL OR rating.rating = $4)
             UNION ALL
             SELECT report.id, outcome.agency FROM reports.report
                 JOIN reports.outcome ON outcome.report_id = report.id AND outcome.round = report.round
             WHERE $1 = 'rating' AND report.state = 'closed'
                 AND report.updated_at >= coalesce($2, '-infinity'::timestamptz) AND report.updated_at < coalesce($3, 'infinity'::timestamptz)
                 AND ($4::text IS NULL OR $4 = 'none')
                 AND NOT EXISTS (SELECT FROM reports.rating WHERE rating.report_id = report.id AND rating.round = report.round)
           )
           SELECT id, category, lane, public_body AS text, lat, lon, ward_code, state, version, round, lead_agency, due_at, first_due_at,
               created_at, updated_at
           FROM reports.report
           WHERE id IN (SELECT happened.id FROM happened WHERE $5::text IS NULL OR happened.agency = $5)
               AND ($6::text[] IS NULL OR EXISTS (
                   SELECT FROM unnest($6, $7::text[]) AS post (agency, ward)
                   WHERE (post.agency = lead_agency OR post.agency = ANY (co_agencies)) AND (post.ward IS NULL OR post.ward = ward_code)))
               AND ($8::text IS NULL OR state = $8)
               AND ($9::text IS NULL OR coalesce(ward_code, '') = $9)
               AND ($10::uuid IS NULL OR id < $10)
           ORDER BY id DESC LIMIT $11"#,
        happened.what.name() as &str,
        from,
        until,
        happened.outcome.as_deref(),
        filter.lead_agency,
        agencies.as_deref(),
        &wards as &[Option<String>],
        filter.state,
        filter.ward,
        before,
        limit + 1,
    )
    .fetch_all(connection)
    .await
}

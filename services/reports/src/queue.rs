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
    /// From one moment until before another; ever when absent.
    pub(crate) between: Option<(DateTime<Utc>, DateTime<Utc>)>,
}

/// One thing that happened to a report.
#[derive(Clone, Debug)]
pub(crate) struct Deed {
    pub(crate) report: Uuid,
    pub(crate) at: DateTime<Utc>,
    /// Which of the report's time limits it was, or which round; 0 of a submission.
    pub(crate) number: i32,
    /// How it ended; absent of a submission.
    pub(crate) outcome: Option<String>,
}

/// Where something that happened stands in the list.
pub(crate) type Place = (DateTime<Utc>, Uuid, i32);

impl Deed {
    /// Its place in the list.
    pub(crate) fn place(&self) -> Place {
        (self.at, self.report, self.number)
    }
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

/// What happened to reports, ended ones too, the newest first, after a place; each time that it happened, as the operations centre counts
/// it. What happened is looked up by its moment or, of all times, by its agency.
pub(crate) async fn happened(
    connection: &mut PgConnection,
    filter: &Filter,
    happened: &Happened,
    after: Option<Place>,
    limit: i64,
) -> Result<Vec<Deed>, sqlx::Error> {
    let ((agencies, wards), (from, until)) = (filter.posts(), happened.between.unzip());
    let (at, report, number) =
        after.map_or((None, None, None), |(at, report, number)| (Some(at), Some(report), Some(number)));
    sqlx::query_as!(
        Deed,
        r#"WITH happened AS (
             SELECT id AS report, created_at AS at, 0 AS number, NULL::text AS outcome, lead_agency AS agency FROM reports.report
             WHERE $1 = 'submitted' AND created_at >= coalesce($2, '-infinity'::timestamptz) AND created_at < coalesce($3, 'infinity'::timestamptz)
             UNION ALL
             SELECT report_id, escalated_at, stopwatch, state, agency FROM reports.escalation
             WHERE $1 = 'breach' AND level = 100 AND escalated_at >= coalesce($2, '-infinity'::timestamptz)
                 AND escalated_at < coalesce($3, 'infinity'::timestamptz)
             UNION ALL
             SELECT report_id, published_at, round, CASE WHEN kept_first THEN 'first' WHEN kept_extended THEN 'extended' ELSE 'late' END, agency
             FROM reports.outcome
             WHERE $1 = 'result' AND published_at >= coalesce($2, '-infinity'::timestamptz) AND published_at < coalesce($3, 'infinity'::timestamptz)
             UNION ALL
             SELECT rating.report_id, rating.rated_at, rating.round, rating.rating, outcome.agency FROM reports.rating
                 JOIN reports.outcome ON outcome.report_id = rating.report_id AND outcome.round = rating.round
             WHERE $1 = 'rating' AND rating.rated_at >= coalesce($2, '-infinity'::timestamptz)
                 AND rating.rated_at < coalesce($3, 'infinity'::timestamptz) AND $4 IS DISTINCT FROM 'none'
             UNION ALL
             SELECT history.report_id, history.occurred_at, history.round, 'none', outcome.agency FROM reports.history
                 JOIN reports.outcome ON outcome.report_id = history.report_id AND outcome.round = history.round
             WHERE $1 = 'rating' AND ($4 IS NULL OR $4 = 'none') AND history.action = 'expire' AND history.from_state = 'published'
                 AND history.occurred_at >= coalesce($2, '-infinity'::timestamptz) AND history.occurred_at < coalesce($3, 'infinity'::timestamptz)
           )
           SELECT happened.report AS "report!", happened.at AS "at!", happened.number AS "number!", happened.outcome
           FROM happened JOIN reports.report ON report.id = happened.report
           WHERE ($4::text IS NULL OR happened.outcome = $4)
               AND ($5::text IS NULL OR happened.agency = $5)
               AND ($6::text[] IS NULL OR EXISTS (
                   SELECT FROM unnest($6, $7::text[]) AS post (agency, ward)
                   WHERE (post.agency = report.lead_agency OR post.agency = ANY (report.co_agencies))
                       AND (post.ward IS NULL OR post.ward = report.ward_code)))
               AND ($8::text IS NULL OR report.state = $8)
               AND ($9::text IS NULL OR coalesce(report.ward_code, '') = $9)
               AND ($10::timestamptz IS NULL OR (happened.at, happened.report, happened.number) < ($10, $11, $12))
           ORDER BY happened.at DESC, happened.report DESC, happened.number DESC LIMIT $13"#,
        happened.what.name() as &str,
        from,
        until,
        happened.outcome.as_deref(),
        filter.lead_agency,
        agencies.as_deref(),
        &wards as &[Option<String>],
        filter.state,
        filter.ward,
        at,
        report,
        number,
        limit + 1,
    )
    .fetch_all(connection)
    .await
}

/// Some reports, as lists show them, in no order.
pub(crate) async fn items(connection: &mut PgConnection, reports: &[Uuid]) -> Result<Vec<Item>, sqlx::Error> {
    sqlx::query_as!(
        Item,
        "SELECT id, category, lane, public_body AS text, lat, lon, ward_code, state, version, round, lead_agency, due_at, first_due_at,
             created_at, updated_at
         FROM reports.report WHERE id = ANY ($1)",
        reports
    )
    .fetch_all(connection)
    .await
}

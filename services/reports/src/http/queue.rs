//! The officers' queue, and with it whatever the operations centre counts, report by report.

use std::collections::HashMap;

use axum::extract::State;
use chrono::{DateTime, NaiveDate, Utc};
use platform::auth::Principal;
use platform::http::{Json, Query};
use platform::page::{Page, PageQuery};
use platform::problem::{INVALID_QUERY, Problem};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{App, officer};
use crate::error::Error;
use crate::lifecycle::State as ReportState;
use crate::list::Item;
use crate::officer::{Office, Post};
use crate::queue::{self, Deed, Filter, Happened, Happening};

/// The name, in a query, of a ward that is not known.
const NO_WARD: &str = "none";

/// Which part of the queue.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct QueueQuery {
    /// Only this state.
    state: Option<ReportState>,
    /// Only what this agency leads or helps: any for the operations centre, one of their own for officers of agencies.
    agency: Option<String>,
    /// Only what this agency leads; with `happened`, led at that time.
    lead_agency: Option<String>,
    /// Only this ward; `none` for reports whose ward is not known.
    ward: Option<String>,
    /// `true`: only those whose office has run out of time.
    overdue: Option<bool>,
    /// In place of what has not ended: reports to which this happened, ended ones too, the newest first; a report stands there as often as
    /// it happened.
    #[param(inline)]
    happened: Option<Happening>,
    /// With `happened`: only what ended so. Of a `breach` the state whose limit it was; of a `result` `first`, `extended` or `late`; of a
    /// `rating` `satisfied`, `acceptable`, `dissatisfied` or `none`.
    outcome: Option<String>,
    /// With `happened`: only what happened on this day of the city. When absent: with `lead_agency` whatever happened since the beginning,
    /// else today.
    day: Option<NaiveDate>,
    /// Items wanted, 1 to 200; 50 when absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u16>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A report of the officers' queue.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct QueueItem {
    #[serde(flatten)]
    report: Item,
    /// When that happened which was asked for; null without `happened`.
    happened_at: Option<DateTime<Utc>>,
    /// How it ended, as the query's `outcome`; null of a submission.
    outcome: Option<String>,
}

/// For officers: what has not ended, the most urgent first; with `happened`, what the operations centre counts, report by report. The
/// operations centre sees all, an agency what it or one below it leads or helps, and whoever has a role in one ward what lies there.
#[utoipa::path(
    get,
    path = "/reports/v1/queue",
    tag = "reports",
    operation_id = "getReportQueue",
    params(QueueQuery),
    responses(
        (status = 200, body = Page<QueueItem>),
        (status = 400, description = "invalid-query"),
        (status = 403, description = "forbidden"),
    ),
    security(("bearer" = []))
)]
pub(super) async fn queue(
    State(reports): State<App>,
    principal: Principal,
    Query(query): Query<QueueQuery>,
) -> Result<Json<Page<QueueItem>>, Problem> {
    let happened = happened(&reports, &query)?;
    let page = PageQuery { limit: query.limit, cursor: query.cursor };
    let limit = page.limit()?;
    let filter = Filter {
        posts: posts(officer(&reports, &principal)?, query.agency)?,
        state: query.state.map(ReportState::name),
        ward: query.ward.map(|ward| if ward == NO_WARD { String::new() } else { ward }),
        lead_agency: query.lead_agency,
    };
    let mut connection = reports.pool.acquire().await?;
    let Some(happened) = happened else {
        let late_at = (query.overdue == Some(true)).then(|| reports.now());
        let after = page.after::<(DateTime<Utc>, Uuid)>()?;
        let items = queue::open(&mut connection, &filter, late_at, after, limit).await?;
        let page = Page::from_rows(items, limit, |item| (item.due_at, item.id));
        return Ok(Json(page.map(|report| QueueItem { report, happened_at: None, outcome: None })));
    };
    let deeds = queue::happened(&mut connection, &filter, &happened, page.after()?, limit).await?;
    let deeds = Page::from_rows(deeds, limit, Deed::place);
    let ids: Vec<Uuid> = deeds.items.iter().map(|deed| deed.report).collect();
    let items = queue::items(&mut connection, &ids).await?;
    let reports: HashMap<Uuid, Item> = items.into_iter().map(|item| (item.id, item)).collect();
    let listed = deeds.items.into_iter().filter_map(|deed| {
        let report = reports.get(&deed.report)?.clone();
        Some(QueueItem { report, happened_at: Some(deed.at), outcome: deed.outcome })
    });
    Ok(Json(Page { items: listed.collect(), next_cursor: deeds.next_cursor }))
}

fn happened(reports: &App, query: &QueueQuery) -> Result<Option<Happened>, Problem> {
    let invalid = |vi: &str, en: &str| Problem::new(INVALID_QUERY).detail(vi, en);
    let Some(what) = query.happened else {
        return if query.outcome.is_some() || query.day.is_some() {
            Err(invalid("outcome và day chỉ đi cùng happened.", "outcome and day go with happened only."))
        } else {
            Ok(None)
        };
    };
    if query.overdue.is_some() {
        return Err(invalid("overdue không đi cùng happened.", "overdue does not go with happened."));
    }
    let day = match (query.day, &query.lead_agency) {
        (Some(day), _) => Some(day),
        (None, Some(_)) => None,
        (None, None) => Some(reports.time.date(reports.now())),
    };
    let whole = |day| reports.time.whole(day).ok_or_else(|| invalid("Không có ngày này.", "There is no such day."));
    let between = day.map(whole).transpose()?;
    Ok(Some(Happened { what, outcome: query.outcome.clone(), between }))
}

/// Whose reports are listed; `None` for all.
fn posts(office: Office, asked: Option<String>) -> Result<Option<Vec<Post>>, Error> {
    match (office, asked) {
        (Office::Centre(_), asked) => Ok(asked.map(|agency| vec![Post { agency, ward: None }])),
        (Office::Agencies(own), None) => Ok(Some(own)),
        (Office::Agencies(own), Some(asked)) => {
            let own: Vec<Post> = own.into_iter().filter(|post| post.agency == asked).collect();
            if own.is_empty() { Err(Error::Forbidden) } else { Ok(Some(own)) }
        }
    }
}

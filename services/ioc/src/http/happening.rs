//! The list behind each of the wall's tallies, for operators: never whose payment, message, session or code it is.

use axum::extract::State;
use chrono::{DateTime, NaiveDate, Utc};
use platform::auth::Principal;
use platform::http::{Json, Query};
use platform::page::{Page, PageQuery};
use platform::problem::{FORBIDDEN, INVALID_QUERY, Problem};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::Desk;
use super::guard::may_watch;
use super::overview::{FRESH, Fresh};
use crate::error::Error;
use crate::happening::{Happening, Place, Wanted, When, is_storable};
use crate::overview::Amount;

/// The most kinds, or outcomes, of one list.
const MAX_NAMES: usize = 12;

/// Which number's list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct HappeningQuery {
    /// The kind of the tally, or up to 12 of them with commas between.
    #[param(example = "payment", max_length = 200)]
    kind: String,
    /// Its outcome, or up to 12 with commas between; all when absent.
    #[param(example = "completed", max_length = 200)]
    outcome: Option<String>,
    /// The city's day; today when neither it nor `minute` is given.
    day: Option<NaiveDate>,
    /// A minute, by a moment in it.
    minute: Option<DateTime<Utc>>,
    /// Items wanted, 1 to 200; 50 when absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u16>,
    /// `next_cursor` of the page before; absent for the first page.
    cursor: Option<String>,
}

/// One event, as what it was counted.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Happening)]
pub(super) struct HappeningView {
    /// The kind of the tally.
    kind: String,
    /// How it ended.
    outcome: String,
    /// When.
    at: DateTime<Utc>,
    /// The event that told it.
    event_id: Uuid,
    /// The payment, top-up, refund, message or report; null where the event names none, tells of several messages, or of what somebody
    /// does with their account.
    reference: Option<Uuid>,
    /// How many it tells of: more than one only of messages that ended together.
    count: i64,
    /// What was moved or tried; 0 for what is not money.
    amount: Amount,
}

/// A page of the list behind some tallies.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HappeningPage {
    /// The newest first.
    items: Vec<HappeningView>,
    /// The cursor of the next page; null on the last one.
    next_cursor: Option<String>,
    /// How many the tallies count that the list does not have: counted before such things were listed.
    unlisted: i64,
    /// When the first happened that is listed, where some are not; null where none is.
    since: Option<DateTime<Utc>>,
}

/// What tallies count, one by one, the newest first: `count` and `amount` of all pages and `unlisted` add up to them. What happens to field
/// reports (`report`) is tallied by minute only; by day it is listed by `GET /ioc/v1/queue?happened=`.
///
/// For operators, leads and admins, also where the wall is public. It goes back 8 days.
#[utoipa::path(
    get,
    operation_id = "listHappenings",
    path = "/ioc/v1/happenings",
    tag = "ioc",
    params(HappeningQuery),
    responses(
        (status = 200, description = "A page", body = HappeningPage),
        (status = 400, description = "`invalid-query`", content_type = "application/problem+json"),
        (status = 401, description = "`unauthenticated`", content_type = "application/problem+json"),
        (status = 403, description = "`forbidden`: the role is missing", content_type = "application/problem+json"),
    ),
    security(("bearer" = []))
)]
pub(super) async fn list(
    State(desk): State<Desk>,
    principal: Principal,
    query: Result<Query<HappeningQuery>, Problem>,
) -> Result<(Fresh, Json<HappeningPage>), Problem> {
    if !may_watch(&principal) {
        return Err(Problem::new(FORBIDDEN));
    }
    let Query(query) = query?;
    let page = PageQuery { limit: query.limit, cursor: query.cursor.clone() };
    let (limit, after) = (page.limit()?, page.after::<Place>()?);
    if after.as_ref().is_some_and(|(time, _, kind)| !is_storable(*time) || !is_name(kind)) {
        return Err(Problem::new(INVALID_QUERY));
    }
    let listed = desk.happenings.list(&wanted(&desk, &query)?, after.as_ref(), limit).await.map_err(Error::from)?;
    let view = |one: Happening| HappeningView {
        kind: one.kind,
        outcome: one.outcome,
        at: one.happened_at,
        event_id: one.event_id,
        reference: one.reference,
        count: one.count,
        amount: desk.board.amount(one.amount),
    };
    let Page { items, next_cursor } = Page::from_rows(listed.rows, limit, Happening::place).map(view);
    Ok((FRESH, Json(HappeningPage { items, next_cursor, unlisted: listed.unlisted, since: listed.since })))
}

fn wanted(desk: &Desk, query: &HappeningQuery) -> Result<Wanted, Problem> {
    let when = match (query.day, query.minute) {
        (Some(_), Some(_)) => return Err(Problem::new(INVALID_QUERY)),
        (Some(day), None) => Some(When::Day(day)),
        (None, minute) => minute.map(When::Minute),
    };
    let when = desk.happenings.when(when).ok_or_else(|| Problem::new(INVALID_QUERY))?;
    let outcomes = query.outcome.as_deref().map(names).transpose()?;
    Ok(Wanted { kinds: names(&query.kind)?, outcomes, when })
}

fn names(list: &str) -> Result<Vec<String>, Problem> {
    let names: Vec<String> = list.split(',').take(MAX_NAMES + 1).map(str::to_owned).collect();
    let are_names = names.len() <= MAX_NAMES && names.iter().all(|name| is_name(name));
    if are_names { Ok(names) } else { Err(Problem::new(INVALID_QUERY)) }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
}

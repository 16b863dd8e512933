//! The officers' queue of field reports, for the wall: asked of the role that keeps it, in the name of who looks.

use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use http::header::{ACCEPT_LANGUAGE, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use platform::auth::Principal;
use platform::problem::{Problem, UNAVAILABLE};

use super::Desk;
use super::overview::FRESH;

/// The longest query that is passed on, in bytes.
const MAX_QUERY: usize = 1_024;

/// The officers' queue of field reports, and what happened to them, as `GET /reports/v1/queue` answers it to the same person: that an
/// officer's cookie of the wall opens it too.
#[utoipa::path(
    get,
    operation_id = "getWallQueue",
    path = "/ioc/v1/queue",
    tag = "ioc",
    params(
        ("state" = Option<String>, Query, description = "Only this state"),
        ("agency" = Option<String>, Query, description = "Only what this agency leads or helps"),
        ("lead_agency" = Option<String>, Query, description = "Only what this agency leads; with `happened`, led at that time"),
        ("ward" = Option<String>, Query, description = "Only this ward; `none` for reports whose ward is not known"),
        ("overdue" = Option<bool>, Query, description = "`true`: only those whose office has run out of time"),
        ("happened" = Option<String>, Query, description = "In place of what has not ended: reports to which this happened (`submitted`, `breach`, `result`, `rating`), each as often as it happened, the newest first"),
        ("outcome" = Option<String>, Query, description = "With `happened`: only what ended so, as `reports.today` of the overview has it"),
        ("day" = Option<String>, Query, description = "With `happened`: only what happened on this day of the city; when absent, today, or with `lead_agency` since the beginning"),
        ("limit" = Option<u16>, Query, description = "Items wanted, 1 to 200; 50 when absent"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses(
        (status = 200, description = "A page, the most urgent first; of what happened the newest first", body = serde_json::Value),
        (status = 400, description = "`invalid-query`", content_type = "application/problem+json"),
        (status = 401, description = "`unauthenticated`", content_type = "application/problem+json"),
        (status = 403, description = "`forbidden`", content_type = "application/problem+json"),
        (status = 503, description = "`unavailable`: the reports' role does not answer", content_type = "application/problem+json"),
    ),
    security(("bearer" = []))
)]
pub(super) async fn queue(
    State(desk): State<Desk>,
    _officer: Principal,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let query: String = query.unwrap_or_default().chars().take(MAX_QUERY).collect();
    let kept = [AUTHORIZATION, ACCEPT_LANGUAGE];
    let kept = kept.into_iter().filter_map(|name| headers.get(&name).cloned().map(|value| (name, value)));
    match desk.upstream.get_as(&format!("reports/v1/queue?{query}"), kept.collect()).await {
        Ok(reply) => {
            let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::BAD_GATEWAY);
            let kind = if status.is_success() { "application/json" } else { "application/problem+json" };
            (status, FRESH, [(CONTENT_TYPE, kind)], reply.body).into_response()
        }
        Err(reason) => Problem::new(UNAVAILABLE).source(reason).retry_after(1).into_response(),
    }
}

//! The shared metrics endpoint.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use platform::problem::{OVERLOADED, Problem};

use super::Desk;
use super::overview::FRESH;
use crate::metrics;

/// How long a scraper waits for the one before it, in seconds.
const TURN_TIMEOUT_S: u64 = 8;

/// The metrics of every role of every process in one Prometheus exposition.
///
/// Each family stands once, with its type and help; samples carry `service` and `instance` (scrape with `honor_labels: true`).
/// A role that does not answer shows as `trangtien_up{service,instance} 0`. Answers inside the city's network only.
#[utoipa::path(
    get,
    operation_id = "getCityMetrics",
    path = "/ioc/v1/metrics",
    tag = "ioc",
    responses(
        (status = 200, description = "Prometheus text, version 0.0.4", body = String, content_type = "text/plain"),
        (status = 403, description = "`internal-only`: the caller is outside", content_type = "application/problem+json"),
    )
)]
pub(super) async fn metrics(State(desk): State<Desk>) -> Result<Response, Problem> {
    let turn = tokio::time::timeout(std::time::Duration::from_secs(TURN_TIMEOUT_S), desk.scraping.acquire()).await;
    let Ok(Ok(_turn)) = turn else { return Err(Problem::new(OVERLOADED).retry_after(TURN_TIMEOUT_S)) };
    Ok((FRESH, [(CONTENT_TYPE, metrics::CONTENT_TYPE)], desk.gatherer.gather().await).into_response())
}

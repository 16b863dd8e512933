//! The measuring layer around one role's routes.

use std::time::Instant;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use prometheus::HistogramVec;

use crate::metrics::{DURATION_BUCKETS, Metrics};

/// Measures the routes of one role: `http_request_duration_seconds{route,method,status}`.
pub fn instrument(router: Router, metrics: &Metrics) -> Router {
    let durations = metrics.histogram(
        "http_request_duration_seconds",
        "Time until an HTTP answer began, by route, method and status.",
        &["route", "method", "status"],
        DURATION_BUCKETS,
    );
    router.layer(middleware::from_fn_with_state(durations, measure))
}

async fn measure(State(durations): State<HistogramVec>, request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().cloned();
    let method = bounded_method(request.method());
    let start = Instant::now();
    let response = next.run(request).await;
    let seconds = start.elapsed().as_secs_f64();
    let route = path.as_ref().map_or("unmatched", MatchedPath::as_str);
    durations.with_label_values(&[route, method, response.status().as_str()]).observe(seconds);
    response
}

fn bounded_method(method: &http::Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

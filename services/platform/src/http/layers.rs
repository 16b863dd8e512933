//! The layers around all routes of a process, and the measuring layer around one role's routes.

use std::time::{Duration, Instant};

use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use http::{HeaderName, HeaderValue, StatusCode, Version, header};
use prometheus::HistogramVec;
use serde::{Deserialize, Serialize};
use tower_http::catch_panic::CatchPanicLayer;
use tracing::{Instrument as _, error, info_span};

use super::language::{LANGUAGE, Language};
use crate::auth::Verifier;
use crate::metrics::{DURATION_BUCKETS, Metrics};
use crate::problem::{INTERNAL, METHOD_NOT_ALLOWED, NOT_FOUND, Problem, TIMEOUT};
use crate::trace::{self, TRACEPARENT, TraceContext};

/// Carries the trace id of every answer, for support.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Limits on requests.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpSettings {
    /// The largest body, in bytes; routes that take files raise it for themselves.
    pub max_body_bytes: usize,
    /// The longest time until an answer begins, in milliseconds. Streams may then go on.
    pub deadline_ms: u64,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self { max_body_bytes: 64 * 1024, deadline_ms: 20_000 }
    }
}

/// Puts the layers of a process around its routes.
pub fn finish(router: Router, settings: HttpSettings, verifier: Verifier) -> Router {
    router
        .fallback(|| async { Problem::new(NOT_FOUND) })
        .method_not_allowed_fallback(|| async { Problem::new(METHOD_NOT_ALLOWED) })
        .layer(Extension(verifier))
        .layer(DefaultBodyLimit::max(settings.max_body_bytes))
        .layer(middleware::from_fn_with_state(Duration::from_millis(settings.deadline_ms), deadline))
        .layer(CatchPanicLayer::custom(answer_panic))
        .layer(middleware::from_fn(scope))
}

/// Puts only what a proxy needs around its routes: trace, language, panic guard.
pub fn scoped(router: Router) -> Router {
    router.layer(CatchPanicLayer::custom(answer_panic)).layer(middleware::from_fn(scope))
}

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

async fn scope(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let language = Language::from_headers(headers);
    let incoming = headers.get(TRACEPARENT).and_then(|value| value.to_str().ok()).and_then(TraceContext::parse);
    let context = incoming.unwrap_or_else(TraceContext::root);
    let span = info_span!("http request", trace.id = %context.trace_id(), method = %request.method(), path = request.uri().path());
    context.adopt(&span);
    let version = request.version();
    let work = async move {
        let mut response = next.run(request).await;
        if response.status() == StatusCode::PAYLOAD_TOO_LARGE && version < Version::HTTP_2 {
            // The rest of the body was not read, so that the connection can't be used again.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if let Ok(id) = HeaderValue::from_str(&context.trace_id()) {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        response
    };
    trace::scope(context, LANGUAGE.scope(language, work.instrument(span))).await
}

async fn deadline(State(within): State<Duration>, request: Request, next: Next) -> Response {
    match tokio::time::timeout(within, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::new(TIMEOUT).retry_after(1).into_response(),
    }
}

fn answer_panic(panic: Box<dyn std::any::Any + Send>) -> Response {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    error!(panic = text.unwrap_or("unknown"), "handler panicked");
    Problem::new(INTERNAL).into_response()
}

async fn measure(State(durations): State<HistogramVec>, request: Request, next: Next) -> Response {
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "unmatched".to_owned(), |path| path.as_str().to_owned());
    let method = bounded_method(request.method());
    let start = Instant::now();
    let response = next.run(request).await;
    let seconds = start.elapsed().as_secs_f64();
    durations.with_label_values(&[route.as_str(), method, response.status().as_str()]).observe(seconds);
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

//! The layer around all routes of a process: one, because each layer of a router is boxed, and cloned for every request.
//!
//! Order, from outside: trace and language → panic guard → deadline → token verifier and body limit → who may read metrics → routes.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use futures::FutureExt as _;
use http::{HeaderName, HeaderValue, StatusCode, Version, header};
use serde::{Deserialize, Serialize};
use tracing::{Instrument as _, error, info_span};

use super::language::{LANGUAGE, Language};
use super::{internal, linger, stream};
use crate::auth::Verifier;
use crate::problem::{INTERNAL, METHOD_NOT_ALLOWED, NOT_FOUND, Problem, TIMEOUT};
use crate::task::Shutdown;
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

/// Puts the layer of a process around its routes. Event streams end when `shutdown` begins.
pub fn finish(router: Router, settings: HttpSettings, verifier: Verifier, shutdown: Shutdown) -> Router {
    let rules = Rules {
        verifier,
        body: DefaultBodyLimit::max(settings.max_body_bytes),
        deadline: Duration::from_millis(settings.deadline_ms),
    };
    router
        .fallback(|| async { Problem::new(NOT_FOUND) })
        .method_not_allowed_fallback(|| async { Problem::new(METHOD_NOT_ALLOWED) })
        .layer(middleware::from_fn_with_state(Arc::new(Edge { rules: Some(rules), shutdown }), pass))
}

/// Puts only what a proxy needs around its routes: no verifier, no deadline, no limit on bodies.
pub fn scoped(router: Router, shutdown: Shutdown) -> Router {
    router.layer(middleware::from_fn_with_state(Arc::new(Edge { rules: None, shutdown }), pass))
}

/// What every request meets.
struct Edge {
    rules: Option<Rules>,
    shutdown: Shutdown,
}

/// What a process that answers by itself adds.
struct Rules {
    verifier: Verifier,
    body: DefaultBodyLimit,
    deadline: Duration,
}

async fn pass(State(edge): State<Arc<Edge>>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let language = Language::from_headers(headers);
    let incoming = headers.get(TRACEPARENT).and_then(|value| value.to_str().ok()).and_then(TraceContext::parse);
    let context = incoming.unwrap_or_else(TraceContext::root);
    let span = info_span!("http request", trace.id = %context.trace_id(), method = %request.method(), path = request.uri().path());
    context.adopt(&span);
    let work = async move {
        let version = request.version();
        let handled = AssertUnwindSafe(edge.handle(request, next)).catch_unwind().await;
        let mut response = handled.unwrap_or_else(answer_panic);
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

impl Edge {
    async fn handle(&self, mut request: Request, next: Next) -> Response {
        let Some(rules) = &self.rules else { return self.admit(request, next).await };
        request.extensions_mut().insert(rules.verifier.clone());
        rules.body.apply(&mut request);
        match tokio::time::timeout(rules.deadline, self.admit(request, next)).await {
            Ok(response) => response,
            Err(_) => Problem::new(TIMEOUT).retry_after(1).into_response(),
        }
    }

    async fn admit(&self, request: Request, next: Next) -> Response {
        if !internal::admits(&request) {
            return Problem::new(NOT_FOUND).into_response();
        }
        let (request, kept) = linger::lend(request);
        let response = next.run(request).await;
        linger::read_rest(response.status(), kept).await;
        stream::end_with(&self.shutdown, response)
    }
}

fn answer_panic(panic: Box<dyn Any + Send>) -> Response {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    error!(panic = text.unwrap_or("unknown"), "handler panicked");
    Problem::new(INTERNAL).into_response()
}

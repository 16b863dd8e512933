//! What every call into a role passes, over either transport.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use prometheus::HistogramVec;
use tonic::body::Body;
use tonic::transport::server::{TcpConnectInfo, TlsConnectInfo};
use tonic::{Request, Status};
use tower::{Layer, Service};
use tracing::{Instrument as _, info_span};

use crate::metrics::{DURATION_BUCKETS, Metrics};
use crate::trace::{self, TRACEPARENT, TraceContext};

/// The role (or roles of one process) that calls, as the transport proved it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer(Arc<[String]>);

impl Peer {
    /// A peer with these roles.
    pub fn new<S: Into<String>>(roles: impl IntoIterator<Item = S>) -> Self {
        Self(roles.into_iter().map(Into::into).collect())
    }

    /// Whether the caller holds a role.
    pub fn is(&self, role: &str) -> bool {
        self.0.iter().any(|held| held == role)
    }
}

/// Refuses callers other than the named roles.
///
/// # Errors
/// `PERMISSION_DENIED`.
pub fn require_peer<T>(request: &Request<T>, roles: &[&str]) -> Result<(), Status> {
    let allowed = request.extensions().get::<Peer>().is_some_and(|peer| roles.iter().any(|role| peer.is(role)));
    if allowed { Ok(()) } else { Err(Status::permission_denied("this role may not call that method")) }
}

/// Puts [`Inbound`] around a service.
#[derive(Clone, Debug)]
pub struct InboundLayer {
    durations: HistogramVec,
}

impl InboundLayer {
    /// Measures as `grpc_request_duration_seconds{method,code}` of the role.
    pub fn new(metrics: &Metrics) -> Self {
        let durations = metrics.histogram(
            "grpc_request_duration_seconds",
            "Time until a gRPC call was answered, by method and code.",
            &["method", "code"],
            DURATION_BUCKETS,
        );
        Self { durations }
    }
}

impl<S> Layer<S> for InboundLayer {
    type Service = Inbound<S>;

    fn layer(&self, inner: S) -> Inbound<S> {
        Inbound { inner, durations: self.durations.clone() }
    }
}

/// Finds out who calls, carries the trace on, measures.
#[derive(Clone, Debug)]
pub struct Inbound<S> {
    inner: S,
    durations: HistogramVec,
}

impl<S> Service<http::Request<Body>> for Inbound<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let ready = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, ready);
        if let Some(peer) = request.extensions().get::<TlsConnectInfo<TcpConnectInfo>>().and_then(peer_of_certificate) {
            request.extensions_mut().insert(peer);
        }
        let incoming =
            request.headers().get(TRACEPARENT).and_then(|value| value.to_str().ok()).and_then(TraceContext::parse);
        let context = incoming.unwrap_or_else(TraceContext::root);
        let method = request.uri().path().to_owned();
        let span = info_span!("grpc call", trace.id = %context.trace_id(), method = %method);
        context.adopt(&span);
        let durations = self.durations.clone();
        let work = async move {
            let start = Instant::now();
            let answer = inner.call(request).await;
            let code = answer.as_ref().map_or(tonic::Code::Unknown, code_of);
            // Unknown methods would make the label unbounded.
            let method = if code == tonic::Code::Unimplemented { "unimplemented" } else { method.as_str() };
            durations.with_label_values(&[method, &format!("{code:?}")]).observe(start.elapsed().as_secs_f64());
            answer
        };
        Box::pin(trace::scope(context, work.instrument(span)))
    }
}

/// The status that an answer carries in its head; an answer with a body counts as OK.
pub(super) fn code_of(answer: &http::Response<Body>) -> tonic::Code {
    Status::from_header_map(answer.headers()).map_or(tonic::Code::Ok, |status| status.code())
}

fn peer_of_certificate(connection: &TlsConnectInfo<TcpConnectInfo>) -> Option<Peer> {
    let chain = connection.peer_certs()?;
    super::tls::roles_of_certificate(chain.first()?)
}

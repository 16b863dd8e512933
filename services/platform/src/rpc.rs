//! gRPC between roles: one channel type, whether the other role lives in this process or behind mutual TLS.
//!
//! Calls out pass: trace context → deadline → breaker → retry (idempotent methods only) → transport.
//! Calls in pass: who calls → trace context → measuring → the role's routes. Both stacks are the same for both transports.
//! The transport says who calls ([`Peer`]), never the metadata.
//! Contract: methods named `Get…`, `List…` or `Find…` are idempotent; only those are sent again.

mod breaker;
mod inbound;
mod outbound;
mod tls;

pub use inbound::{Inbound, InboundLayer, Peer, require_peer};
pub use outbound::{CallMetrics, CallSettings};
pub use tls::{PEER_DOMAIN, TlsError, TlsSettings, serve};

use std::convert::Infallible;

use tonic::body::Body;
use tonic::service::Routes;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Layer as _};

/// A way to call another role. Cheap to clone; generated clients take it.
///
/// Failures of the transport come back as gRPC statuses, so that callers have one kind of error.
pub type Channel = BoxCloneSyncService<http::Request<Body>, http::Response<Body>, Infallible>;

/// A channel to a role in this process; `caller` is the role that calls.
pub fn in_process(
    caller: &'static str,
    routes: Routes,
    inbound: InboundLayer,
    calls: &CallMetrics,
    settings: CallSettings,
) -> Channel {
    let peer = Peer::new([caller]);
    let routes = inbound.layer(routes);
    let transport = tower::service_fn(move |mut request: http::Request<Body>| {
        request.extensions_mut().insert(peer.clone());
        let mut routes = routes.clone();
        async move { tower::Service::call(&mut routes, request).await.map_err(BoxError::from) }
    });
    outbound::stack(transport, calls, settings)
}

/// A channel to a role in another process, over mutual TLS, connected when first used.
///
/// # Errors
/// When the address or the certificates are not valid.
pub fn connect(
    role: &str,
    address: &str,
    tls: &TlsSettings,
    calls: &CallMetrics,
    settings: CallSettings,
) -> Result<Channel, TlsError> {
    let channel = tls::client(role, address, tls)?;
    let transport = tower::service_fn(move |request: http::Request<Body>| {
        let mut channel = channel.clone();
        async move {
            std::future::poll_fn(|context| tower::Service::poll_ready(&mut channel, context)).await?;
            tower::Service::call(&mut channel, request).await.map_err(BoxError::from)
        }
    });
    Ok(outbound::stack(transport, calls, settings))
}

/// A channel to nowhere: every call fails as unavailable. For parts of a role under test that call nobody.
pub fn unreachable() -> Channel {
    BoxCloneSyncService::new(tower::service_fn(|_: http::Request<Body>| async {
        Ok(tonic::Status::unavailable("no such role here").into_http::<Body>())
    }))
}

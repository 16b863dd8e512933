//! The server loop: HTTP/1.1 and HTTP/2 over TCP, with limits, drained on shutdown.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tower::ServiceExt as _;
use tracing::{debug, warn};

use crate::task::Shutdown;

/// How long accepting pauses after the system refused a connection (for instance out of file descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Limits of the server loop.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServeSettings {
    /// The most connections at a time; further ones wait to be accepted.
    pub max_connections: usize,
    /// The longest time a client may take to send the head of a request, in milliseconds.
    pub header_timeout_ms: u64,
    /// The longest time that requests in progress may take after shutdown began, in milliseconds.
    pub drain_ms: u64,
}

impl Default for ServeSettings {
    fn default() -> Self {
        Self { max_connections: 20_000, header_timeout_ms: 10_000, drain_ms: 10_000 }
    }
}

/// Serves `router` on one listener until shutdown begins, then drains.
///
/// Handlers find the client's address as `ConnectInfo<SocketAddr>`.
pub async fn serve(listener: TcpListener, router: Router, settings: ServeSettings, shutdown: Shutdown) {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(Duration::from_millis(settings.header_timeout_ms));
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(250).keep_alive_interval(Duration::from_secs(30));
    let builder = Arc::new(builder);
    let silence = Duration::from_millis(settings.header_timeout_ms);
    let places = Arc::new(Semaphore::new(settings.max_connections));
    let draining = GracefulShutdown::new();
    loop {
        let place = tokio::select! {
            place = places.clone().acquire_owned() => place.expect("the semaphore is never closed"),
            () = shutdown.cancelled() => break,
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "cannot accept connections");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (builder, router, watcher) = (builder.clone(), router.clone(), draining.watcher());
        tokio::spawn(async move {
            let _place = place;
            if let Err(error) = stream.set_nodelay(true) {
                debug!(%error, "cannot set TCP_NODELAY");
            }
            let begun = Arc::new(AtomicBool::new(false));
            let first = begun.clone();
            let service = TowerToHyperService::new(router.map_request(move |request| {
                first.store(true, Ordering::Relaxed);
                with_peer(request, peer)
            }));
            let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
            tokio::select! {
                ended = watcher.watch(connection.into_owned()) => {
                    if let Err(error) = ended {
                        debug!(%error, "connection ended");
                    }
                }
                // hyper's own timer begins only once it knows the version: a silent client is ours to end.
                () = silent(silence, &begun) => debug!("no request came in time"),
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(Duration::from_millis(settings.drain_ms), draining.shutdown()).await.is_err() {
        warn!("connections did not drain in time and are dropped");
    }
}

/// Ends when no request has begun within `limit`.
async fn silent(limit: Duration, begun: &AtomicBool) {
    tokio::time::sleep(limit).await;
    if begun.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
}

fn with_peer(mut request: http::Request<Incoming>, peer: SocketAddr) -> http::Request<Incoming> {
    request.extensions_mut().insert(ConnectInfo(peer));
    request
}

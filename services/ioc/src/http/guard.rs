//! Who may ask: machines inside the network, told by the listener that they reached or by the address of their connection.
//!
//! Until operators can sign in, the overview, the roles and the wall are open to the internal network only, unless the configuration makes
//! the wall public; the metrics are internal always. A request that came through a proxy (`Forwarded`, `X-Forwarded-…`, `Via`) is an outside
//! one even if the proxy stands inside: the address of its connection says nothing about the one who asks.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use platform::http::Internal;
use platform::problem::Problem;

use crate::config::Config;
use crate::error::Error;

const PROXY_HEADERS: [&str; 5] = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via"];

/// Lets internal callers through.
pub(super) async fn internal(State(config): State<Arc<Config>>, request: Request, next: Next) -> Response {
    if is_internal(&config, &request) { next.run(request).await } else { Problem::from(Error::Outside).into_response() }
}

/// Lets internal callers through, and everyone where the wall is public.
pub(super) async fn wall(State(config): State<Arc<Config>>, request: Request, next: Next) -> Response {
    if config.public_wall || is_internal(&config, &request) {
        next.run(request).await
    } else {
        Problem::from(Error::Outside).into_response()
    }
}

fn is_internal(config: &Config, request: &Request) -> bool {
    if request.extensions().get::<Internal>().is_some() {
        return true;
    }
    let proxied = PROXY_HEADERS.iter().any(|name| request.headers().contains_key(*name));
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    !proxied && peer.is_some_and(|peer| config.is_internal(peer.0.ip()))
}

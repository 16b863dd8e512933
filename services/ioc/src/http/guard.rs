//! Who may ask: operators, told by their access token, and machines inside the network, told by the listener that they reached or
//! by the address of their connection.
//!
//! The overview and the wall are for whoever holds `ioc.operator`, `ioc.lead` or `admin`; the configuration may make them public.
//! The metrics are for machines inside. A request that came through
//! a proxy (`Forwarded`, `X-Forwarded-…`, `Via`) is an outside one even if the proxy stands inside: the address of its
//! connection says nothing about the one who asks.
//! Invariant: what a token opened ends with it: a stream stops when the token expires, its session ends or a role is taken.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::RequestPartsExt as _;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::StreamExt as _;
use http::header;
use platform::auth::{Principal, Verifier};
use platform::http::Internal;
use platform::problem::{FORBIDDEN, INTERNAL, Problem};

use crate::config::Config;
use crate::error::Error;

const PROXY_HEADERS: [&str; 5] = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via"];
/// Who sees the wall from anywhere.
const WATCHERS: [&str; 3] = ["ioc.operator", "ioc.lead", "admin"];

/// Lets internal callers through.
pub(super) async fn internal(State(config): State<Arc<Config>>, request: Request, next: Next) -> Response {
    if is_internal(&config, &request) { next.run(request).await } else { Problem::from(Error::Outside).into_response() }
}

/// Lets operators through, and everyone where the wall is public.
pub(super) async fn wall(State(config): State<Arc<Config>>, request: Request, next: Next) -> Response {
    if config.public_wall {
        return next.run(request).await;
    }
    match operator(request).await {
        Ok((request, principal, verifier)) => {
            let answer = next.run(request).await;
            if is_stream(&answer) { while_signed_in(answer, principal, verifier) } else { answer }
        }
        Err(problem) => problem.into_response(),
    }
}

/// Whether somebody's roles let them see the wall.
pub(super) fn may_watch(principal: &Principal) -> bool {
    WATCHERS.iter().any(|role| principal.has_role(role))
}

/// The request of an operator.
async fn operator(request: Request) -> Result<(Request, Principal, Verifier), Problem> {
    let (mut parts, body) = request.into_parts();
    let principal = parts.extract::<Principal>().await?;
    if !may_watch(&principal) {
        return Err(Problem::new(FORBIDDEN));
    }
    let verifier = parts.extensions.get::<Verifier>().cloned();
    let verifier = verifier.ok_or_else(|| Problem::new(INTERNAL).source("no verifier is installed"))?;
    Ok((Request::from_parts(parts, body), principal, verifier))
}

fn is_stream(answer: &Response) -> bool {
    let kind = answer.headers().get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
}

/// Ends an answer that outlives the right to it.
fn while_signed_in(answer: Response, principal: Principal, verifier: Verifier) -> Response {
    answer.map(|body| {
        let ended = async move { verifier.ended(&principal).await };
        Body::from_stream(body.into_data_stream().take_until(Box::pin(ended)))
    })
}

fn is_internal(config: &Config, request: &Request) -> bool {
    if request.extensions().get::<Internal>().is_some() {
        return true;
    }
    let proxied = PROXY_HEADERS.iter().any(|name| request.headers().contains_key(*name));
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    !proxied && peer.is_some_and(|peer| config.is_internal(peer.0.ip()))
}

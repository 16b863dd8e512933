//! Who may read metrics: whoever asks on loopback or on the internal listener.
//!
//! A reverse proxy on this machine makes every client look like loopback, so each address in `X-Forwarded-For` must be loopback too,
//! and no other header of a proxy may be there. A proxy that sets none of them must not pass these paths on (docs/security.md).

use std::net::{IpAddr, SocketAddr};

use axum::Extension;
use axum::extract::{ConnectInfo, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use platform::problem::{NOT_FOUND, Problem};

const FORWARDED_FOR: &str = "x-forwarded-for";
/// What proxies say in other words.
const PROXY_HEADERS: [&str; 4] = ["forwarded", "x-real-ip", "x-forwarded-host", "via"];

pub use platform::http::Internal;

/// Answers 404 for metrics to everybody else, as if there were nothing. The shared endpoint `/ioc/v1/metrics` has a guard of its own.
pub(crate) async fn guard(internal: Option<Extension<Internal>>, request: Request, next: Next) -> Response {
    if is_metrics(request.uri().path()) && internal.is_none() && !is_local(&request) {
        return Problem::new(NOT_FOUND).into_response();
    }
    next.run(request).await
}

/// `/metrics` and `/{role}/metrics`.
fn is_metrics(path: &str) -> bool {
    path.strip_suffix("/metrics").is_some_and(|front| front.matches('/').count() <= 1)
}

fn is_local(request: &Request) -> bool {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    let headers = request.headers();
    let proxied = PROXY_HEADERS.iter().any(|name| headers.contains_key(*name));
    peer.is_some_and(|address| address.to_canonical().is_loopback()) && !proxied && forwarded_for_local(headers)
}

fn forwarded_for_local(headers: &HeaderMap) -> bool {
    headers.get_all(FORWARDED_FOR).iter().all(|value| {
        value.to_str().is_ok_and(|text| {
            text.split(',')
                .all(|one| one.trim().parse().is_ok_and(|address: IpAddr| address.to_canonical().is_loopback()))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shared_endpoint_guards_itself() {
        assert!(is_metrics("/metrics") && is_metrics("/wallet/metrics"));
        assert!(!is_metrics("/ioc/v1/metrics") && !is_metrics("/metricsx"));
    }

    #[test]
    fn one_client_from_outside_is_enough_to_refuse() {
        let local = HeaderMap::from_iter([(
            http::HeaderName::from_static(FORWARDED_FOR),
            "127.0.0.1, ::1".parse().expect("a header"),
        )]);
        assert!(forwarded_for_local(&local));
        for text in ["203.0.113.9", "127.0.0.1, 203.0.113.9", "unknown", ""] {
            let outside =
                HeaderMap::from_iter([(http::HeaderName::from_static(FORWARDED_FOR), text.parse().expect("a header"))]);
            assert!(!forwarded_for_local(&outside), "{text:?}");
        }
    }
}

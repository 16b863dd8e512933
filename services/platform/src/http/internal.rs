//! Who may read metrics: whoever asks on loopback or on the internal listener.
//!
//! A reverse proxy on this machine makes every client look like loopback, so each address in `X-Forwarded-For` must be loopback too,
//! and no other header of a proxy may be there. A proxy that sets none of them must not pass these paths on (docs/security.md).

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, Request};
use http::HeaderMap;

const FORWARDED_FOR: &str = "x-forwarded-for";
/// What proxies say in other words.
const PROXY_HEADERS: [&str; 4] = ["forwarded", "x-real-ip", "x-forwarded-host", "via"];

/// Marks requests that came in on the process's internal listener; an `Extension` of that listener's router.
///
/// Who can reach that listener is inside the network, whatever headers say.
#[derive(Clone, Copy, Debug)]
pub struct Internal;

/// Whether a request may be answered; metrics are answered to everybody else as if there were nothing.
/// An endpoint further down, `/ioc/v1/metrics` for one, has a guard of its own.
pub(super) fn admits(request: &Request) -> bool {
    !is_metrics(request.uri().path()) || request.extensions().get::<Internal>().is_some() || is_local(request)
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

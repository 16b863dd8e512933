//! Where a request came from, for caps.
//!
//! Behind trusted proxies the address is the one that the outermost of them saw; what a client writes into
//! `X-Forwarded-For` itself stands further left and is never believed.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts};
use http::request::Parts;
use http::{Extensions, HeaderMap};

use crate::Identity;

const FORWARDED_FOR: &str = "x-forwarded-for";

/// The client's address, if the transport says.
pub(super) struct ClientAddress(pub Option<IpAddr>);

impl FromRequestParts<Arc<Identity>> for ClientAddress {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, identity: &Arc<Identity>) -> Result<Self, Infallible> {
        Ok(Self(client(&parts.extensions, &parts.headers, identity.config.trusted_proxies)))
    }
}

/// The client's address behind `trusted_proxies` proxies; nothing when the transport does not say.
fn client(extensions: &Extensions, headers: &HeaderMap, trusted_proxies: usize) -> Option<IpAddr> {
    let peer = extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip());
    if trusted_proxies == 0 {
        return peer;
    }
    let values = headers.get_all(FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok());
    let hops: Vec<&str> = values.flat_map(|value| value.split(',')).map(str::trim).collect();
    let seen = hops.len().checked_sub(trusted_proxies).and_then(|index| hops.get(index));
    seen.and_then(|hop| parse(hop)).or(peer)
}

/// An address with or without port and brackets.
fn parse(hop: &str) -> Option<IpAddr> {
    hop.parse().or_else(|_| hop.parse::<SocketAddr>().map(|address| address.ip())).ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn of(forwarded: Option<&'static str>, trusted_proxies: usize) -> Option<String> {
        let mut extensions = Extensions::new();
        extensions.insert(ConnectInfo(SocketAddr::from(([10, 0, 0, 1], 4000))));
        let headers = forwarded.map(|value| (FORWARDED_FOR.parse().expect("a name"), HeaderValue::from_static(value)));
        client(&extensions, &HeaderMap::from_iter(headers), trusted_proxies).map(|address| address.to_string())
    }

    #[test]
    fn only_what_trusted_proxies_wrote_is_believed() {
        assert_eq!(of(Some("1.2.3.4"), 0).as_deref(), Some("10.0.0.1"));
        assert_eq!(of(Some("6.6.6.6, 203.0.113.7"), 1).as_deref(), Some("203.0.113.7"));
        assert_eq!(of(Some("6.6.6.6, 203.0.113.7, 10.0.0.9"), 2).as_deref(), Some("203.0.113.7"));
        assert_eq!(of(Some("203.0.113.7:5123"), 1).as_deref(), Some("203.0.113.7"));
        assert_eq!(of(Some("[2001:db8::7]:5123"), 1).as_deref(), Some("2001:db8::7"));
        assert_eq!(of(Some("nonsense"), 1).as_deref(), Some("10.0.0.1"));
        assert_eq!(of(None, 1).as_deref(), Some("10.0.0.1"));
    }
}

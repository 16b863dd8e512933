//! Signatures between the bank and its partner, the same scheme both ways. Pure.
//!
//! A message carries three headers: `X-Partner` (who sends), `X-Timestamp` (Unix seconds) and `X-Signature`:
//! lower-case hex of HMAC-SHA256 over `METHOD\npath\ntimestamp\nsha256hex(body)`, where `path` has no query.

use std::time::Duration;

use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, Method};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::refusal::Refusal;

/// Names the sender.
pub const PARTNER_HEADER: &str = "x-partner";
/// When the message was signed, in Unix seconds.
pub const TIMESTAMP_HEADER: &str = "x-timestamp";
/// The signature, in lower-case hex.
pub const SIGNATURE_HEADER: &str = "x-signature";
/// How far a message's time may lie from the receiver's.
pub const MAX_AGE: Duration = Duration::from_secs(5 * 60);

/// The signature of a message: lower-case hex of HMAC-SHA256 by `secret`.
pub fn sign(secret: &str, method: &Method, path: &str, timestamp: i64, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    let digest = hex::encode(Sha256::digest(body));
    mac.update(format!("{method}\n{path}\n{timestamp}\n{digest}").as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

/// The parts of a message that its signature covers.
pub(crate) struct Message<'a> {
    pub(crate) method: &'a Method,
    pub(crate) path: &'a str,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a [u8],
}

/// Checks that `message` was signed by `partner` with `secret` within [`MAX_AGE`] of `now`.
pub(crate) fn verify(message: &Message<'_>, partner: &str, secret: &str, now: DateTime<Utc>) -> Result<(), Refusal> {
    let sender = header(message.headers, PARTNER_HEADER)?;
    let timestamp = header(message.headers, TIMESTAMP_HEADER)?;
    let signature = header(message.headers, SIGNATURE_HEADER)?;
    let timestamp: i64 = timestamp.parse().map_err(|_| Refusal::unauthenticated("X-Timestamp must be Unix seconds"))?;
    if now.timestamp().abs_diff(timestamp) > MAX_AGE.as_secs() {
        return Err(Refusal::unauthenticated("X-Timestamp lies more than 5 minutes from now"));
    }
    let expected = sign(secret, message.method, message.path, timestamp, message.body);
    let genuine = expected.as_bytes().ct_eq(signature.as_bytes()) & sender.as_bytes().ct_eq(partner.as_bytes());
    if bool::from(genuine) {
        Ok(())
    } else {
        Err(Refusal::unauthenticated("X-Partner and X-Signature do not belong to this message"))
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<&'a str, Refusal> {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.ok_or_else(|| Refusal::unauthenticated(format!("header {name} is missing or not ASCII")))
}

/// Checks the bearer token of a gateway's customer.
pub(crate) fn has_bearer(headers: &HeaderMap, token: &str) -> bool {
    let given = headers.get(http::header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    bool::from(given.as_bytes().ct_eq(token.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(timestamp: i64, body: &[u8]) -> HeaderMap {
        let signature = sign("key", &Method::POST, "/p", timestamp, body);
        let mut headers = HeaderMap::new();
        headers.insert(PARTNER_HEADER, "city".parse().expect("ASCII"));
        headers.insert(TIMESTAMP_HEADER, timestamp.into());
        headers.insert(SIGNATURE_HEADER, signature.parse().expect("hex"));
        headers
    }

    fn check(headers: &HeaderMap, path: &str, body: &[u8], now: i64) -> Result<(), Refusal> {
        let message = Message { method: &Method::POST, path, headers, body };
        verify(&message, "city", "key", DateTime::from_timestamp(now, 0).expect("in range"))
    }

    #[test]
    fn the_signature_follows_the_written_scheme() {
        // openssl: printf 'POST\n/p\n1000\n%s' "$(printf '{}' | sha256sum | cut -d' ' -f1)" | openssl dgst -sha256 -hmac key
        assert_eq!(
            sign("key", &Method::POST, "/p", 1000, b"{}"),
            "8697fd42d2e0f5b43c435d34bcf1d23d9d0c15686e43d2f14679e1be93b947a1"
        );
    }

    #[test]
    fn a_signature_covers_path_body_and_time() {
        let headers = signed(1_000, b"{}");
        assert!(check(&headers, "/p", b"{}", 1_000).is_ok());
        assert!(check(&headers, "/p", b"{}", 1_300).is_ok());
        assert!(check(&headers, "/p", b"{}", 1_301).is_err());
        assert!(check(&headers, "/p", b"{}", 699).is_err());
        assert!(check(&headers, "/q", b"{}", 1_000).is_err());
        assert!(check(&headers, "/p", b"{ }", 1_000).is_err());
        assert!(check(&HeaderMap::new(), "/p", b"{}", 1_000).is_err());
    }
}

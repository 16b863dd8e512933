//! Signatures between the city and its partners (banks, billers, SMS gateways), the same both ways. Pure.
//!
//! `X-Signature` = hex HMAC-SHA256(secret, `METHOD\npath\ntimestamp\nsha256hex(body)`); `X-Timestamp` is Unix seconds; the path has no query.

use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

use crate::problem::Code;

/// A message whose signature or time is wrong.
pub const INVALID: Code = Code::new("signature-invalid", 401, "Chữ ký không hợp lệ", "The signature is not valid");

/// Names who sends.
pub const PARTNER: &str = "x-partner";
/// When it was signed.
pub const TIMESTAMP: &str = "x-timestamp";
/// The signature in hexadecimal.
pub const SIGNATURE: &str = "x-signature";
/// How far the sender's clock may be from ours, in seconds. Inside this window a repeated message has no effect by itself.
const MAX_SKEW_S: u64 = 300;

/// What a signature covers.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    /// Upper-case HTTP method.
    pub method: &'a str,
    /// Path of the URL, without a query.
    pub path: &'a str,
    /// The body as sent; empty without one.
    pub body: &'a [u8],
}

/// The value of `X-Signature` for a message signed at `timestamp` (Unix seconds).
#[must_use]
pub fn sign(secret: &str, message: Signed<'_>, timestamp: i64) -> String {
    hex::encode(mac(secret, message, timestamp).finalize().into_bytes())
}

/// Whether the headers prove that the holder of the secret sent this message within the last minutes. Takes constant time in the signature.
pub fn verify(
    secret: &str,
    message: Signed<'_>,
    timestamp: Option<&str>,
    signature: Option<&str>,
    now: DateTime<Utc>,
) -> bool {
    let Some(timestamp) = timestamp.and_then(|text| text.parse::<i64>().ok()) else { return false };
    let Some(signature) = signature.and_then(|text| hex::decode(text).ok()) else { return false };
    timestamp.abs_diff(now.timestamp()) <= MAX_SKEW_S
        && mac(secret, message, timestamp).verify_slice(&signature).is_ok()
}

fn mac(secret: &str, message: Signed<'_>, timestamp: i64) -> Hmac<Sha256> {
    let digest = hex::encode(Sha256::digest(message.body));
    let mut mac = Hmac::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(format!("{}\n{}\n{timestamp}\n{digest}", message.method, message.path).as_bytes());
    mac
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::{Signed, sign, verify};

    const MESSAGE: Signed<'static> = Signed { method: "POST", path: "/p", body: b"{}" };

    #[test]
    fn the_scheme_gives_what_openssl_gives() {
        assert_eq!(sign("key", MESSAGE, 1000), "8697fd42d2e0f5b43c435d34bcf1d23d9d0c15686e43d2f14679e1be93b947a1");
    }

    #[test]
    fn only_the_same_message_within_the_window_is_taken() {
        let signature = sign("key", MESSAGE, 1000);
        let check = |message, at: i64, stamp, signature| {
            verify("key", message, stamp, signature, DateTime::from_timestamp(at, 0).expect("in range"))
        };
        assert!(check(MESSAGE, 1300, Some("1000"), Some(&*signature)));
        assert!(check(MESSAGE, 700, Some("1000"), Some(&*signature)));
        assert!(!check(MESSAGE, 1301, Some("1000"), Some(&*signature)));
        assert!(!check(MESSAGE, 1000, Some("1001"), Some(&*signature)));
        assert!(!check(Signed { body: b"{} ", ..MESSAGE }, 1000, Some("1000"), Some(&*signature)));
        assert!(!check(Signed { path: "/q", ..MESSAGE }, 1000, Some("1000"), Some(&*signature)));
        assert!(!check(Signed { method: "PUT", ..MESSAGE }, 1000, Some("1000"), Some(&*signature)));
        assert!(!check(MESSAGE, 1000, Some("-9223372036854775808"), Some(&*signature)));
        assert!(!check(MESSAGE, 1000, None, Some(&*signature)));
        assert!(!check(MESSAGE, 1000, Some("1000"), None));
        assert!(!check(MESSAGE, 1000, Some("1000"), Some("zz")));
        assert!(!verify(
            "other",
            MESSAGE,
            Some("1000"),
            Some(&signature),
            DateTime::from_timestamp(1000, 0).expect("in range")
        ));
    }
}

//! Machines that are known by a name and a secret: HTTP Basic (RFC 7617), for outside parties whose devices speak nothing newer.
//!
//! Invariants: a name that is not known costs as much time as a wrong secret; an entry without a secret lets nobody in.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, header};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::config::Secret;

/// The longest credentials that are looked at, in characters.
const MAX_CREDENTIALS: usize = 512;

/// Names and secrets of machines, as the configuration has them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Machines(BTreeMap<String, Secret>);

impl Machines {
    /// Lets one more machine in.
    pub fn insert(&mut self, name: impl Into<String>, secret: Secret) {
        self.0.insert(name.into(), secret);
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The name of the machine that sends these headers, if its secret is right.
    pub fn who(&self, headers: &HeaderMap) -> Option<&str> {
        let (name, secret) = credentials(headers)?;
        let (known, right) = match self.0.get_key_value(&name) {
            Some((known, right)) if !right.is_empty() => (Some(known), right.expose()),
            _ => (None, ""),
        };
        let equal: bool = digest(&secret).ct_eq(&digest(right)).into();
        known.filter(|_| equal).map(String::as_str)
    }
}

/// Whether the headers carry credentials of this kind, right or wrong.
pub fn is_machine(headers: &HeaderMap) -> bool {
    basic(headers).is_some()
}

fn basic(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, rest) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("basic").then_some(rest.trim())
}

fn credentials(headers: &HeaderMap) -> Option<(String, String)> {
    let encoded = basic(headers).filter(|text| text.len() <= MAX_CREDENTIALS)?;
    let text = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    let (name, secret) = text.split_once(':')?;
    Some((name.to_owned(), secret.to_owned()))
}

fn digest(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(credentials: &str) -> HeaderMap {
        let value = format!("Basic {}", STANDARD.encode(credentials));
        HeaderMap::from_iter([(
            header::AUTHORIZATION,
            HeaderValue::from_str(&value).expect("base64 is a header value"),
        )])
    }

    #[test]
    fn only_the_right_secret_names_a_machine() {
        let mut machines = Machines::default();
        machines.insert("gauge", Secret::new("a:secret"));
        machines.insert("open", Secret::default());
        assert_eq!(machines.who(&headers("gauge:a:secret")), Some("gauge"));
        for wrong in ["gauge:", "gauge:a", "open:", "nobody:a:secret", "gauge", ""] {
            assert_eq!(machines.who(&headers(wrong)), None, "{wrong}");
        }
        assert_eq!(machines.who(&HeaderMap::new()), None);
        let bearer = HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static("Bearer e30.e30.e30"))]);
        assert!(!is_machine(&bearer) && is_machine(&headers("x:y")));
    }
}

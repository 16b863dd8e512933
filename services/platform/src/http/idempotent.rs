//! The `Idempotency-Key` header (IETF draft-ietf-httpapi-idempotency-key-header) and the fingerprint of a request.

use axum::extract::{FromRequest, FromRequestParts, Request};
use http::request::Parts;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use super::extract::{parse_json, read_body, require_json};
use crate::problem::{IDEMPOTENCY_KEY_MISSING, INVALID_HEADER, Problem};

const HEADER: &str = "idempotency-key";
/// The longest key, in characters.
const MAX_KEY: usize = 255;

/// A client's key for one effect: 1 to 255 visible ASCII characters, with or without the draft's quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey(pub String);

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut values = parts.headers.get_all(HEADER).iter();
        let value = values.next().ok_or_else(missing)?;
        let text = value.to_str().map_err(|_| invalid())?.trim();
        let bare = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
        let visible = bare.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\');
        if values.next().is_some() || bare.is_empty() || bare.len() > MAX_KEY || !visible {
            return Err(invalid());
        }
        Ok(Self(bare.to_owned()))
    }
}

fn missing() -> Problem {
    Problem::new(IDEMPOTENCY_KEY_MISSING).detail(
        "Hãy gửi kèm Idempotency-Key, ví dụ một UUID mới cho mỗi lần thao tác.",
        "Send an Idempotency-Key, for instance a new UUID for each action.",
    )
}

fn invalid() -> Problem {
    Problem::new(INVALID_HEADER).detail(
        "Idempotency-Key phải có từ 1 đến 255 ký tự ASCII, không có khoảng trắng.",
        "Idempotency-Key must be 1 to 255 visible ASCII characters.",
    )
}

/// A JSON body together with its key and the SHA-256 over method, path and body.
#[derive(Clone, Debug)]
pub struct IdempotentJson<T> {
    /// The client's key.
    pub key: String,
    /// Tells whether a key comes again with another request.
    pub fingerprint: [u8; 32],
    /// The parsed body.
    pub body: T,
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for IdempotentJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        require_json(request.headers())?;
        let (mut parts, body) = request.into_parts();
        let IdempotencyKey(key) = IdempotencyKey::from_request_parts(&mut parts, state).await?;
        let mut hash = Sha256::new();
        hash.update(parts.method.as_str());
        hash.update([0]);
        hash.update(parts.uri.path());
        hash.update([0]);
        let bytes = read_body(Request::from_parts(parts, body), state).await?;
        hash.update(&bytes);
        Ok(Self { key, fingerprint: hash.finalize().into(), body: parse_json(&bytes)? })
    }
}

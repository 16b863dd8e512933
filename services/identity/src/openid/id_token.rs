//! ID tokens (OpenID Connect Core, section 2), and what a client shows of an earlier one as a hint.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use jsonwebtoken::{Header, Validation};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Identity;
use crate::error::Error;
use crate::key::{self, Algorithm, Signer};
use crate::session::Session;

/// The `typ` of the header.
const TYP: &str = "JWT";
/// The longest hint looked at, in bytes.
const MAX_HINT: usize = 4_096;
/// The longest name of a key, in bytes.
const MAX_KID: usize = 64;

/// What an ID token says beside the session's own.
#[derive(Clone, Copy)]
pub(crate) struct Said<'a> {
    /// The client's, of the request that began the session; never repeated at a refresh.
    pub nonce: Option<&'a str>,
    /// The access token that it comes with.
    pub access_token: &'a str,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: Uuid,
    aud: &'a str,
    exp: i64,
    iat: i64,
    auth_time: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<&'a str>,
    acr: &'a str,
    amr: &'a [String],
    at_hash: String,
    sid: Uuid,
}

/// What a hint says: whom it is about, and for whom it was made.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Hint {
    pub sub: Uuid,
    pub aud: String,
    pub sid: Uuid,
}

/// Signs an ID token of `session` for its client.
pub(super) fn sign(
    signer: &Signer,
    (issuer, subject): (&str, Uuid),
    session: &Session,
    said: Said<'_>,
    lifetime_s: u32,
    now: DateTime<Utc>,
) -> Result<String, Error> {
    let claims = Claims {
        iss: issuer,
        sub: subject,
        aud: &session.client,
        exp: now.timestamp() + i64::from(lifetime_s),
        iat: now.timestamp(),
        auth_time: session.authenticated_at.timestamp(),
        nonce: said.nonce,
        acr: &session.acr,
        amr: &session.amr,
        at_hash: at_hash(signer.algorithm, said.access_token),
        sid: session.id.uuid(),
    };
    let mut header = Header::new(signer.algorithm.of_header());
    header.typ = Some(TYP.to_owned());
    header.kid = Some(signer.kid.clone());
    Ok(jsonwebtoken::encode(&header, &claims, &signer.key)?)
}

/// The left half of the access token's hash, by the hash function of the signature (section 3.1.3.6).
fn at_hash(algorithm: Algorithm, access_token: &str) -> String {
    let hash = match algorithm {
        Algorithm::Rs256 => digest::digest(&digest::SHA256, access_token.as_bytes()),
        // Ed25519 hashes with SHA-512 (RFC 8032, section 5.1).
        Algorithm::EdDsa => digest::digest(&digest::SHA512, access_token.as_bytes()),
    };
    let bytes = hash.as_ref();
    URL_SAFE_NO_PAD.encode(&bytes[..bytes.len() / 2])
}

impl Identity {
    /// How long an ID token may be taken, in seconds.
    pub(super) fn id_token_life(&self) -> u32 {
        self.config.lifetimes.access_token_seconds
    }

    /// What an ID token of ours says, though it may have expired and its key left the key set; nothing for any other text.
    pub(crate) async fn hint(&self, text: &str) -> Result<Option<Hint>, Error> {
        let Some(header) = (text.len() <= MAX_HINT).then(|| jsonwebtoken::decode_header(text).ok()).flatten() else {
            return Ok(None);
        };
        let (Some(kid), Some(TYP)) = (header.kid.as_deref(), header.typ.as_deref()) else { return Ok(None) };
        // Nobody has checked the header yet: what could be no name of a key is looked up nowhere.
        if kid.len() > MAX_KID || !kid.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Ok(None);
        }
        let found = key::public_key(&self.pool, kid).await?;
        let Some((algorithm, jwk)) = found.filter(|(own, _)| own.of_header() == header.alg) else { return Ok(None) };
        let jwk: jsonwebtoken::jwk::Jwk = serde_json::from_value(jwk).map_err(|_| Error::NoSigningKey)?;
        let Ok(key) = jsonwebtoken::DecodingKey::from_jwk(&jwk) else { return Ok(None) };
        let mut validation = Validation::new(algorithm.of_header());
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.set_issuer(&[&self.issuer]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        Ok(jsonwebtoken::decode::<Hint>(text, &key, &validation).ok().map(|decoded| decoded.claims))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_an_access_token_is_the_left_half() {
        // Computed apart from this code: base64url(SHA-256(token)[..16]).
        let access_token = "jHkWEdUXMU1BwAsC4vtUsZwnvTx_M0cfiLQUHgFNZrM";
        assert_eq!(at_hash(Algorithm::Rs256, access_token), "woKUpUovj3YLxgz8tnpi0Q");
        assert_eq!(at_hash(Algorithm::EdDsa, access_token).len(), 43);
    }
}

//! The push gateway's token endpoint: what a service account signs is exchanged for a token that lives an hour (RFC 7523), as Google does it.
//!
//! Invariant: at most [`MAX_TOKENS`] tokens live; a new one takes the place of the oldest.

use std::collections::VecDeque;

use aws_lc_rs::rsa::KeyPair as RsaKeyPair;
use aws_lc_rs::signature::KeyPair as _;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Form, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, TimeDelta, Utc};
use http::{HeaderMap, StatusCode};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use serde_json::json;

use crate::config::ServiceAccount;
use crate::signature::has_bearer;
use crate::world::World;

/// Where tokens are given.
pub(crate) const PATH: &str = "/gateways/fcm/token";
/// The only grant.
const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// What a token is for.
const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";
/// How long a token lives, and an assertion at most.
const LIFE: TimeDelta = TimeDelta::hours(1);
/// How far an assertion's time may lie ahead.
const SKEW_S: i64 = 60;
/// Tokens that live at most.
const MAX_TOKENS: usize = 64;

/// The tokens that live.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    live: VecDeque<(String, DateTime<Utc>)>,
    issued: u64,
}

impl Tokens {
    fn issue(&mut self, now: DateTime<Utc>) -> String {
        let token = hex::encode(rand::random::<[u8; 32]>());
        if self.live.len() == MAX_TOKENS {
            self.live.pop_front();
        }
        self.live.push_back((token.clone(), now + LIFE));
        self.issued += 1;
        token
    }

    /// Whether a request bears one.
    pub(crate) fn admit(&self, headers: &HeaderMap, now: DateTime<Utc>) -> bool {
        self.live.iter().any(|(token, ends_at)| now < *ends_at && has_bearer(headers, token))
    }
}

/// The routes.
pub(crate) fn routes() -> Router<World> {
    Router::new().route(PATH, post(give)).route("/push/tokens", get(count).delete(take_back))
}

#[derive(Deserialize)]
struct TokenRequest {
    grant_type: String,
    assertion: String,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    scope: String,
    aud: String,
    iat: i64,
    exp: i64,
}

async fn give(State(world): State<World>, Form(request): Form<TokenRequest>) -> Response {
    if request.grant_type != GRANT {
        return refusal("unsupported_grant_type", "the grant is not the one of RFC 7523");
    }
    let now = world.clock().now();
    let account = world.config().push.account.as_ref();
    match account.ok_or("there is no service account").and_then(|account| check(account, &request.assertion, now)) {
        Ok(()) => {
            let token = world.push().tokens.issue(now);
            let body = json!({ "access_token": token, "token_type": "Bearer", "expires_in": LIFE.num_seconds() });
            axum::Json(body).into_response()
        }
        Err(why) => refusal("invalid_grant", why),
    }
}

fn refusal(error: &str, description: &str) -> Response {
    (StatusCode::BAD_REQUEST, axum::Json(json!({ "error": error, "error_description": description }))).into_response()
}

/// Whether the account signed this for us, now.
fn check(account: &ServiceAccount, assertion: &str, now: DateTime<Utc>) -> Result<(), &'static str> {
    let key = STANDARD.decode(account.private_key.expose()).map_err(|_| "the account has no key")?;
    let pair = RsaKeyPair::from_pkcs8(&key).map_err(|_| "the account has no key")?;
    let public = DecodingKey::from_rsa_der(pair.public_key().as_ref());
    let mut validation = Validation::new(Algorithm::RS256);
    // By the sandbox's clock, below.
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    let token =
        jsonwebtoken::decode::<Claims>(assertion, &public, &validation).map_err(|_| "not signed by the account")?;
    let (Claims { iss, scope, aud, iat, exp }, now) = (token.claims, now.timestamp());
    if token.header.kid.as_ref() != Some(&account.key_id) || iss != account.email {
        return Err("of another account");
    }
    if scope != SCOPE || !aud.ends_with(PATH) {
        return Err("for something else");
    }
    if iat > now + SKEW_S || exp <= now || exp - iat > LIFE.num_seconds() {
        return Err("not of now");
    }
    Ok(())
}

async fn count(State(world): State<World>) -> Response {
    axum::Json(json!({ "issued": world.push().tokens.issued })).into_response()
}

async fn take_back(State(world): State<World>, _: Bytes) -> StatusCode {
    world.push().tokens.live.clear();
    StatusCode::NO_CONTENT
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{EncodingKey, Header};
    use serde_json::Value;

    use super::*;

    #[test]
    fn only_what_the_account_signed_for_this_and_for_now_gets_a_token() {
        let config = crate::Config::generate().with_service_account();
        let account = config.push.account.clone().expect("it was made");
        let file = config.push.account_file("http://outside/").expect("an account");
        let file: Value = serde_json::from_str(file.expose()).expect("JSON");
        assert_eq!(file["token_uri"], "http://outside/gateways/fcm/token");
        let pem = file["private_key"].as_str().expect("a key");
        let key = EncodingKey::from_rsa_pem(pem.as_bytes()).expect("PEM");
        let now = Utc::now();
        let asserted = |change: &dyn Fn(&mut Value), kid: &str| {
            let mut claims = json!({
                "iss": file["client_email"], "scope": SCOPE, "aud": file["token_uri"],
                "iat": now.timestamp(), "exp": now.timestamp() + 3_600,
            });
            change(&mut claims);
            let header = Header { kid: Some(kid.to_owned()), ..Header::new(Algorithm::RS256) };
            let assertion = jsonwebtoken::encode(&header, &claims, &key).expect("signed");
            check(&account, &assertion, now)
        };
        assert_eq!(asserted(&|_| {}, &account.key_id), Ok(()));
        assert!(asserted(&|_| {}, "another").is_err());
        for (claim, value) in [
            ("iss", json!("another@sandbox.example")),
            ("scope", json!("everything")),
            ("aud", json!("https://elsewhere.example/token")),
            ("iat", json!(now.timestamp() + 120)),
            ("exp", json!(now.timestamp())),
            ("exp", json!(now.timestamp() + 7_200)),
        ] {
            assert!(asserted(&|claims| claims[claim] = value.clone(), &account.key_id).is_err(), "{claim} {value}");
        }
        let other = crate::Config::generate().with_service_account().push.account.expect("it was made");
        let forged = ServiceAccount { private_key: other.private_key, ..account.clone() };
        let claims = json!({ "iss": file["client_email"], "scope": SCOPE, "aud": file["token_uri"], "iat": now.timestamp(), "exp": now.timestamp() + 60 });
        let header = Header { kid: Some(account.key_id.clone()), ..Header::new(Algorithm::RS256) };
        let assertion = jsonwebtoken::encode(&header, &claims, &key).expect("signed");
        assert_eq!(check(&forged, &assertion, now), Err("not signed by the account"));
        assert_eq!(check(&account, "no JWT", now), Err("not signed by the account"));
    }
}

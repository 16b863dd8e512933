//! VNeID, the national identity app, as the OpenID provider that it is to the city: code flow, PKCE (S256), ID tokens.
//!
//! Whoever visits it says who they are by their citizen number (`login_hint`, or the page's one field); people are registered with
//! `POST /vneid/people`. Invariant: a code is good once, for [`CODE_LIFE`], and at most [`MAX_CODES`] wait.

use std::collections::HashMap;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Form, Query, State};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::{DateTime, TimeDelta, Utc};
use http::{HeaderMap, StatusCode, header};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::Url;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::fault;
use crate::refusal::{Refusal, parse};
use crate::ring::Ring;
use crate::world::World;

/// How long a code is good.
const CODE_LIFE: TimeDelta = TimeDelta::minutes(2);
/// How long an ID token is good, in seconds.
const TOKEN_LIFE_S: i64 = 300;
/// Codes that wait at most; the oldest is forgotten first.
const MAX_CODES: usize = 10_000;
/// People remembered at most.
const MAX_PEOPLE: usize = 50_000;
const KEY_ID: &str = "vneid-sandbox";

/// Somebody with an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Person {
    citizen_number: String,
    full_name: String,
    /// Drawn where it is left out.
    #[serde(default = "subject")]
    subject: String,
}

fn subject() -> String {
    Uuid::new_v4().to_string()
}

/// A code that waits to be exchanged.
#[derive(Clone, Debug)]
struct Grant {
    person: Person,
    redirect_uri: String,
    nonce: String,
    challenge: String,
    /// When the person said who they are.
    proved_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
}

/// The provider's memory and its key.
#[derive(Debug)]
pub(crate) struct Provider {
    people: HashMap<String, Person>,
    order: Ring<String>,
    codes: HashMap<String, Grant>,
    code_order: Ring<String>,
    key: Vec<u8>,
    public: Vec<u8>,
}

impl Provider {
    pub(crate) fn new() -> Self {
        let pair = Ed25519KeyPair::generate().expect("the system makes keys");
        let key = pair.to_pkcs8v1().expect("a new key has a document").as_ref().to_vec();
        Self {
            people: HashMap::new(),
            order: Ring::new(MAX_PEOPLE),
            codes: HashMap::new(),
            code_order: Ring::new(MAX_CODES),
            public: pair.public_key().as_ref().to_vec(),
            key,
        }
    }

    fn register(&mut self, person: Person) {
        let number = person.citizen_number.clone();
        if self.people.insert(number.clone(), person).is_none()
            && let Some(oldest) = self.order.push(number)
        {
            self.people.remove(&oldest);
        }
    }

    fn grant(&mut self, grant: Grant) -> String {
        let code = hex::encode(rand::random::<[u8; 24]>());
        self.codes.insert(code.clone(), grant);
        if let Some(oldest) = self.code_order.push(code.clone()) {
            self.codes.remove(&oldest);
        }
        code
    }

    /// Takes a code; nothing when it is not good for this exchange.
    fn exchange(&mut self, request: &TokenRequest, now: DateTime<Utc>) -> Option<Grant> {
        let grant = self.codes.remove(&request.code)?;
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&request.code_verifier));
        let good = grant.expires_at > now
            && grant.redirect_uri == request.redirect_uri
            && grant.challenge == challenge
            && request.grant_type == "authorization_code";
        good.then_some(grant)
    }
}

/// The routes of the provider.
pub(crate) fn routes() -> Router<World> {
    Router::new()
        .route("/vneid/.well-known/openid-configuration", get(discovery))
        .route("/vneid/jwks.json", get(keys))
        .route("/vneid/authorize", get(authorize))
        .route("/vneid/token", post(token))
        .route("/vneid/people", post(register))
        .route("/vneid/faults", fault::routes(World::vneid_faults))
}

/// The origin that a request was sent to, for it is not known which port the sandbox got.
fn issuer(headers: &HeaderMap) -> String {
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or("localhost");
    format!("http://{host}/vneid")
}

async fn discovery(State(world): State<World>, headers: HeaderMap) -> Result<axum::Json<Value>, Refusal> {
    world.vneid_faults().strike().before_effect().await?;
    let issuer = issuer(&headers);
    Ok(axum::Json(json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "jwks_uri": format!("{issuer}/jwks.json"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["EdDSA"],
        "code_challenge_methods_supported": ["S256"],
    })))
}

async fn keys(State(world): State<World>) -> axum::Json<Value> {
    let x = URL_SAFE_NO_PAD.encode(&world.vneid().public);
    axum::Json(
        json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": KEY_ID, "x": x }] }),
    )
}

#[derive(Deserialize)]
struct Visit {
    response_type: String,
    client_id: String,
    redirect_uri: Url,
    state: String,
    nonce: String,
    code_challenge: String,
    code_challenge_method: String,
    login_hint: Option<String>,
}

async fn authorize(State(world): State<World>, Query(visit): Query<Visit>) -> Result<Response, Refusal> {
    if visit.client_id != world.config().vneid.client_id {
        return Err(Refusal::invalid_field("client_id is not known here"));
    }
    if visit.response_type != "code" || visit.code_challenge_method != "S256" {
        return Err(Refusal::invalid_field("the code flow with PKCE (S256) is what this provider speaks"));
    }
    let Some(number) = visit.login_hint else { return Ok(Html(PAGE).into_response()) };
    let mut back = visit.redirect_uri.clone();
    back.query_pairs_mut().append_pair("state", &visit.state);
    let now = world.clock().now();
    let mut provider = world.vneid();
    let Some(person) = provider.people.get(&number).cloned() else {
        back.query_pairs_mut().append_pair("error", "access_denied");
        return Ok(Redirect::to(back.as_str()).into_response());
    };
    let code = provider.grant(Grant {
        person,
        redirect_uri: visit.redirect_uri.to_string(),
        nonce: visit.nonce,
        challenge: visit.code_challenge,
        proved_at: now,
        expires_at: now + CODE_LIFE,
    });
    back.query_pairs_mut().append_pair("code", &code);
    Ok(Redirect::to(back.as_str()).into_response())
}

/// What a visitor reads who has not said who they are.
const PAGE: &str = "<!doctype html><html lang=\"vi\"><meta charset=\"utf-8\"><title>VNeID (sandbox)</title>\
<h1>VNeID (sandbox)</h1><p>Thêm <code>&amp;login_hint=SỐ ĐỊNH DANH</code> vào địa chỉ này. \
Add <code>&amp;login_hint=CITIZEN NUMBER</code> to this address.</p></html>";

#[derive(Deserialize)]
struct TokenRequest {
    grant_type: String,
    code: String,
    redirect_uri: String,
    code_verifier: String,
}

async fn token(
    State(world): State<World>,
    headers: HeaderMap,
    Form(request): Form<TokenRequest>,
) -> Result<Response, Refusal> {
    let settings = &world.config().vneid;
    let expected =
        format!("Basic {}", STANDARD.encode(format!("{}:{}", settings.client_id, settings.client_secret.expose())));
    if headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()) != Some(&expected) {
        return Err(Refusal::unauthenticated("the client does not prove itself"));
    }
    let course = world.vneid_faults().strike();
    course.before_effect().await?;
    let now = world.clock().now();
    let (grant, key) = {
        let mut provider = world.vneid();
        (provider.exchange(&request, now), provider.key.clone())
    };
    let grant = grant.ok_or_else(|| Refusal::new(StatusCode::BAD_REQUEST, "invalid_grant", "the code is not good"))?;
    let claims = json!({
        "iss": issuer(&headers), "aud": settings.client_id, "sub": grant.person.subject, "nonce": grant.nonce,
        "iat": now.timestamp(), "exp": now.timestamp() + TOKEN_LIFE_S,
        "auth_time": grant.proved_at.timestamp(),
        "citizen_number": grant.person.citizen_number, "name": grant.person.full_name,
    });
    let mut header = Header::new(Algorithm::EdDSA);
    header.kid = Some(KEY_ID.to_owned());
    let id_token = jsonwebtoken::encode(&header, &claims, &EncodingKey::from_ed_der(&key))
        .map_err(|error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "signing", error.to_string()))?;
    course.after_effect().await?;
    let body =
        json!({ "access_token": subject(), "token_type": "Bearer", "expires_in": TOKEN_LIFE_S, "id_token": id_token });
    Ok(axum::Json(body).into_response())
}

async fn register(State(world): State<World>, body: Bytes) -> Result<Response, Refusal> {
    let person: Person = parse(&body)?;
    world.vneid().register(person.clone());
    Ok((StatusCode::CREATED, axum::Json(person)).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_good_once_and_for_its_verifier() {
        let mut provider = Provider::new();
        let now = Utc::now();
        let person = Person { citizen_number: "1".to_owned(), full_name: "An".to_owned(), subject: subject() };
        let grant = Grant {
            person,
            redirect_uri: "app://back".to_owned(),
            nonce: String::new(),
            challenge: URL_SAFE_NO_PAD.encode(Sha256::digest("verifier")),
            proved_at: now,
            expires_at: now + CODE_LIFE,
        };
        let request = |code: &str, verifier: &str| TokenRequest {
            grant_type: "authorization_code".to_owned(),
            code: code.to_owned(),
            redirect_uri: "app://back".to_owned(),
            code_verifier: verifier.to_owned(),
        };
        let code = provider.grant(grant.clone());
        assert!(provider.exchange(&request(&code, "verifier"), now).is_some());
        assert!(provider.exchange(&request(&code, "verifier"), now).is_none(), "once");
        let code = provider.grant(grant.clone());
        assert!(provider.exchange(&request(&code, "another"), now).is_none());
        let code = provider.grant(grant);
        assert!(provider.exchange(&request(&code, "verifier"), now + CODE_LIFE).is_none(), "too late");
    }
}

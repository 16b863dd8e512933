//! ID tokens that VNeID never made for us: none is believed.
//!
//! The provider here is a forger's: its discovery and keys are right, and its token endpoint hands out whatever the test wants.

use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use platform::config::Secret;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::config::VneidConfig;
use crate::vneid::provider::{HttpProvider, Provider as _, Return};

const CLIENT: &str = "the-city";
const NONCE: &str = "the-nonce";
const KID: &str = "one";

/// What the forger hands out.
#[derive(Clone, Default)]
struct Forger(Arc<Mutex<(Value, String)>>);

impl Forger {
    fn keys(&self, keys: Value) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0 = keys;
    }

    fn token(&self, token: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1 = token;
    }
}

/// A key of the provider's.
struct Signer {
    kid: &'static str,
    pkcs8: Vec<u8>,
    public: Vec<u8>,
}

impl Signer {
    fn new(kid: &'static str) -> Self {
        let pair = Ed25519KeyPair::generate().expect("a key");
        let pkcs8 = pair.to_pkcs8().expect("PKCS #8").as_ref().to_vec();
        Self { kid, pkcs8, public: pair.public_key().as_ref().to_vec() }
    }

    fn jwks(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(&self.public);
        json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": self.kid, "x": x }] })
    }

    fn sign(&self, claims: &Value) -> String {
        let header = Header { kid: Some(self.kid.to_owned()), ..Header::new(Algorithm::EdDSA) };
        encode(&header, claims, &EncodingKey::from_ed_der(&self.pkcs8)).expect("signed")
    }
}

struct Scene {
    forger: Forger,
    signer: Signer,
    provider: HttpProvider,
    issuer: String,
    now: DateTime<Utc>,
}

impl Scene {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let issuer = format!("http://{}", listener.local_addr().expect("an address"));
        let discovery = json!({
            "issuer": issuer, "authorization_endpoint": format!("{issuer}/authorize"),
            "token_endpoint": format!("{issuer}/token"), "jwks_uri": format!("{issuer}/keys"),
        });
        let forger = Forger::default();
        let routes =
            Router::new()
                .route("/.well-known/openid-configuration", get(move || async move { Json(discovery) }))
                .route(
                    "/keys",
                    get(|State(forger): State<Forger>| async move {
                        Json(forger.0.lock().expect("not poisoned").0.clone())
                    }),
                )
                .route(
                    "/token",
                    post(|State(forger): State<Forger>| async move {
                        let token = forger.0.lock().expect("not poisoned").1.clone();
                        Json(json!({ "access_token": "x", "token_type": "Bearer", "id_token": token }))
                    }),
                )
                .with_state(forger.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        let settings = VneidConfig {
            issuer: issuer.parse().expect("a URL"),
            client_id: CLIENT.to_owned(),
            client_secret: Secret::new("secret"),
            redirect_uri: "https://hue.example.org/vneid".parse().expect("a URL"),
            page_redirect_uri: None,
        };
        let signer = Signer::new(KID);
        forger.keys(signer.jwks());
        let provider = HttpProvider::try_new(settings).expect("a client");
        Self { forger, signer, provider, issuer, now: Utc::now() }
    }

    /// When the visit began.
    fn begun_at(&self) -> DateTime<Utc> {
        self.now - TimeDelta::minutes(3)
    }

    /// What a right token says.
    fn claims(&self) -> Value {
        let now = self.now.timestamp();
        json!({
            "iss": self.issuer, "aud": CLIENT, "sub": "one", "nonce": NONCE, "iat": now, "exp": now + 300,
            "auth_time": now,
            "citizen_number": "046199012345", "name": "Nguyễn Thị Hương",
        })
    }

    /// Right claims but for some.
    fn but(&self, other: &Value) -> Value {
        let mut claims = self.claims();
        let fields = claims.as_object_mut().expect("an object");
        fields.extend(other.as_object().expect("an object").clone());
        fields.retain(|_, value| !value.is_null());
        claims
    }

    /// Why a token is not believed; empty when it is.
    async fn verdict(&self, token: String) -> String {
        self.forger.token(token);
        let redirect_uri = &"https://hue.example.org/vneid".parse().expect("a URL");
        let back = Return { code: "code", verifier: "verifier", nonce: NONCE, begun_at: self.begun_at(), redirect_uri };
        let person = self.provider.exchange(&back, self.now).await;
        person.err().map(|error| error.to_string()).unwrap_or_default()
    }
}

#[tokio::test]
async fn only_a_token_that_was_made_for_us_and_now_is_believed() {
    let scene = Scene::new().await;
    let (now, begun) = (scene.now.timestamp(), scene.begun_at().timestamp());
    for right in [
        json!({}),
        json!({ "aud": [CLIENT] }),
        json!({ "azp": CLIENT }),
        json!({ "aud": [CLIENT, "another"], "azp": CLIENT }),
        json!({ "iat": now + 30, "exp": now - 30 }),
        json!({ "auth_time": begun }),
        json!({ "auth_time": begun - 60 }),
        json!({ "auth_time": now + 60 }),
    ] {
        assert_eq!(scene.verdict(scene.signer.sign(&scene.but(&right))).await, "", "{right}");
    }
    for forged in [
        json!({ "iss": "https://another.example" }),
        json!({ "iss": null }),
        json!({ "aud": "another" }),
        json!({ "aud": null }),
        json!({ "aud": [CLIENT, "another"] }),
        json!({ "aud": [CLIENT, "another"], "azp": "another" }),
        json!({ "azp": "another" }),
        json!({ "sub": null }),
        json!({ "exp": now - 61 }),
        json!({ "exp": null }),
        json!({ "iat": now + 61 }),
        json!({ "iat": null }),
        json!({ "auth_time": null }),
        json!({ "auth_time": begun - 61 }),
        json!({ "auth_time": begun - 86_400 }),
        json!({ "auth_time": now + 61 }),
        json!({ "auth_time": "now" }),
        json!({ "nonce": "another" }),
        json!({ "nonce": null }),
        json!({ "citizen_number": null }),
        json!({ "name": null }),
    ] {
        let why = scene.verdict(scene.signer.sign(&scene.but(&forged))).await;
        assert!(why.starts_with("the ID token is not valid"), "{forged}: {why}");
    }
}

#[tokio::test]
async fn only_the_providers_own_keys_under_their_own_algorithm_sign() {
    let scene = Scene::new().await;
    let claims = scene.claims();
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let none = format!("{}.{}.", part(&json!({ "alg": "none", "kid": KID })), part(&claims));
    let header = Header { kid: Some(KID.to_owned()), ..Header::new(Algorithm::HS256) };
    let confused = encode(&header, &claims, &EncodingKey::from_secret(&scene.signer.public)).expect("signed");
    let unnamed = encode(&Header::new(Algorithm::EdDSA), &claims, &EncodingKey::from_ed_der(&scene.signer.pkcs8));
    let (stranger, unknown) = (Signer::new(KID), Signer::new("unknown"));
    let right = scene.signer.sign(&claims);
    let (body, signature) = right.rsplit_once('.').expect("three parts");
    let swapped = scene.signer.sign(&scene.but(&json!({ "sub": "two" })));
    let swapped = swapped.rsplit_once('.').expect("three parts").0;
    for (what, token) in [
        ("no signature", none),
        ("the public key as a secret", confused),
        ("no key id", unnamed.expect("signed")),
        ("a stranger's key under our id", stranger.sign(&claims)),
        ("an unknown key", unknown.sign(&claims)),
        ("another token's signature", format!("{swapped}.{signature}")),
        ("a signature that is cut", format!("{body}.{}", &signature[..signature.len() - 4])),
        ("no token", "x".to_owned()),
    ] {
        let why = scene.verdict(token).await;
        assert!(why.starts_with("the ID token is not valid"), "{what}: {why}");
    }
    assert_eq!(scene.verdict(right).await, "");
}

#[tokio::test]
async fn a_rotated_key_counts_as_soon_as_it_is_published_and_not_after_it_is_gone() {
    let scene = Scene::new().await;
    let next = Signer::new("two");
    let claims = scene.claims();
    assert!(!scene.verdict(next.sign(&claims)).await.is_empty(), "not before");
    scene.forger.keys(next.jwks());
    assert_eq!(scene.verdict(next.sign(&claims)).await, "");
    assert!(!scene.verdict(scene.signer.sign(&claims)).await.is_empty(), "not after");
    // A key that says no algorithm, or one of another kind, signs nothing.
    let mut keys = next.jwks();
    keys["keys"][0].as_object_mut().expect("a key").remove("alg");
    scene.forger.keys(keys);
    assert!(!scene.verdict(next.sign(&claims)).await.is_empty(), "a key that names no algorithm");
    scene.forger.keys(json!({ "keys": [] }));
    assert!(!scene.verdict(next.sign(&claims)).await.is_empty(), "no key at all");
}

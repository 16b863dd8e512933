//! Tokens that are not ours, not for us, or not for now; and what other roles know of keys and revocations.

use std::time::Duration;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::TimeDelta;
use jsonwebtoken::{EncodingKey, Header};
use platform::auth::{AuthError, GrpcKeySource, Verifier};
use platform::task::Shutdown;
use serde_json::{Value, json};

use super::grpc::channel;
use crate::audit::{Behest, Origin};
use crate::device::DeviceId;
use crate::key::jwks;
use crate::testing::Stage;
use crate::{Algorithm, Urgency};

const PHONE: &str = "0912345678";

/// A token of a living session, taken apart.
struct Genuine {
    stage: Stage,
    token: String,
    header: Value,
    claims: Value,
}

fn decode(part: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64url")).expect("JSON")
}

fn encode(part: &Value) -> String {
    URL_SAFE_NO_PAD.encode(part.to_string())
}

/// A value with some fields set, or removed where they are null.
fn with(value: &Value, fields: Value) -> Value {
    let mut changed = value.clone();
    for (name, field) in fields.as_object().expect("fields") {
        let object = changed.as_object_mut().expect("an object");
        if field.is_null() {
            object.remove(name)
        } else {
            object.insert(name.clone(), field.clone())
        };
    }
    changed
}

impl Genuine {
    async fn new() -> Self {
        let stage = Stage::new().await;
        stage.identity.tend_keys().await.expect("keys of both algorithms");
        let token = stage.sign_in(PHONE, DeviceId::generate()).await.tokens.access;
        stage.context.verifier.verify(&token).await.expect("valid as it is");
        let parts: Vec<&str> = token.split('.').collect();
        let (header, claims) = (decode(parts[0]), decode(parts[1]));
        Self { stage, token, header, claims }
    }

    async fn verify(&self, token: &str) -> Result<(), AuthError> {
        self.stage.context.verifier.verify(token).await.map(|_| ())
    }

    /// Header and claims with changes, signed by the city's own key of an algorithm.
    async fn signed(&self, header: Value, claims: Value, by: Algorithm) -> String {
        let signer = self.stage.identity.signer_of(by).await.expect("a key");
        let text = format!("{}.{}", encode(&with(&self.header, header)), encode(&with(&self.claims, claims)));
        let signature = jsonwebtoken::crypto::sign(text.as_bytes(), &signer.key, by.of_header()).expect("signed");
        format!("{text}.{signature}")
    }

    async fn with_claims(&self, claims: Value) -> Result<(), AuthError> {
        self.verify(&self.signed(json!({}), claims, Algorithm::EdDsa).await).await
    }

    async fn with_header(&self, header: Value) -> Result<(), AuthError> {
        self.verify(&self.signed(header, json!({}), Algorithm::EdDsa).await).await
    }
}

#[tokio::test]
async fn the_claims_must_be_for_us_and_for_now() {
    let genuine = Genuine::new().await;
    let now = genuine.stage.clock.now().timestamp();
    assert_eq!(genuine.with_claims(json!({})).await, Ok(()), "the forger's tools work");
    for claims in [
        json!({ "aud": "other" }),
        json!({ "aud": ["trangtien-other"] }),
        json!({ "aud": null }),
        json!({ "iss": "http://localhost:8081" }),
        json!({ "iss": "http://localhost:8080/" }),
        json!({ "iss": null }),
        json!({ "iat": now + 60 }),
        json!({ "iat": i64::MAX }),
        json!({ "iat": null }),
        json!({ "exp": null }),
        json!({ "exp": "never" }),
        json!({ "sub": null }),
        json!({ "sub": "somebody" }),
        json!({ "sid": null }),
    ] {
        assert_eq!(genuine.with_claims(claims.clone()).await, Err(AuthError::Invalid), "{claims}");
    }
    for exp in [0, now - 6, now - 600] {
        assert_eq!(
            genuine.with_claims(json!({ "exp": exp, "iat": now - 700 })).await,
            Err(AuthError::Expired),
            "{exp}"
        );
    }
    assert_eq!(genuine.with_claims(json!({ "iat": now + 2 })).await, Ok(()), "clocks differ a little");
    genuine.stage.clock.advance(TimeDelta::seconds(606));
    assert_eq!(genuine.verify(&genuine.token).await, Err(AuthError::Expired), "also one that was seen as valid");
}

#[tokio::test]
async fn the_header_must_name_our_key_and_the_type_of_an_access_token() {
    let genuine = Genuine::new().await;
    for header in [
        json!({ "typ": "JWT" }),
        json!({ "typ": "id+jwt" }),
        json!({ "typ": null }),
        json!({ "kid": null }),
        json!({ "kid": "" }),
        json!({ "kid": "unknown" }),
        json!({ "kid": "../../etc/passwd" }),
    ] {
        assert_eq!(genuine.with_header(header.clone()).await, Err(AuthError::Invalid), "{header}");
    }
}

#[tokio::test]
async fn no_token_is_taken_without_a_signature() {
    let genuine = Genuine::new().await;
    let parts: Vec<&str> = genuine.token.split('.').collect();
    for name in ["none", "None", "NONE", "nOnE", ""] {
        let header = encode(&with(&genuine.header, json!({ "alg": name })));
        for token in [format!("{header}.{}.", parts[1]), format!("{header}.{}.{}", parts[1], parts[2])] {
            assert_eq!(genuine.verify(&token).await, Err(AuthError::Invalid), "{token}");
        }
    }
    let flipped =
        if parts[2].starts_with('A') { parts[2].replacen('A', "B", 1) } else { format!("A{}", &parts[2][1..]) };
    for token in [
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        format!("{}.{}", parts[0], parts[1]),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}.{}.{flipped}", parts[0], parts[1]),
        format!("{}.{}", genuine.token, parts[2]),
        format!("{}.{}.{}", parts[0], encode(&with(&genuine.claims, json!({ "roles": ["admin"] }))), parts[2]),
        format!("{}.{}", genuine.token, "A".repeat(5_000)),
    ] {
        assert_eq!(genuine.verify(&token).await, Err(AuthError::Invalid), "{token}");
    }
}

#[tokio::test]
async fn no_key_serves_another_algorithm() {
    let genuine = Genuine::new().await;
    let jwks = jwks(&genuine.stage.identity.pool, genuine.stage.clock.now()).await.expect("a key set");
    // Public keys are no secret: a verifier that took one for a shared secret would take these.
    for jwk in jwks["keys"].as_array().expect("keys") {
        let field = |name: &str| jwk[name].as_str().unwrap_or_default();
        let raw = URL_SAFE_NO_PAD.decode(if jwk["kty"] == "RSA" { field("n") } else { field("x") }).expect("base64url");
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(&raw));
        let texts = [field("x"), field("n"), pem.as_str(), &jwk.to_string(), &jwks.to_string()];
        for secret in texts.map(str::as_bytes).into_iter().chain([raw.as_slice()]) {
            for (name, algorithm) in
                [("HS256", hmac::HMAC_SHA256), ("HS384", hmac::HMAC_SHA384), ("HS512", hmac::HMAC_SHA512)]
            {
                let header = encode(&with(&genuine.header, json!({ "alg": name, "kid": field("kid") })));
                let text = format!("{header}.{}", encode(&genuine.claims));
                let tag = hmac::sign(&hmac::Key::new(algorithm, secret), text.as_bytes());
                let token = format!("{text}.{}", URL_SAFE_NO_PAD.encode(tag));
                assert_eq!(genuine.verify(&token).await, Err(AuthError::Invalid), "{name}");
            }
        }
    }
    let kid = async |algorithm| genuine.stage.identity.signer_of(algorithm).await.expect("a key").kid.clone();
    let (edwards, rsa) = (kid(Algorithm::EdDsa).await, kid(Algorithm::Rs256).await);
    let own = genuine.signed(json!({ "alg": "RS256", "kid": rsa }), json!({}), Algorithm::Rs256).await;
    assert_eq!(genuine.verify(&own).await, Ok(()), "RS256 is offered");
    for (header, by) in [
        (json!({ "alg": "RS256", "kid": edwards }), Algorithm::Rs256),
        (json!({ "alg": "EdDSA", "kid": rsa }), Algorithm::EdDsa),
        (json!({ "alg": "RS256", "kid": rsa }), Algorithm::EdDsa),
        (json!({ "alg": "PS256", "kid": rsa }), Algorithm::Rs256),
        (json!({ "alg": "RS512", "kid": rsa }), Algorithm::Rs256),
        (json!({ "alg": "ES256", "kid": edwards }), Algorithm::EdDsa),
    ] {
        let token = genuine.signed(header.clone(), json!({}), by).await;
        assert_eq!(genuine.verify(&token).await, Err(AuthError::Invalid), "{header}");
    }
}

#[tokio::test]
async fn no_token_brings_its_own_key() {
    let genuine = Genuine::new().await;
    let pair = Ed25519KeyPair::generate().expect("a key");
    let own = EncodingKey::from_ed_der(pair.to_pkcs8().expect("a document").as_ref());
    let x = URL_SAFE_NO_PAD.encode(aws_lc_rs::signature::KeyPair::public_key(&pair).as_ref());
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "x": x });
    let kid = genuine.header["kid"].as_str().expect("a kid");
    for (name, value) in
        [("jwk", jwk.clone()), ("jku", json!("http://localhost:1/jwks.json")), ("x5u", json!("http://localhost:1/x"))]
    {
        let mut header: Header = serde_json::from_value(genuine.header.clone()).expect("a header");
        header.kid = Some(kid.to_owned());
        let text = format!("{}.{}", encode(&with(&genuine.header, json!({ name: value }))), encode(&genuine.claims));
        let signature = jsonwebtoken::crypto::sign(text.as_bytes(), &own, header.alg).expect("signed");
        assert_eq!(genuine.verify(&format!("{text}.{signature}")).await, Err(AuthError::Invalid), "{name}");
    }
}

/// How another role checks tokens: by gRPC alone.
pub(super) fn of_another_role(stage: &Stage) -> (Verifier, Shutdown) {
    let (verifier, task) = Verifier::new(GrpcKeySource::new(channel(stage, "wallet")), stage.clock.clone());
    let shutdown = Shutdown::new();
    tokio::spawn(task.run(shutdown.clone()));
    (verifier, shutdown)
}

#[tokio::test]
async fn other_roles_refuse_ended_sessions_within_five_seconds_also_without_redis() {
    let stage = Stage::new().await;
    let device = DeviceId::generate();
    let opened = stage.sign_in(PHONE, device).await;
    let (elsewhere, shutdown) = of_another_role(&stage);
    elsewhere.verify(&opened.tokens.access).await.expect("valid there too");
    stage.redis.kill().await;
    stage.identity.remove_device(opened.citizen.id, device, Origin::default()).await.expect("signed out from afar");
    let refused = async {
        while elsewhere.verify(&opened.tokens.access).await != Err(AuthError::Revoked) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), refused).await.expect("within five seconds");
    shutdown.begin();
}

#[tokio::test]
async fn other_roles_take_every_token_over_a_rotation() {
    let stage = Stage::new().await;
    let (elsewhere, shutdown) = of_another_role(&stage);
    let before = stage.sign_in(PHONE, DeviceId::generate()).await.tokens.access;
    elsewhere.verify(&before).await.expect("valid");
    stage.identity.rotate_keys(Urgency::Now, &Behest::of_process("test", "due")).await.expect("rotated");
    let after = stage.sign_in(PHONE, DeviceId::generate()).await.tokens.access;
    let kid = |token: &str| jsonwebtoken::decode_header(token).expect("a header").kid;
    assert_ne!(kid(&before), kid(&after));
    for token in [&before, &after] {
        elsewhere.verify(token).await.expect("the next key was known before it signed");
    }
    shutdown.begin();
}

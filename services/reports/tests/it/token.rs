//! An issuer of access tokens in memory.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use platform::auth::{Claims, KeySource, PublicKeys, Revocations, TOKEN_AUDIENCE, TOKEN_TYPE};
use platform::clock::Clock;
use uuid::Uuid;

const ISSUER: &str = "http://localhost:8080";
const KEY_ID: &str = "test";

/// Signs tokens that a verifier over it accepts.
#[derive(Clone)]
pub(crate) struct Issuer {
    document: Arc<Vec<u8>>,
    clock: Clock,
    issued: Arc<Mutex<u64>>,
}

impl Issuer {
    pub(crate) fn new(clock: Clock) -> Self {
        let pair = Ed25519KeyPair::generate().expect("keys can be made");
        let document = pair.to_pkcs8v1().expect("a new key has a document").as_ref().to_vec();
        Self { document: Arc::new(document), clock, issued: Arc::default() }
    }

    /// A token of a citizen that lives so many seconds.
    pub(crate) fn token(&self, subject: Uuid, lifetime_s: i64) -> String {
        *self.issued.lock().expect("not poisoned") += 1;
        let now = self.clock.now().timestamp();
        let claims = Claims {
            iss: ISSUER.to_owned(),
            sub: subject,
            aud: TOKEN_AUDIENCE.to_owned(),
            client_id: "app".to_owned(),
            exp: now + lifetime_s,
            iat: now,
            jti: Uuid::now_v7(),
            // One session for each citizen, on one device.
            sid: subject,
            auth_time: now,
            acr: String::new(),
            amr: vec!["otp".to_owned()],
            scope: "reports".to_owned(),
            roles: Vec::new(),
        };
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(TOKEN_TYPE.to_owned());
        header.kid = Some(KEY_ID.to_owned());
        jsonwebtoken::encode(&header, &claims, &EncodingKey::from_ed_der(&self.document)).expect("signs")
    }
}

#[async_trait]
impl KeySource for Issuer {
    async fn keys(&self) -> Result<PublicKeys, Box<dyn std::error::Error + Send + Sync>> {
        let pair = Ed25519KeyPair::from_pkcs8(&self.document).expect("our own document");
        let x = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
        let key =
            serde_json::json!({"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": KEY_ID, "x": x});
        Ok(PublicKeys { jwks_json: serde_json::json!({ "keys": [key] }).to_string(), issuer: ISSUER.to_owned() })
    }

    async fn revocations(&self, after: i64) -> Result<Revocations, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Revocations { items: Vec::new(), position: after })
    }
}

//! An issuer of access tokens in memory.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use platform::auth::{Claims, KeySource, PublicKeys, Revocation, Revocations, TOKEN_AUDIENCE, TOKEN_TYPE};
use platform::clock::Clock;
use uuid::Uuid;

const ISSUER: &str = "http://localhost:1";
/// Seconds that a token lives.
pub(super) const TOKEN_LIFE_S: i64 = 600;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

#[derive(Clone)]
pub(super) struct Issuer {
    key: Arc<Vec<u8>>,
    clock: Clock,
    revoked: Arc<Mutex<Vec<Revocation>>>,
}

impl Issuer {
    pub(super) fn new(clock: Clock) -> Self {
        let pair = Ed25519KeyPair::generate().unwrap();
        Self { key: Arc::new(pair.to_pkcs8v1().unwrap().as_ref().to_vec()), clock, revoked: Arc::default() }
    }

    /// An access token of a citizen, in a session.
    pub(super) fn token(&self, user: Uuid, session: Uuid) -> String {
        let now = self.clock.now().timestamp();
        let claims = Claims {
            iss: ISSUER.to_owned(),
            sub: user,
            aud: TOKEN_AUDIENCE.to_owned(),
            client_id: "app".to_owned(),
            exp: now + TOKEN_LIFE_S,
            iat: now,
            jti: Uuid::new_v4(),
            sid: session,
            auth_time: now,
            acr: String::new(),
            amr: Vec::new(),
            scope: String::new(),
            roles: Vec::new(),
        };
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(TOKEN_TYPE.to_owned());
        header.kid = Some("k1".to_owned());
        jsonwebtoken::encode(&header, &claims, &EncodingKey::from_ed_der(&self.key)).unwrap()
    }

    pub(super) fn revoke(&self, session: Uuid) {
        let forget_at = self.clock.now().timestamp() + TOKEN_LIFE_S;
        self.revoked.lock().unwrap().push(Revocation { session, forget_at });
    }
}

#[async_trait]
impl KeySource for Issuer {
    async fn keys(&self) -> Result<PublicKeys, BoxError> {
        let x = URL_SAFE_NO_PAD.encode(Ed25519KeyPair::from_pkcs8(&self.key).unwrap().public_key().as_ref());
        let key =
            serde_json::json!({ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": "k1", "x": x });
        Ok(PublicKeys { jwks_json: serde_json::json!({ "keys": [key] }).to_string(), issuer: ISSUER.to_owned() })
    }

    async fn revocations(&self, after: i64) -> Result<Revocations, BoxError> {
        let revoked = self.revoked.lock().unwrap();
        let seen = usize::try_from(after)?;
        Ok(Revocations { items: revoked[seen..].to_vec(), position: i64::try_from(revoked.len())? })
    }
}

//! An issuer in memory, for tests of services: its tokens pass the same check as identity's.
//!
//! Panics instead of errors: what can fail here is a mistake of the test.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;
use uuid::Uuid;

use super::source::BoxError;
use super::{
    ACTING_AUDIENCE, APP_SCOPE, Act, Acting, ActingClaims, Claims, KeySource, PublicKeys, Revocation, Revocations,
    Revoked, Statement, StatementKind, TOKEN_AUDIENCE, TOKEN_TYPE,
};
use crate::clock::Clock;

const ISSUER: &str = "http://localhost:8080";
const KEY_ID: &str = "test";

/// Signs access tokens with a key of its own, and lists the sessions that were revoked.
#[derive(Clone)]
pub struct LocalIssuer {
    document: Arc<Vec<u8>>,
    clock: Clock,
    revoked: Arc<Mutex<Vec<Revocation>>>,
}

impl std::fmt::Debug for LocalIssuer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("LocalIssuer").finish_non_exhaustive()
    }
}

impl LocalIssuer {
    /// An issuer with a new key; times of its tokens are those of `clock`.
    ///
    /// # Panics
    /// When no key can be made.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        let pair = Ed25519KeyPair::generate().expect("keys can be made");
        let document = pair.to_pkcs8v1().expect("a new key has a document").as_ref().to_vec();
        Self { document: Arc::new(document), clock, revoked: Arc::default() }
    }

    /// What the app's token of somebody says who has no role, in a session that lives so many seconds from now: where claims of
    /// other tokens begin.
    #[must_use]
    pub fn claims(&self, subject: Uuid, session: Uuid, lifetime_s: i64) -> Claims {
        let now = self.clock.now().timestamp();
        Claims {
            iss: ISSUER.to_owned(),
            sub: subject,
            aud: TOKEN_AUDIENCE.to_owned(),
            client_id: "app".to_owned(),
            exp: now + lifetime_s,
            iat: now,
            jti: Uuid::now_v7(),
            sid: session,
            auth_time: now,
            acr: String::new(),
            amr: vec!["otp".to_owned()],
            scope: APP_SCOPE.to_owned(),
            roles: Vec::new(),
            role_epoch: 0,
            agency: None,
        }
    }

    /// A citizen's token in a session that lives so many seconds; less than none for one that has expired.
    ///
    /// # Panics
    /// Never: the claims and the key are its own.
    #[must_use]
    pub fn token(&self, subject: Uuid, session: Uuid, lifetime_s: i64) -> String {
        self.officer_token(subject, session, lifetime_s, &[])
    }

    /// The token of somebody who has roles.
    ///
    /// # Panics
    /// Never: the claims and the key are its own.
    #[must_use]
    pub fn officer_token(&self, subject: Uuid, session: Uuid, lifetime_s: i64, roles: &[&str]) -> String {
        let roles = roles.iter().map(|role| (*role).to_owned()).collect();
        self.sign(TOKEN_TYPE, &Claims { roles, ..self.claims(subject, session, lifetime_s) })
    }

    /// The token of somebody (`acting.actor`, in a session of theirs) who acts for another person.
    ///
    /// # Panics
    /// Never: the claims and the key are its own.
    #[must_use]
    pub fn acting_token(&self, subject: Uuid, session: Uuid, lifetime_s: i64, acting: Acting) -> String {
        let claims = Claims {
            aud: ACTING_AUDIENCE.to_owned(),
            amr: Vec::new(),
            scope: String::new(),
            ..self.claims(subject, session, lifetime_s)
        };
        let claims = ActingClaims { claims, act: Act { sub: acting.actor }, delegation: acting.delegation };
        self.sign(TOKEN_TYPE, &claims)
    }

    /// A statement of a kind about somebody in one of their sessions, as identity makes it now.
    ///
    /// # Panics
    /// When what it says is no object in JSON.
    #[must_use]
    pub fn statement<T: Serialize>(&self, kind: StatementKind, whose: (Uuid, Uuid), says: T) -> String {
        self.sign(kind.typ, &Statement::new(kind, ISSUER, whose, says, self.clock.now()))
    }

    /// Any claims, signed with this type: for tests of what is refused.
    ///
    /// # Panics
    /// When the claims are no object in JSON.
    #[must_use]
    pub fn sign<T: Serialize>(&self, typ: &str, claims: &T) -> String {
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(typ.to_owned());
        header.kid = Some(KEY_ID.to_owned());
        jsonwebtoken::encode(&header, claims, &EncodingKey::from_ed_der(&self.document)).expect("signs")
    }

    /// Revokes a session; verifiers forget it after so many seconds.
    pub fn revoke(&self, session: Uuid, lifetime_s: i64) {
        self.push(Revoked::Session(session), lifetime_s);
    }

    /// Takes a role from a person: tokens that they have now are stale.
    pub fn revoke_roles(&self, subject: Uuid, lifetime_s: i64) {
        self.push(Revoked::Roles { subject, epoch: 1 }, lifetime_s);
    }

    fn push(&self, what: Revoked, lifetime_s: i64) {
        let forget_at = self.clock.now().timestamp() + lifetime_s;
        self.revoked.lock().unwrap_or_else(PoisonError::into_inner).push(Revocation { what, forget_at });
    }
}

#[async_trait]
impl KeySource for LocalIssuer {
    async fn keys(&self) -> Result<PublicKeys, BoxError> {
        let pair = Ed25519KeyPair::from_pkcs8(&self.document)?;
        let x = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
        let key =
            serde_json::json!({"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": KEY_ID, "x": x});
        Ok(PublicKeys { jwks_json: serde_json::json!({ "keys": [key] }).to_string(), issuer: ISSUER.to_owned() })
    }

    async fn revocations(&self, after: i64) -> Result<Revocations, BoxError> {
        let revoked = self.revoked.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = usize::try_from(after)?;
        Ok(Revocations {
            items: revoked.get(seen..).unwrap_or_default().to_vec(),
            position: i64::try_from(revoked.len())?,
        })
    }
}

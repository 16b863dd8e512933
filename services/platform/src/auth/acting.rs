//! Somebody who acts for another person: tokens with an `act` claim (RFC 8693, section 4.1).
//!
//! `sub` is the person for whom, `act.sub` the one who acts, `sid` that one's own session, `delegation` what allows it.
//! Such a token has an audience of its own, so that no route takes it for its subject's own token: only one that asks for a [`Party`]
//! takes both. It says no roles, and it ends with the session and with the delegation, whose id is revoked like a session's.
//! Invariant: who acts for somebody is never that person's [`Principal`](super::Principal).

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::verifier::{AuthError, Verifier};
use super::{Claims, LEEWAY_S, Principal, TOKEN_TYPE};

/// The audience of tokens of who acts for another person.
pub const ACTING_AUDIENCE: &str = "trangtien-acting";

/// Who acts (RFC 8693, section 4.1). Nobody acts for who acts: there is no `act` in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Act {
    /// The person who acts.
    pub sub: Uuid,
}

/// The claims of such a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActingClaims {
    /// Those of every access token; `sub` is the person for whom, `sid` the session of who acts.
    #[serde(flatten)]
    pub claims: Claims,
    /// Who acts.
    pub act: Act,
    /// What allows it.
    pub delegation: Uuid,
}

/// Who acts for a caller's subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acting {
    /// The person who acts.
    pub actor: Uuid,
    /// What allows it.
    pub delegation: Uuid,
}

/// A person who calls, or for whom somebody calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party {
    /// The person whose things it is about.
    pub subject: Uuid,
    /// The session of who calls.
    pub session: Uuid,
    /// Who calls, if it is not the subject.
    pub acting: Option<Acting>,
    /// When the token expires.
    pub expires_at: DateTime<Utc>,
}

impl Party {
    /// Somebody for themself.
    pub(super) fn of(principal: &Principal) -> Self {
        let Principal { subject, session, expires_at, .. } = *principal;
        Self { subject, session, acting: None, expires_at }
    }
}

impl Verifier {
    /// Checks a token of somebody who acts for another person.
    ///
    /// # Errors
    /// Why it is refused.
    pub async fn verify_acting(&self, token: &str) -> Result<Party, AuthError> {
        let ActingClaims { claims, act, delegation } = self.claims(token, TOKEN_TYPE, ACTING_AUDIENCE).await?;
        if claims.iat > self.now_s() + LEEWAY_S || act.sub == claims.sub {
            return Err(AuthError::Invalid);
        }
        if claims.exp + LEEWAY_S <= self.now_s() {
            return Err(AuthError::Expired);
        }
        if self.is_revoked(claims.sid) || self.is_revoked(delegation) {
            return Err(AuthError::Revoked);
        }
        let expires_at = DateTime::from_timestamp(claims.exp, 0).ok_or(AuthError::Invalid)?;
        let acting = Acting { actor: act.sub, delegation };
        Ok(Party { subject: claims.sub, session: claims.sid, acting: Some(acting), expires_at })
    }
}

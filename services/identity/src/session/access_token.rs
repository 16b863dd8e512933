//! Access tokens: `at+jwt` (RFC 9068), signed by the active key.

use chrono::{DateTime, Utc};
use jsonwebtoken::Header;
use platform::auth::{Claims, TOKEN_AUDIENCE, TOKEN_TYPE};
use serde::Serialize;

use uuid::Uuid;

use super::Session;
use crate::Identity;
use crate::error::Error;
use crate::key::Signer;

/// What a token says of whom it stands for, and to whom.
pub(crate) struct Bearer {
    pub issuer: String,
    pub subject: Uuid,
    pub audience: String,
    /// Nothing where the client must not know.
    pub roles: Vec<String>,
    pub roles_until: Option<DateTime<Utc>>,
    pub role_epoch: u32,
}

impl Identity {
    /// Who a session's tokens say it is: the citizen by their id to our own services, or by the subject of a sector to the
    /// provider alone, so that a mini-app's token opens nothing of the citizen's but what they let the mini-app know.
    pub(crate) fn bearer(&self, session: &Session) -> Bearer {
        let issuer = self.issuer.clone();
        match &session.sector {
            None => Bearer {
                subject: session.citizen.uuid(),
                audience: TOKEN_AUDIENCE.to_owned(),
                roles: session.roles.clone(),
                roles_until: session.roles_until,
                role_epoch: session.role_epoch,
                issuer,
            },
            Some(sector) => Bearer {
                subject: self.vault.pairwise(sector, session.citizen.uuid()),
                audience: issuer.clone(),
                roles: Vec::new(),
                roles_until: None,
                role_epoch: 0,
                issuer,
            },
        }
    }
}

/// Signs an access token of `session` that lives for `lifetime_s` seconds from `now`, but never past the session or the first role
/// that it says; tells how many seconds that is.
pub(super) fn sign(
    signer: &Signer,
    session: &Session,
    bearer: &Bearer,
    lifetime_s: u32,
    now: DateTime<Utc>,
) -> Result<(String, u32), Error> {
    let issued_at = now.timestamp();
    let ends = [Some(session.expires_at), bearer.roles_until].into_iter().flatten().map(|end| end.timestamp());
    let expires_at = ends.fold(issued_at + i64::from(lifetime_s), i64::min);
    let claims = Claims {
        iss: bearer.issuer.clone(),
        sub: bearer.subject,
        aud: bearer.audience.clone(),
        client_id: session.client.clone(),
        exp: expires_at,
        iat: issued_at,
        jti: platform::id::new(),
        sid: session.id.uuid(),
        auth_time: session.authenticated_at.timestamp(),
        acr: session.acr.clone(),
        amr: session.amr.clone(),
        scope: session.scope.clone(),
        roles: bearer.roles.clone(),
        role_epoch: bearer.role_epoch,
        agency: None,
    };
    Ok((encode(signer, &claims)?, u32::try_from(expires_at - issued_at).unwrap_or(0)))
}

/// Signs the claims of an access token.
pub(crate) fn encode<T: Serialize>(signer: &Signer, claims: &T) -> Result<String, Error> {
    let mut header = Header::new(signer.algorithm.of_header());
    header.typ = Some(TOKEN_TYPE.to_owned());
    header.kid = Some(signer.kid.clone());
    Ok(jsonwebtoken::encode(&header, claims, &signer.key)?)
}

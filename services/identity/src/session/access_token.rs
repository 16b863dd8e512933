//! Access tokens: `at+jwt` (RFC 9068), signed by the active key.

use chrono::{DateTime, Utc};
use jsonwebtoken::Header;
use platform::auth::{Claims, TOKEN_AUDIENCE, TOKEN_TYPE};

use super::Session;
use crate::error::Error;
use crate::key::Signer;

/// Signs an access token of `session` that lives for `lifetime_s` seconds from `now`, but never past the session.
pub(super) fn sign(
    signer: &Signer,
    session: &Session,
    issuer: &str,
    lifetime_s: u32,
    now: DateTime<Utc>,
) -> Result<String, Error> {
    let issued_at = now.timestamp();
    let claims = Claims {
        iss: issuer.to_owned(),
        sub: session.citizen.uuid(),
        aud: TOKEN_AUDIENCE.to_owned(),
        client_id: session.client.clone(),
        exp: (issued_at + i64::from(lifetime_s)).min(session.expires_at.timestamp()),
        iat: issued_at,
        jti: platform::id::new(),
        sid: session.id.uuid(),
        auth_time: session.authenticated_at.timestamp(),
        acr: session.acr.clone(),
        amr: session.amr.clone(),
        scope: session.scope.clone(),
        roles: session.roles.clone(),
        role_epoch: session.role_epoch,
        agency: None,
    };
    let mut header = Header::new(signer.algorithm.of_header());
    header.typ = Some(TOKEN_TYPE.to_owned());
    header.kid = Some(signer.kid.clone());
    Ok(jsonwebtoken::encode(&header, &claims, &signer.key)?)
}

//! What the token endpoint gives beside codes' tokens: by a refresh token, and to a client for itself.

use std::net::IpAddr;

use platform::auth::{Claims, TOKEN_AUDIENCE};

use super::client::{Client, Grant};
use super::fault::{Failure, Fault, FaultKind};
use super::id_token::{self, Said};
use super::scope::{Scope, Scopes};
use crate::Identity;
use crate::error::Error;
use crate::session::Tokens;
use crate::session::access_token;

/// What a client gets.
pub(crate) struct Granted {
    pub access: String,
    /// Only for a client that is registered for it.
    pub refresh: Option<String>,
    /// Only with `openid`.
    pub id_token: Option<String>,
    pub expires_in_s: u32,
    pub scopes: Scopes,
}

impl Granted {
    pub(super) fn new(client: &Client, tokens: Tokens, id_token: Option<String>, scopes: Scopes) -> Self {
        Self {
            access: tokens.access,
            refresh: client.grants.contains(&Grant::RefreshToken).then_some(tokens.refresh),
            id_token,
            expires_in_s: tokens.expires_in_s,
            scopes,
        }
    }
}

impl Identity {
    /// Exchanges a refresh token of a client for its successor; `scope` narrows this access token.
    pub(crate) async fn refresh_for(
        &self,
        client: &Client,
        token: &str,
        scope: Option<&str>,
        address: Option<IpAddr>,
    ) -> Result<Granted, Failure> {
        client.require(Grant::RefreshToken)?;
        let id_signer = self.signer_of(client.id_token_algorithm).await?;
        let narrowed = scope.map(Scopes::parse);
        if narrowed.as_ref().is_some_and(|wanted| wanted.is_empty() || !wanted.within(&client.scopes)) {
            return Err(too_much().into());
        }
        // Looked at before the token is used up.
        if let (Some(wanted), Some((held, _))) = (&narrowed, self.held(token).await?)
            && held.client == client.id.to_string()
            && !wanted.within(&Scopes::parse(&held.scope))
        {
            return Err(too_much().into());
        }
        let rotated = self.rotate(&client.id.to_string(), token, address).await;
        let (mut session, now) = rotated.map_err(|error| match error {
            Error::RefreshInvalid | Error::RefreshReplayed => Failure::from(Fault::grant()),
            other => other.into(),
        })?;
        // What was taken from the client since is not in its tokens any more.
        let granted = Scopes::parse(&session.scope).common(&client.scopes);
        if granted.is_empty() {
            return Err(Fault::grant().into());
        }
        let scopes = narrowed.unwrap_or_else(|| granted.clone());
        if !scopes.within(&granted) {
            return Err(too_much().into());
        }
        session.scope = scopes.to_string();
        let tokens = self.tokens(&*self.signer().await?, &session, now)?;
        let id_token = if scopes.has(Scope::OpenId) {
            let said = Said { nonce: None, access_token: &tokens.access };
            let subject = self.bearer(&session).subject;
            Some(id_token::sign(&id_signer, (&self.issuer, subject), &session, said, self.id_token_life(), now)?)
        } else {
            None
        };
        Ok(Granted::new(client, tokens, id_token, scopes))
    }

    /// Gives a client a token for itself (RFC 6749, section 4.4): its subject is the client.
    pub(crate) async fn token_of_client(&self, client: &Client, scope: Option<&str>) -> Result<Granted, Failure> {
        client.require(Grant::ClientCredentials)?;
        let own = client.scopes.of_client();
        let scopes = match scope {
            Some(text) => {
                let wanted = Scopes::parse(text);
                // Here an unknown scope is refused too: a client knows what it was given.
                if wanted.names().len() != text.split_ascii_whitespace().count() || !wanted.within(&own) {
                    return Err(too_much().into());
                }
                wanted
            }
            None => own,
        };
        let (signer, now) = (self.signer().await?, self.now());
        let lifetime_s = self.config.lifetimes.access_token_seconds;
        let claims = Claims {
            iss: self.issuer.clone(),
            sub: client.id.uuid(),
            aud: TOKEN_AUDIENCE.to_owned(),
            client_id: client.id.to_string(),
            exp: now.timestamp() + i64::from(lifetime_s),
            iat: now.timestamp(),
            jti: platform::id::new(),
            // No row stands behind it: what ends it before its time is a revocation of this id, or of the client's epoch.
            sid: platform::id::new(),
            auth_time: now.timestamp(),
            acr: String::new(),
            amr: Vec::new(),
            scope: scopes.to_string(),
            roles: Vec::new(),
            role_epoch: client.epoch,
            agency: client.agency.clone(),
        };
        let access = access_token::encode(&signer, &claims)?;
        Ok(Granted { access, refresh: None, id_token: None, expires_in_s: lifetime_s, scopes })
    }
}

const fn too_much() -> Fault {
    Fault::new(FaultKind::InvalidScope, "a scope is asked for that was not granted")
}

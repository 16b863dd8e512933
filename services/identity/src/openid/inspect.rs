//! What clients ask about tokens and do with them: introspection (RFC 7662), revocation (RFC 7009), userinfo (OpenID Connect
//! Core, section 5.3), and the end of a browser's sign-in.
//!
//! An access token is checked without a statement; a refresh token and userinfo read the session.
//! Invariant: a client learns of its own tokens only, unless it was registered to ask about all (`tokens:introspect`).

use std::net::IpAddr;

use platform::auth::{AuthError, Claims, TOKEN_AUDIENCE};
use platform::outbox;
use serde_json::{Value, json};

use super::client::Client;
use super::fault::{Failure, Fault, FaultKind};
use super::id_token::Hint;
use super::scope::{Scope, Scopes};
use super::sql;
use crate::audit::{self, Action, Actor, Behest, Entry, Origin};
use crate::citizen::CitizenId;
use crate::error::Error;
use crate::session::{self, BROWSER, EndReason, RefreshToken, Session, SessionId};
use crate::{Identity, SCHEMA, revocation};

/// The longest token that is looked at, in bytes.
const MAX_TOKEN: usize = 4_096;

impl Identity {
    /// The subject that a citizen is for a client of a sector.
    pub(crate) fn subject(&self, citizen: CitizenId, sector: Option<&str>) -> uuid::Uuid {
        sector.map_or_else(|| citizen.uuid(), |sector| self.vault.pairwise(sector, citizen.uuid()))
    }

    /// What a token says, for a client that asks; `{"active":false}` for all that is not good or not its to know.
    pub(crate) async fn introspect(&self, asker: &Client, token: &str) -> Result<Value, Error> {
        let inactive = json!({ "active": false });
        let may_know = |client_id: &str| client_id == asker.id.to_string() || asker.scopes.has(Scope::TokensIntrospect);
        if let Some(claims) = self.access_claims(token).await? {
            return Ok(if may_know(&claims.client_id) { described(&claims) } else { inactive });
        }
        let Some((session, _)) = self.held(token).await?.filter(|(_, alive)| *alive) else { return Ok(inactive) };
        if !may_know(&session.client) {
            return Ok(inactive);
        }
        Ok(json!({
            "active": true,
            "token_type": "refresh_token",
            "client_id": session.client,
            "sub": self.subject(session.citizen, session.sector.as_deref()),
            "scope": session.scope,
            "exp": session.idle_expires_at.timestamp(),
            "iat": session.rotated_at.timestamp(),
            "auth_time": session.authenticated_at.timestamp(),
            "acr": session.acr,
            "iss": self.issuer,
        }))
    }

    /// Ends what a token belongs to, for the client that holds it; nothing happens when the token is not good.
    pub(crate) async fn revoke_token(
        &self,
        client: &Client,
        token: &str,
        address: Option<IpAddr>,
    ) -> Result<(), Failure> {
        let (id, own) = match self.access_claims(token).await? {
            Some(claims) if claims.is_of_client() => {
                own(client, &claims.client_id)?;
                return Ok(self.cut_off(client, claims.sid.into(), address).await?);
            }
            Some(claims) => (claims.sid.into(), claims.client_id),
            None => match self.held(token).await? {
                Some((session, _)) => (session.id, session.client),
                None => return Ok(()),
            },
        };
        self::own(client, &own)?;
        let now = self.now();
        let mut tx = platform::db::begin(&self.pool).await?;
        let Some(session) = session::lock(&mut tx, id, now).await?.filter(|session| !session.ended) else {
            return Ok(());
        };
        let origin = Origin { address, session: None, device: Some(session.device) };
        let reason = EndReason::TokenRevoked;
        let entry = Entry::of(session.citizen, Action::SessionEnd, session.id, &self.source(origin))
            .because(reason.as_str())
            .by_service(&format!("client {}", client.id));
        let ended = self.end_locked(&mut tx, &session, reason, entry, now).await?;
        tx.commit().await?;
        self.forget_now(&ended);
        Ok(())
    }

    /// Refuses a client's own token from now on; nothing happens when it is refused already.
    async fn cut_off(&self, client: &Client, id: SessionId, address: Option<IpAddr>) -> Result<(), Error> {
        let now = self.now();
        let forget_at = revocation::forget_at(&self.config.lifetimes, now);
        let mut tx = platform::db::begin(&self.pool).await?;
        // Under the head's lock, so that two at once give one revocation.
        revocation::take_positions(&mut tx, 0).await?;
        if sql::is_revoked(&mut tx, id).await? {
            return Ok(());
        }
        let revoked = session::revoke(&mut tx, &[id], forget_at, now).await?;
        let behest = Behest {
            actor: Actor::Service(format!("client {}", client.id)),
            source: self.source(Origin { address, session: None, device: None }),
            reason: EndReason::TokenRevoked.as_str().to_owned(),
        };
        audit::append(&mut tx, &[Entry::at(&behest, Action::SessionEnd, id)], now).await?;
        tx.commit().await?;
        self.forget_now(&revoked);
        Ok(())
    }

    /// What a client may know of its citizen (`sub`, and by scope).
    pub(crate) async fn userinfo(&self, token: &str) -> Result<Value, Failure> {
        let invalid = Fault::new(FaultKind::InvalidToken, "the access token is not good");
        let claims = self.access_claims(token).await?.ok_or(invalid)?;
        let scopes = Scopes::parse(&claims.scope);
        if claims.is_of_client() || !scopes.has(Scope::OpenId) {
            return Err(Fault::new(FaultKind::InsufficientScope, "the access token was not granted openid").into());
        }
        let session = session::find(&mut *self.pool.acquire().await?, claims.sid.into(), self.now()).await?;
        let session = session.filter(|session| !session.ended).ok_or(invalid)?;
        let client = self.client(&session.client).await?.ok_or(invalid)?;
        let scopes = scopes.common(&client.scopes);
        if !scopes.has(Scope::OpenId) {
            return Err(invalid.into());
        }
        let citizen = self.citizen(session.citizen).await?;
        let mut info = json!({ "sub": claims.sub });
        if scopes.has(Scope::Profile) {
            info["name"] = json!(citizen.display_name);
            info["locale"] = json!(citizen.language.tag());
        }
        if let Some(phone) = citizen.phone.filter(|_| scopes.has(Scope::Phone)) {
            info["phone_number"] = json!(phone.e164());
            info["phone_number_verified"] = json!(true);
        }
        if scopes.has(Scope::Tier) {
            info["tier"] = json!(citizen.tier.number());
        }
        if info["name"].is_null() {
            info.as_object_mut().expect("made above").remove("name");
        }
        Ok(info)
    }

    /// The session of a browser's cookie, while somebody is signed in there.
    pub(crate) async fn browser_session(&self, cookie: &str) -> Result<Option<Session>, Error> {
        let found = self.held(cookie).await?;
        Ok(found.filter(|(session, alive)| *alive && session.client == BROWSER).map(|(session, _)| session))
    }

    /// Signs somebody out of a browser: ends its session, and what clients got under it for as long as it lasts.
    pub(crate) async fn sign_out_browser(&self, session: &Session, origin: Origin) -> Result<(), Error> {
        let now = self.now();
        let mut tx = platform::db::begin(&self.pool).await?;
        let reason = EndReason::SignedOut;
        let ended = sql::end_of_browser(&mut tx, (session.citizen, session.device), reason, now).await?;
        self.meter.sessions_ended(reason.as_str(), ended.len());
        let (revoked, events) = self.revoke(&mut tx, session.citizen, &ended, now).await?;
        let source = self.source(origin);
        let end = |id| Entry::of(session.citizen, Action::SessionEnd, id, &source).because(reason.as_str());
        let entries: Vec<Entry> = ended.iter().map(end).collect();
        audit::append(&mut tx, &entries, now).await?;
        outbox::append(&mut tx, SCHEMA, now, &events).await?;
        tx.commit().await?;
        self.forget_now(&revoked);
        Ok(())
    }

    /// Whether a client's ID token was made of the sign-in that a browser has, or of one on the same browser by the same citizen.
    pub(crate) async fn is_meant(&self, hint: &Hint, browser: &Session) -> Result<bool, Error> {
        let session = session::find(&mut *self.pool.acquire().await?, hint.sid.into(), self.now()).await?;
        Ok(session.is_some_and(|session| {
            session.client == hint.aud && session.citizen == browser.citizen && session.device == browser.device
        }))
    }

    /// The claims of an access token that is good for the city's services or for the provider.
    async fn access_claims(&self, token: &str) -> Result<Option<Claims>, Error> {
        if token.len() > MAX_TOKEN || !token.contains('.') {
            return Ok(None);
        }
        for audience in [self.issuer.as_str(), TOKEN_AUDIENCE] {
            match self.verifier.verify_claims(token, audience).await {
                Ok(claims) => return Ok(Some(claims)),
                Err(AuthError::NoKeys) => return Err(Error::NoSigningKey),
                Err(_) => {}
            }
        }
        Ok(None)
    }

    /// The session that a refresh token belongs to, and whether the token is its newest and the session alive.
    pub(super) async fn held(&self, token: &str) -> Result<Option<(Session, bool)>, Error> {
        let Some(RefreshToken { session, generation, salt }) = self.session_of(token) else { return Ok(None) };
        let session = session::find(&mut *self.pool.acquire().await?, session, self.now()).await?;
        let session = session.filter(|session| session.salt == salt);
        let now = self.now();
        Ok(session.map(|session| {
            let alive = !session.ended && session.generation == generation && now < session.idle_expires_at;
            (session, alive)
        }))
    }
}

/// Refuses a client that brings another's token (RFC 7009, section 2.1).
fn own(client: &Client, holder: &str) -> Result<(), Fault> {
    if holder == client.id.to_string() { Ok(()) } else { Err(Fault::grant()) }
}

fn described(claims: &Claims) -> Value {
    let mut answer = serde_json::to_value(claims).expect("claims are plain data");
    answer["active"] = json!(true);
    answer["token_type"] = json!("Bearer");
    answer
}

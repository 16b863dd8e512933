//! Authorisation codes (RFC 6749, sections 4.1.2 and 4.1.3): given out, and exchanged once.
//!
//! | step | round trips |
//! | --- | --- |
//! | give | 1 |
//! | exchange | one transaction: use the code up, session, what the code gave, audit; the event of the city's own pages |
//!
//! A code is used up by whatever comes with it: a wrong verifier leaves no second try.
//! Invariant: one code gives one session; when it comes again, that session ends.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use platform::outbox::{self, NewEvent};
use proto::identity::v1::SessionStarted;
use tracing::{info, warn};

use super::client::{Client, ClientId, Grant, sha256};
use super::fault::{Failure, Fault};
use super::id_token::{self, Said};
use super::scope::{Scope, Scopes};
use super::sql;
use super::token::Granted;
use crate::audit::{self, Action, Entry, Origin};
use crate::citizen::CitizenId;
use crate::config::Lifetimes;
use crate::device::DeviceId;
use crate::error::Error;
use crate::session::{self, EndReason, Session, SessionId};
use crate::vault::{self, DIGEST_BYTES, same};
use crate::{Identity, SCHEMA};

/// Random bytes of a code.
const CODE_BYTES: usize = 32;
/// Verifiers have 43 to 128 characters (RFC 7636, section 4.1).
const VERIFIER_CHARACTERS: std::ops::RangeInclusive<usize> = 43..=128;

/// What a code stands for.
#[derive(Clone, Debug)]
pub(crate) struct Authorisation {
    pub client: ClientId,
    pub citizen: CitizenId,
    pub device: DeviceId,
    pub browser_session: SessionId,
    pub redirect_uri: String,
    pub scope: String,
    pub nonce: Option<String>,
    pub challenge: [u8; DIGEST_BYTES],
    pub acr: String,
    pub amr: Vec<String>,
    pub authenticated_at: DateTime<Utc>,
    /// When what it gives ends, however it is used.
    pub ends_at: DateTime<Utc>,
}

/// What a client brings to get what a code stands for.
pub(crate) struct Exchange<'a> {
    pub code: &'a str,
    pub redirect_uri: &'a str,
    pub verifier: &'a str,
    pub address: Option<IpAddr>,
}

impl Identity {
    /// Gives a code out; nothing when the citizen signed out meanwhile.
    pub(super) async fn give_code(&self, given: &Authorisation, now: DateTime<Utc>) -> Result<Option<String>, Error> {
        let code = URL_SAFE_NO_PAD.encode(vault::random::<CODE_BYTES>());
        let expires_at = now + Lifetimes::span(self.config.lifetimes.authorisation_code_seconds);
        let digest = sha256(code.as_bytes());
        let kept = sql::insert_code(&mut *self.pool.acquire().await?, &digest, given, expires_at).await?;
        Ok(kept.then_some(code))
    }

    /// Exchanges a code of a client for tokens.
    pub(crate) async fn exchange_code(&self, client: &Client, exchange: &Exchange<'_>) -> Result<Granted, Failure> {
        client.require(Grant::AuthorizationCode)?;
        // Looked for first: without them the code would be used up for nothing.
        let (signer, id_signer) = (self.signer().await?, self.signer_of(client.id_token_algorithm).await?);
        let now = self.now();
        let digest = sha256(exchange.code.as_bytes());
        let mut tx = platform::db::begin(&self.pool).await?;
        let Some(given) = sql::redeem(&mut tx, (&digest, client), now).await? else {
            drop(tx);
            self.end_replayed(client, &digest, exchange.address).await?;
            return Err(Fault::grant().into());
        };
        if given.redirect_uri != exchange.redirect_uri || !answers(exchange.verifier, &given.challenge) {
            tx.commit().await?;
            return Err(Fault::grant().into());
        }
        let session = session::insert(&mut tx, self.session_of_client(client, &given, now)).await?;
        sql::set_session(&mut tx, &digest, session.id).await?;
        let origin = Origin { address: exchange.address, session: Some(session.id), device: Some(given.device) };
        let entry = Entry::of(given.citizen, Action::SessionStart, session.id, &self.source(origin))
            .because("authorisation-code");
        audit::append(&mut tx, &[entry], now).await?;
        if client.is_first_party() {
            let started = SessionStarted {
                user_id: given.citizen.to_string(),
                session_id: session.id.to_string(),
                device_id: given.device.to_string(),
                new_device: false,
            };
            outbox::append(&mut tx, SCHEMA, now, &[NewEvent::new(given.citizen.uuid(), &started)]).await?;
        }
        let tokens = self.tokens(&signer, &session, now)?;
        let scopes = Scopes::parse(&session.scope);
        let id_token = if scopes.has(Scope::OpenId) {
            let said = Said { nonce: given.nonce.as_deref(), access_token: &tokens.access };
            let subject = self.bearer(&session).subject;
            Some(id_token::sign(&id_signer, (&self.issuer, subject), &session, said, self.id_token_life(), now)?)
        } else {
            None
        };
        tx.commit().await?;
        self.meter.session("client");
        info!(session.id = %session.id, client.id = %client.id, "code exchanged");
        Ok(Granted::new(client, tokens, id_token, scopes))
    }

    fn session_of_client(&self, client: &Client, given: &Authorisation, now: DateTime<Utc>) -> Session {
        let idle = now + Lifetimes::span(self.config.lifetimes.refresh_idle_seconds);
        Session {
            id: SessionId::generate(),
            citizen: given.citizen,
            device: given.device,
            client: client.id.to_string(),
            scope: given.scope.clone(),
            acr: given.acr.clone(),
            amr: given.amr.clone(),
            salt: vault::random(),
            generation: 0,
            authenticated_at: given.authenticated_at,
            rotated_at: now,
            idle_expires_at: given.ends_at.min(idle),
            expires_at: given.ends_at,
            ended: false,
            roles: Vec::new(),
            roles_until: None,
            role_epoch: 0,
            sector: client.sector.clone(),
        }
    }

    /// Ends what a code gave that comes again: somebody else may hold what it gave.
    async fn end_replayed(&self, client: &Client, digest: &[u8], address: Option<IpAddr>) -> Result<(), Error> {
        let now = self.now();
        let mut tx = platform::db::begin(&self.pool).await?;
        let Some(id) = sql::session_of_used(&mut tx, (digest, client.id)).await? else { return Ok(()) };
        let Some(session) = session::lock(&mut tx, id, now).await?.filter(|session| !session.ended) else {
            return Ok(());
        };
        let origin = Origin { address, session: None, device: Some(session.device) };
        let entry = Entry::of(session.citizen, Action::SessionEnd, session.id, &self.source(origin))
            .because(EndReason::CodeReplayed.as_str())
            .by_service(&self.instance);
        let ended = self.end_locked(&mut tx, &session, EndReason::CodeReplayed, entry, now).await?;
        tx.commit().await?;
        self.forget_now(&ended);
        warn!(session.id = %session.id, client.id = %client.id, "code replayed, session ended");
        Ok(())
    }
}

/// Whether a verifier is the one that a challenge was made of.
fn answers(verifier: &str, challenge: &[u8; DIGEST_BYTES]) -> bool {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    VERIFIER_CHARACTERS.contains(&verifier.len())
        && verifier.bytes().all(unreserved)
        && same(&sha256(verifier.as_bytes()), challenge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verifier_of_the_rfc_answers_its_challenge() {
        // RFC 7636, appendix B.
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        let challenge = URL_SAFE_NO_PAD.decode("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM").expect("base64url");
        let challenge = challenge.try_into().expect("32 bytes");
        assert!(answers(verifier, &challenge));
        assert!(!answers(&verifier.to_lowercase(), &challenge) && !answers("", &challenge));
        assert!(!answers("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM", &challenge), "that would be plain");
        let short = "short";
        assert!(!answers(short, &sha256(short.as_bytes())));
    }
}

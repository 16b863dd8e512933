//! Sessions: started by a one-time code or at VNeID, kept alive by refresh tokens that rotate, ended by their citizen or by a replay.
//!
//! | step | round trips |
//! | --- | --- |
//! | refresh | 1: a conditional UPDATE … RETURNING; only a token that is not the newest needs a second look, under the lock |
//! | start (`open`) | one transaction: proof, citizen, device, session, audit, events |
//! | end | one transaction: session, revocation, audit, event (`end`) |
//!
//! Each of them reads the citizen's roles in the statement that makes the tokens' row.
//!
//! Lock order: challenge, citizen, session, revocation head, audit head, outbox. Signing happens before the commit, so that an
//! answer without a token never leaves a session behind.
//! Invariants: a family has one newest token; a replay ends that family and no other.

pub(crate) mod access_token;
mod end;
mod open;
mod refresh_token;
mod rule;
mod sql;

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use platform::typed_id;
use tracing::warn;

pub(crate) use self::end::{EndReason, Revoked};
pub(crate) use self::open::{ACR_CODE, ACR_VNEID, Arrival, Opened, Opening, Seat};
pub(crate) use self::refresh_token::{RefreshToken, Salt};
use self::rule::{Decision, Family};
pub(crate) use self::sql::{end_of_client, find, insert, lock, prune, revoke};
use crate::Identity;
use crate::audit::{Action, Entry, Origin};
use crate::citizen::CitizenId;
use crate::config::Lifetimes;
use crate::device::DeviceId;
use crate::error::Error;

typed_id! {
    /// A session; `sid` in tokens.
    pub struct SessionId;
}

/// The client of first-party apps.
pub(crate) const APP: &str = "app";
/// The client of sign-ins at the hosted page; their refresh token is the cookie, and never rotates.
pub(crate) const BROWSER: &str = "browser";
/// Tokens for a client.
pub(crate) struct Tokens {
    pub access: String,
    pub refresh: String,
    pub expires_in_s: u32,
}

/// A session as its tokens need it.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub id: SessionId,
    pub citizen: CitizenId,
    pub device: DeviceId,
    pub client: String,
    pub scope: String,
    pub acr: String,
    pub amr: Vec<String>,
    pub salt: Salt,
    pub generation: u32,
    pub authenticated_at: DateTime<Utc>,
    pub rotated_at: DateTime<Utc>,
    pub idle_expires_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
    pub ended: bool,
    /// What its citizen holds, as tokens say it.
    pub roles: Vec<String>,
    /// When the first of them ends by itself.
    pub roles_until: Option<DateTime<Utc>>,
    /// How many roles were taken from them, seen at the same moment.
    pub role_epoch: u32,
    /// Within which its tokens name the citizen by a subject of their own; `None` where they say the citizen's id.
    pub sector: Option<String>,
}

impl Identity {
    /// Exchanges an app's refresh token for its successor and a new access token.
    pub(crate) async fn refresh(&self, text: &str, address: Option<IpAddr>) -> Result<Tokens, Error> {
        let (session, now) = self.rotate(APP, text, address).await?;
        self.tokens(&*self.signer().await?, &session, now)
    }

    /// Moves a client's family of refresh tokens on: the session as its next tokens need it, and the time at which that was.
    pub(crate) async fn rotate(
        &self,
        client: &str,
        text: &str,
        address: Option<IpAddr>,
    ) -> Result<(Session, DateTime<Utc>), Error> {
        // Looked for first: without it the token would be used up for nothing.
        self.signer().await?;
        let now = self.now();
        let (outcome, result) = match self.try_rotate(client, text, (address, now)).await {
            Ok((session, Decision::Repeat)) => ("repeated", Ok((session, now))),
            Ok((session, _)) => ("rotated", Ok((session, now))),
            Err(Error::RefreshReplayed) => ("replayed", Err(Error::RefreshReplayed)),
            Err(Error::RefreshInvalid) => ("invalid", Err(Error::RefreshInvalid)),
            Err(error) => ("error", Err(error)),
        };
        self.meter.refresh(outcome);
        result
    }

    async fn try_rotate(
        &self,
        client: &str,
        text: &str,
        (address, now): (Option<IpAddr>, DateTime<Utc>),
    ) -> Result<(Session, Decision), Error> {
        let token = RefreshToken::decode(text, &self.vault).ok_or(Error::RefreshInvalid)?;
        let idle = now + Lifetimes::span(self.config.lifetimes.refresh_idle_seconds);
        let rotated = sql::rotate(&mut *self.pool.acquire().await?, (client, &token), idle, now).await?;
        if let Some(session) = rotated {
            return Ok((session, Decision::Rotate));
        }
        let mut tx = platform::db::begin(&self.pool).await?;
        let session = lock(&mut tx, token.session, now).await?;
        // A token in the hands of another client moves nothing and ends nothing.
        let session = session.filter(|session| session.salt == token.salt && session.client == client);
        let session = session.ok_or(Error::RefreshInvalid)?;
        let grace = Lifetimes::span(self.config.lifetimes.refresh_grace_seconds);
        match rule::decide(&session.family(), token.generation, grace, now) {
            // The UPDATE above waited for somebody who then gave up: the token is the newest after all.
            Decision::Rotate => {
                let session = sql::rotate(&mut tx, (client, &token), idle, now).await?.ok_or(Error::RefreshInvalid)?;
                tx.commit().await?;
                Ok((session, Decision::Rotate))
            }
            Decision::Repeat => Ok((session, Decision::Repeat)),
            Decision::Replay => {
                let origin = Origin { address, session: None, device: Some(session.device) };
                let entry = Entry::of(session.citizen, Action::SessionEnd, session.id, &self.source(origin))
                    .because(EndReason::Replayed.as_str())
                    .by_service(&self.instance);
                let ended = self.end_locked(&mut tx, &session, EndReason::Replayed, entry, now).await?;
                tx.commit().await?;
                self.forget_now(&ended);
                warn!(session.id = %session.id, citizen.id = %session.citizen, "refresh token replayed, session ended");
                Err(Error::RefreshReplayed)
            }
            Decision::Ended | Decision::Expired | Decision::Ahead => Err(Error::RefreshInvalid),
        }
    }

    pub(crate) fn tokens(
        &self,
        signer: &crate::key::Signer,
        session: &Session,
        now: DateTime<Utc>,
    ) -> Result<Tokens, Error> {
        let lifetime_s = self.config.lifetimes.access_token_seconds;
        let (access, expires_in_s) = access_token::sign(signer, session, &self.bearer(session), lifetime_s, now)?;
        let refresh = RefreshToken { session: session.id, generation: session.generation, salt: session.salt };
        Ok(Tokens { access, refresh: refresh.encode(&self.vault), expires_in_s })
    }

    /// The session that a token of ours names, whatever became of it; nothing for any other text.
    ///
    /// Rotates nothing: for cookies of browsers, and for clients that ask about a token or give it back.
    pub(crate) fn session_of(&self, text: &str) -> Option<RefreshToken> {
        RefreshToken::decode(text, &self.vault)
    }

    /// The device that a session runs on.
    pub(crate) async fn session_device(&self, citizen: CitizenId, id: SessionId) -> Result<DeviceId, Error> {
        let device = sql::device_of(&mut *self.pool.acquire().await?, citizen, id).await?;
        device.ok_or(Error::NotFound)
    }
}

impl Session {
    fn family(&self) -> Family {
        Family {
            generation: self.generation,
            rotated_at: self.rotated_at,
            expires_at: self.idle_expires_at,
            ended: self.ended,
        }
    }
}

//! Sessions: started by a one-time code, kept alive by refresh tokens that rotate, ended by their citizen or by a replay.
//!
//! | step | round trips |
//! | --- | --- |
//! | refresh | 1: a conditional UPDATE … RETURNING; only a token that is not the newest needs a second look, under the lock |
//! | start | one transaction: challenge, citizen, device, session, audit, events |
//! | end | one transaction: session, revocation, audit, event (`end`) |
//!
//! Each of them reads the citizen's roles in the statement that makes the tokens' row.
//!
//! Lock order: challenge, citizen, session, revocation head, audit head, outbox. Signing happens before the commit, so that an
//! answer without a token never leaves a session behind.
//! Invariants: a family has one newest token; a replay ends that family and no other.

pub(crate) mod access_token;
mod end;
mod refresh_token;
mod rule;
mod sql;

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use platform::outbox::{self, NewEvent};
use platform::typed_id;
use proto::identity::v1::{CitizenRegistered, DeviceAdded, SessionStarted};
use sqlx::PgConnection;
use tracing::{info, warn};

pub(crate) use self::end::{EndReason, Revoked};
pub(crate) use self::refresh_token::{RefreshToken, Salt};
use self::rule::{Decision, Family};
pub(crate) use self::sql::{end_of_client, find, insert, lock, prune, revoke};
use crate::audit::{self, Action, Entry, Origin};
use crate::challenge::{Attempt, ChallengeId, Code, Proved, Purpose};
use crate::citizen::{Citizen, CitizenId};
use crate::config::Lifetimes;
use crate::device::{self, Announcement, DeviceId, DeviceName};
use crate::error::Error;
use crate::{Identity, SCHEMA, vault};

typed_id! {
    /// A session; `sid` in tokens.
    pub struct SessionId;
}

/// The client of first-party apps.
pub(crate) const APP: &str = "app";
/// The client of sign-ins at the hosted page; their refresh token is the cookie, and never rotates.
pub(crate) const BROWSER: &str = "browser";
/// Authentication context class of a sign-in by one-time code.
pub(crate) const ACR_CODE: &str = "urn:trangtien:acr:otp";
/// Authentication methods of a sign-in by one-time code over SMS (RFC 8176).
const AMR_CODE: [&str; 2] = ["otp", "sms"];

/// Where somebody signs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seat {
    /// In a first-party app.
    App,
    /// At the hosted page, in a browser.
    Browser,
}

impl Seat {
    fn client(self) -> &'static str {
        match self {
            Self::App => APP,
            Self::Browser => BROWSER,
        }
    }
}

/// A sign-in by one-time code.
#[derive(Clone, Debug)]
pub(crate) struct Opening {
    pub seat: Seat,
    pub challenge: ChallengeId,
    pub code: Code,
    /// The device that asked for the code, when the app does not say.
    pub device: Option<DeviceId>,
    pub device_name: DeviceName,
    pub public_key: Option<Vec<u8>>,
    /// Where it came from, if the transport says.
    pub address: Option<IpAddr>,
}

/// Tokens for a client.
pub(crate) struct Tokens {
    pub access: String,
    pub refresh: String,
    pub expires_in_s: u32,
}

/// A session that began.
pub(crate) struct Opened {
    pub tokens: Tokens,
    pub citizen: Citizen,
    pub new_citizen: bool,
}

/// What starting a session did, and what is to be told of it.
struct Started {
    session: Session,
    new_device: bool,
    /// The last tells of the session itself.
    acts: Vec<Entry>,
    events: Vec<NewEvent>,
    ended: Vec<Revoked>,
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
    /// Starts a session.
    pub(crate) async fn open_session(&self, opening: Opening) -> Result<Opened, Error> {
        let now = self.now();
        // Looked for first: without it the code would be used up for nothing.
        let signer = self.signer().await?;
        let attempt = Attempt {
            challenge: opening.challenge,
            purpose: Purpose::SignIn,
            device: opening.device,
            code: opening.code.clone(),
        };
        self.admit_answer(opening.address, now).await?;
        let mut tx = platform::db::begin(&self.pool).await?;
        let proved = match self.answer_code(&mut tx, &attempt, now).await {
            Ok(proved) => proved,
            Err(error) => {
                tx.commit().await?;
                if !matches!(error, Error::CodeWrong { .. }) {
                    self.not_a_guess(opening.address, now).await;
                }
                return Err(error);
            }
        };
        let (citizen, new_citizen) = self.find_or_register(&mut tx, &proved, now).await?;
        let Started { session, new_device, mut acts, mut events, ended } =
            self.start(&mut tx, &citizen, &proved, &opening, now).await?;
        if new_citizen {
            acts.splice(0..0, acts.last().map(|start| start.like(Action::CitizenRegister, citizen.id)));
            let registered = CitizenRegistered {
                user_id: citizen.id.to_string(),
                tier: citizen.tier.number().into(),
                language: citizen.language.tag().to_owned(),
            };
            events.insert(0, NewEvent::new(citizen.id.uuid(), &registered));
        }
        if new_device {
            let added = DeviceAdded {
                user_id: citizen.id.to_string(),
                device_id: session.device.to_string(),
                session_id: session.id.to_string(),
                first: new_citizen,
            };
            events.push(NewEvent::new(citizen.id.uuid(), &added));
        }
        audit::append(&mut tx, &acts, now).await?;
        outbox::append(&mut tx, SCHEMA, now, &events).await?;
        let tokens = self.tokens(&signer, &session, now)?;
        tx.commit().await?;
        self.forget_now(&ended);
        self.answered(&proved.phone, opening.address, new_device, now).await;
        self.meter.session(if new_citizen { "new" } else { "known" });
        info!(session.id = %session.id, citizen.id = %citizen.id, new_citizen, "session started");
        Ok(Opened { tokens, citizen, new_citizen })
    }

    /// Device, former session of the device, new session; under the citizen's lock.
    async fn start(
        &self,
        tx: &mut PgConnection,
        citizen: &Citizen,
        proved: &Proved,
        opening: &Opening,
        now: DateTime<Utc>,
    ) -> Result<Started, Error> {
        let announced = Announcement {
            id: proved.device,
            name: opening.device_name.clone(),
            public_key: opening.public_key.clone(),
        };
        let (new_device, crowded_out) = device::remember(tx, citizen.id, &announced, now).await?;
        let replaced = sql::end_on_devices(
            tx,
            (citizen.id, Some(opening.seat.client())),
            &[proved.device],
            EndReason::Replaced,
            now,
        )
        .await?;
        let removed = end::end_removed(tx, citizen.id, &crowded_out, now).await?;
        let session = insert(tx, self.new_session((citizen.id, proved.device), opening.seat, now)).await?;
        let origin = Origin { address: opening.address, session: Some(session.id), device: Some(proved.device) };
        let start =
            Entry::of(citizen.id, Action::SessionStart, session.id, &self.source(origin)).because("one-time-code");
        let mut acts = Vec::new();
        acts.extend(new_device.then(|| start.like(Action::DeviceAdd, proved.device)));
        acts.extend(crowded_out.iter().map(|id| start.like(Action::DeviceRemove, id).because("crowded-out")));
        for (ended, why) in [(&replaced, EndReason::Replaced), (&removed, EndReason::DeviceRemoved)] {
            self.meter.sessions_ended(why.as_str(), ended.len());
            acts.extend(ended.iter().map(|id| start.like(Action::SessionEnd, id).because(why.as_str())));
        }
        acts.push(start);
        let (ended, mut events) = self.revoke(tx, citizen.id, &[replaced, removed].concat(), now).await?;
        let started = SessionStarted {
            user_id: citizen.id.to_string(),
            session_id: session.id.to_string(),
            device_id: proved.device.to_string(),
            new_device,
        };
        events.push(NewEvent::new(citizen.id.uuid(), &started));
        Ok(Started { session, new_device, acts, events, ended })
    }

    fn new_session(&self, (citizen, device): (CitizenId, DeviceId), seat: Seat, now: DateTime<Utc>) -> Session {
        let lifetimes = &self.config.lifetimes;
        let (life_s, idle_s) = match seat {
            Seat::App => (lifetimes.session_seconds, lifetimes.refresh_idle_seconds),
            Seat::Browser => (lifetimes.browser_session_seconds, lifetimes.browser_session_seconds),
        };
        let expires_at = now + Lifetimes::span(life_s);
        Session {
            id: SessionId::generate(),
            citizen,
            device,
            client: seat.client().to_owned(),
            scope: seat.client().to_owned(),
            acr: ACR_CODE.to_owned(),
            amr: AMR_CODE.map(str::to_owned).to_vec(),
            salt: vault::random(),
            generation: 0,
            authenticated_at: now,
            rotated_at: now,
            idle_expires_at: expires_at.min(now + Lifetimes::span(idle_s)),
            expires_at,
            ended: false,
            roles: Vec::new(),
            roles_until: None,
            role_epoch: 0,
            sector: None,
        }
    }

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

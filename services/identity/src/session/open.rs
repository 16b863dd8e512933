//! How sessions begin: whoever proved who they are, by a one-time code or at VNeID, signs in on a device.
//!
//! One transaction: proof, citizen, device, session, audit, events. Signing happens before the commit, so that an answer without a
//! token never leaves a session behind. What proves who somebody is changes neither the rules of devices nor those of sessions.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use platform::outbox::{self, NewEvent};
use proto::identity::v1::{CitizenRegistered, DeviceAdded, SessionStarted};
use sqlx::{PgConnection, Postgres, Transaction};
use tracing::info;

use super::{APP, BROWSER, EndReason, Revoked, Session, SessionId, Tokens, end, insert, sql};
use crate::audit::{self, Action, Entry, Origin};
use crate::challenge::{Attempt, ChallengeId, Code, Purpose};
use crate::citizen::{Citizen, CitizenId};
use crate::config::Lifetimes;
use crate::device::{self, Announcement, DeviceId, DeviceName};
use crate::error::Error;
use crate::key::Signer;
use crate::vault::Digest;
use crate::{Identity, SCHEMA, vault, vneid};

/// Authentication context class of a sign-in by one-time code.
pub(crate) const ACR_CODE: &str = "urn:trangtien:acr:otp";
/// Authentication context class of a sign-in at VNeID.
pub(crate) const ACR_VNEID: &str = "urn:trangtien:acr:vneid";

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

/// What proved who somebody is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Code,
    Vneid,
}

impl Way {
    fn acr(self) -> &'static str {
        match self {
            Self::Code => ACR_CODE,
            Self::Vneid => ACR_VNEID,
        }
    }

    /// Authentication methods: those of RFC 8176 for a code over SMS, and the name of whoever vouches, which does not say how it knows.
    fn amr(self) -> &'static [&'static str] {
        match self {
            Self::Code => &["otp", "sms"],
            Self::Vneid => &["vneid"],
        }
    }

    /// As the audit says it.
    fn reason(self) -> &'static str {
        match self {
            Self::Code => "one-time-code",
            Self::Vneid => "vneid",
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

/// Where somebody signs in whose word is proved otherwise.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub seat: Seat,
    pub device: Announcement,
    /// Where it came from, if the transport says.
    pub address: Option<IpAddr>,
}

/// A session that began.
pub(crate) struct Opened {
    pub tokens: Tokens,
    pub citizen: Citizen,
    pub new_citizen: bool,
    new_device: bool,
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

impl Identity {
    /// Starts a session by a one-time code.
    pub(crate) async fn open_session(&self, opening: Opening) -> Result<Opened, Error> {
        let (challenge, address) = (opening.challenge, opening.address);
        let opened = self.try_open_session(opening).await;
        if let Err(error) = &opened {
            self.record_refused_code(challenge, address, error).await;
        }
        opened
    }

    async fn try_open_session(&self, opening: Opening) -> Result<Opened, Error> {
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
        let who = self.find_or_register(&mut tx, &proved, now).await?;
        let device = Announcement { id: proved.device, name: opening.device_name, public_key: opening.public_key };
        let arrival = Arrival { seat: opening.seat, device, address: opening.address };
        let opened = self.let_in(tx, who, (&arrival, Way::Code), (&signer, now)).await?;
        self.answered(&proved.phone, opening.address, opened.new_device, now).await;
        Ok(opened)
    }

    /// Starts a session of the citizen who is linked to an account at VNeID, which has vouched for them just now.
    pub(crate) async fn open_linked_session(
        &self,
        signer: &Signer,
        account: &Digest,
        arrival: &Arrival,
    ) -> Result<Opened, Error> {
        let now = self.now();
        let mut tx = platform::db::begin(&self.pool).await?;
        // A link goes with its citizen; who left in between is found by no lock.
        let linked = vneid::whose(&mut tx, account).await?.ok_or(Error::VneidNotLinked)?;
        let citizen = self.lock_citizen(&mut tx, linked).await?.ok_or(Error::VneidNotLinked)?;
        // Read again under the lock: it may have been taken back meanwhile.
        if vneid::whose(&mut tx, account).await? != Some(citizen.id) {
            return Err(Error::VneidNotLinked);
        }
        self.let_in(tx, (citizen, false), (arrival, Way::Vneid), (signer, now)).await
    }

    /// Begins the session of somebody who proved who they are, whose lock is held, and ends the transaction.
    async fn let_in(
        &self,
        mut tx: Transaction<'static, Postgres>,
        (citizen, new_citizen): (Citizen, bool),
        how: (&Arrival, Way),
        (signer, now): (&Signer, DateTime<Utc>),
    ) -> Result<Opened, Error> {
        let Started { session, new_device, mut acts, mut events, ended } =
            self.start(&mut tx, &citizen, how, now).await?;
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
        let tokens = self.tokens(signer, &session, now)?;
        tx.commit().await?;
        self.forget_now(&ended);
        self.meter.session(if new_citizen { "new" } else { "known" });
        info!(session.id = %session.id, citizen.id = %citizen.id, new_citizen, "session started");
        Ok(Opened { tokens, citizen, new_citizen, new_device })
    }

    /// Device, former session of the device, new session; under the citizen's lock.
    async fn start(
        &self,
        tx: &mut PgConnection,
        citizen: &Citizen,
        (arrival, way): (&Arrival, Way),
        now: DateTime<Utc>,
    ) -> Result<Started, Error> {
        let device = arrival.device.id;
        let (new_device, crowded_out) = device::remember(tx, citizen, &arrival.device, now).await?;
        let whose = (citizen.id, Some(arrival.seat.client()));
        let replaced = sql::end_on_devices(tx, whose, &[device], EndReason::Replaced, now).await?;
        let removed = end::end_removed(tx, citizen.id, &crowded_out, now).await?;
        let session = insert(tx, self.new_session((citizen.id, device), (arrival.seat, way), now)).await?;
        let origin = Origin { address: arrival.address, session: Some(session.id), device: Some(device) };
        let start = Entry::of(citizen.id, Action::SessionStart, session.id, &self.source(origin)).because(way.reason());
        let mut acts = Vec::new();
        acts.extend(new_device.then(|| start.like(Action::DeviceAdd, device)));
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
            device_id: device.to_string(),
            new_device,
        };
        events.push(NewEvent::new(citizen.id.uuid(), &started));
        Ok(Started { session, new_device, acts, events, ended })
    }

    fn new_session(
        &self,
        (citizen, device): (CitizenId, DeviceId),
        (seat, way): (Seat, Way),
        now: DateTime<Utc>,
    ) -> Session {
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
            acr: way.acr().to_owned(),
            amr: way.amr().iter().map(|&method| method.to_owned()).collect(),
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
}

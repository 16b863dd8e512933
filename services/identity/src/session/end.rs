//! How a session ends before its time, and what others must know of it.
//!
//! Lock order: session, authorisation, session, revocation head, audit head, outbox.
//! Invariant: every session that ends before its time has a revocation until its last access token has expired, an event,
//! and a record of who ended it and why.

use chrono::{DateTime, Utc};
use platform::auth;
use platform::outbox::{self, NewEvent};
use proto::identity::v1::SessionRevoked;
use sqlx::PgConnection;

use super::{Session, SessionId, sql};
use crate::audit::{self, Action, Entry, Origin};
use crate::citizen::CitizenId;
use crate::device::DeviceId;
use crate::error::Error;
use crate::{Identity, SCHEMA, openid, revocation};

/// Why a session ended before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndReason {
    SignedOut,
    DeviceRemoved,
    /// Another sign-in on the same device.
    Replaced,
    /// A refresh token came twice.
    Replayed,
    /// An authorisation code came twice: what it gave ends.
    CodeReplayed,
    /// Its client gave it back.
    TokenRevoked,
    /// Its citizen took back what they let the client know.
    ConsentWithdrawn,
    /// Its client was disabled.
    ClientDisabled,
}

impl EndReason {
    /// As it is stored and counted.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::SignedOut => "signed-out",
            Self::DeviceRemoved => "device-removed",
            Self::Replaced => "replaced",
            Self::Replayed => "replayed",
            Self::CodeReplayed => "code-replayed",
            Self::TokenRevoked => "token-revoked",
            Self::ConsentWithdrawn => "consent-withdrawn",
            Self::ClientDisabled => "client-disabled",
        }
    }
}

/// A session that was ended, for whoever checks tokens in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Revoked {
    pub session: SessionId,
    pub position: i64,
    pub forget_at: DateTime<Utc>,
}

/// Ends all sessions on devices of a citizen that are removed, and uses up the codes that wait there.
///
/// The sessions of browsers first, so that no code is given any more; in the end what a code gave meanwhile.
pub(super) async fn end_removed(
    tx: &mut PgConnection,
    citizen: CitizenId,
    devices: &[DeviceId],
    now: DateTime<Utc>,
) -> Result<Vec<SessionId>, sqlx::Error> {
    let reason = EndReason::DeviceRemoved;
    let mut ended = sql::end_on_devices(tx, (citizen, None), devices, reason, now).await?;
    openid::use_up_codes(tx, citizen, devices, now).await?;
    ended.extend(sql::end_on_devices(tx, (citizen, None), devices, reason, now).await?);
    Ok(ended)
}

impl Identity {
    /// Ends a session at its citizen's wish; nothing happens when it has ended before.
    pub(crate) async fn sign_out(&self, citizen: CitizenId, id: SessionId, origin: Origin) -> Result<(), Error> {
        let now = self.now();
        let mut tx = platform::db::begin(&self.pool).await?;
        let session =
            super::lock(&mut tx, id, now).await?.filter(|session| session.citizen == citizen && !session.ended);
        let Some(session) = session else { return Ok(()) };
        let reason = EndReason::SignedOut;
        let entry = Entry::of(citizen, Action::SessionEnd, id, &self.source(origin)).because(reason.as_str());
        let ended = self.end_locked(&mut tx, &session, reason, entry, now).await?;
        tx.commit().await?;
        self.forget_now(&ended);
        Ok(())
    }

    /// Ends the session on a device of a citizen that is removed, which `removal` tells of.
    pub(crate) async fn end_device_session(
        &self,
        tx: &mut PgConnection,
        citizen: CitizenId,
        (device, removal): (DeviceId, Entry),
        now: DateTime<Utc>,
    ) -> Result<Vec<Revoked>, Error> {
        let reason = EndReason::DeviceRemoved;
        let ended = end_removed(tx, citizen, &[device], now).await?;
        self.meter.sessions_ended(reason.as_str(), ended.len());
        let (revoked, events) = self.revoke(tx, citizen, &ended, now).await?;
        let ends = ended.iter().map(|session| removal.like(Action::SessionEnd, session).because(reason.as_str()));
        let entries: Vec<Entry> = std::iter::once(removal.clone()).chain(ends).collect();
        audit::append(tx, &entries, now).await?;
        outbox::append(tx, SCHEMA, now, &events).await?;
        Ok(revoked)
    }

    /// Ends a locked session, which `entry` tells of.
    pub(crate) async fn end_locked(
        &self,
        tx: &mut PgConnection,
        session: &Session,
        reason: EndReason,
        entry: Entry,
        now: DateTime<Utc>,
    ) -> Result<Vec<Revoked>, Error> {
        sql::end(tx, session.id, reason, now).await?;
        self.meter.sessions_ended(reason.as_str(), 1);
        let (revoked, events) = self.revoke(tx, session.citizen, &[session.id], now).await?;
        audit::append(tx, &[entry], now).await?;
        outbox::append(tx, SCHEMA, now, &events).await?;
        Ok(revoked)
    }

    /// Gives each ended session its place among the revocations and the event that tells of it.
    pub(crate) async fn revoke(
        &self,
        tx: &mut PgConnection,
        citizen: CitizenId,
        sessions: &[SessionId],
        now: DateTime<Utc>,
    ) -> Result<(Vec<Revoked>, Vec<NewEvent>), Error> {
        if sessions.is_empty() {
            return Ok((Vec::new(), Vec::new()));
        }
        let forget_at = revocation::forget_at(&self.config.lifetimes, now);
        let revoked = sql::revoke(tx, sessions, forget_at, now).await?;
        let event = |revoked: &Revoked| {
            let event = SessionRevoked {
                user_id: citizen.to_string(),
                session_id: revoked.session.to_string(),
                position: revoked.position,
                forget_at: revoked.forget_at.timestamp(),
            };
            NewEvent::new(citizen.uuid(), &event)
        };
        let events = revoked.iter().map(event).collect();
        Ok((revoked, events))
    }

    /// Refuses the tokens of ended sessions in this process at once.
    pub(crate) fn forget_now(&self, revoked: &[Revoked]) {
        for one in revoked {
            self.verifier.revoke(auth::Revoked::Session(one.session.uuid()), one.forget_at.timestamp());
        }
    }
}

//! The payment PIN: set, changed, reset and checked.
//!
//! A check is counted in its own short transaction before the hash is computed, so that checks at the same time can't
//! share a count and no lock is held while hashing. The third wrong PIN starts a wait that doubles.
//! The first PIN needs a recent sign-in; another one needs the current PIN, or a one-time code to the citizen's own number,
//! after which the PIN cools down for a day.
//! A hash is dear: it is made after everything cheap was looked at, and a citizen sets so many PINs at most (`caps.pin`).

mod delay;
mod hash;
mod sql;
pub(crate) mod strength;

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use platform::auth::Principal;
use platform::outbox::{self, NewEvent};
use proto::identity::v1::PinChanged;
use sqlx::PgConnection;

use self::delay::Tally;
pub(crate) use self::hash::Hasher;
use self::strength::Pin;
use crate::audit::{self, Action, Entry, Origin};
use crate::caps::{self, Allowance, Bucket};
use crate::challenge::{Attempt, ChallengeId, Code, Look, Purpose};
use crate::citizen::{self, Citizen, CitizenId};
use crate::config::Lifetimes;
use crate::error::{Error, seconds_until};
use crate::session::SessionId;
use crate::vault::Digest;
use crate::{Identity, SCHEMA};

/// What gives the right to set a PIN.
#[derive(Clone, Debug)]
pub(crate) enum Proof {
    /// A recent sign-in; for the first PIN only.
    FreshSession,
    /// The PIN that holds now.
    Current(Pin),
    /// A one-time code for `pin-reset`, sent to the citizen's own number.
    Code(ChallengeId, Code),
}

/// A PIN that was set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PinSet {
    pub set_at: DateTime<Utc>,
    pub cooling_until: Option<DateTime<Utc>>,
}

/// How a PIN comes to be, as the city is told, and its record.
struct Deed {
    way: &'static str,
    session: SessionId,
    entry: Entry,
}

/// A PIN as it is stored.
struct Row {
    hash: String,
    tally: Tally,
}

impl Identity {
    /// Sets the PIN of the caller.
    pub(crate) async fn set_pin(
        &self,
        caller: &Principal,
        pin: &Pin,
        proof: Proof,
        address: Option<IpAddr>,
    ) -> Result<PinSet, Error> {
        let citizen = CitizenId::from(caller.subject);
        let origin = Origin { address, session: Some(caller.session.into()), device: None };
        let deed = |way, action, why| {
            let entry = Entry::of(citizen, action, "", &self.source(origin)).because(why);
            Deed { way, session: caller.session.into(), entry }
        };
        match proof {
            Proof::FreshSession => {
                self.set_first_pin(caller, pin, deed("first", Action::PinSet, "fresh-session")).await
            }
            Proof::Current(current) => {
                let deed = deed("changed", Action::PinChange, "current-pin");
                self.change_pin(citizen, &current, pin, deed).await
            }
            Proof::Code(challenge, code) => {
                let deed = deed("reset", Action::PinReset, "one-time-code");
                self.reset_pin((caller, address), pin, (challenge, code), deed).await
            }
        }
    }

    async fn set_first_pin(&self, caller: &Principal, pin: &Pin, deed: Deed) -> Result<PinSet, Error> {
        let citizen = CitizenId::from(caller.subject);
        let mut conn = self.pool.acquire().await?;
        if sql::exists(&mut conn, citizen).await? {
            return Err(Error::PinProofRequired);
        }
        drop(conn);
        self.require_fresh(caller)?;
        let now = self.now();
        let hash = self.new_hash(citizen, pin).await?;
        let mut tx = platform::db::begin(&self.pool).await?;
        citizen::lock(&mut tx, citizen).await?.ok_or(Error::NotFound)?;
        if !sql::insert(&mut tx, citizen, &hash, now).await? {
            return Err(Error::PinProofRequired);
        }
        let set = PinSet { set_at: now, cooling_until: None };
        record(&mut tx, citizen, deed, set).await?;
        tx.commit().await?;
        Ok(set)
    }

    async fn change_pin(&self, citizen: CitizenId, current: &Pin, pin: &Pin, deed: Deed) -> Result<PinSet, Error> {
        let old_hash = self.check_pin(citizen, current).await?;
        let hash = self.new_hash(citizen, pin).await?;
        let now = self.now();
        let mut tx = platform::db::begin(&self.pool).await?;
        let cooling_until = sql::replace(&mut tx, citizen, &old_hash, &hash, now).await?.ok_or(Error::PinChanged)?;
        let set = PinSet { set_at: now, cooling_until };
        record(&mut tx, citizen, deed, set).await?;
        tx.commit().await?;
        Ok(set)
    }

    async fn reset_pin(
        &self,
        (caller, address): (&Principal, Option<IpAddr>),
        pin: &Pin,
        proof: (ChallengeId, Code),
        deed: Deed,
    ) -> Result<PinSet, Error> {
        let citizen = CitizenId::from(caller.subject);
        let device = self.session_device(citizen, caller.session.into()).await?;
        let phone = self.citizen(citizen).await?.phone.ok_or(Error::ChallengeUnknown)?;
        let own_digest = self.vault.phone_digest(phone.e164());
        let attempt = Attempt { challenge: proof.0, purpose: Purpose::PinReset, device: Some(device), code: proof.1 };
        // A guess like those at codes to sign in by: an address has so many.
        self.admit_answer(address, self.now()).await?;
        let set = self.answer_reset((citizen, &own_digest), pin, &attempt, deed).await;
        match &set {
            Ok(_) => self.answered(&phone, address, false, self.now()).await,
            Err(Error::CodeWrong { .. }) => {}
            Err(_) => self.not_a_guess(address, self.now()).await,
        }
        set
    }

    /// Sets a PIN by a code to the citizen's own number.
    async fn answer_reset(
        &self,
        (citizen, own_digest): (CitizenId, &Digest),
        pin: &Pin,
        attempt: &Attempt,
        deed: Deed,
    ) -> Result<PinSet, Error> {
        // Hashed before the challenge is locked, so that no lock is held meanwhile, and only for a code that is right:
        // whoever guesses or invents challenges costs a read.
        let hash = match self.look_at_code(attempt, own_digest, self.now()).await? {
            Look::Right => Some(self.new_hash(citizen, pin).await?),
            Look::Bad => None,
            Look::Foreign => return Err(Error::ChallengeUnknown),
        };
        let now = self.now();
        let mut tx = platform::db::begin(&self.pool).await?;
        let answered = self.answer_code(&mut tx, attempt, now).await;
        let (Ok(_), Some(hash)) = (&answered, hash) else {
            tx.commit().await?;
            return Err(answered.err().unwrap_or(Error::ChallengeUnknown));
        };
        citizen::lock(&mut tx, citizen).await?.ok_or(Error::NotFound)?;
        let cooling_until = now + Lifetimes::span(self.config.lifetimes.pin_cooling_seconds);
        sql::reset(&mut tx, citizen, &hash, cooling_until, now).await?;
        let set = PinSet { set_at: now, cooling_until: Some(cooling_until) };
        record(&mut tx, citizen, deed, set).await?;
        tx.commit().await?;
        Ok(set)
    }

    /// The hash of a PIN that is to be set. Each costs memory and time, so that a citizen has only so many.
    async fn new_hash(&self, citizen: CitizenId, pin: &Pin) -> Result<String, Error> {
        let whose = self.vault.cap_digest(citizen.uuid().as_bytes());
        let bucket = Bucket { kind: "pin", whose, cap: self.config.caps.pin };
        match caps::fill(&self.redis, &[bucket], self.now()).await {
            Ok(Allowance::Allowed) => {}
            Ok(Allowance::Refused { retry_s, .. }) => return Err(Error::PinCapped { retry_s }),
            Err(Error::CapsAway(source)) => return Err(Error::PinCapAway(source)),
            Err(error) => return Err(error),
        }
        self.hasher.hash(self.vault.pepper_pin(citizen.uuid(), pin.expose())).await
    }

    /// Checks a PIN, counting the check before it is made. Gives the stored hash that it was right for.
    pub(crate) async fn check_pin(&self, citizen: CitizenId, pin: &Pin) -> Result<String, Error> {
        // A place is taken first: a check that can't be made is not counted.
        let place = self.hasher.place().await?;
        let reserved = self.reserve_check(citizen).await?;
        let right = place.verify(self.vault.pepper_pin(citizen.uuid(), pin.expose()), reserved.hash.clone()).await?;
        if !right {
            self.meter.pin_check("wrong");
            return Err(Error::PinWrong { retry_at: reserved.tally.retry_at });
        }
        self.meter.pin_check("right");
        sql::clear_tally(&mut *self.pool.acquire().await?, citizen, &reserved.hash).await?;
        Ok(reserved.hash)
    }

    /// Refuses a PIN that cools down: whoever took a number over and reset it proves nothing with it for a while.
    pub(crate) async fn refuse_cooling_pin(&self, citizen: CitizenId) -> Result<(), Error> {
        match sql::cooling_until(&mut *self.pool.acquire().await?, citizen).await? {
            Some(until) if until > self.now() => Err(Error::PinCooling { until }),
            _ => Ok(()),
        }
    }

    /// Refuses whoever did not sign in moments ago.
    pub(crate) fn require_fresh(&self, caller: &Principal) -> Result<(), Error> {
        let fresh = Lifetimes::span(self.config.lifetimes.fresh_seconds);
        if caller.authenticated_at + fresh <= self.now() { Err(Error::NotFresh) } else { Ok(()) }
    }

    /// Lets somebody add what they will sign in or prove by: they signed in moments ago, and know the PIN where one is set.
    pub(crate) async fn admit_new_credential(&self, caller: &Principal, pin: Option<&Pin>) -> Result<Citizen, Error> {
        self.require_fresh(caller)?;
        let citizen = self.citizen(caller.subject.into()).await?;
        if citizen.pin_set {
            let pin = pin.ok_or(Error::PinProofRequired)?;
            self.refuse_cooling_pin(citizen.id).await?;
            self.check_pin(citizen.id, pin).await?;
        }
        Ok(citizen)
    }

    async fn reserve_check(&self, citizen: CitizenId) -> Result<Row, Error> {
        let now = self.now();
        let mut tx = platform::db::begin(&self.pool).await?;
        let row = sql::lock(&mut tx, citizen).await?.ok_or(Error::PinNotSet)?;
        let tally = delay::reserve(row.tally, now).map_err(|retry_at| {
            self.meter.pin_check("delayed");
            Error::PinDelayed { retry_s: seconds_until(retry_at, now) }
        })?;
        sql::set_tally(&mut tx, citizen, tally).await?;
        tx.commit().await?;
        Ok(Row { hash: row.hash, tally })
    }
}

/// The record of a PIN that was set, and the word to the city; in the transaction that sets it.
async fn record(tx: &mut PgConnection, citizen: CitizenId, deed: Deed, set: PinSet) -> Result<(), Error> {
    let changed = PinChanged {
        user_id: citizen.to_string(),
        session_id: deed.session.to_string(),
        way: deed.way.to_owned(),
        cooling_until: set.cooling_until.map_or(0, |until| until.timestamp()),
    };
    audit::append(tx, &[deed.entry], set.set_at).await?;
    outbox::append(tx, SCHEMA, set.set_at, &[NewEvent::new(citizen.uuid(), &changed)]).await?;
    Ok(())
}

//! What was refused: codes, PINs, proofs and visits to VNeID that were not good. On record too, and bounded.
//!
//! The first refusal of a kind (what, whose, why) within [`WINDOW`] is a record of its own at once; those that follow are counted in
//! `identity.refusal`, by the address that they came from, and told when the window is over: one more record for each of the first
//! [`PLACES`] addresses, which says how many came from there, and one for all others together. So however often somebody tries, it makes
//! two records in an hour, and as many more as they have addresses, up to that bound; each try after the first costs one statement, which
//! waits for the chain only while a window begins or ends.
//! Tries of an address that has had its share cost the database nothing: a process counts them by itself ([`Capped`]) and hands over how
//! many they were, once a second at most and with the next of them; what a process still holds when it ends is not counted.
//! Whose: the number that a code was sent to, the caller, the account at VNeID; what is nobody's (an address that has had its tries, a
//! visit that VNeID does not vouch for) counts as one for the whole city. A challenge that never was is not counted at all: anybody can
//! invent one. Numbers that have an account and those that have none take the same steps; a record names the account's id or nobody, the
//! challenge and the device, and no number in any form.
//!
//! A refusal stands whether or not its record can be written: that is done after it, in a transaction of its own.
//! Lock order: `refusal`, then `audit_head`.

use std::future::Future;
use std::net::IpAddr;

use chrono::{DateTime, TimeDelta, Utc};
use platform::auth::Principal;
use sqlx::PgConnection;
use tracing::error;

use super::sql::Counted;
use super::tries::Tries;
#[cfg(doc)]
use super::tries::{Capped, PLACES};
use super::{Action, Actor, Behest, Entry, Fields, Origin, append_fields, sql};
use crate::Identity;
use crate::challenge::{self, ChallengeId};
use crate::citizen::CitizenId;
use crate::error::Error;
use crate::session::Arrival;
use crate::vault::Digest;

/// How long refusals of a kind are counted together.
const WINDOW: TimeDelta = TimeDelta::hours(1);

/// A refusal that is to go on record.
struct Refusal {
    /// Whose it is, in bytes that stand in the database as part of a keyed digest only.
    whose: Vec<u8>,
    entry: Entry,
    /// Those of its kind that waited for it.
    waited: Tries,
}

/// What somebody who is signed in tried; nothing when it is no try at a proof.
fn tried(error: &Error) -> Option<Action> {
    match error {
        Error::PinWrong { .. } | Error::PinDelayed { .. } | Error::PinCooling { .. } => Some(Action::PinRefuse),
        Error::DeviceSignatureWrong
        | Error::DeviceSignatureStale { .. }
        | Error::KeyCooling { .. }
        | Error::PasskeyRefused
        | Error::PasskeyChallengeUnknown => Some(Action::ProofRefuse),
        Error::CodeWrong { .. }
        | Error::CodeExhausted
        | Error::CodeExpired
        | Error::CodeUsed
        | Error::ChallengeUnknown
        | Error::AnswersCapped { .. } => Some(Action::CodeRefuse),
        Error::VneidRefused | Error::VneidStateUnknown | Error::Link(_) => Some(Action::VneidRefuse),
        _ => None,
    }
}

impl Identity {
    /// Puts it on record when a proof that the caller tried is refused.
    pub(crate) async fn on_record<T>(
        &self,
        caller: &Principal,
        address: Option<IpAddr>,
        deed: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let outcome = deed.await;
        if let Err(error) = &outcome
            && let Some(action) = tried(error)
        {
            let origin = Origin { address, session: Some(caller.session.into()), device: None };
            let entry = Entry::of(caller.subject.into(), action, "", &self.source(origin));
            let entry = entry.because(error.code().code());
            self.put_on_record(Refusal { whose: caller.subject.as_bytes().to_vec(), entry, waited: Tries::default() })
                .await;
        }
        outcome
    }

    /// Puts on record that a code to sign in was refused.
    pub(crate) async fn record_refused_code(&self, challenge: ChallengeId, address: Option<IpAddr>, error: &Error) {
        let refused = match error {
            Error::AnswersCapped { .. } => {
                let digest = |address| self.source(origin_of(address)).place().to_owned();
                let Some(waited) = self.capped.count(address, self.now(), digest) else { return };
                let origin = origin_of(address);
                Ok(Some(Refusal { waited, ..self.refused_sign_in(origin, (None, String::new()), &[], error) }))
            }
            error if tried(error) == Some(Action::CodeRefuse) => self.refused_code(challenge, address, error).await,
            _ => Ok(None),
        };
        match refused {
            Ok(Some(refusal)) => self.put_on_record(refusal).await,
            Ok(None) => {}
            Err(error) => error!(%error, "a refusal can't be put on record"),
        }
    }

    /// Puts on record that nobody was let in by VNeID; `account` is the keyed digest of the account there, if it vouched for one.
    pub(crate) async fn record_refused_visit(&self, account: Option<&Digest>, arrival: &Arrival, error: &Error) {
        if matches!(error, Error::VneidRefused | Error::VneidNotLinked) {
            let whose = account.map_or(&[][..], |account| &account[..]);
            let origin = Origin { address: arrival.address, session: None, device: Some(arrival.device.id) };
            let refusal = self.refused_sign_in(origin, (None, String::new()), whose, error);
            self.put_on_record(refusal).await;
        }
    }

    async fn refused_code(
        &self,
        challenge: ChallengeId,
        address: Option<IpAddr>,
        error: &Error,
    ) -> Result<Option<Refusal>, sqlx::Error> {
        let mut connection = self.pool.acquire().await?;
        let Some(sent) = challenge::sent_to(&mut connection, challenge).await? else { return Ok(None) };
        let origin = Origin { address, session: None, device: Some(sent.device.into()) };
        let what = (sent.citizen.map(CitizenId::from), challenge.to_string());
        Ok(Some(self.refused_sign_in(origin, what, &sent.phone_digest, error)))
    }

    fn refused_sign_in(
        &self,
        origin: Origin,
        (citizen, object): (Option<CitizenId>, String),
        whose: &[u8],
        error: &Error,
    ) -> Refusal {
        // Who it was is not known: nobody proved anything.
        let actor = Actor::Service(self.instance.clone());
        let behest = Behest { actor, source: self.source(origin), reason: error.code().code().to_owned() };
        let entry = Entry::at(&behest, Action::SignInRefuse, object);
        let entry = match citizen {
            Some(citizen) => entry.about(citizen),
            None => entry,
        };
        Refusal { whose: whose.to_vec(), entry, waited: Tries::default() }
    }

    async fn put_on_record(&self, refusal: Refusal) {
        if let Err(error) = self.try_put_on_record(&refusal).await {
            error!(%error, "a refusal can't be put on record");
        }
    }

    async fn try_put_on_record(&self, Refusal { whose, entry, waited }: &Refusal) -> Result<(), sqlx::Error> {
        let now = self.now();
        let (action, reason) = entry.what_and_why();
        let key = self.vault.refusal_digest(action, whose, reason);
        let all = waited.and_one(entry.place());
        if sql::count_refusals(&mut *self.pool.acquire().await?, &key, &all, now - WINDOW).await? {
            return Ok(());
        }
        let mut tx = platform::db::begin(&self.pool).await?;
        // What nobody has told of yet though its window is over: a new one begins here.
        let over = sql::take_refusals_of(&mut tx, &key, now - WINDOW).await?;
        let begun = sql::begin_refusals(&mut tx, &key, now).await?;
        let others = if begun { waited } else { &all };
        if others.count > 0 {
            sql::count_refusals(&mut tx, &key, others, now - WINDOW).await?;
        }
        let mut fields = self.told(&mut tx, &Vec::from_iter(over)).await?;
        fields.extend(begun.then(|| entry.fields()));
        append_fields(&mut tx, fields, now).await?;
        if begun {
            // The head's lock is held until the transaction ends: it is still at the first.
            let first = sql::lock_tip(&mut tx).await?.position;
            sql::place_refusals(&mut tx, &key, first).await?;
        }
        tx.commit().await
    }

    /// Says how many refusals of a kind there were, once their window is over; tells how many windows that were.
    pub(crate) async fn fold_refusals(&self, now: DateTime<Utc>, batch: i64) -> Result<u64, Error> {
        let mut tx = platform::db::begin(&self.pool).await?;
        let over = sql::take_refusals(&mut tx, now - WINDOW, batch).await?;
        let fields = self.told(&mut tx, &over).await?;
        append_fields(&mut tx, fields, now).await?;
        tx.commit().await?;
        Ok(over.len().try_into().unwrap_or(u64::MAX))
    }

    /// What is to be said of refusals after the first of each kind.
    async fn told(&self, tx: &mut PgConnection, over: &[Counted]) -> Result<Vec<Fields>, sqlx::Error> {
        let positions: Vec<i64> = over.iter().filter(|kind| kind.count > 1).map(|kind| kind.position).collect();
        let mut fields = Vec::new();
        for first in sql::at(tx, &positions).await? {
            let Some(kind) = over.iter().find(|kind| kind.position == first.position) else { continue };
            let later = Tries { count: kind.count - 1, places: kind.places.0.clone() };
            let minutes = WINDOW.num_minutes();
            for (place, tries) in &later.places {
                let reason = format!("{}, {tries} more within {minutes} minutes", first.fields.reason);
                fields.push(Fields { place: place.clone(), reason, ..self.by_process(&first.fields) });
            }
            let elsewhere = later.elsewhere();
            if elsewhere > 0 {
                let reason = format!(
                    "{}, {elsewhere} more from further addresses within {minutes} minutes",
                    first.fields.reason
                );
                let (channel, place) = ("schedule".to_owned(), self.instance.clone());
                fields.push(Fields { channel, place, reason, ..self.by_process(&first.fields) });
            }
        }
        Ok(fields)
    }

    /// The same, told by this process: of which sessions and devices the others were is not kept.
    fn by_process(&self, first: &Fields) -> Fields {
        let (actor_kind, actor) = ("service".to_owned(), self.instance.clone());
        Fields { actor_kind, actor, session_id: None, device_id: None, ..first.clone() }
    }
}

fn origin_of(address: Option<IpAddr>) -> Origin {
    Origin { address, session: None, device: None }
}

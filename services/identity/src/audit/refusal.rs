//! What was refused: codes, PINs, proofs and visits to VNeID that were not good. On record too, and bounded.
//!
//! The first refusal of a kind (what, whose, why) within [`WINDOW`] is a record of its own at once; those that follow are counted in
//! `identity.refusal`, and one more record says how many they were when the window is over. So however often somebody tries, it makes
//! two records in an hour, and each try after the first costs one statement, which waits for the chain only while a window begins or ends.
//! Tries of an address that has had its share cost the database nothing: a process counts them by itself and hands over how many they
//! were, once a second at most and with the next of them; what a process still holds when it ends is not counted.
//! Whose: the number that a code was sent to, the caller, the account at VNeID; what is nobody's (an address that has had its tries, a
//! visit that VNeID does not vouch for) counts as one for the whole city. A challenge that never was is not counted at all: anybody can
//! invent one. Numbers that have an account and those that have none take the same steps; a record names the account's id or nobody, the
//! challenge and the device, and no number in any form.
//!
//! A refusal stands whether or not its record can be written: that is done after it, in a transaction of its own.
//! Lock order: `refusal`, then `audit_head`.

use std::future::Future;
use std::net::IpAddr;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, TimeDelta, Utc};
use platform::auth::Principal;
use tracing::error;

use super::{Action, Actor, Behest, Entry, Fields, Origin, append_fields, append_one, sql};
use crate::Identity;
use crate::challenge::{self, ChallengeId};
use crate::citizen::CitizenId;
use crate::error::Error;
use crate::session::Arrival;
use crate::vault::Digest;

/// How long refusals of a kind are counted together.
const WINDOW: TimeDelta = TimeDelta::hours(1);

/// How often at most a process hands over what it counted by itself, in milliseconds.
const HANDED_OVER_EVERY_MS: i64 = 1_000;

/// Tries of addresses that have had their share, counted in this process.
#[derive(Debug, Default)]
pub(crate) struct Capped {
    waiting: AtomicI64,
    handed_over_ms: AtomicI64,
}

impl Capped {
    /// Counts one; how many are to be handed over now, if any.
    fn count(&self, now: DateTime<Utc>) -> Option<i64> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let (last, now) = (self.handed_over_ms.load(Ordering::Relaxed), now.timestamp_millis());
        if (now - last).abs() < HANDED_OVER_EVERY_MS {
            return None;
        }
        self.handed_over_ms.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).ok()?;
        Some(self.waiting.swap(0, Ordering::Relaxed)).filter(|waiting| *waiting > 0)
    }
}

/// A refusal that is to go on record.
struct Refusal {
    /// Whose it is, in bytes that stand in the database as part of a keyed digest only.
    whose: Vec<u8>,
    entry: Entry,
    /// How many times.
    count: i64,
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
            self.put_on_record(Refusal { whose: caller.subject.as_bytes().to_vec(), entry, count: 1 }).await;
        }
        outcome
    }

    /// Puts on record that a code to sign in was refused.
    pub(crate) async fn record_refused_code(&self, challenge: ChallengeId, address: Option<IpAddr>, error: &Error) {
        let refused = match error {
            Error::AnswersCapped { .. } => {
                let Some(count) = self.capped.count(self.now()) else { return };
                let origin = Origin { address, session: None, device: None };
                Ok(Some(Refusal { count, ..self.refused_sign_in(origin, (None, String::new()), &[], error) }))
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
        Refusal { whose: whose.to_vec(), entry, count: 1 }
    }

    async fn put_on_record(&self, refusal: Refusal) {
        if let Err(error) = self.try_put_on_record(&refusal).await {
            error!(%error, "a refusal can't be put on record");
        }
    }

    async fn try_put_on_record(&self, Refusal { whose, entry, count }: &Refusal) -> Result<(), sqlx::Error> {
        let now = self.now();
        let (action, reason) = entry.what_and_why();
        let key = self.vault.refusal_digest(action, whose, reason);
        if sql::count_refusals(&mut *self.pool.acquire().await?, &key, *count).await? {
            return Ok(());
        }
        let mut tx = platform::db::begin(&self.pool).await?;
        if sql::begin_refusals(&mut tx, &key, now).await? {
            let position = append_one(&mut tx, entry, now).await?;
            sql::place_refusals(&mut tx, &key, position).await?;
        }
        // One of them was counted by beginning.
        if *count > 1 {
            sql::count_refusals(&mut tx, &key, count - 1).await?;
        }
        tx.commit().await
    }

    /// Says how many refusals of a kind there were, once their window is over; tells how many windows that were.
    pub(crate) async fn fold_refusals(&self, now: DateTime<Utc>, batch: i64) -> Result<u64, Error> {
        let mut tx = platform::db::begin(&self.pool).await?;
        let over = sql::take_refusals(&mut tx, now - WINDOW, batch).await?;
        let counts: Vec<(i64, i64)> = over.iter().copied().filter(|(_, count)| *count > 1).collect();
        let positions: Vec<i64> = counts.iter().map(|(position, _)| *position).collect();
        let mut fields = Vec::with_capacity(counts.len());
        for first in sql::at(&mut tx, &positions).await? {
            let more =
                counts.iter().find(|(position, _)| *position == first.position).map_or(0, |(_, count)| count - 1);
            let mut folded = self.by_schedule(first.fields);
            folded.reason = format!("{}, {more} more within {} minutes", folded.reason, WINDOW.num_minutes());
            fields.push(folded);
        }
        append_fields(&mut tx, fields, now).await?;
        tx.commit().await?;
        Ok(over.len().try_into().unwrap_or(u64::MAX))
    }

    /// The same, told by this process: from wherever the others came.
    fn by_schedule(&self, first: Fields) -> Fields {
        let (actor_kind, actor) = ("service".to_owned(), self.instance.clone());
        let (channel, place) = ("schedule".to_owned(), self.instance.clone());
        Fields { actor_kind, actor, channel, place, session_id: None, device_id: None, ..first }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_counts_by_itself_is_handed_over_once_a_second_and_none_is_lost() {
        let capped = Capped::default();
        let begin: DateTime<Utc> = "2026-01-10T05:00:00Z".parse().expect("a time");
        let at = |ms| begin + TimeDelta::milliseconds(ms);
        assert_eq!(capped.count(at(0)), Some(1));
        for ms in 1..500 {
            assert_eq!(capped.count(at(ms)), None);
        }
        assert_eq!(capped.count(at(1_000)), Some(500));
        assert_eq!(capped.count(at(1_000)), None);
        assert_eq!(capped.count(at(90_000)), Some(2));
    }
}

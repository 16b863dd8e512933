//! Holds, the first half of a two-phase transfer: an amount is set aside, then posted whole or in part, or given back.
//!
//! Pure: no I/O.
//!
//! Rules:
//! - A hold ends once: posted, voided or expired. Posting a part gives back the rest.
//! - A hold past its time can't be posted any more, only voided or expired.
//! - From the moment an outside party has been asked to confirm ([`Action::Confirm`](crate::request::Action::Confirm)) a hold never expires: only a definite answer ends it.
//! - Freezing an account stops new holds on it, not the posting of one that was granted before: an outside party may rely on it already.
//! - A hold counts for limits from its opening, in the day and month of that; what it gives back is counted down there (see [`limit`](crate::limit)).
//! - An account with open holds on either side can't be closed.

use chrono::{DateTime, SubsecRound as _, Utc};
use uuid::Uuid;

use crate::account::AccountId;
use crate::limit::Class;
use crate::money::{Currency, Money};
use crate::request::Reject;
use crate::transfer::{TransferId, TransferKind};

platform::typed_id! {
    /// One hold; the caller gives it, and no two holds share it.
    pub struct HoldId;
}

/// An amount to be set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldSpec {
    /// The id, given by the caller.
    pub id: HoldId,
    /// The account that money will leave.
    pub debit: AccountId,
    /// The account that money will reach.
    pub credit: AccountId,
    /// How much at most; above zero.
    pub amount: Money,
    /// What the transfer will be for.
    pub kind: TransferKind,
    /// What it belongs to in the caller's world.
    pub reference: Uuid,
    /// When it expires, unless an outside party has been asked by then; `None` for never.
    pub expires_at: Option<DateTime<Utc>>,
}

/// The posting of a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldPosting {
    /// Which hold.
    pub hold: HoldId,
    /// How much of it; `None` for all. The rest is given back.
    pub amount: Option<Money>,
}

/// A block and its time: when something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The block.
    pub block: i64,
    /// The block's time.
    pub at: DateTime<Utc>,
}

/// A hold as the ledger has it, amounts in minor units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The id.
    pub id: HoldId,
    /// The account that money will leave.
    pub debit: AccountId,
    /// The account that money will reach.
    pub credit: AccountId,
    /// How much at most.
    pub amount: i64,
    /// The currency of both accounts.
    pub currency: Currency,
    /// The code of the transfer's kind.
    pub kind: i16,
    /// What the kind counts for in the debited account's usage.
    pub class: Option<Class>,
    /// What it belongs to in the caller's world.
    pub reference: Uuid,
    /// When it expires, if ever.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was opened.
    pub opened: Stamp,
    /// When an outside party was about to be asked; from then on it doesn't expire.
    pub confirming: Option<Stamp>,
    /// How it ended; `None` while it is open.
    pub ended: Option<(Ending, Stamp)>,
}

/// How a hold ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Money moved.
    Posted {
        /// The transfer it became.
        transfer: TransferId,
        /// How much of it.
        amount: i64,
    },
    /// Given back because the caller said so.
    Voided,
    /// Given back because its time was over.
    Expired,
}

impl Hold {
    /// The hold that a spec describes, open.
    pub fn open(spec: &HoldSpec, opened: Stamp) -> Self {
        Self {
            id: spec.id,
            debit: spec.debit,
            credit: spec.credit,
            amount: spec.amount.minor(),
            currency: spec.amount.currency(),
            kind: spec.kind.code,
            class: spec.kind.class,
            reference: spec.reference,
            expires_at: spec.expires_at.map(|at| at.trunc_subsecs(6)),
            opened,
            confirming: None,
            ended: None,
        }
    }

    /// Whether its time is over at `now` and no outside party has been asked.
    pub fn is_due(&self, now: DateTime<Utc>) -> bool {
        self.confirming.is_none() && self.expires_at.is_some_and(|expires_at| expires_at <= now)
    }

    /// How much a posting at `now` moves.
    pub(crate) fn may_post(&self, amount: Option<Money>, now: DateTime<Utc>) -> Result<i64, Reject> {
        self.must_be_live(now)?;
        let Some(amount) = amount else { return Ok(self.amount) };
        if amount.currency() != self.currency {
            return Err(Reject::CurrencyMismatch(self.debit));
        }
        if amount.minor() > self.amount {
            return Err(Reject::AmountExceedsHold(self.id));
        }
        Ok(amount.minor())
    }

    /// Whether an outside party may be asked at `now`.
    pub(crate) fn may_confirm(&self, now: DateTime<Utc>) -> Result<(), Reject> {
        self.must_be_live(now)
    }

    /// Whether it may be voided; a hold past its time may.
    pub(crate) fn may_void(&self) -> Result<(), Reject> {
        self.must_be_open()
    }

    /// Whether it may be expired at `now`.
    pub(crate) fn may_expire(&self, now: DateTime<Utc>) -> Result<(), Reject> {
        self.must_be_open()?;
        if self.is_due(now) { Ok(()) } else { Err(Reject::HoldNotDue(self.id)) }
    }

    fn must_be_open(&self) -> Result<(), Reject> {
        match self.ended {
            None => Ok(()),
            Some((Ending::Posted { .. }, _)) => Err(Reject::HoldPosted(self.id)),
            Some((Ending::Voided, _)) => Err(Reject::HoldVoided(self.id)),
            Some((Ending::Expired, _)) => Err(Reject::HoldExpired(self.id)),
        }
    }

    fn must_be_live(&self, now: DateTime<Utc>) -> Result<(), Reject> {
        self.must_be_open()?;
        if self.is_due(now) { Err(Reject::HoldExpired(self.id)) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    const KIND: TransferKind = TransferKind::new(1, "bill");

    fn hold(expires_after_s: Option<i64>) -> (Hold, DateTime<Utc>) {
        let now = DateTime::UNIX_EPOCH;
        let spec = HoldSpec {
            id: HoldId::generate(),
            debit: AccountId::generate(),
            credit: AccountId::generate(),
            amount: Money::vnd(100),
            kind: KIND,
            reference: Uuid::nil(),
            expires_at: expires_after_s.map(|seconds| now + TimeDelta::seconds(seconds)),
        };
        (Hold::open(&spec, Stamp { block: 1, at: now }), now)
    }

    #[test]
    fn a_hold_is_posted_whole_or_in_part_and_never_beyond() {
        let (hold, now) = hold(None);
        assert_eq!(hold.may_post(None, now), Ok(100));
        assert_eq!(hold.may_post(Some(Money::vnd(40)), now), Ok(40));
        assert_eq!(hold.may_post(Some(Money::vnd(101)), now), Err(Reject::AmountExceedsHold(hold.id)));
        assert_eq!(
            hold.may_post(Some(Money::from_minor(1, Currency::Usd)), now),
            Err(Reject::CurrencyMismatch(hold.debit))
        );
    }

    #[test]
    fn a_hold_past_its_time_is_given_back_and_not_posted() {
        let (hold, now) = hold(Some(60));
        assert_eq!(hold.may_expire(now), Err(Reject::HoldNotDue(hold.id)));
        let later = now + TimeDelta::seconds(60);
        assert_eq!(hold.may_post(None, later), Err(Reject::HoldExpired(hold.id)));
        assert_eq!(hold.may_confirm(later), Err(Reject::HoldExpired(hold.id)));
        assert_eq!(hold.may_expire(later), Ok(()));
        assert_eq!(hold.may_void(), Ok(()));
    }

    #[test]
    fn a_hold_that_an_outside_party_was_asked_about_never_expires() {
        let (mut hold, now) = hold(Some(60));
        hold.confirming = Some(Stamp { block: 2, at: now });
        let later = now + TimeDelta::days(365);
        assert_eq!(hold.may_expire(later), Err(Reject::HoldNotDue(hold.id)));
        assert_eq!(hold.may_post(None, later), Ok(100));
    }

    #[test]
    fn a_hold_ends_once() {
        let (mut hold, now) = hold(Some(60));
        let stamp = Stamp { block: 2, at: now };
        let posted = Ending::Posted { transfer: TransferId::generate(), amount: 100 };
        for (ending, reject) in [
            (posted, Reject::HoldPosted(hold.id)),
            (Ending::Voided, Reject::HoldVoided(hold.id)),
            (Ending::Expired, Reject::HoldExpired(hold.id)),
        ] {
            hold.ended = Some((ending, stamp));
            assert_eq!(hold.may_post(None, now), Err(reject));
            assert_eq!(hold.may_void(), Err(reject));
            assert_eq!(hold.may_expire(now + TimeDelta::days(1)), Err(reject));
        }
    }
}

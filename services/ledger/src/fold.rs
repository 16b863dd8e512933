//! The decision: requests in order + what was read under the shard's lock → outcomes and what to write.
//!
//! Pure: no I/O, no clock, no randomness. Whatever the batches are that a stream of requests is cut into, answers and books come out the same.
//! A [`Fold`] takes requests one by one as they arrive, so that a batch is decided while the one before it is still being written.
//!
//! Invariants:
//! - A request is all or nothing: a reject leaves no trace but itself.
//! - A key has one outcome. An equal request gets it again; a request with the same key and another fingerprint is a conflict and changes nothing.
//! - Every transfer takes from one account what it gives to another, so that balances of a currency add up to zero.

mod hold;
mod movement;
mod step;
mod undo;

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use foldhash::fast::RandomState;

use self::step::Step;
use self::undo::{Mark, Undo};
use crate::account::{Account, AccountChange, AccountId, AccountSpec};
use crate::hold::{Hold, HoldId, Stamp};
use crate::limit::{Calendar, Class, Day, Limit, Spending};
use crate::money::Money;
use crate::refund::{Paid, Refund};
use crate::request::{Action, Outcome, Posted, Refusals, Reject};
use crate::transfer::{Fingerprint, RequestKey, Transfer, TransferId};

/// Every so many transfers of an account one is marked, so that a walk along the account's chain can begin near any place.
pub const MARK_EVERY: i64 = 256;

/// A map whose keys are ids, which nobody outside chooses.
pub type Map<K, V> = HashMap<K, V, RandomState>;
/// A set of ids.
pub type Set<K> = HashSet<K, RandomState>;

/// One request as the fold sees it.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Its key.
    pub key: RequestKey,
    /// The fingerprint of what it asks.
    pub fingerprint: Fingerprint,
    /// Accounts to open first.
    pub open: &'a [AccountSpec],
    /// Its linked steps.
    pub actions: &'a [Action],
    /// Whether a refusal is remembered.
    pub refusals: Refusals,
    /// What it must not spend more than.
    pub limits: &'a [Limit],
}

/// What was read under the shard's lock: at least everything that the requests name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The shard.
    pub shard: i16,
    /// The last transfer's sequence.
    pub sequence: i64,
    /// The accounts that the requests name, directly or through a hold.
    pub accounts: Map<AccountId, Account>,
    /// The holds that the requests name.
    pub holds: Map<HoldId, Hold>,
    /// The transfers of which the requests ask refunds; those made in the same batch need not be here.
    pub paid: Map<TransferId, Paid>,
    /// What the requests' keys have been answered.
    pub remembered: Map<RequestKey, Remembered>,
}

/// The outcome kept under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// The fingerprint of what was asked.
    pub fingerprint: Fingerprint,
    /// What came of it.
    pub outcome: Outcome,
}

/// What one request gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Decided now.
    Fresh(Outcome),
    /// Decided by an earlier request with this key.
    Replayed(Outcome),
    /// The key belongs to a request that asked something else.
    Conflict,
}

/// A request that made no transfer, as history keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredRequest {
    /// Its key.
    pub key: RequestKey,
    /// The fingerprint of what it asked.
    pub fingerprint: Fingerprint,
    /// Why it was refused, if it was.
    pub reject: Option<Reject>,
}

/// What a batch does to the books; the new values of accounts and holds are in the [`State`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// One per request, in order.
    pub verdicts: Vec<Verdict>,
    /// New transfers, in order.
    pub transfers: Vec<Transfer>,
    /// New accounts, in order.
    pub opened: Vec<AccountId>,
    /// Accounts that were there before and changed, each once.
    pub touched: Vec<AccountId>,
    /// New holds, in order.
    pub holds_opened: Vec<HoldId>,
    /// Holds that were there before and took a step, each once.
    pub holds_moved: Vec<HoldId>,
    /// Freezes and closings, in order.
    pub changes: Vec<AccountChange>,
    /// Requests to remember that made no transfer, in order.
    pub requests: Vec<StoredRequest>,
    /// What was given back of earlier transfers, in order.
    pub refunds: Vec<Refund>,
    /// Every [`MARK_EVERY`]th transfer of an account: the account and the transfer's sequence.
    pub marks: Vec<(AccountId, i64)>,
}

impl Effects {
    /// Whether there is nothing to write: every request was a replay or a conflict.
    pub fn is_empty(&self) -> bool {
        self.transfers.is_empty() && self.requests.is_empty()
    }
}

/// Decides `entries` in order at `stamp`, moving `state` to what it is after them. Limits count in the days of `calendar`.
pub fn fold(state: &mut State, entries: &[Entry<'_>], stamp: Stamp, calendar: Calendar) -> Effects {
    let mut fold = Fold::new(stamp, calendar);
    for entry in entries {
        fold.decide(state, entry);
    }
    fold.effects
}

/// A batch in the making.
pub struct Fold {
    stamp: Stamp,
    calendar: Calendar,
    /// The day of the stamp.
    day: Day,
    effects: Effects,
    undo: Vec<Undo>,
    /// Accounts and holds already listed in `effects`, as opened or as changed.
    listed_accounts: Set<AccountId>,
    listed_holds: Set<HoldId>,
    /// What the request in hand spends.
    spendings: Vec<Spending>,
    /// Of each transfer of the batch, what it counts for and since when.
    counted: Vec<(Option<Class>, DateTime<Utc>)>,
}

impl Fold {
    /// An empty batch that will be sealed with `stamp`; limits count in the days of `calendar`.
    pub fn new(stamp: Stamp, calendar: Calendar) -> Self {
        Self {
            stamp,
            calendar,
            day: calendar.day(stamp.at),
            effects: Effects::default(),
            undo: Vec::new(),
            listed_accounts: Set::default(),
            listed_holds: Set::default(),
            spendings: Vec::new(),
            counted: Vec::new(),
        }
    }

    /// The batch's block and time.
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// What was decided so far.
    pub fn effects(&self) -> &Effects {
        &self.effects
    }

    /// Everything that was decided.
    pub fn finish(self) -> Effects {
        self.effects
    }

    /// Decides one request, moving `state` to what it is after it. `state` must hold what the request names.
    pub fn decide(&mut self, state: &mut State, entry: &Entry<'_>) {
        let verdict = match state.remembered.get(&entry.key) {
            Some(remembered) if remembered.fingerprint == entry.fingerprint => {
                Verdict::Replayed(remembered.outcome.clone())
            }
            Some(_) => Verdict::Conflict,
            None => {
                let mark = self.mark(state);
                let mut step = Step { fold: self, state, key: entry.key, mark };
                Verdict::Fresh(step.take(entry))
            }
        };
        self.effects.verdicts.push(verdict);
    }

    fn mark(&self, state: &State) -> Mark {
        Mark {
            sequence: state.sequence,
            transfers: self.effects.transfers.len(),
            opened: self.effects.opened.len(),
            holds_opened: self.effects.holds_opened.len(),
            changes: self.effects.changes.len(),
            marks: self.effects.marks.len(),
            refunds: self.effects.refunds.len(),
        }
    }
}

/// What the caller learns of a transfer.
pub fn posted(transfer: &Transfer) -> Posted {
    Posted {
        transfer: transfer.id,
        sequence: transfer.sequence,
        block: transfer.block,
        debit_balance: Money::from_minor(transfer.debit_balance, transfer.currency),
        credit_balance: Money::from_minor(transfer.credit_balance, transfer.currency),
        posted_at: transfer.posted_at,
    }
}

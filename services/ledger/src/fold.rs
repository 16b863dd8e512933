//! The decision: requests in order + what was read under the shard's lock → outcomes and what to write.
//!
//! Pure: no I/O, no clock, no randomness. Whatever the batches are that a stream of requests is cut into, answers and books come out the same.
//!
//! Invariants:
//! - A request is all or nothing: a reject leaves no trace but itself.
//! - A key has one outcome. An equal request gets it again; a request with the same key and another fingerprint is a conflict and changes nothing.
//! - Every transfer takes from one account what it gives to another, so that balances of a currency add up to zero.

use std::collections::{HashMap, HashSet};

use crate::account::{Account, AccountChange, AccountId, AccountSpec, Freeze};
use crate::hold::{Ending, Hold, HoldId, HoldPosting, HoldSpec, Stamp};
use crate::money::Money;
use crate::request::{Action, Outcome, Posted, Reject};
use crate::transfer::{Fingerprint, Origin, Posting, RequestKey, Transfer, TransferId};

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
}

/// What was read under the shard's lock: at least everything that the requests name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The shard.
    pub shard: i16,
    /// The last transfer's sequence.
    pub sequence: i64,
    /// The accounts that the requests name, directly or through a hold.
    pub accounts: HashMap<AccountId, Account>,
    /// The holds that the requests name.
    pub holds: HashMap<HoldId, Hold>,
    /// What the requests' keys have been answered.
    pub remembered: HashMap<RequestKey, Remembered>,
    /// Which of the requests' transfer ids exist.
    pub used: HashSet<TransferId>,
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
}

impl Effects {
    /// Whether there is nothing to write: every request was a replay or a conflict.
    pub fn is_empty(&self) -> bool {
        self.transfers.is_empty() && self.requests.is_empty()
    }
}

/// Decides `entries` in order at `stamp`, moving `state` to what it is after them.
pub fn fold(state: &mut State, entries: &[Entry<'_>], stamp: Stamp) -> Effects {
    let mut fold = Fold::new(state, stamp, entries.len());
    for entry in entries {
        let verdict = fold.decide(entry);
        fold.effects.verdicts.push(verdict);
    }
    fold.effects
}

/// How to take back one step of a request that was refused later.
enum Undo {
    Account(AccountId, Option<Account>),
    Hold(HoldId, Option<Hold>),
    Transfer(TransferId),
}

struct Fold<'a> {
    state: &'a mut State,
    stamp: Stamp,
    effects: Effects,
    undo: Vec<Undo>,
    /// Accounts and holds already listed in `effects`, as opened or as changed.
    listed_accounts: HashSet<AccountId>,
    listed_holds: HashSet<HoldId>,
}

/// Lengths of the effects before a request.
#[derive(Clone, Copy)]
struct Mark {
    sequence: i64,
    transfers: usize,
    opened: usize,
    holds_opened: usize,
    changes: usize,
}

impl<'a> Fold<'a> {
    fn new(state: &'a mut State, stamp: Stamp, entries: usize) -> Self {
        let effects = Effects {
            verdicts: Vec::with_capacity(entries),
            transfers: Vec::with_capacity(entries),
            ..Effects::default()
        };
        Self { state, stamp, effects, undo: Vec::new(), listed_accounts: HashSet::new(), listed_holds: HashSet::new() }
    }

    fn decide(&mut self, entry: &Entry<'_>) -> Verdict {
        if let Some(remembered) = self.state.remembered.get(&entry.key) {
            return if remembered.fingerprint == entry.fingerprint {
                Verdict::Replayed(remembered.outcome.clone())
            } else {
                Verdict::Conflict
            };
        }
        let mark = self.mark();
        let outcome = match self.apply(entry) {
            Ok(()) => {
                self.keep(entry, mark);
                Outcome::Posted(self.effects.transfers[mark.transfers..].iter().map(posted).collect())
            }
            Err(reject) => {
                self.take_back(mark);
                Outcome::Rejected(reject)
            }
        };
        self.remember(entry, mark, &outcome);
        Verdict::Fresh(outcome)
    }

    fn mark(&self) -> Mark {
        Mark {
            sequence: self.state.sequence,
            transfers: self.effects.transfers.len(),
            opened: self.effects.opened.len(),
            holds_opened: self.effects.holds_opened.len(),
            changes: self.effects.changes.len(),
        }
    }

    fn apply(&mut self, entry: &Entry<'_>) -> Result<(), Reject> {
        for spec in entry.open {
            self.open(spec)?;
        }
        entry.actions.iter().try_for_each(|action| self.act(action))
    }

    fn act(&mut self, action: &Action) -> Result<(), Reject> {
        match action {
            Action::Transfer(posting) => self.transfer(posting),
            Action::Hold(spec) => self.hold(spec),
            Action::Post(posting) => self.post(posting),
            Action::Void(id) => {
                self.known_hold(*id)?.may_void()?;
                self.give_back(*id, Ending::Voided);
                Ok(())
            }
            Action::Expire(id) => {
                self.known_hold(*id)?.may_expire(self.stamp.at)?;
                self.give_back(*id, Ending::Expired);
                Ok(())
            }
            Action::Confirm(id) => self.confirm(*id),
            Action::Freeze(id, freeze) => self.freeze(*id, *freeze),
            Action::Close(id) => self.close(*id),
        }
    }

    fn open(&mut self, spec: &AccountSpec) -> Result<(), Reject> {
        match self.state.accounts.get(&spec.id) {
            Some(account) if account.matches(spec) => Ok(()),
            Some(_) => Err(Reject::AccountExists(spec.id)),
            None => {
                let account = Account::open(spec, self.stamp.block, self.stamp.at);
                self.state.accounts.insert(spec.id, account);
                self.undo.push(Undo::Account(spec.id, None));
                self.effects.opened.push(spec.id);
                Ok(())
            }
        }
    }

    fn transfer(&mut self, posting: &Posting) -> Result<(), Reject> {
        self.unused(posting.id)?;
        self.known_account(posting.debit)?.may_give(posting.amount)?;
        self.known_account(posting.credit)?.may_take(posting.amount)?;
        let row = Movement {
            id: posting.id,
            debit: posting.debit,
            credit: posting.credit,
            amount: posting.amount,
            kind: posting.kind.code,
            reference: posting.reference,
        };
        self.move_money(row);
        Ok(())
    }

    fn hold(&mut self, spec: &HoldSpec) -> Result<(), Reject> {
        if self.state.holds.contains_key(&spec.id) {
            return Err(Reject::HoldExists(spec.id));
        }
        self.known_account(spec.debit)?.may_hold(spec.amount)?;
        self.known_account(spec.credit)?.may_be_promised(spec.amount)?;
        self.change_account(spec.debit, |account| account.held += spec.amount.minor());
        self.change_account(spec.credit, |account| account.promised += spec.amount.minor());
        self.state.holds.insert(spec.id, Hold::open(spec, self.stamp));
        self.undo.push(Undo::Hold(spec.id, None));
        self.effects.holds_opened.push(spec.id);
        Ok(())
    }

    fn post(&mut self, posting: &HoldPosting) -> Result<(), Reject> {
        self.unused(posting.transfer)?;
        let hold = self.known_hold(posting.hold)?.clone();
        let amount = hold.may_post(posting.amount, self.stamp.at)?;
        self.give_back(hold.id, Ending::Posted { transfer: posting.transfer, amount });
        let row = Movement {
            id: posting.transfer,
            debit: hold.debit,
            credit: hold.credit,
            amount: Money::from_minor(amount, hold.currency),
            kind: hold.kind,
            reference: hold.reference,
        };
        self.move_money(row);
        Ok(())
    }

    fn confirm(&mut self, id: HoldId) -> Result<(), Reject> {
        let stamp = self.stamp;
        self.known_hold(id)?.may_confirm(stamp.at)?;
        self.change_hold(id, |hold| {
            hold.confirming.get_or_insert(stamp);
        });
        Ok(())
    }

    fn freeze(&mut self, id: AccountId, freeze: Freeze) -> Result<(), Reject> {
        if self.known_account(id)?.closed {
            return Err(Reject::AccountClosed(id));
        }
        self.change_account(id, |account| account.freeze = freeze);
        self.effects.changes.push(AccountChange { account: id, freeze, closed: false });
        Ok(())
    }

    fn close(&mut self, id: AccountId) -> Result<(), Reject> {
        let account = self.known_account(id)?;
        if account.closed {
            return Err(Reject::AccountClosed(id));
        }
        account.may_close()?;
        let freeze = account.freeze;
        self.change_account(id, |account| account.closed = true);
        self.effects.changes.push(AccountChange { account: id, freeze, closed: true });
        Ok(())
    }

    /// Ends a hold and releases what it set aside.
    fn give_back(&mut self, id: HoldId, ending: Ending) {
        let stamp = self.stamp;
        let hold = &self.state.holds[&id];
        let (debit, credit, amount) = (hold.debit, hold.credit, hold.amount);
        self.change_hold(id, |hold| hold.ended = Some((ending, stamp)));
        self.change_account(debit, |account| account.held -= amount);
        self.change_account(credit, |account| account.promised -= amount);
    }

    /// Adds the row and moves both balances; every check is done.
    fn move_money(&mut self, row: Movement) {
        self.state.sequence += 1;
        let (sequence, amount) = (self.state.sequence, row.amount.minor());
        let debit_balance = self.change_account(row.debit, |account| {
            account.posted -= amount;
            account.sequence = sequence;
        });
        let credit_balance = self.change_account(row.credit, |account| {
            account.posted += amount;
            account.sequence = sequence;
        });
        self.state.used.insert(row.id);
        self.undo.push(Undo::Transfer(row.id));
        self.effects.transfers.push(Transfer {
            shard: self.state.shard,
            sequence,
            block: self.stamp.block,
            posted_at: self.stamp.at,
            id: row.id,
            debit: row.debit,
            credit: row.credit,
            amount,
            currency: row.amount.currency(),
            kind: row.kind,
            reference: row.reference,
            debit_balance,
            credit_balance,
            request: Origin::Further,
        });
    }

    fn unused(&self, id: TransferId) -> Result<(), Reject> {
        if self.state.used.contains(&id) { Err(Reject::TransferExists(id)) } else { Ok(()) }
    }

    fn known_account(&self, id: AccountId) -> Result<&Account, Reject> {
        self.state.accounts.get(&id).ok_or(Reject::AccountUnknown(id))
    }

    fn known_hold(&self, id: HoldId) -> Result<&Hold, Reject> {
        self.state.holds.get(&id).ok_or(Reject::HoldUnknown(id))
    }

    /// Changes an account, noting how it was; gives its posted balance.
    fn change_account(&mut self, id: AccountId, change: impl FnOnce(&mut Account)) -> i64 {
        let account = self.state.accounts.get_mut(&id).expect("the account was checked");
        self.undo.push(Undo::Account(id, Some(account.clone())));
        change(account);
        account.posted
    }

    fn change_hold(&mut self, id: HoldId, change: impl FnOnce(&mut Hold)) {
        let hold = self.state.holds.get_mut(&id).expect("the hold was checked");
        self.undo.push(Undo::Hold(id, Some(hold.clone())));
        change(hold);
    }

    /// Lists what a granted request changed, and puts its key on its first transfer.
    fn keep(&mut self, entry: &Entry<'_>, mark: Mark) {
        let (opened, holds_opened) =
            (&self.effects.opened[mark.opened..], &self.effects.holds_opened[mark.holds_opened..]);
        self.listed_accounts.extend(opened);
        self.listed_holds.extend(holds_opened);
        for undo in self.undo.drain(..) {
            match undo {
                Undo::Account(id, _) if self.listed_accounts.insert(id) => self.effects.touched.push(id),
                Undo::Hold(id, _) if self.listed_holds.insert(id) => self.effects.holds_moved.push(id),
                _ => {}
            }
        }
        let made = self.effects.transfers.len() - mark.transfers;
        if let Some(first) = self.effects.transfers.get_mut(mark.transfers) {
            let transfers = i16::try_from(made).expect("a request has few actions");
            first.request = Origin::First { key: entry.key, fingerprint: entry.fingerprint, transfers };
        }
    }

    /// Undoes everything a refused request did.
    fn take_back(&mut self, mark: Mark) {
        while let Some(undo) = self.undo.pop() {
            match undo {
                Undo::Account(id, Some(before)) => {
                    self.state.accounts.insert(id, before);
                }
                Undo::Account(id, None) => {
                    self.state.accounts.remove(&id);
                }
                Undo::Hold(id, Some(before)) => {
                    self.state.holds.insert(id, before);
                }
                Undo::Hold(id, None) => {
                    self.state.holds.remove(&id);
                }
                Undo::Transfer(id) => {
                    self.state.used.remove(&id);
                }
            }
        }
        self.state.sequence = mark.sequence;
        self.effects.transfers.truncate(mark.transfers);
        self.effects.opened.truncate(mark.opened);
        self.effects.holds_opened.truncate(mark.holds_opened);
        self.effects.changes.truncate(mark.changes);
    }

    fn remember(&mut self, entry: &Entry<'_>, mark: Mark, outcome: &Outcome) {
        let remembered = Remembered { fingerprint: entry.fingerprint, outcome: outcome.clone() };
        self.state.remembered.insert(entry.key, remembered);
        if self.effects.transfers.len() == mark.transfers {
            let reject = match outcome {
                Outcome::Posted(_) => None,
                Outcome::Rejected(reject) => Some(*reject),
            };
            let stored = StoredRequest { key: entry.key, fingerprint: entry.fingerprint, reject };
            self.effects.requests.push(stored);
        }
    }
}

/// A transfer before it has its place in the journal.
struct Movement {
    id: TransferId,
    debit: AccountId,
    credit: AccountId,
    amount: Money,
    kind: i16,
    reference: uuid::Uuid,
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

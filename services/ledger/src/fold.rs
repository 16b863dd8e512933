//! The decision: requests in order + what was read under the shard's lock → outcomes and what to write.
//!
//! Pure: no I/O, no clock, no randomness. Whatever the batches are that a stream of requests is cut into, answers and books come out the same.
//! A [`Fold`] takes requests one by one as they arrive, so that a batch is decided while the one before it is still being written.
//!
//! Invariants:
//! - A request is all or nothing: a reject leaves no trace but itself.
//! - A key has one outcome. An equal request gets it again; a request with the same key and another fingerprint is a conflict and changes nothing.
//! - Every transfer takes from one account what it gives to another, so that balances of a currency add up to zero.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use foldhash::fast::RandomState;

use crate::account::{Account, AccountChange, AccountId, AccountSpec, Freeze};
use crate::hold::{Ending, Hold, HoldId, HoldPosting, HoldSpec, Stamp};
use crate::limit::{Calendar, Class, Day, Limit, Spending, UsageOverflow};
use crate::money::Money;
use crate::refund::{Paid, Refund, RefundSpec, Role, UsedLimits};
use crate::request::{Action, Outcome, Posted, Refusals, Reject};
use crate::transfer::{Fingerprint, Origin, Posting, RequestKey, Transfer, TransferId};

/// Every so many transfers of an account one is marked, so that a walk along the account's chain can begin near any place.
pub const MARK_EVERY: i64 = 256;

/// How many notes back it is looked whether an account is noted already.
const LOOK_BACK: usize = 2;

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

/// How to take back one step of a request that was refused later.
enum Undo {
    Account(AccountId, Option<Account>),
    Hold(HoldId, Option<Hold>),
    Paid(TransferId, Option<Paid>),
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

/// Where the effects stood before a request.
#[derive(Clone, Copy)]
struct Mark {
    sequence: i64,
    transfers: usize,
    opened: usize,
    holds_opened: usize,
    changes: usize,
    marks: usize,
    refunds: usize,
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

/// One request on its way through the fold.
struct Step<'a> {
    fold: &'a mut Fold,
    state: &'a mut State,
    key: RequestKey,
    mark: Mark,
}

impl Step<'_> {
    fn take(&mut self, entry: &Entry<'_>) -> Outcome {
        self.fold.spendings.clear();
        let outcome = match self.apply(entry) {
            Ok(()) => {
                self.keep(entry);
                Outcome::Posted(self.made().iter().map(posted).collect())
            }
            Err(reject) => {
                self.take_back();
                Outcome::Rejected(reject)
            }
        };
        if matches!(outcome, Outcome::Posted(_)) || entry.refusals == Refusals::Remembered {
            self.remember(entry, &outcome);
        }
        outcome
    }

    /// The transfers that this request made so far.
    fn made(&self) -> &[Transfer] {
        &self.fold.effects.transfers[self.mark.transfers..]
    }

    /// The id of this request's next transfer.
    fn next_transfer(&self) -> TransferId {
        let place = u16::try_from(self.made().len()).expect("a request has few actions");
        self.key.transfer(place)
    }

    /// The batch's block and time.
    fn stamp(&self) -> Stamp {
        self.fold.stamp
    }

    fn apply(&mut self, entry: &Entry<'_>) -> Result<(), Reject> {
        for spec in entry.open {
            self.open(spec)?;
        }
        entry.actions.iter().try_for_each(|action| self.act(action))?;
        entry.limits.iter().try_for_each(|limit| self.keeps(limit))
    }

    /// Whether the request keeps a limit, now that all its steps are counted. It spends nothing of an account that it does not name.
    fn keeps(&self, limit: &Limit) -> Result<(), Reject> {
        let Some(account) = self.state.accounts.get(&limit.account) else { return Ok(()) };
        limit.check(&account.usage, self.fold.day, &self.fold.spendings).map_err(Reject::from)
    }

    /// Counts a spending.
    fn spend(&mut self, account: AccountId, class: Option<Class>, amount: i64) -> Result<(), Reject> {
        let Some(class) = class else { return Ok(()) };
        let day = self.fold.day;
        let counted = self.changing(account).usage.count(class, day, amount);
        counted.map_err(|UsageOverflow| Reject::BalanceOverflow(account))?;
        self.fold.spendings.push(Spending { account, class, amount });
        Ok(())
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
                self.known_hold(*id)?.may_expire(self.stamp().at)?;
                self.give_back(*id, Ending::Expired);
                Ok(())
            }
            Action::Confirm(id) => self.confirm(*id),
            Action::Refund(spec) => self.refund(spec),
            Action::Freeze(id, freeze) => self.freeze(*id, *freeze),
            Action::Close(id) => self.close(*id),
        }
    }

    fn open(&mut self, spec: &AccountSpec) -> Result<(), Reject> {
        match self.state.accounts.get(&spec.id) {
            Some(account) if account.matches(spec) => Ok(()),
            Some(_) => Err(Reject::AccountExists(spec.id)),
            None => {
                let account = Account::open(spec, self.stamp().block, self.stamp().at);
                self.state.accounts.insert(spec.id, account);
                self.fold.undo.push(Undo::Account(spec.id, None));
                self.fold.effects.opened.push(spec.id);
                Ok(())
            }
        }
    }

    fn transfer(&mut self, posting: &Posting) -> Result<(), Reject> {
        self.known_account(posting.debit)?.may_give(posting.amount)?;
        self.known_account(posting.credit)?.may_take(posting.amount)?;
        self.spend(posting.debit, posting.kind.class, posting.amount.minor())?;
        let row = Movement {
            debit: posting.debit,
            credit: posting.credit,
            amount: posting.amount,
            kind: posting.kind.code,
            reference: posting.reference,
            counted: (posting.kind.class, self.stamp().at),
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
        self.spend(spec.debit, spec.kind.class, spec.amount.minor())?;
        self.changing(spec.debit).held += spec.amount.minor();
        self.changing(spec.credit).promised += spec.amount.minor();
        self.state.holds.insert(spec.id, Hold::open(spec, self.stamp()));
        self.fold.undo.push(Undo::Hold(spec.id, None));
        self.fold.effects.holds_opened.push(spec.id);
        Ok(())
    }

    fn post(&mut self, posting: &HoldPosting) -> Result<(), Reject> {
        let hold = self.known_hold(posting.hold)?.clone();
        let amount = hold.may_post(posting.amount, self.stamp().at)?;
        self.give_back(hold.id, Ending::Posted { transfer: self.next_transfer(), amount });
        let row = Movement {
            debit: hold.debit,
            credit: hold.credit,
            amount: Money::from_minor(amount, hold.currency),
            kind: hold.kind,
            reference: hold.reference,
            counted: (hold.class, hold.opened.at),
        };
        self.move_money(row);
        Ok(())
    }

    fn refund(&mut self, spec: &RefundSpec) -> Result<(), Reject> {
        let paid = self.known_transfer(spec.of)?;
        paid.may_refund(spec.amount)?;
        self.known_account(paid.credit)?.may_give(spec.amount)?;
        self.known_account(paid.debit)?.may_take(spec.amount)?;
        let class = paid.class.filter(|_| spec.limits == UsedLimits::GivenBack);
        let amount = spec.amount.minor();
        if let Some(class) = class {
            let day = self.fold.calendar.day(paid.spent_at);
            self.changing(paid.debit).usage.give_back(class, day, amount);
        }
        let refund = Refund { sequence: self.state.sequence + 1, of: paid.id, amount, class };
        let refunded = Paid { refunded: paid.refunded + amount, ..paid.clone() };
        let before = self.state.paid.insert(paid.id, refunded);
        self.fold.undo.push(Undo::Paid(paid.id, before));
        self.move_money(Movement {
            debit: paid.credit,
            credit: paid.debit,
            amount: spec.amount,
            kind: spec.kind.code,
            reference: spec.reference,
            counted: (None, self.stamp().at),
        });
        self.fold.effects.refunds.push(refund);
        Ok(())
    }

    /// A transfer of an earlier batch, or of this one.
    fn known_transfer(&self, id: TransferId) -> Result<Paid, Reject> {
        if let Some(paid) = self.state.paid.get(&id) {
            return Ok(paid.clone());
        }
        let Fold { effects, counted, .. } = &*self.fold;
        let place = effects.transfers.iter().rposition(|transfer| transfer.id == id);
        let (transfer, (class, spent_at)) =
            place.map(|place| (&effects.transfers[place], counted[place])).ok_or(Reject::TransferUnknown(id))?;
        let refund = effects.refunds.iter().any(|refund| refund.sequence == transfer.sequence);
        Ok(Paid {
            id,
            debit: transfer.debit,
            credit: transfer.credit,
            amount: transfer.amount,
            currency: transfer.currency,
            class,
            spent_at,
            refunded: 0,
            role: if refund { Role::Refund } else { Role::Payment },
        })
    }

    fn confirm(&mut self, id: HoldId) -> Result<(), Reject> {
        let stamp = self.stamp();
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
        self.changing(id).freeze = freeze;
        self.fold.effects.changes.push(AccountChange { account: id, freeze, closed: false });
        Ok(())
    }

    fn close(&mut self, id: AccountId) -> Result<(), Reject> {
        let account = self.known_account(id)?;
        if account.closed {
            return Err(Reject::AccountClosed(id));
        }
        account.may_close()?;
        let freeze = account.freeze;
        self.changing(id).closed = true;
        self.fold.effects.changes.push(AccountChange { account: id, freeze, closed: true });
        Ok(())
    }

    /// Ends a hold and releases what it set aside; what is not posted of it was not spent.
    fn give_back(&mut self, id: HoldId, ending: Ending) {
        let (stamp, calendar) = (self.stamp(), self.fold.calendar);
        let hold = &self.state.holds[&id];
        let (debit, credit, amount) = (hold.debit, hold.credit, hold.amount);
        let (class, opened) = (hold.class, hold.opened.at);
        let posted = match ending {
            Ending::Posted { amount, .. } => amount,
            Ending::Voided | Ending::Expired => 0,
        };
        self.change_hold(id, |hold| hold.ended = Some((ending, stamp)));
        let account = self.changing(debit);
        account.held -= amount;
        if let Some(class) = class {
            account.usage.give_back(class, calendar.day(opened), amount - posted);
        }
        self.changing(credit).promised -= amount;
    }

    /// Adds the row and moves both balances; every check is done.
    fn move_money(&mut self, row: Movement) {
        self.state.sequence += 1;
        let (sequence, amount) = (self.state.sequence, row.amount.minor());
        let (debit_balance, debit_previous) = self.enter(row.debit, sequence, -amount);
        let (credit_balance, credit_previous) = self.enter(row.credit, sequence, amount);
        let (id, stamp) = (self.next_transfer(), self.stamp());
        self.fold.counted.push(row.counted);
        self.fold.effects.transfers.push(Transfer {
            shard: self.state.shard,
            sequence,
            block: stamp.block,
            posted_at: stamp.at,
            id,
            debit: row.debit,
            credit: row.credit,
            amount,
            currency: row.amount.currency(),
            kind: row.kind,
            reference: row.reference,
            debit_balance,
            credit_balance,
            debit_previous,
            credit_previous,
            request: Origin::Further,
        });
    }

    /// Enters a transfer in an account: gives the balance after it and the sequence of the account's transfer before it.
    fn enter(&mut self, id: AccountId, sequence: i64, amount: i64) -> (i64, i64) {
        let account = self.changing(id);
        let previous = account.sequence;
        account.posted += amount;
        account.sequence = sequence;
        account.transfers += 1;
        let (balance, transfers) = (account.posted, account.transfers);
        if transfers % MARK_EVERY == 0 {
            self.fold.effects.marks.push((id, sequence));
        }
        (balance, previous)
    }

    fn known_account(&self, id: AccountId) -> Result<&Account, Reject> {
        self.state.accounts.get(&id).ok_or(Reject::AccountUnknown(id))
    }

    fn known_hold(&self, id: HoldId) -> Result<&Hold, Reject> {
        self.state.holds.get(&id).ok_or(Reject::HoldUnknown(id))
    }

    /// An account that is about to be changed; how it was is noted.
    fn changing(&mut self, id: AccountId) -> &mut Account {
        let account = self.state.accounts.get_mut(&id).expect("the account was checked");
        // A transfer changes an account a few times in a row; how it was before the first is enough.
        let noted = |undo: &Undo| matches!(undo, Undo::Account(noted, Some(_)) if *noted == id);
        if !self.fold.undo.iter().rev().take(LOOK_BACK).any(noted) {
            self.fold.undo.push(Undo::Account(id, Some(account.clone())));
        }
        account
    }

    fn change_hold(&mut self, id: HoldId, change: impl FnOnce(&mut Hold)) {
        let hold = self.state.holds.get_mut(&id).expect("the hold was checked");
        self.fold.undo.push(Undo::Hold(id, Some(hold.clone())));
        change(hold);
    }

    /// Lists what a granted request changed, and puts the request on its first transfer.
    fn keep(&mut self, entry: &Entry<'_>) {
        let Fold { effects, undo, listed_accounts, listed_holds, .. } = &mut *self.fold;
        listed_accounts.extend(&effects.opened[self.mark.opened..]);
        listed_holds.extend(&effects.holds_opened[self.mark.holds_opened..]);
        for undo in undo.drain(..) {
            match undo {
                Undo::Account(id, _) if listed_accounts.insert(id) => effects.touched.push(id),
                Undo::Hold(id, _) if listed_holds.insert(id) => effects.holds_moved.push(id),
                _ => {}
            }
        }
        let made = effects.transfers.len() - self.mark.transfers;
        if let Some(first) = effects.transfers.get_mut(self.mark.transfers) {
            let transfers = i16::try_from(made).expect("a request has few actions");
            first.request = Origin::First { fingerprint: entry.fingerprint, transfers };
        }
    }

    /// Undoes everything a refused request did.
    fn take_back(&mut self) {
        let (fold, state, mark) = (&mut *self.fold, &mut *self.state, self.mark);
        while let Some(undo) = fold.undo.pop() {
            match undo {
                Undo::Account(id, Some(before)) => {
                    state.accounts.insert(id, before);
                }
                Undo::Account(id, None) => {
                    state.accounts.remove(&id);
                }
                Undo::Hold(id, Some(before)) => {
                    state.holds.insert(id, before);
                }
                Undo::Hold(id, None) => {
                    state.holds.remove(&id);
                }
                Undo::Paid(id, Some(before)) => {
                    state.paid.insert(id, before);
                }
                Undo::Paid(id, None) => {
                    state.paid.remove(&id);
                }
            }
        }
        state.sequence = mark.sequence;
        fold.effects.transfers.truncate(mark.transfers);
        fold.effects.opened.truncate(mark.opened);
        fold.effects.holds_opened.truncate(mark.holds_opened);
        fold.effects.changes.truncate(mark.changes);
        fold.effects.marks.truncate(mark.marks);
        fold.effects.refunds.truncate(mark.refunds);
        fold.counted.truncate(mark.transfers);
    }

    fn remember(&mut self, entry: &Entry<'_>, outcome: &Outcome) {
        let remembered = Remembered { fingerprint: entry.fingerprint, outcome: outcome.clone() };
        self.state.remembered.insert(entry.key, remembered);
        if self.made().is_empty() {
            let reject = match outcome {
                Outcome::Posted(_) => None,
                Outcome::Rejected(reject) => Some(*reject),
            };
            let stored = StoredRequest { key: entry.key, fingerprint: entry.fingerprint, reject };
            self.fold.effects.requests.push(stored);
        }
    }
}

/// A transfer before it has its place in the journal.
struct Movement {
    debit: AccountId,
    credit: AccountId,
    amount: Money,
    kind: i16,
    reference: uuid::Uuid,
    /// What it counts for, and since when.
    counted: (Option<Class>, DateTime<Utc>),
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

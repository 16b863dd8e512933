//! One request on its way through the fold: its steps one by one, then its limits; all of it or nothing.

use crate::account::{Account, AccountChange, AccountId, AccountSpec, Freeze};
use crate::hold::{Ending, Stamp};
use crate::limit::{Class, Limit, Spending, UsageOverflow};
use crate::refund::{Paid, Refund, RefundSpec, Role, UsedLimits};
use crate::request::{Action, Outcome, Reject};
use crate::transfer::{Posting, RequestKey, Transfer, TransferId};

use super::movement::Movement;
use super::undo::{Mark, Undo};
use super::{Entry, Fold, Remembered, State, StoredRequest, posted};

/// One request on its way through the fold.
pub(super) struct Step<'a> {
    pub(super) fold: &'a mut Fold,
    pub(super) state: &'a mut State,
    pub(super) key: RequestKey,
    pub(super) mark: Mark,
}

impl Step<'_> {
    pub(super) fn take(&mut self, entry: &Entry<'_>) -> Outcome {
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
        let remembered = match outcome {
            Outcome::Posted(_) => true,
            Outcome::Rejected(reject) => entry.refusals.remember(reject),
        };
        if remembered {
            self.remember(entry, &outcome);
        }
        outcome
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
    pub(super) fn spend(&mut self, account: AccountId, class: Option<Class>, amount: i64) -> Result<(), Reject> {
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

    pub(super) fn known_account(&self, id: AccountId) -> Result<&Account, Reject> {
        self.state.accounts.get(&id).ok_or(Reject::AccountUnknown(id))
    }

    /// The transfers that this request made so far.
    pub(super) fn made(&self) -> &[Transfer] {
        &self.fold.effects.transfers[self.mark.transfers..]
    }

    /// The id of this request's next transfer.
    pub(super) fn next_transfer(&self) -> TransferId {
        let place = u16::try_from(self.made().len()).expect("a request has few actions");
        self.key.transfer(place)
    }

    /// The batch's block and time.
    pub(super) fn stamp(&self) -> Stamp {
        self.fold.stamp
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

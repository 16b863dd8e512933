//! A store that keeps what the database keeps, and gives a batch only what the engine would read for it.

use std::collections::BTreeMap;

use ledger::account::{Account, AccountChange};
use ledger::fold::{self, Effects, Entry, MARK_EVERY, Map, Remembered, State, StoredRequest};
use ledger::hold::{Ending, Hold, Stamp};
use ledger::limit::Class;
use ledger::refund::{Paid, Refund, Role};
use ledger::transfer::{Origin, Transfer};
use ledger::{AccountId, Action, HoldId, Outcome, TransferId};

use crate::world::{Asked, CALENDAR};

/// The tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Store {
    pub(crate) sequence: i64,
    pub(crate) accounts: BTreeMap<AccountId, Account>,
    pub(crate) holds: BTreeMap<HoldId, Hold>,
    transfers: Vec<Transfer>,
    marks: Vec<(AccountId, i64)>,
    requests: Vec<StoredRequest>,
    pub(crate) changes: Vec<AccountChange>,
    refunds: Vec<Refund>,
    /// Kinds' classes.
    classes: BTreeMap<i16, Class>,
}

impl Store {
    /// Reads, folds and writes one batch.
    pub(crate) fn put(&mut self, batch: &[Asked], stamp: Stamp) -> Effects {
        let entries: Vec<Entry<'_>> = batch
            .iter()
            .map(|asked| Entry {
                key: asked.key,
                fingerprint: asked.fingerprint,
                open: &asked.open,
                actions: &asked.actions,
                refusals: asked.refusals,
                limits: &asked.limits,
            })
            .collect();
        let kinds = entries.iter().flat_map(|entry| entry.actions).filter_map(|action| match action {
            Action::Transfer(posting) => Some(posting.kind),
            Action::Hold(spec) => Some(spec.kind),
            _ => None,
        });
        self.classes.extend(kinds.filter_map(|kind| Some((kind.code, kind.class?))));
        let mut state = self.read(&entries);
        let effects = fold::fold(&mut state, &entries, stamp, CALENDAR);
        self.write(state, &effects);
        effects
    }

    fn read(&self, entries: &[Entry<'_>]) -> State {
        let actions = || entries.iter().flat_map(|entry| entry.actions);
        let holds: Map<HoldId, Hold> = actions()
            .filter_map(|action| match action {
                Action::Hold(spec) => Some(spec.id),
                Action::Post(posting) => Some(posting.hold),
                Action::Void(id) | Action::Confirm(id) | Action::Expire(id) => Some(*id),
                _ => None,
            })
            .filter_map(|id| self.holds.get(&id).map(|hold| (id, hold.clone())))
            .collect();
        let named = actions().flat_map(|action| match action {
            Action::Transfer(posting) => vec![posting.debit, posting.credit],
            Action::Hold(spec) => vec![spec.debit, spec.credit],
            Action::Freeze(id, _) | Action::Close(id) => vec![*id],
            _ => Vec::new(),
        });
        let opened = entries.iter().flat_map(|entry| entry.open.iter().map(|spec| spec.id));
        let paid: Map<TransferId, Paid> = actions()
            .filter_map(|action| match action {
                Action::Refund(spec) => Some((spec.of, self.paid(spec.of)?)),
                _ => None,
            })
            .collect();
        let parties = holds.values().flat_map(|hold| [hold.debit, hold.credit]);
        let parties = parties.chain(paid.values().flat_map(|paid| [paid.debit, paid.credit]));
        let accounts = named.chain(opened).chain(parties);
        State {
            shard: 1,
            sequence: self.sequence,
            accounts: accounts.filter_map(|id| self.accounts.get(&id).map(|account| (id, account.clone()))).collect(),
            remembered: entries.iter().filter_map(|entry| Some((entry.key, self.remembered(entry)?))).collect(),
            holds,
            paid,
        }
    }

    /// A transfer with what was refunded of it, rebuilt from rows as the engine does.
    fn paid(&self, id: TransferId) -> Option<Paid> {
        let transfer = self.transfers.iter().find(|transfer| transfer.id == id)?;
        let was = |hold: &&Hold| matches!(hold.ended, Some((Ending::Posted { transfer, .. }, _)) if transfer == id);
        let opened = self.holds.values().find(was).map(|hold| hold.opened.at);
        let is_refund = self.refunds.iter().any(|refund| refund.sequence == transfer.sequence);
        Some(Paid {
            id,
            debit: transfer.debit,
            credit: transfer.credit,
            amount: transfer.amount,
            currency: transfer.currency,
            class: self.classes.get(&transfer.kind).copied(),
            spent_at: opened.unwrap_or(transfer.posted_at),
            refunded: self.refunds.iter().filter(|refund| refund.of == id).map(|refund| refund.amount).sum(),
            role: if is_refund { Role::Refund } else { Role::Payment },
        })
    }

    /// The outcome under a key, rebuilt from rows as the engine does.
    fn remembered(&self, entry: &Entry<'_>) -> Option<Remembered> {
        let stored = self.requests.iter().find(|request| request.key == entry.key);
        if let Some(StoredRequest { fingerprint, reject, .. }) = stored {
            let outcome = reject.map_or(Outcome::Posted(Vec::new()), Outcome::Rejected);
            return Some(Remembered { fingerprint: *fingerprint, outcome });
        }
        let first = self.transfers.iter().position(|transfer| transfer.id == entry.key.transfer(0))?;
        let Origin::First { fingerprint, transfers, .. } = self.transfers[first].request else { return None };
        let rows = &self.transfers[first..first + usize::from(transfers.unsigned_abs())];
        Some(Remembered { fingerprint, outcome: Outcome::Posted(rows.iter().map(fold::posted).collect()) })
    }

    /// Writes what the effects list, and nothing else of the state.
    fn write(&mut self, mut state: State, effects: &Effects) {
        for id in effects.opened.iter().chain(&effects.touched) {
            let was_there =
                self.accounts.insert(*id, state.accounts.remove(id).expect("listed accounts are there")).is_some();
            assert_eq!(was_there, effects.touched.contains(id), "an account is opened once and touched later");
        }
        for id in effects.holds_opened.iter().chain(&effects.holds_moved) {
            let was_there = self.holds.insert(*id, state.holds.remove(id).expect("listed holds are there")).is_some();
            assert_eq!(was_there, effects.holds_moved.contains(id), "a hold is opened once and moved later");
        }
        for (id, account) in &state.accounts {
            assert_eq!(Some(account), self.accounts.get(id), "an account that is not listed did not change");
        }
        for (id, hold) in &state.holds {
            assert_eq!(Some(hold), self.holds.get(id), "a hold that is not listed did not change");
        }
        self.transfers.extend(effects.transfers.iter().cloned());
        self.marks.extend(&effects.marks);
        self.refunds.extend(effects.refunds.iter().cloned());
        self.requests.extend(effects.requests.iter().copied());
        self.changes.extend(effects.changes.iter().cloned());
        self.sequence = state.sequence;
    }

    /// An account's transfers by walking back along its chain from the last one.
    pub(crate) fn chain(&self, account: &Account) -> Vec<i64> {
        let mut walked = Vec::new();
        let mut next = account.sequence;
        while next > 0 {
            walked.push(next);
            let transfer = &self.transfers[usize::try_from(next).expect("few") - 1];
            next = if transfer.debit == account.id { transfer.debit_previous } else { transfer.credit_previous };
        }
        walked.reverse();
        walked
    }

    /// An account's transfers by looking at all of them, and every so many of them.
    pub(crate) fn touching(&self, id: AccountId) -> (Vec<i64>, Vec<(AccountId, i64)>) {
        let touching = self.transfers.iter().filter(|transfer| [transfer.debit, transfer.credit].contains(&id));
        let sequences: Vec<i64> = touching.map(|transfer| transfer.sequence).collect();
        let every = usize::try_from(MARK_EVERY).expect("few");
        let marks = sequences.chunks_exact(every).filter_map(|chunk| Some((id, *chunk.last()?))).collect();
        (sequences, marks)
    }

    /// The marks of an account.
    pub(crate) fn marks_of(&self, id: AccountId) -> Vec<(AccountId, i64)> {
        self.marks.iter().filter(|(account, _)| *account == id).copied().collect()
    }

    /// The same with all block numbers taken out.
    pub(crate) fn without_blocks(mut self) -> Self {
        self.accounts.values_mut().for_each(|account| account.opened_block = 0);
        self.transfers.iter_mut().for_each(|transfer| transfer.block = 0);
        for hold in self.holds.values_mut() {
            hold.opened.block = 0;
            if let Some(stamp) = &mut hold.confirming {
                stamp.block = 0;
            }
            if let Some((_, stamp)) = &mut hold.ended {
                stamp.block = 0;
            }
        }
        self
    }
}

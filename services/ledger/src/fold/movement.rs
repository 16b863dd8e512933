//! Money that moves: both balances, and the row of the journal that says so.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::account::AccountId;
use crate::limit::Class;
use crate::money::Money;
use crate::transfer::{Origin, Transfer};

use super::MARK_EVERY;
use super::step::Step;

/// A transfer before it has its place in the journal.
pub(super) struct Movement {
    pub(super) debit: AccountId,
    pub(super) credit: AccountId,
    pub(super) amount: Money,
    pub(super) kind: i16,
    pub(super) reference: Uuid,
    /// What it counts for, and since when.
    pub(super) counted: (Option<Class>, DateTime<Utc>),
}

impl Step<'_> {
    /// Adds the row and moves both balances; every check is done.
    pub(super) fn move_money(&mut self, row: Movement) {
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
}

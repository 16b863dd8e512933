//! Balances: running ones on transfers, and then those of the accounts.

use sha2::{Digest as _, Sha256};
use sqlx::PgPool;
use uuid::Uuid;

use super::chain::Transfers;
use super::{End, Fault, Findings, usage};
use crate::account::AccountId;
use crate::fold::{MARK_EVERY, Map};
use crate::limit::{Calendar, Class, Usage};
use crate::sql::audit::{self, StateRow};
use crate::sql::books;
use crate::transfer::Transfer;

/// Accounts read at once.
const ACCOUNT_PAGE: i64 = 1_000;

/// The balances of one share of the accounts, as transfers bring them about.
pub(super) struct Balances<'a> {
    shares: u64,
    share: u64,
    /// Kinds of transfers that count for limits.
    spending: &'a [(i16, Class)],
    calendar: Calendar,
    accounts: Map<AccountId, Running>,
}

/// Where an account stands.
#[derive(Clone, Default)]
struct Running {
    balance: i64,
    sequence: i64,
    transfers: i64,
    /// How many of its transfers should be marked, and the hash of their sequences in order.
    marks: i64,
    mark_hash: Option<Box<Sha256>>,
    /// Whether any of its transfers counts for limits.
    spent: bool,
    /// What it spent by transfers alone: no hold, no refund.
    usage: Usage,
    /// Whether a refund gave back some of what it spent.
    refunded: bool,
}

impl Running {
    /// Goes on from what is written, so that one forged balance is found once.
    fn enter(&mut self, balance: i64, sequence: i64) {
        (self.balance, self.sequence) = (balance, sequence);
        self.transfers += 1;
        if self.transfers % MARK_EVERY == 0 {
            self.marks += 1;
            self.mark_hash.get_or_insert_default().update(sequence.to_be_bytes());
        }
    }
}

impl<'a> Balances<'a> {
    /// An empty share: how many shares there are, and which one this is; the kinds that count for limits, and in which days.
    pub(super) fn new((shares, share): (u64, u64), spending: &'a [(i16, Class)], calendar: Calendar) -> Self {
        Self { shares, share, spending, calendar, accounts: Map::default() }
    }

    fn is_ours(&self, account: Uuid) -> bool {
        let (_, low) = account.as_u64_pair();
        low % self.shares == self.share
    }

    /// Follows a transfer; says whether both balances on it and both places before it follow from what went before.
    pub(super) fn take(&mut self, transfer: &Transfer) -> bool {
        let Some(out) = transfer.amount.checked_neg().filter(|_| transfer.amount > 0) else { return false };
        let debit = (transfer.debit, out, transfer.debit_balance, transfer.debit_previous);
        let credit = (transfer.credit, transfer.amount, transfer.credit_balance, transfer.credit_previous);
        let mut follows = true;
        for (account, amount, balance, previous) in [debit, credit] {
            if self.is_ours(account.uuid()) {
                let running = self.accounts.entry(account).or_default();
                follows &= running.balance.checked_add(amount) == Some(balance) && running.sequence == previous;
                running.enter(balance, transfer.sequence);
                let class = self.spending.iter().find(|(kind, _)| account == transfer.debit && *kind == transfer.kind);
                if let Some((_, class)) = class {
                    running.spent = true;
                    // What does not fit is counted again from the books.
                    running.usage.count(*class, self.calendar.day(transfer.posted_at), transfer.amount).ok();
                }
            }
        }
        follows
    }

    /// Notes that a transfer to this account is a refund.
    pub(super) fn refunded(&mut self, account: AccountId) {
        if self.is_ours(account.uuid()) {
            self.accounts.entry(account).or_default().refunded = true;
        }
    }

    /// Follows all transfers again for a further share of accounts; what else is wrong with them was found before.
    pub(super) async fn walk(
        &mut self,
        pool: &PgPool,
        shard: i16,
        end: &End,
        findings: &mut Findings,
    ) -> Result<(), sqlx::Error> {
        let mut transfers = Transfers::new(pool, shard, end.sequence);
        while let Some(row) = transfers.next_up_to(end.sequence).await? {
            let Ok(transfer) = row.read() else { continue };
            if !self.take(&transfer) {
                findings.add(Some(transfer.block), Fault::RunningBalance);
            }
        }
        Ok(())
    }

    /// Compares the accounts of this share with what history says; gives how many there are.
    pub(super) async fn compare(
        mut self,
        pool: &PgPool,
        end: &End,
        findings: &mut Findings,
    ) -> Result<i64, sqlx::Error> {
        let (shard, mut after, mut compared) = (findings.shard, Uuid::nil(), 0);
        loop {
            let page = audit::states(pool, shard, after, end.sequence, ACCOUNT_PAGE).await?;
            let Some(last) = page.last() else { break };
            after = last.id;
            for row in page.into_iter().filter(|row| self.is_ours(row.id)).collect::<Vec<_>>() {
                compared += 1;
                let running = self.accounts.remove(&row.id.into()).unwrap_or_default();
                let mut faults = faults(&row, &running);
                // Holds, refunds and what came later are rare: only then is it counted again, along the account's own chain.
                let plain = self.share == 0
                    && row.later_transfers == 0
                    && !row.spent_by_hold
                    && !running.refunded
                    && Usage::decode(&row.usage).as_ref() == Ok(&running.usage);
                if !plain && !usage::holds(pool, self.calendar, &row, running.spent).await? {
                    faults.push(Fault::Usage);
                }
                for fault in faults {
                    let block = books::block_of(pool, shard, running.sequence).await?;
                    findings.add_account(block, row.id, fault);
                }
            }
        }
        for (account, running) in self.accounts {
            let block = books::block_of(pool, shard, running.sequence).await?;
            findings.add_account(block, account.uuid(), Fault::AccountMissing);
        }
        Ok(compared)
    }
}

/// What does not hold of an account.
fn faults(row: &StateRow, running: &Running) -> Vec<Fault> {
    let same = |text: &str, number: i64| text.parse::<i128>() == Ok(number.into());
    let later = row.later.parse::<i128>();
    let posted = later.map(|later| later + i128::from(running.balance));
    let sequence = row.later_sequence.max(running.sequence);
    let mut faults = Vec::new();
    let transfers = running.transfers + row.later_transfers;
    if posted != Ok(row.posted.into()) || (row.sequence, row.transfers) != (sequence, transfers) {
        faults.push(Fault::Balance);
    }
    if row.marks != running.marks || *row.mark_hash != *running.mark_hash.clone().unwrap_or_default().finalize() {
        faults.push(Fault::Marks);
    }
    if !same(&row.holds_held, row.held) || !same(&row.holds_promised, row.promised) {
        faults.push(Fault::Held);
    }
    if (row.frozen, row.closed) != (row.last_frozen, row.last_closed) {
        faults.push(Fault::AccountState);
    }
    let available = i128::from(row.posted) - i128::from(row.held);
    if row.floor.is_some_and(|floor| available < i128::from(floor)) {
        faults.push(Fault::Floor);
    }
    faults
}

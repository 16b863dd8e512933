//! Balances: running ones on transfers, and then those of the accounts; and what accounts spent, counted along the way.

use chrono::{DateTime, Utc};
use sha2::{Digest as _, Sha256};
use sqlx::PgPool;
use uuid::Uuid;

use super::record::Spendings;
use super::{End, Fault, Findings, usage};
use crate::account::AccountId;
use crate::fold::{MARK_EVERY, Map};
use crate::limit::{Calendar, Class, Day, Spending, Usage};
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

/// How many accounts were compared.
#[derive(Clone, Copy, Default)]
pub(super) struct Compared {
    pub(super) all: i64,
    /// Those whose usage was counted alone.
    pub(super) recounted: i64,
}

impl Compared {
    pub(super) fn add(&mut self, more: Self) {
        (self.all, self.recounted) = (self.all + more.all, self.recounted + more.recounted);
    }
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
    /// What it spent.
    usage: Usage,
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

    /// Follows a block; says whether both balances on each transfer and both places before it follow from what went before.
    pub(super) fn take(&mut self, posted_at: DateTime<Utc>, transfers: &[Transfer], spendings: &Spendings) -> bool {
        let day = self.calendar.day(posted_at);
        for spending in &spendings.held {
            self.spend(*spending, day);
        }
        let mut follows = true;
        for transfer in transfers {
            follows &= self.follow(transfer);
            let kind = self.spending.iter().find(|(kind, _)| *kind == transfer.kind);
            if let Some((_, class)) = kind.filter(|_| !spendings.posted.contains(&transfer.id)) {
                self.spend(Spending { account: transfer.debit, class: *class, amount: transfer.amount }, day);
            }
        }
        for (spending, spent_at) in &spendings.released {
            self.give_back(*spending, *spent_at);
        }
        let refunded = |transfer: &&Transfer| spendings.refunded.contains_key(&transfer.sequence);
        if !spendings.refunded.is_empty() {
            for transfer in transfers.iter().filter(refunded) {
                let (class, spent_at) = spendings.refunded[&transfer.sequence];
                self.give_back(Spending { account: transfer.credit, class, amount: transfer.amount }, spent_at);
            }
        }
        follows
    }

    fn follow(&mut self, transfer: &Transfer) -> bool {
        let Some(out) = transfer.amount.checked_neg().filter(|_| transfer.amount > 0) else { return false };
        let debit = (transfer.debit, out, transfer.debit_balance, transfer.debit_previous);
        let credit = (transfer.credit, transfer.amount, transfer.credit_balance, transfer.credit_previous);
        let mut follows = true;
        for (account, amount, balance, previous) in [debit, credit] {
            if self.is_ours(account.uuid()) {
                let running = self.accounts.entry(account).or_default();
                follows &= running.balance.checked_add(amount) == Some(balance) && running.sequence == previous;
                running.enter(balance, transfer.sequence);
            }
        }
        follows
    }

    /// Counts a spending; what does not fit is counted again from the books.
    fn spend(&mut self, spending: Spending, day: Day) {
        if self.is_ours(spending.account.uuid()) && spending.amount > 0 {
            let usage = &mut self.accounts.entry(spending.account).or_default().usage;
            usage.count(spending.class, day, spending.amount).ok();
        }
    }

    fn give_back(&mut self, spending: Spending, spent_at: DateTime<Utc>) {
        if self.is_ours(spending.account.uuid()) {
            let usage = &mut self.accounts.entry(spending.account).or_default().usage;
            usage.give_back(spending.class, self.calendar.day(spent_at), spending.amount);
        }
    }

    /// Compares the accounts of this share with what history says.
    pub(super) async fn compare(
        mut self,
        pool: &PgPool,
        end: &End,
        findings: &mut Findings,
    ) -> Result<Compared, sqlx::Error> {
        let mut connection = audit::connect(pool).await?;
        let (shard, mut after, mut compared) = (findings.shard, Uuid::nil(), Compared::default());
        loop {
            let page = audit::states(&mut connection, shard, after, end.sequence, ACCOUNT_PAGE).await?;
            let Some(last) = page.last() else { break };
            after = last.id;
            for row in page.into_iter().filter(|row| self.is_ours(row.id)).collect::<Vec<_>>() {
                compared.all += 1;
                let running = self.accounts.remove(&row.id.into()).unwrap_or_default();
                let mut faults = faults(&row, &running);
                // What came later may have counted: then it is counted again, along the account's own chain.
                let counted = Usage::decode(&row.usage).as_ref() == Ok(&running.usage)
                    && (row.later_transfers == 0 || row.usage.is_empty());
                compared.recounted += i64::from(!counted);
                if !counted && !usage::holds(&mut connection, self.calendar, row.id, &row.usage).await? {
                    faults.push(Fault::Usage);
                }
                for fault in faults {
                    let block = books::block_of(&mut connection, shard, running.sequence).await?;
                    findings.add_account(block, row.id, fault);
                }
            }
        }
        for (account, running) in self.accounts {
            let block = books::block_of(&mut connection, shard, running.sequence).await?;
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
    if !row.room_is_plain {
        faults.push(Fault::Room);
    }
    let available = i128::from(row.posted) - i128::from(row.held);
    if row.floor.is_some_and(|floor| available < i128::from(floor)) {
        faults.push(Fault::Floor);
    }
    faults
}

//! The records of a group of blocks, in the order of their leaves.

use std::collections::{HashMap, HashSet, VecDeque};

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::block::{Block, Record, Tree};
use crate::hold::{Ending, Hold};
use crate::limit::{Class, Spending};
use crate::refund::Refund;
use crate::sql::audit::{self, Blocks};
use crate::sql::row::{AccountRow, ChangeRow, HoldRow, KindRow, RefundRow, RequestRow, Unreadable};
use crate::transfer::TransferId;

/// What is left of the records, each list in order of blocks.
pub(super) struct Records {
    account_kinds: VecDeque<KindRow>,
    transfer_kinds: VecDeque<KindRow>,
    opened: VecDeque<AccountRow>,
    changes: VecDeque<ChangeRow>,
    holds: Vec<HoldRow>,
    /// Which of the holds took each step, and in which block.
    holds_opened: VecDeque<Step>,
    holds_confirming: VecDeque<Step>,
    holds_ended: VecDeque<Step>,
    refunds: VecDeque<RefundRow>,
    requests: VecDeque<RequestRow>,
}

/// A step of a hold: the block that seals it, and the hold's place in the list.
struct Step {
    block: i64,
    hold: usize,
}

impl Records {
    pub(super) async fn read(connection: &mut PgConnection, range: Blocks) -> Result<Self, sqlx::Error> {
        let holds = audit::holds(&mut *connection, range).await?;
        Ok(Self {
            account_kinds: audit::account_kinds(&mut *connection, range).await?.into(),
            transfer_kinds: audit::transfer_kinds(&mut *connection, range).await?.into(),
            opened: audit::opened(&mut *connection, range).await?.into(),
            changes: audit::changes(&mut *connection, range).await?.into(),
            holds_opened: steps(&holds, range, |hold| Some(hold.opened_block)),
            holds_confirming: steps(&holds, range, |hold| hold.confirming_block),
            holds_ended: steps(&holds, range, |hold| hold.ended_block),
            holds,
            refunds: audit::refunds(&mut *connection, range).await?.into(),
            requests: audit::requests(&mut *connection, range).await?.into(),
        })
    }

    /// Whether there are requests that made no transfer.
    pub(super) fn any_requests(&self) -> bool {
        !self.requests.is_empty()
    }

    /// Whether there are refunds.
    pub(super) fn any_refunds(&self) -> bool {
        !self.refunds.is_empty()
    }

    /// The tree over the records of `block`, which is the next one, and what they count for limits.
    pub(super) fn of(&mut self, block: &Block, salt: Uuid) -> Result<(Tree, Spendings), Unreadable> {
        let (shard, number) = (block.shard, block.number);
        let (mut tree, mut spendings) = (Tree::default(), Spendings::default());
        tree.push(Record::Salt(salt).leaf(shard, number));
        for row in take(&mut self.account_kinds, |row| row.block <= number) {
            tree.push(Record::AccountKind(row.code, &row.name).leaf(shard, number));
        }
        for row in take(&mut self.transfer_kinds, |row| row.block <= number) {
            tree.push(Record::TransferKind(row.code, &row.name, row.class()?).leaf(shard, number));
        }
        for row in take(&mut self.opened, |row| row.opened_block <= number) {
            tree.push(Record::AccountOpened(&row.read()?).leaf(shard, number));
        }
        for row in take(&mut self.changes, |row| row.block <= number) {
            let ordinal = row.ordinal;
            tree.push(Record::AccountChanged(ordinal, &row.read()?).leaf(shard, number));
        }
        for step in take(&mut self.holds_opened, |step| step.block <= number) {
            let hold = self.holds[step.hold].read()?;
            tree.push(Record::HoldOpened(&hold).leaf(shard, number));
            spendings.open(&hold);
        }
        for step in take(&mut self.holds_confirming, |step| step.block <= number) {
            tree.push(Record::HoldConfirming(&self.holds[step.hold].read()?).leaf(shard, number));
        }
        for step in take(&mut self.holds_ended, |step| step.block <= number) {
            let hold = self.holds[step.hold].read()?;
            tree.push(Record::HoldEnded(&hold).leaf(shard, number));
            spendings.end(&hold);
        }
        for row in take(&mut self.refunds, |row| row.block <= number) {
            let refund = row.read()?;
            tree.push(Record::Refund(&refund).leaf(shard, number));
            spendings.refund(&refund, row.spent_at);
        }
        for row in take(&mut self.requests, |row| row.block <= number) {
            tree.push(Record::Request(&row.read()?).leaf(shard, number));
        }
        Ok((tree, spendings))
    }
}

/// What the records of a block count for limits, beside its transfers.
#[derive(Default)]
pub(super) struct Spendings {
    /// Spent by holds that were opened.
    pub(super) held: Vec<Spending>,
    /// Given back by holds that ended, and when it had been spent.
    pub(super) released: Vec<(Spending, DateTime<Utc>)>,
    /// Transfers that holds became: what they move was counted at the hold.
    pub(super) posted: HashSet<TransferId>,
    /// The sequences of refunds that give back used limits, of which class, and when it had been spent.
    pub(super) refunded: HashMap<i64, (Class, DateTime<Utc>)>,
}

impl Spendings {
    fn open(&mut self, hold: &Hold) {
        self.held.extend(hold.class.map(|class| Spending { account: hold.debit, class, amount: hold.amount }));
    }

    fn end(&mut self, hold: &Hold) {
        let Some((ending, _)) = hold.ended else { return };
        let kept = match ending {
            Ending::Posted { transfer, amount } => {
                self.posted.insert(transfer);
                amount
            }
            Ending::Voided | Ending::Expired => 0,
        };
        if let Some(class) = hold.class {
            let released = Spending { account: hold.debit, class, amount: hold.amount.saturating_sub(kept) };
            self.released.push((released, hold.opened.at));
        }
    }

    fn refund(&mut self, refund: &Refund, spent_at: Option<DateTime<Utc>>) {
        self.refunded.extend(refund.class.zip(spent_at).map(|spent| (refund.sequence, spent)));
    }
}

/// The steps of one sort that holds took in a range of blocks, in the order of their leaves.
fn steps(holds: &[HoldRow], range: Blocks, block: impl Fn(&HoldRow) -> Option<i64>) -> VecDeque<Step> {
    let taken = |(place, hold)| block(hold).map(|block| Step { block, hold: place });
    let within = |step: &Step| (range.first..=range.last).contains(&step.block);
    let mut steps: Vec<Step> = holds.iter().enumerate().filter_map(taken).filter(within).collect();
    steps.sort_unstable_by_key(|step| (step.block, holds[step.hold].id));
    steps.into()
}

/// Takes the rows from the front that belong to a block.
fn take<T>(rows: &mut VecDeque<T>, belongs: impl Fn(&T) -> bool) -> Vec<T> {
    let count = rows.iter().take_while(|row| belongs(row)).count();
    rows.drain(..count).collect()
}

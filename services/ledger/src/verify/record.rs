//! The records of a group of blocks, in the order of their leaves.

use std::collections::{HashSet, VecDeque};

use sqlx::PgPool;
use uuid::Uuid;

use crate::block::{Block, Record, Tree};
use crate::sql::audit::{self, Blocks};
use crate::sql::row::{AccountRow, ChangeRow, HoldRow, KindRow, RefundRow, RequestRow, Unreadable};

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
    pub(super) async fn read(pool: &PgPool, range: Blocks) -> Result<Self, sqlx::Error> {
        let holds = audit::holds(pool, range).await?;
        Ok(Self {
            account_kinds: audit::account_kinds(pool, range).await?.into(),
            transfer_kinds: audit::transfer_kinds(pool, range).await?.into(),
            opened: audit::opened(pool, range).await?.into(),
            changes: audit::changes(pool, range).await?.into(),
            holds_opened: steps(&holds, range, |hold| Some(hold.opened_block)),
            holds_confirming: steps(&holds, range, |hold| hold.confirming_block),
            holds_ended: steps(&holds, range, |hold| hold.ended_block),
            holds,
            refunds: audit::refunds(pool, range).await?.into(),
            requests: audit::requests(pool, range).await?.into(),
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

    /// The sequences of the transfers of `block` that are refunds; `block` is the next one.
    pub(super) fn refunds(&self, block: &Block) -> HashSet<i64> {
        self.refunds.iter().take_while(|row| row.block <= block.number).map(|row| row.sequence).collect()
    }

    /// The tree over the records of `block`, which is the next one.
    pub(super) fn tree(&mut self, block: &Block, salt: Uuid) -> Result<Tree, Unreadable> {
        let (shard, number) = (block.shard, block.number);
        let mut tree = Tree::default();
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
            tree.push(Record::HoldOpened(&self.holds[step.hold].read()?).leaf(shard, number));
        }
        for step in take(&mut self.holds_confirming, |step| step.block <= number) {
            tree.push(Record::HoldConfirming(&self.holds[step.hold].read()?).leaf(shard, number));
        }
        for step in take(&mut self.holds_ended, |step| step.block <= number) {
            tree.push(Record::HoldEnded(&self.holds[step.hold].read()?).leaf(shard, number));
        }
        for row in take(&mut self.refunds, |row| row.block <= number) {
            tree.push(Record::Refund(&row.read()?).leaf(shard, number));
        }
        for row in take(&mut self.requests, |row| row.block <= number) {
            tree.push(Record::Request(&row.read()?).leaf(shard, number));
        }
        Ok(tree)
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

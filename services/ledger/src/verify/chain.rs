//! The walk along the chain: blocks in groups, the transfers and records of each beside it.

use std::collections::{HashSet, VecDeque};

use sqlx::PgPool;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use super::balance::Balances;
use super::record::Records;
use super::{End, Fault, Findings};
use crate::block::{BalanceHash, Block, Hash, Nonce, Tree, transfer_leaf};
use crate::sql::audit::{self, Blocks};
use crate::sql::row::{BlockRow, StoredBlock, TransferRow};
use crate::transfer::{Origin, Transfer};

/// Blocks read at once.
const BLOCK_PAGE: i64 = 512;
/// Transfers read at once.
const TRANSFER_PAGE: i64 = 10_000;
/// Records read at once, summed over a group of blocks.
const RECORD_PAGE: i64 = 20_000;
/// The most transfers or records that one block can have; more is a forgery.
const MAX_SEALED: i32 = 1_000_000;

/// Walks all blocks up to `end`; gives how many transfers were seen.
pub(super) async fn walk(
    pool: &PgPool,
    shard: i16,
    end: &End,
    balances: &mut Balances<'_>,
    findings: &mut Findings,
) -> Result<i64, sqlx::Error> {
    let mut walk = Walk {
        transfers: Transfers::new(pool, shard, end.sequence),
        tip: Tip { number: 0, hash: Hash::ZERO, last_sequence: 0, posted_at: i64::MIN },
        seen: 0,
        further: 0,
        balances,
        findings,
    };
    while walk.tip.number < end.block && !walk.findings.full() {
        let rows = audit::blocks(pool, shard, walk.tip.number, BLOCK_PAGE).await?;
        let rows: Vec<BlockRow> = rows.into_iter().filter(|row| row.number <= end.block).collect();
        if rows.is_empty() {
            walk.findings.add(Some(walk.tip.number + 1), Fault::BlockMissing);
            break;
        }
        for group in grouped(rows) {
            walk.group(pool, shard, group).await?;
        }
    }
    let tip = &walk.tip;
    let at = if end.block == 0 { tip.posted_at } else { end.posted_at.timestamp_micros() };
    if (tip.number, tip.hash, tip.last_sequence, tip.posted_at) != (end.block, end.hash, end.sequence, at) {
        walk.findings.add(Some(end.block), Fault::Head);
    }
    Ok(walk.seen)
}

/// Cuts a page of blocks so that no group has too many records.
fn grouped(rows: Vec<BlockRow>) -> Vec<Vec<BlockRow>> {
    let mut groups: Vec<Vec<BlockRow>> = Vec::new();
    let mut records = i64::MAX;
    for row in rows {
        let sealed = i64::from(row.records.clamp(0, MAX_SEALED));
        records = records.saturating_add(sealed);
        match groups.last_mut() {
            Some(group) if records <= RECORD_PAGE => group.push(row),
            _ => {
                groups.push(vec![row]);
                records = sealed;
            }
        }
    }
    groups
}

/// The last block that was walked.
struct Tip {
    number: i64,
    hash: Hash,
    last_sequence: i64,
    posted_at: i64,
}

struct Walk<'a, 'b> {
    transfers: Transfers<'a>,
    tip: Tip,
    seen: i64,
    /// How many further transfers the current request still has.
    further: i16,
    balances: &'a mut Balances<'b>,
    findings: &'a mut Findings,
}

impl Walk<'_, '_> {
    async fn group(&mut self, pool: &PgPool, shard: i16, rows: Vec<BlockRow>) -> Result<(), sqlx::Error> {
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Ok(()) };
        let sealed: i64 = rows.iter().map(|row| i64::from(row.records.clamp(0, MAX_SEALED))).sum();
        let range = Blocks { shard, first: first.number, last: last.number, limit: sealed + 1 };
        let mut records = Records::read(pool, range).await?;
        if records.any_requests()
            && let Some(block) = audit::key_twice(pool, range).await?
        {
            self.findings.add(Some(block), Fault::KeyTwice);
        }
        if records.any_refunds()
            && let Some(block) = audit::wrong_refund(pool, range).await?
        {
            self.findings.add(Some(block), Fault::Refund);
        }
        for row in rows {
            let number = row.number;
            while self.tip.number + 1 < number && !self.findings.full() {
                self.tip.number += 1;
                self.findings.add(Some(self.tip.number), Fault::BlockMissing);
            }
            match row.read() {
                Ok(stored) => self.block(&stored, &mut records).await?,
                Err(_) => self.findings.add(Some(number), Fault::Unreadable),
            }
            self.tip.number = number;
        }
        Ok(())
    }

    async fn block(&mut self, stored: &StoredBlock, records: &mut Records) -> Result<(), sqlx::Error> {
        let StoredBlock { block, hash, salt } = stored;
        let (hash, salt) = (*hash, *salt);
        let number = Some(block.number);
        if block.hash() != hash {
            self.findings.add(number, Fault::BlockHash);
        }
        if block.previous_hash != self.tip.hash {
            self.findings.add(number, Fault::Chain);
        }
        let time = block.posted_at.timestamp_micros();
        if time < self.tip.posted_at {
            self.findings.add(number, Fault::Time);
        }
        let possible = |count: i32| (0..=MAX_SEALED).contains(&count);
        let follows = block.first_sequence == self.tip.last_sequence + 1;
        if follows && possible(block.transfers) && possible(block.records) {
            self.transfers_of(block, salt, &records.refunds(block)).await?;
        } else {
            self.findings.add(number, Fault::Range);
        }
        match records.tree(block, salt) {
            Ok(tree)
                if (tree.root(), tree.leaves()) == (block.record_root, u64::from(block.records.unsigned_abs()) + 1) => {
            }
            Ok(_) => self.findings.add(number, Fault::Records),
            Err(_) => self.findings.add(number, Fault::Unreadable),
        }
        let last_sequence = if possible(block.transfers) { block.last_sequence() } else { block.first_sequence };
        self.tip = Tip { number: block.number, hash, last_sequence, posted_at: time };
        Ok(())
    }

    async fn transfers_of(&mut self, block: &Block, salt: Uuid, refunds: &HashSet<i64>) -> Result<(), sqlx::Error> {
        let (mut tree, mut balances) = (Tree::default(), BalanceHash::new(salt));
        let mut sequence = self.tip.last_sequence;
        while let Some(row) = self.transfers.next_up_to(block.last_sequence()).await? {
            sequence += 1;
            self.seen += 1;
            let Ok(transfer) = row.read() else {
                self.findings.add(Some(block.number), Fault::Unreadable);
                continue;
            };
            tree.push(transfer_leaf(&transfer, Nonce::of(salt, transfer.sequence)));
            balances.push(&transfer);
            let in_place = transfer.sequence == sequence
                && transfer.block == block.number
                && transfer.posted_at == block.posted_at;
            if !in_place {
                self.findings.add(Some(block.number), Fault::Transfers);
            }
            self.request(&transfer);
            if refunds.contains(&transfer.sequence) {
                self.balances.refunded(transfer.credit);
            }
            if !self.balances.take(&transfer) {
                self.findings.add(Some(block.number), Fault::RunningBalance);
            }
        }
        if tree.root() != block.transfer_root
            || balances.finish() != block.balance_hash
            || sequence != block.last_sequence()
        {
            self.findings.add(Some(block.number), Fault::Transfers);
        }
        if self.further != 0 {
            self.findings.add(Some(block.number), Fault::Request);
            self.further = 0;
        }
        Ok(())
    }

    /// The transfers of a request follow one another.
    fn request(&mut self, transfer: &Transfer) {
        let broken = match transfer.request {
            Origin::First { transfers, .. } => std::mem::replace(&mut self.further, transfers - 1) != 0,
            Origin::Further => {
                self.further -= 1;
                self.further < 0
            }
        };
        if broken {
            self.findings.add(Some(transfer.block), Fault::Request);
            self.further = self.further.max(0);
        }
    }
}

/// The transfers of a shard in order, read page by page; the next page is read while one is looked at.
pub(super) struct Transfers<'a> {
    pool: &'a PgPool,
    shard: i16,
    page: VecDeque<TransferRow>,
    ahead: Option<AbortOnDropHandle<Result<Vec<TransferRow>, sqlx::Error>>>,
    after: i64,
    last: i64,
}

impl<'a> Transfers<'a> {
    /// Those from the first up to sequence `last`.
    pub(super) fn new(pool: &'a PgPool, shard: i16, last: i64) -> Self {
        Self { pool, shard, page: VecDeque::new(), ahead: None, after: 0, last }
    }

    /// The next one, if its sequence is at most `limit`.
    pub(super) async fn next_up_to(&mut self, limit: i64) -> Result<Option<TransferRow>, sqlx::Error> {
        let limit = limit.min(self.last);
        if self.page.is_empty() && self.after < limit {
            let page = match self.ahead.take() {
                Some(ahead) => ahead,
                None => self.read(),
            };
            self.page = page.await.map_err(|_| sqlx::Error::WorkerCrashed)??.into();
            self.after = self.page.back().map_or(i64::MAX, |row| row.sequence);
            if self.after < self.last {
                self.ahead = Some(self.read());
            }
        }
        match self.page.front() {
            Some(row) if row.sequence <= limit => Ok(self.page.pop_front()),
            _ => Ok(None),
        }
    }

    /// Begins to read the page after the one that is here.
    fn read(&self) -> AbortOnDropHandle<Result<Vec<TransferRow>, sqlx::Error>> {
        let (pool, shard, after) = (self.pool.clone(), self.shard, self.after);
        AbortOnDropHandle::new(tokio::spawn(async move { audit::transfers(&pool, shard, after, TRANSFER_PAGE).await }))
    }
}

//! Windows: blocks that follow one another, with all that they seal, read and hashed ahead of the walk.
//!
//! A task reads: transfers by copy on a connection of its own, records beside it. What was read is hashed on threads of its own, so that the database,
//! hashing and the walk go on at once. What each block seals is checked here; how one block follows from another is for the walk.
//! Memory: a window is bounded, and so is how many there are.

use sqlx::{PgConnection, PgPool};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::task::AbortOnDropHandle;

use super::record::{Records, Spendings};
use super::{End, Fault};
use crate::block::{BalanceHash, Block, Hash, Nonce, Tree, transfer_leaf};
use crate::sql::audit::{self, Blocks};
use crate::sql::copy::{Copied, Copier};
use crate::sql::row::{BlockRow, StoredBlock, TransferRow};
use crate::transfer::Transfer;

/// Blocks read at once.
const BLOCK_PAGE: i64 = 2_048;
/// The most transfers, and the most records, of a window of several blocks.
const MOST: i64 = 10_000;
/// Windows that are hashed, or ready, before they are walked.
const AHEAD: usize = 2;
/// The most transfers or records that one block can have; more is a forgery.
const MAX_SEALED: i32 = 1_000_000;

/// Blocks that follow one another.
pub(super) struct Window {
    pub(super) blocks: Vec<Checked>,
    /// The first block with a request whose key has two outcomes.
    pub(super) key_twice: Option<i64>,
    /// The first block with a refund that does not follow from its payment.
    pub(super) wrong_refund: Option<i64>,
}

/// A block that was compared with what it seals.
pub(super) struct Checked {
    pub(super) number: i64,
    /// The block and the hash stored with it; none when a stored value of it means nothing.
    pub(super) block: Option<(Block, Hash)>,
    /// What does not hold within it.
    pub(super) faults: Vec<Fault>,
    /// Rows in its range of sequences.
    pub(super) rows: i64,
    /// Those of them that can be read.
    pub(super) transfers: Vec<Transfer>,
    pub(super) spendings: Spendings,
}

/// The windows of a shard in order.
pub(super) struct Windows {
    ready: mpsc::Receiver<JoinHandle<Result<Window, sqlx::Error>>>,
    reader: AbortOnDropHandle<Result<(), sqlx::Error>>,
}

impl Windows {
    /// Those up to `end`.
    pub(super) fn new(pool: &PgPool, shard: i16, end: &End) -> Self {
        let (send, ready) = mpsc::channel(AHEAD);
        let (pool, last) = (pool.clone(), end.block);
        let reader = AbortOnDropHandle::new(tokio::spawn(read(pool, shard, last, send)));
        Self { ready, reader }
    }

    /// The next one.
    pub(super) async fn next(&mut self) -> Result<Option<Window>, sqlx::Error> {
        match self.ready.recv().await {
            Some(hashing) => hashing.await.map_err(|_| sqlx::Error::WorkerCrashed)?.map(Some),
            None => (&mut self.reader).await.map_err(|_| sqlx::Error::WorkerCrashed)?.map(|()| None),
        }
    }
}

/// Reads windows one after the other and has them hashed.
async fn read(
    pool: PgPool,
    shard: i16,
    last: i64,
    ready: mpsc::Sender<JoinHandle<Result<Window, sqlx::Error>>>,
) -> Result<(), sqlx::Error> {
    let (mut copier, mut beside) = (Copier::new(&pool, shard).await?, audit::connect(&pool).await?);
    let mut after = 0;
    while after < last {
        let mut rows = audit::blocks(&mut beside, shard, after, BLOCK_PAGE).await?;
        rows.retain(|row| row.number <= last);
        let Some(row) = rows.last() else { break };
        after = row.number;
        for blocks in grouped(rows) {
            let raw = Raw::read(&mut copier, &mut beside, blocks).await?;
            if ready.send(tokio::task::spawn_blocking(|| raw.check())).await.is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Whether a block can have so many transfers or records.
pub(super) fn is_possible(count: i32) -> bool {
    (0..=MAX_SEALED).contains(&count)
}

fn sealed(count: i32) -> i64 {
    if is_possible(count) { count.into() } else { 0 }
}

/// Cuts a page of blocks where their ranges of sequences don't follow on, and so that no window is too large.
fn grouped(rows: Vec<BlockRow>) -> Vec<Vec<BlockRow>> {
    let mut groups: Vec<Vec<BlockRow>> = Vec::new();
    let (mut transfers, mut records, mut next) = (0, 0, i64::MIN);
    for row in rows {
        let (more, beside) = (sealed(row.transfers), sealed(row.records));
        let fits = row.first_sequence == next && transfers + more <= MOST && records + beside <= MOST;
        next = row.first_sequence.saturating_add(more);
        match groups.last_mut() {
            Some(group) if fits => {
                (transfers, records) = (transfers + more, records + beside);
                group.push(row);
            }
            _ => {
                (transfers, records) = (more, beside);
                groups.push(vec![row]);
            }
        }
    }
    groups
}

/// A window as it was read.
struct Raw {
    blocks: Vec<BlockRow>,
    transfers: Copied,
    records: Records,
    key_twice: Option<i64>,
    wrong_refund: Option<i64>,
}

impl Raw {
    async fn read(copier: &mut Copier, beside: &mut PgConnection, blocks: Vec<BlockRow>) -> Result<Self, sqlx::Error> {
        let (first, last) = (&blocks[0], &blocks[blocks.len() - 1]);
        let (from, to) = (first.first_sequence, last.first_sequence.saturating_add(sealed(last.transfers) - 1));
        let most = blocks.iter().map(|row| sealed(row.records)).sum::<i64>();
        let range = Blocks { shard: first.shard, first: first.number, last: last.number, limit: most + 1 };
        let records = async {
            let records = Records::read(beside, range).await?;
            let key_twice = if records.any_requests() { audit::key_twice(beside, range).await? } else { None };
            let wrong_refund = if records.any_refunds() { audit::wrong_refund(beside, range).await? } else { None };
            Ok((records, key_twice, wrong_refund))
        };
        let (transfers, (records, key_twice, wrong_refund)) = tokio::try_join!(copier.transfers(from, to), records)?;
        Ok(Self { blocks, transfers, records, key_twice, wrong_refund })
    }

    /// Compares each block with what it seals.
    fn check(mut self) -> Result<Window, sqlx::Error> {
        let mut rows = self.transfers.rows()?.into_iter().peekable();
        let mut blocks = Vec::with_capacity(self.blocks.len());
        for row in self.blocks {
            let (number, end) = (row.number, row.first_sequence.saturating_add(sealed(row.transfers)));
            let mut own = std::iter::from_fn(|| rows.next_if(|transfer| transfer.sequence < end));
            blocks.push(match row.read() {
                Ok(stored) => checked(stored, &mut own, &mut self.records),
                Err(_) => {
                    let rows = i64::try_from(own.count()).unwrap_or(i64::MAX);
                    Checked::unreadable(number, rows)
                }
            });
        }
        Ok(Window { blocks, key_twice: self.key_twice, wrong_refund: self.wrong_refund })
    }
}

impl Checked {
    fn unreadable(number: i64, rows: i64) -> Self {
        let (faults, transfers, spendings) = (vec![Fault::Unreadable], Vec::new(), Spendings::default());
        Self { number, block: None, faults, rows, transfers, spendings }
    }
}

/// Compares a block with the rows in its range, and with the records that are next.
fn checked(stored: StoredBlock, rows: &mut dyn Iterator<Item = TransferRow>, records: &mut Records) -> Checked {
    let StoredBlock { block, hash, salt } = stored;
    let mut faults = Vec::new();
    if block.hash() != hash {
        faults.push(Fault::BlockHash);
    }
    let (mut tree, mut balances) = (Tree::default(), BalanceHash::new(salt));
    let mut transfers = Vec::with_capacity(usize::try_from(sealed(block.transfers)).unwrap_or(0));
    let (mut sequence, mut in_place, mut readable) = (block.first_sequence, true, true);
    let mut count = 0;
    for row in rows {
        in_place &= row.sequence == sequence && row.block == block.number && row.posted_at == block.posted_at;
        (sequence, count) = (sequence.wrapping_add(1), count + 1);
        let Ok(transfer) = row.read() else {
            readable = false;
            continue;
        };
        tree.push(transfer_leaf(&transfer, Nonce::of(salt, transfer.sequence)));
        balances.push(&transfer);
        transfers.push(transfer);
    }
    if !readable {
        faults.push(Fault::Unreadable);
    }
    let is_sealed = tree.root() == block.transfer_root && balances.finish() == block.balance_hash;
    if !in_place || !is_sealed || count != i64::from(block.transfers) {
        faults.push(Fault::Transfers);
    }
    let mut spendings = Spendings::default();
    match records.of(&block, salt) {
        Ok((tree, spent)) => {
            spendings = spent;
            // The salt is a leaf too.
            if (tree.root(), tree.leaves()) != (block.record_root, u64::from(block.records.unsigned_abs()) + 1) {
                faults.push(Fault::Records);
            }
        }
        Err(_) => faults.push(Fault::Unreadable),
    }
    Checked { number: block.number, block: Some((block, hash)), faults, rows: count, transfers, spendings }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use uuid::Uuid;

    use super::*;

    fn row(number: i64, first_sequence: i64, transfers: i32, records: i32) -> BlockRow {
        BlockRow {
            shard: 1,
            number,
            first_sequence,
            posted_at: DateTime::UNIX_EPOCH,
            transfers,
            records,
            transfer_root: Vec::new(),
            record_root: Vec::new(),
            balance_hash: Vec::new(),
            previous_hash: Vec::new(),
            hash: Vec::new(),
            salt: Uuid::nil(),
        }
    }

    fn numbers(rows: Vec<BlockRow>) -> Vec<Vec<i64>> {
        grouped(rows).iter().map(|group| group.iter().map(|row| row.number).collect()).collect()
    }

    #[test]
    fn windows_are_bounded_and_their_sequences_follow_on() {
        assert_eq!(
            numbers(vec![row(1, 1, 4_000, 0), row(2, 4_001, 6_000, 1), row(3, 10_001, 1, 0)]),
            [vec![1, 2], vec![3]]
        );
        assert_eq!(numbers(vec![row(1, 1, 1, 9_999), row(2, 2, 1, 1), row(3, 3, 1, 1)]), [vec![1, 2], vec![3]]);
        // One block may be larger than a window, and stands alone then.
        assert_eq!(numbers(vec![row(1, 1, 1, 0), row(2, 2, 20_000, 0), row(3, 20_002, 1, 0)]), [[1], [2], [3]]);
        // Forged ranges: a gap, an overlap, counts that can't be.
        assert_eq!(numbers(vec![row(1, 1, 5, 0), row(2, 7, 5, 0), row(3, 12, 5, 0)]), [vec![1], vec![2, 3]]);
        assert_eq!(numbers(vec![row(1, 1, 5, 0), row(2, 5, 5, 0)]), [[1], [2]]);
        assert_eq!(
            numbers(vec![row(1, 1, -5, -1), row(2, 1, i32::MAX, 0), row(3, i64::MAX, 2, 0)]),
            [vec![1, 2], vec![3]]
        );
    }
}

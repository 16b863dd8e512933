//! Makes the checkpoints that are due: one for each finished day that has blocks, oldest first.
//!
//! Short statements, no lock: what is written is the same whoever writes it, and what is there stays.

use chrono::{DateTime, Days, NaiveDate, TimeDelta, TimeZone, Utc};
use sqlx::PgPool;

use super::{Checkpoint, nodes, read, tree};
use crate::block::{Block, Hash};
use crate::note::{NoteError, PublicKey, Signer};
use crate::sql::checkpoint::{self as sql, CheckpointRow};
use crate::sql::row::StoredBlock;

/// How long after its end a day is closed: clocks of replicas differ by less.
pub const GRACE: TimeDelta = TimeDelta::minutes(5);
/// The most checkpoints of one run; the next run goes on.
const MAX_PER_RUN: usize = 1_000;
/// Blocks read at once; a multiple of a tile.
const BLOCK_PAGE: i64 = 8_192;
/// Tiles of inner nodes put together at once.
const TILE_PAGE: i64 = 32;
/// The longest that clocks are put forward at midnight, in hours.
const MAX_GAP: i64 = 3;

/// Who signs, about what.
#[derive(Debug)]
pub struct Maker<Z> {
    /// The city's name on checkpoints, to which `/ledger/` and the shard are added.
    pub name: String,
    /// The shard.
    pub shard: i16,
    /// The city's zone.
    pub zone: Z,
    /// The key.
    pub signer: Signer,
}

impl<Z> Maker<Z> {
    /// Who speaks: the first line of a checkpoint and the name of the key.
    fn origin(&self) -> String {
        format!("{}/ledger/{}", self.name, self.shard)
    }

    /// The public key of its checkpoints.
    ///
    /// # Errors
    /// When no key may have such a name.
    pub fn public_key(&self) -> Result<PublicKey, NoteError> {
        self.signer.public_key(&self.origin())
    }
}

/// Why no checkpoint was made.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    /// The database can't be read or written.
    #[error("the database does not answer")]
    Database(#[from] sqlx::Error),
    /// The chain does not hold at this block, so that nothing is signed.
    #[error("the chain of blocks does not hold at block {0}")]
    Broken(i64),
    /// A stored checkpoint can't be read, or the name can't be signed under.
    #[error("a checkpoint can't be read or signed")]
    Note(#[from] NoteError),
}

/// Makes what is due at `now`. Gives the days for which it made one.
///
/// # Errors
/// When the database can't be read or written, or the chain does not hold; what was made before stays.
pub async fn due<Z: TimeZone>(
    pool: &PgPool,
    maker: &Maker<Z>,
    now: DateTime<Utc>,
) -> Result<Vec<NaiveDate>, MakeError> {
    let mut made = Vec::new();
    for _ in 0..MAX_PER_RUN {
        match next(pool, maker, now).await? {
            None => break,
            Some((day, true)) => made.push(day),
            // Another replica was faster.
            Some((_, false)) => {}
        }
    }
    Ok(made)
}

/// When to look again: when the day of `now` is closed.
pub fn next_due<Z: TimeZone>(zone: &Z, now: DateTime<Utc>) -> DateTime<Utc> {
    // A day whose grace runs is closed first.
    end(zone, day_of(zone, now - GRACE)) + GRACE
}

/// Makes the next one, if it is due: its day, and whether it was us who added it.
async fn next<Z: TimeZone>(
    pool: &PgPool,
    maker: &Maker<Z>,
    now: DateTime<Utc>,
) -> Result<Option<(NaiveDate, bool)>, MakeError> {
    let before = last(pool, maker.shard).await?;
    let covered = before.as_ref().map_or(0, |before| before.blocks);
    let first = sql::blocks(pool, maker.shard, covered, covered + 1, 1).await?.pop();
    let Some(first) = first else { return Ok(None) };
    let after = before.as_ref().and_then(|before| before.day.succ_opt());
    let day = after.into_iter().fold(day_of(&maker.zone, first.posted_at), NaiveDate::max);
    let ends = end(&maker.zone, day);
    if now < ends + GRACE {
        return Ok(None);
    }
    let last = sql::last_block_before(pool, maker.shard, ends).await?.unwrap_or(covered);
    if last <= covered {
        return Err(MakeError::Broken(covered + 1));
    }
    let tip = extend(pool, maker.shard, before.as_ref(), last).await?;
    let edges = read(pool, maker.shard, &tree::edges(last, tree::BITS)).await?;
    let checkpoint = Checkpoint {
        origin: maker.origin(),
        blocks: last,
        root: tree::root(&edges),
        day,
        block_hash: tip.hash(),
        last_sequence: tip.last_sequence(),
        last_time: tip.posted_at,
        previous: before.map_or(Hash::ZERO, |before| before.hash()),
    };
    let row = CheckpointRow {
        shard: maker.shard,
        day,
        block: last,
        note: maker.signer.sign(&checkpoint.origin, &checkpoint.to_string())?.to_string(),
        signer: maker.public_key()?.to_string(),
    };
    Ok(Some((day, sql::add(pool, &row).await?)))
}

/// The last checkpoint, whose signature must hold.
async fn last(pool: &PgPool, shard: i16) -> Result<Option<Checkpoint>, MakeError> {
    let Some(row) = sql::newest(pool, shard, None, 1).await?.pop() else { return Ok(None) };
    Ok(Some(Checkpoint::open(&row.note, &row.signer.parse()?)?))
}

/// Follows the chain after the last checkpoint up to a block, and stores the inner nodes that it fills. Gives that block.
async fn extend(pool: &PgPool, shard: i16, before: Option<&Checkpoint>, last: i64) -> Result<Block, MakeError> {
    let covered = before.map_or(0, |before| before.blocks);
    // From the beginning of a tile, so that each is filled from its leaves.
    let start = covered >> tree::BITS << tree::BITS;
    let mut walk = Walk { shard, covered, expected: before.map(|before| before.block_hash), tip: None };
    let mut number = start;
    while number < last {
        let rows = sql::blocks(pool, shard, number, last, BLOCK_PAGE).await?;
        let mut leaves = Vec::new();
        for row in rows {
            let StoredBlock { block, hash: stored, .. } = row.read().map_err(sqlx::Error::from)?;
            number += 1;
            walk.follow(number, block, stored)?;
            leaves.push(tree::leaf(stored));
        }
        if leaves.is_empty() {
            return Err(MakeError::Broken(number + 1));
        }
        store(pool, shard, 1, (number - len(&leaves)) >> tree::BITS, &leaves).await?;
    }
    for level in 2.. {
        let (from, to) = (covered >> (level * tree::BITS), tree::full(last, level, tree::BITS));
        if to == 0 {
            break;
        }
        let mut place = from;
        while place < to {
            let end = (place + TILE_PAGE).min(to);
            let below = tree::Range { level: level - 1, start: place << tree::BITS, end: end << tree::BITS };
            let children = nodes(pool, shard, below).await?;
            store(pool, shard, level, place, &children).await?;
            place = end;
        }
    }
    walk.tip.ok_or(MakeError::Broken(covered + 1))
}

/// Stores the heads of full tiles of children, the first at a place; what was there already must be the same.
async fn store(pool: &PgPool, shard: i16, level: u32, place: i64, children: &[Hash]) -> Result<(), MakeError> {
    let heads: Vec<Hash> = children.chunks_exact(1 << tree::BITS).map(tree::head).collect();
    if heads.is_empty() {
        return Ok(());
    }
    sql::add_nodes(pool, shard, i16::try_from(level).unwrap_or(i16::MAX), place, &heads).await?;
    let end = place + len(&heads);
    let there = nodes(pool, shard, tree::Range { level, start: place, end }).await?;
    if there == heads { Ok(()) } else { Err(MakeError::Broken((end << (level * tree::BITS)).max(1))) }
}

fn len(hashes: &[Hash]) -> i64 {
    i64::try_from(hashes.len()).unwrap_or(i64::MAX)
}

/// The walk along the chain.
struct Walk {
    shard: i16,
    /// The last block of the checkpoint before.
    covered: i64,
    /// Its hash.
    expected: Option<Hash>,
    tip: Option<Block>,
}

impl Walk {
    fn follow(&mut self, number: i64, block: Block, stored: Hash) -> Result<(), MakeError> {
        let linked = match &self.tip {
            Some(tip) => {
                block.previous_hash == tip.hash()
                    && block.first_sequence == tip.last_sequence() + 1
                    && block.posted_at >= tip.posted_at
            }
            None => number > 1 || (block.previous_hash == Hash::ZERO && block.first_sequence == 1),
        };
        let as_before = number != self.covered || self.expected == Some(stored);
        let sound = block.number == number && block.shard == self.shard && block.hash() == stored;
        if !(linked && as_before && sound) {
            return Err(MakeError::Broken(number));
        }
        self.tip = Some(block);
        Ok(())
    }
}

fn day_of<Z: TimeZone>(zone: &Z, at: DateTime<Utc>) -> NaiveDate {
    at.with_timezone(zone).date_naive()
}

/// When a day ends: the first moment of the next one.
fn end<Z: TimeZone>(zone: &Z, day: NaiveDate) -> DateTime<Utc> {
    let next = day.checked_add_days(Days::new(1)).unwrap_or(NaiveDate::MAX).and_time(chrono::NaiveTime::MIN);
    // Where clocks are put forward at midnight, a day begins later.
    let local = (0..=MAX_GAP).find_map(|hours| zone.from_local_datetime(&(next + TimeDelta::hours(hours))).earliest());
    local.map_or(DateTime::<Utc>::MAX_UTC, |local| local.with_timezone(&Utc))
}

#[cfg(test)]
mod tests {
    use chrono::FixedOffset;

    use super::*;

    #[test]
    fn a_day_is_closed_a_little_after_its_end() {
        let zone = FixedOffset::east_opt(7 * 3_600).expect("a zone");
        let at = |text: &str| text.parse::<DateTime<Utc>>().expect("a time");
        for (now, due) in [
            ("2026-11-21T10:00:00Z", "2026-11-21T17:05:00Z"),
            ("2026-11-21T17:00:00Z", "2026-11-21T17:05:00Z"),
            ("2026-11-21T17:05:00Z", "2026-11-22T17:05:00Z"),
        ] {
            assert_eq!(next_due(&zone, at(now)), at(due), "{now}");
        }
    }
}

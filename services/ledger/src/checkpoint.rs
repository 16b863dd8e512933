//! Signed checkpoints: at the end of each day the city says in public what its books are, so that it can't tell two people two stories later.
//!
//! A checkpoint is about *all* blocks of a shard up to one: the tree head over them (RFC 6962), in the form of C2SP (`tlog-checkpoint`),
//! with lines of our own after it, signed with Ed25519 ([`crate::note`]):
//!
//! ```text
//! hue.example/ledger/1                          who speaks, about which shard; the name of the key too
//! 4711                                          how many blocks
//! bHqD…                                         the tree head over the hashes of the blocks
//! day 2026-11-21                                the city's day that it ends
//! block-hash 5f…                                the hash of the last block
//! last-sequence 90210                           its last transfer
//! last-time 2026-11-21T16:59:58.123456Z         its time
//! previous 9c…                                  SHA-256 of the text of the checkpoint before; zeros for the first
//! ```
//!
//! | module | what lives there |
//! | --- | --- |
//! | here | the text, and what readers ask |
//! | [`make`] | makes what is due; may be run by any number of replicas at once |
//! | [`audit`] | recomputes all of them from the blocks |
//! | `tree` | the tree over all blocks, from stored inner nodes; pure |
//!
//! Invariants:
//! - A checkpoint says nothing that depends on when or by whom it was made, so that two replicas make the same one and the second changes nothing.
//! - It covers blocks by number, not by time: a block that a slow clock dated into a day already closed belongs to the next checkpoint.
//! - Nothing is signed before the chain of the new blocks was recomputed.

pub mod audit;
pub mod make;
mod tree;

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, NaiveDate, SecondsFormat, Utc};
use sha2::{Digest as _, Sha256};
use sqlx::PgPool;

use crate::block::{Hash, root_of_path};
use crate::note::{Note, NoteError, PublicKey};
use crate::sql::checkpoint::{self as sql, CheckpointRow};
use crate::sql::row::Unreadable;

/// The most checkpoints of one page.
pub const MAX_CHECKPOINTS: u16 = 1_000;

/// What a checkpoint says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Who speaks, about which shard: the name of the key.
    pub origin: String,
    /// How many blocks it covers: all up to this number.
    pub blocks: i64,
    /// The tree head over their hashes.
    pub root: Hash,
    /// The day of the city that it ends.
    pub day: NaiveDate,
    /// The hash of the last block.
    pub block_hash: Hash,
    /// The sequence of the last transfer.
    pub last_sequence: i64,
    /// The time of the last block.
    pub last_time: DateTime<Utc>,
    /// The hash of the checkpoint before.
    pub previous: Hash,
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{}\n{}\n{}", self.origin, self.blocks, STANDARD.encode(self.root.0))?;
        writeln!(formatter, "day {}\nblock-hash {}", self.day.format("%Y-%m-%d"), self.block_hash)?;
        let time = self.last_time.to_rfc3339_opts(SecondsFormat::Micros, true);
        writeln!(formatter, "last-sequence {}\nlast-time {time}\nprevious {}", self.last_sequence, self.previous)
    }
}

impl FromStr for Checkpoint {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let read = parse(text).ok_or(NoteError::Malformed)?;
        // One checkpoint has one form.
        if read.to_string() == text { Ok(read) } else { Err(NoteError::Malformed) }
    }
}

fn parse(text: &str) -> Option<Checkpoint> {
    let mut lines = text.lines();
    let (origin, blocks, root) = (lines.next()?, lines.next()?, lines.next()?);
    let mut named = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
    let (day, block_hash) = (named("day")?, named("block-hash")?);
    let (last_sequence, last_time, previous) = (named("last-sequence")?, named("last-time")?, named("previous")?);
    Some(Checkpoint {
        origin: origin.to_owned(),
        blocks: blocks.parse().ok().filter(|blocks| *blocks > 0)?,
        root: Hash::from_stored(&STANDARD.decode(root).ok()?)?,
        day: day.parse().ok()?,
        block_hash: hash(block_hash)?,
        last_sequence: last_sequence.parse().ok()?,
        last_time: last_time.parse().ok()?,
        previous: hash(previous)?,
    })
}

fn hash(text: &str) -> Option<Hash> {
    Hash::from_stored(&hex::decode(text).ok()?)
}

impl Checkpoint {
    /// The hash that the next checkpoint carries.
    pub fn hash(&self) -> Hash {
        Hash(Sha256::digest(self.to_string()).into())
    }

    /// Whether a block is among those it covers; `path` is the block's audit path.
    pub fn covers(&self, number: i64, block_hash: Hash, path: &[Hash]) -> bool {
        let place = u64::try_from(number).ok().and_then(|number| number.checked_sub(1));
        let size = u64::try_from(self.blocks).unwrap_or(0);
        place.is_some_and(|place| root_of_path(tree::leaf(block_hash), place, size, path) == Some(self.root))
    }

    /// The checkpoint of a note, if this key signed it under its own name.
    ///
    /// # Errors
    /// When it did not, or the note is no checkpoint.
    pub fn open(note: &str, key: &PublicKey) -> Result<Self, NoteError> {
        let note: Note = note.parse()?;
        note.verify(key)?;
        let checkpoint: Self = note.text().parse()?;
        if checkpoint.origin == key.name() { Ok(checkpoint) } else { Err(NoteError::Unsigned) }
    }
}

/// A checkpoint as it is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The shard.
    pub shard: i16,
    /// The day of the city that it ends.
    pub day: NaiveDate,
    /// How many blocks it covers.
    pub blocks: i64,
    /// The signed note.
    pub note: String,
    /// The public key of who signed.
    pub signer: String,
}

impl From<CheckpointRow> for Published {
    fn from(row: CheckpointRow) -> Self {
        Self { shard: row.shard, day: row.day, blocks: row.block, note: row.note, signer: row.signer }
    }
}

/// The checkpoints of a shard before a day (the newest for `None`), newest first, at most `limit` (and [`MAX_CHECKPOINTS`]).
///
/// # Errors
/// When the database can't be read.
pub async fn list(
    pool: &PgPool,
    shard: i16,
    before: Option<NaiveDate>,
    limit: u16,
) -> Result<Vec<Published>, sqlx::Error> {
    let rows = sql::newest(pool, shard, before, limit.min(MAX_CHECKPOINTS).into()).await?;
    Ok(rows.into_iter().map(Published::from).collect())
}

/// The first checkpoint that covers a block, and the block's audit path to it; `None` while there is none.
///
/// # Errors
/// When the database can't be read.
pub async fn covering(pool: &PgPool, shard: i16, block: i64) -> Result<Option<(Published, Vec<Hash>)>, sqlx::Error> {
    let Some(row) = sql::covering(pool, shard, block - 1, 1).await?.pop() else { return Ok(None) };
    let (place, size) = (block - 1, row.block);
    let tiles = read(pool, shard, &tree::tiles(place, size, tree::BITS)).await?;
    let edges = read(pool, shard, &tree::edges(size, tree::BITS)).await?;
    let path = tree::path(place, size, &tiles, &edges, tree::BITS);
    Ok(Some((row.into(), path)))
}

/// Reads nodes of the tree.
async fn read(pool: &PgPool, shard: i16, ranges: &[tree::Range]) -> Result<Vec<Vec<Hash>>, sqlx::Error> {
    let mut all = Vec::new();
    for range in ranges {
        let nodes = nodes(pool, shard, *range).await?;
        if i64::try_from(nodes.len()) != Ok(range.end - range.start) {
            return Err(Unreadable("tree of blocks").into());
        }
        all.push(nodes);
    }
    Ok(all)
}

/// The nodes of a range that are there.
async fn nodes(pool: &PgPool, shard: i16, range: tree::Range) -> Result<Vec<Hash>, sqlx::Error> {
    let tree::Range { level, start, end } = range;
    if level == 0 {
        let hashes = sql::block_hashes(pool, shard, start, end).await?;
        return Ok(hashes.into_iter().map(tree::leaf).collect());
    }
    let level = i16::try_from(level).map_err(|_| Unreadable("level"))?;
    sql::nodes(pool, shard, level, start, end).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::leaf_hash;
    use crate::note::Signer;

    fn checkpoint() -> Checkpoint {
        Checkpoint {
            origin: "hue.example/ledger/1".to_owned(),
            blocks: 4_711,
            root: leaf_hash(b"root"),
            day: NaiveDate::from_ymd_opt(2026, 11, 21).expect("a day"),
            block_hash: leaf_hash(b"block"),
            last_sequence: 90_210,
            last_time: DateTime::from_timestamp_micros(1_763_744_398_123_456).expect("a time"),
            previous: Hash::ZERO,
        }
    }

    #[test]
    fn the_text_never_changes_its_form() {
        let text = checkpoint().to_string();
        assert_eq!(text.parse(), Ok(checkpoint()));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..2], ["hue.example/ledger/1", "4711"]);
        assert_eq!(lines[3], "day 2026-11-21");
        assert_eq!(lines[6], "last-time 2025-11-21T16:59:58.123456Z");
        assert_eq!(lines.len(), 8);
    }

    #[test]
    fn a_text_in_another_form_is_refused() {
        let text = checkpoint().to_string();
        let more = format!("{text}more\n");
        for other in [
            text.replace("4711", "04711"),
            text.replace("4711", "0"),
            text.replace("day 2026-11-21", "day 2026-11-021"),
            text.replace("123456Z", "123456+00:00"),
            text.replace("block-hash ", "block-hash  "),
            text.trim_end().to_owned(),
            more,
        ] {
            assert_eq!(other.parse::<Checkpoint>(), Err(NoteError::Malformed), "{other}");
        }
    }

    #[test]
    fn a_key_speaks_under_its_own_name_only() {
        let signer = Signer::try_new(&"07".repeat(32)).expect("a seed");
        let text = checkpoint().to_string();
        for (name, expected) in [("hue.example/ledger/1", Ok(checkpoint())), ("other", Err(NoteError::Unsigned))] {
            let note = signer.sign(name, &text).expect("signed").to_string();
            assert_eq!(Checkpoint::open(&note, &signer.public_key(name).expect("a name")), expected);
        }
    }
}

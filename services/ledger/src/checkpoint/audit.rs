//! Recomputes every checkpoint and every inner node of the tree from the blocks, in pages, in constant memory.
//!
//! Whether the blocks hold what they seal is for [`crate::verify`] to say. Reads only.

use sqlx::PgPool;

use super::{Checkpoint, nodes, tree};
use crate::block::{Hash, Tree};
use crate::sql::books;
use crate::sql::checkpoint::{self as sql, CheckpointRow};

/// Checkpoints read at once.
const PAGE: i64 = 100;
/// Blocks and nodes read at once; a multiple of a tile.
const BLOCK_PAGE: i64 = 8_192;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How many checkpoints there are.
    pub checkpoints: u64,
    /// The first thing that does not hold, as a sentence.
    pub fault: Option<String>,
}

/// Recomputes the checkpoints of every shard.
///
/// # Errors
/// When the database can't be read; what does not hold is no error but in the report.
pub async fn verify(pool: &PgPool) -> Result<Report, sqlx::Error> {
    let mut report = Report::default();
    for shard in books::shards(pool).await? {
        let mut walk = Walk { shard, tree: Tree::default(), tip: Hash::ZERO, blocks: 0, previous: None };
        loop {
            let rows = sql::covering(pool, shard, walk.blocks, PAGE).await?;
            if rows.is_empty() {
                break;
            }
            for row in rows {
                report.checkpoints += 1;
                if let Some(fault) = walk.check(pool, &row).await? {
                    report.fault = Some(format!("shard {shard}, checkpoint of {}: {fault}", row.day));
                    return Ok(report);
                }
            }
        }
        if let Some(fault) = stored_nodes(pool, shard, walk.blocks).await? {
            report.fault = Some(format!("shard {shard}: {fault}"));
            return Ok(report);
        }
    }
    Ok(report)
}

/// The walk along the blocks of a shard.
struct Walk {
    shard: i16,
    tree: Tree,
    tip: Hash,
    blocks: i64,
    previous: Option<Checkpoint>,
}

impl Walk {
    async fn check(&mut self, pool: &PgPool, row: &CheckpointRow) -> Result<Option<&'static str>, sqlx::Error> {
        while self.blocks < row.block {
            let last = (self.blocks + BLOCK_PAGE).min(row.block);
            let hashes = sql::block_hashes(pool, self.shard, self.blocks, last).await?;
            if i64::try_from(hashes.len()) != Ok(last - self.blocks) {
                return Ok(Some("a block that it covers is missing"));
            }
            for hash in hashes {
                self.tree.push(tree::leaf(hash));
                self.tip = hash;
            }
            self.blocks = last;
        }
        let opened = row.signer.parse().and_then(|key| Checkpoint::open(&row.note, &key));
        let Ok(checkpoint) = opened else { return Ok(Some("its signature does not hold")) };
        let block = books::block(pool, self.shard, row.block).await?;
        let (last_sequence, last_time) =
            block.map(|stored| (stored.block.last_sequence(), stored.block.posted_at)).unzip();
        let after = self.previous.as_ref();
        let chained = after.map_or(Hash::ZERO, Checkpoint::hash) == checkpoint.previous
            && after.is_none_or(|before| before.day < checkpoint.day);
        let fault = if !chained {
            Some("it does not follow from the one before")
        } else if (checkpoint.blocks, checkpoint.day) != (row.block, row.day) {
            Some("its row is not what it says")
        } else if checkpoint.root != self.tree.root() || checkpoint.block_hash != self.tip {
            Some("the blocks are not those that were signed")
        } else if (Some(checkpoint.last_sequence), Some(checkpoint.last_time)) != (last_sequence, last_time) {
            Some("the last block is not the one that was signed")
        } else {
            None
        };
        self.previous = Some(checkpoint);
        Ok(fault)
    }
}

/// Compares the inner nodes with their children, level by level.
async fn stored_nodes(pool: &PgPool, shard: i16, blocks: i64) -> Result<Option<&'static str>, sqlx::Error> {
    for level in 1_u32.. {
        let wanted = tree::full(blocks, level, tree::BITS);
        let stored = sql::count_nodes(pool, shard, i16::try_from(level).unwrap_or(i16::MAX)).await?;
        // Nodes may be there before the checkpoint that needs them.
        if stored < wanted {
            return Ok(Some("an inner node of the tree of blocks is missing"));
        }
        if wanted == 0 {
            break;
        }
        let mut place = 0;
        while place < wanted {
            let end = (place + (BLOCK_PAGE >> tree::BITS)).min(wanted);
            let below = tree::Range { level: level - 1, start: place << tree::BITS, end: end << tree::BITS };
            let children = nodes(pool, shard, below).await?;
            let heads: Vec<Hash> = children.chunks(1 << tree::BITS).map(tree::head).collect();
            if nodes(pool, shard, tree::Range { level, start: place, end }).await? != heads {
                return Ok(Some("an inner node of the tree of blocks is not what its blocks add up to"));
            }
            place = end;
        }
    }
    Ok(None)
}

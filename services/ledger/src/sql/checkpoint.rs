//! What checkpoints read and write. Every statement is its own short transaction; all of them only add, and adding again changes nothing.

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::PgPool;

use super::row::{BlockRow, Unreadable};
use crate::block::Hash;

/// A checkpoint as it is stored.
#[derive(Clone, Debug)]
pub(crate) struct CheckpointRow {
    pub(crate) shard: i16,
    pub(crate) day: NaiveDate,
    pub(crate) block: i64,
    pub(crate) note: String,
    pub(crate) signer: String,
}

/// The checkpoints of a shard before a day (all for `None`), newest first.
pub(crate) async fn newest(
    pool: &PgPool,
    shard: i16,
    before: Option<NaiveDate>,
    limit: i64,
) -> Result<Vec<CheckpointRow>, sqlx::Error> {
    sqlx::query_as!(
        CheckpointRow,
        "SELECT shard, day, block, note, signer
         FROM ledger.checkpoint
         WHERE shard = $1 AND ($2::date IS NULL OR day < $2)
         ORDER BY day DESC
         LIMIT $3",
        shard,
        before,
        limit,
    )
    .fetch_all(pool)
    .await
}

/// Checkpoints that cover blocks after one, oldest first.
pub(crate) async fn covering(
    pool: &PgPool,
    shard: i16,
    after: i64,
    limit: i64,
) -> Result<Vec<CheckpointRow>, sqlx::Error> {
    sqlx::query_as!(
        CheckpointRow,
        "SELECT shard, day, block, note, signer
         FROM ledger.checkpoint
         WHERE shard = $1 AND block > $2
         ORDER BY block
         LIMIT $3",
        shard,
        after,
        limit,
    )
    .fetch_all(pool)
    .await
}

/// Adds a checkpoint, unless there is one for its day or its block.
pub(crate) async fn add(pool: &PgPool, row: &CheckpointRow) -> Result<bool, sqlx::Error> {
    let added = sqlx::query!(
        "INSERT INTO ledger.checkpoint (shard, day, block, note, signer)
         VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT DO NOTHING",
        row.shard,
        row.day,
        row.block,
        row.note,
        row.signer,
    )
    .execute(pool)
    .await?;
    Ok(added.rows_affected() == 1)
}

/// The last block of a shard posted before a time.
pub(crate) async fn last_block_before(
    pool: &PgPool,
    shard: i16,
    before: DateTime<Utc>,
) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar!(
        "SELECT number FROM ledger.block
         WHERE shard = $1 AND posted_at < $2
         ORDER BY posted_at DESC, number DESC
         LIMIT 1",
        shard,
        before,
    )
    .fetch_optional(pool)
    .await
}

/// Blocks after a number up to another, oldest first.
pub(crate) async fn blocks(
    pool: &PgPool,
    shard: i16,
    after: i64,
    last: i64,
    limit: i64,
) -> Result<Vec<BlockRow>, sqlx::Error> {
    sqlx::query_as!(
        BlockRow,
        "SELECT shard, number, first_sequence, posted_at, transfers, records, transfer_root, record_root, balance_hash, previous_hash, hash, salt
         FROM ledger.block
         WHERE shard = $1 AND number > $2 AND number <= $3
         ORDER BY number
         LIMIT $4",
        shard,
        after,
        last,
        limit,
    )
    .fetch_all(pool)
    .await
}

/// Hashes of blocks after a number up to another, oldest first.
pub(crate) async fn block_hashes(pool: &PgPool, shard: i16, after: i64, last: i64) -> Result<Vec<Hash>, sqlx::Error> {
    let hashes = sqlx::query_scalar!(
        "SELECT hash FROM ledger.block
         WHERE shard = $1 AND number > $2 AND number <= $3
         ORDER BY number",
        shard,
        after,
        last,
    )
    .fetch_all(pool)
    .await?;
    hashes.iter().map(|bytes| read(bytes)).collect()
}

/// Stored nodes of a level of the tree, from a place up to another that is not included.
pub(crate) async fn nodes(
    pool: &PgPool,
    shard: i16,
    level: i16,
    start: i64,
    end: i64,
) -> Result<Vec<Hash>, sqlx::Error> {
    let hashes = sqlx::query_scalar!(
        "SELECT hash FROM ledger.block_tree
         WHERE shard = $1 AND level = $2 AND place >= $3 AND place < $4
         ORDER BY place",
        shard,
        level,
        start,
        end,
    )
    .fetch_all(pool)
    .await?;
    hashes.iter().map(|bytes| read(bytes)).collect()
}

/// How many nodes of a level are stored.
pub(crate) async fn count_nodes(pool: &PgPool, shard: i16, level: i16) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT COUNT(*) AS "nodes!" FROM ledger.block_tree WHERE shard = $1 AND level = $2"#,
        shard,
        level,
    )
    .fetch_one(pool)
    .await
}

/// Adds nodes of a level from a place on; those that are there stay.
pub(crate) async fn add_nodes(
    pool: &PgPool,
    shard: i16,
    level: i16,
    start: i64,
    hashes: &[Hash],
) -> Result<(), sqlx::Error> {
    let bytes: Vec<Vec<u8>> = hashes.iter().map(|hash| hash.0.to_vec()).collect();
    sqlx::query!(
        "INSERT INTO ledger.block_tree (shard, level, place, hash)
         SELECT $1, $2, $3 + t.ordinal - 1, t.hash
         FROM unnest($4::bytea[]) WITH ORDINALITY AS t (hash, ordinal)
         ON CONFLICT DO NOTHING",
        shard,
        level,
        start,
        &bytes,
    )
    .execute(pool)
    .await?;
    Ok(())
}

fn read(bytes: &[u8]) -> Result<Hash, sqlx::Error> {
    Ok(Hash::from_stored(bytes).ok_or(Unreadable("hash"))?)
}

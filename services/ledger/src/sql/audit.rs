//! What verification reads. Every statement is its own short transaction over a range, so that vacuum of the hot rows is never held back.

use sqlx::PgPool;
use uuid::Uuid;

use super::row::{AccountRow, BlockRow, ChangeRow, Head, HeadRow, HoldRow, KindRow, RequestRow, TransferRow};

/// A shard and a range of its blocks, both ends included, with the most rows to read of one kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blocks {
    pub(crate) shard: i16,
    pub(crate) first: i64,
    pub(crate) last: i64,
    pub(crate) limit: i64,
}

/// The head of a shard, and whether anything lies beyond it in the same snapshot.
pub(crate) async fn head(pool: &PgPool, shard: i16) -> Result<(Head, bool), sqlx::Error> {
    let row = sqlx::query!(
        r#"SELECT s.sequence, s.block, s.posted_at, s.hash,
                  EXISTS (SELECT 1 FROM ledger.transfer AS t WHERE t.shard = s.shard AND t.sequence > s.sequence)
                  OR EXISTS (SELECT 1 FROM ledger.block AS b WHERE b.shard = s.shard AND b.number > s.block) AS "beyond!"
           FROM ledger.shard AS s
           WHERE s.shard = $1"#,
        shard,
    )
    .fetch_one(pool)
    .await?;
    let head = HeadRow { sequence: row.sequence, block: row.block, posted_at: row.posted_at, hash: row.hash };
    Ok((head.read()?, row.beyond))
}

/// Blocks after a number, oldest first.
pub(crate) async fn blocks(pool: &PgPool, shard: i16, after: i64, limit: i64) -> Result<Vec<BlockRow>, sqlx::Error> {
    sqlx::query_as!(
        BlockRow,
        "SELECT shard, number, first_sequence, posted_at, transfers, records, transfer_root, record_root, balance_hash, previous_hash, hash, salt
         FROM ledger.block
         WHERE shard = $1 AND number > $2
         ORDER BY number
         LIMIT $3",
        shard,
        after,
        limit,
    )
    .fetch_all(pool)
    .await
}

/// Transfers after a sequence, oldest first.
pub(crate) async fn transfers(
    pool: &PgPool,
    shard: i16,
    after: i64,
    limit: i64,
) -> Result<Vec<TransferRow>, sqlx::Error> {
    sqlx::query_as!(
        TransferRow,
        "SELECT shard, sequence, block, posted_at, id, debit, credit, amount, currency, kind, reference, debit_balance, credit_balance,
                debit_previous, credit_previous, request_size, fingerprint
         FROM ledger.transfer
         WHERE shard = $1 AND sequence > $2
         ORDER BY sequence
         LIMIT $3",
        shard,
        after,
        limit,
    )
    .fetch_all(pool)
    .await
}

/// Names of account kinds that were first used in these blocks, in the order of their leaves.
pub(crate) async fn account_kinds(pool: &PgPool, range: Blocks) -> Result<Vec<KindRow>, sqlx::Error> {
    sqlx::query_as!(
        KindRow,
        "SELECT block, code, name FROM ledger.account_kind
         WHERE shard = $1 AND block BETWEEN $2 AND $3 ORDER BY block, code LIMIT $4",
        range.shard,
        range.first,
        range.last,
        range.limit,
    )
    .fetch_all(pool)
    .await
}

/// Names of transfer kinds that were first used in these blocks, in the order of their leaves.
pub(crate) async fn transfer_kinds(pool: &PgPool, range: Blocks) -> Result<Vec<KindRow>, sqlx::Error> {
    sqlx::query_as!(
        KindRow,
        "SELECT block, code, name FROM ledger.transfer_kind
         WHERE shard = $1 AND block BETWEEN $2 AND $3 ORDER BY block, code LIMIT $4",
        range.shard,
        range.first,
        range.last,
        range.limit,
    )
    .fetch_all(pool)
    .await
}

/// Accounts opened in these blocks, in the order of their leaves.
pub(crate) async fn opened(pool: &PgPool, range: Blocks) -> Result<Vec<AccountRow>, sqlx::Error> {
    sqlx::query_as!(
        AccountRow,
        "SELECT id, owner, kind, currency, floor, opened_block, opened_at, posted, held, promised, frozen, closed, sequence, transfers
         FROM ledger.account
         WHERE shard = $1 AND opened_block BETWEEN $2 AND $3
         ORDER BY opened_block, id
         LIMIT $4",
        range.shard,
        range.first,
        range.last,
        range.limit,
    )
    .fetch_all(pool)
    .await
}

/// Freezes and closings in these blocks, in order.
pub(crate) async fn changes(pool: &PgPool, range: Blocks) -> Result<Vec<ChangeRow>, sqlx::Error> {
    sqlx::query_as!(
        ChangeRow,
        "SELECT block, ordinal, account, frozen, closed
         FROM ledger.account_change
         WHERE shard = $1 AND block BETWEEN $2 AND $3
         ORDER BY block, ordinal
         LIMIT $4",
        range.shard,
        range.first,
        range.last,
        range.limit,
    )
    .fetch_all(pool)
    .await
}

/// Holds opened in these blocks, in the order of their leaves.
pub(crate) async fn holds_opened(pool: &PgPool, range: Blocks) -> Result<Vec<HoldRow>, sqlx::Error> {
    sqlx::query_as!(
        HoldRow,
        "SELECT id, debit, credit, amount, currency, kind, reference, expires_at, opened_block, opened_at,
                confirming_block, confirming_at, ended_block, ended_at, ending, posted_amount, transfer
         FROM ledger.hold
         WHERE shard = $1 AND opened_block BETWEEN $2 AND $3
         ORDER BY opened_block, id
         LIMIT $4",
        range.shard,
        range.first,
        range.last,
        range.limit,
    )
    .fetch_all(pool)
    .await
}

/// Holds about which an outside party was asked in these blocks, in the order of their leaves.
pub(crate) async fn holds_confirming(pool: &PgPool, range: Blocks) -> Result<Vec<HoldRow>, sqlx::Error> {
    sqlx::query_as!(
        HoldRow,
        "SELECT id, debit, credit, amount, currency, kind, reference, expires_at, opened_block, opened_at,
                confirming_block, confirming_at, ended_block, ended_at, ending, posted_amount, transfer
         FROM ledger.hold
         WHERE shard = $1 AND confirming_block BETWEEN $2 AND $3
         ORDER BY confirming_block, id
         LIMIT $4",
        range.shard,
        range.first,
        range.last,
        range.limit,
    )
    .fetch_all(pool)
    .await
}

/// Holds that ended in these blocks, in the order of their leaves.
pub(crate) async fn holds_ended(pool: &PgPool, range: Blocks) -> Result<Vec<HoldRow>, sqlx::Error> {
    sqlx::query_as!(
        HoldRow,
        "SELECT id, debit, credit, amount, currency, kind, reference, expires_at, opened_block, opened_at,
                confirming_block, confirming_at, ended_block, ended_at, ending, posted_amount, transfer
         FROM ledger.hold
         WHERE shard = $1 AND ended_block BETWEEN $2 AND $3
         ORDER BY ended_block, id
         LIMIT $4",
        range.shard,
        range.first,
        range.last,
        range.limit,
    )
    .fetch_all(pool)
    .await
}

/// Requests of these blocks that made no transfer, in the order of their leaves.
pub(crate) async fn requests(pool: &PgPool, range: Blocks) -> Result<Vec<RequestRow>, sqlx::Error> {
    sqlx::query_as!(
        RequestRow,
        "SELECT block, request_key, fingerprint, reject, subject
         FROM ledger.request
         WHERE shard = $1 AND block BETWEEN $2 AND $3
         ORDER BY block, request_key
         LIMIT $4",
        range.shard,
        range.first,
        range.last,
        range.limit,
    )
    .fetch_all(pool)
    .await
}

/// The first of these blocks with a request whose key a transfer carries as well.
pub(crate) async fn key_twice(pool: &PgPool, range: Blocks) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT MIN(GREATEST(r.block, t.block)) AS block
           FROM ledger.request AS r
           JOIN ledger.transfer AS t ON t.id = r.request_key
           WHERE r.shard = $1 AND r.block BETWEEN $2 AND $3"#,
        range.shard,
        range.first,
        range.last,
    )
    .fetch_one(pool)
    .await
}

/// An account's state beside what history says of it, in one snapshot.
pub(crate) struct StateRow {
    pub(crate) id: Uuid,
    pub(crate) posted: i64,
    pub(crate) held: i64,
    pub(crate) promised: i64,
    pub(crate) sequence: i64,
    pub(crate) transfers: i64,
    pub(crate) frozen: i16,
    pub(crate) closed: bool,
    pub(crate) floor: Option<i64>,
    /// What open holds set aside from it, as text because it may pass 64 bits in forged books.
    pub(crate) holds_held: String,
    /// What open holds promise to it.
    pub(crate) holds_promised: String,
    /// The last freeze in its history.
    pub(crate) last_frozen: i16,
    /// Whether its history closed it.
    pub(crate) last_closed: bool,
    /// What transfers after the verified sequence added.
    pub(crate) later: String,
    /// How many these transfers are.
    pub(crate) later_transfers: i64,
    /// The last of these transfers; 0 when there is none.
    pub(crate) later_sequence: i64,
    /// How many marks there are up to the verified sequence.
    pub(crate) marks: i64,
    /// The sum of their sequences.
    pub(crate) mark_sum: String,
}

/// Accounts of a shard after an id, each with what history after `verified` and the open holds say.
pub(crate) async fn states(
    pool: &PgPool,
    shard: i16,
    after: Uuid,
    verified: i64,
    limit: i64,
) -> Result<Vec<StateRow>, sqlx::Error> {
    sqlx::query_as!(
        StateRow,
        r#"SELECT a.id AS "id!", a.posted AS "posted!", a.held AS "held!", a.promised AS "promised!", a.sequence AS "sequence!", a.transfers AS "transfers!",
                  a.frozen AS "frozen!", a.closed AS "closed!", a.floor AS "floor?",
                  COALESCE((SELECT SUM(h.amount) FROM ledger.hold AS h WHERE h.debit = a.id AND h.ended_block IS NULL), 0)::text AS "holds_held!",
                  COALESCE((SELECT SUM(h.amount) FROM ledger.hold AS h WHERE h.credit = a.id AND h.ended_block IS NULL), 0)::text AS "holds_promised!",
                  COALESCE(c.frozen, 0::smallint) AS "last_frozen!", COALESCE(c.closed, FALSE) AS "last_closed!",
                  COALESCE(l.amount, 0)::text AS "later!", COALESCE(l.transfers, 0) AS "later_transfers!",
                  COALESCE(l.sequence, 0) AS "later_sequence!", COALESCE(m.marks, 0) AS "marks!", COALESCE(m.total, 0)::text AS "mark_sum!"
           FROM (
               SELECT id, posted, held, promised, sequence, transfers, frozen, closed, floor
               FROM ledger.account
               WHERE shard = $1 AND id > $2
               ORDER BY id
               LIMIT $4
           ) AS a
           LEFT JOIN LATERAL (
               SELECT frozen, closed FROM ledger.account_change WHERE account = a.id ORDER BY block DESC, ordinal DESC LIMIT 1
           ) AS c ON TRUE
           LEFT JOIN LATERAL (
               WITH RECURSIVE walk AS (
                   SELECT t.sequence, t.amount, t.debit, t.debit_previous, t.credit_previous
                   FROM ledger.transfer AS t
                   WHERE t.shard = $1 AND t.sequence = a.sequence AND t.sequence > $3
                   UNION ALL
                   SELECT t.sequence, t.amount, t.debit, t.debit_previous, t.credit_previous
                   FROM walk AS w
                   JOIN ledger.transfer AS t ON t.shard = $1 AND t.sequence = CASE WHEN w.debit = a.id THEN w.debit_previous ELSE w.credit_previous END
                   WHERE t.sequence > $3 AND t.sequence < w.sequence
               )
               SELECT SUM(CASE WHEN debit = a.id THEN -amount ELSE amount END) AS amount, COUNT(*) AS transfers, MAX(sequence) AS sequence FROM walk
           ) AS l ON a.sequence > $3
           LEFT JOIN LATERAL (
               SELECT COUNT(*) AS marks, SUM(sequence) AS total FROM ledger.account_mark WHERE account = a.id AND sequence <= $3
           ) AS m ON TRUE
           ORDER BY a.id"#,
        shard,
        after,
        verified,
        limit,
    )
    .fetch_all(pool)
    .await
}

/// How many accounts a shard has.
pub(crate) async fn accounts(pool: &PgPool, shard: i16) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(r#"SELECT COUNT(*) AS "accounts!" FROM ledger.account WHERE shard = $1"#, shard)
        .fetch_one(pool)
        .await
}

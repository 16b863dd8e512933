//! What verification reads. Every statement is its own short transaction over a range, so that vacuum of the hot rows is never held back.

use sqlx::PgPool;
use uuid::Uuid;

use crate::limit::Class;

use super::row::{
    AccountRow, BlockRow, ChangeRow, Head, HeadRow, HoldRow, KindRow, RefundRow, RequestRow, TransferRow,
};

/// A shard and a range of its blocks, both ends included, with the most rows to read of one kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blocks {
    pub(crate) shard: i16,
    pub(crate) first: i64,
    pub(crate) last: i64,
    pub(crate) limit: i64,
}

/// What lies outside the blocks of a shard, in the snapshot of its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outside {
    /// Whether transfers or blocks lie beyond the head.
    pub(crate) beyond: bool,
    /// Whether records belong to no block that there can be, or anything to a shard that is not there.
    pub(crate) stray: bool,
}

/// The head of a shard, and what lies outside its blocks in the same snapshot.
pub(crate) async fn head(pool: &PgPool, shard: i16) -> Result<(Head, Outside), sqlx::Error> {
    let row = sqlx::query!(
        r#"SELECT s.sequence, s.block, s.posted_at, s.hash,
                  EXISTS (SELECT 1 FROM ledger.transfer AS t WHERE t.shard = s.shard AND t.sequence > s.sequence)
                  OR EXISTS (SELECT 1 FROM ledger.block AS b WHERE b.shard = s.shard AND b.number > s.block) AS "beyond!",
                  COALESCE(EXISTS (SELECT 1 FROM ledger.request AS r WHERE r.shard = s.shard AND r.block > s.block)
                  OR EXISTS (SELECT 1 FROM ledger.request AS r WHERE r.shard = s.shard AND r.block < 1)
                  OR EXISTS (SELECT 1 FROM ledger.account_change AS r WHERE r.shard = s.shard AND r.block > s.block)
                  OR EXISTS (SELECT 1 FROM ledger.account_change AS r WHERE r.shard = s.shard AND r.block < 1)
                  OR EXISTS (SELECT 1 FROM ledger.refund AS r WHERE r.shard = s.shard AND r.block > s.block)
                  OR EXISTS (SELECT 1 FROM ledger.refund AS r WHERE r.shard = s.shard AND r.block < 1)
                  OR EXISTS (SELECT 1 FROM ledger.account_kind AS r WHERE r.shard = s.shard AND r.block > s.block)
                  OR EXISTS (SELECT 1 FROM ledger.account_kind AS r WHERE r.shard = s.shard AND r.block < 1)
                  OR EXISTS (SELECT 1 FROM ledger.transfer_kind AS r WHERE r.shard = s.shard AND r.block > s.block)
                  OR EXISTS (SELECT 1 FROM ledger.transfer_kind AS r WHERE r.shard = s.shard AND r.block < 1)
                  OR EXISTS (SELECT 1 FROM ledger.account AS r WHERE r.shard = s.shard AND r.opened_block > s.block)
                  OR EXISTS (SELECT 1 FROM ledger.account AS r WHERE r.shard = s.shard AND r.opened_block < 1)
                  OR EXISTS (SELECT 1 FROM ledger.hold AS r WHERE r.shard = s.shard AND r.opened_block > s.block)
                  OR EXISTS (SELECT 1 FROM ledger.hold AS r WHERE r.shard = s.shard AND r.opened_block < 1)
                  OR EXISTS (SELECT 1 FROM ledger.hold AS r WHERE r.shard = s.shard AND r.confirming_block > s.block)
                  OR EXISTS (SELECT 1 FROM ledger.hold AS r WHERE r.shard = s.shard AND r.confirming_block < 1)
                  OR EXISTS (SELECT 1 FROM ledger.hold AS r WHERE r.shard = s.shard AND r.ended_block > s.block)
                  OR EXISTS (SELECT 1 FROM ledger.hold AS r WHERE r.shard = s.shard AND r.ended_block < 1)
                  OR EXISTS (SELECT 1 FROM ledger.transfer AS r WHERE r.shard = s.shard AND r.sequence < 1)
                  OR (SELECT MIN(r.shard) FROM ledger.transfer AS r) < (SELECT MIN(shard) FROM ledger.shard)
                  OR (SELECT MAX(r.shard) FROM ledger.transfer AS r) > (SELECT MAX(shard) FROM ledger.shard)
                  OR (SELECT MIN(r.shard) FROM ledger.block AS r) < (SELECT MIN(shard) FROM ledger.shard)
                  OR (SELECT MAX(r.shard) FROM ledger.block AS r) > (SELECT MAX(shard) FROM ledger.shard)
                  OR (SELECT MIN(r.shard) FROM ledger.request AS r) < (SELECT MIN(shard) FROM ledger.shard)
                  OR (SELECT MAX(r.shard) FROM ledger.request AS r) > (SELECT MAX(shard) FROM ledger.shard)
                  OR (SELECT MIN(r.shard) FROM ledger.account AS r) < (SELECT MIN(shard) FROM ledger.shard)
                  OR (SELECT MAX(r.shard) FROM ledger.account AS r) > (SELECT MAX(shard) FROM ledger.shard)
                  OR (SELECT MIN(r.shard) FROM ledger.hold AS r) < (SELECT MIN(shard) FROM ledger.shard)
                  OR (SELECT MAX(r.shard) FROM ledger.hold AS r) > (SELECT MAX(shard) FROM ledger.shard)
                  OR (SELECT MIN(r.shard) FROM ledger.refund AS r) < (SELECT MIN(shard) FROM ledger.shard)
                  OR (SELECT MAX(r.shard) FROM ledger.refund AS r) > (SELECT MAX(shard) FROM ledger.shard)
                  OR (SELECT MIN(r.shard) FROM ledger.account_change AS r) < (SELECT MIN(shard) FROM ledger.shard)
                  OR (SELECT MAX(r.shard) FROM ledger.account_change AS r) > (SELECT MAX(shard) FROM ledger.shard)
                  OR (SELECT MIN(r.shard) FROM ledger.account_kind AS r) < (SELECT MIN(shard) FROM ledger.shard)
                  OR (SELECT MAX(r.shard) FROM ledger.account_kind AS r) > (SELECT MAX(shard) FROM ledger.shard)
                  OR (SELECT MIN(r.shard) FROM ledger.transfer_kind AS r) < (SELECT MIN(shard) FROM ledger.shard)
                  OR (SELECT MAX(r.shard) FROM ledger.transfer_kind AS r) > (SELECT MAX(shard) FROM ledger.shard), FALSE) AS "stray!"
           FROM ledger.shard AS s
           WHERE s.shard = $1"#,
        shard,
    )
    .fetch_one(pool)
    .await?;
    let head = HeadRow { sequence: row.sequence, block: row.block, posted_at: row.posted_at, hash: row.hash };
    Ok((head.read()?, Outside { beyond: row.beyond, stray: row.stray }))
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
        "SELECT block, code, name, NULL::smallint AS class FROM ledger.account_kind
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
        "SELECT block, code, name, class FROM ledger.transfer_kind
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
        r#"SELECT id, owner, kind, currency, floor, opened_block, opened_at, posted, held, promised, frozen, closed, sequence, transfers,
                '{}'::bigint[] AS "usage!"
         FROM ledger.account
         WHERE shard = $1 AND opened_block BETWEEN $2 AND $3
         ORDER BY opened_block, id
         LIMIT $4"#,
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

/// Holds that took a step in these blocks, each once, in the order of its first step there.
pub(crate) async fn holds(pool: &PgPool, range: Blocks) -> Result<Vec<HoldRow>, sqlx::Error> {
    sqlx::query_as!(
        HoldRow,
        "SELECT id, debit, credit, amount, currency, kind, class, reference, expires_at, opened_block, opened_at,
                confirming_block, confirming_at, ended_block, ended_at, ending, posted_amount, transfer
         FROM ledger.hold
         WHERE shard = $1 AND (opened_block BETWEEN $2 AND $3 OR confirming_block BETWEEN $2 AND $3 OR ended_block BETWEEN $2 AND $3)
         ORDER BY LEAST(CASE WHEN opened_block >= $2 THEN opened_block END,
                        CASE WHEN confirming_block >= $2 THEN confirming_block END,
                        CASE WHEN ended_block >= $2 THEN ended_block END)
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

/// Refunds of these blocks, in the order of their leaves.
pub(crate) async fn refunds(pool: &PgPool, range: Blocks) -> Result<Vec<RefundRow>, sqlx::Error> {
    sqlx::query_as!(
        RefundRow,
        "SELECT block, sequence, payment, amount, class
         FROM ledger.refund
         WHERE shard = $1 AND block BETWEEN $2 AND $3
         ORDER BY block, sequence
         LIMIT $4",
        range.shard,
        range.first,
        range.last,
        range.limit,
    )
    .fetch_all(pool)
    .await
}

/// The first of these blocks with a refund that is not the way back of an earlier payment, or after which more was refunded than paid.
pub(crate) async fn wrong_refund(pool: &PgPool, range: Blocks) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT MIN(r.block) AS block
           FROM ledger.refund AS r
           LEFT JOIN ledger.transfer AS t ON t.shard = r.shard AND t.sequence = r.sequence
           LEFT JOIN ledger.transfer AS p ON p.id = r.payment
           LEFT JOIN ledger.transfer_kind AS k ON k.shard = p.shard AND k.code = p.kind
           WHERE r.shard = $1 AND r.block BETWEEN $2 AND $3
             AND (t.amount IS DISTINCT FROM r.amount OR t.block IS DISTINCT FROM r.block
                  OR p.sequence IS NULL OR p.sequence >= r.sequence
                  OR (t.debit, t.credit, t.currency) IS DISTINCT FROM (p.credit, p.debit, p.currency)
                  OR r.class <> k.class OR (r.class IS NOT NULL AND k.class IS NULL)
                  OR EXISTS (SELECT 1 FROM ledger.refund AS e WHERE e.shard = p.shard AND e.sequence = p.sequence)
                  OR (SELECT SUM(e.amount) FROM ledger.refund AS e WHERE e.payment = r.payment AND e.sequence <= r.sequence) > p.amount)"#,
        range.shard,
        range.first,
        range.last,
    )
    .fetch_one(pool)
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
    /// SHA-256 of their sequences in order, 8 bytes each.
    pub(crate) mark_hash: Vec<u8>,
    /// What it spent in its day and month.
    pub(crate) usage: Vec<i64>,
    /// Whether any hold counts, or counted, for it.
    pub(crate) spent_by_hold: bool,
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
                  COALESCE(l.sequence, 0) AS "later_sequence!", COALESCE(m.marks, 0) AS "marks!", COALESCE(m.hash, SHA256('')) AS "mark_hash!",
                  a.usage AS "usage!", EXISTS (SELECT 1 FROM ledger.hold AS h WHERE h.debit = a.id AND h.class IS NOT NULL) AS "spent_by_hold!"
           FROM (
               SELECT id, posted, held, promised, sequence, transfers, frozen, closed, floor, usage
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
               SELECT COUNT(*) AS marks, SHA256(STRING_AGG(INT8SEND(sequence), ''::bytea ORDER BY sequence)) AS hash FROM ledger.account_mark WHERE account = a.id AND sequence <= $3
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

/// Kinds of transfers that count for limits.
pub(crate) async fn spending_kinds(pool: &PgPool, shard: i16) -> Result<Vec<(i16, Class)>, sqlx::Error> {
    let rows =
        sqlx::query!("SELECT code, class FROM ledger.transfer_kind WHERE shard = $1 AND class IS NOT NULL", shard)
            .fetch_all(pool)
            .await?;
    Ok(rows.into_iter().filter_map(|row| Some((row.code, Class::from_code(row.class?)?))).collect())
}

/// What history says that an account spent of one class since the beginning of the month that its usage is of, beside that usage.
pub(crate) struct Recount {
    pub(crate) usage: Vec<i64>,
    /// `None` when it spent nothing.
    pub(crate) class: Option<i16>,
    /// What was spent and kept on the usage's day; as text because it may pass 64 bits in forged books.
    pub(crate) day: String,
    /// The same of the month.
    pub(crate) month: String,
    /// Whether anything was spent on the usage's day, kept or not.
    pub(crate) on_last_day: bool,
    /// Whether anything was spent after it.
    pub(crate) later: bool,
}

/// Counts again what an account spent, by class, in one snapshot.
///
/// A hold counts when it was opened, with what is left of it; the transfer that it became does not count again. A refund counts against its payment.
pub(crate) async fn recount(pool: &PgPool, account: Uuid, zone: &str) -> Result<Vec<Recount>, sqlx::Error> {
    sqlx::query_as!(
        Recount,
        r#"WITH RECURSIVE stored AS (
               SELECT a.id, a.shard, a.sequence, a.usage, d.day::timestamp AT TIME ZONE $2 AS day_begins,
                      (d.day + 1)::timestamp AT TIME ZONE $2 AS day_ends, DATE_TRUNC('month', d.day::timestamp) AT TIME ZONE $2 AS month_begins
               FROM ledger.account AS a
               CROSS JOIN LATERAL (SELECT DATE '0001-01-01' + (a.usage[1] - 1)::integer AS day) AS d
               WHERE a.id = $1
           ), walk AS (
               SELECT t.shard, t.sequence, t.id, t.debit, t.amount, t.kind, t.posted_at, t.debit_previous, t.credit_previous
               FROM stored AS s
               JOIN ledger.transfer AS t ON t.shard = s.shard AND t.sequence = s.sequence
               WHERE t.posted_at >= s.month_begins
               UNION ALL
               SELECT t.shard, t.sequence, t.id, t.debit, t.amount, t.kind, t.posted_at, t.debit_previous, t.credit_previous
               FROM walk AS w
               JOIN ledger.transfer AS t ON t.shard = w.shard AND t.sequence = CASE WHEN w.debit = $1 THEN w.debit_previous ELSE w.credit_previous END
               CROSS JOIN stored AS s
               WHERE t.sequence < w.sequence AND t.posted_at >= s.month_begins
           ), spending AS (
               SELECT k.class, w.posted_at AS spent_at, w.amount AS kept, TRUE AS spends
               FROM walk AS w
               JOIN ledger.transfer_kind AS k ON k.shard = w.shard AND k.code = w.kind AND k.class IS NOT NULL
               WHERE w.debit = $1 AND NOT EXISTS (SELECT 1 FROM ledger.hold AS h WHERE h.transfer = w.id)
               UNION ALL
               SELECT h.class, h.opened_at, CASE WHEN h.ended_block IS NULL THEN h.amount ELSE COALESCE(h.posted_amount, 0) END, TRUE
               FROM stored AS s
               JOIN ledger.hold AS h ON h.debit = s.id AND h.opened_at >= s.month_begins
               WHERE h.class IS NOT NULL
               UNION ALL
               SELECT r.class, COALESCE(h.opened_at, p.posted_at), -r.amount, FALSE
               FROM stored AS s
               CROSS JOIN walk AS w
               JOIN ledger.refund AS r ON r.shard = w.shard AND r.sequence = w.sequence AND r.class IS NOT NULL
               JOIN ledger.transfer AS p ON p.id = r.payment AND p.debit = $1
               LEFT JOIN ledger.hold AS h ON h.transfer = p.id
               WHERE COALESCE(h.opened_at, p.posted_at) >= s.month_begins
           )
           SELECT s.usage AS "usage!", p.class AS "class?", COALESCE(SUM(p.kept) FILTER (WHERE p.spent_at >= s.day_begins), 0)::text AS "day!",
                  COALESCE(SUM(p.kept), 0)::text AS "month!",
                  COALESCE(BOOL_OR(p.spends AND p.spent_at >= s.day_begins AND p.spent_at < s.day_ends), FALSE) AS "on_last_day!",
                  COALESCE(BOOL_OR(p.spends AND p.spent_at >= s.day_ends), FALSE) AS "later!"
           FROM stored AS s
           LEFT JOIN spending AS p ON TRUE
           GROUP BY s.usage, p.class
           ORDER BY p.class"#,
        account,
        zone,
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

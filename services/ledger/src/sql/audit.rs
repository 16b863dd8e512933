//! What verification reads. Every statement is its own short transaction over a range, so that vacuum of the hot rows is never held back.

mod account;

use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, PgPool, Postgres};

pub(crate) use self::account::{Recount, StateRow, accounts, recount, states};
use super::row::{AccountRow, BlockRow, ChangeRow, Head, HeadRow, HoldRow, KindRow, RefundRow, RequestRow};
use crate::limit::Class;

/// A connection for verification alone, closed with it. Compiling its statements would take longer than they do.
pub(crate) async fn connect(pool: &PgPool) -> Result<PoolConnection<Postgres>, sqlx::Error> {
    let mut connection = pool.acquire().await?;
    connection.close_on_drop();
    sqlx::raw_sql("SET jit = off").execute(&mut *connection).await?;
    Ok(connection)
}

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
pub(crate) async fn head(connection: &mut PgConnection, shard: i16) -> Result<(Head, Outside), sqlx::Error> {
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
    .fetch_one(connection)
    .await?;
    let head = HeadRow { sequence: row.sequence, block: row.block, posted_at: row.posted_at, hash: row.hash };
    Ok((head.read()?, Outside { beyond: row.beyond, stray: row.stray }))
}

/// Blocks after a number, oldest first.
pub(crate) async fn blocks(
    connection: &mut PgConnection,
    shard: i16,
    after: i64,
    limit: i64,
) -> Result<Vec<BlockRow>, sqlx::Error> {
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
    .fetch_all(connection)
    .await
}

/// Names of account kinds that were first used in these blocks, in the order of their leaves.
pub(crate) async fn account_kinds(connection: &mut PgConnection, range: Blocks) -> Result<Vec<KindRow>, sqlx::Error> {
    sqlx::query_as!(
        KindRow,
        "SELECT block, code, name, NULL::smallint AS class FROM ledger.account_kind
         WHERE shard = $1 AND block BETWEEN $2 AND $3 ORDER BY block, code LIMIT $4",
        range.shard,
        range.first,
        range.last,
        range.limit,
    )
    .fetch_all(connection)
    .await
}

/// Names of transfer kinds that were first used in these blocks, in the order of their leaves.
pub(crate) async fn transfer_kinds(connection: &mut PgConnection, range: Blocks) -> Result<Vec<KindRow>, sqlx::Error> {
    sqlx::query_as!(
        KindRow,
        "SELECT block, code, name, class FROM ledger.transfer_kind
         WHERE shard = $1 AND block BETWEEN $2 AND $3 ORDER BY block, code LIMIT $4",
        range.shard,
        range.first,
        range.last,
        range.limit,
    )
    .fetch_all(connection)
    .await
}

/// Accounts opened in these blocks, in the order of their leaves.
pub(crate) async fn opened(connection: &mut PgConnection, range: Blocks) -> Result<Vec<AccountRow>, sqlx::Error> {
    sqlx::query_as!(
        AccountRow,
        r#"SELECT id, owner, kind, currency, floor, opened_block, opened_at, posted, held, promised, frozen, closed, sequence, transfers,
                ''::bytea AS "usage!"
         FROM ledger.account
         WHERE shard = $1 AND opened_block BETWEEN $2 AND $3
         ORDER BY opened_block, id
         LIMIT $4"#,
        range.shard,
        range.first,
        range.last,
        range.limit,
    )
    .fetch_all(connection)
    .await
}

/// Freezes and closings in these blocks, in order.
pub(crate) async fn changes(connection: &mut PgConnection, range: Blocks) -> Result<Vec<ChangeRow>, sqlx::Error> {
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
    .fetch_all(connection)
    .await
}

/// Holds that took a step in these blocks, each once, in the order of its first step there.
pub(crate) async fn holds(connection: &mut PgConnection, range: Blocks) -> Result<Vec<HoldRow>, sqlx::Error> {
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
    .fetch_all(connection)
    .await
}

/// Requests of these blocks that made no transfer, in the order of their leaves.
pub(crate) async fn requests(connection: &mut PgConnection, range: Blocks) -> Result<Vec<RequestRow>, sqlx::Error> {
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
    .fetch_all(connection)
    .await
}

/// Refunds of these blocks, in the order of their leaves.
pub(crate) async fn refunds(connection: &mut PgConnection, range: Blocks) -> Result<Vec<RefundRow>, sqlx::Error> {
    sqlx::query_as!(
        RefundRow,
        r#"SELECT r.block, r.sequence, r.payment, r.amount, r.class,
                  COALESCE((SELECT h.opened_at FROM ledger.hold AS h WHERE h.transfer = r.payment),
                           (SELECT t.posted_at FROM ledger.transfer AS t WHERE t.id = r.payment)) AS "spent_at?"
           FROM ledger.refund AS r
           WHERE r.shard = $1 AND r.block BETWEEN $2 AND $3
           ORDER BY r.block, r.sequence
           LIMIT $4"#,
        range.shard,
        range.first,
        range.last,
        range.limit,
    )
    .fetch_all(connection)
    .await
}

/// The first of these blocks with a refund that is not the way back of an earlier payment, or after which more was refunded than paid.
pub(crate) async fn wrong_refund(connection: &mut PgConnection, range: Blocks) -> Result<Option<i64>, sqlx::Error> {
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
    .fetch_one(connection)
    .await
}

/// The first of these blocks with a request whose key a transfer carries as well.
pub(crate) async fn key_twice(connection: &mut PgConnection, range: Blocks) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT MIN(GREATEST(r.block, t.block)) AS block
           FROM ledger.request AS r
           JOIN ledger.transfer AS t ON t.id = r.request_key
           WHERE r.shard = $1 AND r.block BETWEEN $2 AND $3"#,
        range.shard,
        range.first,
        range.last,
    )
    .fetch_one(connection)
    .await
}

/// Kinds of transfers that count for limits.
pub(crate) async fn spending_kinds(
    connection: &mut PgConnection,
    shard: i16,
) -> Result<Vec<(i16, Class)>, sqlx::Error> {
    let rows =
        sqlx::query!("SELECT code, class FROM ledger.transfer_kind WHERE shard = $1 AND class IS NOT NULL", shard)
            .fetch_all(connection)
            .await?;
    Ok(rows.into_iter().filter_map(|row| Some((row.code, Class::from_code(row.class?)?))).collect())
}

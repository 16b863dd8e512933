//! What the journal, statements and exports read: single rows, or pages by sequence, each in one short statement.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::row::{AccountRow, BlockRow, StoredBlock, TransferRow};
use crate::account::{Account, AccountId};
use crate::hold::HoldId;
use crate::transfer::{Transfer, TransferId};

/// One account.
pub(crate) async fn account(pool: &PgPool, id: AccountId) -> Result<Option<Account>, sqlx::Error> {
    let row = sqlx::query_as!(
        AccountRow,
        "SELECT id, owner, kind, currency, floor, opened_block, opened_at, posted, held, promised, frozen, closed, sequence, transfers, usage
         FROM ledger.account
         WHERE id = $1",
        id.uuid(),
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.map(AccountRow::read).transpose()?)
}

/// One account and its shard.
pub(crate) async fn account_and_shard(pool: &PgPool, id: AccountId) -> Result<Option<(i16, Account)>, sqlx::Error> {
    let shard = sqlx::query_scalar!("SELECT shard FROM ledger.account WHERE id = $1", id.uuid());
    let (shard, account) = (shard.fetch_optional(pool).await?, account(pool, id).await?);
    Ok(shard.zip(account))
}

/// The accounts of an owner, by id.
pub(crate) async fn accounts_of(pool: &PgPool, owner: Uuid, limit: i64) -> Result<Vec<Account>, sqlx::Error> {
    let rows = sqlx::query_as!(
        AccountRow,
        "SELECT id, owner, kind, currency, floor, opened_block, opened_at, posted, held, promised, frozen, closed, sequence, transfers, usage
         FROM ledger.account
         WHERE owner = $1
         ORDER BY id
         LIMIT $2",
        owner,
        limit,
    )
    .fetch_all(pool)
    .await?;
    rows.into_iter().map(|row| Ok(row.read()?)).collect()
}

/// One transfer.
pub(crate) async fn transfer(pool: &PgPool, id: TransferId) -> Result<Option<Transfer>, sqlx::Error> {
    let row = sqlx::query_as!(
        TransferRow,
        "SELECT shard, sequence, block, posted_at, id, debit, credit, amount, currency, kind, reference, debit_balance, credit_balance,
                debit_previous, credit_previous, request_size, fingerprint
         FROM ledger.transfer
         WHERE id = $1",
        id.uuid(),
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.map(TransferRow::read).transpose()?)
}

/// The transfers of a shard from one sequence to another, both included.
pub(crate) async fn transfers(
    pool: &PgPool,
    shard: i16,
    first: i64,
    last: i64,
) -> Result<Vec<TransferRow>, sqlx::Error> {
    sqlx::query_as!(
        TransferRow,
        "SELECT shard, sequence, block, posted_at, id, debit, credit, amount, currency, kind, reference, debit_balance, credit_balance,
                debit_previous, credit_previous, request_size, fingerprint
         FROM ledger.transfer
         WHERE shard = $1 AND sequence BETWEEN $2 AND $3
         ORDER BY sequence",
        shard,
        first,
        last,
    )
    .fetch_all(pool)
    .await
}

/// One block.
pub(crate) async fn block(pool: &PgPool, shard: i16, number: i64) -> Result<Option<StoredBlock>, sqlx::Error> {
    let row = sqlx::query_as!(
        BlockRow,
        "SELECT shard, number, first_sequence, posted_at, transfers, records, transfer_root, record_root, balance_hash, previous_hash, hash, salt
         FROM ledger.block
         WHERE shard = $1 AND number = $2",
        shard,
        number,
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.map(BlockRow::read).transpose()?)
}

/// The sequence of the last transfer of a shard up to a time; 0 when there is none.
pub(crate) async fn sequence_at(pool: &PgPool, shard: i16, at: DateTime<Utc>) -> Result<i64, sqlx::Error> {
    let sequence = sqlx::query_scalar!(
        r#"SELECT first_sequence + transfers - 1 AS "sequence!"
           FROM ledger.block
           WHERE shard = $1 AND posted_at <= $2
           ORDER BY posted_at DESC, number DESC
           LIMIT 1"#,
        shard,
        at,
    )
    .fetch_optional(pool)
    .await?;
    Ok(sequence.unwrap_or(0))
}

/// A transfer as readers of the journal want it.
pub(crate) struct JournalRecord {
    pub(crate) shard: i16,
    pub(crate) sequence: i64,
    pub(crate) block: i64,
    pub(crate) posted_at: DateTime<Utc>,
    pub(crate) id: Uuid,
    pub(crate) debit: Uuid,
    pub(crate) credit: Uuid,
    pub(crate) amount: i64,
    pub(crate) currency: i16,
    pub(crate) kind: i16,
    pub(crate) reference: Uuid,
    pub(crate) debit_balance: i64,
    pub(crate) credit_balance: i64,
}

/// A page of the journal after a sequence.
pub(crate) async fn journal(
    pool: &PgPool,
    shard: i16,
    after: i64,
    limit: i64,
) -> Result<Vec<JournalRecord>, sqlx::Error> {
    sqlx::query_as!(
        JournalRecord,
        "SELECT shard, sequence, block, posted_at, id, debit, credit, amount, currency, kind, reference, debit_balance, credit_balance
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

/// Whose an account is.
pub(crate) struct PartyRecord {
    pub(crate) id: Uuid,
    pub(crate) owner: Uuid,
    pub(crate) kind_name: String,
}

/// Whose accounts these are.
pub(crate) async fn parties(pool: &PgPool, accounts: &[Uuid]) -> Result<Vec<PartyRecord>, sqlx::Error> {
    sqlx::query_as!(
        PartyRecord,
        "SELECT a.id, a.owner, k.name AS kind_name
         FROM ledger.account AS a
         JOIN ledger.account_kind AS k ON k.shard = a.shard AND k.code = a.kind
         WHERE a.id = ANY ($1)",
        accounts,
    )
    .fetch_all(pool)
    .await
}

/// The names of a shard's kinds of transfers, by their codes.
pub(crate) async fn transfer_kinds(pool: &PgPool, shard: i16) -> Result<Vec<(i16, String)>, sqlx::Error> {
    let rows =
        sqlx::query!("SELECT code, name FROM ledger.transfer_kind WHERE shard = $1", shard).fetch_all(pool).await?;
    Ok(rows.into_iter().map(|row| (row.code, row.name)).collect())
}

/// One side of a transfer, as an account's statement shows it.
pub(crate) struct StatementRecord {
    pub(crate) sequence: i64,
    pub(crate) posted_at: DateTime<Utc>,
    pub(crate) id: Uuid,
    pub(crate) other: Uuid,
    pub(crate) amount: i64,
    pub(crate) balance: i64,
    pub(crate) currency: i16,
    pub(crate) kind_name: String,
    pub(crate) reference: Uuid,
}

/// A page of an account's transfers after a sequence, oldest first; debits are negative.
pub(crate) async fn statement(
    pool: &PgPool,
    account: AccountId,
    after: i64,
    limit: i64,
) -> Result<Vec<StatementRecord>, sqlx::Error> {
    sqlx::query_as!(
        StatementRecord,
        r#"SELECT s.sequence AS "sequence!", s.posted_at AS "posted_at!", s.id AS "id!", s.other AS "other!", s.amount AS "amount!",
                  s.balance AS "balance!", s.currency AS "currency!", k.name AS "kind_name!", s.reference AS "reference!"
           FROM (
               SELECT shard, sequence, posted_at, id, CASE WHEN debit = $1 THEN credit ELSE debit END AS other,
                      CASE WHEN debit = $1 THEN -amount ELSE amount END AS amount,
                      CASE WHEN debit = $1 THEN debit_balance ELSE credit_balance END AS balance, currency, kind, reference
               FROM ledger.statement($1, $2, $3)
           ) AS s
           JOIN ledger.transfer_kind AS k ON k.shard = s.shard AND k.code = s.kind
           ORDER BY s.sequence"#,
        account.uuid(),
        after,
        limit,
    )
    .fetch_all(pool)
    .await
}

/// An account's balance after its last transfer up to a sequence; `None` when it had none by then.
pub(crate) async fn balance_up_to(
    pool: &PgPool,
    account: AccountId,
    sequence: i64,
) -> Result<Option<i64>, sqlx::Error> {
    let balance = sqlx::query_scalar!(
        r#"SELECT CASE WHEN debit = $1 THEN debit_balance ELSE credit_balance END AS "balance!"
           FROM ledger.history($1, $2::bigint + 1, 0, 1)"#,
        account.uuid(),
        sequence,
    )
    .fetch_optional(pool)
    .await?;
    Ok(balance)
}

/// Balances added up by kind of account and currency.
pub(crate) struct TotalRecord {
    pub(crate) kind_name: String,
    pub(crate) currency: i16,
    pub(crate) accounts: i64,
    pub(crate) debit: String,
    pub(crate) credit: String,
    pub(crate) held: String,
}

/// The totals of all accounts, in one snapshot. Sums are text because they may pass 64 bits.
pub(crate) async fn totals(pool: &PgPool) -> Result<Vec<TotalRecord>, sqlx::Error> {
    sqlx::query_as!(
        TotalRecord,
        r#"SELECT k.name AS kind_name, a.currency, COUNT(*) AS "accounts!",
                  COALESCE(SUM(-a.posted::numeric) FILTER (WHERE a.posted < 0), 0)::text AS "debit!",
                  COALESCE(SUM(a.posted::numeric) FILTER (WHERE a.posted > 0), 0)::text AS "credit!",
                  SUM(a.held::numeric)::text AS "held!"
           FROM ledger.account AS a
           JOIN ledger.account_kind AS k ON k.shard = a.shard AND k.code = a.kind
           GROUP BY k.name, a.currency
           ORDER BY a.currency, k.name"#,
    )
    .fetch_all(pool)
    .await
}

/// The holds of a shard whose time is over and which nobody outside was asked about.
pub(crate) async fn due_holds(
    pool: &PgPool,
    shard: i16,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<HoldId>, sqlx::Error> {
    let ids = sqlx::query_scalar!(
        "SELECT id
         FROM ledger.hold
         WHERE shard = $1 AND ended_block IS NULL AND confirming_block IS NULL AND expires_at IS NOT NULL AND expires_at <= $2
         ORDER BY expires_at
         LIMIT $3",
        shard,
        now,
        limit,
    )
    .fetch_all(pool)
    .await?;
    Ok(ids.into_iter().map(HoldId::from).collect())
}

/// How many holds of a shard are open.
pub(crate) async fn open_holds(pool: &PgPool, shard: i16) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT COUNT(*) AS "holds!" FROM ledger.hold WHERE shard = $1 AND ended_block IS NULL"#,
        shard,
    )
    .fetch_one(pool)
    .await
}

/// The sequence of the last transfer of a shard.
pub(crate) async fn last_sequence(pool: &PgPool, shard: i16) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!("SELECT sequence FROM ledger.shard WHERE shard = $1", shard).fetch_one(pool).await
}

/// The shards.
pub(crate) async fn shards(pool: &PgPool) -> Result<Vec<i16>, sqlx::Error> {
    sqlx::query_scalar!("SELECT shard FROM ledger.shard ORDER BY shard").fetch_all(pool).await
}

/// The block of a transfer; `None` for sequence 0.
pub(crate) async fn block_of(
    connection: &mut PgConnection,
    shard: i16,
    sequence: i64,
) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar!("SELECT block FROM ledger.transfer WHERE shard = $1 AND sequence = $2", shard, sequence)
        .fetch_optional(connection)
        .await
}

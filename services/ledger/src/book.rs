//! The books: totals, statements, balances at a time, proofs.
//!
//! Reads only, in short statements; pages go by sequence, so that nothing holds back vacuum of the hot rows.
//! Exports are in [`export`].

pub mod export;

use std::collections::VecDeque;

use chrono::{DateTime, Utc};
use futures::Stream;
use rust_decimal::Decimal;
use serde::Serialize;
use sqlx::PgPool;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::account::{Account, AccountId};
use crate::block::{Nonce, Proof, audit_path, transfer_leaf};
use crate::hold::HoldId;
use crate::money::{Currency, Money};
use crate::sql::books::{self, StatementRecord};
use crate::sql::row::{StoredBlock, TransferRow, Unreadable};
use crate::transfer::{Transfer, TransferId};

/// The most accounts of one owner that are read.
pub const MAX_ACCOUNTS_OF_OWNER: u16 = 1_000;
/// The most rows of one page of a statement.
pub const MAX_STATEMENT_ROWS: u16 = 5_000;
/// The most holds that are listed as due at once.
pub const MAX_DUE_HOLDS: u16 = 1_000;

/// The totals of all accounts at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TrialBalance {
    /// One per kind of account and currency.
    pub rows: Vec<Total>,
}

/// The balances of the accounts of one kind and currency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Total {
    /// The kind of account.
    pub kind: String,
    /// The currency.
    pub currency: Currency,
    /// How many accounts.
    pub accounts: i64,
    /// The sum of the balances below zero, as a number above zero.
    pub debit: Decimal,
    /// The sum of the balances above zero.
    pub credit: Decimal,
    /// The sum of what open holds set aside.
    pub held: Decimal,
}

impl TrialBalance {
    /// Debits and credits of one currency.
    pub fn sums(&self, currency: Currency) -> (Decimal, Decimal) {
        let rows = self.rows.iter().filter(|row| row.currency == currency);
        rows.fold((Decimal::ZERO, Decimal::ZERO), |(debit, credit), row| (debit + row.debit, credit + row.credit))
    }

    /// Whether debits equal credits in every currency.
    pub fn is_balanced(&self) -> bool {
        Currency::ALL.into_iter().map(|currency| self.sums(currency)).all(|(debit, credit)| debit == credit)
    }
}

/// Adds up all accounts, in one snapshot.
///
/// # Errors
/// When the database can't be read.
pub async fn trial_balance(pool: &PgPool) -> Result<TrialBalance, sqlx::Error> {
    let mut rows = Vec::new();
    for total in books::totals(pool).await? {
        let currency = Currency::from_numeric(total.currency).ok_or(Unreadable("currency"))?;
        rows.push(Total {
            kind: total.kind_name,
            currency,
            accounts: total.accounts,
            debit: decimal(&total.debit, currency)?,
            credit: decimal(&total.credit, currency)?,
            held: decimal(&total.held, currency)?,
        });
    }
    Ok(TrialBalance { rows })
}

/// A sum of minor units, which may pass 64 bits.
fn decimal(minor: &str, currency: Currency) -> Result<Decimal, Unreadable> {
    let minor: i128 = minor.parse().map_err(|_| Unreadable("sum"))?;
    Decimal::try_from_i128_with_scale(minor, currency.digits()).map_err(|_| Unreadable("sum"))
}

/// One account.
///
/// # Errors
/// When the database can't be read.
pub async fn account(pool: &PgPool, id: AccountId) -> Result<Option<Account>, sqlx::Error> {
    books::account(pool, id).await
}

/// The accounts of an owner, by id, at most [`MAX_ACCOUNTS_OF_OWNER`].
///
/// # Errors
/// When the database can't be read.
pub async fn accounts_of(pool: &PgPool, owner: Uuid) -> Result<Vec<Account>, sqlx::Error> {
    books::accounts_of(pool, owner, MAX_ACCOUNTS_OF_OWNER.into()).await
}

/// An account's posted balance at a time; `None` when there is no such account.
///
/// # Errors
/// When the database can't be read.
pub async fn balance_at(pool: &PgPool, id: AccountId, at: DateTime<Utc>) -> Result<Option<Money>, sqlx::Error> {
    let Some((shard, account)) = books::account_and_shard(pool, id).await? else { return Ok(None) };
    let sequence = books::sequence_at(pool, shard, at).await?;
    let balance = books::balance_up_to(pool, id, sequence).await?.unwrap_or(0);
    Ok(Some(Money::from_minor(balance, account.currency)))
}

/// One line of an account's statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct StatementRow {
    /// The transfer's place in the journal.
    pub sequence: i64,
    /// When it was posted.
    pub posted_at: DateTime<Utc>,
    /// The transfer.
    pub transfer: TransferId,
    /// The account on the other side.
    pub other: AccountId,
    /// What came in; negative for what went out.
    pub amount: Money,
    /// The balance after it.
    pub balance: Money,
    /// The name of the transfer's kind.
    pub kind: String,
    /// What it belongs to in the caller's world.
    pub reference: Uuid,
}

impl TryFrom<StatementRecord> for StatementRow {
    type Error = Unreadable;

    fn try_from(record: StatementRecord) -> Result<Self, Unreadable> {
        let currency = Currency::from_numeric(record.currency).ok_or(Unreadable("currency"))?;
        Ok(Self {
            sequence: record.sequence,
            posted_at: record.posted_at,
            transfer: record.id.into(),
            other: record.other.into(),
            amount: Money::from_minor(record.amount, currency),
            balance: Money::from_minor(record.balance, currency),
            kind: record.kind_name,
            reference: record.reference,
        })
    }
}

/// A page of an account's statement after a sequence, oldest first, at most `limit` (and [`MAX_STATEMENT_ROWS`]) lines.
///
/// # Errors
/// When the database can't be read.
pub async fn statement(
    pool: &PgPool,
    account: AccountId,
    after_sequence: i64,
    limit: u16,
) -> Result<Vec<StatementRow>, sqlx::Error> {
    let limit = i64::from(limit.min(MAX_STATEMENT_ROWS));
    let records = books::statement(pool, account, after_sequence, limit).await?;
    records.into_iter().map(|record| Ok(record.try_into()?)).collect()
}

/// An account's whole statement, oldest line first, read page by page as it is consumed.
pub fn statement_stream(
    pool: &PgPool,
    account: AccountId,
) -> impl Stream<Item = Result<StatementRow, sqlx::Error>> + use<> {
    let pool = pool.clone();
    let start = (VecDeque::new(), Some(0_i64));
    futures::stream::try_unfold(start, move |(mut page, after): (VecDeque<StatementRow>, _)| {
        let pool = pool.clone();
        async move {
            let mut after = after;
            if let (true, Some(sequence)) = (page.is_empty(), after) {
                page = statement(&pool, account, sequence, MAX_STATEMENT_ROWS).await?.into();
                after = page.back().map(|row| row.sequence);
            }
            Ok(page.pop_front().map(|row| (row, (page, after))))
        }
    })
}

/// One transfer.
///
/// # Errors
/// When the database can't be read.
pub async fn transfer(pool: &PgPool, id: TransferId) -> Result<Option<Transfer>, sqlx::Error> {
    books::transfer(pool, id).await
}

/// A transfer with the proof that its block seals it; `None` when there is no such transfer.
///
/// # Errors
/// When the database can't be read.
pub async fn proof(pool: &PgPool, id: TransferId) -> Result<Option<(Transfer, Proof)>, sqlx::Error> {
    let Some(transfer) = books::transfer(pool, id).await? else { return Ok(None) };
    let (shard, number) = (transfer.shard, transfer.block);
    let StoredBlock { block, hash: block_hash, salt } =
        books::block(pool, shard, number).await?.ok_or(Unreadable("block"))?;
    let rows = books::transfers(pool, shard, block.first_sequence, block.last_sequence()).await?;
    let nonce = |transfer: &Transfer| Nonce::of(salt, transfer.sequence);
    let leaf = |transfer: Transfer| transfer_leaf(&transfer, nonce(&transfer));
    let leaves = rows.into_iter().map(|row: TransferRow| row.read().map(leaf)).collect::<Result<Vec<_>, _>>()?;
    let index = usize::try_from(transfer.sequence - block.first_sequence).map_err(|_| Unreadable("block"))?;
    let leaf = *leaves.get(index).ok_or(Unreadable("block"))?;
    let path = audit_path(&leaves, index);
    let index = u64::try_from(index).map_err(|_| Unreadable("block"))?;
    let nonce = nonce(&transfer);
    Ok(Some((transfer, Proof { block, block_hash, nonce, leaf, index, path })))
}

/// The holds of a shard whose time is over at `now`, longest over first, at most `limit` (and [`MAX_DUE_HOLDS`]).
///
/// # Errors
/// When the database can't be read.
pub async fn due_holds(pool: &PgPool, shard: i16, now: DateTime<Utc>, limit: u16) -> Result<Vec<HoldId>, sqlx::Error> {
    books::due_holds(pool, shard, now, limit.min(MAX_DUE_HOLDS).into()).await
}

/// How many holds of a shard are open.
///
/// # Errors
/// When the database can't be read.
pub async fn open_holds(pool: &PgPool, shard: i16) -> Result<i64, sqlx::Error> {
    books::open_holds(pool, shard).await
}

//! The journal as an event source: transfers in the order of their commits, gap-free.
//!
//! The sequence of a shard is its outbox: a reader that keeps the last sequence it took misses nothing and sees nothing twice.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use crate::account::AccountId;
use crate::money::{Currency, Money};
use crate::sql::books::{self, JournalRecord, PartyRecord};
use crate::sql::row::Unreadable;
use crate::transfer::TransferId;

/// The channel that each committed batch notifies; the payload is the shard's number.
pub const CHANNEL: &str = "ledger_journal";
/// The most rows of one page.
pub const MAX_ROWS: u32 = 10_000;

/// One transfer as readers of the journal see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalRow {
    /// The shard.
    pub shard: i16,
    /// The place in the shard's journal, gap-free from 1.
    pub sequence: i64,
    /// The block that seals it.
    pub block: i64,
    /// When it was posted.
    pub posted_at: DateTime<Utc>,
    /// The transfer.
    pub transfer: TransferId,
    /// The account that money left.
    pub debit: Side,
    /// The account that money reached.
    pub credit: Side,
    /// How much.
    pub amount: Money,
    /// The code of the transfer's kind.
    pub kind: i16,
    /// What it belongs to in the caller's world.
    pub reference: Uuid,
}

/// One side of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Side {
    /// The account.
    pub account: AccountId,
    /// Its balance after the transfer.
    pub balance: Money,
}

/// Whose account it is and what it is for; neither ever changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party {
    /// Whose account it is.
    pub owner: Uuid,
    /// The name of the account's kind.
    pub kind_name: String,
}

/// The transfers of `shard` after `after_sequence`, oldest first, at most `limit` (and [`MAX_ROWS`]).
///
/// Reads the journal alone: to find each account beside it takes longer than all the rest. [`parties`] says whose they are.
///
/// # Errors
/// When the database can't be read.
pub async fn read(pool: &PgPool, shard: i16, after_sequence: i64, limit: u32) -> Result<Vec<JournalRow>, sqlx::Error> {
    let limit = i64::from(limit.min(MAX_ROWS));
    let records = books::journal(pool, shard, after_sequence, limit).await?;
    records.into_iter().map(|record| Ok(record.try_into()?)).collect()
}

/// Whose accounts these are.
///
/// # Errors
/// When the database can't be read.
pub async fn parties(pool: &PgPool, accounts: &[AccountId]) -> Result<HashMap<AccountId, Party>, sqlx::Error> {
    if accounts.is_empty() {
        return Ok(HashMap::new());
    }
    let ids: Vec<Uuid> = accounts.iter().map(|account| account.uuid()).collect();
    let records = books::parties(pool, &ids).await?;
    let party =
        |record: PartyRecord| (AccountId::from(record.id), Party { owner: record.owner, kind_name: record.kind_name });
    Ok(records.into_iter().map(party).collect())
}

/// The sequence of the last transfer of `shard`; 0 when there is none.
///
/// # Errors
/// When the database can't be read or has no such shard.
pub async fn last_sequence(pool: &PgPool, shard: i16) -> Result<i64, sqlx::Error> {
    books::last_sequence(pool, shard).await
}

impl TryFrom<JournalRecord> for JournalRow {
    type Error = Unreadable;

    fn try_from(record: JournalRecord) -> Result<Self, Unreadable> {
        let currency = Currency::from_numeric(record.currency).ok_or(Unreadable("currency"))?;
        let money = |minor| Money::from_minor(minor, currency);
        Ok(Self {
            shard: record.shard,
            sequence: record.sequence,
            block: record.block,
            posted_at: record.posted_at,
            transfer: record.id.into(),
            debit: Side { account: record.debit.into(), balance: money(record.debit_balance) },
            credit: Side { account: record.credit.into(), balance: money(record.credit_balance) },
            amount: money(record.amount),
            kind: record.kind,
            reference: record.reference,
        })
    }
}

//! Transfers: one row moves one amount from one account to another.
//!
//! Pure: no I/O. A transfer is immutable: what was wrong is put right by another transfer.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::account::AccountId;
use crate::money::{Currency, Money};

platform::typed_id! {
    /// One transfer; the caller gives it, and no two transfers share it.
    pub struct TransferId;
}

/// What a transfer is for; the caller of the ledger declares its kinds as constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TransferKind {
    /// A small number that never changes its meaning; the database stores it.
    pub code: i16,
    /// The name in exports and metrics: lower-case letters, digits and `_`.
    pub name: &'static str,
}

/// A transfer to be made at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Posting {
    /// The id, given by the caller: derived from a saved intent, so that recovery posts the same id again.
    pub id: TransferId,
    /// The account that money leaves.
    pub debit: AccountId,
    /// The account that money reaches.
    pub credit: AccountId,
    /// How much; above zero.
    pub amount: Money,
    /// What it is for.
    pub kind: TransferKind,
    /// What it belongs to in the caller's world: a payment, a top-up, a bill.
    pub reference: Uuid,
}

/// A transfer as the journal keeps it, amounts in minor units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// The shard whose sequence it is part of.
    pub shard: i16,
    /// Its place in the journal: gap-free from 1, in the order of commits.
    pub sequence: i64,
    /// The block that seals it.
    pub block: i64,
    /// When it was posted: the block's time, never before an earlier block's.
    pub posted_at: DateTime<Utc>,
    /// The caller's id.
    pub id: TransferId,
    /// The account that money left.
    pub debit: AccountId,
    /// The account that money reached.
    pub credit: AccountId,
    /// How much; above zero.
    pub amount: i64,
    /// The currency of both accounts.
    pub currency: Currency,
    /// The code of its [`TransferKind`].
    pub kind: i16,
    /// What it belongs to in the caller's world.
    pub reference: Uuid,
    /// The debited account's balance after it.
    pub debit_balance: i64,
    /// The credited account's balance after it.
    pub credit_balance: i64,
    /// The request it came with.
    pub request: Origin,
}

/// How a transfer belongs to its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The first transfer of a request: it carries the request's key, so that a request of transfers needs no row of its own.
    First {
        /// The request's key.
        key: RequestKey,
        /// The fingerprint of what was asked.
        fingerprint: Fingerprint,
        /// How many transfers the request made; they have consecutive sequences.
        transfers: i16,
    },
    /// A further transfer of the request that began before it.
    Further,
}

/// (caller, operation, idempotency key) as 16 bytes: the start of its SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestKey(pub Uuid);

/// What was asked under a key as 16 bytes: the start of the request's SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(pub Uuid);

//! Transfers: one row moves one amount from one account to another.
//!
//! Pure: no I/O. A transfer is immutable: what was wrong is put right by another transfer.
//!
//! A transfer's id is derived from the key of the request that made it, so that one unique index keeps ids and idempotency keys apart,
//! and whoever knows the key knows the id before anything is posted.
//! Each transfer names the sequence of the transfer before it on either account: an account's history is a chain that needs no index.

use chrono::{DateTime, Utc};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::account::AccountId;
use crate::limit::Class;
use crate::money::{Currency, Money};

platform::typed_id! {
    /// One transfer: see [`RequestKey::transfer`].
    pub struct TransferId;
}

/// What a transfer is for; the caller of the ledger declares its kinds as constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TransferKind {
    /// A small number that never changes its meaning; the database stores it.
    pub code: i16,
    /// The name in exports and metrics: lower-case letters, digits and `_`.
    pub name: &'static str,
    /// What it counts for in the debited account's [`Usage`](crate::limit::Usage); without, for no limit.
    pub class: Option<Class>,
}

impl TransferKind {
    /// A kind that counts for no limit.
    pub const fn new(code: i16, name: &'static str) -> Self {
        Self { code, name, class: None }
    }

    /// The same, counting as spending of a class.
    #[must_use]
    pub const fn spending(self, class: Class) -> Self {
        Self { class: Some(class), ..self }
    }
}

/// A transfer to be made at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Posting {
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
    /// Its id, derived from the key of its request.
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
    /// The sequence of the debited account's transfer before it; 0 for its first.
    pub debit_previous: i64,
    /// The sequence of the credited account's transfer before it; 0 for its first.
    pub credit_previous: i64,
    /// The request it came with.
    pub request: Origin,
}

/// How a transfer belongs to its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The first transfer of a request: its id is the request's key, so that a request of transfers needs no row of its own.
    First {
        /// The fingerprint of what was asked.
        fingerprint: Fingerprint,
        /// How many transfers the request made; they have consecutive sequences.
        transfers: i16,
    },
    /// A further transfer of the request that began before it.
    Further,
}

/// (caller, operation, idempotency key) as a UUIDv8 (RFC 9562, section 5.8): the first 122 free bits of its SHA-256.
///
/// When the client's key is a UUIDv7, its time comes first, cut to 256 ms, and 82 bits of the hash after it:
/// ids of one time stand together in the index, which then grows at its end instead of everywhere.
/// The time is part of the key, so that equal keys have equal ids whenever they come, and a wrong one costs nothing but the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestKey(pub Uuid);

impl RequestKey {
    /// The id of the transfer that a request with this key makes at `place`, counted from 0: the key itself for the first one.
    pub fn transfer(self, place: u16) -> TransferId {
        if place == 0 {
            return TransferId::from(self.0);
        }
        TransferId::from(uuid_of(
            Sha256::new().chain_update(self.0).chain_update(place.to_be_bytes()),
            Some(front_of(self.0)),
        ))
    }
}

/// What ids begin with that are to stand together: of a UUIDv7, its time cut to 256 ms.
pub(crate) type Front = [u8; 5];

/// What an id begins with.
pub(crate) fn front_of(id: Uuid) -> Front {
    let [a, b, c, d, e, ..] = id.into_bytes();
    [a, b, c, d, e]
}

/// A UUIDv8 with the start of a hash, behind `front` if there is one.
pub(crate) fn uuid_of(hash: Sha256, front: Option<Front>) -> Uuid {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.finalize()[..16]);
    if let Some(front) = front {
        bytes[..front.len()].copy_from_slice(&front);
    }
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// What was asked under a key: the first 64 bits of the request's SHA-256.
///
/// It tells a client's repeated request from another one that it sent under the same key by mistake;
/// whoever forges an equal fingerprint deceives only themself, because the caller is part of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(pub i64);

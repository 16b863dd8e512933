//! Blocks: every committed batch is sealed by hashes that any later change breaks.
//!
//! Pure: no I/O. A block holds two RFC 6962 tree heads, one over its transfers in order of their sequence and one over its salt and its other records in the order of [`Record`], and the hash of the block before.
//! Encodings are fixed-width and big-endian, with a version in front; variable text comes last with its length before it.
//! Invariant: an encoding never changes; another one gets another version.

mod bytes;
mod record;
mod tree;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use self::bytes::Bytes;
pub use self::record::Record;
pub use self::tree::{Tree, audit_path, leaf_hash, root_of_path};
use crate::transfer::{Origin, Transfer};

/// The version of the encodings below.
const VERSION: u8 = 1;

/// A SHA-256 hash; hexadecimal on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// What the first block has for the hash of the block before.
    pub const ZERO: Self = Self([0; 32]);

    /// The hash that the database stored.
    pub fn from_stored(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl std::fmt::Display for Hash {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&hex::encode(self.0))
    }
}

impl std::fmt::Debug for Hash {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, formatter)
    }
}

impl Serialize for Hash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut hash = [0; 32];
        hex::decode_to_slice(text, &mut hash).map_err(serde::de::Error::custom)?;
        Ok(Self(hash))
    }
}

/// What is hashed with a leaf so that nobody who sees the leaf's hash can try out what it may be of.
///
/// Derived from the block's salt, which is random and stays in the books, and the transfer's sequence: it takes no room.
/// A receipt carries that of its own transfer, which says nothing of its neighbours'.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Nonce(#[serde(with = "uuid::serde::simple")] Uuid);

impl Nonce {
    /// The nonce of the transfer with this sequence.
    pub fn of(salt: Uuid, sequence: i64) -> Self {
        let hash = Sha256::new().chain_update([VERSION, b'n']).chain_update(salt).chain_update(sequence.to_be_bytes());
        let mut nonce = [0; 16];
        nonce.copy_from_slice(&hash.finalize()[..16]);
        Self(Uuid::from_bytes(nonce))
    }
}

impl std::fmt::Debug for Nonce {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Nonce")
    }
}

/// One committed batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Block {
    /// The shard whose chain it is part of.
    pub shard: i16,
    /// Its place in the chain, from 1.
    pub number: i64,
    /// The sequence of its first transfer, or of the next one if it has none.
    pub first_sequence: i64,
    /// How many transfers it seals.
    pub transfers: i32,
    /// How many other records it seals.
    pub records: i32,
    /// The time of everything in it.
    pub posted_at: DateTime<Utc>,
    /// The tree head over its transfers.
    pub transfer_root: Hash,
    /// The tree head over its other records.
    pub record_root: Hash,
    /// What its transfers left on their accounts, hashed with a secret: see [`BalanceHash`].
    pub balance_hash: Hash,
    /// The hash of the block before.
    pub previous_hash: Hash,
}

impl Block {
    /// The hash that the next block carries.
    pub fn hash(&self) -> Hash {
        let mut bytes = Bytes::new(b'B', self.shard);
        bytes.long(self.number).long(self.first_sequence);
        bytes.long(i64::from(self.transfers)).long(i64::from(self.records));
        bytes.time(self.posted_at);
        bytes.hash(self.transfer_root).hash(self.record_root).hash(self.balance_hash).hash(self.previous_hash);
        Hash(Sha256::digest(&bytes.0).into())
    }

    /// The sequence of its last transfer, or of the one before if it has none.
    pub fn last_sequence(&self) -> i64 {
        self.first_sequence + i64::from(self.transfers) - 1
    }
}

/// Proof that a transfer is sealed by a block; checkable without the database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// The block.
    pub block: Block,
    /// The block's hash.
    pub block_hash: Hash,
    /// What was hashed with the transfer.
    pub nonce: Nonce,
    /// The transfer's leaf hash.
    pub leaf: Hash,
    /// The transfer's place in the block, from 0.
    pub index: u64,
    /// The audit path, from the leaf up.
    pub path: Vec<Hash>,
}

impl Proof {
    /// Whether the proof holds for `transfer`.
    pub fn holds(&self, transfer: &Transfer) -> bool {
        let size = u64::try_from(self.block.transfers).unwrap_or(0);
        let place = u64::try_from(transfer.sequence - self.block.first_sequence);
        self.block_hash == self.block.hash()
            && transfer.block == self.block.number
            && transfer.shard == self.block.shard
            && place == Ok(self.index)
            && self.leaf == transfer_leaf(transfer, self.nonce)
            && root_of_path(self.leaf, self.index, size, &self.path) == Some(self.block.transfer_root)
    }
}

/// The leaf of a transfer: what both sides may know of it, and its nonce, which only they get. Balances are not part of it, so that a receipt tells neither side what the other has.
pub fn transfer_leaf(transfer: &Transfer, nonce: Nonce) -> Hash {
    let mut bytes = Bytes::new(b'T', transfer.shard);
    bytes.long(transfer.sequence).long(transfer.block).time(transfer.posted_at);
    bytes.id(transfer.id.uuid()).id(transfer.debit.uuid()).id(transfer.credit.uuid());
    bytes.long(transfer.amount).short(transfer.currency.numeric()).short(transfer.kind);
    bytes.id(transfer.reference);
    match transfer.request {
        Origin::First { fingerprint, transfers } => bytes.short(transfers).long(fingerprint.0),
        Origin::Further => bytes.short(0).long(0),
    };
    bytes.id(nonce.0);
    leaf_hash(&bytes.0)
}

/// What the transfers of a block left on their accounts: SHA-256 of the block's salt and, for each transfer in order,
/// both balances after it and both places before it.
///
/// The salt is random and stays in the books: without it, whoever holds a receipt from a small block could try out balances.
#[derive(Clone)]
pub struct BalanceHash(Sha256);

impl BalanceHash {
    /// That of no transfers.
    pub fn new(salt: Uuid) -> Self {
        Self(Sha256::new().chain_update([VERSION, b'S']).chain_update(salt))
    }

    /// Adds the next transfer.
    pub fn push(&mut self, transfer: &Transfer) {
        let sides =
            [transfer.debit_balance, transfer.credit_balance, transfer.debit_previous, transfer.credit_previous];
        sides.iter().for_each(|number| self.0.update(number.to_be_bytes()));
    }

    /// The hash.
    pub fn finish(self) -> Hash {
        Hash(self.0.finalize().into())
    }
}

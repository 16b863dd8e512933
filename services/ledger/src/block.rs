//! Blocks: every committed batch is sealed by hashes that any later change breaks.
//!
//! Pure: no I/O. A block holds two RFC 6962 tree heads, one over its transfers in order of their sequence and one over its other records in the order of [`Record`], and the hash of the block before.
//! Encodings are fixed-width and big-endian, with a version in front; variable text comes last with its length before it.
//! Invariant: an encoding never changes; another one gets another version.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::account::{Account, AccountChange};
use crate::fold::StoredRequest;
use crate::hold::{Ending, Hold};
use crate::limit::Class;
use crate::refund::Refund;
use crate::transfer::{Origin, Transfer};

/// The version of the encodings below.
const VERSION: u8 = 1;
/// The most hashes of an inclusion proof: one per level of a tree of 2³² leaves.
const MAX_PATH: usize = 32;

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

/// The hash of a leaf: SHA-256 of 0x00 and the data (RFC 6962, section 2.1).
pub fn leaf_hash(data: &[u8]) -> Hash {
    Hash(Sha256::new().chain_update([0]).chain_update(data).finalize().into())
}

fn node_hash(left: Hash, right: Hash) -> Hash {
    Hash(Sha256::new().chain_update([1]).chain_update(left.0).chain_update(right.0).finalize().into())
}

/// A tree head in the making (RFC 6962, section 2.1); takes memory for one hash per level only.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    /// Heads of full subtrees from left to right; the sizes are the bits of `leaves`.
    heads: Vec<Hash>,
    leaves: u64,
}

impl Tree {
    /// Adds a leaf on the right.
    pub fn push(&mut self, leaf: Hash) {
        let mut head = leaf;
        let mut size = self.leaves;
        while size & 1 == 1 {
            let left = self.heads.pop().expect("a set bit has a subtree");
            head = node_hash(left, head);
            size >>= 1;
        }
        self.heads.push(head);
        self.leaves += 1;
    }

    /// How many leaves there are.
    pub fn leaves(&self) -> u64 {
        self.leaves
    }

    /// The tree head; that of an empty tree is the hash of nothing.
    pub fn root(&self) -> Hash {
        let mut heads = self.heads.iter().rev().copied();
        match heads.next() {
            None => Hash(Sha256::digest([]).into()),
            Some(last) => heads.fold(last, |right, left| node_hash(left, right)),
        }
    }
}

impl FromIterator<Hash> for Tree {
    fn from_iter<I: IntoIterator<Item = Hash>>(leaves: I) -> Self {
        let mut tree = Self::default();
        leaves.into_iter().for_each(|leaf| tree.push(leaf));
        tree
    }
}

/// The audit path of the leaf at `index` (RFC 6962, section 2.1.1), from the leaf up.
pub fn audit_path(leaves: &[Hash], index: usize) -> Vec<Hash> {
    assert!(index < leaves.len(), "a path is asked for a leaf that is there");
    if leaves.len() == 1 {
        return Vec::new();
    }
    let split = largest_power_of_two_below(leaves.len());
    let (left, right) = leaves.split_at(split);
    let root = |leaves: &[Hash]| leaves.iter().copied().collect::<Tree>().root();
    let (mut path, sibling) = if index < split {
        (audit_path(left, index), root(right))
    } else {
        (audit_path(right, index - split), root(left))
    };
    path.push(sibling);
    path
}

fn largest_power_of_two_below(size: usize) -> usize {
    let mut split = 1;
    while split * 2 < size {
        split *= 2;
    }
    split
}

/// The tree head that an audit path leads to (RFC 9162, section 2.1.3.2); `None` when the path does not fit the tree.
pub fn root_of_path(leaf: Hash, index: u64, size: u64, path: &[Hash]) -> Option<Hash> {
    if index >= size || path.len() > MAX_PATH {
        return None;
    }
    let (mut node, mut last, mut head) = (index, size - 1, leaf);
    for &sibling in path {
        if last == 0 {
            return None;
        }
        if node & 1 == 1 || node == last {
            head = node_hash(sibling, head);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            head = node_hash(head, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    (last == 0).then_some(head)
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
            && self.leaf == transfer_leaf(transfer)
            && root_of_path(self.leaf, self.index, size, &self.path) == Some(self.block.transfer_root)
    }
}

/// The leaf of a transfer: what both sides may know of it. Balances are not part of it, so that a receipt tells neither side what the other has.
pub fn transfer_leaf(transfer: &Transfer) -> Hash {
    let mut bytes = Bytes::new(b'T', transfer.shard);
    bytes.long(transfer.sequence).long(transfer.block).time(transfer.posted_at);
    bytes.id(transfer.id.uuid()).id(transfer.debit.uuid()).id(transfer.credit.uuid());
    bytes.long(transfer.amount).short(transfer.currency.numeric()).short(transfer.kind);
    bytes.id(transfer.reference);
    match transfer.request {
        Origin::First { fingerprint, transfers } => bytes.short(transfers).long(fingerprint.0),
        Origin::Further => bytes.short(0).long(0),
    };
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

/// What a block seals beside transfers. The order of the variants is the order of the leaves; within one, the order is that of the ids (or of the changes).
#[derive(Clone, Copy, Debug)]
pub enum Record<'a> {
    /// A kind of account was named.
    AccountKind(i16, &'a str),
    /// A kind of transfer was named.
    TransferKind(i16, &'a str, Option<Class>),
    /// An account was opened.
    AccountOpened(&'a Account),
    /// An account was frozen, unfrozen or closed; with its place among the block's changes, from 1.
    AccountChanged(i32, &'a AccountChange),
    /// A hold was opened.
    HoldOpened(&'a Hold),
    /// An outside party was about to be asked about a hold.
    HoldConfirming(&'a Hold),
    /// A hold ended.
    HoldEnded(&'a Hold),
    /// A transfer gave back money of an earlier one.
    Refund(&'a Refund),
    /// A request that made no transfer was answered.
    Request(&'a StoredRequest),
}

impl Record<'_> {
    /// The leaf of this record in `block`.
    pub fn leaf(&self, shard: i16, block: i64) -> Hash {
        let tag = match self {
            Self::AccountKind(..) => b'K',
            Self::TransferKind(..) => b'k',
            Self::AccountOpened(_) => b'A',
            Self::AccountChanged(..) => b'a',
            Self::HoldOpened(_) => b'H',
            Self::HoldConfirming(_) => b'h',
            Self::HoldEnded(_) => b'E',
            Self::Refund(_) => b'r',
            Self::Request(_) => b'R',
        };
        let mut bytes = Bytes::new(tag, shard);
        bytes.long(block);
        match self {
            Self::AccountKind(code, name) => bytes.short(*code).text(name),
            Self::TransferKind(code, name, class) => bytes.short(*code).class(*class).text(name),
            Self::AccountOpened(account) => bytes.account(account),
            Self::AccountChanged(ordinal, change) => bytes
                .long(i64::from(*ordinal))
                .id(change.account.uuid())
                .short(change.freeze.number())
                .short(i16::from(change.closed)),
            Self::HoldOpened(hold) => bytes.hold(hold),
            Self::HoldConfirming(hold) => bytes.id(hold.id.uuid()).optional_time(hold.confirming.map(|stamp| stamp.at)),
            Self::HoldEnded(hold) => bytes.ending(hold),
            Self::Refund(refund) => {
                bytes.long(refund.sequence).id(refund.of.uuid()).long(refund.amount).class(refund.class)
            }
            Self::Request(request) => bytes.request(request),
        };
        leaf_hash(&bytes.0)
    }
}

/// The bytes of a record, in the making.
struct Bytes(Vec<u8>);

impl Bytes {
    fn new(tag: u8, shard: i16) -> Self {
        let mut bytes = Self(Vec::with_capacity(256));
        bytes.0.extend([VERSION, tag]);
        bytes.short(shard);
        bytes
    }

    fn short(&mut self, number: i16) -> &mut Self {
        self.0.extend(number.to_be_bytes());
        self
    }

    fn long(&mut self, number: i64) -> &mut Self {
        self.0.extend(number.to_be_bytes());
        self
    }

    fn time(&mut self, time: DateTime<Utc>) -> &mut Self {
        self.long(time.timestamp_micros())
    }

    fn optional_long(&mut self, number: Option<i64>) -> &mut Self {
        self.short(i16::from(number.is_some())).long(number.unwrap_or(0))
    }

    fn optional_time(&mut self, time: Option<DateTime<Utc>>) -> &mut Self {
        self.optional_long(time.map(|time| time.timestamp_micros()))
    }

    /// Codes of classes begin at 1.
    fn class(&mut self, class: Option<Class>) -> &mut Self {
        self.short(class.map_or(0, Class::code))
    }

    fn id(&mut self, id: Uuid) -> &mut Self {
        self.0.extend(id.as_bytes());
        self
    }

    fn hash(&mut self, hash: Hash) -> &mut Self {
        self.0.extend(hash.0);
        self
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.0.extend((text.len() as u64).to_be_bytes());
        self.0.extend(text.as_bytes());
        self
    }

    fn account(&mut self, account: &Account) -> &mut Self {
        self.id(account.id.uuid())
            .id(account.owner)
            .short(account.kind)
            .short(account.currency.numeric())
            .optional_long(account.floor)
            .time(account.opened_at)
    }

    fn hold(&mut self, hold: &Hold) -> &mut Self {
        self.id(hold.id.uuid())
            .id(hold.debit.uuid())
            .id(hold.credit.uuid())
            .long(hold.amount)
            .short(hold.currency.numeric())
            .short(hold.kind)
            .class(hold.class)
            .id(hold.reference)
            .optional_time(hold.expires_at)
            .time(hold.opened.at)
    }

    fn ending(&mut self, hold: &Hold) -> &mut Self {
        self.id(hold.id.uuid()).optional_time(hold.ended.map(|(_, stamp)| stamp.at));
        match hold.ended.map(|(ending, _)| ending) {
            Some(Ending::Posted { transfer, amount }) => self.short(1).id(transfer.uuid()).long(amount),
            Some(Ending::Voided) => self.short(2),
            Some(Ending::Expired) => self.short(3),
            None => self.short(0),
        }
    }

    fn request(&mut self, request: &StoredRequest) -> &mut Self {
        self.id(request.key.0).long(request.fingerprint.0);
        match request.reject {
            Some(reject) => self.short(1).id(reject.subject()).text(reject.code()),
            None => self.short(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Leaves and tree heads of the test vectors that implementations of RFC 6962 share.
    const LEAVES: [&str; 8] =
        ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
    const ROOTS: [&str; 9] = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    fn leaves(count: usize) -> Vec<Hash> {
        LEAVES[..count].iter().map(|data| leaf_hash(&hex::decode(data).expect("hexadecimal"))).collect()
    }

    #[test]
    fn tree_heads_are_those_of_rfc_6962() {
        for (size, expected) in ROOTS.iter().enumerate() {
            let tree: Tree = leaves(size).into_iter().collect();
            assert_eq!(tree.root().to_string(), *expected, "{size} leaves");
        }
    }

    #[test]
    fn audit_paths_are_those_of_rfc_6962() {
        let path = |index: usize, size: usize| -> Vec<String> {
            audit_path(&leaves(size), index).iter().map(Hash::to_string).collect()
        };
        assert!(path(0, 1).is_empty());
        assert_eq!(
            path(0, 8),
            [
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ]
        );
        assert_eq!(
            path(5, 8),
            [
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ]
        );
        assert_eq!(path(2, 3), ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]);
    }

    #[test]
    fn every_path_proves_its_leaf_and_no_other() {
        for size in 1..=64_usize {
            let leaves: Vec<Hash> = (0..size).map(|leaf| leaf_hash(&leaf.to_be_bytes())).collect();
            let root = leaves.iter().copied().collect::<Tree>().root();
            for index in 0..size {
                let path = audit_path(&leaves, index);
                let proven =
                    |leaf: Hash, index: usize| root_of_path(leaf, index as u64, size as u64, &path) == Some(root);
                assert!(proven(leaves[index], index), "leaf {index} of {size}");
                assert!(!proven(leaf_hash(b"other"), index));
                for other in (0..size).filter(|other| *other != index) {
                    assert!(!proven(leaves[index], other), "leaf {index} of {size} at {other}");
                }
            }
        }
    }
}

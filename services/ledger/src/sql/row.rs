//! Rows as they are stored, and how they become values of the domain.
//!
//! A stored value that means nothing (an unknown currency, a hash of the wrong length) is [`Unreadable`]: an error when posting, a finding when verifying.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::account::{Account, AccountChange, Freeze};
use crate::block::{Block, Hash};
use crate::fold::StoredRequest;
use crate::hold::{Ending, Hold, Stamp};
use crate::limit::{Class, Usage, UsageUnreadable};
use crate::money::Currency;
use crate::refund::Refund;
use crate::request::Reject;
use crate::transfer::{Fingerprint, Origin, RequestKey, Transfer};

/// A stored value that means nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stored {0} can't be read")]
pub(crate) struct Unreadable(pub(crate) &'static str);

impl From<Unreadable> for sqlx::Error {
    fn from(unreadable: Unreadable) -> Self {
        Self::Decode(Box::new(unreadable))
    }
}

pub(crate) fn currency(numeric: i16) -> Result<Currency, Unreadable> {
    Currency::from_numeric(numeric).ok_or(Unreadable("currency"))
}

pub(crate) fn class(code: Option<i16>) -> Result<Option<Class>, Unreadable> {
    code.map(|code| Class::from_code(code).ok_or(Unreadable("class"))).transpose()
}

fn hash(bytes: &[u8]) -> Result<Hash, Unreadable> {
    Hash::from_stored(bytes).ok_or(Unreadable("hash"))
}

/// A row of `ledger.shard`.
pub(crate) struct HeadRow {
    pub(crate) sequence: i64,
    pub(crate) block: i64,
    pub(crate) posted_at: DateTime<Utc>,
    pub(crate) hash: Vec<u8>,
}

/// The head of a shard's journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) sequence: i64,
    pub(crate) block: i64,
    pub(crate) posted_at: DateTime<Utc>,
    pub(crate) hash: Hash,
}

impl HeadRow {
    pub(crate) fn read(self) -> Result<Head, Unreadable> {
        let Self { sequence, block, posted_at, hash: bytes } = self;
        Ok(Head { sequence, block, posted_at, hash: hash(&bytes)? })
    }
}

/// A row of `ledger.account`.
pub(crate) struct AccountRow {
    pub(crate) id: Uuid,
    pub(crate) owner: Uuid,
    pub(crate) kind: i16,
    pub(crate) currency: i16,
    pub(crate) floor: Option<i64>,
    pub(crate) opened_block: i64,
    pub(crate) opened_at: DateTime<Utc>,
    pub(crate) posted: i64,
    pub(crate) held: i64,
    pub(crate) promised: i64,
    pub(crate) frozen: i16,
    pub(crate) closed: bool,
    pub(crate) sequence: i64,
    pub(crate) transfers: i64,
    pub(crate) usage: Vec<u8>,
}

impl AccountRow {
    pub(crate) fn read(self) -> Result<Account, Unreadable> {
        Ok(Account {
            id: self.id.into(),
            owner: self.owner,
            kind: self.kind,
            currency: currency(self.currency)?,
            floor: self.floor,
            opened_block: self.opened_block,
            opened_at: self.opened_at,
            posted: self.posted,
            held: self.held,
            promised: self.promised,
            freeze: Freeze::from_number(self.frozen).ok_or(Unreadable("freeze"))?,
            closed: self.closed,
            sequence: self.sequence,
            transfers: self.transfers,
            usage: Usage::decode(&self.usage).map_err(|UsageUnreadable| Unreadable("usage"))?,
        })
    }
}

/// A row of `ledger.transfer`.
pub(crate) struct TransferRow {
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
    pub(crate) debit_previous: i64,
    pub(crate) credit_previous: i64,
    pub(crate) request_size: i16,
    pub(crate) fingerprint: i64,
}

impl TransferRow {
    pub(crate) fn read(self) -> Result<Transfer, Unreadable> {
        let request = match (self.request_size, self.fingerprint) {
            (0, 0) => Origin::Further,
            (transfers @ 1.., fingerprint) => Origin::First { fingerprint: Fingerprint(fingerprint), transfers },
            _ => return Err(Unreadable("request of a transfer")),
        };
        Ok(Transfer {
            shard: self.shard,
            sequence: self.sequence,
            block: self.block,
            posted_at: self.posted_at,
            id: self.id.into(),
            debit: self.debit.into(),
            credit: self.credit.into(),
            amount: self.amount,
            currency: currency(self.currency)?,
            kind: self.kind,
            reference: self.reference,
            debit_balance: self.debit_balance,
            credit_balance: self.credit_balance,
            debit_previous: self.debit_previous,
            credit_previous: self.credit_previous,
            request,
        })
    }
}

/// A row of `ledger.hold`.
pub(crate) struct HoldRow {
    pub(crate) id: Uuid,
    pub(crate) debit: Uuid,
    pub(crate) credit: Uuid,
    pub(crate) amount: i64,
    pub(crate) currency: i16,
    pub(crate) kind: i16,
    pub(crate) class: Option<i16>,
    pub(crate) reference: Uuid,
    pub(crate) expires_at: Option<DateTime<Utc>>,
    pub(crate) opened_block: i64,
    pub(crate) opened_at: DateTime<Utc>,
    pub(crate) confirming_block: Option<i64>,
    pub(crate) confirming_at: Option<DateTime<Utc>>,
    pub(crate) ended_block: Option<i64>,
    pub(crate) ended_at: Option<DateTime<Utc>>,
    pub(crate) ending: Option<String>,
    pub(crate) posted_amount: Option<i64>,
    pub(crate) transfer: Option<Uuid>,
}

impl HoldRow {
    pub(crate) fn read(&self) -> Result<Hold, Unreadable> {
        let stamp =
            |block: Option<i64>, at: Option<DateTime<Utc>>| block.zip(at).map(|(block, at)| Stamp { block, at });
        let ending = match (self.ending.as_deref(), self.transfer, self.posted_amount) {
            (None, None, None) => None,
            (Some("posted"), Some(transfer), Some(amount)) => {
                Some(Ending::Posted { transfer: transfer.into(), amount })
            }
            (Some("voided"), None, None) => Some(Ending::Voided),
            (Some("expired"), None, None) => Some(Ending::Expired),
            _ => return Err(Unreadable("ending of a hold")),
        };
        Ok(Hold {
            id: self.id.into(),
            debit: self.debit.into(),
            credit: self.credit.into(),
            amount: self.amount,
            currency: currency(self.currency)?,
            kind: self.kind,
            class: class(self.class)?,
            reference: self.reference,
            expires_at: self.expires_at,
            opened: Stamp { block: self.opened_block, at: self.opened_at },
            confirming: stamp(self.confirming_block, self.confirming_at),
            ended: ending.zip(stamp(self.ended_block, self.ended_at)),
        })
    }
}

/// The name of an ending in the database.
pub(crate) fn ending_name(ending: &Ending) -> &'static str {
    match ending {
        Ending::Posted { .. } => "posted",
        Ending::Voided => "voided",
        Ending::Expired => "expired",
    }
}

/// A row of `ledger.request`.
pub(crate) struct RequestRow {
    pub(crate) block: i64,
    pub(crate) request_key: Uuid,
    pub(crate) fingerprint: i64,
    pub(crate) reject: Option<String>,
    pub(crate) subject: Option<Uuid>,
}

impl RequestRow {
    pub(crate) fn read(self) -> Result<StoredRequest, Unreadable> {
        Ok(StoredRequest {
            key: RequestKey(self.request_key),
            fingerprint: Fingerprint(self.fingerprint),
            reject: reject(self.reject.as_deref(), self.subject)?,
        })
    }
}

/// The reject that a code and a subject stand for; none of both for a request that was granted.
pub(crate) fn reject(code: Option<&str>, subject: Option<Uuid>) -> Result<Option<Reject>, Unreadable> {
    match (code, subject) {
        (None, None) => Ok(None),
        (Some(code), Some(subject)) => Reject::from_stored(code, subject).map(Some).ok_or(Unreadable("reject")),
        _ => Err(Unreadable("reject")),
    }
}

/// A row of `ledger.refund`.
pub(crate) struct RefundRow {
    pub(crate) block: i64,
    pub(crate) sequence: i64,
    pub(crate) payment: Uuid,
    pub(crate) amount: i64,
    pub(crate) class: Option<i16>,
    /// When the payment counted as spent; none when there is no such payment.
    pub(crate) spent_at: Option<DateTime<Utc>>,
}

impl RefundRow {
    pub(crate) fn read(&self) -> Result<Refund, Unreadable> {
        Ok(Refund { sequence: self.sequence, of: self.payment.into(), amount: self.amount, class: class(self.class)? })
    }
}

/// A row of `ledger.account_change`.
pub(crate) struct ChangeRow {
    pub(crate) block: i64,
    pub(crate) ordinal: i32,
    pub(crate) account: Uuid,
    pub(crate) frozen: i16,
    pub(crate) closed: bool,
}

impl ChangeRow {
    pub(crate) fn read(self) -> Result<AccountChange, Unreadable> {
        Ok(AccountChange {
            account: self.account.into(),
            freeze: Freeze::from_number(self.frozen).ok_or(Unreadable("freeze"))?,
            closed: self.closed,
        })
    }
}

/// A row of `ledger.account_kind` or `ledger.transfer_kind`.
pub(crate) struct KindRow {
    pub(crate) block: i64,
    pub(crate) code: i16,
    pub(crate) name: String,
    pub(crate) class: Option<i16>,
}

impl KindRow {
    pub(crate) fn class(&self) -> Result<Option<Class>, Unreadable> {
        class(self.class)
    }
}

/// A row of `ledger.block`.
pub(crate) struct BlockRow {
    pub(crate) shard: i16,
    pub(crate) number: i64,
    pub(crate) first_sequence: i64,
    pub(crate) posted_at: DateTime<Utc>,
    pub(crate) transfers: i32,
    pub(crate) records: i32,
    pub(crate) transfer_root: Vec<u8>,
    pub(crate) record_root: Vec<u8>,
    pub(crate) balance_hash: Vec<u8>,
    pub(crate) previous_hash: Vec<u8>,
    pub(crate) hash: Vec<u8>,
    pub(crate) salt: Uuid,
}

/// A block with what is stored beside it.
pub(crate) struct StoredBlock {
    pub(crate) block: Block,
    pub(crate) hash: Hash,
    pub(crate) salt: Uuid,
}

impl BlockRow {
    pub(crate) fn read(self) -> Result<StoredBlock, Unreadable> {
        let block = Block {
            shard: self.shard,
            number: self.number,
            first_sequence: self.first_sequence,
            transfers: self.transfers,
            records: self.records,
            posted_at: self.posted_at,
            transfer_root: hash(&self.transfer_root)?,
            record_root: hash(&self.record_root)?,
            balance_hash: hash(&self.balance_hash)?,
            previous_hash: hash(&self.previous_hash)?,
        };
        Ok(StoredBlock { block, hash: hash(&self.hash)?, salt: self.salt })
    }
}

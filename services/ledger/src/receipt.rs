//! Receipts: what a person keeps to show later, and checks without the city: a transfer, the proof that its block seals it, and the signed checkpoint that covers the block.
//!
//! Pure but for [`issue`]. A receipt is JSON in one form only: its bytes are what [`Receipt::to_json`] writes, or it is refused, so that no changed byte goes unseen.
//!
//! What a receipt without a checkpoint proves: these numbers and this block belong together. Whoever could write the whole ledger anew could make another such receipt.
//! What one with a checkpoint proves: the city signed for it, and can't deny it to anyone who has its public key from a source of their own.

use std::str::FromStr as _;

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::account::AccountId;
use crate::block::{Hash, Proof};
use crate::book;
use crate::checkpoint::{self, Checkpoint};
use crate::money::Money;
use crate::note::{NoteError, PublicKey};
use crate::transfer::{Fingerprint, Origin, Transfer, TransferId};

/// The form described here.
const VERSION: u8 = 1;
/// The most bytes of a receipt that is read.
pub const MAX_RECEIPT_BYTES: usize = 65_536;

/// A transfer with all that proves it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// The form of the receipt: 1.
    pub version: u8,
    /// What happened.
    pub transfer: ReceiptTransfer,
    /// The block that seals it, and the RFC 6962 audit path from the transfer's leaf to the block's root.
    #[schema(value_type = Object)]
    pub proof: Proof,
    /// What the city signed about the block; none until the day has ended.
    pub checkpoint: Option<ReceiptCheckpoint>,
}

/// A transfer with everything that its leaf is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReceiptTransfer {
    /// The shard.
    pub shard: i16,
    /// Its place in the journal.
    pub sequence: i64,
    /// The block that seals it.
    pub block: i64,
    /// When it was posted.
    pub posted_at: DateTime<Utc>,
    /// The transfer.
    pub id: TransferId,
    /// The account that money left.
    pub debit: AccountId,
    /// The account that money reached.
    pub credit: AccountId,
    /// How much.
    pub amount: Money,
    /// The code of its kind.
    pub kind: i16,
    /// What it belongs to.
    pub reference: Uuid,
    /// The request that it is the first transfer of.
    pub request: Option<ReceiptRequest>,
}

/// The request that a transfer is the first of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReceiptRequest {
    /// The fingerprint of what was asked.
    pub fingerprint: i64,
    /// How many transfers it made.
    pub transfers: i16,
}

/// A signed checkpoint and the way from the block to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReceiptCheckpoint {
    /// The signed note.
    pub note: String,
    /// The public key that signed it; compare it with the one that the city publishes.
    pub key: String,
    /// The audit path from the block's leaf to the checkpoint's root.
    #[schema(value_type = Vec<String>)]
    pub path: Vec<Hash>,
}

/// Why a receipt proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// Not a receipt.
    #[error("the file is not a receipt")]
    Malformed,
    /// A receipt, but not as it was issued.
    #[error("the file is not in the form in which receipts are issued; it must not be reformatted")]
    Form,
    /// The transfer is not what the block seals.
    #[error("the transfer is not the one that the block seals")]
    Transfer,
    /// The note is none, or its signature is wrong.
    #[error("the checkpoint does not hold: {0}")]
    Checkpoint(#[from] NoteError),
    /// Another key than the one that was given signed it.
    #[error("the checkpoint is not signed with the key that was given")]
    OtherKey,
    /// The block is not among those that were signed.
    #[error("the block is not one of those that the checkpoint covers")]
    NotCovered,
    /// A key was given to check with, and there is nothing signed.
    #[error("the receipt has no signed checkpoint")]
    Unsigned,
}

/// What a receipt proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proven {
    /// Transfer and block belong together.
    Block,
    /// And the block is one of those that a key signed for at the end of a day.
    Signed {
        /// The day of the city.
        day: NaiveDate,
        /// How many blocks were signed for.
        blocks: i64,
        /// Who signed.
        key: PublicKey,
    },
}

impl Receipt {
    /// The one form of the receipt.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a receipt has names and plain values only")
    }

    /// Reads a receipt.
    ///
    /// # Errors
    /// When it is none, or not in its one form.
    pub fn from_json(bytes: &[u8]) -> Result<Self, ReceiptError> {
        if bytes.len() > MAX_RECEIPT_BYTES {
            return Err(ReceiptError::Malformed);
        }
        let receipt: Self = serde_json::from_slice(bytes).map_err(|_| ReceiptError::Malformed)?;
        if receipt.version != VERSION {
            return Err(ReceiptError::Malformed);
        }
        if receipt.to_json() == bytes { Ok(receipt) } else { Err(ReceiptError::Form) }
    }

    /// What it proves. With a `trusted` key only that key's signature counts; without one, the key that the receipt itself names.
    ///
    /// # Errors
    /// Says what does not hold.
    pub fn prove(&self, trusted: Option<&PublicKey>) -> Result<Proven, ReceiptError> {
        let transfer = self.transfer.read();
        if !self.proof.holds(&transfer) {
            return Err(ReceiptError::Transfer);
        }
        let Some(signed) = &self.checkpoint else {
            return if trusted.is_none() { Ok(Proven::Block) } else { Err(ReceiptError::Unsigned) };
        };
        let key = PublicKey::from_str(&signed.key)?;
        if trusted.is_some_and(|trusted| *trusted != key) {
            return Err(ReceiptError::OtherKey);
        }
        let checkpoint = Checkpoint::open(&signed.note, &key)?;
        if !checkpoint.covers(self.proof.block.number, self.proof.block_hash, &signed.path) {
            return Err(ReceiptError::NotCovered);
        }
        Ok(Proven::Signed { day: checkpoint.day, blocks: checkpoint.blocks, key })
    }
}

impl ReceiptTransfer {
    fn of(transfer: &Transfer) -> Self {
        let request = match transfer.request {
            Origin::First { fingerprint, transfers } => Some(ReceiptRequest { fingerprint: fingerprint.0, transfers }),
            Origin::Further => None,
        };
        Self {
            shard: transfer.shard,
            sequence: transfer.sequence,
            block: transfer.block,
            posted_at: transfer.posted_at,
            id: transfer.id,
            debit: transfer.debit,
            credit: transfer.credit,
            amount: Money::from_minor(transfer.amount, transfer.currency),
            kind: transfer.kind,
            reference: transfer.reference,
            request,
        }
    }

    /// The transfer, as far as its leaf is made of it: without what it left on either account.
    fn read(&self) -> Transfer {
        let request = match &self.request {
            Some(request) => {
                Origin::First { fingerprint: Fingerprint(request.fingerprint), transfers: request.transfers }
            }
            None => Origin::Further,
        };
        Transfer {
            shard: self.shard,
            sequence: self.sequence,
            block: self.block,
            posted_at: self.posted_at,
            id: self.id,
            debit: self.debit,
            credit: self.credit,
            amount: self.amount.minor(),
            currency: self.amount.currency(),
            kind: self.kind,
            reference: self.reference,
            debit_balance: 0,
            credit_balance: 0,
            debit_previous: 0,
            credit_previous: 0,
            request,
        }
    }
}

/// The receipt of a transfer; `None` when there is no such transfer.
///
/// # Errors
/// When the database can't be read.
pub async fn issue(pool: &PgPool, id: TransferId) -> Result<Option<Receipt>, sqlx::Error> {
    let Some((transfer, proof)) = book::proof(pool, id).await? else { return Ok(None) };
    let signed = checkpoint::covering(pool, transfer.shard, transfer.block).await?;
    let checkpoint =
        signed.map(|(published, path)| ReceiptCheckpoint { note: published.note, key: published.signer, path });
    Ok(Some(Receipt { version: VERSION, transfer: ReceiptTransfer::of(&transfer), proof, checkpoint }))
}

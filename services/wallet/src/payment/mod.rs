//! A citizen pays a merchant. A payment *is* its transfer: one request to the ledger, one row here in the same batch.
//!
//! `pay.rs` is the use case, `sql.rs` holds the statements.
//!
//! Invariant: the ledger's key of a payment is (citizen, `payment`, Idempotency-Key) with the fingerprint of the client's request;
//! no second record of the key exists.
//! Invariant: `wallet.payment.id` is the transfer's id and `sequence` its place in the journal.

mod pay;
pub(crate) mod sql;

use chrono::{DateTime, Utc};
use uuid::Uuid;

pub(crate) use pay::{KIND, NewPayment, Paid, pay};

use crate::merchant::{MerchantId, TillId};

platform::typed_id! {
    /// One payment; also its transfer.
    pub struct PaymentId;
}

/// What a payment was for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Payment {
    pub(crate) id: PaymentId,
    pub(crate) sequence: i64,
    pub(crate) payer_user_id: Uuid,
    pub(crate) merchant_id: MerchantId,
    pub(crate) merchant_owner_user_id: Uuid,
    pub(crate) merchant_name: String,
    pub(crate) till_id: TillId,
    pub(crate) amount: i64,
    /// In rows from before it was sealed, until it is opened.
    pub(crate) note: Option<String>,
    pub(crate) note_sealed: Option<Vec<u8>>,
    pub(crate) paid_at: DateTime<Utc>,
}

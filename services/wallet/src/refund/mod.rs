//! A merchant gives a payment's money back, all or part: one request to the ledger, one row here in the same batch.
//!
//! Round trips: one for the payment, one for the key that seals the reason (none without a reason, three where that key is made), and
//! those of the ledger's batch, shared with all requests of the moment. One more where the ledger refuses more than was paid.
//!
//! How much may be given back is decided in the ledger under its lock, so that refunds at once never exceed the payment.
//! Whether used limits come back with the money is a dated rule of the city.
//!
//! Invariant: the ledger's key of a refund is (owner, `refund`, Idempotency-Key) with the fingerprint of the client's request.

pub(crate) mod sql;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use ledger::money::{Money, PositiveMoney};
use ledger::{Action, Key, Outcome, RefundSpec, Reject, Request, TransferId, UsedLimits};
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::Wallet;
use crate::account::{self, CURRENCY};
use crate::city::Kind;
use crate::error::{AmountFault, Error};
use crate::payment::{self, Payment, PaymentId};
use crate::person::word::{self, REFUND_REASON};
use crate::rider::Rider;
use crate::text::Label;

platform::typed_id! {
    /// One refund; also its transfer.
    pub struct RefundId;
}

/// The operation under which the ledger knows the postings.
pub(crate) const OPERATION: &str = "refund";

/// What a merchant asks.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewRefund {
    /// How much; the whole payment when not given.
    #[schema(value_type = Option<Money>)]
    amount: Option<PositiveMoney>,
    /// A word to the payer.
    #[schema(value_type = Option<String>, max_length = 140)]
    reason: Option<Label<140>>,
}

/// A refund that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refund {
    pub(crate) id: RefundId,
    pub(crate) sequence: i64,
    pub(crate) payment_id: PaymentId,
    pub(crate) refunder_user_id: Uuid,
    pub(crate) amount: i64,
    pub(crate) reason_sealed: Option<Vec<u8>>,
    pub(crate) refunded_at: DateTime<Utc>,
}

/// Gives money back, once per key; with the word to the payer.
///
/// # Errors
/// Not found unless the caller owns the merchant that was paid; else the ledger's refusal, or that the outcome is not known.
pub(crate) async fn refund(
    wallet: &Wallet,
    payment: PaymentId,
    key: Key,
    new: &NewRefund,
) -> Result<(Refund, Option<String>), Error> {
    let caller = key.caller;
    let found = payment::sql::find_seen_by(&mut *wallet.pool.acquire().await?, caller, payment).await?;
    let paid = found.filter(|paid| paid.merchant_owner_user_id == caller).ok_or(Error::NotFound)?;
    let amount = new.amount.map_or(Money::from_minor(paid.amount, CURRENCY), PositiveMoney::money);
    if amount.currency() != CURRENCY {
        return Err(AmountFault::Currency.into());
    }
    let reason = new.reason.as_ref().map(|reason| reason.as_str().to_owned());
    let reason_sealed =
        word::sealed(wallet, caller, (REFUND_REASON, key.transfer(0).uuid()), reason.as_deref()).await?;
    let request = request(wallet, key, Arc::new(paid), amount, reason_sealed.clone());
    let result = wallet.ledger.answer(request).await.map_err(Error::from);
    if let Err(error) = &result
        && !matches!(error, Error::KeyReused)
    {
        wallet.metrics.payment(account::REFUND, error.name());
    }
    match result?.outcome {
        Outcome::Posted(transfers) => {
            let posted =
                transfers.into_iter().next().ok_or_else(|| Error::Broken("a refund made no transfer".to_owned()))?;
            let refund = Refund {
                id: RefundId::from(posted.transfer.uuid()),
                sequence: posted.sequence,
                payment_id: payment,
                refunder_user_id: caller,
                amount: amount.minor(),
                reason_sealed,
                refunded_at: posted.posted_at,
            };
            Ok((refund, reason))
        }
        Outcome::Rejected(reject @ Reject::RefundExceedsPayment(_)) => {
            let refunded = sql::refunded(&mut *wallet.pool.acquire().await?, payment).await?;
            Err(Error::RefundExceeds { reject, refunded: Money::from_minor(refunded, CURRENCY) })
        }
        Outcome::Rejected(reject) => Err(Error::Rejected(reject)),
    }
}

fn request(
    wallet: &Wallet,
    key: Key,
    paid: Arc<Payment>,
    amount: Money,
    reason_sealed: Option<Vec<u8>>,
) -> Request<Rider> {
    let day = wallet.place.day(wallet.clock.now());
    let gives_back = wallet.rules.refund_gives_back(Kind::Goods, day);
    let action = Action::Refund(RefundSpec {
        of: TransferId::from(paid.id.uuid()),
        amount,
        kind: account::REFUND,
        reference: paid.id.uuid(),
        limits: if gives_back { UsedLimits::GivenBack } else { UsedLimits::Kept },
    });
    let refunder = key.caller;
    let rider = Rider::Refund { payment: paid.id, refunder, amount: amount.minor(), reason_sealed };
    Request::new(key).action(action).rider(rider)
}

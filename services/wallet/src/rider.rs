//! What the wallet writes in the batch of the ledger that posts: the other half of a payment or a refund, the end of a top-up.
//!
//! Payments and completed top-ups are counted here too, after the batch was committed: by what is in the books,
//! not by whose caller lived to hear it.
//!
//! Locks: the ledger holds its shard's row; here follow rows of `wallet.top_up`, then the outbox's head.
//! Nothing that holds one of those ever waits for the shard.

use std::sync::Arc;

use async_trait::async_trait;
use ledger::money::Money;
use ledger::{Posted, Refusal, Ride, RiderError, Riders};
use platform::clock::Clock;
use platform::outbox::{self, NewEvent};
use proto::wallet::v1::PaymentRejected;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::account::{CURRENCY, PAYMENT, REFUND, kind_name};
use crate::error::Error;
use crate::merchant::Payee;
use crate::metrics::WalletMetrics;
use crate::payment::{self, Payment, PaymentId};
use crate::refund::{self, Refund, RefundId};
use crate::top_up::{self, State, TopUpId};
use crate::{SCHEMA, event};

/// What rides with a posting.
#[derive(Clone, Debug)]
pub(crate) enum Rider {
    /// The top-up whose money is posted.
    TopUp { id: TopUpId, bank_reference: Option<String> },
    /// What the payment is for.
    Payment { payer: Uuid, payee: Arc<Payee>, amount: i64, note: Option<String> },
    /// What the refund gives back.
    Refund { payment: PaymentId, refunder: Uuid, amount: i64, reason: Option<String> },
}

/// Writes riders.
#[derive(Clone, Debug)]
pub(crate) struct WalletRiders {
    pub(crate) clock: Clock,
    pub(crate) metrics: WalletMetrics,
}

/// A rider whose request did not make the one transfer that it rides on.
#[derive(Debug, thiserror::Error)]
#[error("a rider has {0} transfers instead of one")]
struct WrongRide(usize);

/// Money was posted for top-ups that are not there or were completed before.
#[derive(Debug, thiserror::Error)]
#[error("{completed} top-ups were completed where {posted} were posted")]
struct WrongCount {
    posted: usize,
    completed: u64,
}

/// Rows of the riders of one batch.
#[derive(Default)]
struct Rows {
    payments: Vec<Payment>,
    refunds: Vec<Refund>,
    top_ups: Vec<Uuid>,
    transfers: Vec<Uuid>,
    references: Vec<Option<String>>,
}

impl Rows {
    fn add(&mut self, rider: &Rider, posted: &Posted) {
        match rider {
            Rider::TopUp { id, bank_reference } => {
                self.top_ups.push(id.uuid());
                self.transfers.push(posted.transfer.uuid());
                self.references.push(bank_reference.clone());
            }
            Rider::Payment { payer, payee, amount, note } => self.payments.push(Payment {
                id: PaymentId::from(posted.transfer.uuid()),
                sequence: posted.sequence,
                payer_user_id: *payer,
                merchant_id: payee.merchant,
                merchant_owner_user_id: payee.merchant_owner,
                merchant_name: payee.merchant_name.clone(),
                till_id: payee.till,
                amount: *amount,
                note: note.clone(),
                paid_at: posted.posted_at,
            }),
            Rider::Refund { payment, refunder, amount, reason } => self.refunds.push(Refund {
                id: RefundId::from(posted.transfer.uuid()),
                sequence: posted.sequence,
                payment_id: *payment,
                refunder_user_id: *refunder,
                amount: *amount,
                reason: reason.clone(),
                refunded_at: posted.posted_at,
            }),
        }
    }
}

#[async_trait]
impl Riders<Rider> for WalletRiders {
    async fn apply(&self, tx: &mut PgConnection, riders: &[Ride<'_, Rider>]) -> Result<(), RiderError> {
        let mut rows = Rows::default();
        for ride in riders {
            let [posted] = ride.posted else { return Err(RiderError::Other(Box::new(WrongRide(ride.posted.len())))) };
            rows.add(ride.rider, posted);
        }
        if !rows.top_ups.is_empty() {
            let now = self.clock.now();
            let completed = top_up::complete(tx, &rows.top_ups, &rows.transfers, &rows.references, now).await?;
            let posted = rows.top_ups.len();
            if completed != posted as u64 {
                return Err(RiderError::Other(Box::new(WrongCount { posted, completed })));
            }
        }
        if !rows.payments.is_empty() {
            payment::sql::insert(tx, &rows.payments).await?;
        }
        if !rows.refunds.is_empty() {
            refund::sql::insert(tx, &rows.refunds).await?;
        }
        Ok(())
    }

    async fn refused(&self, tx: &mut PgConnection, riders: &[Refusal<'_, Rider>]) -> Result<(), RiderError> {
        let events: Vec<NewEvent> = riders.iter().filter_map(rejected).collect();
        if !events.is_empty() {
            outbox::append(tx, SCHEMA, self.clock.now(), &events).await?;
        }
        Ok(())
    }

    fn committed(&self, rides: &[Ride<'_, Rider>], refusals: &[Refusal<'_, Rider>]) {
        for ride in rides {
            match ride.rider {
                Rider::TopUp { .. } => self.metrics.top_up(State::Completed),
                Rider::Payment { .. } => self.metrics.payment(PAYMENT, "completed"),
                Rider::Refund { .. } => self.metrics.payment(REFUND, "completed"),
            }
        }
        for refusal in refusals {
            let code = Error::Rejected(refusal.reject).name();
            match refusal.rider {
                Rider::TopUp { .. } => {}
                Rider::Payment { .. } => self.metrics.payment(PAYMENT, code),
                Rider::Refund { .. } => self.metrics.payment(REFUND, code),
            }
        }
    }
}

/// The event of a refused payment. A refused top-up stays open and tells nobody.
fn rejected(refusal: &Refusal<'_, Rider>) -> Option<NewEvent> {
    let Rider::Payment { payer, amount, .. } = refusal.rider else { return None };
    let code = Error::Rejected(refusal.reject).name();
    Some(payment_rejected(*payer, Money::from_minor(*amount, CURRENCY), code))
}

/// The event that a business rule refused a payment.
pub(crate) fn payment_rejected(payer: Uuid, amount: Money, code: &str) -> NewEvent {
    let kind = kind_name(PAYMENT.code).unwrap_or_default();
    let message = PaymentRejected {
        kind: kind.to_owned(),
        user_id: payer.to_string(),
        amount: Some(event::money(amount)),
        code: code.to_owned(),
    };
    NewEvent::new(payer, &message)
}

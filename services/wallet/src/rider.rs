//! What the wallet writes in the batch of the ledger that posts: the other half of a payment or a refund, the end of a top-up,
//! where the payment of a bill goes on.
//!
//! Payments and completed top-ups are counted here too, after the batch was committed: by what is in the books,
//! not by whose caller lived to hear it.
//!
//! Locks: the ledger holds its shard's row; here follow rows of `wallet.top_up`, `wallet.bill_payment`, `wallet.delegated_spending`,
//! `wallet.proof` and `wallet.merchant`, then the outbox's head.
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

use crate::account::{CURRENCY, PAYMENT, PAYOUT, REFUND, kind_name, kind_of_bill};
use crate::bill_payment::sql::Failed;
use crate::bill_payment::{self, BillPaymentId};
use crate::city::BillerKind;
use crate::delegate;
use crate::error::Error;
use crate::merchant::{self, MerchantId, Payee};
use crate::metrics::WalletMetrics;
use crate::payment::{self, Payment, PaymentId};
use crate::refund::{self, Refund, RefundId};
use crate::step_up::sql::Used;
use crate::step_up::{self, Proven};
use crate::top_up::{self, State, TopUpId};
use crate::{SCHEMA, event};

/// What rides with a posting.
#[derive(Clone, Debug)]
pub(crate) enum Rider {
    /// The top-up whose money is posted.
    TopUp { id: TopUpId, bank_reference: Option<String> },
    /// What the payment is for, and whether a guardian makes it.
    Payment {
        payer: Uuid,
        payee: Arc<Payee>,
        amount: i64,
        note_sealed: Option<Vec<u8>>,
        proven: Option<Proven>,
        delegated: bool,
    },
    /// The payment of a bill whose money is set aside; how it ends when it can't be.
    BillHeld { failing: Failed, proven: Option<Proven> },
    /// The payment of a bill whose money is posted.
    BillPaid { payment: BillPaymentId, kind: BillerKind, biller_reference: Option<String> },
    /// The payment of a bill whose money is given back.
    BillReturned { failed: Failed },
    /// The merchant whose account is closed.
    MerchantClosed { merchant: MerchantId },
    /// What the refund gives back.
    Refund { payment: PaymentId, refunder: Uuid, amount: i64, reason_sealed: Option<Vec<u8>> },
}

/// Writes riders.
#[derive(Clone, Debug)]
pub(crate) struct WalletRiders {
    pub(crate) clock: Clock,
    pub(crate) metrics: WalletMetrics,
}

/// A rider whose request did not make as many transfers as it rides on.
#[derive(Debug, thiserror::Error)]
#[error("a rider has {0} transfers, which is not what it rides on")]
struct WrongRide(usize);

/// Money was moved or set aside for rows that are not there or in another state.
#[derive(Debug, thiserror::Error)]
#[error("{changed} rows were {what} where the batch has {expected}")]
struct WrongCount {
    what: &'static str,
    expected: usize,
    changed: u64,
}

/// Rows that end with a transfer.
#[derive(Default)]
struct Done {
    ids: Vec<Uuid>,
    transfers: Vec<Uuid>,
    references: Vec<Option<String>>,
}

impl Done {
    fn add(&mut self, id: Uuid, posted: &Posted, reference: &Option<String>) {
        self.ids.push(id);
        self.transfers.push(posted.transfer.uuid());
        self.references.push(reference.clone());
    }
}

/// Rows of the riders of one batch.
#[derive(Default)]
struct Rows {
    payments: Vec<Payment>,
    /// Those of them that guardians make.
    delegated: Vec<Uuid>,
    refunds: Vec<Refund>,
    top_ups: Done,
    held: Vec<Uuid>,
    paid: Done,
    failed: Vec<Failed>,
    proofs: Vec<Used>,
    closed: (Vec<Uuid>, Vec<Option<Uuid>>),
}

impl Rows {
    fn add(&mut self, ride: &Ride<'_, Rider>) -> Result<(), WrongRide> {
        match (ride.rider, ride.posted) {
            (Rider::BillHeld { failing, proven }, []) => {
                self.held.push(failing.id.uuid());
                self.prove(*proven, failing.user_id, bill_payment::proof_kind(failing.kind), failing.id.uuid());
            }
            (Rider::BillReturned { failed }, []) => self.failed.push(failed.clone()),
            (Rider::MerchantClosed { merchant }, [] | [_]) => {
                self.closed.0.push(merchant.uuid());
                self.closed.1.push(ride.posted.first().map(|posted| posted.transfer.uuid()));
            }
            (Rider::BillPaid { payment, biller_reference, .. }, [posted]) => {
                self.paid.add(payment.uuid(), posted, biller_reference);
            }
            (Rider::TopUp { id, bank_reference }, [posted]) => self.top_ups.add(id.uuid(), posted, bank_reference),
            (Rider::Payment { payer, payee, amount, note_sealed, proven, delegated }, [posted]) => {
                self.prove(*proven, *payer, payment::KIND, posted.transfer.uuid());
                if *delegated {
                    self.delegated.push(posted.transfer.uuid());
                }
                self.payments.push(Payment {
                    id: PaymentId::from(posted.transfer.uuid()),
                    sequence: posted.sequence,
                    payer_user_id: *payer,
                    merchant_id: payee.merchant,
                    merchant_owner_user_id: payee.merchant_owner,
                    merchant_name: payee.merchant_name.clone(),
                    till_id: payee.till,
                    amount: *amount,
                    note: None,
                    note_sealed: note_sealed.clone(),
                    paid_at: posted.posted_at,
                });
            }
            (Rider::Refund { payment, refunder, amount, reason_sealed }, [posted]) => self.refunds.push(Refund {
                id: RefundId::from(posted.transfer.uuid()),
                sequence: posted.sequence,
                payment_id: *payment,
                refunder_user_id: *refunder,
                amount: *amount,
                reason_sealed: reason_sealed.clone(),
                refunded_at: posted.posted_at,
            }),
            (_, posted) => return Err(WrongRide(posted.len())),
        }
        Ok(())
    }

    /// Remembers the proof that a transaction came with.
    fn prove(&mut self, proven: Option<Proven>, user: Uuid, kind: &'static str, reference: Uuid) {
        self.proofs.extend(proven.map(|proven| Used { proven, user, kind, reference }));
    }
}

/// Whether as many rows were changed as the batch has riders.
fn all(what: &'static str, expected: usize, changed: u64) -> Result<(), RiderError> {
    if changed == expected as u64 {
        return Ok(());
    }
    Err(RiderError::Other(Box::new(WrongCount { what, expected, changed })))
}

impl WalletRiders {
    /// Ends payments of bills without money, and tells the citizens.
    async fn fail(&self, tx: &mut PgConnection, failed: &[Failed]) -> Result<Vec<NewEvent>, RiderError> {
        if failed.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<Uuid> = failed.iter().map(|failed| failed.id.uuid()).collect();
        let reasons: Vec<String> = failed.iter().map(|failed| failed.reason.clone()).collect();
        let changed = bill_payment::sql::mark_failed(tx, &ids, &reasons, self.clock.now()).await?;
        all("failed", ids.len(), changed)?;
        Ok(failed.iter().map(|failed| NewEvent::new(failed.user_id, &failed.event())).collect())
    }

    async fn tell(&self, tx: &mut PgConnection, events: &[NewEvent]) -> Result<(), RiderError> {
        if !events.is_empty() {
            outbox::append(tx, SCHEMA, self.clock.now(), events).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Riders<Rider> for WalletRiders {
    async fn apply(&self, tx: &mut PgConnection, riders: &[Ride<'_, Rider>]) -> Result<(), RiderError> {
        let mut rows = Rows::default();
        for ride in riders {
            rows.add(ride).map_err(|wrong| RiderError::Other(Box::new(wrong)))?;
        }
        let now = self.clock.now();
        let Rows { payments, delegated, refunds, top_ups, held, paid, failed, proofs, closed } = rows;
        if !top_ups.ids.is_empty() {
            let changed = top_up::complete(tx, &top_ups.ids, &top_ups.transfers, &top_ups.references, now).await?;
            all("completed", top_ups.ids.len(), changed)?;
        }
        if !held.is_empty() {
            all("held", held.len(), bill_payment::sql::mark_held(tx, &held, now).await?)?;
        }
        if !paid.ids.is_empty() {
            let changed = bill_payment::sql::mark_paid(tx, &paid.ids, &paid.transfers, &paid.references, now).await?;
            all("paid", paid.ids.len(), changed)?;
        }
        if !payments.is_empty() {
            payment::sql::insert(tx, &payments).await?;
        }
        if !delegated.is_empty() {
            all("counted", delegated.len(), delegate::sql::mark_paid(tx, &delegated, now).await?)?;
        }
        if !refunds.is_empty() {
            refund::sql::insert(tx, &refunds).await?;
        }
        if !proofs.is_empty() {
            all("proofs used", proofs.len(), step_up::sql::record(tx, &proofs, now).await?)?;
        }
        if !closed.0.is_empty() {
            let changed = merchant::sql::mark_closed(tx, (&closed.0, &closed.1), now).await?;
            all("closed", closed.0.len(), changed)?;
        }
        let events = self.fail(tx, &failed).await?;
        self.tell(tx, &events).await
    }

    async fn refused(&self, tx: &mut PgConnection, riders: &[Refusal<'_, Rider>]) -> Result<(), RiderError> {
        let failed: Vec<Failed> = riders.iter().filter_map(not_held).collect();
        let mut events = self.fail(tx, &failed).await?;
        events.extend(riders.iter().filter_map(rejected));
        self.tell(tx, &events).await
    }

    fn committed(&self, rides: &[Ride<'_, Rider>], refusals: &[Refusal<'_, Rider>]) {
        for ride in rides {
            match ride.rider {
                Rider::TopUp { .. } => self.metrics.top_up(State::Completed),
                Rider::Payment { .. } => self.metrics.payment(PAYMENT, "completed"),
                Rider::Refund { .. } => self.metrics.payment(REFUND, "completed"),
                Rider::MerchantClosed { .. } => self.metrics.payment(PAYOUT, "completed"),
                Rider::BillHeld { .. } => self.metrics.bill_payment(bill_payment::State::Held),
                Rider::BillPaid { kind, .. } => {
                    self.metrics.bill_payment(bill_payment::State::Paid);
                    self.metrics.payment(kind_of_bill(*kind), "completed");
                }
                Rider::BillReturned { failed } => {
                    self.metrics.bill_payment(bill_payment::State::Failed);
                    self.metrics.payment(kind_of_bill(failed.kind), "returned");
                }
            }
        }
        for refusal in refusals {
            let code = Error::Rejected(refusal.reject).name();
            match refusal.rider {
                Rider::TopUp { .. }
                | Rider::BillPaid { .. }
                | Rider::BillReturned { .. }
                | Rider::MerchantClosed { .. } => {}
                Rider::Payment { .. } => self.metrics.payment(PAYMENT, code),
                Rider::Refund { .. } => self.metrics.payment(REFUND, code),
                Rider::BillHeld { failing, .. } => {
                    self.metrics.bill_payment(bill_payment::State::Failed);
                    self.metrics.payment(kind_of_bill(failing.kind), code);
                }
            }
        }
    }
}

/// The end of a payment of a bill whose money the ledger did not set aside.
fn not_held(refusal: &Refusal<'_, Rider>) -> Option<Failed> {
    let Rider::BillHeld { failing, .. } = refusal.rider else { return None };
    Some(Failed { reason: Error::Rejected(refusal.reject).name().to_owned(), ..failing.clone() })
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

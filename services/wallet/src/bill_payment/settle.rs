//! What the biller says, booked: by its callback, its answer or its status. Every path comes through [`settle`].
//!
//! Safe to repeat and to run at the same time: a state changes only from the state that was decided on,
//! and a hold ends once, in the ledger's fold.

use platform::outbox::{self, NewEvent};

use super::hold::{amount, post, void};
use super::sql::{self, Transition};
use super::{BillPayment, BillPaymentId, Change, State};
use crate::account;
use crate::error::{Error, STEP_UP_REQUIRED};
use crate::partner::Report;
use crate::{SCHEMA, Wallet};

/// Rounds of "read, decide, write" when others write in between.
const MAX_ROUNDS: usize = 5;
/// The reason of a failure for which the biller gave none.
const NO_REASON: &str = "biller-refused";

/// Brings a payment to where a report of the biller leads, and says where that is.
///
/// # Errors
/// `NotFound`; `CallbackAmount` when the biller speaks of another amount (nothing is booked, a person must look);
/// what the ledger or the database answered. All but `CallbackAmount` may pass: say it again later.
pub(crate) async fn settle(wallet: &Wallet, id: BillPaymentId, report: &Report) -> Result<State, Error> {
    for _ in 0..MAX_ROUNDS {
        let payment = sql::find(&mut *wallet.pool.acquire().await?, id).await?.ok_or(Error::NotFound)?;
        let expected = amount(&payment);
        if !report.is_about(expected) {
            tracing::error!(bill_payment.id = %id, said = ?report.amount, expected = %expected, "biller speaks of another amount than was asked for");
            return Err(Error::CallbackAmount);
        }
        match payment.state.on(report.answer) {
            Change::Stay => return Ok(payment.state),
            Change::Contradiction => {
                tracing::error!(bill_payment.id = %id, state = payment.state.name(), answer = ?report.answer, "biller contradicts itself; nothing was changed");
                return Ok(payment.state);
            }
            Change::Move(to) => {
                if move_to(wallet, &payment, to, report.reference.as_deref()).await? {
                    return Ok(to);
                }
            }
            Change::Charge => {
                post(wallet, &payment, report.reference.clone()).await?;
                return Ok(State::Paid);
            }
            Change::GiveBack => {
                void(wallet, &payment, report.reason.as_deref().unwrap_or(NO_REASON)).await?;
                return Ok(State::Failed);
            }
        }
    }
    Err(Error::Unavailable("a bill payment keeps changing".into()))
}

/// Marks that the biller is about to be asked; `false` when somebody else changed the payment.
pub(super) async fn mark_confirming(wallet: &Wallet, payment: &BillPayment) -> Result<bool, Error> {
    move_to(wallet, payment, State::Confirming, None).await
}

async fn move_to(wallet: &Wallet, payment: &BillPayment, to: State, reference: Option<&str>) -> Result<bool, Error> {
    let change = Transition { of: payment, to, biller_reference: reference, reason: None, at: wallet.clock.now() };
    let moved = sql::transition(&mut *wallet.pool.acquire().await?, &change).await?;
    if moved {
        wallet.metrics.bill_payment(to);
    }
    Ok(moved)
}

/// Stops a payment that needs a proof: the citizen, who has just been told, proves and asks again with its key. Until then the bill is free.
pub(super) async fn wait_for_proof(wallet: &Wallet, payment: &BillPayment) -> Result<(), Error> {
    let reason = STEP_UP_REQUIRED.code();
    let change = Transition {
        of: payment,
        to: State::Failed,
        biller_reference: None,
        reason: Some(reason),
        at: wallet.clock.now(),
    };
    if sql::transition(&mut *wallet.pool.acquire().await?, &change).await? {
        wallet.metrics.bill_payment(State::Failed);
        wallet.metrics.payment(account::kind_of_bill(payment.kind), reason);
    }
    Ok(())
}

/// Ends a payment for which nothing is set aside, and tells the citizen; nothing when somebody else changed it.
/// The reason is one of our codes.
pub(super) async fn fail(wallet: &Wallet, payment: &BillPayment, reason: &'static str) -> Result<(), Error> {
    let now = wallet.clock.now();
    let change = Transition { of: payment, to: State::Failed, biller_reference: None, reason: Some(reason), at: now };
    let mut tx = platform::db::begin(&wallet.pool).await?;
    if !sql::transition(&mut tx, &change).await? {
        return Ok(());
    }
    let event = NewEvent::new(payment.user_id, &payment.failed(reason).event());
    outbox::append(&mut tx, SCHEMA, now, &[event]).await?;
    tx.commit().await?;
    wallet.metrics.bill_payment(State::Failed);
    wallet.metrics.payment(account::kind_of_bill(payment.kind), reason);
    Ok(())
}

//! The job that talks to the biller until it knows what became of the payment.
//!
//! It may die at any point: the state in the database says what to do next, and everything it does may be done again.
//!
//! Before the biller is asked the job takes a place there (`bulkhead`), which it keeps until it ends. Without one nothing is sent and
//! nothing changes, but that money which nobody outside was asked about goes back when its time is over.

use std::sync::Arc;

use async_trait::async_trait;
use platform::job::{Job, JobHandler, Outcome};

use super::hold::{self, Kept};
use super::named::{self, Name};
use super::settle::{fail, mark_confirming, settle};
use super::{BillPayment, BillPaymentId, State, Step, sql};
use crate::Wallet;
use crate::bill::Charge;
use crate::bulkhead::Full;
use crate::error::{BillFault, Error};
use crate::fee;
use crate::partner::{Answer, Report, given_up};
use crate::unclear::{self, Pending};

/// The kind of the job; its key is the payment's id, and something more where it goes on after it had stopped.
pub(crate) const JOB: &str = "bill-payment";
/// Steps taken in one run: the hold, a request, its status, the request again that the biller never saw, its status, and the end.
const MAX_STEPS: usize = 6;
/// Why a payment failed that the biller never took.
const NEVER_TAKEN: &str = "biller-never-took-it";

/// Where a run has ended.
enum Rested {
    /// Nothing is left to do.
    Ended,
    /// The biller needs time; this is what it said last.
    Waits(Answer),
    /// Every place at the biller was taken.
    Full(Full),
}

/// The key of one more job for a payment whose first one has ended.
pub(super) fn again_key(id: BillPaymentId) -> String {
    format!("{id}:{}", platform::id::new())
}

/// The payment that a job's key names.
fn payment_of(key: &str) -> Option<BillPaymentId> {
    key.split(':').next()?.parse().ok()
}

/// Runs [`JOB`].
pub(crate) struct BillPaymentJob {
    pub(crate) wallet: Arc<Wallet>,
}

#[async_trait]
impl JobHandler for BillPaymentJob {
    async fn run(&self, job: &Job) -> Outcome {
        let Some(id) = payment_of(&job.key) else { return Outcome::Dead("the key is no bill payment".to_owned()) };
        match self.advance(id).await {
            Ok(Rested::Ended) => Outcome::Done,
            Ok(Rested::Full(Full(again_at))) => {
                unclear::tell(&self.wallet, Pending::Bill(id)).await;
                Outcome::Postpone(again_at, "all places at the biller are taken".to_owned())
            }
            Ok(Rested::Waits(answer)) => {
                unclear::tell(&self.wallet, Pending::Bill(id)).await;
                let lost = answer == Answer::Lost;
                let reason = if lost { "the biller did not answer" } else { "the biller is working on it" };
                self.later(job, answer, reason.to_owned())
            }
            Err(Error::NotFound) => Outcome::Dead("there is no such bill payment".to_owned()),
            Err(Error::CallbackAmount) => Outcome::Dead("the biller speaks of another amount".to_owned()),
            // The database, the ledger or the configuration may come back at any time; money waits for it.
            Err(error) => self.later(job, Answer::Lost, error.to_string()),
        }
    }
}

impl BillPaymentJob {
    /// Takes steps until the payment has ended, the biller needs time, or no place is free there.
    async fn advance(&self, id: BillPaymentId) -> Result<Rested, Error> {
        let wallet = &self.wallet;
        let mut place = None;
        for _ in 0..MAX_STEPS {
            let payment = self.read(id).await?;
            let step = payment.state.step();
            if matches!(step, Step::Send | Step::Ask) && place.is_none() {
                match wallet.payment_places.enter(&payment.biller_code, wallet.clock.now()) {
                    Ok(free) => place = Some(free),
                    Err(_) if hold::is_over(wallet, &payment) && !self.keep(&payment).await? => continue,
                    Err(full) => return Ok(Rested::Full(full)),
                }
            }
            let report = match step {
                Step::Rest => return self.rest(&payment).await,
                Step::Hold => {
                    self.hold(&payment).await?;
                    continue;
                }
                Step::Send if !self.may_send(&payment).await? => continue,
                Step::Send => self.send(&payment).await?,
                Step::Ask => self.ask(&payment).await?,
            };
            match settle(wallet, id, &report).await? {
                // What has ended is told of by the next step, also when this process dies before.
                State::Paid | State::Failed | State::Requested | State::Held => {}
                State::Confirming | State::Unknown => return Ok(Rested::Waits(report.answer)),
            }
        }
        Ok(Rested::Waits(Answer::Lost))
    }

    /// Has the agency of a paid fee told.
    async fn rest(&self, payment: &BillPayment) -> Result<Rested, Error> {
        if payment.state == State::Paid {
            fee::tell_later(&self.wallet, &mut *self.wallet.pool.acquire().await?, payment).await?;
        }
        Ok(Rested::Ended)
    }

    async fn read(&self, id: BillPaymentId) -> Result<BillPayment, Error> {
        sql::find(&mut *self.wallet.pool.acquire().await?, id).await?.ok_or(Error::NotFound)
    }

    /// Sets the money aside; a refusal has ended the payment, which the next step sees.
    async fn hold(&self, payment: &BillPayment) -> Result<(), Error> {
        let held = hold::hold(&self.wallet, payment).await;
        let Err(error) = held else { return Ok(()) };
        if self.read(payment.id).await?.state == State::Requested { Err(error) } else { Ok(()) }
    }

    /// Keeps the money from going back, then marks that the biller is about to be asked; `false` when the payment has changed.
    async fn may_send(&self, payment: &BillPayment) -> Result<bool, Error> {
        Ok(self.keep(payment).await? && mark_confirming(&self.wallet, payment).await?)
    }

    /// Keeps the money from going back; `false` when it has gone back already, which has ended the payment.
    async fn keep(&self, payment: &BillPayment) -> Result<bool, Error> {
        match hold::confirm(&self.wallet, payment).await? {
            Kept::Yes => Ok(true),
            Kept::Expired => {
                fail(&self.wallet, payment, BillFault::Expired.name()).await?;
                Ok(false)
            }
        }
    }

    async fn send(&self, payment: &BillPayment) -> Result<Report, Error> {
        let mut connection = self.wallet.pool.acquire().await?;
        let name = named::of_payment(&self.wallet.persons, &mut connection, payment).await?;
        drop(connection);
        let Name { customer_code, reference } =
            name.ok_or_else(|| Error::Broken("nothing names the bill of a payment any more".to_owned()))?;
        let charge = Charge { id: payment.id, customer_code, reference, amount: hold::amount(payment) };
        Ok(self.wallet.connector(&payment.biller_code)?.record(&charge).await)
    }

    async fn ask(&self, payment: &BillPayment) -> Result<Report, Error> {
        let report = self.wallet.connector(&payment.biller_code)?.status(payment.id).await;
        Ok(given_up(report, payment.id.uuid(), self.wallet.clock.now() - payment.requested_at, NEVER_TAKEN))
    }

    /// Waits the longer the more often it ran, but never gives up: no answer is not a no.
    fn later(&self, job: &Job, answer: Answer, reason: String) -> Outcome {
        Outcome::RetryAt(self.wallet.timing.next(self.wallet.clock.now(), answer, job.attempts), reason)
    }
}

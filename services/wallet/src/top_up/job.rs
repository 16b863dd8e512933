//! The job that talks to the bank until it knows what became of the money.
//!
//! It may die at any point: the state in the database says what to do next, and everything it does may be done again.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::TimeDelta;
use ledger::money::Money;
use platform::job::{Job, JobHandler, Outcome};

use super::bank::{Collection, Report};
use super::settle::{mark_sending, settle};
use super::{Answer, State, Step, TopUp, TopUpId, sql};
use crate::Wallet;
use crate::account::CURRENCY;
use crate::error::Error;

/// The kind of the job; its key is the top-up's id, or begins with it and a colon.
pub(crate) const JOB: &str = "top-up";
/// Steps taken in one run: a status query, then a request that the bank never saw, then its status.
const MAX_STEPS: usize = 3;
/// The first wait after an answer was lost; it doubles.
const AFTER_LOSS: Duration = Duration::from_millis(500);
/// Doublings of a wait, at most; the configuration bounds the wait itself.
const MAX_DOUBLINGS: u32 = 20;

/// How long a request is sent again that the bank, by its own word, never saw. Then the top-up has failed.
const SEND_WITHIN: TimeDelta = TimeDelta::hours(24);
/// The reason of such a failure.
const NEVER_TAKEN: &str = "bank-never-took-it";

/// Runs [`JOB`].
pub(crate) struct TopUpJob {
    pub(crate) wallet: Arc<Wallet>,
}

#[async_trait]
impl JobHandler for TopUpJob {
    async fn run(&self, job: &Job) -> Outcome {
        let Some(id) = top_up_of(&job.key) else { return Outcome::Dead("the key is no top-up".to_owned()) };
        match self.advance(id).await {
            Ok(None) => Outcome::Done,
            Ok(Some(Answer::Lost)) => self.later(job, Answer::Lost, "the bank did not answer".to_owned()),
            Ok(Some(answer)) => self.later(job, answer, "the bank is working on it".to_owned()),
            Err(Error::NotFound) => Outcome::Dead("there is no such top-up".to_owned()),
            Err(Error::CallbackAmount) => Outcome::Dead("the bank speaks of another amount".to_owned()),
            // The database, the ledger or the configuration may come back at any time; money waits for it.
            Err(error) => self.later(job, Answer::Lost, error.to_string()),
        }
    }
}

/// The key of one more job for a top-up whose first one has ended.
pub(super) fn again_key(id: TopUpId) -> String {
    format!("{id}:{}", platform::id::new())
}

/// The top-up that a job is about.
fn top_up_of(key: &str) -> Option<TopUpId> {
    key.split(':').next()?.parse().ok()
}

impl TopUpJob {
    /// Takes steps until the top-up has ended (`None`) or the bank needs time.
    async fn advance(&self, id: TopUpId) -> Result<Option<Answer>, Error> {
        let wallet = &self.wallet;
        for _ in 0..MAX_STEPS {
            let top_up = sql::find(&mut *wallet.pool.acquire().await?, id).await?.ok_or(Error::NotFound)?;
            let report = match top_up.state.step() {
                Step::Rest => return Ok(None),
                Step::Send if !mark_sending(wallet, &top_up).await? => continue,
                Step::Send => self.send(&top_up).await?,
                Step::Ask => self.given_up(&top_up, self.ask(&top_up).await?),
            };
            let state = settle(wallet, id, &report).await?.state;
            match state {
                State::Completed | State::Failed => return Ok(None),
                State::Requested => {}
                State::Unknown | State::Submitted => return Ok(Some(report.answer)),
            }
        }
        Ok(Some(Answer::Lost))
    }

    /// A bank that keeps refusing a request and says that it never saw it is not asked for ever.
    fn given_up(&self, top_up: &TopUp, report: Report) -> Report {
        let age = self.wallet.clock.now() - top_up.requested_at;
        if report.answer != Answer::NeverSeen || age < SEND_WITHIN {
            return report;
        }
        tracing::error!(top_up.id = %top_up.id, "bank took no request within a day and knows of none; the top-up has failed");
        Report { answer: Answer::Refused, reason: Some(NEVER_TAKEN.to_owned()), ..report }
    }

    async fn send(&self, top_up: &TopUp) -> Result<Report, Error> {
        let amount = Money::from_minor(top_up.amount, CURRENCY);
        let collection = Collection { id: top_up.id, account: top_up.account.clone(), amount };
        Ok(self.wallet.bank(&top_up.bank_code)?.connector.collect(&collection).await)
    }

    async fn ask(&self, top_up: &TopUp) -> Result<Report, Error> {
        Ok(self.wallet.bank(&top_up.bank_code)?.connector.status(top_up.id).await)
    }

    /// Waits the longer the more often it ran, but never gives up: no answer is not a no.
    fn later(&self, job: &Job, answer: Answer, reason: String) -> Outcome {
        let timing = self.wallet.timing;
        let first = if answer == Answer::Lost { AFTER_LOSS } else { timing.first_status_query };
        let wait =
            first.saturating_mul(1 << job.attempts.saturating_sub(1).min(MAX_DOUBLINGS)).min(timing.last_status_query);
        Outcome::RetryAt(self.wallet.clock.now() + TimeDelta::from_std(wait).unwrap_or(TimeDelta::MAX), reason)
    }
}

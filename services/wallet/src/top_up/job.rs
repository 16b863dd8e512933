//! The job that talks to the bank until it knows what became of the money.
//!
//! It may die at any point: the state in the database says what to do next, and everything it does may be done again.

use std::sync::Arc;

use async_trait::async_trait;
use ledger::money::Money;
use platform::job::{Job, JobHandler, Outcome};
use platform::person::PersonError;

use super::bank::Collection;
use super::settle::{mark_sending, settle};
use super::{State, Step, TopUp, TopUpId, Word, sql};
use crate::Wallet;
use crate::account::CURRENCY;
use crate::error::Error;
use crate::partner::{Answer, Report, given_up};
use crate::person::TOP_UP_ACCOUNT;
use crate::unclear::{self, Pending};

/// The kind of the job; its key is the top-up's id, or begins with it and a colon.
pub(crate) const JOB: &str = "top-up";
/// Steps taken in one run: a status query, then a request that the bank never saw, then its status.
const MAX_STEPS: usize = 3;
/// Why a top-up failed whose request the bank never took.
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
            Ok(Some(answer)) => {
                unclear::tell(&self.wallet, Pending::TopUp(id)).await;
                let lost = answer == Answer::Lost;
                let reason = if lost { "the bank did not answer" } else { "the bank is working on it" };
                self.later(job, answer, reason.to_owned())
            }
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
                Step::Ask => self.ask(&top_up).await?,
            };
            let state = settle(wallet, id, &report, Word::Bank).await?.state;
            match state {
                State::Completed | State::Failed => return Ok(None),
                State::Requested => {}
                State::Unknown | State::Submitted => return Ok(Some(report.answer)),
            }
        }
        Ok(Some(Answer::Lost))
    }

    async fn send(&self, top_up: &TopUp) -> Result<Report, Error> {
        let amount = Money::from_minor(top_up.amount, CURRENCY);
        let collection = Collection { id: top_up.id, account: self.account(top_up).await?, amount };
        Ok(self.wallet.bank(&top_up.bank_code)?.connector.collect(&collection).await)
    }

    /// The account number at the bank.
    async fn account(&self, top_up: &TopUp) -> Result<String, Error> {
        let Some(sealed) = &top_up.account_sealed else {
            let broken = || Error::Broken("a top-up has no account number".to_owned());
            return top_up.account.clone().ok_or_else(broken);
        };
        let mut connection = self.wallet.pool.acquire().await?;
        let key = self.wallet.persons.find_one(&mut connection, top_up.user_id).await?;
        key.open(TOP_UP_ACCOUNT, top_up.id, sealed).map_err(|error| PersonError::from(error).into())
    }

    async fn ask(&self, top_up: &TopUp) -> Result<Report, Error> {
        let report = self.wallet.bank(&top_up.bank_code)?.connector.status(top_up.id).await;
        Ok(given_up(report, top_up.id.uuid(), self.wallet.clock.now() - top_up.requested_at, NEVER_TAKEN))
    }

    /// Waits the longer the more often it ran, but never gives up: no answer is not a no.
    fn later(&self, job: &Job, answer: Answer, reason: String) -> Outcome {
        Outcome::RetryAt(self.wallet.timing.next(self.wallet.clock.now(), answer, job.attempts), reason)
    }
}

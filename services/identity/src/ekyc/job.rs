//! The job that asks the verifier until it says something.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::TimeDelta;
use platform::job::{Job, JobHandler, Outcome};
use tracing::warn;

use super::verifier::{Verdict, VerifierError};
use super::{EkycId, PATIENCE, open_claim, sql};
use crate::Identity;
use crate::citizen;
use crate::error::Error;

/// The kind of the job; its key is the request's id.
pub(crate) const JOB: &str = "ekyc";
/// The first pause after no answer; it doubles.
const FIRST_PAUSE_S: i64 = 2;
/// The longest pause.
const LONGEST_PAUSE_S: i64 = 600;
/// Why a request is given up.
const AWAY: &str = "verifier-away";

/// Runs [`JOB`].
pub(crate) struct EkycJob {
    pub identity: Arc<Identity>,
}

#[async_trait]
impl JobHandler for EkycJob {
    async fn run(&self, job: &Job) -> Outcome {
        let Ok(id) = job.key.parse() else { return Outcome::Dead("the key is no request".to_owned()) };
        match self.ask(id).await {
            Ok(None) => Outcome::Done,
            Ok(Some(error)) => {
                if let VerifierError::Refused(status) = error {
                    warn!(status, "the verifier of citizen numbers refuses our requests");
                }
                self.later(job, "the verifier did not answer")
            }
            Err(error) => self.later(job, &error.to_string()),
        }
    }
}

impl EkycJob {
    /// Asks once and books the answer; gives why there was none.
    async fn ask(&self, id: EkycId) -> Result<Option<VerifierError>, Error> {
        let identity = &self.identity;
        let mut conn = identity.pool.acquire().await?;
        let Some(pending) = sql::pending(&mut conn, id).await? else { return Ok(None) };
        if identity.now() >= pending.asked_at + PATIENCE {
            // No connection is held while another is waited for.
            drop(conn);
            identity.decide_ekyc(id, Err(AWAY)).await?;
            return Ok(None);
        }
        let key = citizen::find(&mut conn, pending.citizen).await?.ok_or(Error::NotFound)?.key(&identity.vault)?;
        drop(conn);
        let claim = open_claim(&key, id, &pending)?;
        let verifier = identity.verifies.as_ref().ok_or(Error::EkycUnavailable)?;
        let verdict: Verdict = match verifier.verify(id.uuid(), &claim).await {
            Ok(verdict) => verdict,
            Err(error) => return Ok(Some(error)),
        };
        identity.decide_ekyc(id, Ok(verdict)).await?;
        Ok(None)
    }

    fn later(&self, job: &Job, reason: &str) -> Outcome {
        let doubled = FIRST_PAUSE_S.saturating_mul(1 << job.attempts.clamp(0, 20));
        let pause = TimeDelta::seconds(doubled.min(LONGEST_PAUSE_S));
        Outcome::RetryAt(self.identity.now() + pause, reason.to_owned())
    }
}

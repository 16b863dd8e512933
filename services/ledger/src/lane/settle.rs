//! The way under the lock, which always gets on: a batch is put until it has an outcome or its time is over, and a fault is isolated by halving.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{error, warn};

use super::Lane;
use crate::engine::{Job, PostError};
use crate::fold::{Effects, Verdict};
use crate::request::Answer;
use crate::rider::Riders;
use crate::session::Failure;

/// The most times a batch is put before its callers get an error.
const MAX_ATTEMPTS: u32 = 8;
/// The first pause between two attempts; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

impl<R: Send + Sync + 'static, S: Riders<R>> Lane<R, S> {
    /// Answers every job of a batch under the lock; halves the batch until a fault stands alone.
    /// `lost` is what earlier attempts had decided whose COMMIT had no answer.
    pub(super) async fn settle(&mut self, batch: Vec<Job<R>>, mut lost: Vec<Effects>) {
        self.answer_written();
        let deadline = Instant::now() + self.config.deadline();
        let mut parts = vec![batch];
        while let Some(mut part) = parts.pop() {
            match self.put(&part, std::mem::take(&mut lost), deadline).await {
                Ok(verdicts) => self.reply(part, verdicts),
                Err(Failure::Fault(source)) if part.len() > 1 => {
                    warn!(error = %source, requests = part.len(), "batch failed and is halved");
                    parts.push(part.split_off(part.len() / 2));
                    parts.push(part);
                }
                Err(Failure::Fault(source)) => {
                    self.session.shared.meter.fault();
                    error!(error = %source, "posting failed because of a fault");
                    reply_all(part, &PostError::Fault(source));
                }
                Err(Failure::Ahead(source)) => {
                    self.session.shared.meter.clock_ahead();
                    error!(error = %source, "this machine's clock is too far ahead of the database's");
                    reply_all(part, &PostError::Unavailable(Some(source)));
                }
                Err(Failure::Passing(source)) => reply_all(part, &PostError::Unavailable(Some(source))),
                Err(Failure::Moved | Failure::Known) => reply_all(part, &PostError::Unavailable(None)),
                Err(Failure::Unknown(_)) => reply_all(part, &PostError::OutcomeUnknown),
            }
        }
    }

    /// Puts a batch under the lock until it has an outcome, time is over, or it is certain that it can't be had now.
    async fn put(
        &mut self,
        batch: &[Job<R>],
        mut lost: Vec<Effects>,
        deadline: Instant,
    ) -> Result<Vec<Verdict>, Failure> {
        let mut pause = FIRST_PAUSE;
        let mut attempt = 1;
        loop {
            let attempted = self.session.put(&mut self.memory, batch, deadline).await;
            let source = match attempted.result {
                Ok(()) => {
                    let effects = attempted.effects.unwrap_or_default();
                    self.session.shared.was_committed(batch, &effects);
                    return Ok(self.own(batch, effects.verdicts, lost));
                }
                Err(Failure::Fault(source)) if lost.is_empty() => {
                    return Err(Failure::Fault(source));
                }
                Err(Failure::Fault(source)) => {
                    error!(error = %source, "batch failed after its commit had no answer");
                    return Err(Failure::Unknown(Arc::new(sqlx::Error::WorkerCrashed)));
                }
                // Waiting does not put a clock right.
                Err(Failure::Ahead(source)) if lost.is_empty() => return Err(Failure::Ahead(source)),
                Err(Failure::Ahead(source)) => return Err(Failure::Unknown(source)),
                Err(Failure::Passing(source)) => source,
                Err(Failure::Unknown(source)) => {
                    lost.extend(attempted.effects);
                    source
                }
                // Under the lock neither can be; if it were, it would be a passing failure like any other.
                Err(Failure::Moved | Failure::Known) => Arc::new(sqlx::Error::WorkerCrashed),
            };
            if attempt == MAX_ATTEMPTS || Instant::now() + pause >= deadline {
                let failure = if lost.is_empty() { Failure::Passing(source) } else { Failure::Unknown(source) };
                return Err(failure);
            }
            warn!(error = %source, attempt, commit_lost = !lost.is_empty(), "batch is put again");
            tokio::time::sleep(pause).await;
            (pause, attempt) = (pause * 2, attempt + 1);
        }
    }

    /// Makes what an attempt with a lost answer had decided the requests' own outcome, if that attempt was committed:
    /// if every outcome that it decided is the very one that stands in the books now. At most one attempt can be.
    fn own(&self, batch: &[Job<R>], mut verdicts: Vec<Verdict>, lost: Vec<Effects>) -> Vec<Verdict> {
        let stands = |now: &Verdict, then: &Verdict| match then {
            Verdict::Fresh(decided) => matches!(now, Verdict::Replayed(outcome) if outcome == decided),
            Verdict::Replayed(_) | Verdict::Conflict => true,
        };
        let committed = lost.into_iter().find(|effects| {
            !effects.is_empty() && verdicts.iter().zip(&effects.verdicts).all(|(now, then)| stands(now, then))
        });
        if let Some(effects) = committed {
            self.session.shared.was_committed(batch, &effects);
            verdicts = effects.verdicts;
        }
        verdicts
    }

    /// Answers the callers of the batch that was written.
    pub(super) fn answer_written(&mut self) {
        if let Some((batch, verdicts)) = self.written.take() {
            self.reply(batch, verdicts);
        }
    }

    pub(super) fn reply(&self, batch: Vec<Job<R>>, verdicts: Vec<Verdict>) {
        let now = Instant::now();
        for (job, verdict) in batch.into_iter().zip(verdicts) {
            self.session.shared.meter.answered(&job.request, &verdict, now.saturating_duration_since(job.asked));
            let answer = match verdict {
                Verdict::Fresh(outcome) => Ok(Answer { outcome, replayed: false }),
                Verdict::Replayed(outcome) => Ok(Answer { outcome, replayed: true }),
                Verdict::Conflict => Err(PostError::KeyConflict),
            };
            // A caller that went away asks again with its key.
            job.answer.send(answer).ok();
        }
    }
}

fn reply_all<R>(batch: Vec<Job<R>>, error: &PostError) {
    for job in batch {
        job.answer.send(Err(error.clone())).ok();
    }
}

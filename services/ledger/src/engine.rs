//! The queue, and the loop that turns what waits in it into batches.
//!
//! Callers put requests on a bounded queue. While one batch commits, the next gathers; there is no timer: an idle engine posts a lone request at once, a busy one posts thousands together.
//! One batch is one transaction: lock, read, fold, write, riders, commit.
//!
//! Invariants:
//! - Every request that was accepted is answered once: with its outcome, or with an error that says whether it may have happened.
//! - A passing failure before COMMIT changes nothing and is never remembered. When the answer to COMMIT is lost, the batch is put again: its keys tell what happened.
//! - A fault (a CHECK that fires, a rider that fails) is isolated by halving the batch: the others are posted.
//! - The engine's connection is its own; after any failure it is dropped, never reused.

use std::sync::Arc;
use std::time::{Duration, Instant};

use platform::clock::Clock;
use platform::metrics::Metrics;
use platform::task::{Shutdown, Task};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info, warn};

use crate::account::{AccountId, Balance};
use crate::batch::{Failure, Session};
use crate::fold::{Effects, Entry, Verdict};
use crate::kind::Kinds;
use crate::meter::Meter;
use crate::request::{Answer, Invalid, Outcome, Request};
use crate::rider::Riders;
use crate::sql;
use crate::transfer::{Fingerprint, RequestKey};

/// The most times a batch is put before its callers get an error.
const MAX_ATTEMPTS: u32 = 8;
/// The first pause between two attempts; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// How often the engine lets callers run while they are still adding to the queue.
const MAX_YIELDS: u32 = 8;
/// The longest time a caller is told to wait before it asks again.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(30);

/// How often the gauges that need a look into the database are set.
const GAUGE_PERIOD: Duration = Duration::from_secs(10);

/// Limits of the engine.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The shard that this engine posts to.
    pub shard: i16,
    /// The most requests that wait; past it callers get [`PostError::QueueFull`].
    pub queue: usize,
    /// The most actions and openings in one batch.
    pub batch: usize,
    /// The longest time a batch tries to reach the database, in milliseconds.
    pub deadline_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { shard: 1, queue: 16_384, batch: 8_190, deadline_ms: 5_000 }
    }
}

impl Config {
    fn deadline(&self) -> Duration {
        Duration::from_millis(self.deadline_ms)
    }
}

/// Why a request has no outcome.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PostError {
    /// Too many requests wait. Nothing happened; ask again later.
    #[error("too many postings wait")]
    QueueFull {
        /// When to ask again.
        retry_after: Duration,
    },
    /// The key belongs to a request that asked something else.
    #[error("the idempotency key was used for another request")]
    KeyConflict,
    /// The request makes no sense whatever the books say.
    #[error("the request is not valid")]
    Invalid(#[from] Invalid),
    /// The database can't be reached, or the engine is stopping. Nothing happened; ask again later.
    #[error("the ledger is not available")]
    Unavailable(#[source] Option<Arc<sqlx::Error>>),
    /// The answer to COMMIT was lost and could not be read again in time. It may have happened: ask again with the same key.
    #[error("it is not known whether the posting happened")]
    OutcomeUnknown,
    /// The request can't be written because of a fault in the program. Nothing happened; an alarm was raised.
    #[error("the posting failed because of a fault")]
    Fault(#[source] Arc<dyn std::error::Error + Send + Sync>),
}

impl PostError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::QueueFull { .. } => "queue-full",
            Self::KeyConflict => "idempotency-key-reused",
            Self::Invalid(_) => "posting-invalid",
            Self::Unavailable(_) => "unavailable",
            Self::OutcomeUnknown => "outcome-unknown",
            Self::Fault(_) => "internal",
        }
    }
}

/// A request on its way, and who waits for the answer.
pub(crate) struct Job<R> {
    pub(crate) request: Request<R>,
    key: RequestKey,
    fingerprint: Fingerprint,
    answer: oneshot::Sender<Result<Answer, PostError>>,
    asked: Instant,
}

/// The way to the ledger for its callers. Cheap to clone.
#[derive(Debug)]
pub struct Ledger<R> {
    queue: mpsc::Sender<Job<R>>,
    pool: PgPool,
    meter: Arc<Meter>,
    kinds: Arc<Kinds>,
}

impl<R> Clone for Ledger<R> {
    fn clone(&self) -> Self {
        Self {
            queue: self.queue.clone(),
            pool: self.pool.clone(),
            meter: self.meter.clone(),
            kinds: self.kinds.clone(),
        }
    }
}

impl<R: Send + Sync + 'static> Ledger<R> {
    /// Posts a request: all of it or nothing of it, once per key.
    ///
    /// Dropping the future does not take the request back.
    ///
    /// # Errors
    /// See [`PostError`]. Only [`PostError::OutcomeUnknown`] leaves open whether it happened; asking again with the same key tells.
    pub async fn post(&self, request: Request<R>) -> Result<Outcome, PostError> {
        self.answer(request).await.map(|answer| answer.outcome)
    }

    /// As [`Ledger::post`], and says whether the outcome is that of an earlier equal request.
    ///
    /// # Errors
    /// As [`Ledger::post`].
    pub async fn answer(&self, request: Request<R>) -> Result<Answer, PostError> {
        request.check()?;
        self.kinds.check(&request)?;
        let (answer, answered) = oneshot::channel();
        // Hashed here, on the caller's thread, not in the engine's loop.
        let (key, fingerprint) = (request.key.request_key(), request.key.stored_fingerprint());
        let job = Job { request, key, fingerprint, answer, asked: Instant::now() };
        match self.queue.try_send(job) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.meter.refused_full();
                return Err(PostError::QueueFull { retry_after: self.retry_after() });
            }
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(PostError::Unavailable(None)),
        }
        // The engine answers every job; one that was dropped unanswered died with a panic of the engine, maybe after COMMIT.
        answered.await.unwrap_or(Err(PostError::OutcomeUnknown))
    }

    /// The balance of an account; `None` when there is no such account.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn balance(&self, account: AccountId) -> Result<Option<Balance>, sqlx::Error> {
        Ok(sql::books::account(&self.pool, account).await?.map(|account| account.balance()))
    }

    /// How many requests wait.
    pub fn queue_depth(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }

    /// The time the queue takes to empty at the speed of the last batches, in whole seconds.
    fn retry_after(&self) -> Duration {
        let wait = self.meter.time_for(self.queue_depth()).as_secs_f64().ceil();
        Duration::from_secs_f64(wait.max(1.0)).min(MAX_RETRY_AFTER)
    }
}

/// The part of the ledger that posts.
#[derive(Debug)]
pub struct Engine;

impl Engine {
    /// Makes the way to the ledger and the task that posts. Nothing is read or written before the task runs.
    ///
    /// `pool` is that of a role that may post (`trangtien_wallet`); the engine keeps one of its connections.
    pub fn start<R: Send + Sync + 'static>(
        pool: PgPool,
        clock: Clock,
        metrics: &Metrics,
        config: Config,
        riders: impl Riders<R>,
    ) -> (Ledger<R>, Vec<Task>) {
        let (queue, jobs) = mpsc::channel(config.queue.max(1));
        let meter = Arc::new(Meter::new(metrics));
        let kinds = Arc::new(Kinds::default());
        let session = Session::new(pool.clone(), clock, config.shard, riders, (kinds.clone(), meter.clone()));
        let shard = config.shard;
        let run = Run { jobs, session, config, meter: meter.clone() };
        let posting = Task::new("ledger", |shutdown| async move {
            run.run(shutdown).await;
            Ok(())
        });
        let counting = count_holds(pool.clone(), shard, meter.clone());
        (Ledger { queue, pool, meter, kinds }, vec![posting, counting])
    }
}

/// Keeps the gauge of open holds.
fn count_holds(pool: PgPool, shard: i16, meter: Arc<Meter>) -> Task {
    Task::new("ledger-gauges", move |shutdown| async move {
        while !shutdown.is_cancelled() {
            match sql::books::open_holds(&pool, shard).await {
                Ok(holds) => meter.holds_open(holds),
                Err(error) => warn!(error = %error, "open holds not counted"),
            }
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = tokio::time::sleep(GAUGE_PERIOD) => {}
            }
        }
        Ok(())
    })
}

struct Run<R, S> {
    jobs: mpsc::Receiver<Job<R>>,
    session: Session<R, S>,
    config: Config,
    meter: Arc<Meter>,
}

impl<R: Send + Sync + 'static, S: Riders<R>> Run<R, S> {
    /// Posts until shutdown begins, then what is still queued, then ends.
    async fn run(mut self, shutdown: Shutdown) {
        loop {
            let first = tokio::select! {
                biased;
                job = self.jobs.recv() => job,
                () = shutdown.cancelled(), if !self.jobs.is_closed() => {
                    self.jobs.close();
                    continue;
                }
            };
            let Some(first) = first else { break };
            let batch = self.gather(first).await;
            self.settle(batch).await;
        }
        self.session.close().await;
        info!("ledger engine stopped");
    }

    /// Takes what waits, and lets callers that were just answered add to it as long as they do.
    async fn gather(&mut self, first: Job<R>) -> Vec<Job<R>> {
        let mut weight = first.weight();
        let mut batch = vec![first];
        for turn in 0..MAX_YIELDS {
            let before = batch.len();
            while weight < self.config.batch
                && let Ok(job) = self.jobs.try_recv()
            {
                weight += job.weight();
                batch.push(job);
            }
            if weight >= self.config.batch || (turn > 0 && batch.len() == before) {
                break;
            }
            tokio::task::yield_now().await;
        }
        batch
    }

    /// Answers every job of a batch; halves the batch until a fault stands alone.
    async fn settle(&mut self, batch: Vec<Job<R>>) {
        self.meter.batch(batch.len(), self.jobs.len());
        let began = Instant::now();
        let count = batch.len();
        let mut parts = vec![batch];
        while let Some(mut part) = parts.pop() {
            match self.put(&part).await {
                Ok(verdicts) => self.reply(part, verdicts),
                Err(Failure::Fault(source)) if part.len() > 1 => {
                    warn!(error = %source, requests = part.len(), "batch failed and is halved");
                    parts.push(part.split_off(part.len() / 2));
                    parts.push(part);
                }
                Err(Failure::Fault(source)) => {
                    self.meter.fault();
                    error!(error = %source, "posting failed because of a fault");
                    reply_all(part, &PostError::Fault(source));
                }
                Err(Failure::Passing(source)) => reply_all(part, &PostError::Unavailable(Some(source))),
                Err(Failure::Unknown { .. }) => reply_all(part, &PostError::OutcomeUnknown),
            }
        }
        self.meter.settled(count, began.elapsed());
    }

    /// Puts a batch until it has an outcome, time is over, or it is certain that it can't be had now.
    async fn put(&mut self, batch: &[Job<R>]) -> Result<Vec<Verdict>, Failure> {
        let deadline = Instant::now() + self.config.deadline();
        // What an attempt would have done whose COMMIT had no answer.
        let mut open: Option<Box<Effects>> = None;
        let mut pause = FIRST_PAUSE;
        let mut attempt = 1;
        loop {
            let failure = match self.session.put(batch, deadline).await {
                Ok(verdicts) => return Ok(self.own(batch, verdicts, open)),
                Err(failure) => failure,
            };
            let source = match failure {
                Failure::Fault(source) if open.is_none() => return Err(Failure::Fault(source)),
                Failure::Fault(source) => {
                    error!(error = %source, "batch failed after its commit had no answer");
                    return Err(Failure::Unknown { source: Arc::new(sqlx::Error::WorkerCrashed), effects: open });
                }
                Failure::Passing(source) => source,
                Failure::Unknown { source, effects } => {
                    open = open.or(effects);
                    source
                }
            };
            if attempt == MAX_ATTEMPTS || Instant::now() + pause >= deadline {
                return Err(match open {
                    None => Failure::Passing(source),
                    Some(_) => Failure::Unknown { source, effects: open },
                });
            }
            warn!(error = %source, attempt, commit_lost = open.is_some(), "batch is put again");
            tokio::time::sleep(pause).await;
            (pause, attempt) = (pause * 2, attempt + 1);
        }
    }

    /// Makes what an attempt with a lost answer had decided the requests' own outcome, if it was committed.
    fn own(&self, batch: &[Job<R>], mut verdicts: Vec<Verdict>, open: Option<Box<Effects>>) -> Vec<Verdict> {
        let Some(open) = open else { return verdicts };
        let mut committed = false;
        for (verdict, decided) in verdicts.iter_mut().zip(&open.verdicts) {
            if let (Verdict::Replayed(outcome), Verdict::Fresh(_)) = (&*verdict, decided) {
                *verdict = Verdict::Fresh(outcome.clone());
                committed = true;
            }
        }
        if committed {
            self.session.was_committed(batch, &open);
        }
        verdicts
    }

    fn reply(&self, batch: Vec<Job<R>>, verdicts: Vec<Verdict>) {
        for (job, verdict) in batch.into_iter().zip(verdicts) {
            self.meter.answered(&job.request, &verdict, job.asked.elapsed());
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

impl<R> Job<R> {
    /// The request as the fold sees it.
    pub(crate) fn entry(&self) -> Entry<'_> {
        Entry { key: self.key, fingerprint: self.fingerprint, open: &self.request.open, actions: &self.request.actions }
    }

    fn weight(&self) -> usize {
        self.request.actions.len() + self.request.open.len()
    }
}

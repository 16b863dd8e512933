//! The way in: a bounded queue to the [`Lane`](crate::lane) that posts.
//!
//! Invariant: every request that was accepted is answered once: with its outcome, or with an error that says whether it may have happened.

use std::sync::Arc;
use std::time::{Duration, Instant};

use platform::clock::Clock;
use platform::metrics::Metrics;
use platform::task::Task;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use crate::account::{Account, AccountId, Balance};
use crate::fold::Entry;
use crate::kind::Kinds;
use crate::lane::Lane;
use crate::limit::Calendar;
use crate::meter::Meter;
use crate::request::{Answer, Invalid, Outcome, Reject, Request};
use crate::rider::Riders;
use crate::session::{Session, Shared};
use crate::sql;
use crate::transfer::{Fingerprint, RequestKey};

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
    /// The most accounts, and the most holds, that the engine remembers between batches; past it all are forgotten and read again as they are named.
    pub remembered: usize,
    /// The longest time a batch tries to reach the database, in milliseconds.
    pub deadline_ms: u64,
    /// How far this machine's clock may be ahead of the database's before its batches are turned away, in milliseconds.
    pub clock_ahead_ms: u32,
    /// This machine's clock. Not the city's time, which tests move: only a test of wrong machines gives another.
    #[serde(skip)]
    pub machine: Clock,
    /// Where days and months begin for limits: the program sets it, from where it knows the zone.
    #[serde(skip)]
    pub calendar: Calendar,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            shard: 1,
            queue: 16_384,
            batch: 8_190,
            remembered: 500_000,
            deadline_ms: 5_000,
            clock_ahead_ms: 60_000,
            machine: Clock::system(),
            calendar: Calendar::default(),
        }
    }
}

impl Config {
    /// The longest time a batch tries to reach the database.
    pub(crate) fn deadline(&self) -> Duration {
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
    /// The database can't be reached, this machine's clock is far ahead of the database's, or the engine is stopping. Nothing happened; ask again later.
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
    pub(crate) answer: oneshot::Sender<Result<Answer, PostError>>,
    pub(crate) asked: Instant,
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

    /// An account as it is now; `None` when there is no such account.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn account(&self, account: AccountId) -> Result<Option<Account>, sqlx::Error> {
        sql::books::account(&self.pool, account).await
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
        let shard = config.shard;
        let (kinds, meter) = (Arc::new(Kinds::default()), Arc::new(Meter::new(metrics)));
        let shared = Shared {
            pool: pool.clone(),
            clock,
            machine: config.machine.clone(),
            clock_ahead_ms: config.clock_ahead_ms.into(),
            shard,
            calendar: config.calendar,
            riders,
            kinds: kinds.clone(),
            meter: meter.clone(),
        };
        let run = Lane::new(jobs, Session::new(shared), config);
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

impl<R> Job<R> {
    /// The request as the fold sees it.
    pub(crate) fn entry(&self) -> Entry<'_> {
        let request = &self.request;
        Entry {
            key: self.key,
            fingerprint: self.fingerprint,
            open: &request.open,
            actions: &request.actions,
            refusals: request.refusals,
            limits: &request.limits,
        }
    }

    /// Whether the ledger keeps this refusal of it.
    pub(crate) fn remembers(&self, reject: Reject) -> bool {
        self.request.refusals.remember(reject)
    }

    /// How much of a batch it takes.
    pub(crate) fn weight(&self) -> usize {
        self.request.actions.len() + self.request.open.len()
    }
}

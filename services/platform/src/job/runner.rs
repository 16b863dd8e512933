//! The loop of a runner: renew leases → claim what is due → wait.
//!
//! Each claimed job runs in a task of its own, as many at once as the settings allow. The loop renews their leases and
//! ends the task of a job that another runner has meanwhile.

use std::collections::HashMap;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use futures::FutureExt as _;
use prometheus::{HistogramVec, IntCounterVec, IntGaugeVec};
use tokio::task::{AbortHandle, JoinSet};
use tracing::{Instrument as _, error, info, info_span, warn};
use uuid::Uuid;

use super::settle::JobTable;
use super::{Job, JobHandler, Outcome};
use crate::clock::Clock;
use crate::db::Schema;
use crate::metrics::DURATION_BUCKETS;
use crate::retry::Patience;
use crate::service::Context;
use crate::task::{Shutdown, Task};
use crate::trace::{self, TraceContext};
use crate::wake::Wake;

/// How a runner works; the defaults are production's.
#[derive(Clone, Debug)]
pub struct RunnerSettings {
    /// The most jobs that run at once.
    pub concurrency: usize,
    /// How long a job stays with a process that no longer renews its lease.
    pub lease: Duration,
    /// How often a failing job is tried.
    pub patience: Patience,
    /// The longest that one attempt may take; then it is broken off and counts as failed.
    pub longest: Duration,
    /// How long running jobs may go on after shutdown began; shorter than the lease.
    pub drain: Duration,
    /// How long done jobs, and with them their keys, are remembered.
    pub keep_done: TimeDelta,
    /// How long dead jobs wait for an operator.
    pub keep_dead: TimeDelta,
}

impl Default for RunnerSettings {
    fn default() -> Self {
        Self {
            concurrency: 16,
            lease: Duration::from_secs(15),
            patience: Patience { attempts: 20, first: Duration::from_secs(1), most: Duration::from_secs(900) },
            longest: Duration::from_secs(300),
            drain: Duration::from_secs(8),
            keep_done: TimeDelta::days(30),
            keep_dead: TimeDelta::days(365),
        }
    }
}

/// The longest sleep: jobs that are due later wake nobody, and a notification may be lost.
pub(super) const IDLE_MAX: Duration = Duration::from_secs(30);
/// How long to wait for a due job that somebody else has locked just now.
const CONTENDED: Duration = Duration::from_millis(20);
/// How often a clock that tests can move is looked at.
const MOVABLE_POLL: Duration = Duration::from_millis(25);
/// A lease is renewed this many times in its length.
const RENEWALS: u32 = 3;
/// How often finished jobs are pruned and dead ones counted.
const PRUNE_EVERY: Duration = Duration::from_secs(60);
/// The most batches pruned in one go.
const PRUNE_BATCHES: usize = 20;
/// Attempts to settle a job while the database is away; after that its lease passes.
const SETTLING: Patience = Patience { attempts: 6, first: Duration::from_millis(100), most: Duration::from_secs(2) };
/// Pauses after the database failed.
const OUTAGE: Patience =
    Patience { attempts: u32::MAX, first: Duration::from_millis(50), most: Duration::from_secs(1) };
/// How long giving back unfinished jobs may take at shutdown.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(2);

/// Runs the jobs of one schema.
pub struct Runner {
    context: Context,
    schema: Schema,
    handlers: HashMap<&'static str, Arc<dyn JobHandler>>,
    settings: RunnerSettings,
}

impl fmt::Debug for Runner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Runner")
            .field("schema", &self.schema)
            .field("kinds", &self.handlers.keys())
            .finish_non_exhaustive()
    }
}

impl Runner {
    /// A runner for the jobs of `schema`; jobs of kinds without a handler stay where they are.
    pub fn new(context: &Context, schema: Schema) -> Self {
        Self { context: context.clone(), schema, handlers: HashMap::new(), settings: RunnerSettings::default() }
    }

    /// Says what a kind of job does.
    #[must_use]
    pub fn on(mut self, kind: &'static str, handler: impl JobHandler) -> Self {
        self.handlers.insert(kind, Arc::new(handler));
        self
    }

    /// Replaces the settings.
    #[must_use]
    pub fn settings(mut self, settings: RunnerSettings) -> Self {
        self.settings = settings;
        self
    }

    /// The runner as a task of its role.
    pub fn into_task(self) -> Task {
        Task::new("jobs", move |shutdown| async move {
            Running::new(self).run(&shutdown).await;
            Ok(())
        })
    }
}

#[derive(Clone)]
struct RunnerMetrics {
    ended: IntCounterVec,
    duration: HistogramVec,
    dead: IntGaugeVec,
}

/// A runner at work.
struct Running {
    table: JobTable,
    clock: Clock,
    handlers: HashMap<&'static str, Arc<dyn JobHandler>>,
    settings: RunnerSettings,
    metrics: RunnerMetrics,
    tasks: JoinSet<(Uuid, i64)>,
    jobs: HashMap<Uuid, (i64, AbortHandle)>,
    renew_at: Instant,
    prune_at: Instant,
}

impl Running {
    fn new(runner: Runner) -> Self {
        let Runner { context, schema, handlers, settings } = runner;
        let metrics = &context.metrics;
        let table = JobTable {
            pool: context.pool.clone(),
            schema,
            clock: context.clock.clone(),
            kinds: handlers.keys().copied().collect(),
            holder: format!("{}#{}", context.instance, crate::id::new()),
            lease: settings.lease,
        };
        Self {
            table,
            clock: context.clock.clone(),
            handlers,
            metrics: RunnerMetrics {
                ended: metrics.counter("jobs_total", "Attempts at jobs by what became of them.", &["kind", "outcome"]),
                duration: metrics.histogram(
                    "job_duration_seconds",
                    "How long attempts at jobs take.",
                    &["kind"],
                    DURATION_BUCKETS,
                ),
                dead: metrics.gauge("jobs_dead", "Jobs that were given up on and wait for an operator.", &[]),
            },
            renew_at: Instant::now() + settings.lease / RENEWALS,
            prune_at: Instant::now(),
            settings,
            tasks: JoinSet::new(),
            jobs: HashMap::new(),
        }
    }

    async fn run(mut self, shutdown: &Shutdown) {
        let wake = Wake::listen(&self.table.pool, super::channel(self.table.schema));
        let mut failures = 0;
        while !shutdown.is_cancelled() {
            let pause = match self.turn().await {
                Ok(pause) => {
                    if failures > 0 {
                        info!(schema = %self.table.schema, "jobs go on");
                    }
                    failures = 0;
                    pause
                }
                Err(error) => {
                    if failures == 0 {
                        warn!(schema = %self.table.schema, error = %error, "jobs interrupted");
                    }
                    failures += 1;
                    OUTAGE.pause(failures)
                }
            };
            self.wait(pause, &wake, shutdown).await;
        }
        self.drain().await;
        wake.close().await;
    }

    /// Renews, claims and starts; says how long there is nothing to do, unless something happens.
    async fn turn(&mut self) -> Result<Duration, sqlx::Error> {
        if self.renew_at <= Instant::now() {
            self.renew().await?;
        }
        if self.prune_at <= Instant::now() {
            let now = self.clock.now();
            for _ in 0..PRUNE_BATCHES {
                if self.table.prune(now - self.settings.keep_done, now - self.settings.keep_dead).await? == 0 {
                    break;
                }
            }
            self.metrics.dead.with_label_values::<&str>(&[]).set(self.table.count_dead().await?);
            self.prune_at = Instant::now() + PRUNE_EVERY;
        }
        let free = self.settings.concurrency - self.jobs.len();
        if free > 0 && !self.table.kinds.is_empty() {
            let claimed = self.table.claim(free).await?;
            let filled = claimed.len() == free;
            claimed.into_iter().for_each(|job| self.start(job));
            if !filled {
                let next = self.table.next_due().await?;
                return Ok(next.map_or(IDLE_MAX, |due| {
                    (due - self.clock.now()).to_std().unwrap_or_default().clamp(CONTENDED, IDLE_MAX)
                }));
            }
        }
        Ok(IDLE_MAX)
    }

    async fn wait(&mut self, pause: Duration, wake: &Wake, shutdown: &Shutdown) {
        let wake_at = Instant::now() + pause;
        let next = self.renew_at.min(self.prune_at).min(wake_at);
        let due = self.clock.now() + TimeDelta::from_std(pause).unwrap_or(TimeDelta::zero());
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = wake.notified(), if self.jobs.len() < self.settings.concurrency => {}
            () = tokio::time::sleep_until(next.into()) => {}
            () = moved_past(&self.clock, due) => {}
            Some(ended) = self.tasks.join_next() => self.ended(ended),
        }
        while let Some(ended) = self.tasks.try_join_next() {
            self.ended(ended);
        }
    }

    fn ended(&mut self, ended: Result<(Uuid, i64), tokio::task::JoinError>) {
        // An aborted task was taken out when it was aborted; a job may have been claimed again meanwhile.
        if let Ok((id, fence)) = ended
            && self.jobs.get(&id).is_some_and(|(running, _)| *running == fence)
        {
            self.jobs.remove(&id);
        }
    }

    fn start(&mut self, job: Job) {
        let Some(handler) = self.handlers.get(job.kind.as_str()).cloned() else { return };
        let (id, fence) = (job.id, job.fence);
        let attempt = Attempt {
            table: self.table.clone(),
            handler,
            patience: self.settings.patience,
            longest: self.settings.longest,
            metrics: self.metrics.clone(),
        };
        let abort = self.tasks.spawn(async move {
            attempt.make(job).await;
            (id, fence)
        });
        self.jobs.insert(id, (fence, abort));
    }

    async fn renew(&mut self) -> Result<(), sqlx::Error> {
        let jobs: Vec<(Uuid, i64)> = self.jobs.iter().map(|(id, (fence, _))| (*id, *fence)).collect();
        if !jobs.is_empty() {
            let ours = self.table.renew(&jobs).await?;
            self.jobs.retain(|id, (_, abort)| {
                let keep = ours.contains(id);
                if !keep {
                    warn!(job.id = %id, "the lease of a running job was lost");
                    abort.abort();
                }
                keep
            });
        }
        self.renew_at = Instant::now() + self.settings.lease / RENEWALS;
        Ok(())
    }

    /// Lets running jobs end, then gives back those that did not.
    async fn drain(&mut self) {
        let renewed = self.renew().await;
        if let Err(error) = renewed {
            warn!(error = %error, "leases of running jobs could not be renewed for the drain");
        }
        let end = tokio::time::Instant::now() + self.settings.drain;
        while let Ok(Some(ended)) = tokio::time::timeout_at(end, self.tasks.join_next()).await {
            self.ended(ended);
        }
        if self.jobs.is_empty() {
            return;
        }
        self.tasks.shutdown().await;
        let unfinished: Vec<(Uuid, i64)> = self.jobs.drain().map(|(id, (fence, _))| (id, fence)).collect();
        info!(jobs = unfinished.len(), "running jobs did not end in time and are given back");
        if !matches!(tokio::time::timeout(RELEASE_TIMEOUT, self.table.release(&unfinished)).await, Ok(Ok(()))) {
            warn!("jobs could not be given back; their leases pass");
        }
    }
}

/// Waits until a clock that tests can move is past a time; for ever on the machine's clock, whose sleep is enough.
async fn moved_past(clock: &Clock, due: chrono::DateTime<chrono::Utc>) {
    if !clock.is_movable() {
        return std::future::pending().await;
    }
    while clock.now() < due {
        tokio::time::sleep(MOVABLE_POLL).await;
    }
}

/// One attempt at one job.
struct Attempt {
    table: JobTable,
    handler: Arc<dyn JobHandler>,
    patience: Patience,
    longest: Duration,
    metrics: RunnerMetrics,
}

impl Attempt {
    async fn make(&self, job: Job) {
        let began = Instant::now();
        let outcome = if job.failures >= self.patience.attempts {
            // Counted up by the claim: the runners of the last attempts vanished, perhaps because of this job.
            Outcome::Dead("its runners vanished while they ran it".to_owned())
        } else {
            self.run(&job).await
        };
        self.metrics.duration.with_label_values(&[job.kind.as_str()]).observe(began.elapsed().as_secs_f64());
        for failures in 1..=SETTLING.attempts {
            match self.settle(&job, &outcome).await {
                Ok(()) => return,
                Err(error) if failures == SETTLING.attempts => {
                    warn!(job.id = %job.id, job.kind, error = %error, "outcome of a job could not be kept; its lease passes");
                }
                Err(_) => tokio::time::sleep(SETTLING.pause(failures)).await,
            }
        }
    }

    async fn run(&self, job: &Job) -> Outcome {
        let context = job.traceparent.as_deref().and_then(TraceContext::parse).unwrap_or_else(TraceContext::root);
        let span = info_span!("job", job.kind, job.id = %job.id, attempt = job.attempts);
        context.adopt(&span);
        let work = trace::scope(context, self.handler.run(job)).instrument(span);
        match tokio::time::timeout(self.longest, AssertUnwindSafe(work).catch_unwind()).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Outcome::Retry("the handler panicked".to_owned()),
            Err(_) => Outcome::Retry(format!("the attempt took longer than {} s", self.longest.as_secs_f32())),
        }
    }

    async fn settle(&self, job: &Job, outcome: &Outcome) -> Result<(), sqlx::Error> {
        let failures = job.failures + 1;
        let label = match outcome {
            Outcome::Done => {
                self.table.complete(job).await?;
                "done"
            }
            Outcome::RetryAt(due_at, reason) => {
                self.table.put_back(job, *due_at, job.failures, reason).await?;
                "later"
            }
            Outcome::Postpone(due_at, reason) => {
                self.table.postpone(job, *due_at, reason).await?;
                "postponed"
            }
            Outcome::Retry(reason) if failures < self.patience.attempts => {
                let pause = TimeDelta::from_std(self.patience.pause(failures)).unwrap_or(TimeDelta::MAX);
                self.table.put_back(job, job.clock.now() + pause, failures, reason).await?;
                warn!(job.id = %job.id, job.kind, failures, reason, "job failed and will be tried again");
                "retried"
            }
            Outcome::Retry(reason) | Outcome::Dead(reason) => {
                self.table.bury(job, failures, reason).await?;
                error!(job.id = %job.id, job.kind, failures, reason, "job goes to the dead letters");
                "dead"
            }
        };
        self.metrics.ended.with_label_values(&[job.kind.as_str(), label]).inc();
        Ok(())
    }
}

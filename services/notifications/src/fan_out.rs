//! What fan-outs have in common: something that was released or published becomes messages for everybody whom it is for, in batches.
//!
//! Invariants of each of them:
//! - A batch is one transaction with its position, whose row is locked for it: whoever dies, and however many work at it, nobody gets
//!   a message twice or is left out.
//! - Who is erased meanwhile gets nothing: see `message`.

use std::fmt::Display;
use std::str::FromStr;

use async_trait::async_trait;
use chrono_tz::Tz;
use platform::clock::Clock;
use platform::job::{Job, JobHandler, Outcome, Runner, RunnerSettings};
use platform::service::Context;
use platform::task::Task;
use sqlx::PgPool;
use tracing::warn;

use crate::SCHEMA;
use crate::error::Error;
use crate::meter::Meter;

/// Citizens in one batch.
pub(crate) const BATCH: i64 = 1_000;

/// What batches are made with.
#[derive(Clone, Debug)]
pub(crate) struct Batches {
    pub(crate) pool: PgPool,
    pub(crate) clock: Clock,
    pub(crate) meter: Meter,
    /// The zone of the city's hours.
    pub(crate) zone: Tz,
    /// Citizens in one of them.
    pub(crate) size: i64,
}

impl Batches {
    /// Batches of [`BATCH`].
    pub(crate) fn new(context: &Context, meter: &Meter, zone: Tz) -> Self {
        Self { pool: context.pool.clone(), clock: context.clock.clone(), meter: meter.clone(), zone, size: BATCH }
    }
}

/// What came of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// There may be more.
    More,
    /// Everybody has their messages, or is to have none any more.
    Ended,
}

/// Makes messages of one kind of thing.
#[async_trait]
pub(crate) trait FanOut: Send + Sync + 'static {
    /// The kind of job that does it; its key is the thing's id.
    const JOB_KIND: &'static str;
    /// Things that one process makes messages of at a time.
    const WORKERS: usize;
    /// What names the thing.
    type Id: FromStr + Display + Copy + Send + Sync;

    /// Makes the messages of the next citizens.
    async fn next_batch(&self, id: Self::Id) -> Result<Progress, Error>;
}

/// The runner that does it.
pub(crate) fn task<F: FanOut>(context: &Context, fan_out: F) -> Task {
    let settings = RunnerSettings { concurrency: F::WORKERS, ..RunnerSettings::default() };
    Runner::new(context, SCHEMA).on(F::JOB_KIND, ToTheEnd(fan_out)).settings(settings).into_task()
}

/// Batch after batch.
struct ToTheEnd<F>(F);

#[async_trait]
impl<F: FanOut> JobHandler for ToTheEnd<F> {
    async fn run(&self, job: &Job) -> Outcome {
        let Ok(id) = job.key.parse::<F::Id>() else { return Outcome::Dead("unreadable".to_owned()) };
        loop {
            match self.0.next_batch(id).await {
                Ok(Progress::More) => {}
                Ok(Progress::Ended) => return Outcome::Done,
                Err(Error::Unreadable(_)) => return Outcome::Dead("unreadable".to_owned()),
                Err(error) => {
                    warn!(job.kind = F::JOB_KIND, job.key = %id, %error, "a fan-out was interrupted");
                    return Outcome::Retry("database".to_owned());
                }
            }
        }
    }
}

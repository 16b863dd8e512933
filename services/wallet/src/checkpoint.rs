//! The job that signs the books at the end of each day, and the public list of what was signed.
//!
//! One job per shard that is put back for the next day each time it ran. It never gives up: a day that was missed is made up for.
//! Without a key no checkpoint is made; a city that has one keeps it for good, because its public half is what people compare with.

use std::time::Duration;

use async_trait::async_trait;
use chrono::TimeDelta;
use ledger::checkpoint::make::{self, MakeError, Maker};
use ledger::note::{NoteError, Signer};
use platform::clock::Clock;
use platform::job::{self, Job, JobHandler, NewJob, Outcome};
use platform::service::Context;
use platform::task::{Shutdown, Task};
use prometheus::IntCounterVec;
use sqlx::PgPool;
use url::Url;

use crate::SCHEMA;
use crate::config::CheckpointConfig;

/// The kind of the job; its key is the shard.
pub(crate) const JOB: &str = "ledger-checkpoint";
/// How long after a failure it is tried again.
const AFTER_FAILURE: TimeDelta = TimeDelta::minutes(1);
/// Pause before scheduling is tried again while the database is away.
const SCHEDULE_PAUSE: Duration = Duration::from_secs(1);

/// Who signs for a city; `None` when it has no key.
pub(crate) fn maker(
    config: &CheckpointConfig,
    public_url: &Url,
    shard: i16,
    zone: chrono_tz::Tz,
) -> Result<Option<Maker<chrono_tz::Tz>>, NoteError> {
    if config.key.is_empty() {
        return Ok(None);
    }
    let host = public_url.host_str().unwrap_or("localhost");
    let name = config.name.clone().unwrap_or_else(|| host.to_owned());
    let maker = Maker { name, shard, zone, signer: Signer::try_new(config.key.expose())? };
    // Whether a key may have this name is known only now.
    maker.public_key()?;
    Ok(Some(maker))
}

/// Runs [`JOB`].
pub(crate) struct CheckpointJob {
    pool: PgPool,
    clock: Clock,
    maker: Maker<chrono_tz::Tz>,
    count: IntCounterVec,
}

impl CheckpointJob {
    pub(crate) fn new(context: &Context, maker: Maker<chrono_tz::Tz>) -> Self {
        let count = context.metrics.counter(
            "checkpoints_total",
            "Daily checkpoints of the ledger: signed, failed for now, refused because the books do not hold.",
            &["outcome"],
        );
        Self { pool: context.pool.clone(), clock: context.clock.clone(), maker, count }
    }
}

#[async_trait]
impl JobHandler for CheckpointJob {
    async fn run(&self, _job: &Job) -> Outcome {
        let now = self.clock.now();
        match make::due(&self.pool, &self.maker, now).await {
            Ok(made) => {
                for day in made {
                    tracing::info!(%day, shard = self.maker.shard, "checkpoint signed");
                    self.count.with_label_values(&["signed"]).inc();
                }
                Outcome::RetryAt(make::next_due(&self.maker.zone, now), "the day is not over".to_owned())
            }
            Err(error) => {
                let broken = matches!(error, MakeError::Broken(_) | MakeError::Note(_));
                self.count.with_label_values(&[if broken { "refused" } else { "failed" }]).inc();
                if broken {
                    tracing::error!(%error, shard = self.maker.shard, "nothing is signed over these books");
                }
                Outcome::RetryAt(now + AFTER_FAILURE, error.to_string())
            }
        }
    }
}

/// The task that sees to it that the job is there.
pub(crate) fn schedule(context: &Context, shard: i16) -> Task {
    let (pool, clock) = (context.pool.clone(), context.clock.clone());
    Task::new("checkpoint-schedule", move |shutdown: Shutdown| async move {
        while let Err(error) = try_schedule(&pool, &clock, shard).await {
            tracing::debug!(%error, "checkpoints are not scheduled yet");
            tokio::select! {
                () = tokio::time::sleep(SCHEDULE_PAUSE) => {}
                () = shutdown.cancelled() => return Ok(()),
            }
        }
        shutdown.cancelled().await;
        Ok(())
    })
}

async fn try_schedule(pool: &PgPool, clock: &Clock, shard: i16) -> Result<(), sqlx::Error> {
    let now = clock.now();
    let job = NewJob::new(JOB, shard.to_string(), now);
    job::schedule(&mut *pool.acquire().await?, SCHEMA, now, job).await?;
    Ok(())
}

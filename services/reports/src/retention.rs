//! Removes answers to old idempotency keys, in small statements, so that nothing waits for it.
//!
//! A key lives at least as long as an app's offline queue is expected to.

use std::time::Duration;

use chrono::TimeDelta;
use platform::clock::Clock;
use platform::idempotency;
use platform::task::{Shutdown, Task};
use sqlx::PgPool;

use crate::SCHEMA;

/// How often it looks.
const INTERVAL: Duration = Duration::from_secs(600);
/// How long answers to idempotency keys are kept.
const KEY_LIFE: TimeDelta = TimeDelta::days(30);

/// The task that removes.
pub(crate) fn task(pool: PgPool, clock: Clock) -> Task {
    Task::new("retention", move |shutdown: Shutdown| async move {
        loop {
            tokio::select! {
                pruned = prune(&pool, &clock) => if let Err(error) = pruned {
                    tracing::warn!(%error, "old idempotency keys can't be removed");
                },
                () = shutdown.cancelled() => return Ok(()),
            }
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                () = shutdown.cancelled() => return Ok(()),
            }
        }
    })
}

/// Removes, batch by batch, until nothing old is left.
async fn prune(pool: &PgPool, clock: &Clock) -> Result<(), sqlx::Error> {
    let before = clock.now() - KEY_LIFE;
    while idempotency::prune(&mut *pool.acquire().await?, SCHEMA, before).await? > 0 {}
    Ok(())
}

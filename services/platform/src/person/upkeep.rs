//! Seals what was stored before there were keys of persons, and seals those keys anew when the configured one has changed.
//!
//! In small transactions beside the service's work: rows are skipped while somebody holds them, and readers understand both forms,
//! so that nothing has to stand still. It looks again and again, for a process of an earlier version may still write plain values.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};
use tracing::{info, warn};
use uuid::Uuid;

use super::{PersonError, PersonKeys};
use crate::clock::Clock;
use crate::task::{Shutdown, Task};

/// How often it looks once nothing is left.
const EVERY: Duration = Duration::from_secs(600);
/// The pause between two batches, so that the service's own work comes first.
const PAUSE: Duration = Duration::from_millis(50);

/// Knows which of a service's values are still plain.
#[async_trait]
pub trait Unsealed: Send + Sync + 'static {
    /// Seals at most a few hundred of them, those whose rows nobody holds; tells how many there were.
    async fn seal_some(&self, tx: &mut PgConnection, now: DateTime<Utc>) -> Result<usize, PersonError>;
}

/// The task that does so.
pub fn upkeep(keys: Arc<PersonKeys>, pool: PgPool, clock: Clock, unsealed: Arc<dyn Unsealed>) -> Task {
    Task::new("person-key", move |shutdown: Shutdown| async move {
        if keys.has_retired() {
            match renew_all(&keys, &pool, &shutdown).await {
                Ok(()) => info!("the keys of persons are sealed under the newest configured key"),
                Err(error) => warn!(%error, "the keys of persons can't be sealed anew; at the next start"),
            }
        }
        loop {
            let pause = match round(&pool, &clock, unsealed.as_ref()).await {
                Ok(0) => EVERY,
                Ok(_) => PAUSE,
                Err(error) => {
                    warn!(%error, "plain values can't be sealed");
                    EVERY
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = shutdown.cancelled() => return Ok(()),
            }
        }
    })
}

async fn renew_all(keys: &PersonKeys, pool: &PgPool, shutdown: &Shutdown) -> Result<(), PersonError> {
    let mut after = Uuid::nil();
    while let Some(last) = keys.renew(pool, after).await? {
        after = last;
        if shutdown.is_cancelled() {
            break;
        }
    }
    Ok(())
}

async fn round(pool: &PgPool, clock: &Clock, unsealed: &dyn Unsealed) -> Result<usize, PersonError> {
    let mut tx = crate::db::begin(pool).await?;
    let sealed = unsealed.seal_some(&mut tx, clock.now()).await?;
    tx.commit().await?;
    Ok(sealed)
}

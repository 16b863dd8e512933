//! Seals what was stored before there were keys of persons, and seals those keys anew when the configured one has changed.
//!
//! In small transactions beside the service's work: rows are skipped while somebody holds them, and readers understand both forms,
//! so that nothing has to stand still. It looks again and again, for a process of an earlier version may still write plain values, and one
//! with earlier settings keys that are sealed under an earlier configured key.
//! Somebody whose key does not open is passed over, so that they hold up nobody else.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};
use tracing::{error, warn};
use uuid::Uuid;

use super::renewal::Renewal;
use super::{PersonError, PersonKeys};
use crate::clock::Clock;
use crate::service::Context;
use crate::task::{Shutdown, Task};

/// How often it looks once nothing is left.
const EVERY: Duration = Duration::from_secs(600);
/// The pause between two batches, so that the service's own work comes first.
const PAUSE: Duration = Duration::from_millis(50);
/// Persons that one round passes over because their key does not open. Past that many it is no matter of single persons.
const MAX_PASSED_OVER: usize = 500;

/// Knows which of a service's values are still plain.
#[async_trait]
pub trait Unsealed: Send + Sync + 'static {
    /// Seals at most a few hundred of them, those whose rows nobody holds and that are of nobody who is `passed_over`; tells how many
    /// there were.
    ///
    /// # Errors
    /// [`PersonError::KeyUnopened`] says whom to pass over next time: nothing of this transaction stands.
    async fn seal_some(
        &self,
        tx: &mut PgConnection,
        now: DateTime<Utc>,
        passed_over: &[Uuid],
    ) -> Result<usize, PersonError>;
}

/// The task that does so.
pub fn upkeep(context: &Context, keys: Arc<PersonKeys>, unsealed: Arc<dyn Unsealed>) -> Task {
    let (pool, clock) = (context.pool.clone(), context.clock.clone());
    let renewal = Renewal::new(keys.table, &context.metrics);
    Task::new("person-key", move |shutdown: Shutdown| async move {
        loop {
            renewal.round(&keys.ring, &pool, &shutdown).await;
            tokio::select! {
                () = seal_all(&pool, &clock, unsealed.as_ref()) => {}
                () = shutdown.cancelled() => return Ok(()),
            }
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = shutdown.cancelled() => return Ok(()),
            }
        }
    })
}

/// Seals until nothing is left but what is of persons whose key does not open, each of whom is named once.
pub(super) async fn seal_all(pool: &PgPool, clock: &Clock, unsealed: &dyn Unsealed) {
    let mut passed_over = Vec::new();
    loop {
        match seal_some(pool, clock, (unsealed, &passed_over)).await {
            Ok(0) => return,
            Ok(_) => {}
            Err(PersonError::KeyUnopened(person))
                if passed_over.len() < MAX_PASSED_OVER && !passed_over.contains(&person) =>
            {
                error!(person.id = %person, "the key of a person does not open: what is plain of theirs stays so");
                passed_over.push(person);
                continue;
            }
            Err(error) => {
                warn!(%error, "plain values can't be sealed");
                return;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn seal_some(
    pool: &PgPool,
    clock: &Clock,
    (unsealed, passed_over): (&dyn Unsealed, &[Uuid]),
) -> Result<usize, PersonError> {
    let mut tx = crate::db::begin(pool).await?;
    let sealed = unsealed.seal_some(&mut tx, clock.now(), passed_over).await?;
    tx.commit().await?;
    Ok(sealed)
}

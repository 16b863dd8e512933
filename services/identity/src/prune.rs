//! Removes what is over, in bounded batches: challenges, pauses, codes of clients, revocations, sessions, what was registered and not answered;
//! tells of delegations whose date has come, and how often something was refused. Any number of replicas may do so.

use std::sync::Arc;
use std::time::Duration;

use platform::task::Task;
use tracing::{info, warn};

use crate::config::Lifetimes;
use crate::error::Error;
use crate::{Identity, challenge, openid, revocation, session};

/// How often.
const INTERVAL: Duration = Duration::from_secs(15);
/// Rows of one kind removed by one statement.
const BATCH: i64 = 1_000;
/// Rounds at a time; what is left waits for the next time.
const MAX_ROUNDS: u32 = 50;

impl Identity {
    /// Removes what is over by now.
    pub(crate) async fn prune(&self) -> Result<(), Error> {
        let now = self.now();
        let pause_over = now - Lifetimes::span(self.config.lifetimes.otp_resend_seconds);
        for _ in 0..MAX_ROUNDS {
            let challenges = challenge::prune(&self.pool, now, pause_over, BATCH).await?;
            let sessions = session::prune(&self.pool, now, BATCH).await?;
            let challenges = challenges.max(
                crate::passkey::prune(&self.pool, now, BATCH)
                    .await?
                    .max(crate::vneid::prune(&self.pool, now, BATCH).await?)
                    .max(crate::archive::prune(&self.pool, now, BATCH).await?),
            );
            let revocations = revocation::prune(&self.pool, now, BATCH).await?;
            let codes = openid::prune(&self.pool, now, BATCH).await?;
            let over = self.lapse_dependents(now, BATCH).await?.max(self.expire_delegations(now, BATCH).await?);
            let refusals = self.fold_refusals(now, BATCH).await?;
            if challenges.max(sessions).max(revocations).max(codes).max(refusals).max(over) < BATCH.unsigned_abs() {
                return Ok(());
            }
        }
        info!("more is over than one run removes");
        Ok(())
    }

    /// Prunes again and again.
    pub(crate) fn prune_task(self: &Arc<Self>) -> Task {
        let identity = self.clone();
        Task::new("prune", |shutdown| async move {
            loop {
                tokio::select! {
                    () = tokio::time::sleep(INTERVAL) => {}
                    () = shutdown.cancelled() => return Ok(()),
                }
                if let Err(error) = identity.prune().await {
                    warn!(%error, "cannot remove what is over");
                }
            }
        })
    }
}

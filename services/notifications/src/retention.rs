//! Removes what is older than it has to be: messages with their attempts and inbox entries, who was warned on account of
//! which ward, answers to old idempotency keys, ended sessions. In small statements, so that nothing waits for it.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use platform::clock::Clock;
use platform::task::{Shutdown, Task};
use sqlx::PgPool;
use tracing::warn;

use crate::SCHEMA;
use crate::config::RetentionDays;
use crate::device;

/// How often it looks.
const INTERVAL: Duration = Duration::from_secs(600);
/// Messages or sessions removed by one statement.
const BATCH: i64 = 1_000;
/// How long answers to idempotency keys are kept.
const KEY_LIFE: TimeDelta = TimeDelta::days(7);

/// The task that removes.
pub(crate) fn task(pool: PgPool, clock: Clock, messages: RetentionDays) -> Task {
    Task::new("retention", move |shutdown: Shutdown| async move {
        loop {
            let now = clock.now();
            if let Err(error) = prune(&pool, now - TimeDelta::days(messages.days()), now - KEY_LIFE).await {
                warn!(%error, "old messages can't be removed");
            }
            if let Err(error) = forget_sessions(&pool, now).await {
                warn!(%error, "ended sessions can't be removed");
            }
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                () = shutdown.cancelled() => return Ok(()),
            }
        }
    })
}

/// Forgets ended sessions whose tokens have all expired.
pub(crate) async fn forget_sessions(pool: &PgPool, now: DateTime<Utc>) -> Result<(), sqlx::Error> {
    while device::forget_sessions(pool, now, BATCH).await? > 0 {}
    Ok(())
}

/// Removes messages made before one time and keys claimed before another. Messages that wait are kept.
pub(crate) async fn prune(
    pool: &PgPool,
    messages_before: DateTime<Utc>,
    keys_before: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    loop {
        let removed = sqlx::query!(
            "DELETE FROM notifications.message WHERE id = ANY (ARRAY(
                 SELECT id FROM notifications.message WHERE created_at < $1 AND state <> 'waiting' LIMIT $2))",
            messages_before,
            BATCH
        );
        if removed.execute(pool).await?.rows_affected() == 0 {
            break;
        }
    }
    loop {
        let removed = sqlx::query!(
            "DELETE FROM notifications.alert_recipient WHERE ctid = ANY (ARRAY(
                 SELECT alert_recipient.ctid FROM notifications.alert
                     JOIN notifications.alert_recipient ON alert_recipient.alert_id = alert.id
                 WHERE alert.released_at < $1 AND alert.expires_at < $1 LIMIT $2))",
            messages_before,
            BATCH
        );
        if removed.execute(pool).await?.rows_affected() == 0 {
            break;
        }
    }
    let mut connection = pool.acquire().await?;
    while platform::idempotency::prune(&mut connection, SCHEMA, keys_before).await? > 0 {}
    Ok(())
}

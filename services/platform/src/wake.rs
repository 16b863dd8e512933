//! `LISTEN` on a connection of its own, optionally together with a lock.
//!
//! One background task per [`Wake`] keeps the connection, listens, takes the lock and turns notifications into wake-ups.
//! The lock is a session advisory lock: PostgreSQL frees it the moment the process or its connection dies, so that
//! another replica takes over at once, without a lease to wait for. Whoever relies on it must stay correct when two
//! processes believe for a moment that they hold it.

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tracing::{info, warn};

/// How often a process that waits for the lock asks again, and how long it waits after a failure.
const RETRY: Duration = Duration::from_secs(1);

/// Wakes its owner when something is notified on a channel, and tells whether the lock is held.
#[derive(Debug)]
pub(crate) struct Wake {
    notified: Arc<Notify>,
    held: watch::Receiver<bool>,
    pool: PgPool,
    listening: JoinHandle<()>,
}

impl Wake {
    /// Listens on `channel` of the database that `pool` uses, but outside that pool.
    pub(crate) fn listen(pool: &PgPool, channel: String) -> Self {
        Self::start(pool, channel, None)
    }

    /// Listens on `channel` and holds the lock named `lock` as soon as no other process does.
    pub(crate) fn listen_alone(pool: &PgPool, channel: String, lock: String) -> Self {
        Self::start(pool, channel, Some(lock))
    }

    fn start(pool: &PgPool, channel: String, lock: Option<String>) -> Self {
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(pool.connect_options().as_ref().clone());
        let (hold, held) = watch::channel(false);
        let notified = Arc::new(Notify::new());
        let listening = tokio::spawn({
            let (pool, notified) = (pool.clone(), notified.clone());
            async move {
                let mut away = false;
                loop {
                    let ended = listen(
                        &pool,
                        &channel,
                        lock.as_deref(),
                        &Signals { notified: &notified, hold: &hold },
                        &mut away,
                    )
                    .await;
                    hold.send_replace(false);
                    match ended {
                        Err(sqlx::Error::PoolClosed) => return,
                        Err(error) if !away => {
                            warn!(channel, error = %error, "listening connection lost");
                            away = true;
                        }
                        Err(_) | Ok(()) => {}
                    }
                    tokio::time::sleep(RETRY).await;
                }
            }
        });
        Self { notified, held, pool, listening }
    }

    /// Waits for a notification since the last call; several count as one. Also returns after each (re)connection.
    pub(crate) async fn notified(&self) {
        self.notified.notified().await;
    }

    /// Whether the lock is held right now, as far as is known.
    pub(crate) fn is_held(&self) -> bool {
        *self.held.borrow()
    }

    /// Waits until the lock is held.
    pub(crate) async fn held(&mut self) {
        if self.held.wait_for(|held| *held).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Closes the connection, which frees the lock.
    pub(crate) async fn close(self) {
        self.pool.close().await;
    }
}

impl Drop for Wake {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

struct Signals<'a> {
    notified: &'a Notify,
    hold: &'a watch::Sender<bool>,
}

async fn listen(
    pool: &PgPool,
    channel: &str,
    lock: Option<&str>,
    signals: &Signals<'_>,
    away: &mut bool,
) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.eager_reconnect(false);
    listener.listen(channel).await?;
    if std::mem::take(away) {
        info!(channel, "listening connection is back");
    }
    if let Some(lock) = lock {
        while !try_lock(&mut listener, lock).await? {
            tokio::time::sleep(RETRY).await;
        }
    }
    signals.hold.send_replace(true);
    signals.notified.notify_one();
    // `None` says that the connection, and with it the lock, is gone.
    while listener.try_recv().await?.is_some() {
        signals.notified.notify_one();
    }
    Ok(())
}

async fn try_lock(listener: &mut PgListener, lock: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT pg_try_advisory_lock(hashtextextended($1, 0))").bind(lock).fetch_one(listener).await
}

//! Wakes live streams of this process when the journal has grown, by whichever replica: one `LISTEN` connection for all of them.
//!
//! A wake-up carries nothing: streams read the journal from where they are, so a lost or doubled one does no harm.

use std::time::Duration;

use ledger::journal;
use platform::task::{Shutdown, Task};
use sqlx::PgPool;
use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::sync::watch;

/// Pause before listening again after the connection was lost.
const RECONNECT_PAUSE: Duration = Duration::from_secs(1);

/// Where streams wait for the journal to grow.
#[derive(Clone, Debug)]
pub(crate) struct Feed(watch::Receiver<()>);

impl Feed {
    /// A feed, and the task that keeps it going. The feed ends with the task, and with it all streams.
    pub(crate) fn start(pool: &PgPool) -> (Self, Task) {
        let (wake, woken) = watch::channel(());
        // A connection of its own: it waits for ever, which no connection of the shared pool may do.
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(pool.connect_options().as_ref().clone());
        let task = Task::new("journal-feed", |shutdown| async move {
            run(&pool, &wake, &shutdown).await;
            pool.close().await;
            Ok(())
        });
        (Self(woken), task)
    }

    /// A place to wait; sees everything from now on.
    pub(crate) fn subscribe(&self) -> watch::Receiver<()> {
        let mut woken = self.0.clone();
        woken.mark_unchanged();
        woken
    }
}

async fn run(pool: &PgPool, wake: &watch::Sender<()>, shutdown: &Shutdown) {
    loop {
        let ended = tokio::select! {
            ended = listen(pool, wake) => ended,
            () = shutdown.cancelled() => return,
        };
        if let Err(error) = ended {
            tracing::warn!(%error, "journal feed lost its connection");
        }
        tokio::select! {
            () = tokio::time::sleep(RECONNECT_PAUSE) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

async fn listen(pool: &PgPool, wake: &watch::Sender<()>) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.eager_reconnect(false);
    listener.listen(journal::CHANNEL).await?;
    // What was told while nobody listened is found by reading.
    wake.send_replace(());
    while listener.try_recv().await?.is_some() {
        wake.send_replace(());
    }
    Ok(())
}

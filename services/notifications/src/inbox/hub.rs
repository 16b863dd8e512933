//! Wakes the open streams of this process when PostgreSQL says that a citizen has something new.
//!
//! A wake-up carries no message: the stream reads the inbox itself, so that a lost or doubled wake-up does no harm.
//! After a lost connection every stream is woken, because nobody knows what was missed. A connection can also be lost
//! without a word; so a stream that nothing has woken looks for itself after [`REREAD`].
//! Invariant: at most [`MAX_STREAMS`] streams in a process and [`MAX_STREAMS_PER_USER`] of one citizen.
//! Locks: one mutex, never held across an await.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use platform::task::{Shutdown, Task};
use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::warn;
use uuid::Uuid;

use super::WAKE_CHANNEL;
use crate::error::Error;

/// Streams open in one process at a time.
pub(crate) const MAX_STREAMS: usize = 20_000;
/// Streams of one citizen open in one process at a time.
pub(crate) const MAX_STREAMS_PER_USER: usize = 8;
/// The wait before listening again after the connection was lost.
const RECONNECT: Duration = Duration::from_millis(500);

/// How long a stream waits for a wake-up before it looks for itself.
pub(crate) const REREAD: Duration = Duration::from_secs(20);

/// The open streams of this process. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Hub(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    streams: Mutex<Streams>,
    closing: CancellationToken,
    reread: Duration,
}

impl Default for Hub {
    fn default() -> Self {
        Self::rereading_after(REREAD)
    }
}

#[derive(Debug, Default)]
struct Streams {
    by_user: HashMap<Uuid, Vec<Arc<Notify>>>,
    count: usize,
}

/// One open stream; dropping it makes room for another.
#[derive(Debug)]
pub(crate) struct Subscription {
    hub: Hub,
    user: Uuid,
    wake: Arc<Notify>,
}

impl Hub {
    /// A hub whose streams look for themselves after this long.
    fn rereading_after(reread: Duration) -> Self {
        Self(Arc::new(Inner { streams: Mutex::default(), closing: CancellationToken::new(), reread }))
    }

    /// Opens a stream of `user`. What arrives from now on wakes it.
    ///
    /// # Errors
    /// [`Error::TooManyStreams`].
    pub(crate) fn subscribe(&self, user: Uuid) -> Result<Subscription, Error> {
        let mut streams = self.streams();
        let open = streams.by_user.get(&user).map_or(0, Vec::len);
        if streams.count >= MAX_STREAMS || open >= MAX_STREAMS_PER_USER {
            return Err(Error::TooManyStreams);
        }
        let wake = Arc::new(Notify::new());
        streams.by_user.entry(user).or_default().push(wake.clone());
        streams.count += 1;
        drop(streams);
        Ok(Subscription { hub: self.clone(), user, wake })
    }

    /// The task that listens for as long as the process runs, and ends all streams when it stops.
    pub(crate) fn task(&self, pool: PgPool) -> Task {
        let hub = self.clone();
        Task::new("inbox-streams", move |shutdown: Shutdown| async move {
            let listening = async {
                loop {
                    if let Err(error) = hub.listen(&pool).await {
                        warn!(%error, "inbox listener lost its connection");
                    }
                    tokio::time::sleep(RECONNECT).await;
                }
            };
            tokio::select! {
                () = listening => {}
                () = shutdown.cancelled() => {}
            }
            hub.0.closing.cancel();
            Ok(())
        })
    }

    async fn listen(&self, pool: &PgPool) -> Result<(), sqlx::Error> {
        let mut listener = PgListener::connect_with(pool).await?;
        listener.eager_reconnect(false);
        listener.listen(WAKE_CHANNEL).await?;
        self.wake_all();
        while let Some(notification) = listener.try_recv().await? {
            let users = notification.payload().split(',').filter_map(|user| user.parse().ok());
            self.wake(users);
        }
        Ok(())
    }

    fn wake(&self, users: impl Iterator<Item = Uuid>) {
        let streams = self.streams();
        users.filter_map(|user| streams.by_user.get(&user)).flatten().for_each(|wake| wake.notify_one());
    }

    fn wake_all(&self) {
        self.streams().by_user.values().flatten().for_each(|wake| wake.notify_one());
    }

    fn streams(&self) -> MutexGuard<'_, Streams> {
        self.0.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscription {
    /// Waits until there may be something new, at most [`REREAD`].
    pub(crate) async fn woken(&self) {
        tokio::time::timeout(self.hub.0.reread, self.wake.notified()).await.ok();
    }

    /// Is cancelled when the process closes its streams.
    pub(crate) fn closing(&self) -> CancellationToken {
        self.hub.0.closing.clone()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut streams = self.hub.streams();
        streams.count -= 1;
        if let Some(open) = streams.by_user.get_mut(&self.user) {
            open.retain(|wake| !Arc::ptr_eq(wake, &self.wake));
            if open.is_empty() {
                streams.by_user.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wake_up_reaches_its_citizen_only() {
        let (hub, user, other) = (Hub::default(), Uuid::from_u128(1), Uuid::from_u128(2));
        let (mine, theirs) = (hub.subscribe(user).expect("room"), hub.subscribe(other).expect("room"));
        hub.wake([user].into_iter());
        mine.woken().await;
        assert!(futures::FutureExt::now_or_never(theirs.woken()).is_none());
        hub.wake_all();
        theirs.woken().await;
    }

    #[tokio::test]
    async fn a_stream_that_nothing_wakes_looks_for_itself() {
        let stream = Hub::rereading_after(Duration::from_millis(10)).subscribe(Uuid::from_u128(1)).expect("room");
        for _ in 0..2 {
            tokio::time::timeout(Duration::from_secs(10), stream.woken()).await.expect("by itself");
        }
    }

    #[test]
    fn streams_are_bounded_and_make_room_when_they_end() {
        let (hub, user) = (Hub::default(), Uuid::from_u128(1));
        let open: Vec<_> = (0..MAX_STREAMS_PER_USER).map(|_| hub.subscribe(user).expect("room")).collect();
        assert!(matches!(hub.subscribe(user), Err(Error::TooManyStreams)));
        drop(open);
        assert!(hub.subscribe(user).is_ok());
        assert_eq!(hub.streams().count, 0);
        assert!(hub.streams().by_user.is_empty());
    }
}

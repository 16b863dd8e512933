//! Wakes live streams of this process when their merchant was paid, by whichever replica: one `LISTEN` connection for all of them,
//! and one read of the journal's new part, whatever the number of streams.
//!
//! A wake-up carries nothing: streams read from where they are, so a lost or doubled one does no harm. What is not known
//! (the connection was lost, a read failed) wakes all.
//!
//! Lock: the streams by merchant; held for a few instructions, never across an await.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ledger::journal;
use platform::task::{Shutdown, Task};
use sqlx::postgres::{PgListener, PgPoolOptions};
use sqlx::{PgConnection, PgPool};
use tokio::sync::{Notify, watch};
use uuid::Uuid;

use crate::merchant::MerchantId;

/// Pause before listening again after the connection was lost.
const RECONNECT_PAUSE: Duration = Duration::from_secs(1);
/// How long the journal may be silent before it is looked at all the same.
const LOOK_ANYWAY: Duration = Duration::from_secs(20);

/// Where streams wait for payments to their merchant.
#[derive(Clone, Debug, Default)]
pub(crate) struct Feed(Arc<Mutex<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    merchants: HashMap<Uuid, watch::Sender<()>>,
    /// The task has ended: nobody will be woken any more.
    over: bool,
}

/// A stream's place to wait.
#[derive(Debug)]
pub(crate) struct Woken {
    feed: Feed,
    merchant: Uuid,
    receiver: watch::Receiver<()>,
}

impl Feed {
    /// A feed, and the task that keeps it going. The feed ends with the task, and with it all streams.
    pub(crate) fn start(pool: &PgPool, shard: i16) -> (Self, Task) {
        let feed = Self::default();
        // A connection of its own: it waits for ever, which no connection of the shared pool may do.
        let listening = PgPoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(pool.connect_options().as_ref().clone());
        let reader = Reader { feed: feed.clone(), listening, pool: pool.clone(), shard, seen: None };
        let task = Task::new("journal-feed", |shutdown| async move {
            reader.run(&shutdown).await;
            Ok(())
        });
        (feed, task)
    }

    /// A place to wait; sees everything from now on.
    pub(crate) fn subscribe(&self, merchant: MerchantId) -> Woken {
        let merchant = merchant.uuid();
        let mut waiting = self.waiting();
        let receiver = if waiting.over {
            watch::channel(()).1
        } else {
            waiting.merchants.entry(merchant).or_insert_with(|| watch::channel(()).0).subscribe()
        };
        drop(waiting);
        Woken { feed: self.clone(), merchant, receiver }
    }

    /// Wakes the streams of these merchants.
    fn wake(&self, merchants: &[Uuid]) {
        let waiting = self.waiting();
        for sender in merchants.iter().filter_map(|merchant| waiting.merchants.get(merchant)) {
            sender.send_replace(());
        }
    }

    fn wake_all(&self) {
        for sender in self.waiting().merchants.values() {
            sender.send_replace(());
        }
    }

    fn is_awaited(&self) -> bool {
        !self.waiting().merchants.is_empty()
    }

    fn end(&self) {
        let mut waiting = self.waiting();
        waiting.over = true;
        waiting.merchants.clear();
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Woken {
    /// From now on only what comes later wakes.
    pub(crate) fn rearm(&mut self) {
        self.receiver.mark_unchanged();
    }

    /// Waits for the next wake-up; `None` when none will come any more.
    pub(crate) async fn next(&mut self) -> Option<()> {
        self.receiver.changed().await.ok()
    }
}

impl Drop for Woken {
    fn drop(&mut self) {
        let mut waiting = self.feed.waiting();
        // Our own receiver is still counted.
        if waiting.merchants.get(&self.merchant).is_some_and(|sender| sender.receiver_count() <= 1) {
            waiting.merchants.remove(&self.merchant);
        }
    }
}

/// Reads who was paid and wakes their streams.
struct Reader {
    feed: Feed,
    listening: PgPool,
    pool: PgPool,
    shard: i16,
    /// Up to where the journal was looked at; `None` when something may have been missed.
    seen: Option<i64>,
}

impl Reader {
    async fn run(mut self, shutdown: &Shutdown) {
        loop {
            let ended = tokio::select! {
                ended = self.listen() => ended,
                () = shutdown.cancelled() => break,
            };
            if let Err(error) = ended {
                tracing::warn!(%error, "journal feed lost its connection");
            }
            self.seen = None;
            tokio::select! {
                () = tokio::time::sleep(RECONNECT_PAUSE) => {}
                () = shutdown.cancelled() => break,
            }
        }
        self.feed.end();
        self.listening.close().await;
    }

    async fn listen(&mut self) -> Result<(), sqlx::Error> {
        let mut listener = PgListener::connect_with(&self.listening).await?;
        listener.eager_reconnect(false);
        listener.listen(journal::CHANNEL).await?;
        // What is told while one read goes on is found by the next one.
        let told = Notify::new();
        let hearing = async {
            while listener.try_recv().await?.is_some() {
                told.notify_one();
            }
            Ok(())
        };
        let looking = async {
            loop {
                // What was told while nobody listened is found by reading; and a connection may be dead without saying so.
                self.dispatch().await;
                tokio::time::timeout(LOOK_ANYWAY, told.notified()).await.ok();
            }
        };
        tokio::select! {
            ended = hearing => ended,
            () = looking => Ok(()),
        }
    }

    async fn dispatch(&mut self) {
        if !self.feed.is_awaited() {
            self.seen = None;
            return;
        }
        match self.paid().await {
            Ok(Some(merchants)) => self.feed.wake(&merchants),
            Ok(None) => self.feed.wake_all(),
            Err(error) => {
                tracing::warn!(%error, "journal feed could not read who was paid");
                self.seen = None;
                self.feed.wake_all();
            }
        }
    }

    /// The merchants that were paid since the last time; `None` when that is not known.
    async fn paid(&mut self) -> Result<Option<Vec<Uuid>>, sqlx::Error> {
        let newest = journal::last_sequence(&self.pool, self.shard).await?;
        let Some(seen) = self.seen.replace(newest) else { return Ok(None) };
        let mut connection = self.pool.acquire().await?;
        merchants_paid(&mut connection, self.shard, (seen, newest)).await.map(Some)
    }
}

/// The merchants that were paid after a place in the journal, up to another.
async fn merchants_paid(
    connection: &mut PgConnection,
    shard: i16,
    (after, until): (i64, i64),
) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        "SELECT DISTINCT payment.merchant_id
         FROM ledger.transfer JOIN wallet.payment ON payment.id = transfer.id
         WHERE transfer.shard = $1 AND transfer.sequence > $2 AND transfer.sequence <= $3",
        shard,
        after,
        until,
    )
    .fetch_all(connection)
    .await
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::{Feed, Woken};
    use crate::merchant::MerchantId;

    fn is_woken(woken: &Woken) -> bool {
        woken.receiver.has_changed().expect("the feed goes on")
    }

    #[tokio::test]
    async fn a_payment_wakes_the_streams_of_its_merchant_only() {
        let feed = Feed::default();
        let (shop, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let mut one = feed.subscribe(MerchantId::from(shop));
        let two = feed.subscribe(MerchantId::from(shop));
        let stranger = feed.subscribe(MerchantId::from(other));
        feed.wake(&[shop, Uuid::from_u128(3)]);
        assert!(is_woken(&one) && is_woken(&two) && !is_woken(&stranger));
        one.rearm();
        assert!(!is_woken(&one));
        feed.wake_all();
        assert!(is_woken(&one) && is_woken(&stranger));
        drop((one, stranger));
        assert_eq!(feed.waiting().merchants.keys().copied().collect::<Vec<_>>(), [shop]);
        drop(two);
        assert!(!feed.is_awaited());
    }

    #[tokio::test]
    async fn streams_end_with_the_feed() {
        let feed = Feed::default();
        let mut early = feed.subscribe(MerchantId::from(Uuid::from_u128(1)));
        feed.end();
        assert_eq!(early.next().await, None);
        let mut late = feed.subscribe(MerchantId::from(Uuid::from_u128(1)));
        assert_eq!(late.next().await, None);
        assert!(!feed.is_awaited());
    }
}

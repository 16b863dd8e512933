//! Compares what the centre has counted with the wallet's own books, at one and the same journal position.
//!
//! Partitions are consumed at their own pace, so that the newest entry consumed says nothing about its predecessors. Journal entries
//! therefore wait in `ioc.book_entry` until the journal is without a gap up to them; only then they are summed, and the sum is exact at
//! that position. The wallet is asked for its newest totals; the centre sums up to exactly their position and compares. Any difference is
//! a fault, not a delay. So the wallet adds each transfer up once, however often it is asked.
//!
//! A gap that does not close (its event is a dead letter, or was never sent) stops the sum. After [`LONGEST_GAP`] the result is therefore
//! unknown, whatever it was before; it is known again when the gap has closed.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use platform::clock::Clock;
use platform::metrics::Metrics;
use platform::rpc::Channel;
use platform::task::Shutdown;
use prometheus::IntGaugeVec;
use sqlx::PgPool;
use tokio::sync::watch;
use tracing::{debug, error, warn};

use crate::grpc::{AskError, Totals, WalletBooks};
use crate::overview::{Books, BooksState};
use crate::sql;
use crate::tally::{Entry, Sum};

/// How often the books are compared.
pub(crate) const INTERVAL: Duration = Duration::from_secs(2);
/// How long something that the wallet has may be missing here before the last result stands for nothing.
const LONGEST_GAP: TimeDelta = TimeDelta::seconds(60);
/// The most rounds of folding in one comparison.
const MAX_ROUNDS: usize = 20;
/// How long minutes are kept; days are kept for ever.
const MINUTES_KEPT: TimeDelta = TimeDelta::days(35);

/// The task that keeps the comparison current.
pub(crate) struct Comparer {
    pool: PgPool,
    clock: Clock,
    wallet: WalletBooks,
    result: watch::Sender<Books>,
    /// The wallet's totals that are waited for, and since when.
    waiting: Option<(DateTime<Utc>, Totals)>,
    began: DateTime<Utc>,
    difference: IntGaugeVec,
    position: IntGaugeVec,
    behind: IntGaugeVec,
    state: IntGaugeVec,
}

impl Comparer {
    pub(crate) fn new(pool: PgPool, clock: Clock, metrics: &Metrics, wallet: Channel) -> Self {
        Self {
            pool,
            began: clock.now(),
            clock,
            wallet: WalletBooks::new(wallet),
            result: watch::Sender::new(Books::default()),
            waiting: None,
            difference: metrics.gauge(
                "books_difference",
                "Absolute difference between the centre's totals and the wallet's at the same journal position, summed over kinds; 0 when equal.",
                &["of"],
            ),
            position: metrics.gauge("books_position", "Journal position: included here, newest in the wallet.", &["of"]),
            behind: metrics.gauge(
                "books_behind_seconds",
                "For how long something that the wallet had has been missing here, or the books could not be compared.",
                &[],
            ),
            state: metrics.gauge("books_state", "1 for the state of the comparison, 0 for the others.", &["state"]),
        }
    }

    /// Where the newest result is seen.
    pub(crate) fn watch(&self) -> watch::Receiver<Books> {
        self.result.subscribe()
    }

    /// Compares until shutdown.
    pub(crate) async fn run(mut self, shutdown: Shutdown) {
        for of in ["amount", "count"] {
            self.difference.with_label_values(&[of]).set(0);
        }
        self.show(BooksState::Unknown);
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = shutdown.cancelled() => return,
            }
            let compared = tokio::select! {
                compared = self.compare() => compared,
                () = shutdown.cancelled() => return,
            };
            if let Err(reason) = compared {
                debug!(error = %reason, "books not compared");
                self.fail();
            }
        }
    }

    /// Removes old rows of the lists. The comparison does not depend on it.
    async fn forget_happenings(&self, before: DateTime<Utc>) {
        for _ in 0..MAX_ROUNDS {
            match sql::happening::forget(&self.pool, before).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => return warn!(%error, "old rows behind the wall's numbers were not removed"),
            }
        }
    }

    async fn compare(&mut self) -> Result<(), CompareError> {
        let now = self.clock.now();
        sql::forget_minutes(&self.pool, now - MINUTES_KEPT).await?;
        self.forget_happenings(now - crate::happening::LISTED_FOR).await;
        // Kept until it is reached: a database that is away for a moment does not start the waiting anew.
        let (asked_at, theirs) = match &self.waiting {
            Some(waiting) => waiting.clone(),
            None => (now, self.wallet.totals(0).await?),
        };
        for _ in 0..MAX_ROUNDS {
            if !self.fold(theirs.position).await? {
                break;
            }
        }
        let mut tx = sql::snapshot(&self.pool).await?;
        let position = sql::head(&mut tx).await?.book_position;
        let own = sql::book_totals(&mut tx).await?;
        tx.commit().await?;
        self.position.with_label_values(&["included"]).set(position);
        self.position.with_label_values(&["newest"]).set(theirs.position);
        if position < theirs.position {
            self.wait((position, theirs.position), now - asked_at);
            self.waiting = Some((asked_at, theirs));
            return Ok(());
        }
        self.waiting = None;
        // Another replica may have summed further; then the wallet is asked about that position.
        let theirs = if position > theirs.position { self.wallet.totals(position).await? } else { theirs };
        self.report(position, difference(&own, &theirs.sums), now);
        Ok(())
    }

    /// Sums the entries up to `until` that have no gap before them; answers whether there may be more.
    async fn fold(&self, until: i64) -> Result<bool, sqlx::Error> {
        let mut tx = platform::db::begin(&self.pool).await?;
        let position = sql::lock_books(&mut tx).await?;
        let entries = sql::entries_after(&mut tx, position, until).await?;
        let (reached, sums) = without_gap(position, &entries);
        if reached > position {
            sql::fold_entries(&mut tx, reached, &sums).await?;
            tx.commit().await?;
        }
        Ok(reached - position == sql::MAX_FOLDED)
    }

    /// Nothing is known of the books, and for how long already.
    fn fail(&self) {
        let mut behind = 0;
        self.result.send_modify(|books| {
            let since = books.checked_at.unwrap_or(self.began);
            behind = books.behind_seconds.max((self.clock.now() - since).num_seconds());
            (books.state, books.behind_seconds) = (BooksState::Unknown, behind);
        });
        self.behind.with_label_values::<&str>(&[]).set(behind);
        self.show(BooksState::Unknown);
    }

    /// Something that the wallet had that long ago is not here yet: the sum has stopped at a position before the newest.
    fn wait(&self, (position, newest): (i64, i64), missing: TimeDelta) {
        let seconds = missing.num_seconds().max(0);
        let too_long = missing > LONGEST_GAP;
        let was = self.result.borrow().state;
        self.result.send_modify(|books| {
            books.newest = newest;
            books.behind_seconds = seconds;
            if too_long {
                books.state = BooksState::Unknown;
            }
        });
        self.behind.with_label_values::<&str>(&[]).set(seconds);
        if too_long && was != BooksState::Unknown {
            error!(position, newest, behind_s = seconds, "books can't be compared: an entry of the journal is missing");
        }
        self.show(if too_long { BooksState::Unknown } else { was });
    }

    fn show(&self, state: BooksState) {
        let all =
            [("unknown", BooksState::Unknown), ("equal", BooksState::Equal), ("different", BooksState::Different)];
        for (name, one) in all {
            self.state.with_label_values(&[name]).set(i64::from(one == state));
        }
    }

    fn report(&self, position: i64, difference: Sum, now: DateTime<Utc>) {
        self.difference.with_label_values(&["amount"]).set(difference.amount);
        self.difference.with_label_values(&["count"]).set(difference.count);
        let state = if difference == Sum::default() { BooksState::Equal } else { BooksState::Different };
        if state == BooksState::Different && self.result.borrow().state != BooksState::Different {
            error!(position, difference.count, difference.amount, "books differ from the wallet's");
        }
        self.behind.with_label_values::<&str>(&[]).set(0);
        self.show(state);
        self.result.send_replace(Books { state, position, newest: position, behind_seconds: 0, checked_at: Some(now) });
    }
}

#[derive(Debug, thiserror::Error)]
enum CompareError {
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Wallet(#[from] AskError),
}

/// How far the entries reach from `position` without a gap, and their sums by kind.
fn without_gap(position: i64, entries: &[Entry]) -> (i64, BTreeMap<String, Sum>) {
    let mut reached = position;
    let mut sums: BTreeMap<String, Sum> = BTreeMap::new();
    for entry in entries {
        if entry.position != reached + 1 {
            break;
        }
        let sum = sums.entry(entry.kind.clone()).or_default();
        let Some(amount) = sum.amount.checked_add(entry.amount) else { break };
        *sum = Sum { count: sum.count + 1, amount };
        reached = entry.position;
    }
    (reached, sums)
}

fn difference(own: &BTreeMap<String, Sum>, theirs: &BTreeMap<String, Sum>) -> Sum {
    let mut whole = Sum::default();
    let kinds: std::collections::BTreeSet<&String> = own.keys().chain(theirs.keys()).collect();
    for kind in kinds {
        let [one, other] = [own, theirs].map(|sums| sums.get(kind).copied().unwrap_or_default());
        let apart = |one: i64, other: i64| i64::try_from(one.abs_diff(other)).unwrap_or(i64::MAX);
        whole.count = whole.count.saturating_add(apart(one.count, other.count));
        whole.amount = whole.amount.saturating_add(apart(one.amount, other.amount));
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(position: i64, kind: &str, amount: i64) -> Entry {
        Entry { position, kind: kind.to_owned(), amount }
    }

    #[test]
    fn sums_stop_before_the_first_gap() {
        let entries = [entry(4, "payment", 10), entry(5, "top-up", 7), entry(6, "payment", 5), entry(8, "payment", 1)];
        let (reached, sums) = without_gap(3, &entries);
        assert_eq!(reached, 6);
        assert_eq!(sums["payment"], Sum { count: 2, amount: 15 });
        assert_eq!(sums["top-up"], Sum { count: 1, amount: 7 });
        assert_eq!(without_gap(2, &entries), (2, BTreeMap::new()));
        assert_eq!(without_gap(2, &[]), (2, BTreeMap::new()));
    }

    #[test]
    fn a_difference_is_never_cancelled_by_another_kind() {
        let sums = |payment: i64, top_up: i64| {
            BTreeMap::from([
                ("payment".to_owned(), Sum { count: 1, amount: payment }),
                ("top-up".to_owned(), Sum { count: 1, amount: top_up }),
            ])
        };
        assert_eq!(difference(&sums(5, 5), &sums(5, 5)), Sum::default());
        assert_eq!(difference(&sums(6, 4), &sums(4, 6)), Sum { count: 0, amount: 4 });
        assert_eq!(difference(&sums(1, 2), &BTreeMap::new()), Sum { count: 2, amount: 3 });
    }
}

//! Gives back what holds set aside whose time is over.
//!
//! A task that any number of replicas may run at once: a hold ends once, in the fold, under the shard's lock, so that who asks and how often doesn't matter.
//! The fold also decides whether a hold is due: one that an outside party has been asked about never is, even if that happened after it was listed here.
//!
//! The key of the request is derived from the hold, so that replicas share one request and one row.
//! A reject is remembered like any other; where a clock was put back in between, it would say for ever that the hold is not due, so that then a further key is taken.

use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::StreamExt as _;
use platform::clock::Clock;
use platform::metrics::Metrics;
use platform::task::Task;
use prometheus::IntCounterVec;
use sha2::{Digest as _, Sha256};
use sqlx::PgPool;
use tracing::warn;
use uuid::Uuid;

use crate::book::{self, MAX_DUE_HOLDS};
use crate::engine::{Ledger, PostError};
use crate::hold::HoldId;
use crate::request::{Action, Key, Outcome, Reject, Request};

/// How often due holds are looked for.
const PERIOD: Duration = Duration::from_secs(5);
/// The most requests that are on their way at once, so that expiring leaves room in the queue.
const AT_ONCE: usize = 128;
/// The operation in the keys.
const OPERATION: &str = "expire-hold";

/// The key under which a hold is expired.
pub fn key(hold: HoldId) -> Key {
    named(hold, hold.to_string())
}

/// The key that is taken when the answer under [`key`] is one of another time; one per minute.
fn further_key(hold: HoldId, now: DateTime<Utc>) -> Key {
    named(hold, format!("{hold}:{}", now.timestamp() / 60))
}

fn named(hold: HoldId, key: String) -> Key {
    Key { caller: Uuid::nil(), operation: OPERATION, key, fingerprint: Sha256::digest(hold.uuid().as_bytes()).into() }
}

/// The task that expires due holds of a shard through the ledger's own queue. `pool` reads.
pub fn task<R: Send + Sync + 'static>(
    ledger: Ledger<R>,
    pool: PgPool,
    clock: Clock,
    shard: i16,
    metrics: &Metrics,
) -> Task {
    let count = metrics.counter(
        "hold_expiries_total",
        "Holds found past their time: expired, ended in another way just before, or not expired because the ledger could not.",
        &["outcome"],
    );
    let expiry = Expiry { ledger, pool, clock, shard, count };
    Task::new("hold-expiry", move |shutdown| async move {
        while !shutdown.is_cancelled() {
            let more = match expiry.round().await {
                Ok(more) => more,
                Err(error) => {
                    warn!(error = %error, "due holds not read");
                    false
                }
            };
            if more {
                continue;
            }
            tokio::select! {
                () = tokio::time::sleep(PERIOD) => {}
                () = expiry.clock.changed() => {}
                () = shutdown.cancelled() => {}
            }
        }
        Ok(())
    })
}

struct Expiry<R> {
    ledger: Ledger<R>,
    pool: PgPool,
    clock: Clock,
    shard: i16,
    count: IntCounterVec,
}

/// What became of a hold that was listed as due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// Here and now.
    Expired,
    /// By somebody else, or it is not due after all.
    Otherwise,
    /// The ledger could not say.
    Not,
}

impl<R: Send + Sync + 'static> Expiry<R> {
    /// Expires one page of due holds; says whether to go on at once.
    async fn round(&self) -> Result<bool, sqlx::Error> {
        let due = book::due_holds(&self.pool, self.shard, self.clock.now(), MAX_DUE_HOLDS).await?;
        let full = due.len() == usize::from(MAX_DUE_HOLDS);
        let ended: Vec<Ended> =
            futures::stream::iter(due).map(|hold| self.expire(hold)).buffer_unordered(AT_ONCE).collect().await;
        let failed = ended.contains(&Ended::Not);
        Ok(full && !failed && ended.contains(&Ended::Expired))
    }

    async fn expire(&self, hold: HoldId) -> Ended {
        let (ended, outcome) = match self.ask(hold).await {
            Ok(ended) if ended == Ended::Expired => (ended, "expired"),
            Ok(ended) => (ended, "ended"),
            Err(error) => {
                warn!(hold = %hold, error = %error, "hold not expired");
                (Ended::Not, error.code())
            }
        };
        self.count.with_label_values(&[outcome]).inc();
        ended
    }

    async fn ask(&self, hold: HoldId) -> Result<Ended, PostError> {
        let request = |key| Request::new(key).action(Action::Expire(hold));
        let mut answer = self.ledger.answer(request(key(hold))).await?;
        if answer.replayed && matches!(answer.outcome, Outcome::Rejected(Reject::HoldNotDue(_))) {
            answer = self.ledger.answer(request(further_key(hold, self.clock.now()))).await?;
        }
        let fresh = !answer.replayed && matches!(answer.outcome, Outcome::Posted(_));
        Ok(if fresh { Ended::Expired } else { Ended::Otherwise })
    }
}

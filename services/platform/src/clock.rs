//! Time as the services see it.
//!
//! Business time always comes from a [`Clock`] and is passed to SQL as a parameter, so that tests can move it.
//! A movable clock reads its offset from a file, so that one test moves every process of a split city at once.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::watch;

/// How often a clock that follows a file looks at it.
const FILE_POLL: Duration = Duration::from_millis(25);

/// A source of time. Cheap to clone; clones move together.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    movable: Option<Arc<Movable>>,
}

#[derive(Debug)]
struct Movable {
    offset_ms: AtomicI64,
    changed: watch::Sender<()>,
}

impl Movable {
    fn set(&self, offset_ms: i64) {
        if self.offset_ms.swap(offset_ms, Ordering::SeqCst) != offset_ms {
            self.changed.send_replace(());
        }
    }
}

impl Clock {
    /// The machine's clock; it can't be moved.
    pub fn system() -> Self {
        Self { movable: None }
    }

    /// A clock that runs with the machine's and can be moved by [`Clock::advance`].
    pub fn test() -> Self {
        let movable = Movable { offset_ms: AtomicI64::new(0), changed: watch::Sender::new(()) };
        Self { movable: Some(Arc::new(movable)) }
    }

    /// A clock that adds the milliseconds written in `path` (a decimal number) to the machine's time.
    ///
    /// For tests of several processes. Must be called inside a tokio runtime; a missing file counts as 0.
    pub fn following(path: PathBuf) -> Self {
        let clock = Self::test();
        if let Some(movable) = &clock.movable {
            if let Some(offset) = read_offset(&path) {
                movable.set(offset);
            }
            let movable = Arc::downgrade(movable);
            tokio::spawn(async move {
                while let Some(movable) = movable.upgrade() {
                    if let Some(offset) = read_offset(&path) {
                        movable.set(offset);
                    }
                    drop(movable);
                    tokio::time::sleep(FILE_POLL).await;
                }
            });
        }
        clock
    }

    /// The current time.
    pub fn now(&self) -> DateTime<Utc> {
        match &self.movable {
            None => Utc::now(),
            Some(movable) => Utc::now() + TimeDelta::milliseconds(movable.offset_ms.load(Ordering::SeqCst)),
        }
    }

    /// Whether tests can move this clock.
    pub fn is_movable(&self) -> bool {
        self.movable.is_some()
    }

    /// Moves a movable clock forward (or back, by a negative amount).
    ///
    /// Does nothing on the machine's clock.
    pub fn advance(&self, by: TimeDelta) {
        if let Some(movable) = &self.movable {
            let offset = movable.offset_ms.load(Ordering::SeqCst) + by.num_milliseconds();
            movable.set(offset);
        }
    }

    /// Waits until `due` by this clock, also when the clock is moved meanwhile.
    pub async fn sleep_until(&self, due: DateTime<Utc>) {
        loop {
            let wait = (due - self.now()).to_std().unwrap_or(Duration::ZERO);
            if wait.is_zero() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.changed() => {}
            }
        }
    }

    /// Waits until the clock is moved; for ever on the machine's clock.
    pub async fn changed(&self) {
        match &self.movable {
            None => std::future::pending().await,
            Some(movable) => {
                let mut changed = movable.changed.subscribe();
                if changed.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        }
    }
}

fn read_offset(path: &std::path::Path) -> Option<i64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_sleeper_wakes_when_the_clock_is_moved() {
        let clock = Clock::test();
        let due = clock.now() + TimeDelta::days(30);
        let sleeper = tokio::spawn({
            let clock = clock.clone();
            async move { clock.sleep_until(due).await }
        });
        tokio::task::yield_now().await;
        clock.advance(TimeDelta::days(31));
        tokio::time::timeout(Duration::from_secs(10), sleeper).await.expect("woken by the move").expect("no panic");
        assert!(clock.now() >= due);
    }
}

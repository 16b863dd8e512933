//! How many live streams there may be, and how many of them may read the database at once: streams never starve payments of connections.
//!
//! Lock: the counts by subject; held for a few instructions, never across an await.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use platform::problem::{OVERLOADED, Problem, TOO_MANY_REQUESTS};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use uuid::Uuid;

/// Live streams of one process.
const MAX_STREAMS: usize = 10_000;
/// Live streams of one subject in one process.
pub(crate) const MAX_STREAMS_OF_SUBJECT: usize = 20;
/// Streams of one process that read the database at once.
const MAX_READS: usize = 2;
/// Seconds after which it is worth asking again when all places are taken.
const RETRY_AFTER_S: u64 = 5;

type Counts = Arc<Mutex<HashMap<Uuid, usize>>>;

/// The places of one process.
#[derive(Debug)]
pub(crate) struct Places {
    free: Arc<Semaphore>,
    taken: Counts,
    reads: Semaphore,
}

/// A stream's place; free again when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    subject: Uuid,
    taken: Counts,
    _free: OwnedSemaphorePermit,
}

impl Places {
    /// All places, free.
    pub(crate) fn new() -> Self {
        Self { free: Arc::new(Semaphore::new(MAX_STREAMS)), taken: Counts::default(), reads: Semaphore::new(MAX_READS) }
    }

    /// A place for one stream of a subject.
    ///
    /// # Errors
    /// `overloaded` when the process has no more; `too-many-requests` when the subject has as many as one may.
    pub(crate) fn take(&self, subject: Uuid) -> Result<Place, Problem> {
        let free = Arc::clone(&self.free).try_acquire_owned();
        let free = free.map_err(|_| Problem::new(OVERLOADED).retry_after(RETRY_AFTER_S))?;
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(subject).or_default();
        if *count >= MAX_STREAMS_OF_SUBJECT {
            return Err(Problem::new(TOO_MANY_REQUESTS)
                .detail(
                    format!("Mỗi người dùng chỉ mở được {MAX_STREAMS_OF_SUBJECT} luồng cùng lúc."),
                    format!("One user may have at most {MAX_STREAMS_OF_SUBJECT} streams open at a time."),
                )
                .with("maximum", MAX_STREAMS_OF_SUBJECT)
                .retry_after(RETRY_AFTER_S));
        }
        *count += 1;
        Ok(Place { subject, taken: Arc::clone(&self.taken), _free: free })
    }

    /// Waits for the turn to read; `None` never comes while the process runs.
    pub(crate) async fn read(&self) -> Option<SemaphorePermit<'_>> {
        self.reads.acquire().await.ok()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.subject) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.subject);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::{MAX_STREAMS_OF_SUBJECT, Places};

    #[test]
    fn a_subject_has_so_many_places_and_gets_them_back() {
        let places = Places::new();
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let take = |subject| places.take(subject);
        let mut held: Vec<_> = (0..MAX_STREAMS_OF_SUBJECT).map(|_| take(one).expect("a place")).collect();
        assert!(take(one).is_err_and(|problem| problem.code() == "too-many-requests"));
        drop(take(other).expect("another subject has its own"));
        held.pop();
        held.push(take(one).expect("the place that was given back"));
        assert!(take(one).is_err());
        held.clear();
        assert!(places.taken.lock().expect("nobody panicked").is_empty());
    }
}

//! Places at billers: of those who ask outside at a time, only so many may ask the same biller, so that one which hangs until the
//! patience with it ends holds up nobody who waits for another.
//!
//! A job that finds its biller's places taken is told when to come again: the pause is short, no two come back at the same moment, and
//! the more wait the longer the last of them does. So a crowd comes back in its order, at a bounded rate, and never spins.
//!
//! Counted in this process alone: replicas that share the jobs ask each biller so many times as often, and each has places left for the
//! other billers.
//!
//! Lock: when the last one comes again, of one biller; held for a few instructions, never across an await.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How soon a job that found no place comes again.
const PAUSE: TimeDelta = TimeDelta::milliseconds(500);
/// How far apart those come again who wait for one biller: 50 a second.
const SPACING: TimeDelta = TimeDelta::milliseconds(20);

/// The places at each biller, for one kind of work.
#[derive(Debug)]
pub(crate) struct Bulkhead {
    billers: BTreeMap<String, Places>,
    longest: TimeDelta,
}

/// The places at one biller.
#[derive(Debug)]
struct Places {
    free: Arc<Semaphore>,
    last_turn: Mutex<DateTime<Utc>>,
}

/// A place at a biller; free again when dropped. Nothing is behind it for who is asked in our own books.
#[derive(Debug)]
pub(crate) struct Place {
    _free: Option<OwnedSemaphorePermit>,
}

/// Every place at a biller is taken: when to come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full(pub(crate) DateTime<Utc>);

impl Bulkhead {
    /// So many places at each biller, all free. Nobody waits for longer than `longest` before they come again.
    pub(crate) fn new<'a>(billers: impl Iterator<Item = &'a String>, places: usize, longest: TimeDelta) -> Self {
        let places = |code: &String| {
            let free = Arc::new(Semaphore::new(places));
            (code.clone(), Places { free, last_turn: Mutex::new(DateTime::<Utc>::MIN_UTC) })
        };
        Self { billers: billers.map(places).collect(), longest: longest.max(PAUSE) }
    }

    /// A place at a biller. Whoever is no outside biller always has one.
    ///
    /// # Errors
    /// When all are taken.
    pub(crate) fn enter(&self, biller: &str, now: DateTime<Utc>) -> Result<Place, Full> {
        let Some(places) = self.billers.get(biller) else { return Ok(Place { _free: None }) };
        match places.free.clone().try_acquire_owned() {
            Ok(free) => Ok(Place { _free: Some(free) }),
            Err(_) => Err(Full(places.next_turn(now, self.longest))),
        }
    }
}

impl Places {
    /// After the turn of who found no place before, but neither at once nor after the longest wait.
    fn next_turn(&self, now: DateTime<Utc>, longest: TimeDelta) -> DateTime<Utc> {
        let mut last = self.last_turn.lock().unwrap_or_else(PoisonError::into_inner);
        let latest = now.checked_add_signed(longest).unwrap_or(DateTime::<Utc>::MAX_UTC);
        *last = last.checked_add_signed(SPACING).unwrap_or(now).clamp(now + PAUSE, latest);
        *last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: TimeDelta = TimeDelta::seconds(3);

    fn at(milliseconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(1_760_000_000_000 + milliseconds).expect("a time")
    }

    fn bulkhead(places: usize) -> Bulkhead {
        Bulkhead::new(["ONE".to_owned(), "TWO".to_owned()].iter(), places, LONGEST)
    }

    fn turn(bulkhead: &Bulkhead, biller: &str, now: i64) -> DateTime<Utc> {
        bulkhead.enter(biller, at(now)).expect_err("it is full").0
    }

    #[test]
    fn a_biller_has_so_many_places_and_gets_them_back() {
        let bulkhead = bulkhead(2);
        let first = bulkhead.enter("ONE", at(0)).expect("a place");
        let _second = bulkhead.enter("ONE", at(0)).expect("a place");
        assert!(bulkhead.enter("ONE", at(0)).is_err());
        let _elsewhere = bulkhead.enter("TWO", at(0)).expect("another biller has its own");
        let _books = [0; 9].map(|_| bulkhead.enter("agency:H57", at(0)).expect("no outside biller"));
        drop(first);
        let _third = bulkhead.enter("ONE", at(0)).expect("the place that was given back");
    }

    #[test]
    fn who_finds_no_place_comes_again_in_order_and_never_at_once() {
        let bulkhead = bulkhead(1);
        let _place = bulkhead.enter("ONE", at(0)).expect("a place");
        let _other = bulkhead.enter("TWO", at(0)).expect("a place");
        assert_eq!([0, 0, 5].map(|now| turn(&bulkhead, "ONE", now)), [at(500), at(520), at(540)]);
        assert_eq!(turn(&bulkhead, "TWO", 0), at(500), "another crowd");
        assert_eq!(turn(&bulkhead, "ONE", 2_000), at(2_500), "the crowd is gone");
    }

    #[test]
    fn nobody_waits_longer_than_the_longest_wait_however_many_there_are_and_wherever_the_clock_goes() {
        let bulkhead = bulkhead(1);
        let _place = bulkhead.enter("ONE", at(0)).expect("a place");
        let turns: Vec<_> = (0..10_000).map(|_| turn(&bulkhead, "ONE", 0)).collect();
        assert!(turns.is_sorted());
        assert_eq!(turns[9_999], at(0) + LONGEST);
        assert_eq!(turn(&bulkhead, "ONE", -60_000), at(-60_000) + LONGEST);
    }

    #[test]
    fn a_longest_wait_that_is_shorter_than_the_pause_is_the_pause() {
        let bulkhead = Bulkhead::new(["ONE".to_owned()].iter(), 1, TimeDelta::zero());
        let _place = bulkhead.enter("ONE", at(0)).expect("a place");
        assert_eq!(turn(&bulkhead, "ONE", 0), at(500));
    }
}

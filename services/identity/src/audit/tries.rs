//! How many tries there were, and from where: bounded, and no lock is held longer than it takes to add one.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Utc};

/// Places of one kind that are kept apart; tries from others count together.
pub(super) const PLACES: i64 = 16;

/// How often at most a process hands over what it counted by itself, in milliseconds.
const HANDED_OVER_EVERY_MS: i64 = 1_000;

/// Tries, and how many of them came from which place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tries {
    pub count: i64,
    /// As many as are kept: `count` may be more than their sum.
    pub places: BTreeMap<String, i64>,
}

impl Tries {
    /// These and one more.
    pub(super) fn and_one(&self, place: &str) -> Self {
        let mut more = self.clone();
        more.count += 1;
        *more.places.entry(place.to_owned()).or_default() += 1;
        more
    }

    /// How many came from places that are not kept.
    pub(super) fn elsewhere(&self) -> i64 {
        self.count - self.places.values().sum::<i64>()
    }
}

/// Tries of addresses that have had their share, counted in this process until they are handed over.
#[derive(Debug, Default)]
pub(crate) struct Capped(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    count: i64,
    addresses: BTreeMap<Option<IpAddr>, i64>,
    handed_over_ms: i64,
}

impl Waiting {
    fn add(&mut self, address: Option<IpAddr>) {
        self.count += 1;
        let full = i64::try_from(self.addresses.len()).is_ok_and(|kept| kept >= PLACES);
        match self.addresses.get_mut(&address) {
            Some(tries) => *tries += 1,
            None if full => {}
            None => drop(self.addresses.insert(address, 1)),
        }
    }
}

impl Capped {
    /// Counts one from an address; when it is time, gives what waited beside it, each place by `digest`.
    pub(super) fn count(
        &self,
        address: Option<IpAddr>,
        now: DateTime<Utc>,
        digest: impl Fn(Option<IpAddr>) -> String,
    ) -> Option<Tries> {
        let now = now.timestamp_millis();
        let Waiting { count, addresses, .. } = {
            let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if (now - waiting.handed_over_ms).abs() < HANDED_OVER_EVERY_MS {
                waiting.add(address);
                return None;
            }
            std::mem::replace(&mut *waiting, Waiting { handed_over_ms: now, ..Waiting::default() })
        };
        let places = addresses.into_iter().map(|(address, tries)| (digest(address), tries)).collect();
        Some(Tries { count, places })
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn named(address: Option<IpAddr>) -> String {
        address.map(|address| address.to_string()).unwrap_or_default()
    }

    fn from(host: u8) -> Option<IpAddr> {
        Some(IpAddr::from([203, 0, 113, host]))
    }

    #[test]
    fn what_a_process_counts_by_itself_is_handed_over_once_a_second_and_none_is_lost() {
        let capped = Capped::default();
        let begin: DateTime<Utc> = "2026-01-10T05:00:00Z".parse().expect("a time");
        let count = |host, ms| capped.count(from(host), begin + TimeDelta::milliseconds(ms), named);
        assert_eq!(count(9, 0), Some(Tries::default()), "the first goes at once, and nothing waited");
        for ms in 1..500 {
            assert_eq!(count(if ms % 5 == 0 { 7 } else { 9 }, ms), None);
        }
        let places = [("203.0.113.7".to_owned(), 99), ("203.0.113.9".to_owned(), 400)].into();
        assert_eq!(count(9, 1_000), Some(Tries { count: 499, places }));
        assert_eq!(count(9, 1_000), None);
        let places = [("203.0.113.9".to_owned(), 1)].into();
        assert_eq!(count(8, 90_000), Some(Tries { count: 1, places }));
    }

    #[test]
    fn however_many_addresses_there_are_only_the_first_of_them_are_kept_apart() {
        let capped = Capped::default();
        let begin: DateTime<Utc> = "2026-01-10T05:00:00Z".parse().expect("a time");
        capped.count(from(0), begin, named).expect("the first goes at once");
        for host in 0..200 {
            assert_eq!(capped.count(from(host), begin, named), None);
        }
        let tries = capped.count(from(0), begin + TimeDelta::seconds(1), named).expect("a second later");
        assert_eq!((tries.count, tries.places.len(), tries.elsewhere()), (200, 16, 184));
        let more = tries.and_one("203.0.113.3");
        assert_eq!((more.count, more.places["203.0.113.3"], more.elsewhere()), (201, 2, 184));
    }
}

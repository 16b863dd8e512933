//! How long demo traffic waits when the city refuses: twice as long after each failure in a row, up to a bound.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The pause after the first failure.
const FIRST: Duration = Duration::from_secs(1);
/// The longest.
const LONGEST: Duration = Duration::from_secs(60);

/// Failures in a row.
#[derive(Debug, Default)]
pub(super) struct BackOff(AtomicU32);

impl BackOff {
    /// Something was refused.
    pub(super) fn failed(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Something went well: nothing is wrong with the city.
    pub(super) fn went_well(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// How long to wait before the next try.
    pub(super) fn pause(&self) -> Duration {
        match self.0.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            failures => FIRST.saturating_mul(1_u32.checked_shl(failures - 1).unwrap_or(u32::MAX)).min(LONGEST),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound_and_end_with_the_first_success() {
        let back_off = BackOff::default();
        assert_eq!(back_off.pause(), Duration::ZERO);
        let pauses = (0..100).map(|_| {
            back_off.failed();
            back_off.pause().as_secs()
        });
        let pauses: Vec<u64> = pauses.collect();
        assert_eq!(pauses[..8], [1, 2, 4, 8, 16, 32, 60, 60]);
        assert!(pauses[8..].iter().all(|pause| *pause == 60), "{pauses:?}");
        back_off.went_well();
        assert_eq!(back_off.pause(), Duration::ZERO);
    }
}

//! How long a citizen waits after wrong PINs. Pure.

use chrono::{DateTime, TimeDelta, Utc};

/// Wrong PINs that cost no wait: a slip of the finger.
const FREE: u32 = 2;
/// The first wait; each further wrong PIN doubles it.
const FIRST_SECONDS: i64 = 30;
/// The longest wait.
const LONGEST_SECONDS: i64 = 86_400;

/// The checks of a PIN since the last right one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tally {
    /// How many.
    pub failures: u32,
    /// No check before this time.
    pub retry_at: Option<DateTime<Utc>>,
}

/// The wait that follows `failures` wrong PINs in a row.
pub(crate) fn delay_after(failures: u32) -> TimeDelta {
    let Some(exponent) = failures.checked_sub(FREE + 1) else { return TimeDelta::zero() };
    let seconds = FIRST_SECONDS.saturating_mul(1_i64.checked_shl(exponent.min(32)).unwrap_or(i64::MAX));
    TimeDelta::seconds(seconds.min(LONGEST_SECONDS))
}

/// Counts a check before it is made, as if it were going to fail, so that checks at the same time can't share a count.
///
/// Gives the tally to store, or when the next check is allowed.
pub(crate) fn reserve(tally: Tally, now: DateTime<Utc>) -> Result<Tally, DateTime<Utc>> {
    if let Some(retry_at) = tally.retry_at.filter(|retry_at| *retry_at > now) {
        return Err(retry_at);
    }
    let failures = tally.failures.saturating_add(1).min(i32::MAX as u32);
    let delay = delay_after(failures);
    Ok(Tally { failures, retry_at: (!delay.is_zero()).then(|| now + delay) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_wait_doubles_from_the_third_wrong_pin() {
        let waits: Vec<i64> = (0..8).map(|failures| delay_after(failures).num_seconds()).collect();
        assert_eq!(waits, [0, 0, 0, 30, 60, 120, 240, 480]);
        assert_eq!(delay_after(u32::MAX).num_seconds(), LONGEST_SECONDS);
    }

    #[test]
    fn a_thief_gets_few_tries_a_day() {
        let start = DateTime::UNIX_EPOCH;
        let (mut now, mut tally, mut tries) = (start, Tally { failures: 0, retry_at: None }, 0);
        while now < start + TimeDelta::days(1) {
            match reserve(tally, now) {
                Ok(next) => {
                    tally = next;
                    tries += 1;
                }
                Err(retry_at) => now = retry_at,
            }
        }
        assert_eq!(tries, 14);
    }

    proptest! {
        #[test]
        fn waits_never_shrink_and_are_bounded(failures in 0_u32..10_000) {
            prop_assert!(delay_after(failures) <= delay_after(failures + 1));
            prop_assert!(delay_after(failures).num_seconds() <= LONGEST_SECONDS);
        }

        #[test]
        fn no_check_is_allowed_early(failures in 0_u32..100, early_ms in 1_i64..30_000) {
            let now = DateTime::UNIX_EPOCH;
            let tally = reserve(Tally { failures, retry_at: None }, now).expect("no wait is set");
            if let Some(retry_at) = tally.retry_at {
                prop_assert_eq!(reserve(tally, retry_at - TimeDelta::milliseconds(early_ms)), Err(retry_at));
                prop_assert!(reserve(tally, retry_at).is_ok());
            }
        }
    }
}

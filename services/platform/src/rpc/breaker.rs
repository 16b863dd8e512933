//! A circuit breaker: after a run of failures it answers at once for a while, then lets one call try.
//!
//! Pure state under a mutex that is never held across an await.

use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Failures in a row that open the circuit.
const FAILURES: u32 = 5;
/// How long it stays open before one call may try.
const OPEN_FOR: Duration = Duration::from_millis(500);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    closed_again_at: Option<Instant>,
}

/// Counts outcomes of calls to one role.
#[derive(Debug, Default)]
pub(super) struct Breaker(Mutex<State>);

impl Breaker {
    /// Whether a call may go out now. A half-open circuit admits one call a period.
    pub(super) fn admits(&self, now: Instant) -> bool {
        let mut state = self.0.lock().expect("no holder of the lock panics");
        match state.closed_again_at {
            Some(at) if now < at => false,
            Some(_) => {
                state.closed_again_at = Some(now + OPEN_FOR);
                true
            }
            None => true,
        }
    }

    /// Records that the other side answered, whatever it answered.
    pub(super) fn succeeded(&self) {
        *self.0.lock().expect("no holder of the lock panics") = State::default();
    }

    /// Records that the other side did not answer.
    pub(super) fn failed(&self, now: Instant) {
        let mut state = self.0.lock().expect("no holder of the lock panics");
        state.failures = state.failures.saturating_add(1);
        if state.failures >= FAILURES {
            state.closed_again_at = Some(now + OPEN_FOR);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_after_failures_and_admits_one_probe() {
        let (breaker, start) = (Breaker::default(), Instant::now());
        for _ in 0..FAILURES {
            assert!(breaker.admits(start));
            breaker.failed(start);
        }
        assert!(!breaker.admits(start));
        let later = start + OPEN_FOR;
        assert!(breaker.admits(later), "the probe");
        assert!(!breaker.admits(later), "only one");
        breaker.succeeded();
        assert!(breaker.admits(later));
    }
}

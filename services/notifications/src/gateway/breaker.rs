//! A circuit breaker: after a run of outages a gateway is left alone for a while, then one message tries.
//!
//! Pure state under a mutex that is never held across an await. Time is passed in.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Outages in a row that open the circuit.
pub(super) const FAILURES: u32 = 8;
/// How long a gateway is left alone at first; it doubles with every probe that fails.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest it is left alone.
const MAX_PAUSE: Duration = Duration::from_secs(15);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    pause: Duration,
    closed_until: Option<Instant>,
}

/// Counts the outages of one gateway.
#[derive(Debug, Default)]
pub(crate) struct Breaker(Mutex<State>);

impl Breaker {
    /// Whether a message may go out now; an open circuit admits one per pause.
    ///
    /// # Errors
    /// After how long to try again.
    pub(crate) fn admit(&self, now: Instant) -> Result<(), Duration> {
        let mut state = self.state();
        match state.closed_until {
            Some(until) if now < until => Err(until - now),
            Some(_) => {
                state.closed_until = Some(now + state.pause);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// The gateway answered, whatever it answered.
    pub(crate) fn answered(&self) {
        *self.state() = State::default();
    }

    /// The gateway had an outage.
    pub(crate) fn failed(&self, now: Instant) {
        let mut state = self.state();
        state.failures = state.failures.saturating_add(1);
        if state.failures >= FAILURES {
            state.pause = (state.pause * 2).clamp(FIRST_PAUSE, MAX_PAUSE);
            state.closed_until = Some(now + state.pause);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_probes_and_closes() {
        let (breaker, start) = (Breaker::default(), Instant::now());
        for _ in 0..FAILURES {
            assert_eq!(breaker.admit(start), Ok(()));
            breaker.failed(start);
        }
        assert_eq!(breaker.admit(start), Err(FIRST_PAUSE));
        let later = start + FIRST_PAUSE;
        assert_eq!(breaker.admit(later), Ok(()), "the probe");
        assert_eq!(breaker.admit(later), Err(FIRST_PAUSE), "only one");
        breaker.failed(later);
        assert_eq!(breaker.admit(later), Err(FIRST_PAUSE * 2), "left alone for longer");
        breaker.answered();
        assert_eq!(breaker.admit(later), Ok(()));
    }

    #[test]
    fn the_pause_is_bounded() {
        let (breaker, start) = (Breaker::default(), Instant::now());
        for _ in 0..100 {
            breaker.failed(start);
        }
        assert_eq!(breaker.admit(start), Err(MAX_PAUSE));
    }
}

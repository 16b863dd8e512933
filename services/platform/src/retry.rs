//! How often something is tried again, and with what pauses.

use std::time::Duration;

use rand::Rng as _;

/// A bounded number of attempts with pauses that double up to a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// After so many failed attempts it is given up.
    pub attempts: u32,
    /// The pause after the first failure.
    pub first: Duration,
    /// The longest pause.
    pub most: Duration,
}

/// Doubling stops here at the latest; by then every pause is at its limit.
const DOUBLINGS_MAX: u32 = 30;

impl Patience {
    /// The pause after the given number of failures (at least 1), shortened by chance to between half and all of it,
    /// so that what failed together is not tried again together.
    pub fn pause(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(DOUBLINGS_MAX);
        let pause = self.first.saturating_mul(1 << doublings).min(self.most);
        pause.mul_f64(rand::rng().random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_limit() {
        let patience = Patience { attempts: 9, first: Duration::from_secs(1), most: Duration::from_secs(60) };
        for (failures, longest) in [(0, 1), (1, 1), (2, 2), (3, 4), (7, 60), (u32::MAX, 60)] {
            let pause = patience.pause(failures);
            assert!(
                pause <= Duration::from_secs(longest) && pause * 2 >= Duration::from_secs(longest),
                "{failures}: {pause:?}"
            );
        }
    }
}

//! Chance that can be repeated: a test prints its seed, and takes another one from `SEED`.

use uuid::Uuid;

/// The seed of a test that goes the same way each time.
const FIXED: u64 = 20_251_027;

/// A sequence of numbers that a seed repeats.
#[derive(Debug)]
pub struct Dice(u64);

impl Dice {
    /// Dice with a seed that is always the same, unless the variable `SEED` names one. It is printed.
    ///
    /// # Panics
    /// When `SEED` is no number.
    pub fn fixed() -> Self {
        Self::seeded(FIXED)
    }

    /// Dice with a seed that nobody knows before, unless the variable `SEED` names one. It is printed.
    ///
    /// # Panics
    /// When `SEED` is no number.
    pub fn thrown() -> Self {
        Self::seeded(Uuid::new_v4().as_u64_pair().0 >> 16)
    }

    fn seeded(seed: u64) -> Self {
        let seed = std::env::var("SEED").map_or(seed, |seed| seed.parse().expect("SEED is a number"));
        eprintln!("seed {seed}");
        Self(seed)
    }

    /// Other dice, whose throws these decide.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self(self.below(u64::MAX))
    }

    /// A number below `sides`, which is not 0.
    pub fn below(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    /// One of several; there is at least one.
    pub fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.index(all.len())]
    }

    /// In another order.
    pub fn shuffle<T>(&mut self, all: &mut [T]) {
        for last in (1..all.len()).rev() {
            let other = self.index(last + 1);
            all.swap(last, other);
        }
    }

    fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).expect("below a length")
    }
}

//! Who pays whom in each scenario.

use std::sync::Arc;

use clap::ValueEnum;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::people::People;

/// The exponent of the zipf distribution.
const ZIPF: f64 = 1.0;
/// How many percent of `mixed` the rules refuse.
const POOR_PERCENT: u32 = 5;

/// Who pays whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Shape {
    /// Anybody pays any shop.
    Uniform,
    /// A few payers and a few shops take part in most payments.
    Zipf,
    /// Everybody pays one shop.
    Hot,
    /// As uniform, with 5% of payers who have no money.
    Mixed,
}

impl Shape {
    pub(super) const ALL: [Self; 4] = [Self::Uniform, Self::Zipf, Self::Hot, Self::Mixed];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Zipf => "zipf",
            Self::Hot => "hot",
            Self::Mixed => "mixed",
        }
    }
}

/// Who pays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Payer {
    /// Somebody with money.
    Rich(usize),
    /// Somebody without.
    Poor(usize),
}

/// Picks a payer and a shop.
#[derive(Clone, Debug)]
pub(super) struct Pick {
    shape: Shape,
    random: StdRng,
    payers: Places,
    poor: Places,
    shops: Places,
}

impl Pick {
    pub(super) fn new(shape: Shape, seed: usize, people: &People) -> Self {
        let places = if shape == Shape::Zipf { Places::zipf } else { Places::equal };
        Self {
            shape,
            random: StdRng::seed_from_u64(seed as u64),
            payers: places(people.payers.len()),
            poor: Places::equal(people.poor.len()),
            shops: if shape == Shape::Hot { Places::equal(1) } else { places(people.orders.len()) },
        }
    }

    /// Who pays which shop next.
    pub(super) fn pair(&mut self) -> (Payer, usize) {
        let refused = self.shape == Shape::Mixed && self.random.random_range(0..100) < POOR_PERCENT;
        let payer = if refused {
            Payer::Poor(self.poor.one(&mut self.random))
        } else {
            Payer::Rich(self.payers.one(&mut self.random))
        };
        (payer, self.shops.one(&mut self.random))
    }
}

/// Places of a list, equally likely or not.
#[derive(Clone, Debug)]
enum Places {
    Equal(usize),
    /// Weights, added up from the first place on.
    Weighted(Arc<[f64]>),
}

impl Places {
    fn equal(count: usize) -> Self {
        Self::Equal(count)
    }

    fn zipf(count: usize) -> Self {
        let add = |sum: &mut f64, rank: usize| {
            *sum += (rank as f64).powf(-ZIPF);
            Some(*sum)
        };
        Self::Weighted((1..=count).scan(0.0, add).collect())
    }

    fn one(&self, random: &mut StdRng) -> usize {
        match self {
            Self::Equal(count) => random.random_range(0..*count),
            Self::Weighted(sums) => {
                let total = sums.last().expect("nobody picks from an empty list");
                let point = random.random_range(0.0..*total);
                sums.partition_point(|sum| *sum <= point)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    use super::Places;

    #[test]
    fn the_first_places_of_a_zipf_list_come_most_often() {
        let (places, mut random) = (Places::zipf(100), StdRng::seed_from_u64(1));
        let picked: Vec<usize> = (0..10_000).map(|_| places.one(&mut random)).collect();
        assert!(picked.iter().all(|place| *place < 100));
        let of = |place: usize| picked.iter().filter(|picked| **picked == place).count();
        assert!(of(0) > of(9) * 5, "{} against {}", of(0), of(9));
    }
}

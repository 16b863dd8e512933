//! Which place of a list is picked: each as likely as the next, or by Zipf's law.

use std::sync::Arc;

use rand::Rng as _;
use rand::rngs::StdRng;

/// The exponent of the zipf distribution.
const ZIPF: f64 = 1.0;

/// Places of a list, equally likely or not.
#[derive(Clone, Debug)]
pub(crate) enum Places {
    Equal(usize),
    /// Weights, added up from the first place on.
    Weighted(Arc<[f64]>),
}

impl Places {
    /// Each as likely as the next.
    pub(crate) fn equal(count: usize) -> Self {
        Self::Equal(count)
    }

    /// Zipf's: each rank in inverse proportion to its number.
    pub(crate) fn zipf(count: usize) -> Self {
        let add = |sum: &mut f64, rank: usize| {
            *sum += (rank as f64).powf(-ZIPF);
            Some(*sum)
        };
        Self::Weighted((1..=count).scan(0.0, add).collect())
    }

    /// A place.
    pub(crate) fn one(&self, random: &mut StdRng) -> usize {
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

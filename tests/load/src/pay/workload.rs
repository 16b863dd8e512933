//! Who pays whom in each scenario.

use clap::ValueEnum;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::people::People;
use crate::place::Places;

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

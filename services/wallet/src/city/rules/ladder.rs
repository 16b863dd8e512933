//! The ladder of proofs that a payment climbs as it grows. Pure.

use super::Proof;

/// One rung: above which amounts it asks for its proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rung {
    /// What it asks for.
    pub proof: Proof,
    /// Above this, one payment alone asks for it.
    pub single_above: Option<i64>,
    /// Above this, the payments of a day together, this one included, ask for it.
    pub day_above: Option<i64>,
}

impl Rung {
    fn applies(&self, amount: i64, day_total: i64) -> bool {
        self.single_above.is_some_and(|limit| amount > limit)
            || self.day_above.is_some_and(|limit| day_total.max(amount) > limit)
    }

    fn lowest(&self) -> Option<i64> {
        [self.single_above, self.day_above].into_iter().flatten().min()
    }
}

/// The rungs of a rule, rising in proof and amount.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ladder(pub Vec<Rung>);

/// A proof that is asked for, and the amount above which it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// What is asked for.
    pub proof: Proof,
    /// Above how much.
    pub above: i64,
}

impl Ladder {
    /// The strongest proof that a payment needs.
    pub fn needed(&self, amount: i64, day_total: i64) -> Option<Proof> {
        self.0.iter().filter(|rung| rung.applies(amount, day_total)).map(|rung| rung.proof).max()
    }

    /// What a payment of this amount alone, which comes with the proof `held`, still needs.
    pub fn lacking(&self, held: Option<Proof>, amount: i64) -> Option<Ask> {
        let proof = self.needed(amount, amount).filter(|proof| Some(*proof) > held)?;
        let above = self.beyond(held).filter_map(Rung::lowest).min()?;
        Some(Ask { proof, above })
    }

    /// What may be moved in a day by payments that come with the proof `held`, and what more asks for.
    pub fn day_maximum(&self, held: Option<Proof>) -> Option<Ask> {
        let asks = self.beyond(held).filter_map(|rung| Some(Ask { proof: rung.proof, above: rung.day_above? }));
        asks.min_by_key(|ask| ask.above)
    }

    fn beyond(&self, held: Option<Proof>) -> impl Iterator<Item = &Rung> {
        self.0.iter().filter(move |rung| Some(rung.proof) > held)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PROOFS: [Proof; 3] = [Proof::Pin, Proof::Biometric, Proof::Signature];

    /// The rule told slowly: every proof is tried from the weakest, and is enough when no rung that applies asks for more.
    fn slow(ladder: &Ladder, held: Option<Proof>, amount: i64, before: i64) -> bool {
        let strength = |proof: Proof| 1 + PROOFS.iter().position(|one| *one == proof).expect("one of three");
        let mut enough = true;
        for rung in &ladder.0 {
            let mut asked = false;
            if let Some(limit) = rung.single_above {
                asked |= amount > limit;
            }
            if let Some(limit) = rung.day_above {
                asked |= before + amount > limit;
            }
            if asked && strength(rung.proof) > held.map_or(0, strength) {
                enough = false;
            }
        }
        enough
    }

    fn ladder() -> impl Strategy<Value = Ladder> {
        let amount = || prop::option::of(0_i64..40);
        prop::collection::vec((prop::sample::select(&PROOFS[..]), amount(), amount()), 0..4).prop_map(|rungs| {
            let rung = |(proof, single_above, day_above)| Rung { proof, single_above, day_above };
            Ladder(rungs.into_iter().map(rung).collect())
        })
    }

    proptest! {
        /// A payment passes when nothing is lacking for its amount and the day stays within what the ledger is given as a limit.
        #[test]
        fn amount_and_day_together_are_the_rule(
            ladder in ladder(), held in prop::option::of(prop::sample::select(&PROOFS[..])), amount in 1_i64..50, before in 0_i64..50,
        ) {
            let lacking = ladder.lacking(held, amount);
            let within_day = ladder.day_maximum(held).is_none_or(|ask| before + amount <= ask.above);
            prop_assert_eq!(lacking.is_none() && within_day, slow(&ladder, held, amount, before));
            prop_assert_eq!(ladder.needed(amount, before + amount) <= held, slow(&ladder, held, amount, before));
            if let Some(ask) = lacking {
                prop_assert!(Some(ask.proof) > held && amount > ask.above);
                prop_assert_eq!(ladder.lacking(Some(ask.proof), amount), None, "what is asked for is enough");
            }
        }

        #[test]
        fn a_stronger_proof_never_moves_less(ladder in ladder(), amount in 1_i64..50) {
            let held = [None, Some(Proof::Pin), Some(Proof::Biometric), Some(Proof::Signature)];
            for pair in held.windows(2) {
                let most = |held| ladder.day_maximum(held).map_or(i64::MAX, |ask| ask.above);
                prop_assert!(most(pair[0]) <= most(pair[1]));
                prop_assert!(ladder.lacking(pair[0], amount).is_some() || ladder.lacking(pair[1], amount).is_none());
            }
        }
    }
}

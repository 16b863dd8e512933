//! What a guardian may still spend. Pure.

use crate::error::DelegationFault;

/// What a guardian pays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A merchant.
    Merchant,
    /// A bill.
    Bill,
    /// A fee of a public service.
    Fee,
}

impl Kind {
    /// As identity and the database say it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Merchant => "merchant",
            Self::Bill => "bill",
            Self::Fee => "fee",
        }
    }
}

/// What a delegation allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) kinds: Vec<String>,
    pub(crate) transaction: i64,
    pub(crate) day: i64,
    pub(crate) month: i64,
}

/// What was spent by a delegation in a day and in its month, what is asked for left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spent {
    pub(crate) day: i64,
    pub(crate) month: i64,
}

impl Terms {
    /// Whether a kind may be paid at all.
    pub(crate) fn allows(&self, kind: Kind) -> bool {
        self.kinds.iter().any(|named| named == kind.name())
    }

    /// Whether a payment keeps all limits.
    pub(crate) fn check(&self, (kind, amount): (Kind, i64), spent: Spent) -> Result<(), DelegationFault> {
        if !self.allows(kind) {
            return Err(DelegationFault::Kind);
        }
        for (period, before, maximum) in
            [("transaction", 0, self.transaction), ("day", spent.day, self.day), ("month", spent.month, self.month)]
        {
            if before.saturating_add(amount) > maximum {
                return Err(DelegationFault::Over { period, maximum });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The slow model adds everything up again after each payment.
        #[test]
        fn no_row_of_payments_passes_a_limit(
            limits in (1..60_i64, 1..100_i64, 1..200_i64),
            asked in prop::collection::vec((0..3_u8, 1..50_i64, 0..60_u8), 0..30),
        ) {
            let terms = Terms { kinds: vec!["bill".to_owned(), "fee".to_owned()], transaction: limits.0, day: limits.1, month: limits.2 };
            let mut paid: Vec<(u8, i64)> = Vec::new();
            for (kind, amount, day) in asked {
                let kind = [Kind::Merchant, Kind::Bill, Kind::Fee][usize::from(kind)];
                let of = |is: &dyn Fn(u8) -> bool| paid.iter().filter(|(at, _)| is(*at)).map(|(_, amount)| amount).sum::<i64>();
                let spent = Spent { day: of(&|at| at == day), month: of(&|at| at / 30 == day / 30) };
                let fits = kind != Kind::Merchant && amount <= limits.0 && spent.day + amount <= limits.1 && spent.month + amount <= limits.2;
                let verdict = terms.check((kind, amount), spent);
                prop_assert_eq!(verdict.is_ok(), fits, "{:?}", verdict);
                if fits {
                    paid.push((day, amount));
                }
            }
        }
    }
}

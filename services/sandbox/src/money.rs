//! Money as the bank's interface writes it: a decimal string with its currency. The bank knows đồng only.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The one currency of the bank.
const CURRENCY: &str = "VND";

/// An amount of đồng, 0 or more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Dong(i64);

impl Dong {
    /// `amount` đồng.
    pub(crate) const fn new(amount: i64) -> Self {
        assert!(amount >= 0, "an amount of đồng is not negative");
        Self(amount)
    }

    /// The amount in đồng.
    pub(crate) fn amount(self) -> i64 {
        self.0
    }

    /// What is left after taking `other`; `None` when it is not enough.
    pub(crate) fn less(self, other: Self) -> Option<Self> {
        (self.0 >= other.0).then(|| Self(self.0 - other.0))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    amount: String,
    currency: String,
}

impl Serialize for Dong {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Wire { amount: self.0.to_string(), currency: CURRENCY.to_owned() }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Dong {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wire = Wire::deserialize(deserializer)?;
        if wire.currency != CURRENCY {
            return Err(D::Error::custom("currency must be VND"));
        }
        if wire.amount.is_empty() || !wire.amount.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(D::Error::custom("amount must be a string of digits"));
        }
        wire.amount.parse().map(Self).map_err(|_| D::Error::custom("amount is too large"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_dong_in_a_string_are_read() {
        let good = r#"{"amount":"150000","currency":"VND"}"#;
        assert_eq!(serde_json::from_str::<Dong>(good).expect("good"), Dong::new(150_000));
        assert_eq!(serde_json::to_string(&Dong::new(150_000)).expect("serialises"), good);
        for bad in [
            r#"{"amount":150000,"currency":"VND"}"#,
            r#"{"amount":"-1","currency":"VND"}"#,
            r#"{"amount":"1.5","currency":"VND"}"#,
            r#"{"amount":"","currency":"VND"}"#,
            r#"{"amount":"99999999999999999999","currency":"VND"}"#,
            r#"{"amount":"1","currency":"USD"}"#,
        ] {
            assert!(serde_json::from_str::<Dong>(bad).is_err(), "{bad}");
        }
    }
}

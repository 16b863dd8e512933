//! What may be delegated, and where a delegation stands. Pure.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::Error;

/// How long a proposal waits for its answer.
pub(crate) const OPEN_FOR: TimeDelta = TimeDelta::days(7);
/// The longest time for which somebody acts for another.
pub(crate) const LONGEST: TimeDelta = TimeDelta::days(5 * 366);
/// The most that any limit may be, in đồng.
const MOST: i64 = 100_000_000;

/// What a guardian may pay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = DelegationKind)]
pub(crate) enum Kind {
    /// Merchants.
    Merchant,
    /// Bills.
    Bill,
    /// Fees of public services.
    Fee,
}

impl Kind {
    /// As it is stored and told.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Merchant => "merchant",
            Self::Bill => "bill",
            Self::Fee => "fee",
        }
    }
}

/// Where a delegation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = DelegationState)]
pub(crate) enum State {
    /// It waits for the other's word.
    Proposed,
    /// The guardian may act.
    Active,
    /// Its time is over, or nobody answered.
    Expired,
    /// One of them ended it, or refused.
    Ended,
}

/// What a guardian may pay, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    pub kinds: Vec<Kind>,
    /// The most for one payment, in a day and in a month, in đồng.
    pub maxima: [i64; 3],
    pub until: DateTime<Utc>,
}

impl Terms {
    /// Whether they can be proposed.
    pub(crate) fn check(&self, now: DateTime<Utc>) -> Result<(), Error> {
        self.check_limits()?;
        if self.until <= now || self.until > now + LONGEST {
            return Err(Error::Field {
                field: "until",
                vi: "Thời hạn ở sau lúc này và trong vòng năm năm.",
                en: "It ends after now and within five years.",
            });
        }
        Ok(())
    }

    /// Whether there is something that may be paid, within limits.
    pub(crate) fn check_limits(&self) -> Result<(), Error> {
        let [transaction, day, month] = self.maxima;
        if self.kinds.is_empty() {
            return Err(Error::Field {
                field: "kinds",
                vi: "Hãy chọn ít nhất một loại.",
                en: "Name at least one kind.",
            });
        }
        if !(0 < transaction && transaction <= day && day <= month && month <= MOST) {
            return Err(Error::Field {
                field: "limits",
                vi: "Hạn mức là số đồng nguyên dương: giao dịch ≤ ngày ≤ tháng ≤ 100.000.000.",
                en: "Limits are whole đồng above zero: transaction ≤ day ≤ month ≤ 100,000,000.",
            });
        }
        Ok(())
    }
}

/// The times by which a delegation stands somewhere.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub proposed_at: DateTime<Utc>,
    pub confirmed_at: Option<DateTime<Utc>>,
    pub ended_at: Option<DateTime<Utc>>,
    pub until: DateTime<Utc>,
}

impl Times {
    pub(crate) fn state(&self, now: DateTime<Utc>) -> State {
        match (self.ended_at, self.confirmed_at) {
            (Some(_), _) => State::Ended,
            (None, _) if now >= self.until => State::Expired,
            (None, Some(_)) => State::Active,
            (None, None) if now >= self.proposed_at + OPEN_FOR => State::Expired,
            (None, None) => State::Proposed,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(hours: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::hours(hours)
    }

    proptest! {
        /// The slow model lives through every hour and keeps what happened last.
        #[test]
        fn a_delegation_is_active_between_the_second_word_and_the_first_end(
            confirmed in prop::option::of(1..160_i64), ended in prop::option::of(1..400_i64), until in 1..400_i64, asked in 0..400_i64
        ) {
            let confirmed = confirmed.filter(|hour| *hour < until);
            let mut model = State::Proposed;
            for hour in 0..=asked {
                model = match model {
                    State::Proposed | State::Active if hour >= until => State::Expired,
                    State::Proposed if confirmed == Some(hour) => State::Active,
                    State::Proposed if hour >= OPEN_FOR.num_hours() => State::Expired,
                    state => state,
                };
            }
            if ended.is_some_and(|hour| hour <= asked) {
                model = State::Ended;
            }
            let known = |hour: Option<i64>| hour.filter(|hour| *hour <= asked).map(at);
            let times = Times { proposed_at: at(0), confirmed_at: known(confirmed), ended_at: known(ended), until: at(until) };
            prop_assert_eq!(times.state(at(asked)), model);
        }

        #[test]
        fn limits_are_in_order(one in -2..9_i64, two in -2..9_i64, three in -2..9_i64) {
            let terms = Terms { kinds: vec![Kind::Bill], maxima: [one, two, three], until: at(1) };
            prop_assert_eq!(terms.check(at(0)).is_ok(), one > 0 && two >= one && three >= two);
        }
    }

    #[test]
    fn terms_have_kinds_and_an_end() {
        let terms = |kinds: &[Kind], month: i64, hours: i64| {
            Terms { kinds: kinds.to_vec(), maxima: [1, 1, month], until: at(hours) }.check(at(0)).is_ok()
        };
        assert!(terms(&[Kind::Fee], MOST, 1));
        assert!(!terms(&[], MOST, 1) && !terms(&[Kind::Fee], MOST + 1, 1));
        assert!(!terms(&[Kind::Fee], 1, 0) && !terms(&[Kind::Fee], 1, 24 * 5 * 367));
    }
}

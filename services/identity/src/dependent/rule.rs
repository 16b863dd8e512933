//! Who is registered for whom, and until when. Pure.

use chrono::{DateTime, Datelike as _, Months, NaiveDate, NaiveTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::delegation::{LONGEST, OPEN_FOR, Terms};
use crate::error::Error;

/// The age from which people act for themselves (Civil Code 2015, article 20).
const MAJORITY_YEARS: u32 = 18;

/// Where a registration stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = RegistrationState)]
pub(crate) enum State {
    /// It waits for the guardian's word.
    Proposed,
    /// The guardian has confirmed it: there is an account.
    Confirmed,
    /// The guardian refused it, or an officer took it back.
    Ended,
    /// The guardian did not answer in time.
    Lapsed,
}

/// The times by which a registration stands somewhere.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub registered_at: DateTime<Utc>,
    pub confirmed_at: Option<DateTime<Utc>>,
    pub ended_at: Option<DateTime<Utc>>,
    /// Until when the guardian is to act.
    pub until: DateTime<Utc>,
}

impl Times {
    /// When a registration that nobody answers is over.
    pub(crate) fn lapses_at(&self) -> DateTime<Utc> {
        self.until.min(self.registered_at + OPEN_FOR)
    }

    pub(crate) fn state(&self, now: DateTime<Utc>) -> State {
        match (self.confirmed_at, self.ended_at) {
            (Some(_), _) => State::Confirmed,
            (None, Some(ended_at)) if ended_at < self.lapses_at() => State::Ended,
            (None, Some(_)) => State::Lapsed,
            (None, None) if now >= self.lapses_at() => State::Lapsed,
            (None, None) => State::Proposed,
        }
    }
}

/// When somebody comes of age: the beginning of that day, in UTC. Who was born on 29 February does so on the 28th of a common year.
pub(crate) fn majority(born: NaiveDate) -> DateTime<Utc> {
    let day = born.checked_add_months(Months::new(12 * MAJORITY_YEARS)).unwrap_or(NaiveDate::MAX);
    day.and_time(NaiveTime::MIN).and_utc()
}

/// The latest time until which somebody may have a guardian: a child until they come of age, others as long as any delegation.
pub(crate) fn latest_end(born: NaiveDate, now: DateTime<Utc>) -> DateTime<Utc> {
    let majority = majority(born);
    if majority > now { majority } else { now + LONGEST }
}

/// Whether a guardian may act by these terms for somebody who was born on a day.
pub(crate) fn check(terms: &Terms, born: NaiveDate, now: DateTime<Utc>) -> Result<(), Error> {
    terms.check_limits()?;
    if terms.until <= now || terms.until > latest_end(born, now) {
        return Err(Error::Field {
            field: "until",
            vi: "Thời hạn ở sau lúc này: với trẻ em không quá ngày đủ 18 tuổi, với người lớn không quá năm năm.",
            en: "It ends after now: for a child by the 18th birthday, for others within five years.",
        });
    }
    Ok(())
}

/// Whether somebody of whom the year of birth is known is of age in the year of `now`.
pub(crate) fn may_be_guardian(birth_year: u16, now: DateTime<Utc>) -> bool {
    i64::from(birth_year) + i64::from(MAJORITY_YEARS) <= i64::from(now.year())
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use proptest::prelude::*;

    use super::*;
    use crate::delegation::Kind;

    fn at(hours: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::hours(hours)
    }

    fn day(text: &str) -> NaiveDate {
        text.parse().expect("a date")
    }

    proptest! {
        /// The slow model lives through every hour; the first thing that happens decides.
        #[test]
        fn the_first_word_decides_and_silence_lapses(
            confirmed in prop::option::of(1..200_i64), ended in prop::option::of(1..200_i64), until in 1..300_i64, asked in 0..300_i64,
        ) {
            let lapses = until.min(OPEN_FOR.num_hours());
            // Only what is proposed is answered.
            let confirmed = confirmed.filter(|hour| *hour < lapses && ended.is_none_or(|ended| *hour < ended));
            let ended = ended.filter(|hour| *hour < lapses && confirmed.is_none());
            let mut model = State::Proposed;
            for hour in 0..=asked {
                model = match model {
                    State::Proposed if confirmed == Some(hour) => State::Confirmed,
                    State::Proposed if ended == Some(hour) => State::Ended,
                    State::Proposed if hour >= lapses => State::Lapsed,
                    state => state,
                };
            }
            let known = |hour: Option<i64>| hour.filter(|hour| *hour <= asked).map(at);
            let times = Times { registered_at: at(0), confirmed_at: known(confirmed), ended_at: known(ended), until: at(until) };
            prop_assert_eq!(times.state(at(asked)), model);
            // Cleaning up writes down when it lapsed, and changes nothing.
            if model == State::Lapsed {
                prop_assert_eq!(Times { ended_at: Some(times.lapses_at()), ..times }.state(at(asked)), State::Lapsed);
            }
        }

        /// Nobody who has come of age before has a guardian by a child's terms, and nobody longer than any delegation lasts after that.
        #[test]
        fn a_guardian_of_a_child_ends_with_its_childhood(age_days in 0..40_000_i64, ahead_hours in -50..200_000_i64) {
            let now = day("2026-11-23").and_time(NaiveTime::MIN).and_utc() + TimeDelta::hours(9);
            let born = now.date_naive() - TimeDelta::days(age_days);
            prop_assume!((born.month(), born.day()) != (2, 29));
            let until = now + TimeDelta::hours(ahead_hours);
            let terms = Terms { kinds: vec![Kind::Merchant], maxima: [1, 1, 1], until };
            let of_age = |at: DateTime<Utc>| at.date_naive().years_since(born).is_some_and(|years| years >= 18);
            let fits = if of_age(now) { until <= now + LONGEST } else { !of_age(until - TimeDelta::seconds(1)) };
            prop_assert_eq!(check(&terms, born, now).is_ok(), until > now && fits, "{} {}", born, until);
        }
    }

    #[test]
    fn childhood_ends_on_a_day() {
        let end = |born: &str| majority(day(born)).date_naive();
        assert_eq!(end("2015-06-30"), day("2033-06-30"));
        assert_eq!(end("2016-02-29"), day("2034-02-28"));
        let now = day("2026-11-23").and_time(NaiveTime::MIN).and_utc();
        assert!(may_be_guardian(2008, now) && !may_be_guardian(2009, now));
    }
}

//! Who is registered for whom, and until when. Pure.

use chrono::{DateTime, Datelike as _, Months, NaiveDate, TimeDelta, Utc};
use chrono_tz::Tz;
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

/// The day on which somebody comes of age. Who was born on 29 February does so on the 28th of a common year.
pub(crate) fn majority(born: NaiveDate) -> NaiveDate {
    born.checked_add_months(Months::new(12 * MAJORITY_YEARS)).unwrap_or(NaiveDate::MAX)
}

/// Whether a guardian may act by these terms for somebody who was born on a day, in a city that counts days in a zone: for a child
/// until the day on which they come of age begins there, for others as long as any delegation lasts.
pub(crate) fn check(terms: &Terms, born: NaiveDate, (now, zone): (DateTime<Utc>, Tz)) -> Result<(), Error> {
    terms.check_limits()?;
    let (majority, until) = (majority(born), terms.until);
    let of_age = |at: DateTime<Utc>| at.with_timezone(&zone).date_naive() >= majority;
    // Its last moment lies before `until`.
    let fits = if of_age(now) { until <= now + LONGEST } else { !of_age(until - TimeDelta::microseconds(1)) };
    if until <= now || !fits {
        return Err(Error::Field {
            field: "until",
            vi: "Thời hạn ở sau lúc này: với trẻ em không quá ngày đủ 18 tuổi, với người lớn không quá năm năm.",
            en: "It ends after now: for a child by the 18th birthday, for others within five years.",
        });
    }
    Ok(())
}

/// Whether somebody of whom the year of birth is known is of age in the year of `today`.
pub(crate) fn may_be_guardian(birth_year: u16, today: NaiveDate) -> bool {
    i64::from(birth_year) + i64::from(MAJORITY_YEARS) <= i64::from(today.year())
}

#[cfg(test)]
mod tests {
    use chrono::{NaiveTime, TimeZone as _};
    use proptest::prelude::*;

    use super::*;
    use crate::delegation::Kind;

    const HUE: Tz = chrono_tz::Asia::Ho_Chi_Minh;
    /// East and west of it, with and without summer time.
    const ZONES: [Tz; 4] = [HUE, chrono_tz::UTC, chrono_tz::America::New_York, chrono_tz::Pacific::Auckland];

    fn at(hours: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::hours(hours)
    }

    fn day(text: &str) -> NaiveDate {
        text.parse().expect("a date")
    }

    /// When a day begins in UTC.
    fn midnight(text: &str) -> DateTime<Utc> {
        day(text).and_time(NaiveTime::MIN).and_utc()
    }

    fn terms(until: DateTime<Utc>) -> Terms {
        Terms { kinds: vec![Kind::Merchant], maxima: [1, 1, 1], until }
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
        fn a_guardian_of_a_child_ends_with_its_childhood(
            age_days in 0..40_000_i64, hour in 0..24_i64, ahead_hours in -50..200_000_i64,
        ) {
            let now = midnight("2026-11-23") + TimeDelta::hours(hour);
            let born = day("2026-11-23") - TimeDelta::days(age_days);
            prop_assume!((born.month(), born.day()) != (2, 29));
            let until = now + TimeDelta::hours(ahead_hours);
            // In Huế it is seven hours later.
            let of_age = |at: DateTime<Utc>| (at + TimeDelta::hours(7)).date_naive().years_since(born).is_some_and(|years| years >= 18);
            let fits = if of_age(now) { until <= now + LONGEST } else { !of_age(until - TimeDelta::seconds(1)) };
            prop_assert_eq!(check(&terms(until), born, (now, HUE)).is_ok(), until > now && fits, "{} {}", born, until);
        }

        /// In no zone does childhood end before that day begins, nor after.
        #[test]
        fn the_day_begins_where_the_city_is(age_days in 0..6_570_i64, zone in prop::sample::select(&ZONES), around in -3_600_000_000..3_600_000_000_i64) {
            let now = midnight("2026-11-23");
            let born = day("2026-11-23") - TimeDelta::days(age_days);
            let begins = zone.from_local_datetime(&majority(born).and_time(NaiveTime::MIN)).single();
            prop_assume!(begins.is_some_and(|begins| begins > now + TimeDelta::hours(2)));
            let begins = begins.expect("there is one such moment").to_utc();
            for microseconds in [around, -1, 0, 1] {
                let until = begins + TimeDelta::microseconds(microseconds);
                prop_assert_eq!(check(&terms(until), born, (now, zone)).is_ok(), microseconds <= 0, "{} {} {}", born, zone, until);
            }
        }
    }

    #[test]
    fn childhood_ends_on_a_day_of_the_city() {
        assert_eq!(majority(day("2015-06-30")), day("2033-06-30"));
        assert_eq!(majority(day("2016-02-29")), day("2034-02-28"));
        assert!(may_be_guardian(2008, day("2026-01-01")) && !may_be_guardian(2009, day("2026-12-31")));
        // Huế's 26 March begins at 17:00 UTC of the day before: until then with a child's terms, from then on with anybody's.
        let (born, begins) = (day("2015-03-26"), midnight("2033-03-25") + TimeDelta::hours(17));
        let fits = |now, until| check(&terms(until), born, (now, HUE)).is_ok();
        let (before, moment) = (begins - TimeDelta::minutes(1), TimeDelta::microseconds(1));
        assert!(fits(before, begins) && !fits(before, begins + moment));
        assert!(fits(begins - moment, begins) && !fits(begins - moment, begins + LONGEST));
        assert!(fits(begins, begins + LONGEST) && !fits(begins, begins + LONGEST + moment));
    }
}

//! Quiet hours and the hour of the digest: times of the city's day. Pure.
//!
//! Emergency and security never wait; the inbox of the app makes no noise and never waits either.

use chrono::{DateTime, Days, NaiveTime, TimeDelta, TimeZone as _, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Minutes of a day.
const DAY: u16 = 1_440;
/// How many days ahead a time is looked for: a zone's clocks may skip one.
const LOOK_AHEAD: u64 = 3;

/// A time of the day, to the minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, example = "22:00")]
pub(crate) struct Minute(u16);

impl Minute {
    /// As it is stored.
    pub(crate) fn stored(minute: i16) -> Option<Self> {
        u16::try_from(minute).ok().filter(|minute| *minute < DAY).map(Self)
    }

    /// To be stored.
    pub(crate) fn number(self) -> i16 {
        i16::try_from(self.0).expect("a day has fewer minutes")
    }

    fn time(self) -> NaiveTime {
        NaiveTime::MIN + TimeDelta::minutes(i64::from(self.0))
    }

    /// The next time at or after a moment that the city's clocks show it.
    pub(crate) fn next(self, at: DateTime<Utc>, zone: Tz) -> DateTime<Utc> {
        let today = at.with_timezone(&zone).date_naive();
        let days = (0..=LOOK_AHEAD).filter_map(|days| today.checked_add_days(Days::new(days)));
        let mut times = days.filter_map(|day| zone.from_local_datetime(&day.and_time(self.time())).earliest());
        times.find(|time| *time >= at).map_or(at, |time| time.to_utc())
    }
}

impl TryFrom<String> for Minute {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        const WRONG: &str = "expected a time of the day such as 22:00";
        let (hour, minute) = text.split_once(':').ok_or(WRONG)?;
        let number = |digits: &str, below: u16| {
            let good = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse::<u16>().ok().filter(|number| good && *number < below).ok_or(WRONG)
        };
        Ok(Self(number(hour, 24)? * 60 + number(minute, 60)?))
    }
}

impl From<Minute> for String {
    fn from(minute: Minute) -> Self {
        format!("{:02}:{:02}", minute.0 / 60, minute.0 % 60)
    }
}

/// The hours in which nothing makes noise that can wait; over midnight where they end earlier than they begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "Hours", deny_unknown_fields)]
pub(crate) struct QuietHours {
    /// Local time of the city.
    from: Minute,
    /// Local time of the city; not the same as `from`.
    to: Minute,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Hours {
    from: Minute,
    to: Minute,
}

impl TryFrom<Hours> for QuietHours {
    type Error = &'static str;

    fn try_from(hours: Hours) -> Result<Self, &'static str> {
        if hours.from == hours.to {
            return Err("quiet hours must end at another time than they begin");
        }
        Ok(Self { from: hours.from, to: hours.to })
    }
}

impl QuietHours {
    /// As they are stored.
    pub(crate) fn stored(from: Option<i16>, to: Option<i16>) -> Option<Self> {
        Hours { from: Minute::stored(from?)?, to: Minute::stored(to?)? }.try_into().ok()
    }

    /// From and to, to be stored.
    pub(crate) fn numbers(self) -> (i16, i16) {
        (self.from.number(), self.to.number())
    }

    /// When the quiet hours end that a moment lies in; `None` outside of them.
    pub(crate) fn end(self, at: DateTime<Utc>, zone: Tz) -> Option<DateTime<Utc>> {
        let now = at.with_timezone(&zone).time();
        let (from, to) = (self.from.time(), self.to.time());
        let quiet = if from < to { (from..to).contains(&now) } else { now >= from || now < to };
        quiet.then(|| self.to.next(at, zone))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HUE: Tz = chrono_tz::Asia::Ho_Chi_Minh;

    fn quiet(from: &str, to: &str) -> QuietHours {
        serde_json::from_value(serde_json::json!({ "from": from, "to": to })).expect("hours")
    }

    fn at(text: &str) -> DateTime<Utc> {
        DateTime::parse_from_rfc3339(text).expect("a time").to_utc()
    }

    #[test]
    fn quiet_hours_go_over_midnight_and_end_by_the_citys_clock() {
        let night = quiet("22:00", "06:30");
        let end = |text| night.end(at(text), HUE);
        assert_eq!(end("2025-10-27T21:59:59+07:00"), None);
        assert_eq!(end("2025-10-27T22:00:00+07:00"), Some(at("2025-10-28T06:30:00+07:00")));
        assert_eq!(end("2025-10-28T06:29:59+07:00"), Some(at("2025-10-28T06:30:00+07:00")));
        assert_eq!(end("2025-10-28T06:30:00+07:00"), None);
        assert_eq!(
            quiet("12:00", "13:30").end(at("2025-10-28T12:30:00+07:00"), HUE),
            Some(at("2025-10-28T13:30:00+07:00"))
        );
        let spring = quiet("22:00", "02:30");
        let berlin = chrono_tz::Europe::Berlin;
        let skipped = spring.end(at("2025-03-30T01:30:00+01:00"), berlin).expect("quiet");
        assert!(skipped > at("2025-03-30T01:30:00+01:00"), "clocks that skip the end find a later one");
    }

    #[test]
    fn times_are_written_to_the_minute() {
        for wrong in ["24:00", "7:00", "07:60", "07:00:00", "", "ab:cd", "+7:00"] {
            assert!(Minute::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
        assert!(serde_json::from_str::<QuietHours>(r#"{"from":"22:00","to":"22:00"}"#).is_err());
        assert_eq!(
            serde_json::to_string(&quiet("22:00", "06:30")).expect("serialises"),
            r#"{"from":"22:00","to":"06:30"}"#
        );
    }

    proptest! {
        #[test]
        fn what_waits_comes_within_a_day_and_outside_of_quiet_hours(from in 0..DAY, length in 1..DAY, seconds in 0..10_000_000_i64) {
            let hours = QuietHours { from: Minute(from), to: Minute((from + length) % DAY) };
            let moment = at("2025-10-27T00:00:00Z") + TimeDelta::seconds(seconds);
            if let Some(end) = hours.end(moment, HUE) {
                prop_assert!(end > moment && end - moment <= TimeDelta::days(1));
                prop_assert_eq!(hours.end(end, HUE), None);
            }
            let next = Minute(from).next(moment, HUE);
            prop_assert!(next >= moment && next - moment < TimeDelta::days(1) + TimeDelta::seconds(1));
        }
    }
}

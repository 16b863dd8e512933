//! Time limits on the city's calendar: how much working time lies between two moments, and stopwatches that run on it.
//!
//! Pure: every moment is given. A stopwatch of the instant lane runs day and night; one of the timed lane runs during office
//! hours of working days only. A stopped one keeps what it has spent.
//!
//! Invariant: [`WorkingTime::after`] is the earliest moment by which [`WorkingTime::between`] has grown by the length asked for.

use chrono::{DateTime, Days, NaiveDate, NaiveTime, TimeDelta, TimeZone as _, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use crate::city::{Calendar, City, Span};

/// The furthest that a limit reaches, in days of the calendar; a calendar without any working day ends there.
const MAX_DAYS: u32 = 1_000;

/// When a stopwatch runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pace {
    /// Day and night.
    Always,
    /// In office hours of working days.
    Working,
}

/// The city's office hours.
#[derive(Clone, Debug)]
pub struct WorkingTime {
    zone: Tz,
    spans: Vec<Span>,
    calendar: Calendar,
}

impl WorkingTime {
    /// The office hours of a city.
    pub fn of(city: &City) -> Self {
        Self {
            zone: city.profile.time_zone,
            spans: city.profile.working_spans.clone(),
            calendar: city.calendar.clone(),
        }
    }

    /// How much working time one working day has.
    pub fn day(&self) -> TimeDelta {
        self.spans.iter().map(|span| span.until - span.from).sum()
    }

    /// The time between two moments that counts at a pace; zero when the second is not later.
    pub fn between(&self, pace: Pace, from: DateTime<Utc>, until: DateTime<Utc>) -> TimeDelta {
        if pace == Pace::Always {
            return (until - from).max(TimeDelta::zero());
        }
        let last = self.date(until);
        let mut date = self.date(from);
        let mut sum = TimeDelta::zero();
        while date <= last {
            for (open, close) in self.hours(date) {
                sum += (close.min(until) - open.max(from)).max(TimeDelta::zero());
            }
            date = next(date);
        }
        sum
    }

    /// The earliest moment by which `length` has passed since `from` at a pace.
    pub fn after(&self, pace: Pace, from: DateTime<Utc>, length: TimeDelta) -> DateTime<Utc> {
        if pace == Pace::Always || length <= TimeDelta::zero() {
            return from + length.max(TimeDelta::zero());
        }
        let mut left = length;
        let mut date = self.date(from);
        for _ in 0..MAX_DAYS {
            for (open, close) in self.hours(date) {
                let open = open.max(from);
                let here = (close - open).max(TimeDelta::zero());
                if left <= here {
                    return open + left;
                }
                left -= here;
            }
            date = next(date);
        }
        from + TimeDelta::days(i64::from(MAX_DAYS))
    }

    /// A day of the city, from its first moment until before that of the next.
    pub fn whole(&self, date: NaiveDate) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
        let begins = |date: NaiveDate| {
            let midnight = date.and_time(NaiveTime::MIN);
            self.zone.from_local_datetime(&midnight).earliest().map(|moment| moment.to_utc())
        };
        Some((begins(date)?, begins(date.succ_opt()?)?))
    }

    /// The first moment of the city's day that a moment is in.
    pub fn day_of(&self, moment: DateTime<Utc>) -> DateTime<Utc> {
        self.whole(self.date(moment)).map_or(moment, |(begins, _)| begins)
    }

    /// The city's day that a moment is in.
    pub fn date(&self, moment: DateTime<Utc>) -> NaiveDate {
        moment.with_timezone(&self.zone).date_naive()
    }

    /// The office hours of a day, in order.
    fn hours(&self, date: NaiveDate) -> impl Iterator<Item = (DateTime<Utc>, DateTime<Utc>)> {
        let spans: &[Span] = if self.calendar.is_working_day(date) { &self.spans } else { &[] };
        spans.iter().filter_map(move |span| {
            let moment = |time| self.zone.from_local_datetime(&date.and_time(time)).earliest();
            Some((moment(span.from)?.to_utc(), moment(span.until)?.to_utc()))
        })
    }
}

fn next(date: NaiveDate) -> NaiveDate {
    date.checked_add_days(Days::new(1)).unwrap_or(NaiveDate::MAX)
}

/// A time limit under way: what it allows, what was spent, and since when it runs, if it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopwatch {
    /// Which one of its report it is; a new limit is a new number.
    pub number: u32,
    /// When it runs.
    pub pace: Pace,
    /// What it allows, in milliseconds of its pace.
    pub allowance_ms: i64,
    /// What was spent before it was last started.
    pub spent_ms: i64,
    /// Since when it runs; absent while it is stopped.
    pub running_since: Option<DateTime<Utc>>,
}

impl Stopwatch {
    /// One that starts now.
    pub fn started(number: u32, pace: Pace, allowance: TimeDelta, now: DateTime<Utc>) -> Self {
        Self { number, pace, allowance_ms: allowance.num_milliseconds(), spent_ms: 0, running_since: Some(now) }
    }

    /// What has been spent up to a moment.
    pub fn spent(&self, time: &WorkingTime, now: DateTime<Utc>) -> TimeDelta {
        let run = self.running_since.map_or(TimeDelta::zero(), |since| time.between(self.pace, since, now));
        TimeDelta::milliseconds(self.spent_ms) + run
    }

    /// The same, stopped.
    #[must_use]
    pub fn stopped(self, time: &WorkingTime, now: DateTime<Utc>) -> Self {
        Self { spent_ms: self.spent(time, now).num_milliseconds(), running_since: None, ..self }
    }

    /// The same, running from now on.
    #[must_use]
    pub fn resumed(self, now: DateTime<Utc>) -> Self {
        Self { running_since: self.running_since.or(Some(now)), ..self }
    }

    /// When a share of its allowance will have been spent, in percent; never while it is stopped.
    pub fn reaches(&self, time: &WorkingTime, percent: u8) -> Option<DateTime<Utc>> {
        self.reaches_ms(time, self.allowance_ms * i64::from(percent) / 100)
    }

    /// When a number of milliseconds will have been spent; never while it is stopped.
    pub fn reaches_ms(&self, time: &WorkingTime, spent_ms: i64) -> Option<DateTime<Utc>> {
        let since = self.running_since?;
        Some(time.after(self.pace, since, TimeDelta::milliseconds(spent_ms - self.spent_ms)))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    fn hue() -> WorkingTime {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/city/hue");
        WorkingTime::of(&City::load(&folder).expect("the folder is sound"))
    }

    fn at(text: &str) -> DateTime<Utc> {
        format!("{text}:00+07:00").parse().expect("the test writes a time")
    }

    /// Working minutes counted one by one.
    fn counted(time: &WorkingTime, from: DateTime<Utc>, minutes: i64) -> i64 {
        let open = |minute: &i64| {
            let local = (from + TimeDelta::minutes(*minute)).with_timezone(&time.zone);
            let inside = time.spans.iter().any(|span| span.from <= local.time() && local.time() < span.until);
            inside && time.calendar.is_working_day(local.date_naive())
        };
        (0..minutes).filter(open).count().try_into().expect("few minutes")
    }

    #[test]
    fn offices_rest_at_noon_at_night_at_weekends_and_on_holidays() {
        let time = hue();
        assert_eq!(time.day(), TimeDelta::hours(8));
        let after = |from, hours| time.after(Pace::Working, at(from), TimeDelta::hours(hours));
        assert_eq!(after("2026-11-19T10:30", 2), at("2026-11-19T14:30"), "noon");
        assert_eq!(after("2026-11-19T17:00", 1), at("2026-11-20T08:00"), "night");
        assert_eq!(after("2026-11-20T16:30", 2), at("2026-11-23T08:30"), "a weekend");
        assert_eq!(after("2026-11-23T16:30", 2), at("2026-11-25T08:30"), "24 November is a holiday");
        assert_eq!(after("2026-11-20T16:30", 1), at("2026-11-20T17:30"), "not the next morning");
        assert_eq!(after("2026-08-21T16:30", 2), at("2026-08-22T08:30"), "a Saturday that is worked");
        let night = time.after(Pace::Always, at("2026-11-20T23:50"), TimeDelta::minutes(30));
        assert_eq!(night, at("2026-11-21T00:20"), "the instant lane never rests");
    }

    #[test]
    fn a_stopped_watch_spends_nothing() {
        let time = hue();
        let watch = Stopwatch::started(1, Pace::Working, TimeDelta::hours(4), at("2026-11-19T08:00"));
        assert_eq!(watch.reaches(&time, 100), Some(at("2026-11-19T14:00")));
        let stopped = watch.stopped(&time, at("2026-11-19T10:00"));
        assert_eq!(stopped.reaches(&time, 80), None);
        assert_eq!(stopped.spent(&time, at("2026-11-27T10:00")), TimeDelta::hours(2));
        let resumed = stopped.resumed(at("2026-11-26T10:00"));
        assert_eq!(resumed.reaches(&time, 100), Some(at("2026-11-26T14:00")));
        assert_eq!(resumed.reaches(&time, 150), Some(at("2026-11-26T16:00")));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn working_time_is_what_counting_minutes_gives(start in 0_i64..1_000_000, minutes in 0_i64..20_000) {
            let time = hue_once();
            let from = at("2025-01-01T00:00") + TimeDelta::minutes(start);
            let until = from + TimeDelta::minutes(minutes);
            let worked = time.between(Pace::Working, from, until);
            prop_assert_eq!(worked.num_minutes(), counted(time, from, minutes));
            // `after` gives the earliest such moment.
            let reached = time.after(Pace::Working, from, worked);
            prop_assert!(reached <= until);
            prop_assert_eq!(time.between(Pace::Working, from, reached), worked);
            if worked > TimeDelta::zero() {
                let before = time.between(Pace::Working, from, reached - TimeDelta::milliseconds(1));
                prop_assert!(before < worked);
            }
        }

        #[test]
        fn stopping_and_going_on_loses_nothing(cuts in prop::collection::vec(0_i64..2_000, 0..8)) {
            let time = hue_once();
            let mut now = at("2026-01-05T08:00");
            let mut watch = Stopwatch::started(1, Pace::Working, TimeDelta::hours(40), now);
            let mut spent = 0;
            for pair in cuts.chunks(2) {
                let run = now + TimeDelta::minutes(pair[0]);
                spent += counted(time, now, pair[0]);
                watch = watch.stopped(time, run);
                now = run + TimeDelta::minutes(pair.get(1).copied().unwrap_or(0));
                watch = watch.resumed(now);
                prop_assert_eq!(watch.spent(time, now).num_minutes(), spent);
            }
        }
    }

    fn hue_once() -> &'static WorkingTime {
        static HUE: std::sync::OnceLock<WorkingTime> = std::sync::OnceLock::new();
        HUE.get_or_init(hue)
    }
}

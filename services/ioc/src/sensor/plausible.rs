//! Which readings can be true: the rules before an alarm is raised. Pure.
//!
//! A reading that breaks a rule is kept with the rule's name and decides nothing. Readings of an exercise tell of the past, so that
//! their age says nothing.

use chrono::{DateTime, Datelike as _, TimeDelta, Utc};

/// How far a sensor's clock may be ahead.
pub(crate) const MOST_AHEAD: TimeDelta = TimeDelta::minutes(5);
/// How old a reading may be and still decide: a logger that was cut off tells of a river that has moved on.
const OLDEST: TimeDelta = TimeDelta::hours(24);
/// How far below the gauge's zero a river can be, in metres.
const LOWEST_M: f64 = -5.0;
/// How far above the highest reading ever, in metres.
const ABOVE_RECORD_M: f64 = 3.0;
/// What a river may move between two readings however close, in metres.
const MOST_AT_ONCE_M: f64 = 0.5;
/// And by each hour between them, in metres: more than any flood on record.
const MOST_HOURLY_M: f64 = 1.5;

/// So many readings in a row that agree with each other are believed, however far they lie from the one before.
const BELIEVED: u8 = 3;

/// What a reading is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quality {
    /// It decides about alarms.
    Good,
    /// No river stands there.
    OutOfRange,
    /// No river moves that fast.
    Jump,
    /// A newer one is known, or it is too old.
    Late,
}

impl Quality {
    /// The name in SQL, JSON and metrics.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::OutOfRange => "out-of-range",
            Self::Jump => "jump",
            Self::Late => "late",
        }
    }
}

/// A reading, and what it is judged by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    pub(crate) at: DateTime<Utc>,
    pub(crate) value: f64,
    /// The newest good reading of the same datastream.
    pub(crate) newest: Option<(DateTime<Utc>, f64)>,
    pub(crate) exercise: bool,
    /// The highest level on record, in metres; `None` where the datastream is not of a river.
    pub(crate) record_m: Option<f64>,
}

/// Readings in a row that no river gives after the newest good one, and that agree with each other: a gauge that was set anew.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Jumped {
    pub(crate) at: DateTime<Utc>,
    pub(crate) value: f64,
    pub(crate) count: u8,
}

impl Jumped {
    /// Whether so many agree that the river stands there.
    pub(crate) const fn is_believed(self) -> bool {
        self.count >= BELIEVED
    }
}

/// What one more such reading makes of those before it.
pub(crate) fn jumped(before: Option<Jumped>, at: DateTime<Utc>, value: f64) -> Jumped {
    let agreeing = before.filter(|before| at > before.at && !is_too_fast((before.at, before.value), (at, value)));
    Jumped { at, value, count: agreeing.map_or(1, |before| before.count.saturating_add(1)) }
}

/// Whether a river can't have moved from one reading to another.
fn is_too_fast((from, before): (DateTime<Utc>, f64), (to, after): (DateTime<Utc>, f64)) -> bool {
    // Readings lie less than some years apart.
    #[expect(clippy::cast_precision_loss, reason = "seconds of some years are exact in 53 bits")]
    let hours = (to - from).num_seconds() as f64 / 3600.0;
    (after - before).abs() > MOST_AT_ONCE_M + MOST_HOURLY_M * hours
}

/// Whether a time is one of which readings and questions may be, which the database and every reader can hold as well.
pub(crate) fn is_of_an_era(time: DateTime<Utc>) -> bool {
    (1900..=9999).contains(&time.year())
}

/// Judges a reading at a time.
pub(crate) fn judge(reading: &Reading, now: DateTime<Utc>) -> Quality {
    let Reading { at, value, newest, exercise, record_m } = *reading;
    let overtaken = newest.is_some_and(|(newest, _)| at <= newest);
    let old = !exercise && at < now - OLDEST;
    let Some(record_m) = record_m else {
        return if overtaken { Quality::Late } else { Quality::Good };
    };
    if !(LOWEST_M..=record_m + ABOVE_RECORD_M).contains(&value) {
        return Quality::OutOfRange;
    }
    if overtaken || old {
        return Quality::Late;
    }
    let jumps = newest.is_some_and(|newest| is_too_fast(newest, (at, value)));
    if jumps { Quality::Jump } else { Quality::Good }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_jumps_that_agree_with_each_other_are_believed() {
        let start: DateTime<Utc> = "2025-10-27T00:00:00Z".parse().expect("a time");
        let after = |values: &[(i64, f64)]| {
            let mut all = None;
            for (minutes, value) in values {
                all = Some(jumped(all, start + TimeDelta::minutes(*minutes), *value));
            }
            all.expect("some").is_believed()
        };
        assert!(after(&[(0, 7.0), (10, 7.1), (20, 7.2)]));
        assert!(!after(&[(0, 7.0), (10, 7.1)]));
        assert!(!after(&[(0, 7.0), (10, 0.4), (20, 7.0)]), "a gauge that knows nothing");
        assert!(!after(&[(0, 7.0), (10, 7.1), (10, 7.1)]), "a reading that comes again");
    }

    #[test]
    fn readings_that_no_river_gives_decide_nothing() {
        let now: DateTime<Utc> = "2025-10-27T00:00:00Z".parse().expect("a time");
        let before = now - TimeDelta::hours(1);
        let judged = |at, value, exercise| {
            let newest = Some((before, 3.0));
            judge(&Reading { at, value, newest, exercise, record_m: Some(5.81) }, now)
        };
        assert_eq!(judged(now, 4.9, false), Quality::Good);
        assert_eq!(judged(now, 5.1, false), Quality::Jump);
        assert_eq!(judged(now, 0.9, false), Quality::Jump);
        assert_eq!(judged(now, 9.0, false), Quality::OutOfRange);
        assert_eq!(judged(now, -5.1, false), Quality::OutOfRange);
        assert_eq!(judged(before, 3.1, false), Quality::Late);
        let first =
            |at, exercise| judge(&Reading { at, value: 3.0, newest: None, exercise, record_m: Some(5.81) }, now);
        assert_eq!(first(now - TimeDelta::hours(25), false), Quality::Late);
        assert_eq!(first(now - TimeDelta::days(400), true), Quality::Good);
        let rain = Reading { at: now, value: 995.2, newest: Some((before, 0.0)), exercise: false, record_m: None };
        assert_eq!(judge(&rain, now), Quality::Good);
    }
}

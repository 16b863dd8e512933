//! What the tallies count, one by one: the list behind each number. Nothing of whoever did it.
//!
//! Invariant: what is listed of a kind, an outcome and a time adds up to the tally of the same; both are written together.
//! It goes back [`LISTED_FOR`]. A number knows how much of it was counted before such things were listed.

use std::sync::Arc;

use chrono::{DateTime, Datelike as _, DurationRound as _, NaiveDate, TimeDelta, TimeZone as _, Utc};
use platform::clock::Clock;
use platform::events::Event;
use sqlx::PgPool;
use uuid::Uuid;

use crate::city::City;
use crate::sql;
use crate::tally::{Label, Sum};

/// How far back happenings are listed.
pub(crate) const LISTED_FOR: TimeDelta = TimeDelta::days(8);

/// One event, as what it was counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Happening {
    pub(crate) kind: String,
    pub(crate) outcome: String,
    pub(crate) happened_at: DateTime<Utc>,
    pub(crate) event_id: Uuid,
    /// The payment, top-up, message or report, where one event tells of one.
    pub(crate) reference: Option<Uuid>,
    /// How many things it tells of.
    pub(crate) count: i64,
    /// In minor units.
    pub(crate) amount: i64,
}

/// Where a happening stands in the list.
pub(crate) type Place = (DateTime<Utc>, Uuid, String);

impl Happening {
    /// What one event adds to one number.
    pub(crate) fn of(event: &Event, (label, sum): (&Label, Sum), reference: Option<Uuid>) -> Self {
        Self {
            kind: label.kind.clone(),
            outcome: label.outcome.clone(),
            happened_at: event.time,
            event_id: event.id,
            reference,
            count: sum.count,
            amount: sum.amount,
        }
    }

    /// Its place in the list.
    pub(crate) fn place(&self) -> Place {
        (self.happened_at, self.event_id, self.kind.clone())
    }
}

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) kinds: Vec<String>,
    /// All when absent.
    pub(crate) outcomes: Option<Vec<String>>,
    pub(crate) when: When,
}

/// A number that was asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Number {
    pub(crate) kind: String,
    pub(crate) outcome: String,
    /// How much of it was counted before such things were listed.
    pub(crate) unlisted: i64,
}

/// A piece of the list behind some numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Listed {
    /// One more than was asked for, where there is one more.
    pub(crate) rows: Vec<Happening>,
    /// How much of the numbers no row tells of.
    pub(crate) unlisted: i64,
    /// The first that is listed, where some of the numbers are not.
    pub(crate) since: Option<DateTime<Utc>>,
}

/// A time that numbers are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    Day(NaiveDate),
    /// The minute that a moment is in.
    Minute(DateTime<Utc>),
}

impl When {
    /// From when until before when; `None` past the ends of the calendar, ours or the database's.
    pub(crate) fn between(self, city: &City) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
        let (from, until) = match self {
            Self::Minute(moment) => {
                let minute = moment.duration_trunc(TimeDelta::minutes(1)).ok()?;
                (minute, minute.checked_add_signed(TimeDelta::minutes(1))?)
            }
            Self::Day(day) => (begin(city, day)?, begin(city, day.succ_opt()?)?),
        };
        is_storable(from).then_some((from, until))
    }
}

/// Whether the database knows such a time: it begins with the 48th century before our era.
pub(crate) fn is_storable(time: DateTime<Utc>) -> bool {
    time.year() > 0
}

/// When a day of the city begins: where midnight is left out, with the hour after it.
fn begin(city: &City, day: NaiveDate) -> Option<DateTime<Utc>> {
    let begins = |hour| city.zone.from_local_datetime(&day.and_hms_opt(hour, 0, 0)?).earliest();
    begins(0).or_else(|| begins(1)).map(|begin| begin.to_utc())
}

/// Reads the lists.
#[derive(Clone, Debug)]
pub(crate) struct Happenings {
    pub(crate) pool: PgPool,
    pub(crate) city: Arc<City>,
    pub(crate) clock: Clock,
}

impl Happenings {
    /// The time that was asked for; today when none was. `None` past the ends of the calendar.
    pub(crate) fn when(&self, asked: Option<When>) -> Option<When> {
        let when = asked.unwrap_or_else(|| When::Day(self.city.day(self.clock.now())));
        when.between(&self.city).map(|_| when)
    }

    /// What is wanted, the newest first, after a place; one more than `limit`.
    ///
    /// The numbers that were counted then say which outcomes there are, and so which rows a page has to read.
    pub(crate) async fn list(&self, wanted: &Wanted, after: Option<&Place>, limit: i64) -> Result<Listed, sqlx::Error> {
        let Some((from, until)) = wanted.when.between(&self.city) else { return Ok(Listed::default()) };
        let numbers = sql::happening::numbers(&self.pool, wanted, from).await?;
        // Before everything that may be listed then.
        let end = (until, Uuid::nil(), String::new());
        let before = after.map_or(&end, |place| place.min(&end));
        let rows = sql::happening::list(&self.pool, &numbers, (from, before), limit + 1).await?;
        let unlisted: i64 = numbers.iter().map(|number| number.unlisted).sum();
        let since = match unlisted {
            0 => None,
            _ => sql::happening::first(&self.pool, &numbers, (from, until)).await?,
        };
        Ok(Listed { rows, unlisted, since })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_and_a_minute_hold_what_is_counted_by_them() {
        let city = City {
            name: crate::city::Name::default(),
            zone: chrono_tz::Asia::Ho_Chi_Minh,
            currency: "VND".to_owned(),
            minor_digits: 0,
        };
        let at = |time: &str| time.parse::<DateTime<Utc>>().expect("a time");
        let day = When::Day("2025-11-23".parse().expect("a day")).between(&city).expect("in the calendar");
        assert_eq!(day, (at("2025-11-22T17:00:00Z"), at("2025-11-23T17:00:00Z")));
        assert!(city.day(day.0) < city.day(day.1) && city.day(day.0 - TimeDelta::nanoseconds(1)) < city.day(day.0));
        let minute = When::Minute(at("2025-11-22T17:00:00Z")).between(&city).expect("in the calendar");
        assert_eq!(minute.1 - minute.0, TimeDelta::minutes(1));
        for outside in [NaiveDate::MAX, NaiveDate::from_ymd_opt(-44, 3, 15).expect("a day")] {
            assert_eq!(When::Day(outside).between(&city), None);
        }
    }
}

//! What the wall's numbers of money and messages count, one by one: the list behind each number.
//!
//! Invariant: what is listed of a kind, an outcome and a time adds up to the tally of the same; both are written together.
//! It goes back [`LISTED_FOR`]; numbers from before the list began have none.

use std::sync::Arc;

use chrono::{DateTime, Datelike as _, NaiveDate, TimeDelta, TimeZone as _, Utc};
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
    /// The payment, top-up or message, where one event tells of one.
    pub(crate) reference: Option<Uuid>,
    /// How many things it tells of.
    pub(crate) count: i64,
    /// In minor units.
    pub(crate) amount: i64,
}

/// Where a happening stands in the list.
pub(crate) type Place = (DateTime<Utc>, Uuid, String);

impl Happening {
    /// What one event adds to one number; `None` for what is not listed.
    pub(crate) fn of(event: &Event, (label, sum): (&Label, Sum), reference: Option<Uuid>) -> Option<Self> {
        is_listed(&label.kind).then(|| Self {
            kind: label.kind.clone(),
            outcome: label.outcome.clone(),
            happened_at: event.time,
            event_id: event.id,
            reference,
            count: sum.count,
            amount: sum.amount,
        })
    }

    /// Its place in the list.
    pub(crate) fn place(&self) -> Place {
        (self.happened_at, self.event_id, self.kind.clone())
    }
}

/// Whether happenings of a kind are listed: all but what people and their sessions do.
fn is_listed(kind: &str) -> bool {
    !matches!(kind, "session" | "otp" | "citizen")
}

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) kinds: Vec<String>,
    /// All when absent.
    pub(crate) outcomes: Option<Vec<String>>,
    pub(crate) from: DateTime<Utc>,
    pub(crate) until: DateTime<Utc>,
}

/// A time that numbers are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    Day(NaiveDate),
    /// The minute that begins then.
    Minute(DateTime<Utc>),
}

impl When {
    /// From when until before when; `None` past the ends of the calendar, ours or the database's.
    pub(crate) fn between(self, city: &City) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
        let (from, until) = match self {
            Self::Minute(minute) => (minute, minute.checked_add_signed(TimeDelta::minutes(1))?),
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
    /// The time that was asked for; today when none was.
    pub(crate) fn between(&self, when: Option<When>) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
        when.unwrap_or_else(|| When::Day(self.city.day(self.clock.now()))).between(&self.city)
    }

    /// What is wanted, the newest first, after a place; one more than `limit`.
    pub(crate) async fn list(
        &self,
        wanted: &Wanted,
        after: Option<&Place>,
        limit: i64,
    ) -> Result<Vec<Happening>, sqlx::Error> {
        sql::happening::list(&self.pool, wanted, after, limit + 1).await
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

//! What the wallet takes from `city.toml`: the city's name on codes, and its zone, in which rules count days.

use std::path::Path;

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, TimeZone as _, Utc};
use ledger::limit::Calendar;
use platform::dataset::{Fault, read_toml};
use serde::Deserialize;

use crate::qr::{MAX_CITY, to_ascii};

/// The city.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The name that people use, in the city's first language.
    pub(crate) name: String,
    /// ISO 3166-1 alpha-2.
    pub(crate) country: String,
    zone: chrono_tz::Tz,
}

/// Other readers check the rest of the file.
#[derive(Deserialize)]
struct File {
    short_name: Name,
    country: String,
    time_zone: String,
}

#[derive(Deserialize)]
struct Name {
    vi: String,
}

impl Place {
    /// Reads `city.toml` of a city's folder.
    pub(crate) fn load(dir: &Path) -> Result<Self, Fault> {
        let path = dir.join("city.toml");
        let file = read_toml::<File>(&path)?.value;
        let zone =
            file.time_zone.parse().map_err(|_| Fault::new(&path, 0, "time_zone is not a zone of the IANA database"))?;
        if to_ascii(&file.short_name.vi, MAX_CITY).is_empty() {
            return Err(Fault::new(&path, 0, "short_name has no letter that a QR code can show"));
        }
        if file.country.len() != 2 || !file.country.bytes().all(|byte| byte.is_ascii_uppercase()) {
            return Err(Fault::new(&path, 0, "country is not two upper-case letters"));
        }
        Ok(Self { name: file.short_name.vi, country: file.country, zone })
    }

    /// When a day begins in the city.
    pub(crate) fn start_of(&self, day: NaiveDate) -> DateTime<Utc> {
        let begins = day.and_time(NaiveTime::MIN);
        // Where a clock is put forward at midnight, the day begins when it is.
        let hours = (0..24).map(|hours| self.zone.from_local_datetime(&(begins + TimeDelta::hours(hours))).earliest());
        hours.flatten().next().map_or_else(|| begins.and_utc(), |local| local.with_timezone(&Utc))
    }

    /// The zone in which the city counts days.
    pub(crate) fn zone(&self) -> chrono_tz::Tz {
        self.zone
    }

    /// The days in which the ledger counts for limits.
    pub(crate) fn calendar(&self) -> Calendar {
        Calendar::new(self.zone)
    }

    /// The day in the city.
    pub(crate) fn day(&self, at: DateTime<Utc>) -> NaiveDate {
        at.with_timezone(&self.zone).date_naive()
    }
}

//! The city as field reports know it: the city itself, wards, categories, working days, places.
//!
//! | file | module |
//! | --- | --- |
//! | `city.toml` | `profile` |
//! | `wards.csv`, `wards.geojson`, `wards.topojson` | `ward` |
//! | `report-categories.csv` | `category` |
//! | `holidays.csv` | `calendar` |
//! | `landmarks.csv`, `rivers.geojson`, `flood-levels.csv` | `place` (checked only) |
//!
//! Touches only those files. Wards are joined by code, never by name: sources spell names differently.
//! Invariant: [`City::load`] refuses everything that [`crate::check_city`] reports.

mod calendar;
mod category;
mod place;
mod profile;
#[cfg(test)]
mod tests;
mod ward;

use std::path::Path;

use platform::dataset::{Fault, Faults};

pub use calendar::{Calendar, DayKind};
pub use category::{Category, Lane};
pub use profile::{Name, Profile, Span};
pub use ward::{Ward, WardKind};

/// Everything that field reports read from the city's folder.
#[derive(Clone, Debug)]
pub struct City {
    /// The city itself.
    pub profile: Profile,
    /// Its wards and communes, by code.
    pub wards: Vec<Ward>,
    /// What a report can be about, in the order of the file.
    pub categories: Vec<Category>,
    /// Days off and Saturdays worked.
    pub calendar: Calendar,
}

impl City {
    /// Reads and checks a city's folder.
    ///
    /// # Errors
    /// Every fault found, with file and line.
    pub fn load(dir: &Path) -> Result<Self, Faults> {
        match read(dir) {
            (Some(city), faults) if faults.is_empty() => Ok(city),
            (_, faults) => Err(Faults(faults)),
        }
    }
}

/// The city unless `city.toml` can't be read, and every fault.
pub(crate) fn read(dir: &Path) -> (Option<City>, Vec<Fault>) {
    let mut faults = Vec::new();
    let profile = profile::read(dir, &mut faults);
    let wards = ward::read(dir, &mut faults);
    let categories = category::read(dir, &mut faults);
    let calendar = calendar::read(dir, &mut faults);
    place::check(dir, &wards, &mut faults);
    faults.sort();
    let city = profile.map(|profile| City {
        calendar: calendar.with_weekdays(&profile.working_days),
        profile,
        wards,
        categories,
    });
    (city, faults)
}

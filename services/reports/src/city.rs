//! The city as field reports know it: the city itself, wards, categories, working days, places.
//!
//! | file | module |
//! | --- | --- |
//! | `city.toml` | `profile` |
//! | `wards.csv`, `wards.geojson`, `wards.topojson` | `ward`, `shape` |
//! | `report-categories.csv`, `report-attributes.csv` | `category`, `form` |
//! | `agencies.csv`, `report-rules.csv` | `agency` |
//! | `holidays.csv` | `calendar` |
//! | `landmarks.csv`, `rivers.geojson`, `flood-levels.csv` | `place` (checked only) |
//!
//! Touches only those files. Wards are joined by code, never by name: sources spell names differently.
//! Invariant: [`City::load`] refuses everything that [`crate::check_city`] reports.

mod agency;
mod calendar;
mod category;
mod form;
mod place;
mod profile;
mod shape;
#[cfg(test)]
mod tests;
mod ward;

use std::path::Path;

use platform::dataset::{Fault, Faults};

pub use agency::{Agencies, Agency};
pub use calendar::{Calendar, DayKind};
pub use category::{Category, Lane};
pub(crate) use form::is_words;
pub use form::{Attribute, AttributeKind, Misfit, check as check_form};
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
    /// Who handles reports.
    pub agencies: Agencies,
    shapes: shape::Shapes,
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

    /// The ward that holds a point; `None` outside the city.
    pub fn ward_at(&self, lon: f64, lat: f64) -> Option<&Ward> {
        self.shapes.find(&self.wards, lon, lat).map(|index| &self.wards[index])
    }

    /// The ward with a code.
    pub fn ward(&self, code: &str) -> Option<&Ward> {
        self.wards.iter().find(|ward| ward.code == code)
    }

    /// What to call a category: its name, or the code of one that the city no longer has.
    pub fn name_of_category(&self, code: &str) -> Name {
        let name = self.category(code).map(|category| category.name.clone());
        name.unwrap_or_else(|| Name { vi: code.to_owned(), en: code.to_owned() })
    }

    /// The category with a code.
    pub fn category(&self, code: &str) -> Option<&Category> {
        self.categories.iter().find(|category| category.code == code)
    }
}

/// The city unless `city.toml` can't be read, and every fault.
pub(crate) fn read(dir: &Path) -> (Option<City>, Vec<Fault>) {
    let mut faults = Vec::new();
    let profile = profile::read(dir, &mut faults);
    let wards = ward::read(dir, &mut faults);
    let mut categories = category::read(dir, &mut faults);
    form::read(dir, &mut categories, &mut faults);
    let agencies = agency::read(dir, &wards, &categories, &mut faults);
    let calendar = calendar::read(dir, &mut faults);
    place::check(dir, &wards, &mut faults);
    let shapes = shape::read(dir, &wards).map_err(|fault| faults.push(fault)).unwrap_or_default();
    faults.sort();
    faults.dedup();
    let city = profile.map(|profile| City {
        calendar: calendar.with_weekdays(&profile.working_days),
        profile,
        wards,
        categories,
        agencies,
        shapes,
    });
    (city, faults)
}

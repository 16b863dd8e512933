//! What the operations centre takes from the city's folder: the name on the wall, the zone of its days, its currency.

use std::path::Path;

use chrono::{DateTime, NaiveDate, Utc};
use chrono_tz::Tz;
use platform::dataset::{Document, Fault, Spanned, read_toml};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The file in the city's folder.
const FILE: &str = "city.toml";

/// The city as the wall shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct City {
    /// Its name in both languages.
    pub name: Name,
    /// The zone that its days are counted in.
    pub zone: Tz,
    /// ISO 4217 code of the one currency of its books.
    pub currency: String,
    /// How many digits its minor unit has.
    pub minor_digits: u32,
}

/// A name in both languages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = CityName)]
pub struct Name {
    /// In Vietnamese.
    pub vi: String,
    /// In English.
    pub en: String,
}

/// The part of the file that is read here; the rest concerns other services.
#[derive(Deserialize)]
struct File {
    name: Name,
    time_zone: Spanned<String>,
    currency: Spanned<String>,
}

impl City {
    /// Reads `city.toml` in `dir`.
    ///
    /// # Errors
    /// The first fault, with its file and line.
    pub fn read(dir: &Path) -> Result<Self, Fault> {
        let read: Document<File> = read_toml(&dir.join(FILE))?;
        let File { name, time_zone, currency } = &read.value;
        let zone = time_zone.get_ref().parse().map_err(|_| {
            read.fault(time_zone, format_args!("`{}` is not a time zone of the tz database", time_zone.get_ref()))
        })?;
        let minor_digits = minor_digits(currency.get_ref()).ok_or_else(|| {
            read.fault(currency, format_args!("`{}` is not a currency that is known here", currency.get_ref()))
        })?;
        Ok(Self { name: name.clone(), zone, currency: currency.get_ref().clone(), minor_digits })
    }

    /// The day that a moment falls on.
    pub fn day(&self, at: DateTime<Utc>) -> NaiveDate {
        at.with_timezone(&self.zone).date_naive()
    }
}

/// The digits of a currency's minor unit (ISO 4217).
fn minor_digits(currency: &str) -> Option<u32> {
    match currency {
        "VND" | "JPY" | "KRW" => Some(0),
        "EUR" | "USD" | "THB" | "CNY" | "SGD" => Some(2),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use platform::embedded::scratch::TestFolder;

    use super::*;

    fn faults(text: &str) -> Vec<(u64, String)> {
        let folder = TestFolder::new("city").expect("a folder");
        std::fs::write(folder.path().join(FILE), text).expect("written");
        City::read(folder.path()).err().into_iter().map(|fault| (fault.line, fault.message)).collect()
    }

    #[test]
    fn a_fault_names_its_line() {
        let good = "# Origin: a test.\nname = { vi = \"Huế\", en = \"Hue\" }\ntime_zone = \"Asia/Ho_Chi_Minh\"\ncurrency = \"VND\"\nmore = 1\n";
        assert_eq!(faults(good), []);
        let zone = faults(&good.replace("Ho_Chi_Minh", "Hue"));
        assert_eq!(zone[0].0, 3, "{zone:?}");
        let currency = faults(&good.replace("VND", "XXX"));
        assert_eq!(currency[0].0, 4, "{currency:?}");
        assert_eq!(faults(&good.replace("currency", "money")).len(), 1);
    }
}

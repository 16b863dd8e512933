//! What messages need of the city's folder: its wards (`wards.csv`), its zone (`city.toml`), who warns (`warnings.toml`), and what the
//! categories of field reports and the agencies are called (`report-categories.csv`, `agencies.csv`).
//!
//! Reads nothing else and writes nothing. Whether wards have shapes is checked by field reports, which own them, as categories are.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use chrono::{DateTime, FixedOffset, Offset as _, SubsecRound as _, TimeZone as _, Utc};
use platform::dataset::{Fault, Faults, read_csv, read_toml};
use serde::Deserialize;

use crate::alert::Bilingual;
use crate::error::Error;

/// The city, as messages know it.
#[derive(Clone, Debug)]
pub(crate) struct City {
    /// Full names of the wards by code.
    pub(crate) wards: BTreeMap<String, Bilingual>,
    /// The box around each ward, by code: west, south, east, north, in degrees.
    pub(crate) boxes: BTreeMap<String, [f64; 4]>,
    pub(crate) warner: Warner,
    pub(crate) zone: chrono_tz::Tz,
    /// Names of the categories of field reports by code.
    categories: BTreeMap<String, Bilingual>,
    /// Names of the agencies by code; one that every ward has stands there without the ward's code.
    agencies: BTreeMap<String, Bilingual>,
}

/// Who warns.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Warner {
    /// CAP's `sender`.
    pub(crate) sender: String,
    /// What people call it.
    pub(crate) sender_name: Bilingual,
    /// Stands before the number of each document.
    pub(crate) identifier_prefix: String,
}

#[derive(Deserialize)]
struct WardRow {
    code: String,
    full_name: String,
    full_name_en: String,
    min_lon: f64,
    min_lat: f64,
    max_lon: f64,
    max_lat: f64,
}

#[derive(Deserialize)]
struct NameRow {
    code: String,
    name_vi: String,
    name_en: String,
}

#[derive(Deserialize)]
struct Profile {
    time_zone: String,
}

impl City {
    /// Reads the files in `dir`.
    ///
    /// # Errors
    /// The first fault of each file.
    pub(crate) fn read(dir: &Path) -> Result<Self, Faults> {
        let (categories, agencies) = (read_names(dir, "report-categories.csv"), read_names(dir, "agencies.csv"));
        match (read_wards(dir), read_warner(dir), read_zone(dir), categories, agencies) {
            (Ok((wards, boxes)), Ok(warner), Ok(zone), Ok(categories), Ok(agencies)) => {
                Ok(Self { wards, boxes, warner, zone, categories, agencies })
            }
            (wards, warner, zone, categories, agencies) => {
                let faults = [wards.err(), warner.err(), zone.err(), categories.err(), agencies.err()];
                Err(Faults(faults.into_iter().flatten().collect()))
            }
        }
    }

    /// What a category of field reports is called; its code when the city has none such any more.
    pub(crate) fn category(&self, code: &str) -> Bilingual {
        let name = self.categories.get(code).cloned();
        name.unwrap_or_else(|| Bilingual { vi: code.to_owned(), en: code.to_owned() })
    }

    /// What an agency is called, with the ward that it is for; its code when the city has none such any more.
    pub(crate) fn agency(&self, code: &str) -> Bilingual {
        let of_ward = || {
            let (agency, ward) = code.rsplit_once('-')?;
            let (agency, ward) = (self.agencies.get(agency)?, self.wards.get(ward)?);
            Some(Bilingual { vi: format!("{} {}", agency.vi, ward.vi), en: format!("{}, {}", agency.en, ward.en) })
        };
        let name = self.agencies.get(code).cloned().or_else(of_ward);
        name.unwrap_or_else(|| Bilingual { vi: code.to_owned(), en: code.to_owned() })
    }

    /// Checks codes: one to `max`, all known, none twice.
    ///
    /// # Errors
    /// [`Error::WardCount`], [`Error::WardUnknown`], [`Error::WardTwice`].
    pub(crate) fn check_wards(&self, codes: &[String], max: usize) -> Result<(), Error> {
        if codes.is_empty() || codes.len() > max {
            return Err(Error::WardCount { max });
        }
        let mut seen = BTreeSet::new();
        for code in codes {
            if !self.wards.contains_key(code) {
                return Err(Error::WardUnknown(code.clone()));
            }
            if !seen.insert(code) {
                return Err(Error::WardTwice(code.clone()));
            }
        }
        Ok(())
    }

    /// A time as the city's clocks show it, in whole seconds and with a numeric offset.
    pub(crate) fn local(&self, time: DateTime<Utc>) -> DateTime<FixedOffset> {
        let offset = self.zone.offset_from_utc_datetime(&time.naive_utc()).fix();
        time.trunc_subsecs(0).with_timezone(&offset)
    }
}

/// Names and boxes by code.
type Wards = (BTreeMap<String, Bilingual>, BTreeMap<String, [f64; 4]>);

fn read_wards(dir: &Path) -> Result<Wards, Fault> {
    let path = dir.join("wards.csv");
    let (mut wards, mut boxes) = (BTreeMap::new(), BTreeMap::new());
    for (line, row) in read_csv::<WardRow>(&path)? {
        boxes.insert(row.code.clone(), [row.min_lon, row.min_lat, row.max_lon, row.max_lat]);
        let name = Bilingual { vi: row.full_name, en: row.full_name_en };
        if wards.insert(row.code.clone(), name).is_some() {
            return Err(Fault::new(&path, line, format_args!("ward {} stands there twice", row.code)));
        }
    }
    if wards.is_empty() { Err(Fault::new(&path, 0, "has no ward")) } else { Ok((wards, boxes)) }
}

fn read_names(dir: &Path, file: &str) -> Result<BTreeMap<String, Bilingual>, Fault> {
    let name = |row: NameRow| (row.code, Bilingual { vi: row.name_vi, en: row.name_en });
    Ok(read_csv::<NameRow>(&dir.join(file))?.into_iter().map(|(_, row)| name(row)).collect())
}

fn read_warner(dir: &Path) -> Result<Warner, Fault> {
    let path = dir.join("warnings.toml");
    let warner = read_toml::<Warner>(&path)?.value;
    for (field, text) in [("sender", &warner.sender), ("identifier_prefix", &warner.identifier_prefix)] {
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic() && !b",<&".contains(&byte)) {
            return Err(Fault::new(&path, 0, format_args!("{field} is empty or has a space, a comma, < or &")));
        }
    }
    Ok(warner)
}

fn read_zone(dir: &Path) -> Result<chrono_tz::Tz, Fault> {
    let path = dir.join("city.toml");
    let zone = read_toml::<Profile>(&path)?.value.time_zone;
    zone.parse().map_err(|_| Fault::new(&path, 0, "time_zone is not a zone of the IANA database"))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::PathBuf;

    use super::*;

    /// The folder of Huế.
    pub(crate) fn folder() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/city/hue")
    }

    pub(crate) fn hue() -> City {
        City::read(&folder()).expect("Huế's folder is good")
    }

    #[test]
    fn hue_has_forty_wards_and_local_times_have_a_numeric_offset() {
        let city = hue();
        assert_eq!(city.wards.len(), 40);
        assert_eq!(city.wards["19774"].vi, "Phường Kim Long");
        let time = DateTime::from_timestamp_millis(1_761_523_200_750).expect("a time");
        assert_eq!(city.local(time).to_rfc3339(), "2025-10-27T07:00:00+07:00");
        assert_eq!(City::read(Path::new("/nowhere")).expect_err("no folder").0.len(), 5);
        assert_eq!(city.category("CS").en, "Street lighting");
        assert_eq!(city.agency("HEPCO").en, "Hue Urban Environment and Public Works");
        assert_eq!(city.agency("UBND-19774").vi, "UBND Phường Kim Long");
        assert_eq!(city.agency("GONE").vi, "GONE");
    }
}

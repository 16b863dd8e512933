//! Agencies that fees are owed to, from `agencies.csv`; who handles which report is for the service of field reports to read there.

use std::collections::BTreeMap;
use std::path::Path;

use platform::dataset::{Faults, read_csv_faults};
use platform::http::Language;
use serde::Deserialize;

const FILE: &str = "agencies.csv";

/// One agency.
#[derive(Clone, Debug, Deserialize)]
pub struct Agency {
    code: String,
    /// Its name in Vietnamese.
    pub name_vi: String,
    /// Its name in English.
    pub name_en: String,
}

impl Agency {
    /// The name in a language.
    pub fn name(&self, language: Language) -> &str {
        match language {
            Language::Vi => &self.name_vi,
            Language::En => &self.name_en,
        }
    }
}

/// All agencies of the city's folder, by code.
#[derive(Clone, Debug, Default)]
pub struct Agencies(BTreeMap<String, Agency>);

impl Agencies {
    /// The agency of a code; one of a ward has the ward's code after a hyphen.
    pub fn get(&self, code: &str) -> Option<&Agency> {
        self.0.get(code).or_else(|| self.0.get(code.split_once('-')?.0))
    }
}

/// Reads the agencies of a city's folder.
pub fn load_agencies(dir: &Path) -> Result<Agencies, Faults> {
    let (rows, faults) = read_csv_faults::<Agency>(&dir.join(FILE));
    if !faults.is_empty() {
        return Err(Faults(faults));
    }
    Ok(Agencies(rows.into_iter().map(|(_, row)| (row.code.clone(), row)).collect()))
}

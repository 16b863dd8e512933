//! Which billers the sandbox plays: those of the city's list that sell what it can price.

use std::path::Path;

use platform::dataset::{Fault, Faults, read_csv};
use serde::Deserialize;

use super::tariff::{self, Tariffs, Utility};

/// The city's list; the wallet checks all of it.
const FILE: &str = "billers.csv";

/// The billers of a city and their prices; by default none.
#[derive(Clone, Debug, Default)]
pub struct Billers {
    pub(crate) profiles: Vec<Profile>,
    pub(super) tariffs: Tariffs,
}

/// One biller.
#[derive(Clone, Debug)]
pub(crate) struct Profile {
    pub(crate) code: String,
    pub(crate) utility: Utility,
    pub(crate) customer_code_prefix: String,
    pub(crate) customer_code_digits: u8,
}

#[derive(Deserialize)]
struct Row {
    code: String,
    kind: String,
    customer_code_prefix: String,
    customer_code_digits: u8,
}

impl Billers {
    /// Reads a city's folder.
    ///
    /// # Errors
    /// When one of the files is wrong.
    pub fn load(dir: &Path) -> Result<Self, Faults> {
        let profile = |row: Row| {
            Some(Profile {
                utility: Utility::named(&row.kind)?,
                code: row.code,
                customer_code_prefix: row.customer_code_prefix,
                customer_code_digits: row.customer_code_digits,
            })
        };
        let rows = read_csv::<Row>(&dir.join(FILE))?;
        let profiles = rows.into_iter().filter_map(|(_, row)| profile(row)).collect();
        Ok(Self { profiles, tariffs: Tariffs::load(dir)? })
    }

    /// The codes of the billers that are played.
    pub fn codes(&self) -> impl Iterator<Item = &str> {
        self.profiles.iter().map(|profile| profile.code.as_str())
    }
}

/// Every fault of the files by which billers price, in a city's folder.
pub fn check_city(dir: &Path) -> Vec<Fault> {
    tariff::read(dir).1
}

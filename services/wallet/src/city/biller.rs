//! Whose bills citizens pay, from `billers.csv`.
//!
//! Invariant: a code stands once. A code is part of paths and of account ids: it is never given to another biller.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use platform::dataset::{Fault, Faults, read_csv_faults};
use platform::http::Language;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

const FILE: &str = "billers.csv";
/// Characters of a biller's code.
const CODE_LENGTHS: std::ops::RangeInclusive<usize> = 2..=16;
/// Characters of a customer code.
const CUSTOMER_CODE_LENGTHS: std::ops::RangeInclusive<usize> = 4..=20;

/// What a biller delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, sqlx::Type, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[sqlx(type_name = "text", rename_all = "kebab-case")]
pub enum BillerKind {
    /// Electricity.
    Electricity,
    /// Water.
    Water,
    /// A fee of a public service; never a biller's.
    Fee,
}

impl BillerKind {
    /// The name in the database and in events.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Electricity => "electricity",
            Self::Water => "water",
            Self::Fee => "fee",
        }
    }
}

/// One biller.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Biller {
    /// Short code in upper case.
    pub code: String,
    /// What it delivers.
    pub kind: BillerKind,
    name_vi: String,
    name_en: String,
    /// What every customer code begins with.
    pub customer_code_prefix: String,
    /// How many digits follow.
    pub customer_code_digits: u8,
}

impl Biller {
    /// The name in a language.
    pub fn name(&self, language: Language) -> &str {
        match language {
            Language::Vi => &self.name_vi,
            Language::En => &self.name_en,
        }
    }

    /// Whether a text has the form of this biller's customer codes.
    pub fn takes(&self, customer_code: &str) -> bool {
        let digits = customer_code.strip_prefix(&self.customer_code_prefix).unwrap_or_default();
        digits.len() == usize::from(self.customer_code_digits) && digits.bytes().all(|byte| byte.is_ascii_digit())
    }

    fn faults(&self) -> Vec<String> {
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
        let mut faults = Vec::new();
        if !CODE_LENGTHS.contains(&self.code.len()) || !plain(&self.code) {
            faults.push(format!("code {:?} is not 2 to 16 upper-case letters and digits", self.code));
        }
        if self.kind == BillerKind::Fee {
            faults.push("fees are agencies' to ask for, no biller's".to_owned());
        }
        if self.name_vi.trim().is_empty() || self.name_en.trim().is_empty() {
            faults.push("a name is missing".to_owned());
        }
        if !plain(&self.customer_code_prefix) {
            faults.push(format!("prefix {:?} is not upper-case letters and digits", self.customer_code_prefix));
        }
        let length = self.customer_code_prefix.len() + usize::from(self.customer_code_digits);
        if !CUSTOMER_CODE_LENGTHS.contains(&length) {
            faults.push(format!("customer codes have 4 to 20 characters, not {length}"));
        }
        faults
    }
}

/// All billers of the city's folder, by code.
#[derive(Clone, Debug, Default)]
pub struct Billers(BTreeMap<String, Biller>);

impl Billers {
    /// Every biller, by code.
    pub fn iter(&self) -> impl Iterator<Item = &Biller> {
        self.0.values()
    }

    /// The biller of a code.
    pub fn get(&self, code: &str) -> Option<&Biller> {
        self.0.get(code)
    }
}

/// Reads the billers of a city's folder.
pub fn load_billers(dir: &Path) -> Result<Billers, Faults> {
    let (billers, faults) = read(dir);
    if faults.is_empty() { Ok(billers) } else { Err(Faults(faults)) }
}

pub(super) fn read(dir: &Path) -> (Billers, Vec<Fault>) {
    let path = dir.join(FILE);
    let (rows, mut faults) = read_csv_faults::<Biller>(&path);
    let mut lines = HashMap::new();
    for (line, row) in &rows {
        faults.extend(row.faults().into_iter().map(|message| Fault::new(&path, *line, message)));
        if let Some(first) = lines.insert(row.code.as_str(), *line) {
            faults.push(Fault::new(&path, *line, format!("code {} stands on line {first} already", row.code)));
        }
    }
    (Billers(rows.into_iter().map(|(_, row)| (row.code.clone(), row)).collect()), faults)
}

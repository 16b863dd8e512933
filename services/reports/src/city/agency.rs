//! Who handles reports, from `agencies.csv`, and whom a report is proposed for, from `report-rules.csv`.
//!
//! Which agency stands above which is in `agencies.csv`, too; identity checks it there.

use std::collections::HashMap;
use std::path::Path;

use platform::dataset::{Fault, read_csv_faults};
use serde::Deserialize;

use super::{Category, Name, Ward};

const AGENCIES: &str = "agencies.csv";
const RULES: &str = "report-rules.csv";
const ANY: &str = "*";
const MAX_CODE: usize = 12;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Scope {
    City,
    Ward,
}

/// One agency.
#[derive(Clone, Debug)]
pub struct Agency {
    /// Its stable code; that of a ward's agency ends with the ward's code.
    pub code: String,
    /// Its name.
    pub name: Name,
}

/// All agencies, and the rules.
#[derive(Clone, Debug, Default)]
pub struct Agencies {
    by_code: HashMap<String, Agency>,
    scopes: HashMap<String, Scope>,
    /// By code, all codes below; an agency without any is not in it.
    below: HashMap<String, Vec<String>>,
    rules: HashMap<(String, String), String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AgencyRow {
    code: String,
    name_vi: String,
    name_en: String,
    scope: Scope,
    parent: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleRow {
    category: String,
    ward: String,
    agency: String,
}

impl Agencies {
    /// The agency with a code.
    pub fn get(&self, code: &str) -> Option<&Agency> {
        self.by_code.get(code)
    }

    /// The codes of an agency and of all below it.
    pub fn within(&self, code: &str) -> Vec<String> {
        let below = self.below.get(code).into_iter().flatten();
        std::iter::once(code).chain(below.map(String::as_str)).map(str::to_owned).collect()
    }

    /// Whom a report is proposed for; `None` when no rule fits, or the agency depends on a ward that is not known.
    pub fn propose(&self, category: &str, ward: Option<&str>) -> Option<&Agency> {
        let rule = |ward: &str| self.rules.get(&(category.to_owned(), ward.to_owned()));
        let code = ward.and_then(rule).or_else(|| rule(ANY))?;
        match self.scopes.get(code)? {
            Scope::City => self.get(code),
            Scope::Ward => self.get(&in_ward(code, ward?)),
        }
    }
}

fn in_ward(code: &str, ward: &str) -> String {
    format!("{code}-{ward}")
}

pub(super) fn read(dir: &Path, wards: &[Ward], categories: &[Category], faults: &mut Vec<Fault>) -> Agencies {
    let mut agencies = Agencies::default();
    let path = dir.join(AGENCIES);
    let (rows, mut found) = read_csv_faults::<AgencyRow>(&path);
    for (line, row) in &rows {
        let line = *line;
        let plain = row.code.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
        if row.code.is_empty() || row.code.len() > MAX_CODE || !plain {
            let message = format!("code {:?} is not 1 to {MAX_CODE} capital letters and digits", row.code);
            found.push(Fault::new(&path, line, message));
        }
        if row.name_vi.trim().is_empty() || row.name_en.trim().is_empty() {
            found.push(Fault::new(&path, line, "a name is missing"));
        }
        if agencies.scopes.insert(row.code.clone(), row.scope).is_some() {
            found.push(Fault::new(&path, line, format!("agency {} stands twice", row.code)));
        }
        agencies.add(row, wards);
    }
    agencies.place(&rows.iter().map(|(_, row)| row).collect::<Vec<_>>(), wards);
    faults.append(&mut found);
    rules(dir, wards, categories, &mut agencies, faults);
    agencies
}

impl Agencies {
    /// Writes each agency down below all that stand above it. No way up is longer than the file.
    fn place(&mut self, rows: &[&AgencyRow], wards: &[Ward]) {
        let by_code: HashMap<&str, &AgencyRow> = rows.iter().map(|row| (row.code.as_str(), *row)).collect();
        let up = |row: &AgencyRow| by_code.get(row.parent.as_deref()?).copied();
        for row in rows {
            for above in std::iter::successors(up(row), |row| up(row)).take(rows.len()) {
                match (row.scope, above.scope) {
                    (Scope::City, _) => self.put_below(above.code.clone(), row.code.clone()),
                    (Scope::Ward, Scope::City) => {
                        wards
                            .iter()
                            .for_each(|ward| self.put_below(above.code.clone(), in_ward(&row.code, &ward.code)));
                    }
                    (Scope::Ward, Scope::Ward) => wards.iter().for_each(|ward| {
                        self.put_below(in_ward(&above.code, &ward.code), in_ward(&row.code, &ward.code));
                    }),
                }
            }
        }
    }

    fn put_below(&mut self, above: String, code: String) {
        self.below.entry(above).or_default().push(code);
    }

    fn add(&mut self, row: &AgencyRow, wards: &[Ward]) {
        let places: Vec<Option<&Ward>> = match row.scope {
            Scope::City => vec![None],
            Scope::Ward => wards.iter().map(Some).collect(),
        };
        for ward in places {
            let (code, vi, en) = match ward {
                None => (row.code.clone(), row.name_vi.clone(), row.name_en.clone()),
                Some(ward) => (
                    in_ward(&row.code, &ward.code),
                    format!("{} {}", row.name_vi, ward.full_name),
                    format!("{}, {}", row.name_en, ward.full_name_en),
                ),
            };
            self.by_code.insert(code.clone(), Agency { code, name: Name { vi, en } });
        }
    }
}

fn rules(dir: &Path, wards: &[Ward], categories: &[Category], agencies: &mut Agencies, faults: &mut Vec<Fault>) {
    let path = dir.join(RULES);
    let (rows, mut found) = read_csv_faults::<RuleRow>(&path);
    for (line, row) in rows {
        let mut fault = |message: String| found.push(Fault::new(&path, line, message));
        if !categories.iter().any(|category| category.code == row.category) {
            fault(format!("category {} is not in report-categories.csv", row.category));
        }
        if row.ward != ANY && !wards.iter().any(|ward| ward.code == row.ward) {
            fault(format!("ward {} is not in wards.csv", row.ward));
        }
        if !agencies.scopes.contains_key(&row.agency) {
            fault(format!("agency {} is not in {AGENCIES}", row.agency));
        }
        let key = (row.category, row.ward);
        if agencies.rules.contains_key(&key) {
            fault(format!("category {} and ward {} stand twice", key.0, key.1));
        }
        agencies.rules.insert(key, row.agency);
    }
    for category in categories {
        if !agencies.rules.contains_key(&(category.code.clone(), ANY.to_owned())) {
            found.push(Fault::new(&path, 0, format!("category {} has no rule for every ward", category.code)));
        }
    }
    faults.append(&mut found);
}

//! Reads the tree from the city's folder: `agencies.csv`, the codes of `wards.csv`, and who keeps the wards' registers (`registry.toml`).
//!
//! Invariant: [`Organisations::load`] refuses everything that [`check`] reports. The form of codes and names is checked by the
//! service of field reports, whose file it is too.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use platform::dataset::{Fault, Faults, line_containing, read_csv_faults, read_toml};
use serde::Deserialize;

use super::tree::{Name, Organisation, Organisations};

const AGENCIES: &str = "agencies.csv";
const WARDS: &str = "wards.csv";
const REGISTRY: &str = "registry.toml";

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Scope {
    City,
    Ward,
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
struct WardRow {
    code: String,
    full_name: String,
    full_name_en: String,
}

impl Organisations {
    /// Reads and checks the organisations of a city's folder.
    ///
    /// # Errors
    /// Every fault, with file and line.
    pub fn load(dir: &Path) -> Result<Self, Faults> {
        let (organisations, faults) = read(dir);
        if faults.is_empty() { Ok(organisations) } else { Err(Faults(faults)) }
    }
}

/// Every fault of the tree in a city's folder.
pub(crate) fn check(dir: &Path) -> Vec<Fault> {
    read(dir).1
}

fn read(dir: &Path) -> (Organisations, Vec<Fault>) {
    let path = dir.join(AGENCIES);
    let (rows, mut faults) = read_csv_faults::<AgencyRow>(&path);
    // Faults of the wards themselves are reported by those whose file it is.
    let wards: Vec<WardRow> = read_csv_faults(&dir.join(WARDS)).0.into_iter().map(|(_, ward)| ward).collect();
    let by_code: BTreeMap<&str, &AgencyRow> = rows.iter().map(|(_, row)| (row.code.as_str(), row)).collect();
    for (line, row) in &rows {
        if let Some(message) = misplaced(row, &by_code) {
            faults.push(Fault::new(&path, *line, message));
        }
    }
    if !faults.is_empty() {
        return (Organisations::default(), faults);
    }
    let all = rows.iter().flat_map(|(_, row)| in_places(row, &by_code, &wards)).collect();
    let codes: BTreeSet<String> = wards.into_iter().map(|ward| ward.code).collect();
    let registry = match registry(dir, &by_code) {
        Ok(registry) => registry,
        Err(fault) => {
            faults.push(fault);
            None
        }
    };
    (Organisations::new(all, codes).kept_by(registry), faults)
}

/// Which agency of the wards keeps their registers of people; none in a city that registers nobody for a guardian.
fn registry(dir: &Path, by_code: &BTreeMap<&str, &AgencyRow>) -> Result<Option<String>, Fault> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct RegistryFile {
        agency: String,
    }
    let path = dir.join(REGISTRY);
    if !path.exists() {
        return Ok(None);
    }
    let RegistryFile { agency } = read_toml::<RegistryFile>(&path)?.value;
    if by_code.get(agency.as_str()).is_some_and(|row| row.scope == Scope::Ward) {
        return Ok(Some(agency));
    }
    let line = line_containing(&path, "agency");
    Err(Fault::new(&path, line, format_args!("agency {agency:?} is no agency of wards in {AGENCIES}")))
}

/// What is wrong with where an agency stands.
fn misplaced(row: &AgencyRow, by_code: &BTreeMap<&str, &AgencyRow>) -> Option<String> {
    let parent_code = row.parent.as_deref()?;
    let Some(parent) = by_code.get(parent_code) else {
        return Some(format!("parent {parent_code} is not in {AGENCIES}"));
    };
    if row.scope == Scope::City && parent.scope == Scope::Ward {
        return Some(format!(
            "{} is the whole city's and can't stand below {parent_code}, which is a ward's",
            row.code
        ));
    }
    let mut above = std::iter::successors(Some(*parent), |one| by_code.get(one.parent.as_deref()?).copied());
    // A way up that is longer than the file goes round in a circle.
    let circle = above.nth(by_code.len()).is_some();
    circle.then(|| format!("{} stands above itself", row.code))
}

/// The agency, or the one of each ward.
fn in_places(row: &AgencyRow, by_code: &BTreeMap<&str, &AgencyRow>, wards: &[WardRow]) -> Vec<Organisation> {
    let Scope::Ward = row.scope else {
        let name = Name { vi: row.name_vi.clone(), en: row.name_en.clone() };
        return vec![Organisation { code: row.code.clone(), name, parent: row.parent.clone(), ward: None }];
    };
    let parent_in = |ward: &WardRow| {
        let parent = by_code.get(row.parent.as_deref()?)?;
        Some(if parent.scope == Scope::Ward { format!("{}-{}", parent.code, ward.code) } else { parent.code.clone() })
    };
    let of_ward = |ward: &WardRow| Organisation {
        code: format!("{}-{}", row.code, ward.code),
        name: Name {
            vi: format!("{} {}", row.name_vi, ward.full_name),
            en: format!("{}, {}", row.name_en, ward.full_name_en),
        },
        parent: parent_in(ward),
        ward: Some(ward.code.clone()),
    };
    wards.iter().map(of_ward).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use platform::embedded::scratch::TestFolder;

    use super::*;

    fn city() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/city/hue")
    }

    #[test]
    fn the_citys_agencies_stand_below_each_other() {
        let known = Organisations::load(&city()).expect("the tree is sound");
        let chain = |code: &str| known.upwards(code).map(|one| one.code.clone()).collect::<Vec<_>>();
        assert_eq!(chain("KTHT-19753"), ["KTHT-19753", "UBND-19753"]);
        assert_eq!(chain("TNDT"), ["TNDT", "HEPCO"]);
        assert_eq!(chain("KTHT"), Vec::<String>::new(), "there is one in each ward");
        assert_eq!(known.within("HEPCO"), ["HEPCO", "TNDT"]);
        let office = known.get("KTHT-19753").expect("it is there");
        assert!(office.ward.as_deref() == Some("19753") && office.name.en.contains("Office"), "{office:?}");
        assert_eq!(known.after(None).count(), known.after(Some("CA-")).count());
        assert!(known.after(Some("HEPCO")).all(|one| one.code.as_str() > "HEPCO"));
    }

    #[test]
    fn faults_name_file_and_line() {
        let faults = |rows: &str| {
            let folder = TestFolder::new("agencies").expect("a folder");
            let path = folder.path().join(AGENCIES);
            fs::copy(city().join(WARDS), folder.path().join(WARDS)).expect("copied");
            fs::write(&path, format!("# Origin: a test\ncode,name_vi,name_en,scope,parent\n{rows}")).expect("written");
            let shown = path.display().to_string();
            check(folder.path()).iter().map(|fault| fault.to_string().replace(&shown, AGENCIES)).collect::<Vec<_>>()
        };
        assert_eq!(faults("A,a,a,city,\nB,b,b,ward,A\nC,c,c,ward,B\n"), Vec::<String>::new());
        assert_eq!(faults("A,a,a,city,X\n"), ["agencies.csv:3: parent X is not in agencies.csv"]);
        assert_eq!(
            faults("A,a,a,ward,\nB,b,b,city,A\n"),
            ["agencies.csv:4: B is the whole city's and can't stand below A, which is a ward's"]
        );
        assert_eq!(
            faults("A,a,a,city,B\nB,b,b,city,A\n"),
            ["agencies.csv:3: A stands above itself", "agencies.csv:4: B stands above itself"]
        );
        assert_eq!(faults("A,a,a,city,A\n"), ["agencies.csv:3: A stands above itself"]);
    }
}

//! The names of the city's wards and agencies and the map of its wards, from `wards.csv`, `agencies.csv` and `wards.topojson`.
//!
//! Of these files only what the wall shows is read; who handles what is the business of field reports, which also check them whole.

use std::path::Path;

use platform::dataset::{Fault, Faults, read_csv, read_json, read_text};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::city::Name;

const WARDS: &str = "wards.csv";
const AGENCIES: &str = "agencies.csv";
const MAP: &str = "wards.topojson";

/// A ward or an agency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Named {
    /// Its code, as in all figures.
    #[schema(example = "19753")]
    pub code: String,
    /// What it is called.
    pub name: Name,
}

/// What the codes of the figures mean.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Directory {
    /// Wards and communes, by code.
    pub wards: Vec<Named>,
    /// Agencies that handle field reports. One that every ward has stands once for each, its code ending with the ward's.
    pub agencies: Vec<Named>,
}

/// The directory and the map.
#[derive(Clone, Debug)]
pub struct Places {
    /// What codes mean.
    pub directory: Directory,
    /// The map's file, TopoJSON.
    pub map: String,
}

#[derive(Deserialize)]
struct Ward {
    code: String,
    full_name: String,
    full_name_en: String,
}

#[derive(Deserialize)]
struct Agency {
    code: String,
    name_vi: String,
    name_en: String,
    scope: Scope,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Scope {
    City,
    Ward,
}

#[derive(Deserialize)]
struct Topology {
    #[serde(rename = "type")]
    kind: String,
}

impl Places {
    /// Reads the files in `dir`.
    ///
    /// # Errors
    /// The first fault of each file.
    pub fn read(dir: &Path) -> Result<Self, Faults> {
        let wards: Result<Vec<_>, _> = read_csv::<Ward>(&dir.join(WARDS));
        let agencies: Result<Vec<_>, _> = read_csv::<Agency>(&dir.join(AGENCIES));
        match (wards, agencies, read_map(&dir.join(MAP))) {
            (Ok(wards), Ok(agencies), Ok(map)) => Ok(Self { directory: Directory::new(wards, agencies), map }),
            (wards, agencies, map) => {
                Err(Faults([wards.err(), agencies.err(), map.err()].into_iter().flatten().collect()))
            }
        }
    }
}

fn read_map(path: &Path) -> Result<String, Fault> {
    let topology: Topology = read_json(path)?;
    if topology.kind == "Topology" { read_text(path) } else { Err(Fault::new(path, 1, "is not a TopoJSON topology")) }
}

impl Directory {
    fn new(wards: Vec<(u64, Ward)>, agencies: Vec<(u64, Agency)>) -> Self {
        let mut wards: Vec<Named> = wards.into_iter().map(|(_, ward)| ward.into_named()).collect();
        wards.sort_by(|one, other| one.code.cmp(&other.code));
        let agencies = agencies.iter().flat_map(|(_, agency)| agency.everywhere(&wards)).collect();
        Self { wards, agencies }
    }
}

impl Ward {
    fn into_named(self) -> Named {
        Named { code: self.code, name: Name { vi: self.full_name, en: self.full_name_en } }
    }
}

impl Agency {
    fn everywhere(&self, wards: &[Named]) -> Vec<Named> {
        let (code, vi, en) = (&self.code, &self.name_vi, &self.name_en);
        match self.scope {
            Scope::City => vec![Named { code: code.clone(), name: Name { vi: vi.clone(), en: en.clone() } }],
            Scope::Ward => wards
                .iter()
                .map(|ward| Named {
                    code: format!("{code}-{}", ward.code),
                    name: Name { vi: format!("{vi} {}", ward.name.vi), en: format!("{en}, {}", ward.name.en) },
                })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ward_has_its_own_agencies_and_a_folder_without_the_files_says_which() {
        let hue = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/city/hue");
        let Places { directory, map } = Places::read(&hue).expect("Huế has them");
        assert_eq!(directory.wards.len(), 40);
        let name = |code: &str| {
            let found = directory.agencies.iter().find(|agency| agency.code == code);
            found.map(|agency| (agency.name.vi.as_str(), agency.name.en.as_str()))
        };
        assert_eq!(name("CA-19753"), Some(("Công an Phường Phú Xuân", "Police, Phu Xuan Ward")));
        assert_eq!(name("HUEWACO").map(|names| names.1), Some("Hue Water Supply"));
        assert_eq!(name("CA"), None);
        assert!(map.contains("\"19753\""));
        let empty = platform::embedded::scratch::TestFolder::new("city").expect("a folder");
        assert_eq!(Places::read(empty.path()).expect_err("nothing there").0.len(), 3);
    }
}

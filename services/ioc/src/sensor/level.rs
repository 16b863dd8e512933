//! The flood stations of the city's folder: the levels at which alarms begin (`flood-levels.csv`), whom they concern (`flood-wards.csv`),
//! and what the rivers are called (`rivers.geojson`).
//!
//! Reads nothing else. Whether rivers have lines is checked by field reports, which own that file.

use std::collections::BTreeMap;
use std::path::Path;

use platform::dataset::{Fault, Faults, read_csv, read_json};
use serde::Deserialize;

use crate::city::Name;

const LEVELS: &str = "flood-levels.csv";
const WARDS: &str = "flood-wards.csv";
const RIVERS: &str = "rivers.geojson";

/// A station at a river.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Station {
    /// Its name.
    pub(crate) name: String,
    /// The river's name, with its kind.
    pub(crate) river: Name,
    /// From which reading on, in metres, alarms 1, 2 and 3 are in force.
    pub(crate) alarms_m: [f64; 3],
    /// The highest reading ever, in metres.
    pub(crate) record_m: f64,
    /// Codes of the wards along the river.
    pub(crate) wards: Vec<String>,
}

/// The stations by code.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Stations(pub(crate) BTreeMap<String, Station>);

#[derive(Deserialize)]
struct LevelRow {
    station: String,
    name: String,
    river: String,
    alert1_m: f64,
    alert2_m: f64,
    alert3_m: f64,
    record_m: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WardRow {
    station: String,
    ward: String,
}

#[derive(Deserialize)]
struct Rivers {
    features: Vec<River>,
}

#[derive(Deserialize)]
struct River {
    properties: RiverName,
}

#[derive(Deserialize)]
struct RiverName {
    name: String,
    name_en: String,
}

/// The rows of a file and their lines.
type Rows<T> = Vec<(u64, T)>;

impl Stations {
    /// Reads the files in `dir`; `wards` are the codes that there are.
    ///
    /// # Errors
    /// What is wrong with each file.
    pub(crate) fn read(dir: &Path, wards: &[&str]) -> Result<Self, Faults> {
        let rivers = read_json::<Rivers>(&dir.join(RIVERS));
        let levels = read_csv::<LevelRow>(&dir.join(LEVELS));
        let concerned = read_csv::<WardRow>(&dir.join(WARDS));
        match (levels, concerned, rivers) {
            (Ok(levels), Ok(concerned), Ok(rivers)) => Self::join(dir, (levels, concerned, rivers), wards),
            (levels, concerned, rivers) => {
                Err(Faults([levels.err(), concerned.err(), rivers.err()].into_iter().flatten().collect()))
            }
        }
    }

    fn join(
        dir: &Path,
        (levels, concerned, rivers): (Rows<LevelRow>, Rows<WardRow>, Rivers),
        known: &[&str],
    ) -> Result<Self, Faults> {
        let (mut stations, mut faults) = (BTreeMap::new(), Vec::new());
        for (line, row) in levels {
            let mut named = rivers.features.iter().map(|river| &river.properties);
            let Some(river) = named.find(|name| name.name.ends_with(&row.river)) else {
                faults.push(Fault::new(&dir.join(LEVELS), line, format_args!("{RIVERS} has no river {}", row.river)));
                continue;
            };
            let station = Station {
                name: row.name,
                river: Name { vi: lower_first(&river.name), en: river.name_en.clone() },
                alarms_m: [row.alert1_m, row.alert2_m, row.alert3_m],
                record_m: row.record_m,
                wards: Vec::new(),
            };
            stations.insert(row.station, station);
        }
        let path = dir.join(WARDS);
        for (line, WardRow { station, ward }) in concerned {
            if !known.contains(&ward.as_str()) {
                faults.push(Fault::new(&path, line, format_args!("there is no ward {ward}")));
            }
            match stations.get_mut(&station) {
                None => faults.push(Fault::new(&path, line, format_args!("there is no station {station}"))),
                Some(station) if station.wards.contains(&ward) => {
                    faults.push(Fault::new(&path, line, format_args!("ward {ward} stands there already")));
                }
                Some(station) => station.wards.push(ward),
            }
        }
        for code in stations.iter().filter(|(_, station)| station.wards.is_empty()).map(|(code, _)| code) {
            faults.push(Fault::new(&path, 0, format_args!("station {code} has no ward")));
        }
        if faults.is_empty() { Ok(Self(stations)) } else { Err(Faults(faults)) }
    }
}

/// A name as it stands inside a sentence: `Sông Hương` is `sông Hương`.
fn lower_first(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn hue() -> Stations {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/city/hue");
        let places = crate::directory::Places::read(&dir).expect("Huế's folder is good");
        let wards: Vec<&str> = places.directory.wards.iter().map(|ward| ward.code.as_str()).collect();
        Stations::read(&dir, &wards).expect("Huế's folder is good")
    }

    #[test]
    fn hue_has_two_stations_with_their_wards() {
        let stations = hue();
        let kim_long = &stations.0["kim-long"];
        assert_eq!((kim_long.river.vi.as_str(), kim_long.alarms_m), ("sông Hương", [1.0, 2.0, 3.5]));
        assert!(kim_long.wards.contains(&"19774".to_owned()), "Kim Long lies at its own river");
        assert_eq!(stations.0["phu-oc"].river.en, "Bo River");
        assert_eq!(stations.0.len(), 2);
    }

    #[test]
    fn a_ward_that_is_not_there_and_one_that_is_there_twice_are_found() {
        let folder = platform::embedded::scratch::TestFolder::new("city").expect("a folder");
        let hue = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/city/hue");
        for file in [LEVELS, RIVERS] {
            std::fs::copy(hue.join(file), folder.path().join(file)).expect("copied");
        }
        let wards = "# Origin: a test.\nstation,ward\nkim-long,1\nkim-long,1\nkim-long,2\nnowhere,1\n";
        std::fs::write(folder.path().join(WARDS), wards).expect("written");
        let faults = Stations::read(folder.path(), &["1"]).expect_err("faulty").0;
        let lines: Vec<u64> = faults.iter().map(|fault| fault.line).collect();
        assert_eq!(lines, [4, 5, 6, 0], "{faults:?}");
    }
}

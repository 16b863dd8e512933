//! Checks of places: `landmarks.csv`, `rivers.geojson`, `flood-levels.csv`.

use std::collections::HashMap;
use std::path::Path;

use platform::dataset::{Fault, line_containing, read_csv_faults, read_json};
use serde::Deserialize;
use serde_json::Value;

use super::Ward;

const LANDMARKS: &str = "landmarks.csv";
const RIVERS: &str = "rivers.geojson";
const FLOOD_LEVELS: &str = "flood-levels.csv";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Landmark {
    id: String,
    name: String,
    kind: String,
    lon: f64,
    lat: f64,
    ward_code: String,
    position: Position,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Position {
    Published,
    Approximate,
}

impl Position {
    fn word(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Approximate => "approximate",
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FloodLevel {
    station: String,
    name: String,
    river: String,
    alert1_m: f64,
    alert2_m: f64,
    alert3_m: f64,
    record_m: f64,
    record_at: String,
}

pub(super) fn check(dir: &Path, wards: &[Ward], faults: &mut Vec<Fault>) {
    landmarks(&dir.join(LANDMARKS), wards, faults);
    rivers(&dir.join(RIVERS), faults);
    flood_levels(&dir.join(FLOOD_LEVELS), faults);
}

fn landmarks(path: &Path, wards: &[Ward], faults: &mut Vec<Fault>) {
    let (rows, mut found) = read_csv_faults::<Landmark>(path);
    let mut lines = HashMap::new();
    for (line, row) in &rows {
        let mut fault = |message: String| found.push(Fault::new(path, *line, message));
        if [&row.id, &row.name, &row.kind].iter().any(|text| text.trim().is_empty()) {
            fault("the id, the name or the kind is missing".to_owned());
        }
        if let Some(first) = lines.insert(row.id.as_str(), *line) {
            fault(format!("landmark {} stands on line {first} already", row.id));
        }
        match wards.iter().find(|ward| ward.code == row.ward_code) {
            None => fault(format!("ward {} is not in wards.csv", row.ward_code)),
            Some(ward) if !ward.may_hold(row.lon, row.lat) => {
                fault(format!("the {} place lies outside ward {}", row.position.word(), row.ward_code));
            }
            Some(_) => {}
        }
    }
    faults.append(&mut found);
}

fn rivers(path: &Path, faults: &mut Vec<Fault>) {
    let document = match read_json::<Value>(path) {
        Ok(document) => document,
        Err(fault) => return faults.push(fault),
    };
    if document.get("provenance").and_then(Value::as_object).is_none_or(|object| object.is_empty()) {
        faults.push(Fault::new(path, 1, "has no member `provenance`"));
    }
    let Some(features) = document.get("features").and_then(Value::as_array) else {
        return faults.push(Fault::new(path, 1, "is not a collection of rivers"));
    };
    for feature in features {
        let property = |name: &str| feature.get("properties").and_then(|p| p.get(name)).and_then(Value::as_str);
        let kind = feature.get("geometry").and_then(|geometry| geometry.get("type")).and_then(Value::as_str);
        let line = property("id").map_or(0, |id| line_containing(path, &format!("\"id\":\"{id}\"")));
        if ["id", "name", "name_en"].iter().any(|name| property(name).is_none_or(str::is_empty)) {
            faults.push(Fault::new(path, line, "a river has no id, name or name_en"));
        }
        if !matches!(kind, Some("LineString" | "MultiLineString")) {
            faults.push(Fault::new(path, line, "a river is not a line"));
        }
    }
}

fn flood_levels(path: &Path, faults: &mut Vec<Fault>) {
    let (rows, mut found) = read_csv_faults::<FloodLevel>(path);
    let mut lines = HashMap::new();
    for (line, row) in &rows {
        let mut fault = |message: String| found.push(Fault::new(path, *line, message));
        if [&row.station, &row.name, &row.river, &row.record_at].iter().any(|text| text.trim().is_empty()) {
            fault("the station, its name, its river or the day of the record is missing".to_owned());
        }
        if let Some(first) = lines.insert(row.station.as_str(), *line) {
            fault(format!("station {} stands on line {first} already", row.station));
        }
        if !(row.alert1_m < row.alert2_m && row.alert2_m < row.alert3_m && row.alert3_m <= row.record_m) {
            fault("the levels do not rise from alert 1 to the record".to_owned());
        }
    }
    faults.append(&mut found);
}

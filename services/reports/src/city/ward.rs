//! Wards and communes, from `wards.csv`, and whether each has exactly one shape in both geometry files.

use std::collections::BTreeMap;
use std::path::Path;

use platform::dataset::{Fault, line_containing, read_csv_faults, read_json};
use serde::Deserialize;
use serde_json::Value;

const FILE: &str = "wards.csv";
const GEOJSON: &str = "wards.geojson";
const TOPOJSON: &str = "wards.topojson";
const CODE_DIGITS: usize = 5;

/// Whether a unit below the city is urban or rural.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WardKind {
    /// Phường.
    Ward,
    /// Xã.
    Commune,
}

/// One ward or commune.
#[derive(Clone, Debug)]
pub struct Ward {
    /// The statistics office's code, five digits: the key everywhere.
    pub code: String,
    /// The name without its kind, in Vietnamese.
    pub name: String,
    /// The name with its kind, in Vietnamese.
    pub full_name: String,
    /// The name with its kind, in English letters.
    pub full_name_en: String,
    /// Urban or rural.
    pub kind: WardKind,
    /// The box around it: west, south, east, north in degrees.
    pub bounds: [f64; 4],
}

impl Ward {
    /// Whether a point lies in the box around the ward.
    pub fn may_hold(&self, lon: f64, lat: f64) -> bool {
        let [west, south, east, north] = self.bounds;
        (west..=east).contains(&lon) && (south..=north).contains(&lat)
    }

    /// The middle of the box around it: longitude and latitude.
    pub fn middle(&self) -> [f64; 2] {
        let [west, south, east, north] = self.bounds;
        [west.midpoint(east), south.midpoint(north)]
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    code: String,
    name: String,
    full_name: String,
    full_name_en: String,
    kind: WardKind,
    area_km2: f64,
    legacy_ward_count: u32,
    label_lon: f64,
    label_lat: f64,
    min_lon: f64,
    min_lat: f64,
    max_lon: f64,
    max_lat: f64,
}

pub(super) fn read(dir: &Path, faults: &mut Vec<Fault>) -> Vec<Ward> {
    let path = dir.join(FILE);
    let (rows, mut found) = read_csv_faults::<Row>(&path);
    let mut lines: BTreeMap<String, u64> = BTreeMap::new();
    for (line, row) in &rows {
        found.extend(row.faults().into_iter().map(|message| Fault::new(&path, *line, message)));
        if let Some(first) = lines.insert(row.code.clone(), *line) {
            let message = format!("ward {} stands on line {first} already", row.code);
            found.push(Fault::new(&path, *line, message));
        }
    }
    if rows.is_empty() && found.is_empty() {
        found.push(Fault::new(&path, 0, "holds no ward"));
    }
    faults.append(&mut found);
    shapes(&path, &lines, &dir.join(GEOJSON), geojson_codes, faults);
    shapes(&path, &lines, &dir.join(TOPOJSON), topojson_codes, faults);
    let mut wards: Vec<_> = rows.into_iter().map(|(_, row)| row.into_ward()).collect();
    wards.sort_by(|a, b| a.code.cmp(&b.code));
    wards
}

impl Row {
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.code.len() != CODE_DIGITS || !self.code.bytes().all(|byte| byte.is_ascii_digit()) {
            faults.push(format!("code {:?} is not {CODE_DIGITS} digits", self.code));
        }
        if [&self.name, &self.full_name, &self.full_name_en].iter().any(|name| name.trim().is_empty()) {
            faults.push("a name is missing".to_owned());
        }
        if self.area_km2 <= 0.0 || self.legacy_ward_count == 0 {
            faults.push("the area or the number of merged units is not positive".to_owned());
        }
        let ordered = self.min_lon < self.max_lon && self.min_lat < self.max_lat;
        let inside = (self.min_lon..=self.max_lon).contains(&self.label_lon)
            && (self.min_lat..=self.max_lat).contains(&self.label_lat);
        if !ordered || !inside {
            faults.push("the box is inverted, or the label lies outside it".to_owned());
        }
        faults
    }

    fn into_ward(self) -> Ward {
        Ward {
            code: self.code,
            name: self.name,
            full_name: self.full_name,
            full_name_en: self.full_name_en,
            kind: self.kind,
            bounds: [self.min_lon, self.min_lat, self.max_lon, self.max_lat],
        }
    }
}

/// One shape of a geometry file: the code it bears, and whether it is an area with points.
struct Shape {
    code: Option<String>,
    is_area: bool,
}

fn shapes(
    wards: &Path,
    lines: &BTreeMap<String, u64>,
    path: &Path,
    read: fn(&Value) -> Option<Vec<Shape>>,
    faults: &mut Vec<Fault>,
) {
    let document = match read_json::<Value>(path) {
        Ok(document) => document,
        Err(fault) => return faults.push(fault),
    };
    if document.get("provenance").and_then(Value::as_object).is_none_or(|object| object.is_empty()) {
        faults.push(Fault::new(path, 1, "has no member `provenance`"));
    }
    let Some(shapes) = read(&document) else {
        return faults.push(Fault::new(path, 1, "is not a collection of ward shapes"));
    };
    let mut seen = BTreeMap::new();
    for (index, shape) in shapes.iter().enumerate() {
        let Some(code) = &shape.code else {
            faults.push(Fault::new(path, 0, format_args!("shape {index} has no property `code`")));
            continue;
        };
        let line = || line_containing(path, &format!("\"code\":\"{code}\""));
        if !lines.contains_key(code) {
            faults.push(Fault::new(path, line(), format_args!("ward {code} is not in {FILE}")));
        }
        if !shape.is_area {
            faults.push(Fault::new(path, line(), format_args!("the shape of ward {code} is not an area")));
        }
        if seen.insert(code.as_str(), ()).is_some() {
            faults.push(Fault::new(path, line(), format_args!("ward {code} has more than one shape")));
        }
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    for (code, line) in lines.iter().filter(|(code, _)| !seen.contains_key(code.as_str())) {
        faults.push(Fault::new(wards, *line, format_args!("ward {code} has no shape in {name}")));
    }
}

fn code_of(shape: &Value) -> Option<String> {
    shape.get("properties")?.get("code")?.as_str().map(ToOwned::to_owned)
}

fn is_area(kind: Option<&Value>, parts: Option<&Value>) -> bool {
    matches!(kind.and_then(Value::as_str), Some("Polygon" | "MultiPolygon"))
        && parts.and_then(Value::as_array).is_some_and(|parts| !parts.is_empty())
}

fn geojson_codes(document: &Value) -> Option<Vec<Shape>> {
    let shape = |feature: &Value| {
        let geometry = feature.get("geometry").unwrap_or(&Value::Null);
        Shape { code: code_of(feature), is_area: is_area(geometry.get("type"), geometry.get("coordinates")) }
    };
    Some(document.get("features")?.as_array()?.iter().map(shape).collect())
}

fn topojson_codes(document: &Value) -> Option<Vec<Shape>> {
    let shape = |geometry: &Value| Shape {
        code: code_of(geometry),
        is_area: is_area(geometry.get("type"), geometry.get("arcs")),
    };
    let wards = document.get("objects")?.get("wards")?;
    Some(wards.get("geometries")?.as_array()?.iter().map(shape).collect())
}

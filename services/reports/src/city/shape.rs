//! In which ward a point lies: the shapes of `wards.geojson`, in memory.
//!
//! A point on an edge that two wards share belongs to exactly one of them: an edge counts from its lower end up to, but not
//! including, its upper one, and the shapes share their corners.

use std::path::Path;

use serde::Deserialize;

use super::Ward;

const FILE: &str = "wards.geojson";

type Ring = Vec<[f64; 2]>;

/// The area of one ward: rings of longitude and latitude; what lies inside an odd number of them is inside.
#[derive(Clone, Debug)]
struct Shape {
    ward: usize,
    rings: Vec<Ring>,
}

/// The areas of all wards.
#[derive(Clone, Debug, Default)]
pub(super) struct Shapes {
    shapes: Vec<Shape>,
}

#[derive(Deserialize)]
struct Document {
    features: Vec<Feature>,
}

#[derive(Deserialize)]
struct Feature {
    properties: Properties,
    geometry: Geometry,
}

#[derive(Deserialize)]
struct Properties {
    code: String,
}

#[derive(Deserialize)]
#[serde(tag = "type", content = "coordinates")]
enum Geometry {
    Polygon(Vec<Ring>),
    MultiPolygon(Vec<Vec<Ring>>),
}

impl Shapes {
    /// The place in `wards` of the ward that holds a point; `None` outside the city.
    pub(super) fn find(&self, wards: &[Ward], lon: f64, lat: f64) -> Option<usize> {
        let holds = |shape: &&Shape| wards[shape.ward].may_hold(lon, lat) && shape.holds(lon, lat);
        self.shapes.iter().find(holds).map(|shape| shape.ward)
    }
}

#[cfg(test)]
impl Shapes {
    /// How many areas hold a point.
    pub(super) fn holders(&self, lon: f64, lat: f64) -> usize {
        self.shapes.iter().filter(|shape| shape.holds(lon, lat)).count()
    }

    /// Every corner of every area.
    pub(super) fn corners(&self) -> impl Iterator<Item = [f64; 2]> {
        self.shapes.iter().flat_map(|shape| shape.rings.iter().flatten().copied())
    }
}

impl Shape {
    fn holds(&self, lon: f64, lat: f64) -> bool {
        let crossings = self.rings.iter().flat_map(|ring| ring.windows(2)).filter(|edge| {
            let ([x1, y1], [x2, y2]) = (edge[0], edge[1]);
            (y1 > lat) != (y2 > lat) && lon < (x2 - x1) * (lat - y1) / (y2 - y1) + x1
        });
        crossings.count() % 2 == 1
    }
}

/// Reads the shapes. What is wrong with the file was said when wards were checked, but for coordinates that are no numbers.
pub(super) fn read(dir: &Path, wards: &[Ward]) -> Result<Shapes, platform::dataset::Fault> {
    let document: Document = platform::dataset::read_json(&dir.join(FILE))?;
    let shapes = document.features.into_iter().filter_map(|feature| {
        let rings = match feature.geometry {
            Geometry::Polygon(rings) => rings,
            Geometry::MultiPolygon(areas) => areas.into_iter().flatten().collect(),
        };
        let ward = wards.iter().position(|ward| ward.code == feature.properties.code)?;
        Some(Shape { ward, rings })
    });
    Ok(Shapes { shapes: shapes.collect() })
}

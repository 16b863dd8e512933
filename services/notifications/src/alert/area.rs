//! Polygons and circles as CAP 1.2 writes them (section 3.2.4): `latitude,longitude` pairs of WGS 84. Pure.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Bilingual;
use crate::error::Error;

/// Shapes of one kind at most.
const MAX_SHAPES: usize = 20;
/// Points of a polygon at most.
const MAX_POINTS: usize = 500;
/// Points of a polygon at least: three corners and the first again.
const MIN_POINTS: usize = 4;
/// The longest radius, in kilometres.
const MAX_RADIUS_KM: f64 = 500.0;
/// Characters of the description at most.
const MAX_DESCRIPTION: usize = 200;

/// Where in the wards an alert concerns people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Outline {
    /// The place in words.
    pub(crate) description: Bilingual,
    /// Points `latitude,longitude`, separated by spaces; the last is the first again.
    #[serde(default)]
    #[schema(example = json!(["16.46,107.55 16.47,107.55 16.47,107.56 16.46,107.55"]))]
    pub(crate) polygons: Vec<String>,
    /// A point `latitude,longitude`, a space, and a radius in kilometres.
    #[serde(default)]
    #[schema(example = json!(["16.4637,107.585 1.5"]))]
    pub(crate) circles: Vec<String>,
}

impl Outline {
    /// Whether it is no larger than what may be kept and sent on; its shapes may be wrong all the same.
    pub(crate) fn fits(&self) -> bool {
        let few = self.polygons.len() <= MAX_SHAPES && self.circles.len() <= MAX_SHAPES;
        few && self.polygons.iter().all(|text| text.split(' ').count() <= MAX_POINTS)
    }

    /// Checks words and shapes; there is at least one shape.
    ///
    /// # Errors
    /// [`Error::InvalidField`], [`Error::AreaInvalid`].
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.description.check("outline.description", MAX_DESCRIPTION)?;
        let bounded = self.fits();
        let some = !(self.polygons.is_empty() && self.circles.is_empty());
        let good = self.polygons.iter().all(|text| is_polygon(text)) && self.circles.iter().all(|text| is_circle(text));
        if bounded && some && good { Ok(()) } else { Err(Error::AreaInvalid) }
    }
}

fn is_polygon(text: &str) -> bool {
    let points: Vec<&str> = text.split(' ').collect();
    (MIN_POINTS..=MAX_POINTS).contains(&points.len())
        && points.first() == points.last()
        && points.iter().all(|point| is_point(point))
}

fn is_circle(text: &str) -> bool {
    let Some((point, radius)) = text.split_once(' ') else { return false };
    is_point(point) && decimal(radius).is_some_and(|radius| (0.0..=MAX_RADIUS_KM).contains(&radius))
}

fn is_point(text: &str) -> bool {
    let Some((latitude, longitude)) = text.split_once(',') else { return false };
    decimal(latitude).is_some_and(|degrees| (-90.0..=90.0).contains(&degrees))
        && decimal(longitude).is_some_and(|degrees| (-180.0..=180.0).contains(&degrees))
}

/// A plain decimal number: no exponent, no infinity, no sign but a minus.
fn decimal(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-'));
    if plain { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn shapes_are_those_of_cap() {
        let closed = "16.46,107.55 16.47,107.55 16.47,107.56 16.46,107.55";
        assert!(is_polygon(closed));
        for wrong in [
            "",
            "16.46,107.55 16.47,107.55 16.46,107.55",
            "16.46,107.55 16.47,107.55 16.47,107.56 16.46,107.57",
            "16.46,107.55  16.47,107.55 16.47,107.56 16.46,107.55",
            "107.55,16.46 107.55,16.47 107.56,16.47 107.55,16.46",
            "1e1,107.55 16.47,107.55 16.47,107.56 1e1,107.55",
        ] {
            assert!(!is_polygon(wrong), "{wrong}");
        }
        assert!(is_circle("16.4637,107.585 1.5") && is_circle("-16,-107 0"));
        for wrong in ["16.4637,107.585", "16.4637,107.585 -1", "16.4637,107.585 501", "16.4637 107.585 1", "NaN,0 1"] {
            assert!(!is_circle(wrong), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_judged_and_accepted_text_can_stand_in_xml(text in "[0-9.,<&a -]{0,60}") {
            if is_polygon(&text) || is_circle(&text) {
                prop_assert!(!text.contains(['<', '&', 'a']));
            }
        }
    }
}

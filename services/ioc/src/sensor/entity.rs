//! The entities of OGC SensorThings 1.1 (18-088, section 8): what clients send, its bounds, and how entities are shown. Pure.
//!
//! Of the standard's entities there are Things, Locations, Sensors, ObservedProperties, Datastreams and Observations; results are numbers.
//! Members that are not known here are left out, as the standard's clients expect.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::level::Stations;
use crate::error::Error;

/// Characters of a name at most.
const MAX_NAME: usize = 200;
/// Characters of any other text at most.
const MAX_TEXT: usize = 2_000;
/// Bytes of properties and of a location at most, as JSON.
const MAX_JSON: usize = 4_096;
/// Entities inside a thing at most, of each kind.
pub(crate) const MAX_INLINE: usize = 20;
/// What an observation may be: a number.
const MEASUREMENT: &str = "http://www.opengis.net/def/observationType/OGC-OM/2.0/OM_Measurement";
/// The one encoding of locations.
const GEOJSON: [&str; 2] = ["application/geo+json", "application/vnd.geo+json"];

/// Names an entity that exists.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Link {
    #[serde(rename = "@iot.id")]
    pub(crate) id: i64,
}

/// An entity that exists, or a new one.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Inline<T> {
    /// One that exists.
    Link(Link),
    /// One to be made.
    New(T),
}

/// A thing to be registered, with what it carries.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct NewThing {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) description: String,
    #[serde(default)]
    pub(crate) properties: Map<String, Value>,
    #[serde(default, rename = "Locations")]
    pub(crate) locations: Vec<NewLocation>,
    #[serde(default, rename = "Datastreams")]
    pub(crate) datastreams: Vec<NewDatastream>,
}

/// Where a thing stands.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NewLocation {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) description: String,
    pub(crate) encoding_type: String,
    pub(crate) location: Map<String, Value>,
}

/// An instrument.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NewSensor {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) description: String,
    pub(crate) encoding_type: String,
    pub(crate) metadata: String,
}

/// What is measured.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct NewProperty {
    pub(crate) name: String,
    pub(crate) definition: String,
    #[serde(default)]
    pub(crate) description: String,
}

/// Measurements to come.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NewDatastream {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) description: String,
    pub(crate) observation_type: String,
    pub(crate) unit_of_measurement: Unit,
    #[serde(default)]
    pub(crate) properties: Map<String, Value>,
    #[serde(default, rename = "Thing")]
    pub(crate) thing: Option<Link>,
    #[serde(rename = "Sensor")]
    pub(crate) sensor: Inline<NewSensor>,
    #[serde(rename = "ObservedProperty")]
    pub(crate) observed_property: Inline<NewProperty>,
}

/// A unit, by the Unified Code for Units of Measure.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Unit {
    pub(crate) name: Option<String>,
    pub(crate) symbol: Option<String>,
    pub(crate) definition: Option<String>,
}

/// A reading.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NewObservation {
    /// When it was measured; when it arrived, if that is not told.
    #[serde(default)]
    pub(crate) phenomenon_time: Option<DateTime<Utc>>,
    #[serde(default)]
    pub(crate) result_time: Option<DateTime<Utc>>,
    pub(crate) result: f64,
    #[serde(default, rename = "Datastream")]
    pub(crate) datastream: Option<Link>,
}

fn check_text(field: &'static str, text: &str, min: usize, max: usize) -> Result<(), Error> {
    let good = (min..=max).contains(&text.chars().count()) && !text.chars().any(|one| one == '\0');
    if good { Ok(()) } else { Err(Error::EntityInvalid { field, reason: "its length is out of bounds" }) }
}

fn check_json(field: &'static str, value: &Map<String, Value>) -> Result<(), Error> {
    let text = serde_json::to_string(value).unwrap_or_default();
    // PostgreSQL's text has no zero character.
    let good = text.len() <= MAX_JSON && !text.contains("\\u0000");
    if good { Ok(()) } else { Err(Error::EntityInvalid { field, reason: "it is too large or holds a zero character" }) }
}

impl NewThing {
    /// Checks it and all that it carries.
    ///
    /// # Errors
    /// [`Error::EntityInvalid`].
    pub(crate) fn check(&self, stations: &Stations) -> Result<(), Error> {
        check_text("name", &self.name, 1, MAX_NAME)?;
        check_text("description", &self.description, 0, MAX_TEXT)?;
        check_json("properties", &self.properties)?;
        if self.locations.len() > MAX_INLINE || self.datastreams.len() > MAX_INLINE {
            return Err(Error::EntityInvalid { field: "Datastreams", reason: "there are more than 20" });
        }
        self.locations.iter().try_for_each(NewLocation::check)?;
        self.datastreams.iter().try_for_each(|one| one.check(stations))
    }
}

impl NewLocation {
    fn check(&self) -> Result<(), Error> {
        check_text("Locations.name", &self.name, 1, MAX_NAME)?;
        check_text("Locations.description", &self.description, 0, MAX_TEXT)?;
        check_json("Locations.location", &self.location)?;
        if GEOJSON.contains(&self.encoding_type.as_str()) {
            return Ok(());
        }
        Err(Error::EntityInvalid { field: "Locations.encodingType", reason: "only application/geo+json is known" })
    }
}

impl NewSensor {
    fn check(&self) -> Result<(), Error> {
        check_text("Sensor.name", &self.name, 1, MAX_NAME)?;
        check_text("Sensor.description", &self.description, 0, MAX_TEXT)?;
        check_text("Sensor.encodingType", &self.encoding_type, 1, MAX_NAME)?;
        check_text("Sensor.metadata", &self.metadata, 0, MAX_TEXT)
    }
}

impl NewProperty {
    fn check(&self) -> Result<(), Error> {
        check_text("ObservedProperty.name", &self.name, 1, MAX_NAME)?;
        check_text("ObservedProperty.definition", &self.definition, 1, MAX_TEXT)?;
        check_text("ObservedProperty.description", &self.description, 0, MAX_TEXT)
    }
}

impl NewDatastream {
    /// Checks it and what it brings.
    ///
    /// # Errors
    /// [`Error::EntityInvalid`].
    pub(crate) fn check(&self, stations: &Stations) -> Result<(), Error> {
        check_text("Datastreams.name", &self.name, 1, MAX_NAME)?;
        check_text("Datastreams.description", &self.description, 0, MAX_TEXT)?;
        check_json("Datastreams.properties", &self.properties)?;
        if self.observation_type != MEASUREMENT {
            return Err(Error::EntityInvalid { field: "observationType", reason: "only OM_Measurement is known" });
        }
        for text in
            [&self.unit_of_measurement.name, &self.unit_of_measurement.symbol, &self.unit_of_measurement.definition]
        {
            check_text("unitOfMeasurement", text.as_deref().unwrap_or_default(), 0, MAX_NAME)?;
        }
        if let Inline::New(sensor) = &self.sensor {
            sensor.check()?;
        }
        if let Inline::New(property) = &self.observed_property {
            property.check()?;
        }
        let Some(station) = self.station() else { return Ok(()) };
        if !stations.0.contains_key(station) {
            return Err(Error::EntityInvalid { field: "properties.station", reason: "the city has no such station" });
        }
        match self.unit_of_measurement.symbol.as_deref() {
            Some("m") => Ok(()),
            _ => Err(Error::EntityInvalid { field: "unitOfMeasurement", reason: "a station's levels are in m" }),
        }
    }

    /// The flood station that it measures at, if it says so.
    pub(crate) fn station(&self) -> Option<&str> {
        self.properties.get("station").and_then(Value::as_str)
    }

    /// Whether its readings are an exercise.
    pub(crate) fn exercise(&self) -> bool {
        self.properties.get("exercise").and_then(Value::as_bool).unwrap_or(false)
    }

    /// The unit as JSON.
    pub(crate) fn unit(&self) -> Value {
        let Unit { name, symbol, definition } = &self.unit_of_measurement;
        json!({ "name": name, "symbol": symbol, "definition": definition })
    }
}

/// A set of entities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Set {
    Things,
    Locations,
    Sensors,
    ObservedProperties,
    Datastreams,
    Observations,
}

impl Set {
    /// Every one that there is.
    pub(crate) const ALL: [Self; 6] =
        [Self::Things, Self::Locations, Self::Sensors, Self::ObservedProperties, Self::Datastreams, Self::Observations];

    /// Its name in paths.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Things => "Things",
            Self::Locations => "Locations",
            Self::Sensors => "Sensors",
            Self::ObservedProperties => "ObservedProperties",
            Self::Datastreams => "Datastreams",
            Self::Observations => "Observations",
        }
    }

    /// The set with that name.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|set| set.name() == name)
    }

    /// What can be reached from one of its entities, and the set that holds it.
    pub(crate) const fn links(self) -> &'static [(&'static str, Self)] {
        match self {
            Self::Things => &[("Locations", Self::Locations), ("Datastreams", Self::Datastreams)],
            Self::Locations => &[("Things", Self::Things)],
            Self::Sensors | Self::ObservedProperties => &[("Datastreams", Self::Datastreams)],
            Self::Datastreams => &[
                ("Thing", Self::Things),
                ("Sensor", Self::Sensors),
                ("ObservedProperty", Self::ObservedProperties),
                ("Observations", Self::Observations),
            ],
            Self::Observations => &[("Datastream", Self::Datastreams)],
        }
    }
}

/// An entity with its own members.
#[derive(Clone, Debug)]
pub(crate) struct Entity {
    pub(crate) set: Set,
    pub(crate) id: i64,
    pub(crate) members: Map<String, Value>,
}

impl Entity {
    /// The entity as the standard shows it; `base` ends with a slash.
    pub(crate) fn show(self, base: &str) -> Value {
        let link = self_link(base, self.set, self.id);
        let mut shown = Map::new();
        shown.insert("@iot.id".to_owned(), self.id.into());
        for (name, _) in self.set.links() {
            shown.insert(format!("{name}@iot.navigationLink"), format!("{link}/{name}").into());
        }
        shown.insert("@iot.selfLink".to_owned(), link.into());
        shown.extend(self.members);
        Value::Object(shown)
    }
}

/// Where an entity is.
pub(crate) fn self_link(base: &str, set: Set, id: i64) -> String {
    format!("{base}{}({id})", set.name())
}

/// A time as the standard writes it.
pub(crate) fn stamp(at: DateTime<Utc>) -> Value {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true).into()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::sensor::level::tests::hue;

    pub(crate) fn thing(station: &str) -> Value {
        json!({
            "name": "Trạm Kim Long", "description": "River gauge",
            "Locations": [{ "name": "Kim Long", "encodingType": "application/geo+json",
                            "location": { "type": "Point", "coordinates": [107.55, 16.45] } }],
            "Datastreams": [{
                "name": "Water level", "observationType": MEASUREMENT,
                "unitOfMeasurement": { "name": "metre", "symbol": "m", "definition": "http://unitsofmeasure.org/ucum.html#para-30" },
                "properties": { "station": station },
                "Sensor": { "name": "Radar gauge", "encodingType": "application/pdf", "metadata": "https://example.org/gauge.pdf" },
                "ObservedProperty": { "name": "Water level", "definition": "http://vocab.nerc.ac.uk/standard_name/water_surface_height_above_reference_datum/" },
            }],
        })
    }

    fn check(change: impl FnOnce(&mut Value)) -> Result<(), Error> {
        let mut body = thing("kim-long");
        change(&mut body);
        serde_json::from_value::<NewThing>(body).expect("a thing").check(&hue())
    }

    #[test]
    fn what_a_thing_carries_is_checked() {
        check(|_| {}).expect("good");
        let field = |change: fn(&mut Value)| {
            let refused = check(change).expect_err("refused");
            let Error::EntityInvalid { field, .. } = refused else { return "another error" };
            field
        };
        assert_eq!(field(|it| it["name"] = json!("")), "name");
        assert_eq!(field(|it| it["properties"] = json!({ "x": "y".repeat(5_000) })), "properties");
        assert_eq!(field(|it| it["Datastreams"][0]["properties"]["station"] = json!("nowhere")), "properties.station");
        assert_eq!(field(|it| it["Datastreams"][0]["unitOfMeasurement"]["symbol"] = json!("cm")), "unitOfMeasurement");
        assert_eq!(field(|it| it["Datastreams"][0]["observationType"] = json!("OM_Truth")), "observationType");
        assert_eq!(field(|it| it["Locations"][0]["encodingType"] = json!("text/plain")), "Locations.encodingType");
        check(|it| it["Datastreams"][0]["Sensor"] = json!({ "@iot.id": 7 })).expect("one that exists");
    }

    #[test]
    fn an_entity_shows_its_links() {
        let entity = Entity { set: Set::Datastreams, id: 5, members: Map::new() };
        let shown = entity.show("http://localhost/sta/v1.1/");
        assert_eq!(shown["@iot.selfLink"], "http://localhost/sta/v1.1/Datastreams(5)");
        assert_eq!(shown["Observations@iot.navigationLink"], "http://localhost/sta/v1.1/Datastreams(5)/Observations");
    }
}

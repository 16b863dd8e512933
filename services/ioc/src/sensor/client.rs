//! Who sends readings, and of what: clients of sensors as the configuration has them.
//!
//! Invariant: a client raises alarms of its own stations only, and one for exercises none that is meant.

use std::collections::BTreeMap;

use platform::config::Secret;
use platform::http::Machines;
use serde::{Deserialize, Serialize};

use super::level::Stations;
use crate::error::{BuildError, Error};

/// Stands for every station of the city.
const EVERY: &str = "*";

/// A client of sensors.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SensorClient {
    /// What it signs in with, beside its name.
    pub secret: Secret,
    /// Codes of the flood stations whose levels it may send; `*` for all. A sensor of no station needs none.
    #[serde(default)]
    pub stations: Vec<String>,
    /// Whether all that it sends is an exercise.
    #[serde(default)]
    pub exercise_only: bool,
}

/// The clients by name.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SensorClients(BTreeMap<String, SensorClient>);

impl SensorClients {
    /// Lets one more client in.
    pub fn insert(&mut self, name: impl Into<String>, client: SensorClient) {
        self.0.insert(name.into(), client);
    }

    /// Their names and secrets.
    pub(crate) fn machines(&self) -> Machines {
        let mut machines = Machines::default();
        for (name, client) in &self.0 {
            machines.insert(name.clone(), client.secret.clone());
        }
        machines
    }

    /// Refuses clients of stations that are not there.
    pub(crate) fn check(&self, stations: &Stations) -> Result<(), BuildError> {
        for (name, client) in &self.0 {
            let known = |code: &&String| *code == EVERY || stations.0.contains_key(*code);
            if let Some(code) = client.stations.iter().find(|code| !known(code)) {
                return Err(BuildError::SensorStation { client: name.clone(), station: code.clone() });
            }
        }
        Ok(())
    }

    /// The stations whose levels somebody is to send, exercises apart.
    pub(crate) fn reporting<'a>(&self, stations: &'a Stations) -> impl Iterator<Item = &'a str> {
        let sends = |code: &str| {
            let meant = self.0.values().filter(|client| !client.exercise_only);
            meant.flat_map(|client| &client.stations).any(|own| own == code || own == EVERY)
        };
        stations.0.keys().map(String::as_str).filter(move |code| sends(code))
    }

    /// Refuses readings that are not a client's to send: of a station of another's, or meant ones of a client for exercises.
    pub(crate) fn require(&self, name: &str, station: Option<&str>, exercise: bool) -> Result<(), Error> {
        let Some(client) = self.0.get(name) else { return Err(Error::NotFound) };
        if client.exercise_only && !exercise {
            return Err(Error::ExerciseOnly);
        }
        let own = |code: &str| client.stations.iter().any(|own| own == code || own == EVERY);
        if station.is_none_or(own) { Ok(()) } else { Err(Error::StationForbidden) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sensor::level::tests::hue;

    fn clients(stations: &[&str], exercise_only: bool) -> SensorClients {
        let stations = stations.iter().map(|code| (*code).to_owned()).collect();
        let mut clients = SensorClients::default();
        clients.insert("one", SensorClient { secret: Secret::new("s"), stations, exercise_only });
        clients
    }

    #[test]
    fn a_client_sends_of_its_stations_only() {
        let one = clients(&["kim-long"], false);
        assert!(one.require("one", Some("kim-long"), false).is_ok());
        assert!(one.require("one", None, false).is_ok(), "a rain gauge is of no station");
        assert!(matches!(one.require("one", Some("phu-oc"), false), Err(Error::StationForbidden)));
        assert!(matches!(one.require("another", Some("kim-long"), false), Err(Error::NotFound)));
        assert!(matches!(clients(&[], false).require("one", Some("kim-long"), true), Err(Error::StationForbidden)));
    }

    #[test]
    fn a_client_for_exercises_sends_nothing_that_is_meant() {
        let all = clients(&["*"], true);
        assert!(all.require("one", Some("phu-oc"), true).is_ok());
        for station in [Some("phu-oc"), None] {
            assert!(matches!(all.require("one", station, false), Err(Error::ExerciseOnly)));
        }
    }

    #[test]
    fn only_what_is_meant_is_expected_of_a_station() {
        let stations = hue();
        assert_eq!(clients(&["kim-long"], false).reporting(&stations).collect::<Vec<_>>(), ["kim-long"]);
        assert_eq!(clients(&["*"], false).reporting(&stations).count(), stations.0.len());
        assert_eq!(clients(&["*"], true).reporting(&stations).count(), 0);
    }

    #[test]
    fn a_station_that_is_not_there_is_found_before_the_start() {
        assert!(clients(&["kim-long", "*"], false).check(&hue()).is_ok());
        assert!(clients(&["kim-lon"], false).check(&hue()).is_err_and(|error| error.to_string().contains("kim-lon")));
    }
}

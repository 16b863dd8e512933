//! Sensors, what they measure, and the alarms that follow.
//!
//! | module | what it holds |
//! | --- | --- |
//! | `entity` | the entities of OGC SensorThings 1.1 as clients send them and as they are shown, with their bounds. Pure |
//! | `query` | paths and query options of SensorThings. Pure |
//! | [`level`] | the flood stations of the city's folder |
//! | [`plausible`] | which readings can be true. Pure |
//! | [`alarm`] | levels and steps of an alarm. Pure |
//! | `registry` | registering things and reading entities |
//! | `watch` | readings in: kept, judged, turned into alarms |
//! | `desk` | what officers do with alarms |
//! | `keep` | what is removed, what is measured |

pub(crate) mod alarm;
pub(crate) mod client;
pub(crate) mod desk;
pub(crate) mod entity;
pub(crate) mod keep;
pub(crate) mod level;
pub(crate) mod plausible;
pub(crate) mod query;
pub(crate) mod registry;
pub(crate) mod watch;

platform::typed_id! {
    /// One alarm, from its first level to its end.
    pub struct AlarmId;
}

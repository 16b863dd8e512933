//! Registering things with their datastreams, and reading entities.
//!
//! A thing and all that it carries is one transaction. Only the client that registered a thing adds to it.

use platform::clock::Clock;
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool};
use std::sync::Arc;

use super::client::SensorClients;
use super::entity::{Inline, MAX_INLINE, NewDatastream, NewThing, Set, self_link};
use super::level::Stations;
use super::query::{Options, Resource};
use crate::error::Error;
use crate::sql::entity::{self, Wanted};
use crate::sql::sensor;

/// Things at most.
const MAX_THINGS: i64 = 5_000;

/// Where things are registered and entities read. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Registry {
    pub(crate) pool: PgPool,
    pub(crate) clock: Clock,
    pub(crate) stations: Arc<Stations>,
    pub(crate) clients: Arc<SensorClients>,
    /// The address of the service, with a slash at its end.
    pub(crate) base: String,
}

impl Registry {
    /// Registers a thing with all that it carries, and shows it.
    ///
    /// # Errors
    /// [`Error::EntityInvalid`], [`Error::TooManyThings`], and those of [`SensorClients::require`].
    pub(crate) async fn add_thing(&self, client: &str, thing: &NewThing) -> Result<Value, Error> {
        thing.check(&self.stations)?;
        for datastream in &thing.datastreams {
            self.clients.require(client, datastream.station(), datastream.exercise())?;
        }
        let mut tx = platform::db::begin(&self.pool).await?;
        if sensor::things(&mut tx).await? >= MAX_THINGS {
            return Err(Error::TooManyThings(MAX_THINGS));
        }
        let id = sensor::insert_thing(&mut tx, thing, client, self.clock.now()).await?;
        for location in &thing.locations {
            sensor::insert_location(&mut tx, id, location).await?;
        }
        for datastream in &thing.datastreams {
            insert(&mut tx, id, datastream).await?;
        }
        let shown = self.show(&mut tx, Set::Things, id).await?;
        tx.commit().await?;
        Ok(shown)
    }

    /// Adds a datastream to a thing of the client's, and shows it.
    ///
    /// # Errors
    /// [`Error::NotFound`] for another's thing, [`Error::EntityInvalid`], [`Error::TooManyThings`].
    pub(crate) async fn add_datastream(&self, client: &str, datastream: &NewDatastream) -> Result<Value, Error> {
        datastream.check(&self.stations)?;
        self.clients.require(client, datastream.station(), datastream.exercise())?;
        let Some(thing) = datastream.thing else {
            return Err(Error::EntityInvalid { field: "Thing", reason: "it must be named by its @iot.id" });
        };
        let mut tx = platform::db::begin(&self.pool).await?;
        if sensor::owner(&mut tx, thing.id).await?.is_none_or(|owner| owner != client) {
            return Err(Error::NotFound);
        }
        let most = i64::try_from(MAX_INLINE).unwrap_or(i64::MAX);
        if sensor::datastreams(&mut tx, thing.id).await? >= most {
            return Err(Error::TooManyThings(most));
        }
        let id = insert(&mut tx, thing.id, datastream).await?;
        let shown = self.show(&mut tx, Set::Datastreams, id).await?;
        tx.commit().await?;
        Ok(shown)
    }

    async fn show(&self, tx: &mut PgConnection, set: Set, id: i64) -> Result<Value, Error> {
        let wanted = Wanted { id: Some(id), of: None };
        let found = entity::read(tx, set, wanted, &Options { top: 1, ..Options::default() }).await?;
        found.into_iter().next().map(|entity| entity.show(&self.base)).ok_or(Error::NotFound)
    }

    /// An entity, a set of entities, or what can be reached from one. `path` is that of the request, for the next page.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub(crate) async fn get(
        &self,
        resource: Resource,
        link: Option<&str>,
        options: &Options,
        next: impl Fn(i64) -> String,
    ) -> Result<Value, Error> {
        let mut tx = platform::db::begin_read_only(&self.pool).await?;
        let Some(link) = link else {
            return match resource.id {
                Some(_) => self.one(&mut tx, resource.set, Wanted { id: resource.id, of: None }, options).await,
                None => self.many(&mut tx, (resource.set, Wanted::default()), options, next).await,
            };
        };
        let id = resource.id.ok_or(Error::NotFound)?;
        let links = resource.set.links().iter().find(|(name, _)| *name == link);
        let (name, set) = links.ok_or(Error::NotFound)?;
        self.show(&mut tx, resource.set, id).await?;
        let wanted = Wanted { id: None, of: Some((resource.set, id)) };
        if is_single(name) {
            self.one(&mut tx, *set, wanted, options).await
        } else {
            self.many(&mut tx, (*set, wanted), options, next).await
        }
    }

    async fn one(&self, tx: &mut PgConnection, set: Set, wanted: Wanted, options: &Options) -> Result<Value, Error> {
        let single = Options { top: 1, skip: 0, ..options.clone() };
        let found = entity::read(tx, set, wanted, &single).await?.into_iter().next().ok_or(Error::NotFound)?;
        let id = found.id;
        let mut shown = found.show(&self.base);
        self.expand(tx, (set, id), &mut shown, &options.expand).await?;
        Ok(shown)
    }

    async fn many(
        &self,
        tx: &mut PgConnection,
        (set, wanted): (Set, Wanted),
        options: &Options,
        next: impl Fn(i64) -> String,
    ) -> Result<Value, Error> {
        let mut found = entity::read(tx, set, wanted, options).await?;
        let size = usize::try_from(options.top).unwrap_or_default();
        let more = found.len() > size && size > 0;
        found.truncate(size);
        let mut value = Vec::new();
        for entity in found {
            let id = entity.id;
            let mut shown = entity.show(&self.base);
            self.expand(tx, (set, id), &mut shown, &options.expand).await?;
            value.push(shown);
        }
        let mut page = json!({ "value": value });
        if more {
            page["@iot.nextLink"] = next(options.skip + options.top).into();
        }
        Ok(page)
    }

    /// Shows inside an entity what can be reached from it.
    async fn expand(
        &self,
        tx: &mut PgConnection,
        (set, id): (Set, i64),
        shown: &mut Value,
        names: &[&'static str],
    ) -> Result<(), Error> {
        for name in names {
            let Some((_, inner)) = set.links().iter().find(|(link, _)| link == name) else { continue };
            let top = i64::try_from(MAX_INLINE).unwrap_or(i64::MAX);
            let wanted = Wanted { id: None, of: Some((set, id)) };
            let found = entity::read(tx, *inner, wanted, &Options { top, ..Options::default() }).await?;
            let mut found: Vec<Value> = found.into_iter().take(MAX_INLINE).map(|one| one.show(&self.base)).collect();
            shown[*name] = if is_single(name) { found.pop().unwrap_or_default() } else { found.into() };
        }
        Ok(())
    }

    /// What the service has, and how it conforms to the standard.
    pub(crate) fn root(&self) -> Value {
        let sets = Set::ALL.map(|set| json!({ "name": set.name(), "url": format!("{}{}", self.base, set.name()) }));
        let requirement = |name: &str| format!("http://www.opengis.net/spec/iot_sensing/1.1/req/{name}");
        // Requirements that hold as a whole, and nothing of which only a part does: there are no HistoricalLocations and no
        // FeaturesOfInterest, and no addresses of single properties; what is ordered, filtered and expanded by is a choice.
        let conformance = [
            "datamodel/thing/properties",
            "datamodel/location/properties",
            "datamodel/datastream/properties",
            "datamodel/sensor/properties",
            "datamodel/observed-property/properties",
            "datamodel/observation/properties",
            "request-data/status-code",
            "request-data/top",
            "request-data/skip",
            "request-data/pagination",
        ];
        json!({ "value": sets, "serverSettings": { "conformance": conformance.map(requirement) } })
    }

    /// Where an observation is.
    pub(crate) fn observation_link(&self, id: i64) -> String {
        self_link(&self.base, Set::Observations, id)
    }
}

/// Whether a link leads to one entity.
fn is_single(name: &str) -> bool {
    matches!(name, "Thing" | "Sensor" | "ObservedProperty" | "Datastream")
}

async fn insert(tx: &mut PgConnection, thing: i64, datastream: &NewDatastream) -> Result<i64, Error> {
    let sensor_id = match &datastream.sensor {
        Inline::Link(link) => link.id,
        Inline::New(new) => sensor::insert_sensor(&mut *tx, new).await?,
    };
    let property_id = match &datastream.observed_property {
        Inline::Link(link) => link.id,
        Inline::New(new) => sensor::insert_property(&mut *tx, new).await?,
    };
    let inserted = sensor::insert_datastream(tx, (thing, sensor_id, property_id), datastream).await;
    inserted.map_err(|error| match platform::db::violated(&error) {
        Some("datastream_sensor_fk") => Error::EntityInvalid { field: "Sensor", reason: "there is no such sensor" },
        Some("datastream_observed_property_fk") => {
            Error::EntityInvalid { field: "ObservedProperty", reason: "there is no such property" }
        }
        _ => Error::from(error),
    })
}

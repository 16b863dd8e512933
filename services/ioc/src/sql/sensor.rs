//! Every statement of sensors and their readings. The open datastream's row is locked for what its readings change.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use sqlx::{PgConnection, PgPool};

use crate::sensor::entity::{Entity, NewDatastream, NewLocation, NewProperty, NewSensor, NewThing, Set, stamp};
use crate::sensor::query::Options;

/// A datastream as readings see it.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    pub(crate) id: i64,
    pub(crate) station: Option<String>,
    pub(crate) exercise: bool,
    pub(crate) newest_at: Option<DateTime<Utc>>,
    pub(crate) newest_result: Option<f64>,
    pub(crate) registered_by: String,
}

/// A reading as it is kept.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    pub(crate) datastream: i64,
    pub(crate) phenomenon_at: DateTime<Utc>,
    pub(crate) result_at: Option<DateTime<Utc>>,
    pub(crate) received_at: DateTime<Utc>,
    pub(crate) result: f64,
    pub(crate) quality: &'static str,
}

/// Who registered a thing; `None` when there is none.
pub(crate) async fn owner(tx: &mut PgConnection, thing: i64) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar!("SELECT registered_by FROM ioc.thing WHERE id = $1", thing).fetch_optional(tx).await
}

/// How many things there are.
pub(crate) async fn things(tx: &mut PgConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!("SELECT count(*) AS \"count!\" FROM ioc.thing").fetch_one(tx).await
}

/// How many datastreams a thing has.
pub(crate) async fn datastreams(tx: &mut PgConnection, thing: i64) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!("SELECT count(*) AS \"count!\" FROM ioc.datastream WHERE thing_id = $1", thing)
        .fetch_one(tx)
        .await
}

pub(crate) async fn insert_thing(
    tx: &mut PgConnection,
    thing: &NewThing,
    by: &str,
    now: DateTime<Utc>,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        "INSERT INTO ioc.thing (name, description, properties, registered_by, registered_at) VALUES ($1, $2, $3, $4, $5) RETURNING id",
        thing.name,
        thing.description,
        Value::Object(thing.properties.clone()),
        by,
        now
    )
    .fetch_one(tx)
    .await
}

pub(crate) async fn insert_location(
    tx: &mut PgConnection,
    thing: i64,
    location: &NewLocation,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        "INSERT INTO ioc.location (thing_id, name, description, encoding_type, location) VALUES ($1, $2, $3, $4, $5) RETURNING id",
        thing,
        location.name,
        location.description,
        location.encoding_type,
        Value::Object(location.location.clone())
    )
    .fetch_one(tx)
    .await
}

pub(crate) async fn insert_sensor(tx: &mut PgConnection, sensor: &NewSensor) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        "INSERT INTO ioc.sensor (name, description, encoding_type, metadata) VALUES ($1, $2, $3, $4) RETURNING id",
        sensor.name,
        sensor.description,
        sensor.encoding_type,
        sensor.metadata
    )
    .fetch_one(tx)
    .await
}

pub(crate) async fn insert_property(tx: &mut PgConnection, property: &NewProperty) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        "INSERT INTO ioc.observed_property (name, definition, description) VALUES ($1, $2, $3) RETURNING id",
        property.name,
        property.definition,
        property.description
    )
    .fetch_one(tx)
    .await
}

/// Writes a datastream of `(thing, sensor, observed property)`.
pub(crate) async fn insert_datastream(
    tx: &mut PgConnection,
    (thing, sensor, property): (i64, i64, i64),
    datastream: &NewDatastream,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        "INSERT INTO ioc.datastream (thing_id, sensor_id, observed_property_id, name, description, observation_type, unit, \
                                     properties, station, exercise) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) RETURNING id",
        thing,
        sensor,
        property,
        datastream.name,
        datastream.description,
        datastream.observation_type,
        datastream.unit(),
        Value::Object(datastream.properties.clone()),
        datastream.station(),
        datastream.exercise()
    )
    .fetch_one(tx)
    .await
}

/// Locks a datastream until the transaction ends, and reads it.
pub(crate) async fn lock(tx: &mut PgConnection, datastream: i64) -> Result<Option<Stream>, sqlx::Error> {
    // A statement of its own: what is read afterwards is what the one before left.
    sqlx::query!("SELECT FROM ioc.datastream WHERE id = $1 FOR NO KEY UPDATE", datastream).execute(&mut *tx).await?;
    sqlx::query_as!(
        Stream,
        "SELECT datastream.id, station, exercise, newest_at, newest_result, thing.registered_by \
         FROM ioc.datastream JOIN ioc.thing ON thing.id = thing_id WHERE datastream.id = $1",
        datastream
    )
    .fetch_optional(tx)
    .await
}

/// Writes the newest good reading of a locked datastream.
pub(crate) async fn set_newest(
    tx: &mut PgConnection,
    datastream: i64,
    (at, result): (DateTime<Utc>, f64),
) -> Result<(), sqlx::Error> {
    sqlx::query!("UPDATE ioc.datastream SET newest_at = $2, newest_result = $3 WHERE id = $1", datastream, at, result)
        .execute(tx)
        .await
        .map(|_| ())
}

/// The reading that was made at a time, if it is known: its id and result.
pub(crate) async fn reading_at(
    tx: &mut PgConnection,
    datastream: i64,
    at: DateTime<Utc>,
) -> Result<Option<(i64, f64)>, sqlx::Error> {
    let row = sqlx::query!(
        "SELECT id, result FROM ioc.observation WHERE datastream_id = $1 AND phenomenon_at = $2",
        datastream,
        at
    );
    Ok(row.fetch_optional(tx).await?.map(|row| (row.id, row.result)))
}

pub(crate) async fn insert_reading(tx: &mut PgConnection, reading: &Reading) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        "INSERT INTO ioc.observation (datastream_id, phenomenon_at, result_at, received_at, result, quality) \
         VALUES ($1, $2, $3, $4, $5, $6) RETURNING id",
        reading.datastream,
        reading.phenomenon_at,
        reading.result_at,
        reading.received_at,
        reading.result,
        reading.quality
    )
    .fetch_one(tx)
    .await
}

/// Removes readings that came before a time, at most `limit`; tells how many.
pub(crate) async fn forget(pool: &PgPool, before: DateTime<Utc>, limit: i64) -> Result<u64, sqlx::Error> {
    let removed = sqlx::query!(
        "DELETE FROM ioc.observation WHERE id IN (SELECT id FROM ioc.observation WHERE received_at < $1 ORDER BY received_at LIMIT $2)",
        before,
        limit
    );
    Ok(removed.execute(pool).await?.rows_affected())
}

/// Which entities of a set are wanted: one, those that belong to another, or all.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) id: Option<i64>,
    /// The set and the entity that they belong to.
    pub(crate) of: Option<(Set, i64)>,
}

impl Wanted {
    fn parent(self, set: Set) -> Option<i64> {
        self.of.filter(|(of, _)| *of == set).map(|(_, id)| id)
    }
}

/// Reads entities: one more than a page has, so that it is known whether there are more.
pub(crate) async fn read(
    tx: &mut PgConnection,
    set: Set,
    wanted: Wanted,
    options: &Options,
) -> Result<Vec<Entity>, sqlx::Error> {
    let rows = match set {
        Set::Things => read_things(tx, wanted, options).await?,
        Set::Locations => read_locations(tx, wanted, options).await?,
        Set::Sensors => read_sensors(tx, wanted, options).await?,
        Set::ObservedProperties => read_properties(tx, wanted, options).await?,
        Set::Datastreams => read_datastreams(tx, wanted, options).await?,
        Set::Observations => read_observations(tx, wanted, options).await?,
    };
    Ok(rows.into_iter().map(|(id, members)| Entity { set, id, members }).collect())
}

type Rows = Vec<(i64, Map<String, Value>)>;

fn members<const N: usize>(members: [(&str, Value); N]) -> Map<String, Value> {
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

async fn read_things(tx: &mut PgConnection, wanted: Wanted, options: &Options) -> Result<Rows, sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT id, name, description, properties FROM ioc.thing WHERE ($1::bigint IS NULL OR id = $1) \
             AND ($2::bigint IS NULL OR id = (SELECT thing_id FROM ioc.datastream WHERE datastream.id = $2)) \
             AND ($3::bigint IS NULL OR id = (SELECT thing_id FROM ioc.location WHERE location.id = $3)) \
         ORDER BY CASE WHEN $4 THEN -id ELSE id END OFFSET $5 LIMIT $6",
        wanted.id,
        wanted.parent(Set::Datastreams),
        wanted.parent(Set::Locations),
        options.descending,
        options.skip,
        options.top + 1
    )
    .fetch_all(tx)
    .await?;
    let own = |name: String, description: String, properties| {
        members([("name", name.into()), ("description", description.into()), ("properties", properties)])
    };
    Ok(rows.into_iter().map(|row| (row.id, own(row.name, row.description, row.properties))).collect())
}

async fn read_locations(tx: &mut PgConnection, wanted: Wanted, options: &Options) -> Result<Rows, sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT id, name, description, encoding_type, location FROM ioc.location WHERE ($1::bigint IS NULL OR id = $1) \
             AND ($2::bigint IS NULL OR thing_id = $2) ORDER BY CASE WHEN $3 THEN -id ELSE id END OFFSET $4 LIMIT $5",
        wanted.id,
        wanted.parent(Set::Things),
        options.descending,
        options.skip,
        options.top + 1
    )
    .fetch_all(tx)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let own = [
                ("name", row.name.into()),
                ("description", row.description.into()),
                ("encodingType", row.encoding_type.into()),
                ("location", row.location),
            ];
            (row.id, members(own))
        })
        .collect())
}

async fn read_sensors(tx: &mut PgConnection, wanted: Wanted, options: &Options) -> Result<Rows, sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT id, name, description, encoding_type, metadata FROM ioc.sensor WHERE ($1::bigint IS NULL OR id = $1) \
             AND ($2::bigint IS NULL OR id = (SELECT sensor_id FROM ioc.datastream WHERE datastream.id = $2)) \
         ORDER BY CASE WHEN $3 THEN -id ELSE id END OFFSET $4 LIMIT $5",
        wanted.id,
        wanted.parent(Set::Datastreams),
        options.descending,
        options.skip,
        options.top + 1
    )
    .fetch_all(tx)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let own = [
                ("name", row.name.into()),
                ("description", row.description.into()),
                ("encodingType", row.encoding_type.into()),
                ("metadata", row.metadata.into()),
            ];
            (row.id, members(own))
        })
        .collect())
}

async fn read_properties(tx: &mut PgConnection, wanted: Wanted, options: &Options) -> Result<Rows, sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT id, name, definition, description FROM ioc.observed_property WHERE ($1::bigint IS NULL OR id = $1) \
             AND ($2::bigint IS NULL OR id = (SELECT observed_property_id FROM ioc.datastream WHERE datastream.id = $2)) \
         ORDER BY CASE WHEN $3 THEN -id ELSE id END OFFSET $4 LIMIT $5",
        wanted.id,
        wanted.parent(Set::Datastreams),
        options.descending,
        options.skip,
        options.top + 1
    )
    .fetch_all(tx)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let own = [
                ("name", row.name.into()),
                ("definition", row.definition.into()),
                ("description", row.description.into()),
            ];
            (row.id, members(own))
        })
        .collect())
}

async fn read_datastreams(tx: &mut PgConnection, wanted: Wanted, options: &Options) -> Result<Rows, sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT id, name, description, observation_type, unit, properties FROM ioc.datastream WHERE ($1::bigint IS NULL OR id = $1) \
             AND ($2::bigint IS NULL OR thing_id = $2) AND ($3::bigint IS NULL OR sensor_id = $3) \
             AND ($4::bigint IS NULL OR observed_property_id = $4) \
             AND ($5::bigint IS NULL OR id = (SELECT datastream_id FROM ioc.observation WHERE observation.id = $5)) \
         ORDER BY CASE WHEN $6 THEN -id ELSE id END OFFSET $7 LIMIT $8",
        wanted.id,
        wanted.parent(Set::Things),
        wanted.parent(Set::Sensors),
        wanted.parent(Set::ObservedProperties),
        wanted.parent(Set::Observations),
        options.descending,
        options.skip,
        options.top + 1
    )
    .fetch_all(tx)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let own = [
                ("name", row.name.into()),
                ("description", row.description.into()),
                ("observationType", row.observation_type.into()),
                ("unitOfMeasurement", row.unit),
                ("properties", row.properties),
            ];
            (row.id, members(own))
        })
        .collect())
}

async fn read_observations(tx: &mut PgConnection, wanted: Wanted, options: &Options) -> Result<Rows, sqlx::Error> {
    let (time, result) = (options.bounds.time, options.bounds.result);
    let rows = sqlx::query!(
        "SELECT id, phenomenon_at, result_at, result, quality FROM ioc.observation WHERE ($1::bigint IS NULL OR id = $1) \
             AND ($2::bigint IS NULL OR datastream_id = $2) \
             AND ($3::timestamptz IS NULL OR phenomenon_at >= $3) AND ($4::timestamptz IS NULL OR phenomenon_at > $4) \
             AND ($5::timestamptz IS NULL OR phenomenon_at <= $5) AND ($6::timestamptz IS NULL OR phenomenon_at < $6) \
             AND ($7::double precision IS NULL OR result >= $7) AND ($8::double precision IS NULL OR result > $8) \
             AND ($9::double precision IS NULL OR result <= $9) AND ($10::double precision IS NULL OR result < $10) \
         ORDER BY CASE WHEN $11 THEN phenomenon_at END DESC, CASE WHEN NOT $11 THEN phenomenon_at END, id \
         OFFSET $12 LIMIT $13",
        wanted.id,
        wanted.parent(Set::Datastreams),
        time.from,
        time.after,
        time.until,
        time.before,
        result.from,
        result.after,
        result.until,
        result.before,
        options.descending,
        options.skip,
        options.top + 1
    )
    .fetch_all(tx)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let own = [
                ("phenomenonTime", stamp(row.phenomenon_at)),
                ("resultTime", row.result_at.map_or(Value::Null, stamp)),
                ("result", row.result.into()),
                ("resultQuality", row.quality.into()),
            ];
            (row.id, members(own))
        })
        .collect())
}

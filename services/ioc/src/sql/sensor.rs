//! The statements of sensors and their readings that write or lock; those that show entities are in `entity`. The rows of a
//! station's datastreams are locked for what their readings change.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{PgConnection, PgPool};

use crate::sensor::entity::{NewDatastream, NewLocation, NewProperty, NewSensor, NewThing};
use crate::sensor::plausible::Jumped;

/// A datastream as readings see it.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    pub(crate) id: i64,
    pub(crate) station: Option<String>,
    pub(crate) exercise: bool,
    pub(crate) newest_at: Option<DateTime<Utc>>,
    pub(crate) newest_result: Option<f64>,
    jump_at: Option<DateTime<Utc>>,
    jump_result: Option<f64>,
    jumps: i16,
    pub(crate) registered_by: String,
}

impl Stream {
    /// Its last readings, if they were too far from the newest good one.
    pub(crate) fn jumped(&self) -> Option<Jumped> {
        let (at, value) = self.jump_at.zip(self.jump_result)?;
        Some(Jumped { at, value, count: u8::try_from(self.jumps).unwrap_or(u8::MAX) })
    }
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

/// Locks a datastream and the others of its station until the transaction ends, and reads it.
pub(crate) async fn lock(tx: &mut PgConnection, datastream: i64) -> Result<Option<Stream>, sqlx::Error> {
    // A statement of its own: what is read afterwards is what the one before left.
    sqlx::query!(
        "SELECT FROM ioc.datastream WHERE id = $1 OR (station, exercise) IN \
             (SELECT station, exercise FROM ioc.datastream WHERE id = $1) \
         ORDER BY id FOR NO KEY UPDATE",
        datastream
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query_as!(
        Stream,
        "SELECT datastream.id, station, exercise, newest_at, newest_result, jump_at, jump_result, jumps, \
                thing.registered_by \
         FROM ioc.datastream JOIN ioc.thing ON thing.id = thing_id WHERE datastream.id = $1",
        datastream
    )
    .fetch_optional(tx)
    .await
}

/// Writes the newest good reading of a locked datastream, and those that were too far from it.
pub(crate) async fn set_newest(
    tx: &mut PgConnection,
    datastream: i64,
    (newest, jumped): (Option<(DateTime<Utc>, f64)>, Option<Jumped>),
) -> Result<(), sqlx::Error> {
    let (at, result) = newest.unzip();
    sqlx::query!(
        "UPDATE ioc.datastream SET newest_at = $2, newest_result = $3, jump_at = $4, jump_result = $5, jumps = $6 WHERE id = $1",
        datastream,
        at,
        result,
        jumped.map(|jumped| jumped.at),
        jumped.map(|jumped| jumped.value),
        jumped.map_or(0, |jumped| i16::from(jumped.count))
    )
    .execute(tx)
    .await
    .map(|_| ())
}

/// The newest good reading of each station, exercises apart.
pub(crate) async fn newest(pool: &PgPool) -> Result<Vec<(String, DateTime<Utc>)>, sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT station AS \"station!\", max(newest_at) AS \"newest_at!\" FROM ioc.datastream \
         WHERE station IS NOT NULL AND NOT exercise AND newest_at IS NOT NULL GROUP BY station"
    );
    Ok(rows.fetch_all(pool).await?.into_iter().map(|row| (row.station, row.newest_at)).collect())
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

//! The statements that show the entities of SensorThings. They lock nothing.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use sqlx::PgConnection;

use crate::sensor::entity::{Entity, Set, stamp};
use crate::sensor::query::Options;

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

struct ObservationRow {
    id: i64,
    phenomenon_at: DateTime<Utc>,
    result_at: Option<DateTime<Utc>>,
    result: f64,
    quality: String,
}

/// Two statements, one for each direction: an order that is computed would sort all readings there are.
async fn read_observations(tx: &mut PgConnection, wanted: Wanted, options: &Options) -> Result<Rows, sqlx::Error> {
    let (time, result) = (options.bounds.time, options.bounds.result);
    let rows = if options.descending {
        sqlx::query_as!(
            ObservationRow,
            "SELECT id, phenomenon_at, result_at, result, quality FROM ioc.observation WHERE ($1::bigint IS NULL OR id = $1) \
                 AND ($2::bigint IS NULL OR datastream_id = $2) \
                 AND ($3::timestamptz IS NULL OR phenomenon_at >= $3) AND ($4::timestamptz IS NULL OR phenomenon_at > $4) \
                 AND ($5::timestamptz IS NULL OR phenomenon_at <= $5) AND ($6::timestamptz IS NULL OR phenomenon_at < $6) \
                 AND ($7::double precision IS NULL OR result >= $7) AND ($8::double precision IS NULL OR result > $8) \
                 AND ($9::double precision IS NULL OR result <= $9) AND ($10::double precision IS NULL OR result < $10) \
             ORDER BY phenomenon_at DESC, id DESC OFFSET $11 LIMIT $12",
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
            options.skip,
            options.top + 1
        )
        .fetch_all(tx)
        .await?
    } else {
        sqlx::query_as!(
            ObservationRow,
            "SELECT id, phenomenon_at, result_at, result, quality FROM ioc.observation WHERE ($1::bigint IS NULL OR id = $1) \
                 AND ($2::bigint IS NULL OR datastream_id = $2) \
                 AND ($3::timestamptz IS NULL OR phenomenon_at >= $3) AND ($4::timestamptz IS NULL OR phenomenon_at > $4) \
                 AND ($5::timestamptz IS NULL OR phenomenon_at <= $5) AND ($6::timestamptz IS NULL OR phenomenon_at < $6) \
                 AND ($7::double precision IS NULL OR result >= $7) AND ($8::double precision IS NULL OR result > $8) \
                 AND ($9::double precision IS NULL OR result <= $9) AND ($10::double precision IS NULL OR result < $10) \
             ORDER BY phenomenon_at, id OFFSET $11 LIMIT $12",
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
            options.skip,
            options.top + 1
        )
        .fetch_all(tx)
        .await?
    };
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

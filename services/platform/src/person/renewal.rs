//! Seals the keys of persons anew under the newest configured key, so that an older one can be taken out of the configuration.
//!
//! In small transactions, each a statement that locks and one that writes; keys that somebody holds wait for the next round, and a
//! process that dies between two loses nothing: what it has not done is found by the id of the key that it stands under.
//! A key that opens under no configured key is passed over and counted: it stops nobody else's.

use prometheus::IntGaugeVec;
use sqlx::{AssertSqlSafe, PgPool};
use tracing::{error, info, warn};
use uuid::Uuid;

use crate::db::Schema;
use crate::metrics::Metrics;
use crate::seal::{Place, Ring};
use crate::task::Shutdown;

/// Keys that one transaction seals anew.
pub(super) const RENEWED_AT_ONCE: i64 = 100;
/// Persons that one round names in the log because their key does not open; the others are counted.
const NAMED: u64 = 20;

/// Where a service keeps the keys of persons.
#[derive(Clone, Copy, Debug)]
pub struct KeyTable {
    /// The service's.
    pub schema: Schema,
    /// In that schema.
    pub table: &'static str,
    /// The column that says whose a key is.
    pub person: &'static str,
    /// The column of the key; null or empty once it was destroyed.
    pub key: &'static str,
    /// The column that it was sealed for.
    pub place: &'static str,
}

impl KeyTable {
    fn sql(&self, statement: &str) -> AssertSqlSafe<String> {
        let statement = self.schema.sql(statement).replace("{table}", self.table);
        AssertSqlSafe(statement.replace("{person}", self.person).replace("{key}", self.key))
    }
}

/// How many keys stand under which.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct Standing {
    /// Under the newest configured key.
    pub newest: i64,
    /// Under another configured key, which is needed as long as there are any.
    pub retired: i64,
    /// Under none that is configured: they don't open.
    pub unknown: i64,
}

/// What one transaction did.
#[derive(Debug, Default)]
pub struct Renewed {
    /// The last person that was looked at; none when there was nobody left.
    pub last: Option<Uuid>,
    /// Those whose key does not open.
    pub unopened: Vec<Uuid>,
}

/// Keeps the keys of persons under the newest configured key.
#[derive(Debug)]
pub struct Renewal {
    table: KeyTable,
    standing: IntGaugeVec,
}

impl Renewal {
    /// For a table, with the gauge `person_keys`.
    pub fn new(table: KeyTable, metrics: &Metrics) -> Self {
        let help = "Keys of persons by the configured key that seals them: newest, retired, or unknown.";
        Self { table, standing: metrics.gauge("person_keys", help, &["under"]) }
    }

    /// Seals anew whatever is not under the newest key, and says how many are under which.
    pub async fn round(&self, ring: &Ring, pool: &PgPool, shutdown: &Shutdown) {
        if let Err(error) = self.try_round(ring, pool, shutdown).await {
            warn!(%error, "the keys of persons can't be sealed anew; again later");
        }
    }

    async fn try_round(&self, ring: &Ring, pool: &PgPool, shutdown: &Shutdown) -> Result<(), sqlx::Error> {
        let (mut after, mut unopened) = (Uuid::nil(), 0);
        while ring.has_retired() && !shutdown.is_cancelled() {
            let renewed = renew(&self.table, ring, (pool, after)).await?;
            for person in renewed.unopened {
                unopened += 1;
                if unopened <= NAMED {
                    error!(person.id = %person, "the key of a person opens under no configured key");
                }
            }
            let Some(last) = renewed.last else { break };
            after = last;
        }
        let standing = standing(&self.table, ring, pool).await?;
        for (under, keys) in [("newest", standing.newest), ("retired", standing.retired), ("unknown", standing.unknown)]
        {
            self.standing.with_label_values(&[under]).set(keys);
        }
        if standing.unknown > 0 {
            error!(keys = standing.unknown, "keys of persons open under no configured key");
        }
        if ring.has_retired() {
            let Standing { newest, retired, .. } = standing;
            info!(keys.newest = newest, keys.retired = retired, "keys of persons are sealed under the newest key");
        }
        Ok(())
    }
}

/// Seals at most [`RENEWED_AT_ONCE`] keys of persons after one anew, those that nobody holds. Any number of processes may do so at once.
pub(super) async fn renew(
    table: &KeyTable,
    ring: &Ring,
    (pool, after): (&PgPool, Uuid),
) -> Result<Renewed, sqlx::Error> {
    let mut tx = crate::db::begin(pool).await?;
    let rows: Vec<(Uuid, Vec<u8>)> = sqlx::query_as(table.sql(LOCK_SOME))
        .bind(after)
        .bind(RENEWED_AT_ONCE)
        .bind(ring.newest_id())
        .fetch_all(&mut *tx)
        .await?;
    let mut renewed = Renewed { last: rows.last().map(|(person, _)| *person), unopened: Vec::new() };
    let (mut persons, mut keys) = (Vec::new(), Vec::new());
    for (person, key) in rows {
        let place = Place::new(table.place, person);
        match ring.open(place, &key) {
            Ok(plain) => {
                persons.push(person);
                keys.push(ring.seal(place, &plain));
            }
            Err(_) => renewed.unopened.push(person),
        }
    }
    sqlx::query(table.sql(RENEW)).bind(persons).bind(keys).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(renewed)
}

/// How many keys stand under which configured key.
pub(super) async fn standing(table: &KeyTable, ring: &Ring, pool: &PgPool) -> Result<Standing, sqlx::Error> {
    sqlx::query_as(table.sql(COUNT)).bind(ring.newest_id()).bind(ring.retired_ids()).fetch_one(pool).await
}

/// Sealed bytes name their key in the second to fifth (`crate::seal`).
const LOCK_SOME: &str = "
    SELECT {person}, {key} FROM {schema}.{table}
    WHERE {person} > $1 AND octet_length({key}) > 0 AND substring({key} FROM 2 FOR 4) <> $3
    ORDER BY {person} LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED";

const RENEW: &str = "
    UPDATE {schema}.{table} AS k SET {key} = n.key FROM unnest($1::uuid[], $2::bytea[]) AS n (person, key) WHERE k.{person} = n.person";

const COUNT: &str = "
    SELECT count(*) FILTER (WHERE id = $1) AS newest, count(*) FILTER (WHERE id <> $1 AND id = ANY ($2)) AS retired,
        count(*) FILTER (WHERE id <> $1 AND id <> ALL ($2)) AS unknown
    FROM (SELECT substring({key} FROM 2 FOR 4) AS id FROM {schema}.{table} WHERE octet_length({key}) > 0) AS k";

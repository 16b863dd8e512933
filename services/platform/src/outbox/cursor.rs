//! How far a relay came, in PostgreSQL.
//!
//! The cursor says: every entry at or below `position` is in Redis, and `added` is the last position put into each
//! partition so far. It is saved late (at most once a second), which is safe: what the streams themselves hold is asked
//! first, and reading again from an older cursor adds nothing twice.
//! `generation` names the history that Redis holds; a stream with another name there is not ours to continue.
//! `outbox_reader` remembers which consumer groups exist and what they have acknowledged, so that a wiped Redis is
//! filled with what is still wanted instead of a week.

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

use super::stream::Acknowledged;
use crate::db::Schema;
use crate::events::{PARTITIONS, PerPartition};

/// A saved cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) generation: Uuid,
    pub(super) position: i64,
    pub(super) added: PerPartition,
}

/// The cursor and the readers of one stream.
#[derive(Clone, Debug)]
pub(super) struct CursorTable {
    pub(super) pool: PgPool,
    pub(super) schema: Schema,
    pub(super) stream: &'static str,
}

impl CursorTable {
    /// The saved cursor; a new one at the beginning if there is none.
    pub(super) async fn load(&self) -> Result<Cursor, sqlx::Error> {
        self.query(CREATE).bind(crate::id::new()).execute(&self.pool).await?;
        let (generation, position, added): (Uuid, i64, Vec<i64>) =
            sqlx::query_as(AssertSqlSafe(self.schema.sql(LOAD))).bind(self.stream).fetch_one(&self.pool).await?;
        Ok(Cursor { generation, position, added: per_partition(added) })
    }

    /// Saves a cursor; one of an older generation is dropped.
    pub(super) async fn save(&self, cursor: &Cursor) -> Result<(), sqlx::Error> {
        self.query(SAVE)
            .bind(cursor.generation)
            .bind(cursor.position)
            .bind(&cursor.added[..])
            .execute(&self.pool)
            .await
            .map(|_| ())
    }

    /// Begins a new history, because Redis holds one that this database doesn't know; nobody has read the new one.
    pub(super) async fn restart(&self) -> Result<(), sqlx::Error> {
        let mut transaction = crate::db::begin(&self.pool).await?;
        self.query(RESTART).bind(crate::id::new()).execute(&mut *transaction).await?;
        self.query(FORGET_ALL).execute(&mut *transaction).await?;
        transaction.commit().await
    }

    /// Remembers what groups have acknowledged. That never shrinks: a group that Redis lost keeps its merits.
    pub(super) async fn remember(&self, readers: &[Acknowledged]) -> Result<(), sqlx::Error> {
        for reader in readers {
            self.query(REMEMBER).bind(&reader.group).bind(&reader.positions[..]).execute(&self.pool).await?;
        }
        Ok(())
    }

    /// What every known group has acknowledged, per partition; zeros while no group is known.
    pub(super) async fn acknowledged_by_all(&self) -> Result<PerPartition, sqlx::Error> {
        let rows: Vec<Vec<i64>> =
            sqlx::query_scalar(AssertSqlSafe(self.schema.sql(READERS))).bind(self.stream).fetch_all(&self.pool).await?;
        let least = rows
            .into_iter()
            .map(per_partition)
            .reduce(|least, reader| std::array::from_fn(|p| least[p].min(reader[p])));
        Ok(least.unwrap_or([0; PARTITIONS]))
    }

    fn query(&self, template: &str) -> sqlx::query::Query<'_, sqlx::Postgres, sqlx::postgres::PgArguments> {
        sqlx::query(AssertSqlSafe(self.schema.sql(template))).bind(self.stream)
    }
}

/// Forgets a consumer group that is gone for good, so that a stream no longer keeps entries for it.
///
/// # Errors
/// What the database answered.
pub async fn forget_reader(pool: &PgPool, schema: Schema, stream: &str, group: &str) -> Result<bool, sqlx::Error> {
    let forgotten = sqlx::query(AssertSqlSafe(schema.sql(FORGET))).bind(stream).bind(group).execute(pool).await?;
    Ok(forgotten.rows_affected() == 1)
}

/// Machine time; it decides how long transport records stay, and nothing of the city's business.
pub(super) fn machine_time() -> DateTime<Utc> {
    Utc::now()
}

fn per_partition(positions: Vec<i64>) -> PerPartition {
    positions.try_into().expect("a constraint keeps one position per partition")
}

// Every statement on outbox_cursor and outbox_reader; $1 is the stream.

const CREATE: &str = "
    INSERT INTO {schema}.outbox_cursor (stream, generation, position, added) VALUES ($1, $2, 0, array_fill(0::bigint, ARRAY[16]))
    ON CONFLICT ON CONSTRAINT outbox_cursor_pk DO NOTHING";

const LOAD: &str = "SELECT generation, position, added FROM {schema}.outbox_cursor WHERE stream = $1";

const SAVE: &str = "
    UPDATE {schema}.outbox_cursor SET position = $3, added = $4 WHERE stream = $1 AND generation = $2";

const RESTART: &str = "
    UPDATE {schema}.outbox_cursor SET generation = $2, position = 0, added = array_fill(0::bigint, ARRAY[16])
    WHERE stream = $1";

const REMEMBER: &str = "
    INSERT INTO {schema}.outbox_reader AS known (stream, reader, acknowledged) VALUES ($1, $2, $3)
    ON CONFLICT ON CONSTRAINT outbox_reader_pk DO UPDATE SET acknowledged = ARRAY(
        SELECT greatest(old.position, new.position)
        FROM unnest(known.acknowledged) WITH ORDINALITY AS old (position, partition)
        JOIN unnest(excluded.acknowledged) WITH ORDINALITY AS new (position, partition) USING (partition)
        ORDER BY partition)
    WHERE known.acknowledged IS DISTINCT FROM excluded.acknowledged";

const READERS: &str = "SELECT acknowledged FROM {schema}.outbox_reader WHERE stream = $1";

const FORGET: &str = "DELETE FROM {schema}.outbox_reader WHERE stream = $1 AND reader = $2";

const FORGET_ALL: &str = "DELETE FROM {schema}.outbox_reader WHERE stream = $1";

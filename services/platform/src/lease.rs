//! Who consumes which partition: leases with fencing tokens, in the schema of the consuming service.
//!
//! A lease is a row. Its fence grows with each new holder; an effect checks it under the row's lock ([`Leases::guard`]),
//! so that a holder that lost its lease can commit nothing, and a taker waits for (in fact skips) a lease whose effect
//! is being committed. Lease times are the database's own clock: they measure whether a process lives, all replicas
//! agree on them, and moving a test's clock doesn't touch them.
//!
//! Members announce themselves, and each holds at most its even share of the partitions.
//! Lock order: leases by partition; takers and renewers skip locked rows, so that nobody waits here.

use std::time::Duration;

use sqlx::postgres::PgArguments;
use sqlx::query::{Query, QueryAs};
use sqlx::{AssertSqlSafe, FromRow, PgConnection, PgPool, Postgres};

use crate::db::Schema;
use crate::events::PARTITIONS;

/// A partition that is leased, and the token of its lease.
pub(crate) type Leased = (usize, i64);

/// The leases of one consumer of one stream, as one process sees them.
#[derive(Clone, Debug)]
pub(crate) struct Leases {
    pool: PgPool,
    schema: Schema,
    consumer: String,
    stream: &'static str,
    instance: String,
    holder: String,
    length: Duration,
}

/// What a renewal found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// The partitions that are still ours.
    pub(crate) held: Vec<Leased>,
    /// How many partitions are this process's even share.
    pub(crate) share: usize,
}

impl Leases {
    /// Leases that last `length` without being renewed; `instance` is the process's name.
    pub(crate) fn new(
        context: &crate::service::Context,
        schema: Schema,
        consumer: &str,
        stream: &'static str,
        length: Duration,
    ) -> Self {
        Self {
            pool: context.pool.clone(),
            schema,
            consumer: consumer.to_owned(),
            stream,
            instance: context.instance.clone(),
            holder: format!("{}#{}", context.instance, crate::id::new()),
            length,
        }
    }

    /// Makes missing rows, and ends what an earlier run of this very process left: it is dead, or fenced off from now on.
    pub(crate) async fn begin(&self) -> Result<(), sqlx::Error> {
        let partitions = i32::try_from(PARTITIONS).expect("few partitions");
        self.query(CREATE).bind(partitions).execute(&self.pool).await?;
        self.query(END_FORMER).bind(&self.instance).execute(&self.pool).await?;
        self.query(LEAVE_FORMER).bind(&self.instance).execute(&self.pool).await?;
        Ok(())
    }

    /// Renews membership and leases.
    pub(crate) async fn renew(&self) -> Result<Standing, sqlx::Error> {
        self.query(JOIN).bind(&self.holder).bind(self.length).execute(&self.pool).await?;
        let members: i64 = self.query_as::<(i64,)>(MEMBERS).fetch_one(&self.pool).await?.0;
        let rows = self.query_as(RENEW).bind(&self.holder).bind(self.length).fetch_all(&self.pool).await?;
        let members = usize::try_from(members).unwrap_or(1).max(1);
        Ok(Standing { held: leased(rows), share: PARTITIONS.div_ceil(members) })
    }

    /// Takes up to `count` leases that nobody holds.
    pub(crate) async fn take(&self, count: usize) -> Result<Vec<Leased>, sqlx::Error> {
        let count = i64::try_from(count).expect("few partitions");
        let rows = self.query_as(TAKE).bind(&self.holder).bind(self.length).bind(count).fetch_all(&self.pool).await?;
        Ok(leased(rows))
    }

    /// Gives leases back, so that others can take them at once.
    pub(crate) async fn release(&self, partitions: &[usize]) -> Result<(), sqlx::Error> {
        self.query(RELEASE)
            .bind(&self.holder)
            .bind(numbers(partitions.iter().copied()))
            .execute(&self.pool)
            .await
            .map(|_| ())
    }

    /// Ends membership and all leases of this process.
    pub(crate) async fn leave(&self) -> Result<(), sqlx::Error> {
        self.release(&Vec::from_iter(0..PARTITIONS)).await?;
        self.query(LEAVE).bind(&self.holder).execute(&self.pool).await.map(|_| ())
    }

    /// Locks the leases of these partitions until the transaction ends; `false` if one of them is no longer ours.
    pub(crate) async fn guard(&self, transaction: &mut PgConnection, leased: &[Leased]) -> Result<bool, sqlx::Error> {
        let fences: Vec<i64> = leased.iter().map(|(_, fence)| *fence).collect();
        let locked = self
            .query(GUARD)
            .bind(&self.holder)
            .bind(numbers(leased.iter().map(|(partition, _)| *partition)))
            .bind(fences)
            .execute(transaction)
            .await?;
        Ok(locked.rows_affected() == leased.len() as u64)
    }

    fn query(&self, template: &str) -> Query<'_, Postgres, PgArguments> {
        sqlx::query(AssertSqlSafe(self.schema.sql(template))).bind(&self.consumer).bind(self.stream)
    }

    fn query_as<T: for<'row> FromRow<'row, sqlx::postgres::PgRow>>(
        &self,
        template: &str,
    ) -> QueryAs<'_, Postgres, T, PgArguments> {
        sqlx::query_as(AssertSqlSafe(self.schema.sql(template))).bind(&self.consumer).bind(self.stream)
    }
}

fn numbers(partitions: impl Iterator<Item = usize>) -> Vec<i16> {
    partitions.map(|partition| i16::try_from(partition).expect("few partitions")).collect()
}

fn leased(rows: Vec<(i16, i64)>) -> Vec<Leased> {
    let mut leased: Vec<Leased> = rows
        .into_iter()
        .map(|(partition, fence)| (usize::try_from(partition).expect("a constraint keeps it from 0 to 15"), fence))
        .collect();
    leased.sort_unstable();
    leased
}

// Every statement on event_lease and event_member; $1 is the consumer, $2 the stream.

const CREATE: &str = "
    INSERT INTO {schema}.event_lease (consumer, stream, partition, holder, fence, lease_until)
    SELECT $1, $2, partition, '', 0, '-infinity' FROM generate_series(0, $3 - 1) AS partition
    ON CONFLICT ON CONSTRAINT event_lease_pk DO NOTHING";

const END_FORMER: &str = "
    UPDATE {schema}.event_lease SET lease_until = '-infinity'
    WHERE consumer = $1 AND stream = $2 AND split_part(holder, '#', 1) = $3 AND lease_until > '-infinity'";

const LEAVE_FORMER: &str = "
    DELETE FROM {schema}.event_member
    WHERE consumer = $1 AND stream = $2 AND (split_part(holder, '#', 1) = $3 OR seen_until < clock_timestamp())";

const JOIN: &str = "
    INSERT INTO {schema}.event_member (consumer, stream, holder, seen_until) VALUES ($1, $2, $3, clock_timestamp() + $4)
    ON CONFLICT ON CONSTRAINT event_member_pk DO UPDATE SET seen_until = excluded.seen_until";

const MEMBERS: &str = "
    SELECT count(*) FROM {schema}.event_member WHERE consumer = $1 AND stream = $2 AND seen_until > clock_timestamp()";

const RENEW: &str = "
    WITH ours AS (
        SELECT partition FROM {schema}.event_lease
        WHERE consumer = $1 AND stream = $2 AND holder = $3 ORDER BY partition FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE {schema}.event_lease AS lease SET lease_until = clock_timestamp() + $4 FROM ours
    WHERE lease.consumer = $1 AND lease.stream = $2 AND lease.partition = ours.partition
    RETURNING lease.partition, lease.fence";

const TAKE: &str = "
    WITH free AS (
        SELECT partition FROM {schema}.event_lease
        WHERE consumer = $1 AND stream = $2 AND lease_until < clock_timestamp()
        ORDER BY partition LIMIT $5 FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE {schema}.event_lease AS lease SET holder = $3, fence = lease.fence + 1, lease_until = clock_timestamp() + $4 FROM free
    WHERE lease.consumer = $1 AND lease.stream = $2 AND lease.partition = free.partition
    RETURNING lease.partition, lease.fence";

const RELEASE: &str = "
    UPDATE {schema}.event_lease SET holder = '', lease_until = '-infinity'
    WHERE consumer = $1 AND stream = $2 AND holder = $3 AND partition = ANY ($4)";

const LEAVE: &str = "DELETE FROM {schema}.event_member WHERE consumer = $1 AND stream = $2 AND holder = $3";

const GUARD: &str = "
    SELECT 1 FROM {schema}.event_lease AS lease
    JOIN unnest($4::smallint[], $5::bigint[]) AS claimed (partition, fence) USING (partition, fence)
    WHERE lease.consumer = $1 AND lease.stream = $2 AND lease.holder = $3
    ORDER BY lease.partition FOR SHARE OF lease";

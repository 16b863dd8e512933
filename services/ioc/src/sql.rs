//! Every statement of the operations centre.
//!
//! Those of field reports are in `report`, of lists in `happening`, those of sensors, their entities, alarms, warnings and sessions in modules of their names. Lock order: the row of `ioc.board` first, by [`lock`]; everything else follows under it. Readers take no lock: they read one snapshot.

pub(crate) mod alarm;
pub(crate) mod entity;
pub(crate) mod happening;
pub(crate) mod report;
pub(crate) mod sensor;
pub(crate) mod session;
pub(crate) mod warning;

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::{PgConnection, PgPool, Postgres, Transaction};

use crate::tally::{Batch, Entry, Label, Payment, Sum};

/// Where changes are announced.
pub(crate) const CHANNEL: &str = "ioc_board";
/// How many of the newest payments are kept.
pub(crate) const MAX_PAYMENTS: i64 = 12;
/// How many entries are folded into the books' totals at once.
pub(crate) const MAX_FOLDED: i64 = 10_000;

/// The head of the board.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) epoch: String,
    pub(crate) revision: i64,
    pub(crate) book_position: i64,
}

/// A row of a tally.
#[derive(Clone, Debug)]
pub(crate) struct TallyRow {
    pub(crate) minute: Option<DateTime<Utc>>,
    pub(crate) kind: String,
    pub(crate) outcome: String,
    pub(crate) count: i64,
    pub(crate) amount: i64,
}

/// Locks the board for a change and counts its revision up.
pub(crate) async fn lock(tx: &mut PgConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!("UPDATE ioc.board SET revision = revision + 1 RETURNING revision").fetch_one(tx).await
}

/// Begins a transaction that sees one moment and writes nothing.
pub(crate) async fn snapshot(pool: &PgPool) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    platform::db::begin_read_only(pool).await
}

/// Adds a batch of a stream's events. The caller holds the lock, which gave `revision`.
pub(crate) async fn add(tx: &mut PgConnection, stream: &str, batch: &Batch, revision: i64) -> Result<(), sqlx::Error> {
    add_minutes(&mut *tx, &batch.minutes, revision).await?;
    add_days(&mut *tx, &batch.days, revision).await?;
    add_payments(&mut *tx, &batch.payments, revision).await?;
    happening::add(&mut *tx, &batch.happenings).await?;
    add_entries(&mut *tx, &batch.entries).await?;
    add_positions(&mut *tx, stream, &batch.positions).await?;
    announce(tx).await
}

/// Tells every board that something changed, once this is committed.
async fn announce(tx: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!("SELECT pg_notify($1, '')", CHANNEL).execute(tx).await.map(|_| ())
}

async fn add_minutes(
    tx: &mut PgConnection,
    minutes: &BTreeMap<(DateTime<Utc>, Label), Sum>,
    revision: i64,
) -> Result<(), sqlx::Error> {
    let at: Vec<DateTime<Utc>> = minutes.keys().map(|(minute, _)| *minute).collect();
    let (kinds, outcomes, counts, amounts) = columns(minutes.iter().map(|((_, label), sum)| (label, sum)));
    sqlx::query!(
        "INSERT INTO ioc.minute_tally AS known (minute, kind, outcome, count, listed, amount, revision) \
         SELECT minute, kind, outcome, count, count, amount, $6 \
         FROM UNNEST($1::timestamptz[], $2::text[], $3::text[], $4::bigint[], $5::bigint[]) \
             AS new (minute, kind, outcome, count, amount) \
         ON CONFLICT ON CONSTRAINT minute_tally_pk DO UPDATE \
         SET count = known.count + EXCLUDED.count, listed = known.listed + EXCLUDED.listed, \
             amount = known.amount + EXCLUDED.amount, revision = EXCLUDED.revision",
        &at,
        &kinds,
        &outcomes,
        &counts,
        &amounts,
        revision
    )
    .execute(tx)
    .await
    .map(|_| ())
}

async fn add_days(
    tx: &mut PgConnection,
    days: &BTreeMap<(NaiveDate, Label), Sum>,
    revision: i64,
) -> Result<(), sqlx::Error> {
    let on: Vec<NaiveDate> = days.keys().map(|(day, _)| *day).collect();
    let (kinds, outcomes, counts, amounts) = columns(days.iter().map(|((_, label), sum)| (label, sum)));
    sqlx::query!(
        "INSERT INTO ioc.day_tally AS known (day, kind, outcome, count, listed, amount, revision) \
         SELECT day, kind, outcome, count, count, amount, $6 \
         FROM UNNEST($1::date[], $2::text[], $3::text[], $4::bigint[], $5::bigint[]) \
             AS new (day, kind, outcome, count, amount) \
         ON CONFLICT ON CONSTRAINT day_tally_pk DO UPDATE \
         SET count = known.count + EXCLUDED.count, listed = known.listed + EXCLUDED.listed, \
             amount = known.amount + EXCLUDED.amount, revision = EXCLUDED.revision",
        &on,
        &kinds,
        &outcomes,
        &counts,
        &amounts,
        revision
    )
    .execute(tx)
    .await
    .map(|_| ())
}

type Columns = (Vec<String>, Vec<String>, Vec<i64>, Vec<i64>);

fn columns<'a>(rows: impl Iterator<Item = (&'a Label, &'a Sum)>) -> Columns {
    let mut columns = Columns::default();
    for (label, sum) in rows {
        columns.0.push(label.kind.clone());
        columns.1.push(label.outcome.clone());
        columns.2.push(sum.count);
        columns.3.push(sum.amount);
    }
    columns
}

async fn add_payments(tx: &mut PgConnection, payments: &[Payment], revision: i64) -> Result<(), sqlx::Error> {
    if payments.is_empty() {
        return Ok(());
    }
    let positions: Vec<i64> = payments.iter().map(|payment| payment.position).collect();
    let times: Vec<DateTime<Utc>> = payments.iter().map(|payment| payment.paid_at).collect();
    let merchants: Vec<String> = payments.iter().map(|payment| payment.merchant.clone()).collect();
    let amounts: Vec<i64> = payments.iter().map(|payment| payment.amount).collect();
    sqlx::query!(
        "INSERT INTO ioc.last_payment (position, paid_at, merchant, amount, revision) \
         SELECT position, paid_at, merchant, amount, $5 \
         FROM UNNEST($1::bigint[], $2::timestamptz[], $3::text[], $4::bigint[]) AS new (position, paid_at, merchant, amount) \
         ORDER BY position DESC LIMIT $6::bigint \
         ON CONFLICT ON CONSTRAINT last_payment_pk DO NOTHING",
        &positions,
        &times,
        &merchants,
        &amounts,
        revision,
        MAX_PAYMENTS
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "DELETE FROM ioc.last_payment WHERE position < \
         (SELECT position FROM ioc.last_payment ORDER BY position DESC OFFSET $1::bigint - 1 LIMIT 1)",
        MAX_PAYMENTS
    )
    .execute(tx)
    .await
    .map(|_| ())
}

async fn add_entries(tx: &mut PgConnection, entries: &[Entry]) -> Result<(), sqlx::Error> {
    if entries.is_empty() {
        return Ok(());
    }
    let positions: Vec<i64> = entries.iter().map(|entry| entry.position).collect();
    let kinds: Vec<String> = entries.iter().map(|entry| entry.kind.clone()).collect();
    let amounts: Vec<i64> = entries.iter().map(|entry| entry.amount).collect();
    sqlx::query!(
        "INSERT INTO ioc.book_entry (position, kind, amount) \
         SELECT position, kind, amount FROM UNNEST($1::bigint[], $2::text[], $3::bigint[]) AS new (position, kind, amount)",
        &positions,
        &kinds,
        &amounts
    )
    .execute(tx)
    .await
    .map(|_| ())
}

async fn add_positions(tx: &mut PgConnection, stream: &str, newest: &BTreeMap<i16, i64>) -> Result<(), sqlx::Error> {
    let partitions: Vec<i16> = newest.keys().copied().collect();
    let positions: Vec<i64> = newest.values().copied().collect();
    sqlx::query!(
        "INSERT INTO ioc.source_position AS known (stream, partition, position) \
         SELECT $1, partition, position FROM UNNEST($2::smallint[], $3::bigint[]) AS new (partition, position) \
         ON CONFLICT ON CONSTRAINT source_position_pk DO UPDATE SET position = GREATEST(known.position, EXCLUDED.position)",
        stream,
        &partitions,
        &positions
    )
    .execute(tx)
    .await
    .map(|_| ())
}

/// Locks the board for the books; what the wall shows stays as it is.
pub(crate) async fn lock_books(tx: &mut PgConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!("SELECT book_position FROM ioc.board FOR NO KEY UPDATE").fetch_one(tx).await
}

/// The next entries after a position up to another, in order; there may be gaps.
pub(crate) async fn entries_after(tx: &mut PgConnection, position: i64, until: i64) -> Result<Vec<Entry>, sqlx::Error> {
    sqlx::query_as!(
        Entry,
        "SELECT position, kind, amount FROM ioc.book_entry WHERE position > $1 AND position <= $2 ORDER BY position LIMIT $3",
        position,
        until,
        MAX_FOLDED
    )
    .fetch_all(tx)
    .await
}

/// Moves the entries up to `position` into the totals. The caller holds the lock and has summed them.
pub(crate) async fn fold_entries(
    tx: &mut PgConnection,
    position: i64,
    sums: &BTreeMap<String, Sum>,
) -> Result<(), sqlx::Error> {
    let kinds: Vec<String> = sums.keys().cloned().collect();
    let counts: Vec<i64> = sums.values().map(|sum| sum.count).collect();
    let amounts: Vec<i64> = sums.values().map(|sum| sum.amount).collect();
    sqlx::query!(
        "INSERT INTO ioc.book_total AS known (kind, count, amount) \
         SELECT kind, count, amount FROM UNNEST($1::text[], $2::bigint[], $3::bigint[]) AS new (kind, count, amount) \
         ON CONFLICT ON CONSTRAINT book_total_pk DO UPDATE \
         SET count = known.count + EXCLUDED.count, amount = known.amount + EXCLUDED.amount",
        &kinds,
        &counts,
        &amounts
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!("DELETE FROM ioc.book_entry WHERE position <= $1", position).execute(&mut *tx).await?;
    sqlx::query!("UPDATE ioc.board SET book_position = $1", position).execute(tx).await.map(|_| ())
}

/// Removes minutes that are older than the wall and anyone else asks for.
pub(crate) async fn forget_minutes(pool: &PgPool, before: DateTime<Utc>) -> Result<(), sqlx::Error> {
    sqlx::query!("DELETE FROM ioc.minute_tally WHERE minute < $1", before).execute(pool).await.map(|_| ())
}

/// The head of the board.
pub(crate) async fn head(tx: &mut PgConnection) -> Result<Head, sqlx::Error> {
    sqlx::query_as!(Head, "SELECT epoch, revision, book_position FROM ioc.board").fetch_one(tx).await
}

/// The tallies of one day that changed after a revision.
pub(crate) async fn day(tx: &mut PgConnection, day: NaiveDate, after: i64) -> Result<Vec<TallyRow>, sqlx::Error> {
    sqlx::query_as!(
        TallyRow,
        "SELECT NULL::timestamptz AS minute, kind, outcome, count, amount FROM ioc.day_tally \
         WHERE day = $1 AND revision > $2 ORDER BY kind, outcome",
        day,
        after
    )
    .fetch_all(tx)
    .await
}

/// The tallies of the minutes since `from` that changed after a revision, oldest first.
pub(crate) async fn minutes(
    tx: &mut PgConnection,
    from: DateTime<Utc>,
    after: i64,
) -> Result<Vec<TallyRow>, sqlx::Error> {
    sqlx::query_as!(
        TallyRow,
        "SELECT minute AS \"minute?\", kind, outcome, count, amount FROM ioc.minute_tally \
         WHERE minute >= $1 AND revision > $2 ORDER BY minute, kind, outcome",
        from,
        after
    )
    .fetch_all(tx)
    .await
}

/// The sums of all days.
pub(crate) async fn totals(tx: &mut PgConnection) -> Result<Vec<TallyRow>, sqlx::Error> {
    sqlx::query_as!(
        TallyRow,
        "SELECT NULL::timestamptz AS minute, kind, outcome, SUM(count)::bigint AS \"count!\", SUM(amount)::bigint AS \"amount!\" \
         FROM ioc.day_tally GROUP BY kind, outcome ORDER BY kind, outcome"
    )
    .fetch_all(tx)
    .await
}

/// The newest payments that came after a revision, newest first.
pub(crate) async fn payments(tx: &mut PgConnection, after: i64) -> Result<Vec<Payment>, sqlx::Error> {
    sqlx::query_as!(
        Payment,
        "SELECT position, paid_at, merchant, amount FROM ioc.last_payment WHERE revision > $1 ORDER BY position DESC LIMIT $2",
        after,
        MAX_PAYMENTS
    )
    .fetch_all(tx)
    .await
}

/// What the tallies include.
pub(crate) async fn positions(tx: &mut PgConnection) -> Result<Vec<crate::overview::SourcePosition>, sqlx::Error> {
    sqlx::query_as!(
        crate::overview::SourcePosition,
        "SELECT stream, partition, position FROM ioc.source_position ORDER BY stream, partition"
    )
    .fetch_all(tx)
    .await
}

/// The books' totals by kind.
pub(crate) async fn book_totals(tx: &mut PgConnection) -> Result<BTreeMap<String, Sum>, sqlx::Error> {
    let rows = sqlx::query!("SELECT kind, count, amount FROM ioc.book_total").fetch_all(tx).await?;
    Ok(rows.into_iter().map(|row| (row.kind, Sum { count: row.count, amount: row.amount })).collect())
}

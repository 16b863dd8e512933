//! The ceiling: rows of the journal's shape and indexes, put in by one set-based statement per commit, and nothing else.

use std::time::Instant;

use sqlx::PgPool;
use uuid::Uuid;

use super::workload::{ACCOUNTS, Keys, Pick, Shape};
use crate::drive::Spell;

/// Rows of one statement.
const ROWS: usize = 4_096;

const TABLE: &str = "
    CREATE SCHEMA IF NOT EXISTS ceiling;
    DROP TABLE IF EXISTS ceiling.transfer;
    CREATE TABLE ceiling.transfer (LIKE ledger.transfer INCLUDING ALL);";

const INSERT: &str = "
    INSERT INTO ceiling.transfer (shard, block, posted_at, sequence, amount, debit_balance, credit_balance, debit_previous, credit_previous,
                                  fingerprint, currency, kind, request_size, id, debit, credit, reference)
    SELECT 1, 1, clock_timestamp(), $1 + n.place, 1, 1, 1, 0, 0, 1, 704, 1, 1, n.id, n.debit, n.credit, n.reference
    FROM UNNEST($2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[]) WITH ORDINALITY AS n (id, debit, credit, reference, place)";

/// Rows per second.
pub(super) async fn measure(pool: &PgPool, keys: Keys, spell: Spell) -> anyhow::Result<f64> {
    sqlx::raw_sql(TABLE).execute(pool).await?;
    let mut connection = pool.acquire().await?;
    let accounts: Vec<Uuid> = (0..ACCOUNTS).map(|_| Uuid::now_v7()).collect();
    let mut pick = Pick::new(Shape::Uniform, 0);
    let (mut sequence, began) = (0_usize, Instant::now());
    while began.elapsed() < spell.measured {
        let ids: Vec<Uuid> = (0..ROWS).map(|_| keys.one().transfer(0).uuid()).collect();
        let references: Vec<Uuid> = (0..ROWS).map(|_| Uuid::now_v7()).collect();
        let pairs = (0..ROWS).map(|_| pick.pair()).map(|(debit, credit)| (accounts[debit], accounts[credit]));
        let (debits, credits): (Vec<Uuid>, Vec<Uuid>) = pairs.unzip();
        sqlx::query(INSERT)
            .bind(i64::try_from(sequence)?)
            .bind(&ids)
            .bind(debits)
            .bind(credits)
            .bind(references)
            .execute(&mut *connection)
            .await?;
        sequence += ROWS;
    }
    let per_s = sequence as f64 / began.elapsed().as_secs_f64();
    sqlx::raw_sql("DROP TABLE ceiling.transfer").execute(&mut *connection).await?;
    Ok(per_s)
}

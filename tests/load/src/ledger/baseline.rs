//! The row-lock baseline: one call of a server-side function per transfer, prepared, on many connections.
//!
//! It locks both accounts in one order, checks the floor, updates both and inserts the transfer with both balances: no keys, no blocks, no holds.

use futures::future::try_join_all;
use sqlx::pool::PoolConnection;
use sqlx::{PgPool, Postgres};
use uuid::Uuid;

use super::workload::{ACCOUNTS, FUNDS, Pick, Shape};
use crate::drive::{Spell, drive};

/// Numbers of connections that are tried.
const CONNECTIONS: [usize; 6] = [1, 2, 4, 8, 16, 32];

const SCHEMA: &str = "
    CREATE SCHEMA IF NOT EXISTS baseline;
    DROP TABLE IF EXISTS baseline.transfer, baseline.account;
    CREATE TABLE baseline.account (id bigint PRIMARY KEY, balance bigint NOT NULL CHECK (balance >= 0)) WITH (fillfactor = 50);
    CREATE TABLE baseline.transfer (
        id uuid PRIMARY KEY, debit bigint NOT NULL, credit bigint NOT NULL, amount bigint NOT NULL,
        debit_balance bigint NOT NULL, credit_balance bigint NOT NULL, posted_at timestamptz NOT NULL DEFAULT clock_timestamp()
    );
    CREATE INDEX ON baseline.transfer (debit, posted_at);
    CREATE INDEX ON baseline.transfer (credit, posted_at);
    CREATE OR REPLACE FUNCTION baseline.post(p_id uuid, p_debit bigint, p_credit bigint, p_amount bigint) RETURNS boolean
    LANGUAGE plpgsql AS $$
    DECLARE v_debit bigint; v_credit bigint;
    BEGIN
        PERFORM 1 FROM baseline.account WHERE id IN (p_debit, p_credit) ORDER BY id FOR UPDATE;
        SELECT balance INTO v_debit FROM baseline.account WHERE id = p_debit;
        IF v_debit < p_amount THEN RETURN FALSE; END IF;
        UPDATE baseline.account SET balance = balance - p_amount WHERE id = p_debit RETURNING balance INTO v_debit;
        UPDATE baseline.account SET balance = balance + p_amount WHERE id = p_credit RETURNING balance INTO v_credit;
        INSERT INTO baseline.transfer (id, debit, credit, amount, debit_balance, credit_balance)
        VALUES (p_id, p_debit, p_credit, p_amount, v_debit, v_credit);
        RETURN TRUE;
    END $$;";

/// What the baseline reached with a number of connections.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reached {
    pub(super) connections: usize,
    pub(super) per_s: f64,
}

/// The baseline of one scenario.
#[derive(Clone, Debug)]
pub(super) struct Baselines(Vec<Reached>);

impl Baselines {
    /// The best with at most so many callers.
    pub(super) fn best(&self, callers: usize) -> Reached {
        let within = self.0.iter().filter(|reached| reached.connections <= callers);
        *within.max_by(|a, b| a.per_s.total_cmp(&b.per_s)).expect("one connection is always tried")
    }
}

/// Measures the baseline with every number of connections.
pub(super) async fn measure(pool: &PgPool, shape: Shape, spell: Spell) -> anyhow::Result<Baselines> {
    sqlx::raw_sql(SCHEMA).execute(pool).await?;
    sqlx::query("INSERT INTO baseline.account (id, balance) SELECT id, $2 FROM generate_series(0, $1 - 1) AS id")
        .bind(i64::try_from(ACCOUNTS)?)
        .bind(FUNDS)
        .execute(pool)
        .await?;
    sqlx::raw_sql("VACUUM ANALYZE baseline.account").execute(pool).await?;
    let mut reached = Vec::new();
    for connections in CONNECTIONS {
        let held = try_join_all((0..connections).map(|_| pool.acquire())).await?;
        let callers: Vec<Caller> =
            held.into_iter().enumerate().map(|(number, held)| (held, Pick::new(shape, number))).collect();
        let seen = drive(callers, spell, ask).await;
        anyhow::ensure!(seen.errors == 0, "the baseline failed");
        reached.push(Reached { connections, per_s: seen.per_s() });
    }
    Ok(Baselines(reached))
}

type Caller = (PoolConnection<Postgres>, Pick);

async fn ask((mut connection, mut pick): Caller) -> (Caller, anyhow::Result<()>) {
    let (debit, credit) = pick.pair();
    let posted = sqlx::query_scalar::<_, bool>("SELECT baseline.post($1, $2, $3, $4)")
        .bind(Uuid::now_v7())
        .bind(debit as i64)
        .bind(credit as i64)
        .bind(1_i64)
        .fetch_one(&mut *connection)
        .await;
    let answer = match posted {
        Ok(true) => Ok(()),
        Ok(false) => Err(anyhow::anyhow!("the baseline refused a transfer")),
        Err(error) => Err(error.into()),
    };
    ((connection, pick), answer)
}

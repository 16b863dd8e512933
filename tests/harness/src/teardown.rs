//! What must hold when a test is over: debits = credits, no hold, top-up or payment of a bill open, nothing waiting to be sent or due, nothing dead.

use anyhow::{Result, ensure};
use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, PgPool};

use crate::patience::eventually;

/// Schemas with platform's own tables.
const SERVICES: [&str; 5] = ["identity", "wallet", "reports", "notifications", "ioc"];

/// Waits until everything that moves by itself has arrived, then checks the books. `now` is the city's time.
///
/// # Errors
/// Names what is left over.
pub(crate) async fn assert_settled(admin: &PgPool, now: DateTime<Utc>) -> Result<()> {
    drained(admin, now).await?;
    books_balance(admin).await?;
    nothing_died(admin).await
}

/// Waits until everything that moves by itself has arrived.
///
/// # Errors
/// Names what still waits.
pub(crate) async fn drained(admin: &PgPool, now: DateTime<Utc>) -> Result<()> {
    eventually("outboxes, streams, sagas and jobs to drain", || async {
        // Twice: what one service hands to another may pass between two looks of the first time.
        for _ in 0..2 {
            let waiting = waiting(admin, now).await?;
            ensure!(waiting.is_empty(), "still waiting: {}", waiting.join(", "));
        }
        Ok(Some(()))
    })
    .await
}

async fn waiting(admin: &PgPool, now: DateTime<Utc>) -> Result<Vec<String>> {
    let mut waiting = Vec::new();
    // Along the way that things go, so that nothing slips by between two looks: transfers become events, events become jobs and further events.
    let journal: i64 = sqlx::query_scalar(
        "SELECT coalesce((SELECT max(sequence) FROM ledger.shard), 0)
              - coalesce((SELECT position FROM wallet.outbox_cursor WHERE stream = 'journal'), 0)",
    )
    .fetch_one(admin)
    .await?;
    if journal > 0 {
        waiting.push(format!("{journal} transfers to tell"));
    }
    for schema in SERVICES {
        let unsent = format!(
            "SELECT count(*) FROM {schema}.outbox o
             LEFT JOIN {schema}.outbox_cursor c ON c.stream = o.stream WHERE o.position IS NULL OR o.position > coalesce(c.position, 0)"
        );
        let unread = format!(
            "SELECT count(*) FROM {schema}.outbox_cursor c JOIN {schema}.outbox_reader r ON r.stream = c.stream,
             LATERAL generate_subscripts(c.added, 1) p WHERE coalesce(r.acknowledged[p], 0) < coalesce(c.added[p], 0)"
        );
        // A job that is due later (a clean-up, a reminder) may stay.
        let running = format!(
            "SELECT count(*) FROM {schema}.job
             WHERE state = 'running' OR (state = 'due' AND (failures > 0 OR due_at <= $1))"
        );
        let jobs: i64 = sqlx::query_scalar(AssertSqlSafe(running)).bind(now).fetch_one(admin).await?;
        let mut counts = vec![("jobs", jobs)];
        for (what, sql) in [("events to send", unsent), ("partitions to read", unread)] {
            counts.push((what, sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(admin).await?));
        }
        for (what, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            waiting.push(format!("{count} {what} of {schema}"));
        }
    }
    for (what, open) in [
        ("top-ups", "SELECT count(*) FROM wallet.top_up WHERE state NOT IN ('completed', 'failed')"),
        ("payments of bills", "SELECT count(*) FROM wallet.bill_payment WHERE state NOT IN ('paid', 'failed')"),
    ] {
        let open: i64 = sqlx::query_scalar(open).fetch_one(admin).await?;
        if open > 0 {
            waiting.push(format!("{open} {what} to end"));
        }
    }
    Ok(waiting)
}

async fn books_balance(admin: &PgPool) -> Result<()> {
    let unbalanced: Vec<(i16, i64)> = sqlx::query_as(
        "SELECT currency, sum(posted)::bigint FROM ledger.account GROUP BY currency HAVING sum(posted) <> 0",
    )
    .fetch_all(admin)
    .await?;
    ensure!(unbalanced.is_empty(), "debits are not credits: {unbalanced:?}");
    let held: i64 =
        sqlx::query_scalar("SELECT count(*) FROM ledger.hold WHERE ended_at IS NULL").fetch_one(admin).await?;
    ensure!(held == 0, "{held} holds are left open");
    let wrong: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM ledger.account a WHERE posted <> coalesce((SELECT sum(amount) FROM ledger.transfer WHERE credit = a.id), 0)
                                                          - coalesce((SELECT sum(amount) FROM ledger.transfer WHERE debit = a.id), 0)",
    )
    .fetch_one(admin)
    .await?;
    ensure!(wrong == 0, "{wrong} balances are not the sum of their transfers");
    Ok(())
}

async fn nothing_died(admin: &PgPool) -> Result<()> {
    for schema in SERVICES {
        let sql = format!(
            "SELECT 'job ' || kind || ': ' || coalesce(reason, '') FROM {schema}.job WHERE state = 'dead'
             UNION ALL SELECT 'event ' || kind || ': ' || reason FROM {schema}.dead_event"
        );
        let dead: Vec<String> = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(admin).await?;
        ensure!(dead.is_empty(), "dead letters of {schema}: {dead:?}");
    }
    Ok(())
}

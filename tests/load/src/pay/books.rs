//! How far the relay is behind, and whether the books are right at the end. Only reads, as the administrator.

use std::time::{Duration, Instant};

use anyhow::ensure;
use sqlx::PgPool;

const POLL: Duration = Duration::from_millis(50);

/// Transfers and other events of the wallet that are not known to be in Redis. The cursor is saved at most once a second.
const LAG: &str = "
    SELECT greatest(coalesce((SELECT max(sequence) FROM ledger.shard), 0)
                    - coalesce((SELECT position FROM wallet.outbox_cursor WHERE stream = 'journal'), 0), 0)
         + (SELECT count(*) FROM wallet.outbox o LEFT JOIN wallet.outbox_cursor c ON c.stream = o.stream
            WHERE o.position > coalesce(c.position, 0))";

/// Partitions of the wallet's streams that some consumer has not read to their end.
const UNREAD: &str = "
    SELECT count(*) FROM wallet.outbox_cursor c JOIN wallet.outbox_reader r ON r.stream = c.stream,
    LATERAL generate_subscripts(c.added, 1) p WHERE coalesce(r.acknowledged[p], 0) < coalesce(c.added[p], 0)";

const WRONG_BALANCES: &str = "
    WITH moved AS (
        SELECT account, sum(amount) AS posted
        FROM (SELECT credit AS account, amount FROM ledger.transfer UNION ALL SELECT debit, -amount FROM ledger.transfer) AS side
        GROUP BY account
    )
    SELECT count(*) FROM ledger.account a LEFT JOIN moved m ON m.account = a.id WHERE a.posted <> coalesce(m.posted, 0)";

/// How the relay caught up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drained {
    /// Events behind when it was first looked.
    pub(super) lag: i64,
    /// Events behind when it was last looked.
    pub(super) left: i64,
    /// How long it took; none when it did not.
    pub(super) within: Option<Duration>,
}

/// Waits until the relay has moved everything, for so long at most.
pub(super) async fn drain(admin: &PgPool, limit: Duration) -> anyhow::Result<Drained> {
    let began = Instant::now();
    let lag = number(admin, LAG).await?;
    let mut left = lag;
    while left > 0 && began.elapsed() < limit {
        tokio::time::sleep(POLL).await;
        left = number(admin, LAG).await?;
    }
    Ok(Drained { lag, left, within: (left == 0).then(|| began.elapsed()) })
}

/// Waits until consumers have read everything, for so long at most; gives what they have not.
pub(super) async fn idle(admin: &PgPool, limit: Duration) -> anyhow::Result<i64> {
    let began = Instant::now();
    drain(admin, limit).await?;
    loop {
        let unread = number(admin, UNREAD).await?;
        if unread == 0 || began.elapsed() >= limit {
            return Ok(unread);
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Checks the books; gives how many payments they hold: those that were answered, and at most those without an answer beside.
pub(super) async fn check(admin: &PgPool, answered: u64, unanswered: u64) -> anyhow::Result<u64> {
    let sum = number(admin, "SELECT coalesce(sum(posted), 0)::bigint FROM ledger.account").await?;
    ensure!(sum == 0, "debits are not credits: {sum} too much");
    let wrong = number(admin, WRONG_BALANCES).await?;
    ensure!(wrong == 0, "{wrong} balances are not the sum of their transfers");
    let payments = u64::try_from(number(admin, "SELECT count(*) FROM wallet.payment").await?)?;
    ensure!(
        (answered..=answered + unanswered).contains(&payments),
        "{answered} payments were answered and {unanswered} not, but {payments} are in the books"
    );
    Ok(payments)
}

async fn number(admin: &PgPool, sql: &'static str) -> anyhow::Result<i64> {
    Ok(sqlx::query_scalar(sql).fetch_one(admin).await?)
}

//! How far relays and consumers are behind. Only reads, as the administrator.

use std::time::{Duration, Instant};

use sqlx::PgPool;

const POLL: Duration = Duration::from_millis(50);

/// Partitions of the wallet's streams that some consumer has not read to their end.
const UNREAD: &str = "
    SELECT count(*) FROM wallet.outbox_cursor c JOIN wallet.outbox_reader r ON r.stream = c.stream,
    LATERAL generate_subscripts(c.added, 1) p WHERE coalesce(r.acknowledged[p], 0) < coalesce(c.added[p], 0)";

/// How the relay caught up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drained {
    /// Events behind when it was first looked.
    pub(crate) lag: i64,
    /// Events behind when it was last looked.
    pub(crate) left: i64,
    /// How long it took; none when it did not.
    pub(crate) within: Option<Duration>,
}

/// Waits until a relay has moved everything that `lag` counts, for so long at most.
pub(crate) async fn drain(admin: &PgPool, lag: &'static str, limit: Duration) -> anyhow::Result<Drained> {
    let began = Instant::now();
    let behind = number(admin, lag).await?;
    let mut left = behind;
    while left > 0 && began.elapsed() < limit {
        tokio::time::sleep(POLL).await;
        left = number(admin, lag).await?;
    }
    Ok(Drained { lag: behind, left, within: (left == 0).then(|| began.elapsed()) })
}

/// Waits until consumers have read everything, for so long at most; gives what they have not.
pub(crate) async fn idle(admin: &PgPool, lag: &'static str, limit: Duration) -> anyhow::Result<i64> {
    let began = Instant::now();
    drain(admin, lag, limit).await?;
    loop {
        let unread = number(admin, UNREAD).await?;
        if unread == 0 || began.elapsed() >= limit {
            return Ok(unread);
        }
        tokio::time::sleep(POLL).await;
    }
}

/// A number that a statement gives.
pub(crate) async fn number(admin: &PgPool, sql: &'static str) -> anyhow::Result<i64> {
    Ok(sqlx::query_scalar(sql).fetch_one(admin).await?)
}

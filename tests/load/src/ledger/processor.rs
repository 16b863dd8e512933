//! The processor's time that a posting takes: of the server, and of the engine with its callers.
//!
//! Unlike postings per second it says the same when other work shares the machine. Read from `/proc`; there is none on other systems.

use std::fs;
use std::path::Path;

use sqlx::PgPool;

use super::WALLET;

/// The processor's time so far, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spent {
    server: Option<u64>,
    callers: Option<u64>,
}

/// The processor's time that each of some answers took, in microseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct PerAnswer {
    pub(super) server_us: Option<f64>,
    pub(super) callers_us: Option<f64>,
}

impl Spent {
    /// What the server has spent for the role that posts, and this process.
    pub(super) async fn of(pool: &PgPool) -> anyhow::Result<Self> {
        let backends: Vec<i32> = sqlx::query_scalar("SELECT pid FROM pg_stat_activity WHERE usename = $1 ORDER BY pid")
            .bind(WALLET.runtime_role())
            .fetch_all(pool)
            .await?;
        let server = backends.into_iter().map(|backend| process(&format!("/proc/{backend}"))).sum();
        Ok(Self { server, callers: process("/proc/self") })
    }

    /// What was spent since `before`, for each of so many answers.
    pub(super) fn per_answer(self, before: Self, answers: i64) -> PerAnswer {
        let each = |now: Option<u64>, then: Option<u64>| {
            let spent_us = now?.checked_sub(then?)? as f64 / 1_000.0;
            Some(spent_us / answers.max(1) as f64)
        };
        PerAnswer { server_us: each(self.server, before.server), callers_us: each(self.callers, before.callers) }
    }
}

/// All threads of a process.
fn process(folder: &str) -> Option<u64> {
    let threads = fs::read_dir(Path::new(folder).join("task")).ok()?;
    threads.map(|thread| on_processor(&thread.ok()?.path())).sum()
}

/// The first number of `schedstat` is the time on a processor.
fn on_processor(thread: &Path) -> Option<u64> {
    fs::read_to_string(thread.join("schedstat")).ok()?.split(' ').next()?.parse().ok()
}

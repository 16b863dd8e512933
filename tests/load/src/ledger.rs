//! Postings: the engine with everything on, beside a row-lock function and a bare insert, in one run on one server.
//!
//! - **Engine**: callers share one engine in this process, as they would in the wallet: keys, blocks, floors, holds, notifications, fsync.
//! - **Baseline**: the leanest row-lock design, one call of a server-side function per transfer, prepared, at its own best number of connections (never more than there are callers).
//! - **Ceiling**: the very rows of the journal put into a table of the same shape and indexes by one set-based statement per commit, and nothing else.

mod baseline;
mod ceiling;
mod processor;
mod workload;

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use ledger::{Config, Engine, Ledger, NoRiders};
use platform::clock::Clock;
use platform::db::{PlatformTables, Schema};
use platform::metrics::Metrics;
use platform::task::{Shutdown, Tasks};
use serde_json::json;
use sqlx::PgPool;

use self::processor::Spent;
use self::workload::{Accounts, Caller, Keys, Pick, Shape};
use crate::drive::{Spell, drive};
use crate::report::{Report, Row};
use crate::stack::Database;

/// The role that posts.
const WALLET: Schema = Schema::new("wallet");
/// Columns beside the common ones, in the order of their names.
const MORE: [&str; 7] =
    ["baseline_connections", "batch", "bytes_per_transfer", "callers_us", "ceiling_per_s", "of_ceiling", "server_us"];
/// How long the engine may take to stop.
const STOP: Duration = Duration::from_secs(30);

/// What the ledger scenarios take.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// Only these scenarios.
    #[arg(long, value_delimiter = ',')]
    scenario: Vec<Shape>,
    /// Only these numbers of callers.
    #[arg(long, value_delimiter = ',')]
    callers: Vec<usize>,
    /// What clients take for idempotency keys.
    #[arg(long, value_enum, default_value_t)]
    keys: Keys,
    /// Seconds that each measurement takes.
    #[arg(long)]
    seconds: Option<f64>,
    /// Transfers that are in the journal before anything is measured.
    #[arg(long, default_value_t = 0)]
    preload: u64,
}

impl Options {
    fn scenarios(&self) -> Vec<Shape> {
        if self.scenario.is_empty() { Shape::ALL.to_vec() } else { self.scenario.clone() }
    }

    fn callers(&self, quick: bool) -> Vec<usize> {
        match (self.callers.as_slice(), quick) {
            ([], true) => vec![1, 256, 4_096],
            ([], false) => vec![1, 16, 64, 256, 1_024, 4_096],
            (given, _) => given.to_vec(),
        }
    }
}

/// Runs the scenarios.
pub(crate) async fn run(quick: bool, options: &Options) -> anyhow::Result<Report> {
    let part = (ledger::SCHEMA, &ledger::MIGRATOR, PlatformTables::NotWanted);
    let database = Database::start(&[part], &[WALLET]).await?;
    let (pool, admin) = (database.pool(WALLET, 4)?, database.admin(64)?);
    let (ledger, tasks, shutdown) = start(pool);
    let accounts = Accounts::open(&ledger).await?;
    if options.preload > 0 {
        workload::preload(&ledger, &accounts, options.keys, options.preload).await?;
        println!("{} transfers preloaded", options.preload);
    }
    let spell = Spell::of(options.seconds, if quick { 1.0 } else { 5.0 });
    let mut report = Report::begin(&MORE);
    let ceiling = ceiling::measure(&admin, options.keys, spell).await?;
    for shape in options.scenarios() {
        let baselines = baseline::measure(&admin, shape, shorter(spell)).await?;
        for callers in options.callers(quick) {
            let (before, spent_before) = (Footprint::of(&admin).await?, Spent::of(&admin).await?);
            let caller = |number| Caller::new(Pick::new(shape, number), options.keys, &accounts, &ledger);
            let asking = (0..callers).map(caller).collect();
            let seen = drive(asking, spell, Caller::ask).await;
            let (after, spent) = (Footprint::of(&admin).await?, Spent::of(&admin).await?);
            let each = spent.per_answer(spent_before, after.answers - before.answers);
            let baseline = baselines.best(callers);
            let more = BTreeMap::from([
                (MORE[0], json!(baseline.connections)),
                (MORE[1], json!(after.answers_per_block(before))),
                (MORE[2], json!(after.bytes_per_transfer())),
                (MORE[3], json!(each.callers_us)),
                (MORE[4], json!(ceiling.round())),
                (MORE[5], json!(seen.per_s() / ceiling)),
                (MORE[6], json!(each.server_us)),
            ]);
            report.add(Row {
                scenario: shape.name().to_owned(),
                concurrency: callers,
                per_s: seen.per_s(),
                p50_ms: seen.latencies.percentile_ms(50.0),
                p99_ms: seen.latencies.percentile_ms(99.0),
                baseline_per_s: Some(baseline.per_s),
                errors: seen.errors,
                more,
            });
        }
    }
    shutdown.begin();
    tasks.finish(STOP).await;
    check(&admin).await?;
    database.stop().await?;
    Ok(report)
}

/// Baselines have many numbers of connections to try.
fn shorter(spell: Spell) -> Spell {
    Spell { warm_up: spell.warm_up / 3, measured: spell.measured / 3 }
}

fn start(pool: PgPool) -> (Ledger<()>, Tasks, Shutdown) {
    let metrics = Metrics::new("wallet", "load");
    let (ledger, tasks) = Engine::start(pool, Clock::system(), &metrics, Config::default(), NoRiders);
    let shutdown = Shutdown::new();
    let tasks = Tasks::start(tasks, &shutdown);
    (ledger, tasks, shutdown)
}

/// A measurement of books that don't add up is worth nothing.
async fn check(pool: &PgPool) -> anyhow::Result<()> {
    // As autovacuum would have done on books that are older than a minute.
    sqlx::raw_sql("ANALYZE").execute(pool).await?;
    let began = std::time::Instant::now();
    let report = ledger::verify::verify(pool, ledger::verify::Options::default()).await?;
    if let Some(finding) = report.first() {
        anyhow::bail!("the books do not hold: {finding}");
    }
    let transfers: i64 = report.shards.iter().map(|shard| shard.transfers).sum();
    let per_s = transfers as f64 / began.elapsed().as_secs_f64();
    println!("verified {transfers} transfers, {per_s:.0} per s");
    anyhow::ensure!(ledger::book::trial_balance(pool).await?.is_balanced(), "debits do not equal credits");
    Ok(())
}

/// How much there is of everything.
#[derive(Clone, Copy, Debug)]
struct Footprint {
    blocks: i64,
    transfers: i64,
    answers: i64,
    bytes: i64,
}

impl Footprint {
    async fn of(pool: &PgPool) -> anyhow::Result<Self> {
        let (blocks, transfers, others, bytes): (i64, i64, i64, i64) = sqlx::query_as(
            "SELECT block, sequence, (SELECT COUNT(*) FROM ledger.request),
                    (pg_total_relation_size('ledger.transfer') + pg_total_relation_size('ledger.block')
                     + pg_total_relation_size('ledger.request') + pg_total_relation_size('ledger.hold'))::bigint
             FROM ledger.shard WHERE shard = 1",
        )
        .fetch_one(pool)
        .await?;
        Ok(Self { blocks, transfers, answers: transfers + others, bytes })
    }

    fn answers_per_block(self, before: Self) -> f64 {
        (self.answers - before.answers) as f64 / (self.blocks - before.blocks).max(1) as f64
    }

    fn bytes_per_transfer(self) -> f64 {
        self.bytes as f64 / self.transfers.max(1) as f64
    }
}

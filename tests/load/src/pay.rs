//! Payments over HTTP, beside the same request answered without any effect, in one run on one machine.
//!
//! - **Payments**: identity and the wallet in this process, as `trangtien up` starts them: token, key, limits, posting with fsync, events through
//!   the relay to Redis. With `--whole` the whole city, with every consumer of the events on the same machine. Callers hold one keep-alive
//!   connection each.
//! - **Baseline**: the same layers, server loop, token check, body and answer, without a wallet behind it. Measured first, while the city is idle.
//!
//! | module | what lives there |
//! | --- | --- |
//! | `people` | payers with money, payers without, shops |
//! | `workload` | who pays whom |
//! | `caller` | one connection that pays again and again |
//! | `baseline` | the server without effect |
//! | `books` | the relay's lag; whether the books balance at the end |

mod baseline;
mod books;
mod caller;
mod people;
mod workload;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use futures::future::try_join_all;
use serde_json::json;
use trangtien::role::Role;
use trangtien::up::Shape as City;

use self::baseline::Baseline;
use self::caller::{Caller, Tally};
use self::people::People;
use self::workload::Shape;
use crate::city::{Measured, Place};
use crate::drive::{Seen, Spell, drive};
use crate::relay;
use crate::report::{Report, Row};

/// Columns beside the common ones, in the order of their names.
const MORE: [&str; 3] = ["drained_s", "lag_rows", "refused"];
/// How long the relay may take to catch up after the last scenario.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);
/// The same between scenarios of a quick run.
const QUICK_DRAIN_LIMIT: Duration = Duration::from_secs(2);
/// How long consumers are waited for before anything is measured.
const IDLE_LIMIT: Duration = Duration::from_secs(60);
const QUICK_IDLE_LIMIT: Duration = Duration::from_secs(10);

/// What the pay scenarios take.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// Only these scenarios.
    #[arg(long, value_delimiter = ',')]
    scenario: Vec<Shape>,
    /// Only these numbers of connections.
    #[arg(long, value_delimiter = ',')]
    callers: Vec<usize>,
    /// Seconds that each measurement takes.
    #[arg(long)]
    seconds: Option<f64>,
    /// Run the whole city beside: messages, field reports and the operations centre share the machine.
    #[arg(long)]
    whole: bool,
    /// How many citizens pay.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    payers: Option<u32>,
}

impl Options {
    fn scenarios(&self) -> Vec<Shape> {
        if self.scenario.is_empty() { Shape::ALL.to_vec() } else { self.scenario.clone() }
    }

    fn callers(&self) -> Vec<usize> {
        if self.callers.is_empty() { vec![64, 256] } else { self.callers.clone() }
    }

    fn payers(&self, quick: bool) -> usize {
        self.payers.map_or(if quick { 200 } else { 10_000 }, |payers| payers as usize)
    }
}

/// Runs the scenarios.
pub(crate) async fn run(quick: bool, options: &Options) -> anyhow::Result<Measured> {
    let shape = if options.whole { City::AllInOne } else { City::Part(&[Role::Identity, Role::Wallet]) };
    let place = Place::start_as(shape).await?;
    let measured = measure(&place, quick, options).await;
    place.stop().await?;
    measured
}

async fn measure(place: &Place, quick: bool, options: &Options) -> anyhow::Result<Measured> {
    let people = Arc::new(People::settle(place, options.payers(quick)).await?);
    let waiting = relay::idle(&place.admin, books::LAG, if quick { QUICK_IDLE_LIMIT } else { IDLE_LIMIT }).await?;
    if waiting > 0 {
        println!("{waiting} partitions are still read while the baseline is measured");
    }
    let run =
        Run { place, people, tally: Arc::default(), spell: Spell::of(options.seconds, if quick { 1.0 } else { 5.0 }) };
    let baselines = run.baselines(options).await?;
    let mut report = Report::begin(&MORE);
    for shape in options.scenarios() {
        for callers in options.callers() {
            report.add(run.row(shape, callers, &baselines, if quick { QUICK_DRAIN_LIMIT } else { DRAIN_LIMIT }).await?);
        }
    }
    let order = run.order().await;
    Ok(Measured { report, order })
}

struct Run<'a> {
    place: &'a Place,
    people: Arc<People>,
    tally: Arc<Tally>,
    spell: Spell,
}

impl Run<'_> {
    async fn drive(
        &self,
        shape: Shape,
        callers: usize,
        server: SocketAddr,
        tally: &Arc<Tally>,
    ) -> anyhow::Result<Seen> {
        let connecting = (0..callers).map(|number| Caller::connect(number, shape, server, &self.people, tally));
        let callers = try_join_all(connecting).await?;
        Ok(drive(callers, self.spell, Caller::ask).await)
    }

    /// Answers per second without effect, per number of callers.
    async fn baselines(&self, options: &Options) -> anyhow::Result<BTreeMap<usize, f64>> {
        let example = self.people.example().await?;
        let server = Baseline::start(self.place, example).await?;
        let (mut reached, apart) = (BTreeMap::new(), Arc::default());
        for callers in options.callers() {
            let seen = self.drive(Shape::Uniform, callers, server.address, &apart).await?;
            anyhow::ensure!(seen.errors == 0, "the baseline failed");
            reached.insert(callers, seen.per_s());
        }
        server.stop().await;
        Ok(reached)
    }

    async fn row(
        &self,
        shape: Shape,
        callers: usize,
        baselines: &BTreeMap<usize, f64>,
        drain_limit: Duration,
    ) -> anyhow::Result<Row> {
        let refused = self.tally.refused();
        let seen = self.drive(shape, callers, self.place.address, &self.tally).await?;
        let drained = relay::drain(&self.place.admin, books::LAG, drain_limit).await?;
        let more = BTreeMap::from([
            (MORE[0], json!(drained.within.map(|time| time.as_secs_f64()))),
            (MORE[1], json!(drained.lag)),
            (MORE[2], json!(self.tally.refused() - refused)),
        ]);
        Ok(Row {
            scenario: shape.name().to_owned(),
            concurrency: callers,
            per_s: seen.per_s(),
            p50_ms: seen.latencies.percentile_ms(50.0),
            p99_ms: seen.latencies.percentile_ms(99.0),
            baseline_per_s: Some(baselines[&callers]),
            errors: seen.errors,
            more,
        })
    }

    /// What must hold when all is over.
    async fn order(&self) -> anyhow::Result<()> {
        let drained = relay::drain(&self.place.admin, books::LAG, DRAIN_LIMIT).await?;
        println!("relay: {} events behind at the end, {} after {DRAIN_LIMIT:?} at most", drained.lag, drained.left);
        // The example payment of the baseline is in the books, too.
        let payments = books::check(&self.place.admin, self.tally.paid() + 1, self.tally.errors()).await?;
        println!("books: {payments} payments, debits = credits, every balance is the sum of its transfers");
        anyhow::ensure!(drained.left == 0, "the relay did not catch up: {} events wait", drained.left);
        Ok(())
    }
}

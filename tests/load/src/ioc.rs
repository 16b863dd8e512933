//! Events to walls: so many events a second are written into a service's outbox, and every one is timed until each open wall shows it.
//!
//! Nothing is left out on the way: outbox, relay, Redis, the operations centre's consumers, its tables, its board, server-sent events.
//! The pace is kept whatever the city does, so that a late wall does not make the load lighter.
//!
//! | module | what lives there |
//! | --- | --- |
//! | `source` | which events, and when each was sent |
//! | `wall` | an open wall that times what it is shown |

mod source;
mod wall;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use clap::Args;
use futures::future::try_join_all;
use serde_json::json;

use self::source::Source;
use self::wall::Wall;
use crate::city::{Measured, Place};
use crate::memory;
use crate::relay::number;
use crate::report::{Latencies, Report, Row};

/// Columns beside the common ones, in the order of their names.
const MORE: [&str; 3] = ["events", "max_ms", "memory_mb"];
/// How long walls may take to show the last event.
const SHOWN_LIMIT: Duration = Duration::from_secs(30);
/// How often it is looked whether they do.
const POLL: Duration = Duration::from_millis(50);

/// What the scenario takes.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// Events a second.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(100..=100_000))]
    rate: u32,
    /// Open walls; one process serves 200 at most.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=200))]
    walls: u32,
    /// Seconds that are measured.
    #[arg(long)]
    seconds: Option<f64>,
}

/// Runs the scenario.
pub(crate) async fn run(quick: bool, options: &Options) -> anyhow::Result<Measured> {
    let place = Place::start().await?;
    let measured = measure(&place, quick, options).await;
    place.stop().await?;
    measured
}

async fn measure(place: &Place, quick: bool, options: &Options) -> anyhow::Result<Measured> {
    let source = Arc::new(Source::new());
    let operator = place.issuer.officer("ioc.operator")?;
    let opening = (0..options.walls).map(|_| Wall::open(place, &operator, source.clone()));
    let walls = try_join_all(opening).await?;
    let mut report = Report::begin(&MORE);
    memory::forget_peak()?;
    let seconds = options.seconds.unwrap_or(if quick { 5.0 } else { 30.0 });
    let sent_s = source.send(&place.admin, options.rate, seconds).await?;
    let behind = until_shown(&walls, &source).await;
    let (mut latencies, mut errors) = (Latencies::new(), behind);
    for wall in walls {
        match wall.close().await {
            Ok(seen) => latencies.add_all(&seen),
            Err(error) => {
                eprintln!("a wall broke: {error:#}");
                errors += 1;
            }
        }
    }
    let sent = source.sent();
    let more = BTreeMap::from([
        (MORE[0], json!(sent)),
        (MORE[1], json!(latencies.percentile_ms(100.0))),
        (MORE[2], json!(memory::peak_mb()?)),
    ]);
    report.add(Row {
        scenario: "events".to_owned(),
        concurrency: options.walls as usize,
        per_s: sent as f64 / sent_s,
        p50_ms: latencies.percentile_ms(50.0),
        p99_ms: latencies.percentile_ms(99.0),
        baseline_per_s: None,
        errors,
        more,
    });
    Ok(Measured { report, order: order(place, sent, (options.walls, latencies.count())).await })
}

/// Waits until every wall has shown every event; gives how many walls have not.
async fn until_shown(walls: &[Wall], source: &Source) -> u64 {
    let sent = source.sent();
    let shown = async {
        while walls.iter().any(|wall| wall.shown() < sent) {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(SHOWN_LIMIT, shown).await.ok();
    walls.iter().filter(|wall| wall.shown() < sent).count() as u64
}

/// What must hold when all is over: the tables count what was sent, and each wall was shown each event once.
async fn order(place: &Place, sent: u64, (walls, timed): (u32, u64)) -> anyhow::Result<()> {
    let counted = u64::try_from(number(&place.admin, source::COUNTED).await?)?;
    ensure!(counted == sent, "{sent} events were sent, the operations centre counts {counted}");
    ensure!(timed == sent * u64::from(walls), "{walls} walls were shown {timed} of {sent} events each");
    println!("books: {counted} events are counted, and shown by each of {walls} walls");
    Ok(())
}

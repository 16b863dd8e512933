//! Field reports over HTTP: each caller takes one from its submission to its rating, again and again.
//!
//! A result needs a photo as evidence, so that `plain` has the smallest that there is. `photo` is the same with a photo of 200 kB that
//! the citizen adds: decoded, freed of everything but the picture, encoded again and stored.
//!
//! | module | what lives there |
//! | --- | --- |
//! | `people` | citizens, the operations centre, an agency |
//! | `life` | one report from its submission to its rating |
//! | `picture` | a photo of 200 kB |
//! | `books` | whether the database and the store hold what was answered |

mod books;
mod life;
mod people;
mod picture;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use futures::future::try_join_all;
use serde_json::json;

use self::life::{Caller, Tally};
use self::people::People;
use crate::city::{Measured, Place};
use crate::drive::{Spell, drive};
use crate::report::{Report, Row};
use crate::{memory, relay};

/// Columns beside the common ones, in the order of their names.
const MORE: [&str; 4] = ["drained_s", "lag_rows", "memory_mb", "requests/s"];
/// How long the relay may take to catch up.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);

/// What a citizen adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// Nothing.
    Plain,
    /// A photo of 200 kB.
    Photo,
}

impl Scenario {
    const ALL: [Self; 2] = [Self::Plain, Self::Photo];

    fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Photo => "photo",
        }
    }
}

/// What the scenarios of reports take.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// Only these scenarios.
    #[arg(long, value_delimiter = ',')]
    scenario: Vec<Scenario>,
    /// Only these numbers of reports that are handled at a time.
    #[arg(long, value_delimiter = ',')]
    callers: Vec<usize>,
    /// Seconds that each measurement takes.
    #[arg(long)]
    seconds: Option<f64>,
    /// How many citizens report.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    citizens: Option<u32>,
}

impl Options {
    fn scenarios(&self) -> Vec<Scenario> {
        if self.scenario.is_empty() { Scenario::ALL.to_vec() } else { self.scenario.clone() }
    }

    fn callers(&self, quick: bool) -> Vec<usize> {
        match (self.callers.as_slice(), quick) {
            ([], true) => vec![32],
            ([], false) => vec![8, 32, 128],
            (given, _) => given.to_vec(),
        }
    }
}

/// Runs the scenarios.
pub(crate) async fn run(quick: bool, options: &Options) -> anyhow::Result<Measured> {
    let place = Place::start().await?;
    let measured = measure(&place, quick, options).await;
    place.stop().await?;
    measured
}

async fn measure(place: &Place, quick: bool, options: &Options) -> anyhow::Result<Measured> {
    let citizens = options.citizens.map_or(if quick { 500 } else { 5_000 }, |count| count as usize);
    let people = Arc::new(People::settle(place, citizens)?);
    let (tally, spell) = (Arc::new(Tally::default()), Spell::of(options.seconds, if quick { 3.0 } else { 10.0 }));
    let mut report = Report::begin(&MORE);
    for scenario in options.scenarios() {
        let photo = if scenario == Scenario::Photo { Some(picture::of_200_kb()?) } else { None };
        for callers in options.callers(quick) {
            memory::forget_peak()?;
            let before = tally.requests();
            let opening = (0..callers).map(|number| Caller::open(number, photo.clone(), place, &people, &tally));
            let seen = drive(try_join_all(opening).await?, spell, Caller::live).await;
            let (peak, requests) = (memory::peak_mb()?, tally.requests() - before);
            let drained = relay::drain(&place.admin, books::LAG, DRAIN_LIMIT).await?;
            // Requests are counted from the first to the last, lifecycles while they are measured.
            let asked_s = (spell.warm_up + seen.elapsed).as_secs_f64();
            let more = BTreeMap::from([
                (MORE[0], json!(drained.within.map(|time| time.as_secs_f64()))),
                (MORE[1], json!(drained.lag)),
                (MORE[2], json!(peak)),
                (MORE[3], json!(requests as f64 / asked_s)),
            ]);
            report.add(Row {
                scenario: scenario.name().to_owned(),
                concurrency: callers,
                per_s: seen.per_s(),
                p50_ms: seen.latencies.percentile_ms(50.0),
                p99_ms: seen.latencies.percentile_ms(99.0),
                baseline_per_s: None,
                errors: seen.errors,
                more,
            });
        }
    }
    Ok(Measured { report, order: order(place, &tally).await })
}

/// What must hold when all is over.
async fn order(place: &Place, tally: &Tally) -> anyhow::Result<()> {
    let drained = relay::drain(&place.admin, books::LAG, DRAIN_LIMIT).await?;
    let closed = books::check(place, tally).await?;
    println!("books: {closed} reports rated and closed, each with its history, its rating and its photos in the store");
    anyhow::ensure!(drained.left == 0, "the relay did not catch up: {} events wait", drained.left);
    Ok(())
}

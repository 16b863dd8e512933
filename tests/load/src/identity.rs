//! Identity: how fast sessions are refreshed and tokens are introspected over HTTP, what the check of a token costs in the process that
//! checks it, and what PINs that are checked at once do to memory and to that check.
//!
//! | module | what lives there |
//! | --- | --- |
//! | `people` | citizens who signed in by SMS, and a program that may ask about tokens |
//! | `ask` | connections that refresh and introspect again and again |
//! | `check` | the check of tokens in this process |
//! | `pin` | PINs that are checked at once |

mod ask;
mod check;
mod people;
mod pin;

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::ensure;
use clap::{Args, ValueEnum};
use futures::future::try_join_all;
use serde_json::{Value, json};

use self::ask::{Introspecting, Refreshing, Tally};
use self::check::Checks;
use self::people::People;
use crate::city::{Measured, Place};
use crate::drive::{Seen, Spell, drive};
use crate::memory;
use crate::relay::number;
use crate::report::{Report, Row};

/// Columns beside the common ones, in the order of their names.
const MORE: [&str; 7] = ["alone_p99_us", "alone_us", "beside_p99_us", "beside_us", "each_us", "memory_mb", "refused"];
/// How often sessions were refreshed.
const GENERATIONS: &str = "SELECT coalesce(sum(generation), 0)::bigint FROM identity.session";

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// A session gets its next tokens.
    Refresh,
    /// A program asks what a token says.
    Introspect,
    /// A token that was seen before is checked.
    CheckCached,
    /// A token that was never seen is checked.
    CheckNew,
    /// PINs are checked at once.
    Pin,
}

impl Scenario {
    const ALL: [Self; 5] = [Self::Refresh, Self::Introspect, Self::CheckCached, Self::CheckNew, Self::Pin];
}

/// What the scenarios of identity take.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// Only these scenarios.
    #[arg(long, value_delimiter = ',')]
    scenario: Vec<Scenario>,
    /// Only these numbers of connections.
    #[arg(long, value_delimiter = ',')]
    callers: Vec<usize>,
    /// Seconds that each measurement takes.
    #[arg(long)]
    seconds: Option<f64>,
    /// PINs that are checked at once, two of each citizen.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(2..=200))]
    pins: u32,
}

impl Options {
    fn scenarios(&self) -> Vec<Scenario> {
        if self.scenario.is_empty() { Scenario::ALL.to_vec() } else { self.scenario.clone() }
    }

    fn callers(&self, quick: bool) -> Vec<usize> {
        match (self.callers.as_slice(), quick) {
            ([], true) => vec![64],
            ([], false) => vec![16, 64],
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
    let people = People::settle(place, options.pins.div_ceil(2) as usize).await?;
    let spell = Spell::of(options.seconds, if quick { 2.0 } else { 10.0 });
    let run = Run { place, people, spell, tally: Arc::default() };
    let generations = number(&place.admin, GENERATIONS).await?;
    let mut report = Report::begin(&MORE);
    for scenario in options.scenarios() {
        match scenario {
            Scenario::Refresh | Scenario::Introspect => {
                for callers in options.callers(quick) {
                    report.add(run.over_http(scenario, callers).await?);
                }
            }
            Scenario::CheckCached => report.add(run.checks(check::cached(place, spell).await?, "check-cached")?),
            Scenario::CheckNew => report.add(run.checks(check::new(place, quick).await?, "check-new")?),
            Scenario::Pin => report.add(run.pins(options.pins as usize).await?),
        }
    }
    let order = run.order(generations).await;
    Ok(Measured { report, order })
}

struct Run<'a> {
    place: &'a Place,
    people: People,
    spell: Spell,
    tally: Arc<Tally>,
}

impl Run<'_> {
    async fn over_http(&self, scenario: Scenario, callers: usize) -> anyhow::Result<Row> {
        memory::forget_peak()?;
        let (name, seen) = match scenario {
            Scenario::Refresh => {
                ensure!(callers <= self.people.citizens.len(), "each connection refreshes a session of its own");
                let sessions = self.people.citizens.iter().take(callers);
                let opening = sessions.map(|citizen| Refreshing::open(self.place, &citizen.refreshing, &self.tally));
                ("refresh", drive(try_join_all(opening).await?, self.spell, Refreshing::ask).await)
            }
            _ => {
                let opening = (0..callers)
                    .map(|number| Introspecting::open(self.place, number, &self.people.program, &self.tally));
                ("introspect", drive(try_join_all(opening).await?, self.spell, Introspecting::ask).await)
            }
        };
        self.row(name, callers, &seen, BTreeMap::from([("memory_mb", json!(memory::peak_mb()?))]))
    }

    fn checks(&self, checks: Checks, name: &str) -> anyhow::Result<Row> {
        let more = BTreeMap::from([("each_us", json!(checks.each_us))]);
        self.row(name, 1, &checks.seen, more)
    }

    async fn pins(&self, at_once: usize) -> anyhow::Result<Row> {
        let alone = pin::none(self.place, self.spell).await?;
        memory::forget_peak()?;
        let (checked, beside) = pin::at_once(self.place, &self.people, at_once).await?;
        let more = BTreeMap::from([
            ("alone_p99_us", json!(alone.p99_us)),
            ("alone_us", json!(alone.each_us)),
            ("beside_p99_us", json!(beside.p99_us)),
            ("beside_us", json!(beside.each_us)),
            ("memory_mb", json!(memory::peak_mb()?)),
            ("refused", json!(checked.refused)),
        ]);
        self.row("pin", at_once, &checked.seen, more)
    }

    fn row(&self, name: &str, callers: usize, seen: &Seen, more: BTreeMap<&'static str, Value>) -> anyhow::Result<Row> {
        let columns = MORE.map(|name| (name, more.get(name).cloned().unwrap_or_default()));
        Ok(Row {
            scenario: name.to_owned(),
            concurrency: callers,
            per_s: seen.per_s(),
            p50_ms: seen.latencies.percentile_ms(50.0),
            p99_ms: seen.latencies.percentile_ms(99.0),
            baseline_per_s: None,
            errors: seen.errors,
            more: BTreeMap::from(columns),
        })
    }

    /// What must hold when all is over: sessions moved on as often as new tokens were answered, and no session was ended by it.
    async fn order(&self, before: i64) -> anyhow::Result<()> {
        let moved = u64::try_from(number(&self.place.admin, GENERATIONS).await? - before)?;
        let (refreshed, errors) = (self.tally.refreshed(), self.tally.errors());
        ensure!(
            (refreshed..=refreshed + errors).contains(&moved),
            "{refreshed} refreshes were answered and {errors} not, but sessions moved on {moved} times"
        );
        let ended =
            number(&self.place.admin, "SELECT count(*) FROM identity.session WHERE ended_at IS NOT NULL").await?;
        ensure!(ended == 0, "{ended} sessions were ended");
        println!(
            "books: sessions moved on {moved} times, none ended; {} tokens were told good, {} forged ones not",
            self.tally.good(),
            self.tally.forged()
        );
        Ok(())
    }
}

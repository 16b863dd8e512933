//! The check of tokens in the process that checks them, as every role does it: one task, no HTTP.

use std::time::{Duration, Instant};

use anyhow::ensure;
use platform::auth::Verifier;
use platform::clock::Clock;
use platform::task::{Shutdown, Tasks};

use crate::city::Place;
use crate::drive::{Seen, Spell};
use crate::report::Latencies;

/// Tokens that are checked again and again.
const KNOWN: usize = 1_000;
/// Tokens that are checked once each, in a whole run and in a quick one.
const NEW: usize = 50_000;
const NEW_QUICK: usize = 5_000;
/// How long keys may take to be known.
const READY_LIMIT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(5);
/// How long tasks may take to stop.
const STOP: Duration = Duration::from_secs(5);
/// Checks between two looks at the clock, where the look would be a part of what is measured.
const BLOCK: usize = 100;

/// What checking cost.
pub(super) struct Checks {
    pub(super) seen: Seen,
    /// The mean of one check, in microseconds.
    pub(super) each_us: f64,
    /// The mean within the slowest of a hundred blocks of checks, in microseconds.
    pub(super) p99_us: f64,
}

/// A verifier that follows the city's keys.
pub(super) struct Checking {
    pub(super) verifier: Verifier,
    shutdown: Shutdown,
    tasks: Tasks,
}

impl Checking {
    pub(super) async fn begin(place: &Place) -> anyhow::Result<Self> {
        let (clock, shutdown) = (Clock::system(), Shutdown::new());
        let source = identity::DatabaseKeySource::new(place.admin.clone(), place.issuer.name.clone(), clock.clone());
        let (verifier, task) = Verifier::new(source, clock);
        let tasks = Tasks::start(vec![task], &shutdown);
        let began = Instant::now();
        while !verifier.is_ready() {
            ensure!(began.elapsed() < READY_LIMIT, "keys are not known in time");
            tokio::time::sleep(POLL).await;
        }
        Ok(Self { verifier, shutdown, tasks })
    }

    pub(super) async fn end(self) {
        self.shutdown.begin();
        self.tasks.finish(STOP).await;
    }
}

/// Tokens of the city, each of another citizen.
pub(super) fn tokens(place: &Place, count: usize) -> anyhow::Result<Vec<String>> {
    Ok(place.citizens(count)?.into_iter().map(|citizen| citizen.token).collect())
}

/// Checks tokens that were seen before, for as long as a spell.
pub(super) async fn cached(place: &Place, spell: Spell) -> anyhow::Result<Checks> {
    let (checking, tokens) = (Checking::begin(place).await?, tokens(place, KNOWN)?);
    for token in &tokens {
        checking.verifier.verify(token).await?;
    }
    let until = Instant::now() + spell.measured;
    let mut blocks = Blocks::new();
    for block in tokens.chunks(BLOCK).cycle() {
        blocks.check(&checking.verifier, block).await?;
        if Instant::now() >= until {
            break;
        }
    }
    checking.end().await;
    Ok(blocks.checks())
}

/// Checks tokens that were never seen, each once.
pub(super) async fn new(place: &Place, quick: bool) -> anyhow::Result<Checks> {
    let checking = Checking::begin(place).await?;
    let tokens = tokens(place, if quick { NEW_QUICK } else { NEW })?;
    let mut blocks = Blocks::new();
    for block in tokens.chunks(BLOCK) {
        blocks.check(&checking.verifier, block).await?;
    }
    checking.end().await;
    Ok(blocks.checks())
}

/// Blocks of checks and how long they took.
pub(super) struct Blocks {
    latencies: Latencies,
    /// Of a whole block, in microseconds.
    blocks: Vec<Duration>,
    elapsed: Duration,
    count: usize,
}

impl Blocks {
    pub(super) fn new() -> Self {
        Self { latencies: Latencies::new(), blocks: Vec::new(), elapsed: Duration::ZERO, count: 0 }
    }

    /// Checks a block of tokens; a check that refuses one is an error.
    pub(super) async fn check(&mut self, verifier: &Verifier, tokens: &[String]) -> anyhow::Result<()> {
        let began = Instant::now();
        for token in tokens {
            verifier.verify(token).await?;
        }
        let took = began.elapsed();
        let count = u32::try_from(tokens.len()).unwrap_or(u32::MAX);
        for _ in tokens {
            self.latencies.add(took / count);
        }
        self.blocks.push(took / count);
        self.elapsed += took;
        self.count += tokens.len();
        Ok(())
    }

    pub(super) fn checks(mut self) -> Checks {
        self.blocks.sort_unstable();
        let p99 = self.blocks.get(self.blocks.len() * 99 / 100).copied().unwrap_or_default();
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        Checks {
            each_us: micros(self.elapsed) / self.count.max(1) as f64,
            p99_us: micros(p99),
            seen: Seen { latencies: self.latencies, errors: 0, elapsed: self.elapsed },
        }
    }
}

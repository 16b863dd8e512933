//! Callers that ask again and again for a while, each waiting for its answer before it asks again.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::report::Latencies;

const WARMING: u8 = 0;
const MEASURING: u8 = 1;
const ENDED: u8 = 2;

/// How long to ask.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spell {
    /// Before anything counts.
    pub(crate) warm_up: Duration,
    /// While it counts.
    pub(crate) measured: Duration,
}

impl Spell {
    /// So many seconds, and a quarter of them before to warm up.
    pub(crate) fn of(asked: Option<f64>, usual: f64) -> Self {
        let seconds = asked.unwrap_or(usual);
        Self { warm_up: Duration::from_secs_f64(seconds / 4.0), measured: Duration::from_secs_f64(seconds) }
    }
}

/// What callers saw.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) latencies: Latencies,
    pub(crate) errors: u64,
    pub(crate) elapsed: Duration,
}

impl Seen {
    /// Answers per second.
    pub(crate) fn per_s(&self) -> f64 {
        self.latencies.count() as f64 / self.elapsed.as_secs_f64()
    }
}

/// Drives `callers`, each an endless ask; `Err` counts as an error.
pub(crate) async fn drive<C, F>(callers: Vec<C>, spell: Spell, ask: impl Fn(C) -> F + Clone + Send + 'static) -> Seen
where
    C: Send + 'static,
    F: Future<Output = (C, anyhow::Result<()>)> + Send,
{
    let stage = Arc::new(AtomicU8::new(WARMING));
    let mut running = JoinSet::new();
    for caller in callers {
        let (stage, ask) = (stage.clone(), ask.clone());
        running.spawn(async move { ask_on(caller, &stage, ask).await });
    }
    tokio::time::sleep(spell.warm_up).await;
    stage.store(MEASURING, Ordering::Relaxed);
    let began = Instant::now();
    tokio::time::sleep(spell.measured).await;
    stage.store(ENDED, Ordering::Relaxed);
    let elapsed = began.elapsed();
    let mut seen = Seen { latencies: Latencies::new(), errors: 0, elapsed };
    while let Some(done) = running.join_next().await {
        let (latencies, errors) = done.expect("callers don't panic");
        latencies.into_iter().for_each(|latency| seen.latencies.add(latency));
        seen.errors += errors;
    }
    seen
}

/// A caller keeps plain numbers: thousands of histograms would be most of what is measured.
async fn ask_on<C, F>(mut caller: C, stage: &AtomicU8, ask: impl Fn(C) -> F) -> (Vec<Duration>, u64)
where
    F: Future<Output = (C, anyhow::Result<()>)>,
{
    let (mut latencies, mut errors) = (Vec::new(), 0);
    while stage.load(Ordering::Relaxed) != ENDED {
        let asked = Instant::now();
        let (back, answer) = ask(caller).await;
        caller = back;
        if let Err(error) = answer {
            if errors == 0 {
                eprintln!("no answer: {error:#}");
            }
            errors += 1;
        } else if stage.load(Ordering::Relaxed) == MEASURING {
            latencies.push(asked.elapsed());
        }
    }
    (latencies, errors)
}

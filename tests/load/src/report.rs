//! Latencies, the table that people read and the rows that programs read.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use hdrhistogram::Histogram;
use serde::Serialize;
use serde_json::Value;

/// The longest latency that is told apart, in microseconds.
const LONGEST_US: u64 = 120_000_000;
/// The columns that every table begins with.
const COLUMNS: [&str; 8] = ["scenario", "callers", "per s", "p50 ms", "p99 ms", "baseline/s", "ratio", "errors"];
/// Where there is nothing to show.
const NONE: &str = "-";
/// The fewest characters of a column.
const NARROWEST: usize = 9;

/// How long answers took.
#[derive(Clone, Debug)]
pub(crate) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(crate) fn new() -> Self {
        Self(Histogram::new_with_bounds(1, LONGEST_US, 3).expect("constant bounds are valid"))
    }

    pub(crate) fn add(&mut self, latency: Duration) {
        self.0.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
    }

    /// Adds those of another.
    #[cfg(feature = "city")]
    pub(crate) fn add_all(&mut self, other: &Self) {
        self.0.add(&other.0).expect("both have the same bounds");
    }

    /// How many answers there were.
    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// The latency that so many percent of the answers did not pass, in milliseconds.
    pub(crate) fn percentile_ms(&self, percent: f64) -> f64 {
        self.0.value_at_percentile(percent) as f64 / 1_000.0
    }
}

/// One measurement.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    /// `uniform`, `zipf`, `hot`, `mixed`.
    pub(crate) scenario: String,
    /// Callers at the same time.
    pub(crate) concurrency: usize,
    /// Answers per second.
    pub(crate) per_s: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// The same by the known way, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) baseline_per_s: Option<f64>,
    /// Asks that got no answer.
    pub(crate) errors: u64,
    /// What only these scenarios measure.
    #[serde(flatten)]
    pub(crate) more: BTreeMap<&'static str, Value>,
}

/// All measurements of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    machine: Machine,
    rows: Vec<Row>,
    #[serde(skip)]
    widths: Vec<usize>,
}

impl Report {
    /// An empty report; prints the head of the table.
    pub(crate) fn begin(more: &[&'static str]) -> Self {
        let machine = Machine::here();
        println!("{} cores, {} MB, {}", machine.cores, machine.memory_mb, machine.processor);
        let names = || COLUMNS.iter().chain(more);
        let widths = names().map(|name| name.len().max(NARROWEST)).collect();
        let report = Self { machine, rows: Vec::new(), widths };
        report.print(names().map(|name| (*name).to_owned()));
        report
    }

    /// Adds a row and prints it.
    pub(crate) fn add(&mut self, row: Row) {
        let fixed = [
            row.scenario.clone(),
            row.concurrency.to_string(),
            format!("{:.0}", row.per_s),
            format!("{:.2}", row.p50_ms),
            format!("{:.2}", row.p99_ms),
            row.baseline_per_s.map_or_else(|| NONE.to_owned(), |known| format!("{known:.0}")),
            row.baseline_per_s.map_or_else(|| NONE.to_owned(), |known| format!("{:.2}", row.per_s / known)),
            row.errors.to_string(),
        ];
        self.print(fixed.into_iter().chain(row.more.values().map(shown)));
        self.rows.push(row);
    }

    fn print(&self, cells: impl Iterator<Item = String>) {
        let cells: Vec<String> = cells.zip(&self.widths).map(|(cell, width)| format!("{cell:>width$}")).collect();
        println!("{}", cells.join(" "));
    }

    /// Writes the rows; fails when anything went wrong while measuring.
    pub(crate) fn finish(self, json: Option<&Path>) -> anyhow::Result<()> {
        if let Some(path) = json {
            let text = serde_json::to_string_pretty(&self)?;
            std::fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))?;
        }
        let errors: u64 = self.rows.iter().map(|row| row.errors).sum();
        anyhow::ensure!(errors == 0, "{errors} asks got no answer");
        Ok(())
    }
}

/// A float keeps two decimals, so that a column is readable.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => NONE.to_owned(),
        Value::Number(number) if number.is_f64() => format!("{:.2}", number.as_f64().unwrap_or_default()),
        _ => value.to_string(),
    }
}

/// Where it was measured.
#[derive(Clone, Debug, Serialize)]
struct Machine {
    cores: usize,
    memory_mb: u64,
    processor: String,
}

impl Machine {
    fn here() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let memory_kb = field("/proc/meminfo", "MemTotal").and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
        let processor = field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown processor".to_owned());
        Self { cores, memory_mb: memory_kb.unwrap_or(0) / 1_024, processor }
    }
}

/// The first field of that name in a file of `name: value` lines.
fn field(path: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_once(':').map(|(_, value)| value.trim().to_owned())
}

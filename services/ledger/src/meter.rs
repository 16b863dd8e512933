//! What the ledger tells Prometheus. Labels are kinds and outcomes, which are bounded sets.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use platform::metrics::{DURATION_BUCKETS, Metrics, SIZE_BUCKETS};
use prometheus::{Histogram, HistogramVec, IntCounterVec, IntGaugeVec};

use crate::fold::{Effects, Verdict};
use crate::kind::{Kinds, transfer_kind};
use crate::money::Currency;
use crate::request::{Outcome, Request};

/// The metrics of one engine.
#[derive(Debug)]
pub(crate) struct Meter {
    durations: Durations,
    batch: HistogramVec,
    depth: IntGaugeVec,
    moved: IntCounterVec,
    transfers: IntCounterVec,
    holds: IntGaugeVec,
    refused: IntCounterVec,
    faults: IntCounterVec,
    ahead: IntCounterVec,
    /// Nanoseconds that a request took of the last batch.
    pace_ns: AtomicU64,
}

/// The duration's series, one per outcome: looking one up for each request would cost more than counting does.
#[derive(Debug)]
struct Durations {
    posted: Histogram,
    rejected: Histogram,
    replayed: Histogram,
    conflict: Histogram,
}

impl Durations {
    fn new(all: &HistogramVec) -> Self {
        let of = |outcome: &str| all.with_label_values(&[outcome]);
        Self { posted: of("posted"), rejected: of("rejected"), replayed: of("replayed"), conflict: of("conflict") }
    }
}

impl Meter {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let duration = metrics.histogram(
            "posting_duration_seconds",
            "Time from asking to the answer of a posting.",
            &["outcome"],
            DURATION_BUCKETS,
        );
        let meter = Self {
            durations: Durations::new(&duration),
            batch: metrics.histogram("posting_batch_size", "Requests in one batch.", &[], SIZE_BUCKETS),
            depth: metrics.gauge("posting_queue_depth", "Requests that wait for the next batch.", &[]),
            moved: metrics.counter("money_moved_total", "Minor units moved by transfers.", &["kind", "currency"]),
            transfers: metrics.counter("transfers_total", "Transfers asked for.", &["kind", "outcome"]),
            holds: metrics.gauge("holds_open", "Holds that have not ended.", &[]),
            refused: metrics.counter("posting_queue_full_total", "Requests turned away because too many waited.", &[]),
            faults: metrics.counter(
                "posting_faults_total",
                "Requests that could not be written because of a fault in the program.",
                &[],
            ),
            ahead: metrics.counter(
                "posting_clock_ahead_total",
                "Batches turned away because this machine's clock was too far ahead of the database's.",
                &[],
            ),
            pace_ns: AtomicU64::new(0),
        };
        // Series that an alarm watches are there from the start.
        meter.refused.with_label_values(&[] as &[&str]).inc_by(0);
        meter.faults.with_label_values(&[] as &[&str]).inc_by(0);
        meter.ahead.with_label_values(&[] as &[&str]).inc_by(0);
        meter
    }

    /// A batch was taken from the queue.
    pub(crate) fn batch(&self, requests: usize, waiting: usize) {
        self.batch.with_label_values(&[] as &[&str]).observe(requests as f64);
        self.depth.with_label_values(&[] as &[&str]).set(count(waiting));
    }

    /// A batch was answered.
    pub(crate) fn settled(&self, requests: usize, elapsed: Duration) {
        let pace = elapsed.as_nanos() / requests.max(1) as u128;
        self.pace_ns.store(u64::try_from(pace).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How long so many requests take at the pace of the last batch.
    pub(crate) fn time_for(&self, requests: usize) -> Duration {
        Duration::from_nanos(self.pace_ns.load(Ordering::Relaxed).saturating_mul(requests as u64))
    }

    /// A request was turned away.
    pub(crate) fn refused_full(&self) {
        self.refused.with_label_values(&[] as &[&str]).inc();
    }

    /// A request could not be written because of a fault.
    pub(crate) fn fault(&self) {
        self.faults.with_label_values(&[] as &[&str]).inc();
    }

    /// A batch was turned away because of the machine's clock.
    pub(crate) fn clock_ahead(&self) {
        self.ahead.with_label_values(&[] as &[&str]).inc();
    }

    /// How many holds are open.
    pub(crate) fn holds_open(&self, holds: i64) {
        self.holds.with_label_values(&[] as &[&str]).set(holds);
    }

    /// A batch was committed.
    pub(crate) fn committed(&self, effects: &Effects, kinds: &Kinds) {
        let mut moved: HashMap<(i16, Currency), (u64, u64)> = HashMap::new();
        for transfer in &effects.transfers {
            let (transfers, amount) = moved.entry((transfer.kind, transfer.currency)).or_default();
            *transfers += 1;
            *amount = amount.wrapping_add(transfer.amount.unsigned_abs());
        }
        for ((kind, currency), (transfers, amount)) in moved {
            let kind = kinds.transfer_name(kind);
            self.transfers.with_label_values(&[&*kind, "posted"]).inc_by(transfers);
            self.moved.with_label_values(&[&*kind, currency.code()]).inc_by(amount);
        }
    }

    /// A request was answered.
    pub(crate) fn answered<R>(&self, request: &Request<R>, verdict: &Verdict, elapsed: Duration) {
        let duration = match verdict {
            Verdict::Fresh(Outcome::Posted(_)) => &self.durations.posted,
            Verdict::Fresh(Outcome::Rejected(reject)) => {
                for kind in request.actions.iter().filter_map(transfer_kind).map(|kind| kind.name) {
                    self.transfers.with_label_values(&[kind, reject.code()]).inc();
                }
                &self.durations.rejected
            }
            Verdict::Replayed(_) => &self.durations.replayed,
            Verdict::Conflict => &self.durations.conflict,
        };
        duration.observe(elapsed.as_secs_f64());
    }
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

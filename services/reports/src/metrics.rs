//! What the role counts. Labels are bounded sets: states, actions, and codes of the city's folder; never a person or an id.

use platform::metrics::Metrics;
use prometheus::{IntCounterVec, IntGaugeVec};

use crate::lifecycle::{Kept, Rating};

/// What happened in a transaction, to be counted once it is committed.
#[derive(Clone, Debug)]
pub(crate) enum Count {
    /// A report came in.
    Submitted { category: String, channel: &'static str },
    /// Something was done to one.
    Moved(&'static str),
    /// A result was published.
    Published(Kept),
    /// A round ended, rated or not.
    Ended(Option<Rating>),
    /// A share of a limit was spent.
    Escalated { level: i16, state: &'static str },
    /// A photo was stored.
    Photo(&'static str),
}

/// The role's metrics.
#[derive(Clone, Debug)]
pub(crate) struct ReportMetrics {
    submitted: IntCounterVec,
    moved: IntCounterVec,
    results: IntCounterVec,
    ratings: IntCounterVec,
    escalations: IntCounterVec,
    breaches: IntCounterVec,
    photos: IntCounterVec,
    open: IntGaugeVec,
}

impl ReportMetrics {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        Self {
            submitted: metrics.counter("submitted_total", "Reports that came in.", &["category", "channel"]),
            moved: metrics.counter("transitions_total", "What was done to reports.", &["action"]),
            results: metrics.counter(
                "results_total",
                "Published results by whether they kept the first deadline and the extended one.",
                &["first", "extended"],
            ),
            ratings: metrics.counter(
                "ratings_total",
                "Ended rounds by rating; `none` is unrated, so that the response rate follows.",
                &["rating"],
            ),
            escalations: metrics.counter("escalations_total", "Shares of time limits spent.", &["level", "state"]),
            breaches: metrics.counter("sla_breaches_total", "Time limits that were missed.", &["state"]),
            photos: metrics.counter("photos_total", "Photos by what became of them.", &["outcome"]),
            open: metrics.gauge(
                "open",
                "Reports that have not ended, by state and leading agency.",
                &["state", "agency"],
            ),
        }
    }

    pub(crate) fn count(&self, count: &Count) {
        let word = |kept: bool| if kept { "kept" } else { "missed" };
        match count {
            Count::Submitted { category, channel } => {
                self.submitted.with_label_values(&[category.as_str(), channel]).inc()
            }
            Count::Moved(action) => self.moved.with_label_values(&[*action]).inc(),
            Count::Published(kept) => {
                self.results.with_label_values(&[word(kept.first), word(kept.extended)]).inc();
            }
            Count::Ended(rating) => self.ratings.with_label_values(&[rating.map_or("none", Rating::name)]).inc(),
            Count::Escalated { level, state } => {
                self.escalations.with_label_values(&[level.to_string().as_str(), state]).inc();
                if *level == 100 {
                    self.breaches.with_label_values(&[*state]).inc();
                }
            }
            Count::Photo(outcome) => self.photos.with_label_values(&[*outcome]).inc(),
        }
    }

    /// Replaces what is known of open reports.
    pub(crate) fn open(&self, counts: &[(String, String, i64)]) {
        self.open.reset();
        for (state, agency, count) in counts {
            self.open.with_label_values(&[state.as_str(), agency.as_str()]).set(*count);
        }
    }
}

//! One Prometheus registry per role.
//!
//! Names get the prefix `trangtien_<service>_` and every sample the labels `service` and `instance`.
//! Labels are bounded sets: never a person, a phone number or an id.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{
    Encoder as _, Gauge, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder,
};

/// Buckets for durations of calls, in seconds.
pub const DURATION_BUCKETS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Buckets for sizes of batches.
pub const SIZE_BUCKETS: &[f64] =
    &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0];

use crate::clock::Clock;

/// The metrics of one role in one process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    service: Arc<str>,
    instance: Arc<str>,
    registry: Registry,
    families: Arc<Mutex<HashMap<String, Family>>>,
}

type Family = Box<dyn Any + Send>;

impl Metrics {
    /// A registry for `service` (a role's name) in the process called `instance`.
    pub fn new(service: &str, instance: &str) -> Self {
        let labels =
            HashMap::from([("service".to_owned(), service.to_owned()), ("instance".to_owned(), instance.to_owned())]);
        let registry = Registry::new_custom(None, Some(labels)).expect("constant label names are valid");
        Self { service: service.into(), instance: instance.into(), registry, families: Arc::default() }
    }

    /// The role's name.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// The process's name.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// A counter family; `name` ends in `_total`.
    pub fn counter(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.register(name, IntCounterVec::new(self.opts(name, help), labels).expect("constant names are valid"))
    }

    /// A gauge family.
    pub fn gauge(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.register(name, IntGaugeVec::new(self.opts(name, help), labels).expect("constant names are valid"))
    }

    /// A histogram family; `name` ends in its base unit, for instance `_seconds`.
    pub fn histogram(&self, name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> HistogramVec {
        let opts = HistogramOpts::from(self.opts(name, help)).buckets(buckets.to_vec());
        self.register(name, HistogramVec::new(opts, labels).expect("constant names are valid"))
    }

    /// Exports `time_seconds`: the role's own time when it was asked, so that a clock that went astray shows.
    pub fn export_time(&self, clock: Clock) {
        let gauge = Gauge::with_opts(self.opts("time_seconds", "The role's own time, in seconds since 1970."));
        self.register("time_seconds", TimeCollector { gauge: gauge.expect("constant names are valid"), clock });
    }

    /// The Prometheus text exposition of this role.
    pub fn encode(&self) -> String {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text).expect("writing to memory succeeds");
        String::from_utf8(text).expect("the exposition is UTF-8")
    }

    fn opts(&self, name: &str, help: &str) -> Opts {
        Opts::new(format!("trangtien_{}_{name}", self.service), help)
    }

    /// Registers a family, or gives back the one that was registered under its name before: two relays of a role share theirs.
    fn register<C: Collector + Clone + Send + 'static>(&self, name: &str, collector: C) -> C {
        let mut families = self.families.lock().expect("registering never panics while it holds the lock");
        if let Some(known) = families.get(name) {
            return known.downcast_ref::<C>().expect("a name has one kind of metric").clone();
        }
        self.registry.register(Box::new(collector.clone())).expect("a family's labels never change");
        families.insert(name.to_owned(), Box::new(collector.clone()));
        collector
    }
}

/// Reads the clock when it is collected.
#[derive(Clone)]
struct TimeCollector {
    gauge: Gauge,
    clock: Clock,
}

impl Collector for TimeCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.gauge.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let milliseconds = self.clock.now().timestamp_millis();
        #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 fit a double exactly for ages")]
        self.gauge.set(milliseconds as f64 / 1_000.0);
        self.gauge.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_carry_service_and_instance() {
        let metrics = Metrics::new("wallet", "a:1");
        metrics.counter("payments_total", "Payments.", &["kind"]).with_label_values(&["payment"]).inc();
        let text = metrics.encode();
        let sample =
            text.lines().find(|line| line.starts_with("trangtien_wallet_payments_total{")).expect("one sample");
        for label in [r#"instance="a:1""#, r#"kind="payment""#, r#"service="wallet""#] {
            assert!(sample.contains(label), "{sample}");
        }
    }
}

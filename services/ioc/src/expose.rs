//! The shared metrics endpoint's text: every role of every process in one exposition, never silent about one that is missing.

use std::collections::BTreeMap;
use std::sync::Arc;

use platform::metrics::Metrics;
use prometheus::IntGaugeVec;
use tracing::warn;

use crate::metrics::{Exposition, Family, Kind, Part, Series, Value, merge, parse};
use crate::role::RoleStatus;

/// Says of each role in each process whether its metrics are in this answer.
const UP: &str = "trangtien_up";

/// Gathers and joins.
pub(crate) struct Gatherer {
    roles: Arc<dyn RoleStatus>,
    conflicts: IntGaugeVec,
}

impl Gatherer {
    pub(crate) fn new(roles: Arc<dyn RoleStatus>, metrics: &Metrics) -> Self {
        let conflicts = metrics.gauge(
            "metrics_conflicts",
            "Samples left out of the last joined exposition: another type elsewhere, or the same series twice.",
            &["of_service", "of_instance"],
        );
        Self { roles, conflicts }
    }

    /// The exposition of the whole city.
    pub(crate) async fn gather(&self) -> String {
        let mut parts = Vec::new();
        let mut up: BTreeMap<(String, String), bool> = BTreeMap::new();
        for role in self.roles.metrics().await {
            let key = (role.service.clone(), role.instance.clone());
            let read = role.exposition.and_then(|text| parse(&text).map_err(|error| error.to_string()));
            let answered = match read {
                Ok(exposition) => {
                    parts.push(Part { service: role.service, instance: role.instance, exposition });
                    true
                }
                Err(reason) => {
                    warn!(service = role.service, instance = role.instance, reason, "metrics of a role are missing");
                    false
                }
            };
            *up.entry(key).or_insert(true) &= answered;
        }
        let (mut whole, conflicts) = merge(parts);
        self.conflicts.reset();
        for ((service, instance), left_out) in conflicts {
            let gauge = self.conflicts.with_label_values(&[service, instance]);
            gauge.set(i64::try_from(left_out).unwrap_or(i64::MAX));
        }
        add_up(&mut whole, up);
        whole.write()
    }
}

fn add_up(whole: &mut Exposition, up: BTreeMap<(String, String), bool>) {
    let samples = up.into_iter().map(|((service, instance), up)| {
        let labels = BTreeMap::from([("service".to_owned(), service), ("instance".to_owned(), instance)]);
        let series = Series { labels, name: UP.to_owned(), bound: None };
        (series, Value { text: if up { "1" } else { "0" }.to_owned(), timestamp_ms: None })
    });
    let help = Some("Whether the metrics of a role in a process are part of this answer.".to_owned());
    whole.families.insert(UP.to_owned(), Family { kind: Kind::Gauge, help, samples: samples.collect() });
}

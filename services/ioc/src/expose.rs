//! The shared metrics endpoint's text: every role of every process in one exposition, never silent about one that is missing.

use std::collections::BTreeMap;
use std::sync::Arc;

use platform::metrics::Metrics;
use prometheus::IntGaugeVec;
use tracing::warn;

use crate::metrics::{Exposition, Family, Part, READY, READY_HELP, merge, parse};
use crate::role::RoleStatus;

/// Says of each role in each process whether its metrics are in this answer.
const UP: &str = "trangtien_up";
const UP_HELP: &str = "Whether the metrics of a role in a process are part of this answer.";

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

/// Which roles' metrics are here; and of those that are not, that they are not ready either.
fn add_up(whole: &mut Exposition, up: BTreeMap<(String, String), bool>) {
    let away = up.iter().filter(|(_, up)| !**up).map(|(key, _)| (key.clone(), false));
    let away = Family::fact(READY, READY_HELP, away);
    let ready =
        whole.families.entry(READY.to_owned()).or_insert_with(|| Family { samples: BTreeMap::new(), ..away.clone() });
    ready.samples.extend(away.samples);
    whole.families.insert(UP.to_owned(), Family::fact(UP, UP_HELP, up));
}

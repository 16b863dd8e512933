//! Joins the expositions of all roles and instances into one.
//!
//! Each family stands once, with the type and help of the first part that has it. Samples keep the labels that they have;
//! `service` and `instance` are added where they are missing (what Prometheus calls `honor_labels`).
//! Invariant: the result is a valid exposition, and every sample of every part is in it or counted as a conflict.

use std::collections::{BTreeMap, BTreeSet};

use super::{Exposition, Family, Series};

/// One role's exposition and whose it is.
#[derive(Clone, Debug)]
pub struct Part {
    /// The role.
    pub service: String,
    /// The process.
    pub instance: String,
    /// What it said.
    pub exposition: Exposition,
}

/// How many samples of each (service, instance) were left out: their family has another type elsewhere, or the series is there already.
pub type Conflicts = BTreeMap<(String, String), u64>;

/// Joins all parts, in order.
pub fn merge(parts: Vec<Part>) -> (Exposition, Conflicts) {
    let mut whole = Exposition::default();
    let mut owners: BTreeMap<String, String> = BTreeMap::new();
    let mut conflicts = Conflicts::new();
    for part in parts {
        let mut left_out = 0;
        for (name, family) in part.exposition.families {
            let samples = family.samples.len();
            let clashes = whole.families.get(&name).is_some_and(|known| known.kind != family.kind)
                || sample_names(&family).iter().any(|sample| owners.get(sample).is_some_and(|owner| *owner != name));
            if clashes {
                left_out += samples;
                continue;
            }
            for sample in sample_names(&family) {
                owners.insert(sample, name.clone());
            }
            let known = whole.families.entry(name).or_insert_with(|| Family {
                kind: family.kind,
                help: None,
                samples: BTreeMap::new(),
            });
            known.help = known.help.take().or_else(|| family.help.clone());
            left_out += add(known, family, &part.service, &part.instance);
        }
        if left_out > 0 {
            *conflicts.entry((part.service, part.instance)).or_default() += left_out as u64;
        }
    }
    (whole, conflicts)
}

/// The names that samples of a family have, also those that it has no sample of yet.
fn sample_names(family: &Family) -> BTreeSet<String> {
    family.samples.keys().map(|series| series.name.clone()).collect()
}

/// Adds whole label sets, so that a histogram is never torn; answers how many samples were left out.
fn add(known: &mut Family, family: Family, service: &str, instance: &str) -> usize {
    let labelled = family.samples.into_iter().map(|(mut series, value)| {
        for (label, text) in [("service", service), ("instance", instance)] {
            series.labels.entry(label.to_owned()).or_insert_with(|| text.to_owned());
        }
        (series, value)
    });
    let mut sets: BTreeMap<BTreeMap<String, String>, Vec<(Series, super::Value)>> = BTreeMap::new();
    for (series, value) in labelled {
        sets.entry(series.labels.clone()).or_default().push((series, value));
    }
    let mut left_out = 0;
    for samples in sets.into_values() {
        let twice = samples.iter().enumerate().any(|(index, (series, _))| {
            known.samples.contains_key(series) || samples[..index].iter().any(|(earlier, _)| earlier == series)
        });
        let same_set = samples.first().is_some_and(|(series, _)| {
            known.samples.range(first_of(&series.labels)..).next().is_some_and(|(next, _)| next.labels == series.labels)
        });
        if twice || (same_set && known.kind.bound_label().is_some()) {
            left_out += samples.len();
        } else {
            known.samples.extend(samples);
        }
    }
    left_out
}

/// The least series with these labels.
fn first_of(labels: &BTreeMap<String, String>) -> Series {
    Series { labels: labels.clone(), name: String::new(), bound: None }
}

//! The Prometheus text exposition format, version 0.0.4: read strictly, joined, written.
//!
//! Pure: no I/O. What [`parse`] accepts and [`Exposition::write`] writes are the same set, and [`merge`] stays inside it
//! (the property tests in `tests.rs` hold all three to that).

mod merge;
mod parse;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt::Write as _;

pub use merge::{Conflicts, Part, merge};
pub use parse::{ParseError, parse};

/// The content type of the format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The family that says of each role in each process whether it can serve: what `/readyz` says.
pub const READY: &str = "trangtien_ready";
/// What [`READY`] says of itself.
pub const READY_HELP: &str = "Whether a role in a process can serve, as its /readyz says.";

/// Families by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exposition {
    /// Each family once.
    pub families: BTreeMap<String, Family>,
}

/// All samples of one metric.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Family {
    /// The declared type; [`Kind::Untyped`] when none was.
    pub kind: Kind,
    /// The declared help, unescaped.
    pub help: Option<String>,
    /// Values by series; ordered, so that equal expositions are written equally.
    pub samples: BTreeMap<Series, Value>,
}

/// The name of a sample and its labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Series {
    /// The labels that tell series apart, without `le` and `quantile`; first, so that a histogram's lines stand together.
    pub labels: BTreeMap<String, String>,
    /// The name: the family's, or with `_bucket`, `_sum` or `_count`.
    pub name: String,
    /// The place of a bucket or quantile within its series.
    pub bound: Option<Bound>,
}

/// The `le` of a bucket or the `quantile` of a summary.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Bound {
    /// `le` or `quantile`.
    pub label: &'static str,
    /// The number as it was written.
    pub text: String,
}

impl Bound {
    /// The number, for ordering.
    pub fn number(&self) -> f64 {
        parse::number(&self.text).unwrap_or(f64::NAN)
    }
}

impl Ord for Bound {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.label, self.number())
            .partial_cmp(&(other.label, other.number()))
            .unwrap_or(std::cmp::Ordering::Equal)
            .then_with(|| self.text.cmp(&other.text))
    }
}

impl PartialOrd for Bound {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// A value as it was written (so that nothing is lost), with its optional time in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// A number, `NaN`, `+Inf` or `-Inf`.
    pub text: String,
    /// Milliseconds since 1970.
    pub timestamp_ms: Option<i64>,
}

/// A family's type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Buckets, a sum and a count.
    Histogram,
    /// Quantiles, a sum and a count.
    Summary,
    /// Not said.
    #[default]
    Untyped,
}

impl Kind {
    /// The word in a `# TYPE` line.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
            Self::Untyped => "untyped",
        }
    }

    /// The label that only this type's bounds carry.
    const fn bound_label(self) -> Option<&'static str> {
        match self {
            Self::Histogram => Some("le"),
            Self::Summary => Some("quantile"),
            Self::Counter | Self::Gauge | Self::Untyped => None,
        }
    }
}

impl Exposition {
    /// The text of all families, in order of their names.
    pub fn write(&self) -> String {
        let mut text = String::new();
        for (name, family) in &self.families {
            family.write(name, &mut text);
        }
        text
    }

    /// How many samples there are.
    pub fn samples(&self) -> usize {
        self.families.values().map(|family| family.samples.len()).sum()
    }
}

impl Family {
    /// A gauge of one fact: 1 or 0 for each role (`service`) in each process (`instance`).
    pub fn fact(name: &str, help: &str, said: impl IntoIterator<Item = ((String, String), bool)>) -> Self {
        let samples = said.into_iter().map(|((service, instance), is_so)| {
            let labels = BTreeMap::from([("service".to_owned(), service), ("instance".to_owned(), instance)]);
            let text = if is_so { "1" } else { "0" };
            (Series { labels, name: name.to_owned(), bound: None }, Value { text: text.to_owned(), timestamp_ms: None })
        });
        Self { kind: Kind::Gauge, help: Some(help.to_owned()), samples: samples.collect() }
    }

    fn write(&self, name: &str, text: &mut String) {
        let wrote = (|| {
            if let Some(help) = &self.help {
                writeln!(text, "# HELP {name} {}", help.replace('\\', "\\\\").replace('\n', "\\n"))?;
            }
            writeln!(text, "# TYPE {name} {}", self.kind.word())?;
            for (series, value) in &self.samples {
                series.write(text)?;
                write!(text, " {}", value.text)?;
                if let Some(timestamp) = value.timestamp_ms {
                    write!(text, " {timestamp}")?;
                }
                text.push('\n');
            }
            std::fmt::Result::Ok(())
        })();
        wrote.expect("writing to a string succeeds");
    }
}

impl Series {
    fn write(&self, text: &mut String) -> std::fmt::Result {
        text.push_str(&self.name);
        let bound = self.bound.as_ref().map(|bound| (bound.label, bound.text.as_str()));
        let labels = self.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).chain(bound);
        let mut opened = false;
        for (name, value) in labels {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            write!(text, "{}{name}=\"{value}\"", if opened { ',' } else { '{' })?;
            opened = true;
        }
        if opened {
            text.push('}');
        }
        Ok(())
    }
}

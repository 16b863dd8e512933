//! Reads an exposition and refuses what the format does not allow, instead of passing it on.
//!
//! Refused: names and numbers that are none; a family that is declared or sampled in two places; a type after samples; equal series twice;
//! histograms and summaries whose lines do not belong together (a bucket without `le`, falling buckets, no `+Inf` bucket, `+Inf` ≠ count).

use std::collections::{BTreeMap, BTreeSet};

use super::{Bound, Exposition, Family, Kind, Series, Value};

/// The longest exposition that is read.
const MAX_BYTES: usize = 16 << 20;
/// The most labels of a sample.
const MAX_LABELS: usize = 64;

/// Why a text is not a valid exposition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct ParseError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: String,
}

/// Reads a whole exposition.
///
/// # Errors
/// The first line that is not valid, and why.
pub fn parse(text: &str) -> Result<Exposition, ParseError> {
    if text.len() > MAX_BYTES {
        return Err(ParseError { line: 0, reason: format!("longer than {MAX_BYTES} bytes") });
    }
    if !text.is_empty() && !text.ends_with('\n') {
        return Err(ParseError { line: text.lines().count(), reason: "the last line does not end".to_owned() });
    }
    let mut reader = Reader::default();
    for (index, line) in text.split_terminator('\n').enumerate() {
        reader.line(line).map_err(|reason| ParseError { line: index + 1, reason })?;
    }
    let lines = text.split_terminator('\n').count();
    reader.finish().map_err(|reason| ParseError { line: lines, reason })
}

/// A number as the format writes it.
pub(super) fn number(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "+Inf" | "Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        _ if text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E')) => {
            text.parse().ok()
        }
        _ => None,
    }
}

#[derive(Default)]
struct Reader {
    done: Exposition,
    /// The family that lines belong to right now, with its name and whether its type was declared.
    open: Option<Open>,
}

struct Open {
    name: String,
    family: Family,
    typed: bool,
}

impl Reader {
    fn line(&mut self, line: &str) -> Result<(), String> {
        let line = line.trim_start_matches([' ', '\t']);
        if line.is_empty() {
            return Ok(());
        }
        let Some(comment) = line.strip_prefix('#') else { return self.sample(line) };
        let comment = comment.trim_start_matches([' ', '\t']);
        match comment.split_once([' ', '\t']) {
            Some(("HELP", rest)) => self.help(rest),
            Some(("TYPE", rest)) => self.kind(rest),
            _ => Ok(()),
        }
    }

    fn help(&mut self, rest: &str) -> Result<(), String> {
        let rest = rest.trim_start_matches([' ', '\t']);
        let (name, help) = rest.split_once([' ', '\t']).unwrap_or((rest, ""));
        let help = unescape(help, false)?;
        let open = self.declare(name)?;
        if open.family.help.replace(help).is_some() {
            return Err(format!("a second HELP for {name}"));
        }
        Ok(())
    }

    fn kind(&mut self, rest: &str) -> Result<(), String> {
        let mut words = rest.split_ascii_whitespace();
        let (Some(name), Some(word), None) = (words.next(), words.next(), words.next()) else {
            return Err("TYPE takes a name and a type".to_owned());
        };
        let kind = match word {
            "counter" => Kind::Counter,
            "gauge" => Kind::Gauge,
            "histogram" => Kind::Histogram,
            "summary" => Kind::Summary,
            "untyped" => Kind::Untyped,
            other => return Err(format!("unknown type {other}")),
        };
        let open = self.declare(name)?;
        if open.typed {
            return Err(format!("a second TYPE for {name}"));
        }
        open.typed = true;
        open.family.kind = kind;
        Ok(())
    }

    /// The open family when it is `name` and has no samples yet, else a new one.
    fn declare(&mut self, name: &str) -> Result<&mut Open, String> {
        if self.open.as_ref().is_none_or(|open| open.name != name) {
            if !is_metric_name(name) {
                return Err(format!("{name:?} is not a metric name"));
            }
            self.begin(name)?;
        }
        let open = self.open.as_mut().expect("a family was just opened");
        if open.family.samples.is_empty() { Ok(open) } else { Err(format!("{name} is declared after its samples")) }
    }

    fn begin(&mut self, name: &str) -> Result<(), String> {
        self.close()?;
        if self.done.families.contains_key(name) {
            return Err(format!("the family {name} stands in two places"));
        }
        self.open = Some(Open { name: name.to_owned(), family: Family::default(), typed: false });
        Ok(())
    }

    fn close(&mut self) -> Result<(), String> {
        let Some(open) = self.open.take() else { return Ok(()) };
        check_family(&open.name, &open.family)?;
        self.done.families.insert(open.name, open.family);
        Ok(())
    }

    fn finish(mut self) -> Result<Exposition, String> {
        self.close()?;
        let mut names = BTreeSet::new();
        for (family, samples) in self.done.families.iter().map(|(name, family)| (name, &family.samples)) {
            let used: BTreeSet<&str> = samples.keys().map(|series| series.name.as_str()).collect();
            for name in used {
                if !names.insert(name) {
                    return Err(format!("{name} of {family} is a sample of another family too"));
                }
            }
        }
        Ok(self.done)
    }

    fn sample(&mut self, line: &str) -> Result<(), String> {
        let end = line.find(|c: char| !is_name_char(c)).ok_or("a sample has a value")?;
        let (name, rest) = line.split_at(end);
        if !is_metric_name(name) {
            return Err(format!("{name:?} is not a metric name"));
        }
        let (mut labels, rest) = match rest.strip_prefix('{') {
            Some(rest) => read_labels(rest)?,
            None => (BTreeMap::new(), rest),
        };
        let value = read_value(rest)?;
        if !self.open.as_ref().is_some_and(|open| belongs(name, &open.name, open.family.kind)) {
            self.begin(name)?;
        }
        let open = self.open.as_mut().expect("a family was just opened");
        let bound = open.family.kind.bound_label().and_then(|label| {
            let text = labels.remove(label)?;
            Some(Bound { label, text })
        });
        let series = Series { labels, name: name.to_owned(), bound };
        if open.family.samples.insert(series, value).is_some() {
            return Err(format!("the same series of {name} twice"));
        }
        Ok(())
    }
}

fn belongs(sample: &str, family: &str, kind: Kind) -> bool {
    let suffixes: &[&str] = match kind {
        Kind::Histogram => &["_bucket", "_sum", "_count"],
        Kind::Summary => &["", "_sum", "_count"],
        Kind::Counter | Kind::Gauge | Kind::Untyped => &[""],
    };
    sample.strip_prefix(family).is_some_and(|suffix| suffixes.contains(&suffix))
}

fn check_family(name: &str, family: &Family) -> Result<(), String> {
    let Some(label) = family.kind.bound_label() else { return Ok(()) };
    let bounded = if family.kind == Kind::Histogram { format!("{name}_bucket") } else { name.to_owned() };
    for series in family.samples.keys() {
        match &series.bound {
            Some(bound) if series.name == bounded && !bound.number().is_nan() => {}
            None if series.name != bounded => {}
            _ => return Err(format!("{} and {label} do not go together", series.name)),
        }
    }
    if family.kind == Kind::Histogram { check_buckets(name, family) } else { Ok(()) }
}

fn check_buckets(name: &str, family: &Family) -> Result<(), String> {
    let mut sets: BTreeMap<&BTreeMap<String, String>, Histogram> = BTreeMap::new();
    for (series, value) in &family.samples {
        let set = sets.entry(&series.labels).or_default();
        let value = number(&value.text).ok_or("a value is a number")?;
        match (&series.bound, series.name.ends_with("_count")) {
            (Some(bound), _) => {
                if value < set.last || value.is_nan() {
                    return Err(format!("the buckets of {name} fall"));
                }
                set.last = value;
                set.infinite |= bound.number() == f64::INFINITY;
            }
            (None, true) => set.count = Some(value),
            (None, false) => set.sum = true,
        }
    }
    let whole = |set: &Histogram| set.infinite && set.sum && set.count == Some(set.last);
    if sets.values().all(whole) { Ok(()) } else { Err(format!("the histogram {name} is not whole")) }
}

#[derive(Default)]
struct Histogram {
    last: f64,
    infinite: bool,
    sum: bool,
    count: Option<f64>,
}

fn read_labels(text: &str) -> Result<(BTreeMap<String, String>, &str), String> {
    let mut labels = BTreeMap::new();
    let mut rest = text.trim_start_matches([' ', '\t']);
    while !rest.starts_with('}') {
        let (name, after) = rest.split_once('=').ok_or("a label has a value")?;
        let name = name.trim_matches([' ', '\t']);
        if !is_label_name(name) {
            return Err(format!("{name:?} is not a label name"));
        }
        let quoted = after.trim_start_matches([' ', '\t']).strip_prefix('"').ok_or("a label's value is quoted")?;
        let end = closing_quote(quoted).ok_or("a label's value ends")?;
        if labels.insert(name.to_owned(), unescape(&quoted[..end], true)?).is_some() || labels.len() > MAX_LABELS {
            return Err(format!("the label {name} twice, or too many labels"));
        }
        rest = quoted[end + 1..].trim_start_matches([' ', '\t']);
        match rest.strip_prefix(',') {
            Some(next) => rest = next.trim_start_matches([' ', '\t']),
            None if rest.starts_with('}') => {}
            None => return Err("labels are parted by commas".to_owned()),
        }
    }
    Ok((labels, &rest[1..]))
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let closes = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        closes
    })
}

fn read_value(rest: &str) -> Result<Value, String> {
    let mut words = rest.split_ascii_whitespace();
    let (Some(text), time, None) = (words.next(), words.next(), words.next()) else {
        return Err("a sample has a value and at most a time".to_owned());
    };
    number(text).ok_or_else(|| format!("{text:?} is not a number"))?;
    let timestamp_ms =
        time.map(|time| time.parse().map_err(|_| format!("{time:?} is not a time in milliseconds"))).transpose()?;
    Ok(Value { text: text.to_owned(), timestamp_ms })
}

fn unescape(text: &str, quoted: bool) -> Result<String, String> {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        if char != '\\' {
            plain.push(char);
            continue;
        }
        match chars.next() {
            Some('\\') => plain.push('\\'),
            Some('n') => plain.push('\n'),
            Some('"') if quoted => plain.push('"'),
            _ => return Err("an unknown escape".to_owned()),
        }
    }
    Ok(plain)
}

fn is_name_char(char: char) -> bool {
    char.is_ascii_alphanumeric() || char == '_' || char == ':'
}

fn is_metric_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(is_name_char) && !name.starts_with(|first: char| first.is_ascii_digit())
}

fn is_label_name(name: &str) -> bool {
    is_metric_name(name) && !name.contains(':')
}

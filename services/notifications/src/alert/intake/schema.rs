//! The rules of CAP 1.2's schema and text (OASIS CAP-v1.2, section 3.2 and appendix A), as tables. Pure.

use chrono::{DateTime, Utc};

use super::Fault;
use super::xml::Element;

/// What an element may hold.
#[derive(Clone, Copy, Debug)]
enum Rule {
    /// Any text.
    Text,
    /// Text without what would break a reference.
    Name,
    /// A time with a numeric offset; the schema refuses `Z`.
    Time,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A whole number.
    Number,
    /// A decimal number.
    Decimal,
    /// Other elements, in this order.
    Children(&'static [Item]),
}

/// How often.
#[derive(Clone, Copy, Debug)]
enum Often {
    One,
    Maybe,
    Any,
    Some,
}

type Item = (&'static str, Often, Rule);

use Often::{Any, Maybe, One, Some as AtLeastOne};
use Rule::{Children, Decimal, Name, Number, Text, Time, Word};

const PAIR: Rule = Children(&[("valueName", One, Text), ("value", One, Text)]);
const RESOURCE: Rule = Children(&[
    ("resourceDesc", One, Text),
    ("mimeType", One, Text),
    ("size", Maybe, Number),
    ("uri", Maybe, Text),
    ("derefUri", Maybe, Text),
    ("digest", Maybe, Text),
]);
const AREA: Rule = Children(&[
    ("areaDesc", One, Text),
    ("polygon", Any, Text),
    ("circle", Any, Text),
    ("geocode", Any, PAIR),
    ("altitude", Maybe, Decimal),
    ("ceiling", Maybe, Decimal),
]);
const CATEGORIES: &[&str] =
    &["Geo", "Met", "Safety", "Security", "Rescue", "Fire", "Health", "Env", "Transport", "Infra", "CBRNE", "Other"];
const RESPONSES: &[&str] =
    &["Shelter", "Evacuate", "Prepare", "Execute", "Avoid", "Monitor", "Assess", "AllClear", "None"];
const INFO: Rule = Children(&[
    ("language", Maybe, Text),
    ("category", AtLeastOne, Word(CATEGORIES)),
    ("event", One, Text),
    ("responseType", Any, Word(RESPONSES)),
    ("urgency", One, Word(&["Immediate", "Expected", "Future", "Past", "Unknown"])),
    ("severity", One, Word(&["Extreme", "Severe", "Moderate", "Minor", "Unknown"])),
    ("certainty", One, Word(&["Observed", "Likely", "Possible", "Unlikely", "Unknown"])),
    ("audience", Maybe, Text),
    ("eventCode", Any, PAIR),
    ("effective", Maybe, Time),
    ("onset", Maybe, Time),
    ("expires", Maybe, Time),
    ("senderName", Maybe, Text),
    ("headline", Maybe, Text),
    ("description", Maybe, Text),
    ("instruction", Maybe, Text),
    ("web", Maybe, Text),
    ("contact", Maybe, Text),
    ("parameter", Any, PAIR),
    ("resource", Any, RESOURCE),
    ("area", Any, AREA),
]);
const ALERT: Rule = Children(&[
    ("identifier", One, Name),
    ("sender", One, Name),
    ("sent", One, Time),
    ("status", One, Word(&["Actual", "Exercise", "System", "Test", "Draft"])),
    ("msgType", One, Word(&["Alert", "Update", "Cancel", "Ack", "Error"])),
    ("source", Maybe, Text),
    ("scope", One, Word(&["Public", "Restricted", "Private"])),
    ("restriction", Maybe, Text),
    ("addresses", Maybe, Text),
    ("code", Any, Text),
    ("note", Maybe, Text),
    ("references", Maybe, Text),
    ("incidents", Maybe, Text),
    ("info", Any, INFO),
]);

/// Characters of a name at most.
const MAX_NAME: usize = 200;

/// Checks a document's root.
///
/// # Errors
/// The first rule that it breaks, with the element's name.
pub(super) fn check(root: &Element) -> Result<(), Fault> {
    if root.name != "alert" {
        return Err(Fault::new("the root is not `alert`"));
    }
    holds(root, ALERT)?;
    let (kind, scope) = (root.get("msgType").unwrap_or_default(), root.get("scope").unwrap_or_default());
    if scope == "Restricted" && root.get("restriction").is_none() {
        return Err(Fault::new("`restriction` is missing"));
    }
    if scope == "Private" && root.get("addresses").is_none() {
        return Err(Fault::new("`addresses` is missing"));
    }
    let refers = root.get("references").is_some_and(|references| !references.trim().is_empty());
    if kind != "Alert" && !refers {
        return Err(Fault::new("`references` is missing"));
    }
    Ok(())
}

fn holds(element: &Element, rule: Rule) -> Result<(), Fault> {
    let (name, text) = (element.name.as_str(), element.text.trim());
    let good = match rule {
        Children(items) if text.is_empty() => return in_order(element, items),
        Children(_) => false,
        _ if !element.children.is_empty() => false,
        Text => true,
        Name => is_name(text),
        Time => time(text).is_some(),
        Word(words) => words.contains(&text),
        Number => text.parse::<i64>().is_ok(),
        Decimal => text.parse::<f64>().is_ok_and(f64::is_finite) && !text.contains(['e', 'E']),
    };
    if good { Ok(()) } else { Err(Fault::new(format!("`{name}` is not valid"))) }
}

fn in_order(element: &Element, items: &[Item]) -> Result<(), Fault> {
    let mut children = element.children.iter().peekable();
    for (name, often, rule) in items {
        let mut count = 0;
        while let Some(child) = children.next_if(|child| child.name == *name) {
            holds(child, *rule)?;
            count += 1;
        }
        let good = match often {
            One => count == 1,
            Maybe => count <= 1,
            Any => true,
            AtLeastOne => count >= 1,
        };
        if !good {
            let what = if count == 0 { "is missing" } else { "is there too often" };
            return Err(Fault::new(format!("`{name}` {what} in `{}`", element.name)));
        }
    }
    match children.next() {
        None => Ok(()),
        Some(child) => {
            let name: String = child.name.chars().take(40).collect();
            Err(Fault::new(format!("`{name}` does not stand there in `{}`", element.name)))
        }
    }
}

/// Whether a text can name a sender or a message (section 3.2.1).
pub(super) fn is_name(text: &str) -> bool {
    let good = |character: char| !character.is_whitespace() && !character.is_control() && !",<&".contains(character);
    (1..=MAX_NAME).contains(&text.chars().count()) && text.chars().all(good)
}

/// A time as the schema's pattern wants it.
pub(super) fn time(text: &str) -> Option<DateTime<Utc>> {
    let shape = |(index, byte): (usize, u8)| match index {
        4 | 7 => byte == b'-',
        10 => byte == b'T',
        13 | 16 | 22 => byte == b':',
        19 => byte == b'+' || byte == b'-',
        _ => byte.is_ascii_digit(),
    };
    let good = text.len() == 25 && text.bytes().enumerate().all(shape);
    good.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_carry_a_numeric_offset() {
        assert!(time("2025-10-27T07:00:00+07:00").is_some() && time("2025-10-27T00:00:00-00:00").is_some());
        for wrong in [
            "2025-10-27T00:00:00Z",
            "2025-10-27T07:00:00.5+07:00",
            "2025-10-27 07:00:00+07:00",
            "2025-13-27T07:00:00+07:00",
            "",
        ] {
            assert!(time(wrong).is_none(), "{wrong}");
        }
        assert!(is_name("ioc@hue.example") && !is_name("a b") && !is_name("a,b") && !is_name(""));
    }
}

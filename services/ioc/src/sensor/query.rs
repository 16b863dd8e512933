//! Paths and query options of SensorThings (18-088, sections 9.2 and 9.3), as far as they are understood here. Pure.
//!
//! What is not there is refused: an option that is silently left out would give wrong data.

use chrono::{DateTime, Utc};

use super::entity::Set;
use super::plausible::is_of_an_era;
use crate::error::Error;

/// Entities of a page at most.
pub(crate) const MAX_TOP: i64 = 1_000;
/// Entities of a page unless asked otherwise.
const DEFAULT_TOP: i64 = 100;
/// Entities that may be passed over: further ones are found by time.
const MAX_SKIP: i64 = 1_000_000;
/// Entities of a page at most when others are shown inside them.
const MAX_EXPANDED: i64 = 100;
/// How a filter compares.
const OPERATORS: [&str; 5] = ["ge", "gt", "le", "lt", "eq"];
/// Comparisons of a filter at most.
const MAX_COMPARISONS: usize = 8;

/// `Things` or `Things(5)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Resource {
    pub(crate) set: Set,
    pub(crate) id: Option<i64>,
}

/// A part of a path.
pub(crate) fn resource(segment: &str) -> Option<Resource> {
    match segment.split_once('(') {
        None => Some(Resource { set: Set::from_name(segment)?, id: None }),
        Some((name, rest)) => {
            let digits = rest.strip_suffix(')')?;
            let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            let id = digits.parse().ok().filter(|_| plain)?;
            Some(Resource { set: Set::from_name(name)?, id: Some(id) })
        }
    }
}

/// Which entities are wanted.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Options {
    pub(crate) top: i64,
    pub(crate) skip: i64,
    /// Newest first.
    pub(crate) descending: bool,
    pub(crate) expand: Vec<&'static str>,
    pub(crate) bounds: Bounds,
}

/// What observations are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Bounds {
    pub(crate) time: Interval<DateTime<Utc>>,
    pub(crate) result: Interval<f64>,
}

/// From, after, until, before.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Interval<T> {
    pub(crate) from: Option<T>,
    pub(crate) after: Option<T>,
    pub(crate) until: Option<T>,
    pub(crate) before: Option<T>,
}

impl<T: PartialOrd + Copy> Interval<T> {
    fn narrow(&mut self, operator: &str, value: T) -> Option<()> {
        let greater = |old: Option<T>| Some(old.filter(|old| *old > value).unwrap_or(value));
        let smaller = |old: Option<T>| Some(old.filter(|old| *old < value).unwrap_or(value));
        match operator {
            "ge" => self.from = greater(self.from),
            "gt" => self.after = greater(self.after),
            "le" => self.until = smaller(self.until),
            "lt" => self.before = smaller(self.before),
            "eq" => (self.from, self.until) = (greater(self.from), smaller(self.until)),
            _ => return None,
        }
        Some(())
    }
}

/// The options of a request for a set, or for one entity.
///
/// # Errors
/// [`Error::QueryUnsupported`] with the option of the standard's that is not there, or asks for what is not; [`Error::QueryInvalid`] with
/// one that is malformed or none of the standard's.
pub(crate) fn options(set: Set, pairs: &[(String, String)]) -> Result<Options, Error> {
    let mut options = Options { top: DEFAULT_TOP, ..Options::default() };
    for (name, value) in pairs {
        let invalid = || Error::QueryInvalid(name.clone());
        let unsupported = || Error::QueryUnsupported(name.clone());
        match name.as_str() {
            // More than a page holds is asked for by its next link.
            "$top" => options.top = number(value).ok_or_else(invalid)?.min(MAX_TOP),
            "$skip" => options.skip = number(value).filter(|skip| *skip <= MAX_SKIP).ok_or_else(invalid)?,
            "$orderby" => options.descending = descending(set, value).ok_or_else(unsupported)?,
            "$expand" => options.expand = expand(set, value).ok_or_else(unsupported)?,
            "$filter" if set == Set::Observations => {
                options.bounds = bounds(value).ok_or_else(unsupported)?.ok_or_else(invalid)?;
            }
            "$filter" | "$select" | "$count" | "$resultFormat" => return Err(unsupported()),
            _ => return Err(invalid()),
        }
    }
    if !options.expand.is_empty() {
        options.top = options.top.min(MAX_EXPANDED);
    }
    Ok(options)
}

fn number(text: &str) -> Option<i64> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // One that is too large for a number is larger than any page.
    is_plain.then(|| text.parse().unwrap_or(i64::MAX))
}

fn descending(set: Set, text: &str) -> Option<bool> {
    let mut words = text.split_whitespace();
    let by = words.next()?;
    let known = if set == Set::Observations { by == "phenomenonTime" } else { by == "id" || by == "@iot.id" };
    let descending = match words.next() {
        None | Some("asc") => false,
        Some("desc") => true,
        Some(_) => return None,
    };
    (known && words.next().is_none()).then_some(descending)
}

fn expand(set: Set, text: &str) -> Option<Vec<&'static str>> {
    // A datastream's observations have no end; they are asked for by themselves.
    let allowed = set.links().iter().map(|(name, _)| *name).filter(|name| *name != "Observations");
    let allowed: Vec<&'static str> = allowed.collect();
    text.split(',').map(|name| allowed.iter().copied().find(|allowed| *allowed == name.trim())).collect()
}

/// `None` for a filter beyond comparisons that are joined by `and`; `Some(None)` for a comparison with no such time or number.
fn bounds(text: &str) -> Option<Option<Bounds>> {
    let mut bounds = Bounds::default();
    let comparisons: Vec<&str> = text.split(" and ").collect();
    if comparisons.len() > MAX_COMPARISONS {
        return None;
    }
    let mut is_whole = true;
    for comparison in comparisons {
        let words: Vec<&str> = comparison.split_whitespace().collect();
        let [name, operator, value] = words[..] else { return None };
        OPERATORS.contains(&operator).then_some(())?;
        let narrowed = match name {
            "phenomenonTime" => {
                let time = value.trim_matches('\'').parse().ok().filter(|time| is_of_an_era(*time));
                time.and_then(|time| bounds.time.narrow(operator, time))
            }
            "result" => {
                let number = value.parse().ok().filter(|value: &f64| value.is_finite());
                number.and_then(|number| bounds.result.narrow(operator, number))
            }
            _ => return None,
        };
        is_whole &= narrowed.is_some();
    }
    Some(is_whole.then_some(bounds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(set: Set, name: &str, value: &str) -> Result<Options, Error> {
        options(set, &[(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn paths_name_sets_and_entities() {
        assert_eq!(resource("Things"), Some(Resource { set: Set::Things, id: None }));
        assert_eq!(resource("Datastreams(12)"), Some(Resource { set: Set::Datastreams, id: Some(12) }));
        for wrong in
            ["things", "Things(", "Things()", "Things(-1)", "Things(1", "Things('a')", "Things(99999999999999999999)"]
        {
            assert_eq!(resource(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn options_that_are_not_understood_are_refused() {
        let of = Set::Observations;
        let filter =
            "phenomenonTime ge 2025-10-27T07:00:00+07:00 and phenomenonTime lt 2025-10-28T00:00:00Z and result gt 3.5";
        let bounds = asked(of, "$filter", filter).expect("understood").bounds;
        assert_eq!(bounds.time.from, "2025-10-27T00:00:00Z".parse().ok());
        assert_eq!((bounds.result.after, bounds.result.from), (Some(3.5), None));
        assert!(asked(of, "$orderby", "phenomenonTime desc").expect("understood").descending);
        assert_eq!(asked(Set::Things, "$expand", "Locations, Datastreams").expect("understood").expand.len(), 2);
        for (set, name, value) in [
            (of, "$filter", "result gt NaN"),
            (of, "$filter", "phenomenonTime gt -9999-01-01T00:00:00Z"),
            (of, "$top", "-1"),
            (of, "$top", "many"),
            (of, "$skip", "99999999"),
            (of, "$colour", "red"),
        ] {
            assert!(matches!(asked(set, name, value), Err(Error::QueryInvalid(_))), "{name}={value}");
        }
        for (set, name, value) in [
            (of, "$filter", "result gt 3 or result lt 1"),
            (of, "$filter", "result ne 3"),
            (of, "$filter", "drop table"),
            (of, "$orderby", "result desc"),
            (of, "$select", "result"),
            (of, "$count", "true"),
            (of, "$resultFormat", "dataArray"),
            (Set::Things, "$filter", "name eq 'x'"),
            (Set::Datastreams, "$expand", "Observations"),
        ] {
            assert!(matches!(asked(set, name, value), Err(Error::QueryUnsupported(_))), "{name}={value}");
        }
    }

    #[test]
    fn a_page_holds_what_it_can_of_what_is_asked() {
        for (asked_for, given) in [("0", 0), ("7", 7), ("1001", MAX_TOP), ("99999999999999999999", MAX_TOP)] {
            assert_eq!(asked(Set::Observations, "$top", asked_for).expect("understood").top, given);
        }
    }
}

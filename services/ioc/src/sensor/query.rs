//! Paths and query options of SensorThings (18-088, sections 9.2 and 9.3), as far as they are understood here. Pure.
//!
//! What is not understood is refused: an option that is silently left out would give wrong data.

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
/// [`Error::QueryInvalid`] with the option that is not understood.
pub(crate) fn options(set: Set, pairs: &[(String, String)]) -> Result<Options, Error> {
    let mut options = Options { top: DEFAULT_TOP, ..Options::default() };
    for (name, value) in pairs {
        let refused = || Error::QueryInvalid(name.clone());
        match name.as_str() {
            "$top" => options.top = number(value, MAX_TOP).ok_or_else(refused)?,
            "$skip" => options.skip = number(value, MAX_SKIP).ok_or_else(refused)?,
            "$orderby" => options.descending = descending(set, value).ok_or_else(refused)?,
            "$expand" => options.expand = expand(set, value).ok_or_else(refused)?,
            "$filter" if set == Set::Observations => options.bounds = bounds(value).ok_or_else(refused)?,
            _ => return Err(refused()),
        }
    }
    if !options.expand.is_empty() {
        options.top = options.top.min(MAX_EXPANDED);
    }
    Ok(options)
}

fn number(text: &str, max: i64) -> Option<i64> {
    text.parse().ok().filter(|number| (0..=max).contains(number))
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

fn bounds(text: &str) -> Option<Bounds> {
    let mut bounds = Bounds::default();
    let comparisons: Vec<&str> = text.split(" and ").collect();
    if comparisons.len() > MAX_COMPARISONS {
        return None;
    }
    for comparison in comparisons {
        let words: Vec<&str> = comparison.split_whitespace().collect();
        let [name, operator, value] = words[..] else { return None };
        match name {
            "phenomenonTime" => {
                let time = value.trim_matches('\'').parse().ok().filter(|time| is_of_an_era(*time))?;
                bounds.time.narrow(operator, time)?;
            }
            "result" => bounds.result.narrow(operator, value.parse().ok().filter(|value: &f64| value.is_finite())?)?,
            _ => return None,
        }
    }
    Some(bounds)
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
            (of, "$filter", "result gt 3 or result lt 1"),
            (of, "$filter", "result gt NaN"),
            (of, "$filter", "drop table"),
            (of, "$orderby", "result desc"),
            (of, "$top", "1001"),
            (of, "$top", "-1"),
            (of, "$select", "result"),
            (Set::Things, "$filter", "name eq 'x'"),
            (Set::Datastreams, "$expand", "Observations"),
        ] {
            assert!(matches!(asked(set, name, value), Err(Error::QueryInvalid(_))), "{name}={value}");
        }
    }
}

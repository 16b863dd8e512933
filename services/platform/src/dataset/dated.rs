//! Rules that begin, and may end, on a day; which one is in force, and what is wrong with their periods.
//!
//! A rule without an end lasts until the next rule of the same subject begins.
//! Touches only the files that [`read`] is given; the rest is pure.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use chrono::NaiveDate;
use serde::de::DeserializeOwned;

use super::{Day, Document, Fault, Spanned, read_toml};

/// A rule with its period and the subjects that it covers.
pub trait Dated {
    /// Its first day.
    fn begins(&self) -> &Spanned<Day>;
    /// Its last day, if it has one.
    fn ends(&self) -> Option<&Spanned<Day>>;
    /// The legal text, or whose choice it is.
    fn source(&self) -> &Spanned<String>;
    /// What the rule covers, such as a class and a tier; two rules of one subject never overlap.
    fn subjects(&self) -> Vec<String>;
}

/// Makes a rule with the fields `begins`, `ends` and `source` [`Dated`]; the closure names its subjects.
#[macro_export]
macro_rules! dated {
    ($rule:ty, |$this:ident| $subjects:expr) => {
        impl $crate::dataset::dated::Dated for $rule {
            fn begins(&self) -> &$crate::dataset::Spanned<$crate::dataset::Day> {
                &self.begins
            }
            fn ends(&self) -> Option<&$crate::dataset::Spanned<$crate::dataset::Day>> {
                self.ends.as_ref()
            }
            fn source(&self) -> &$crate::dataset::Spanned<String> {
                &self.source
            }
            fn subjects(&self) -> Vec<String> {
                let $this = self;
                $subjects
            }
        }
    };
}

/// The rules of one file, and every fault of it: of reading, of periods, and what `faults` finds beside.
pub fn read<D, R>(path: &Path, rules: fn(&D) -> &Vec<R>, faults: fn(&Document<D>) -> Vec<Fault>) -> (Vec<R>, Vec<Fault>)
where
    D: DeserializeOwned,
    R: Dated + Clone,
{
    match read_toml::<D>(path) {
        Ok(document) => {
            let rules = rules(&document.value);
            let mut found = self::faults(&document, rules);
            found.extend(faults(&document));
            (rules.clone(), found)
        }
        Err(fault) => (Vec::new(), vec![fault]),
    }
}

/// The rule in force on a day among the rules of one subject.
pub fn in_force<'a, R: Dated + 'a>(rules: impl Iterator<Item = &'a R>, date: NaiveDate) -> Option<&'a R> {
    rules
        .filter(|rule| rule.begins().get_ref().0 <= date)
        .max_by_key(|rule| rule.begins().get_ref().0)
        .filter(|rule| rule.ends().is_none_or(|ends| date <= ends.get_ref().0))
}

/// Faults of periods and sources: ends before it begins, two at once, none at all for a while, no source.
pub fn faults<D, R: Dated>(document: &Document<D>, rules: &[R]) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut by_subject: BTreeMap<String, Vec<&R>> = BTreeMap::new();
    for rule in rules {
        if rule.source().get_ref().trim().is_empty() {
            faults.push(document.fault(rule.source(), "a rule names no source"));
        }
        if let Some(ends) = rule.ends()
            && ends.get_ref() < rule.begins().get_ref()
        {
            faults.push(document.fault(ends, "the rule ends before it begins"));
        }
        for subject in rule.subjects() {
            by_subject.entry(subject).or_default().push(rule);
        }
    }
    for (subject, mut rules) in by_subject {
        rules.sort_by_key(|rule| *rule.begins().get_ref());
        for pair in rules.windows(2) {
            faults.extend(neighbours(document, &subject, pair[0], pair[1]));
        }
    }
    faults
}

fn neighbours<D, R: Dated>(document: &Document<D>, subject: &str, first: &R, second: &R) -> Option<Fault> {
    let begins = second.begins().get_ref().0;
    let line = document.line(first.begins().span());
    let fault = |message: fmt::Arguments<'_>| Some(document.fault(second.begins(), message));
    if first.begins().get_ref().0 == begins {
        return fault(format_args!("two rules for {subject} begin on {begins}; the other on line {line}"));
    }
    let ends = first.ends()?.get_ref().0;
    if begins <= ends {
        return fault(format_args!("overlaps the rule for {subject} on line {line}, which ends on {ends}"));
    }
    if ends.succ_opt() != Some(begins) {
        return fault(format_args!("no rule for {subject} is in force between {ends} and {begins}"));
    }
    None
}

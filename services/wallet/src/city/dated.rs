//! Rules that begin, and may end, on a day; which one is in force, and what is wrong with their periods.
//!
//! Pure. A rule without an end lasts until the next rule of the same subject begins.

use std::collections::BTreeMap;
use std::fmt;

use chrono::NaiveDate;
use platform::dataset::{Day, Document, Fault, Spanned};

/// A rule with its period and the subjects that it covers.
pub(super) trait Dated {
    fn begins(&self) -> &Spanned<Day>;
    fn ends(&self) -> Option<&Spanned<Day>>;
    fn source(&self) -> &Spanned<String>;
    /// What the rule covers, such as a class and a tier; two rules of one subject never overlap.
    fn subjects(&self) -> Vec<String>;
}

macro_rules! dated {
    ($rule:ty, |$this:ident| $subjects:expr) => {
        impl $crate::city::dated::Dated for $rule {
            fn begins(&self) -> &Spanned<Day> {
                &self.begins
            }
            fn ends(&self) -> Option<&Spanned<Day>> {
                self.ends.as_ref()
            }
            fn source(&self) -> &Spanned<String> {
                &self.source
            }
            fn subjects(&self) -> Vec<String> {
                let $this = self;
                $subjects
            }
        }
    };
}
pub(super) use dated;

/// The rule in force on a day among the rules of one subject.
pub(super) fn in_force<'a, R: Dated + 'a>(rules: impl Iterator<Item = &'a R>, date: NaiveDate) -> Option<&'a R> {
    rules
        .filter(|rule| rule.begins().get_ref().0 <= date)
        .max_by_key(|rule| rule.begins().get_ref().0)
        .filter(|rule| rule.ends().is_none_or(|ends| date <= ends.get_ref().0))
}

/// Faults of periods and sources: ends before it begins, two at once, none at all for a while, no source.
pub(super) fn faults<D, R: Dated>(document: &Document<D>, rules: &[R]) -> Vec<Fault> {
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

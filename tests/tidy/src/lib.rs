//! The rules of the house, as tests.
//!
//! | module | rules |
//! | --- | --- |
//! | [`tree`] | finds the files of the checkout |
//! | [`rust`] | tells code, comments, strings and tests of a Rust file apart |
//! | [`source`] | how a Rust file begins, how long it is, what it may not say |
//! | [`layer`] | which crate may use which, and where the names of the transport may stand |
//! | [`metric`] | alerts, runbooks and dashboards name metrics that exist, and each other |
//! | [`sql`] | statements in code and in migrations |
//! | [`word`] | words that may stand in no file, names that no file may bear, links that lead nowhere |
//!
//! Every rule is a pure function from text to [`Breach`]es with a test beside it that shows it fail.
//! `tests/house.rs` and `tests/alarms.rs` run them over the checkout.

pub mod layer;
pub mod metric;
pub mod rust;
pub mod source;
pub mod sql;
pub mod tree;
pub mod word;

use std::fmt;

/// A place that breaks a rule; shown as `file:line: rule`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Breach {
    /// The file, relative to the root of the checkout.
    pub file: String,
    /// The line, from 1; 0 for the file as a whole.
    pub line: usize,
    /// What the rule says.
    pub rule: String,
}

impl Breach {
    /// A breach at a line of a file.
    pub fn new(file: &str, line: usize, rule: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line, rule: rule.into() }
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(formatter, "{}: {}", self.file, self.rule),
            line => write!(formatter, "{}:{line}: {}", self.file, self.rule),
        }
    }
}

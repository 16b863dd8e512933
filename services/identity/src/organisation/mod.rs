//! Organisations: the city's agencies, each below at most one other, and the wards they work in.
//!
//! | module | what lives there |
//! | --- | --- |
//! | `tree` | who stands above whom, and what a place in it covers (pure) |
//! | `file` | reads `agencies.csv` and the codes of `wards.csv` |
//!
//! The tree is the city's folder's, read once at start; the service of field reports reads the same file by itself.
//! Invariant: no organisation stands above itself.

mod file;
mod tree;

pub(crate) use self::file::check;
pub(crate) use self::tree::Place;
#[cfg(test)]
pub(crate) use self::tree::tests;
pub use self::tree::{Name, Organisation, Organisations};

//! What the wallet takes from the city's folder: banks, billers and dated rules.
//!
//! | file | read by |
//! | --- | --- |
//! | `banks.csv` | [`load_banks`] |
//! | `billers.csv` | [`load_billers`] |
//! | `rules/*.toml` | [`Rules::load`] |
//! | `procedures.csv`, `procedure-channels.csv` | [`load_procedures`] |
//! | `agencies.csv` | [`load_agencies`] |
//! | `sanitation-fees.csv` | [`check_city`] only |
//!
//! Touches only those files, and only at start and in [`check_city`].
//! Amounts are whole minor units of the city's currency (VND has no minor unit, so đồng).
//! Invariant: [`load_banks`], [`load_billers`] and [`Rules::load`] refuse everything that [`check_city`] reports of their files.

mod agency;
mod bank;
mod biller;
mod fee;
mod rules;
#[cfg(test)]
mod tests;

use std::path::Path;

use platform::dataset::Fault;

pub use agency::{Agencies, load_agencies};
pub use bank::{Bank, Banks, load_banks};
pub use biller::{Biller, BillerKind, Billers, load_billers};
pub use fee::{Channel, Procedures, load_procedures};
pub use rules::{Alone, Ask, CoolDown, Kind, Ladder, LimitClass, Maximum, Period, Proof, Rules, Rung, TIERS, Unproved};

/// Every fault of the wallet's files in a city's folder, with file and line.
pub fn check_city(dir: &Path) -> Vec<Fault> {
    let mut faults = bank::read(dir).1;
    faults.extend(biller::read(dir).1);
    faults.extend(rules::read(dir).1);
    faults.extend(fee::check(dir));
    faults.sort();
    faults
}

//! Banks and wallets that take part in VietQR, from `banks.csv`.
//!
//! Invariant: among current banks a BIN and a code stand once; a former name shares the BIN of its successor.

use std::collections::HashMap;
use std::path::Path;

use platform::dataset::{Fault, Faults, read_csv_faults};
use serde::Deserialize;

const FILE: &str = "banks.csv";
const BIN_DIGITS: usize = 6;

/// One bank or wallet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bank {
    /// Bank identification number, six digits; a bank outside VietQR has none.
    pub bin: Option<String>,
    /// Short code in upper case, such as `VCB`.
    pub code: String,
    /// The name that people use.
    pub short_name: String,
    /// The full name in Vietnamese.
    pub name: String,
    /// Whether an account can be credited by scanning a VietQR code.
    pub receives: bool,
    /// Whether the bank has taken another name since.
    pub former: bool,
}

/// All banks of the city's folder.
#[derive(Clone, Debug, Default)]
pub struct Banks {
    all: Vec<Bank>,
    by_bin: HashMap<String, usize>,
    by_code: HashMap<String, usize>,
}

impl Banks {
    /// Every bank in the order of the file, former names included.
    pub fn iter(&self) -> impl Iterator<Item = &Bank> {
        self.all.iter()
    }

    /// The bank that bears this BIN today.
    pub fn by_bin(&self, bin: &str) -> Option<&Bank> {
        self.by_bin.get(bin).map(|index| &self.all[*index])
    }

    /// The bank that bears this code today.
    pub fn by_code(&self, code: &str) -> Option<&Bank> {
        self.by_code.get(code).map(|index| &self.all[*index])
    }

    fn new(all: Vec<Bank>) -> Self {
        let mut banks = Self { all, ..Self::default() };
        for (index, bank) in banks.all.iter().enumerate().filter(|(_, bank)| !bank.former) {
            banks.by_code.insert(bank.code.clone(), index);
            if let Some(bin) = &bank.bin {
                banks.by_bin.insert(bin.clone(), index);
            }
        }
        banks
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    bin: Option<String>,
    code: String,
    short_name: String,
    name: String,
    swift: Option<String>,
    vietqr: VietQr,
    account_lookup: Answer,
    status: Status,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum VietQr {
    SendAndReceive,
    ReceiveOnly,
    None,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Answer {
    Yes,
    No,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Status {
    Current,
    Former,
}

/// Reads the banks of a city's folder.
pub fn load_banks(dir: &Path) -> Result<Banks, Faults> {
    let (banks, faults) = read(dir);
    if faults.is_empty() { Ok(banks) } else { Err(Faults(faults)) }
}

pub(super) fn read(dir: &Path) -> (Banks, Vec<Fault>) {
    let path = dir.join(FILE);
    let (rows, mut faults) = read_csv_faults::<Row>(&path);
    let (mut bins, mut codes) = (HashMap::new(), HashMap::new());
    for (line, row) in &rows {
        faults.extend(row.faults().into_iter().map(|message| Fault::new(&path, *line, message)));
        if row.status == Status::Former {
            continue;
        }
        if let Some(first) = codes.insert(row.code.as_str(), *line) {
            let message = format!("code {} stands on line {first} already", row.code);
            faults.push(Fault::new(&path, *line, message));
        }
        if let Some(bin) = &row.bin
            && let Some(first) = bins.insert(bin.as_str(), *line)
        {
            let message = format!("BIN {bin} stands on line {first} already");
            faults.push(Fault::new(&path, *line, message));
        }
    }
    for (line, row) in rows.iter().filter(|(_, row)| row.status == Status::Former) {
        let bin = row.bin.as_deref().unwrap_or_default();
        if !bins.contains_key(bin) {
            faults.push(Fault::new(&path, *line, "a former name has no current bank with its BIN"));
        }
    }
    if rows.is_empty() && faults.is_empty() {
        faults.push(Fault::new(&path, 0, "holds no bank"));
    }
    let banks = rows.into_iter().map(|(_, row)| row.into_bank()).collect();
    (Banks::new(banks), faults)
}

impl Row {
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        match &self.bin {
            Some(bin) if bin.len() != BIN_DIGITS || !bin.bytes().all(|b| b.is_ascii_digit()) => {
                faults.push(format!("BIN {bin:?} is not {BIN_DIGITS} digits"));
            }
            None if self.vietqr != VietQr::None => {
                faults.push("a bank that takes part in VietQR has no BIN".to_owned());
            }
            _ => {}
        }
        let good = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit();
        if self.code.is_empty() || !self.code.bytes().all(good) {
            faults.push(format!("code {:?} is not upper-case letters and digits", self.code));
        }
        if self.short_name.is_empty() || self.name.is_empty() {
            faults.push("a name is missing".to_owned());
        }
        if let Some(swift) = &self.swift
            && !matches!(swift.len(), 8 | 11)
        {
            faults.push(format!("SWIFT code {swift:?} has neither 8 nor 11 characters"));
        }
        if self.account_lookup == Answer::Yes && self.vietqr == VietQr::None {
            faults.push("a bank outside VietQR offers no account look-up".to_owned());
        }
        faults
    }

    fn into_bank(self) -> Bank {
        Bank {
            bin: self.bin,
            code: self.code,
            short_name: self.short_name,
            name: self.name,
            receives: self.vietqr != VietQr::None,
            former: self.status == Status::Former,
        }
    }
}

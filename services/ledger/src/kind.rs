//! The small registries of account and transfer kinds: a code has one name.
//!
//! Kinds are constants of the caller's program. A kind is written to the database in the first batch that uses it, sealed by that batch's block.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::request::{Action, Invalid, Request};
use crate::session::Bug;

/// The most characters of a kind's name.
const MAX_NAME: usize = 40;

/// The names of kinds as this process knows them.
#[derive(Debug, Default)]
pub(crate) struct Kinds {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    accounts: Names,
    transfers: Names,
}

type Names = HashMap<i16, Arc<str>>;

impl Kinds {
    /// Whether every kind in a request has the name that it had before, and a plain one.
    pub(crate) fn check<R>(&self, request: &Request<R>) -> Result<(), Invalid> {
        let mut known = self.known();
        for spec in &request.open {
            check(&mut known.accounts, spec.kind.code, spec.kind.name)?;
        }
        for (code, name) in request.actions.iter().filter_map(transfer_kind) {
            check(&mut known.transfers, code, name)?;
        }
        Ok(())
    }

    /// The name of an account's kind.
    pub(crate) fn account_name(&self, code: i16) -> Arc<str> {
        name(&self.known().accounts, code)
    }

    /// The name of a transfer's kind.
    pub(crate) fn transfer_name(&self, code: i16) -> Arc<str> {
        name(&self.known().transfers, code)
    }

    /// Takes over the names that the database has.
    pub(crate) fn learn(&self, accounts: &HashMap<i16, String>, transfers: &HashMap<i16, String>) -> Result<(), Bug> {
        let mut known = self.known();
        learn(&mut known.accounts, accounts)?;
        learn(&mut known.transfers, transfers)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn name(names: &Names, code: i16) -> Arc<str> {
    names.get(&code).map_or_else(|| "unknown".into(), Clone::clone)
}

fn learn(names: &mut Names, stored: &HashMap<i16, String>) -> Result<(), Bug> {
    for (code, stored) in stored {
        let name = names.entry(*code).or_insert_with(|| stored.as_str().into());
        if **name != **stored {
            return Err(Bug::Kind { code: *code, name: name.to_string(), stored: stored.clone() });
        }
    }
    Ok(())
}

fn check(names: &mut Names, code: i16, name: &'static str) -> Result<(), Invalid> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    match names.entry(code) {
        Entry::Occupied(known) if **known.get() == *name => Ok(()),
        Entry::Occupied(_) => Err(Invalid::Kind),
        Entry::Vacant(_) if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(plain) => Err(Invalid::Kind),
        Entry::Vacant(vacant) => {
            vacant.insert(name.into());
            Ok(())
        }
    }
}

/// The kind that an action names.
pub(crate) fn transfer_kind(action: &Action) -> Option<(i16, &'static str)> {
    match action {
        Action::Transfer(posting) => Some((posting.kind.code, posting.kind.name)),
        Action::Hold(hold) => Some((hold.kind.code, hold.kind.name)),
        _ => None,
    }
}

//! The small registries of account and transfer kinds: a code has one name, and a transfer's kind one class of spending or none.
//!
//! Kinds are constants of the caller's program. A kind is written to the database in the first batch that uses it, sealed by that batch's block.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::limit::Class;
use crate::request::{Action, Invalid, Request};
use crate::session::Bug;
use crate::transfer::TransferKind;

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

type Names = HashMap<i16, Name>;

/// What a code stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) name: Arc<str>,
    /// What transfers of the kind count for; accounts have none.
    pub(crate) class: Option<Class>,
}

impl Kinds {
    /// Whether every kind in a request has the name that it had before, and a plain one.
    pub(crate) fn check<R>(&self, request: &Request<R>) -> Result<(), Invalid> {
        let mut known = self.known();
        for spec in &request.open {
            check(&mut known.accounts, spec.kind.code, spec.kind.name, None)?;
        }
        for kind in request.actions.iter().filter_map(transfer_kind) {
            check(&mut known.transfers, kind.code, kind.name, kind.class)?;
        }
        Ok(())
    }

    /// The name of an account's kind.
    pub(crate) fn account_name(&self, code: i16) -> Arc<str> {
        name(&self.known().accounts, code).name
    }

    /// The name of a transfer's kind.
    pub(crate) fn transfer_name(&self, code: i16) -> Arc<str> {
        self.transfer_kind(code).name
    }

    /// The name of a transfer's kind, and what it counts for.
    pub(crate) fn transfer_kind(&self, code: i16) -> Name {
        name(&self.known().transfers, code)
    }

    /// Takes over the names that the database has.
    pub(crate) fn learn(&self, accounts: &Stored, transfers: &Stored) -> Result<(), Bug> {
        let mut known = self.known();
        learn(&mut known.accounts, accounts)?;
        learn(&mut known.transfers, transfers)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn name(names: &Names, code: i16) -> Name {
    names.get(&code).map_or_else(|| Name { name: "unknown".into(), class: None }, Clone::clone)
}

/// The names and classes that the database has, by code.
pub(crate) type Stored = HashMap<i16, (String, Option<i16>)>;

fn learn(names: &mut Names, stored: &Stored) -> Result<(), Bug> {
    for (code, (stored, class)) in stored {
        let known = class.and_then(Class::from_code);
        let name = names.entry(*code).or_insert_with(|| Name { name: stored.as_str().into(), class: known });
        if *name.name != **stored || name.class.map(Class::code) != *class {
            return Err(Bug::Kind { code: *code, name: name.name.to_string(), stored: stored.clone() });
        }
    }
    Ok(())
}

fn check(names: &mut Names, code: i16, name: &'static str, class: Option<Class>) -> Result<(), Invalid> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    match names.entry(code) {
        Entry::Occupied(known) if *known.get().name == *name && known.get().class == class => Ok(()),
        Entry::Occupied(_) => Err(Invalid::Kind),
        Entry::Vacant(_) if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(plain) => Err(Invalid::Kind),
        Entry::Vacant(vacant) => {
            vacant.insert(Name { name: name.into(), class });
            Ok(())
        }
    }
}

/// The kind that an action names.
pub(crate) fn transfer_kind(action: &Action) -> Option<TransferKind> {
    match action {
        Action::Transfer(posting) => Some(posting.kind),
        Action::Hold(hold) => Some(hold.kind),
        Action::Refund(refund) => Some(refund.kind),
        _ => None,
    }
}

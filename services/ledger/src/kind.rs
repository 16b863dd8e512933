//! The small registries of account and transfer kinds: a code has one name.
//!
//! Kinds are constants of the caller's program. A kind is written to the database in the first batch that uses it, sealed by that batch's block.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sqlx::PgConnection;

use crate::batch::{Bug, Failure};
use crate::fold::{Effects, State};
use crate::request::{Action, Invalid, Request};
use crate::sql;

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

#[derive(Debug)]
struct Name {
    name: Arc<str>,
    /// Whether the database has it.
    recorded: bool,
}

/// Kinds whose names a batch writes, by code.
#[derive(Debug, Default)]
pub(crate) struct NewKinds {
    pub(crate) accounts: Vec<(i16, Arc<str>)>,
    pub(crate) transfers: Vec<(i16, Arc<str>)>,
}

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

    /// The name of a transfer's kind, for metrics.
    pub(crate) fn transfer_name(&self, code: i16) -> Arc<str> {
        let known = self.known();
        known.transfers.get(&code).map_or_else(|| "unknown".into(), |name| name.name.clone())
    }

    /// The kinds that a batch uses and the database has no name for. Asks the database only about kinds that are new to this process.
    pub(crate) async fn missing(
        &self,
        tx: &mut PgConnection,
        shard: i16,
        state: &State,
        effects: &Effects,
    ) -> Result<NewKinds, Failure> {
        let accounts: BTreeSet<i16> = effects.opened.iter().map(|id| state.accounts[id].kind).collect();
        let held = effects.holds_opened.iter().map(|id| state.holds[id].kind);
        let transfers: BTreeSet<i16> = effects.transfers.iter().map(|transfer| transfer.kind).chain(held).collect();
        let all_recorded = {
            let known = self.known();
            recorded(&known.accounts, &accounts) && recorded(&known.transfers, &transfers)
        };
        if all_recorded {
            return Ok(NewKinds::default());
        }
        let (stored_accounts, stored_transfers) = sql::batch::kinds(tx, shard).await?;
        let mut known = self.known();
        Ok(NewKinds {
            accounts: learn(&mut known.accounts, stored_accounts, &accounts)?,
            transfers: learn(&mut known.transfers, stored_transfers, &transfers)?,
        })
    }

    /// Says that a batch with these kinds was committed.
    pub(crate) fn recorded(&self, kinds: &NewKinds) {
        let mut known = self.known();
        for (code, _) in &kinds.accounts {
            known.accounts.entry(*code).and_modify(|name| name.recorded = true);
        }
        for (code, _) in &kinds.transfers {
            known.transfers.entry(*code).and_modify(|name| name.recorded = true);
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn recorded(names: &Names, codes: &BTreeSet<i16>) -> bool {
    codes.iter().all(|code| names.get(code).is_some_and(|name| name.recorded))
}

/// Takes over the stored names; gives those of `codes` that are not stored.
fn learn(
    names: &mut Names,
    stored: HashMap<i16, String>,
    codes: &BTreeSet<i16>,
) -> Result<Vec<(i16, Arc<str>)>, Failure> {
    for (code, stored) in stored {
        let name = names.entry(code).or_insert_with(|| Name { name: stored.as_str().into(), recorded: true });
        if *name.name != *stored {
            return Err(Failure::Fault(Arc::new(Bug::Kind { code, name: name.name.to_string(), stored })));
        }
        name.recorded = true;
    }
    let missing =
        codes.iter().filter_map(|code| names.get(code).filter(|name| !name.recorded).map(|name| (*code, name)));
    Ok(missing.map(|(code, name)| (code, name.name.clone())).collect())
}

fn check(names: &mut Names, code: i16, name: &'static str) -> Result<(), Invalid> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    match names.entry(code) {
        Entry::Occupied(known) if *known.get().name == *name => Ok(()),
        Entry::Occupied(_) => Err(Invalid::Kind),
        Entry::Vacant(_) if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(plain) => Err(Invalid::Kind),
        Entry::Vacant(vacant) => {
            vacant.insert(Name { name: name.into(), recorded: false });
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

//! What the engine remembers of the books between two batches.
//!
//! It is a copy, good only together with the head of the shard that it belongs to: `ledger.post_batch` refuses a batch that was decided on anything else.
//! Whatever goes wrong, it is thrown away and read again.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use uuid::Uuid;

use crate::account::AccountId;
use crate::fold::{Entry, Map, Set, State};
use crate::hold::HoldId;
use crate::kind::Name as KindName;
use crate::request::Action;
use crate::sql::row::Head;
use crate::transfer::{RequestKey, TransferId};

/// The most keys whose answers are remembered, oldest forgotten first; more than two batches can have.
const MAX_KEYS: usize = 32_768;

/// A copy of a part of the books, as they are after one block.
#[derive(Default)]
pub(crate) struct Memory {
    /// The head that the copy belongs to; `None` when nothing is known.
    pub(crate) head: Option<Head>,
    pub(crate) state: State,
    absent_accounts: Set<AccountId>,
    absent_holds: Set<HoldId>,
    account_kinds: Map<i16, Standing>,
    transfer_kinds: Map<i16, Standing>,
    keys: VecDeque<RequestKey>,
}

/// Whether the database has a kind's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Recorded,
    Absent,
    /// A batch that is being written records it.
    Writing,
}

/// What requests name and the memory has not.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) accounts: Vec<Uuid>,
    pub(crate) holds: Vec<Uuid>,
    pub(crate) transfers: Vec<Uuid>,
    pub(crate) keys: Vec<Uuid>,
    pub(crate) kinds: bool,
}

/// Whether the past of keys that are not remembered is read before requests are decided.
/// Else the unique index finds out, which is faster as long as hardly any request comes twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Past {
    Read,
    LeftToIndex,
}

/// Kinds whose names a batch writes, by code.
#[derive(Debug, Default)]
pub(crate) struct NewKinds {
    pub(crate) accounts: Vec<(i16, Arc<str>)>,
    pub(crate) transfers: Vec<(i16, KindName)>,
}

impl NewKinds {
    pub(crate) fn is_empty(&self) -> bool {
        self.accounts.is_empty() && self.transfers.is_empty()
    }
}

impl Memory {
    /// Forgets everything that may have changed. Names of kinds never do.
    pub(crate) fn forget(&mut self) {
        let recorded = |standing: &mut Standing| *standing == Standing::Recorded;
        self.account_kinds.retain(|_, standing| recorded(standing));
        self.transfer_kinds.retain(|_, standing| recorded(standing));
        self.head = None;
        self.state = State::default();
        self.absent_accounts.clear();
        self.absent_holds.clear();
        self.keys.clear();
    }

    /// Whether more is remembered than `most` accounts, holds or payments.
    pub(crate) fn is_over(&self, most: usize) -> bool {
        let state = &self.state;
        let accounts = state.accounts.len() + self.absent_accounts.len();
        let holds = state.holds.len() + self.absent_holds.len();
        accounts.max(holds).max(state.paid.len()) > most
    }

    /// Forgets the oldest keys when there are too many.
    pub(crate) fn trim_keys(&mut self) {
        while self.keys.len() > MAX_KEYS {
            if let Some(key) = self.keys.pop_front() {
                self.state.remembered.remove(&key);
            }
        }
    }

    /// Notes that a request was decided on this memory.
    pub(crate) fn decided(&mut self, key: RequestKey) {
        self.keys.push_back(key);
    }

    /// Takes the head for the one that a batch under way will leave.
    pub(crate) fn advance(&mut self, head: Head) {
        self.head = Some(head);
    }

    /// Whether everything that a request names is here.
    pub(crate) fn has(&self, entry: &Entry<'_>, past: Past) -> bool {
        let mut all = past == Past::LeftToIndex || self.state.remembered.contains_key(&entry.key);
        each_name(entry, |name| all = all && self.has_name(&name));
        all
    }

    /// What requests name that is not here; holds' parties are not known before the holds are.
    pub(crate) fn wanted(&self, entries: &[Entry<'_>], past: Past) -> Wanted {
        let (mut wanted, mut accounts, mut holds) = (Wanted::default(), BTreeSet::new(), BTreeSet::new());
        let mut transfers = BTreeSet::new();
        for entry in entries {
            if past == Past::Read && !self.state.remembered.contains_key(&entry.key) {
                wanted.keys.push(entry.key.0);
            }
            each_name(entry, |name| {
                if !self.has_name(&name) {
                    match name {
                        Name::Account(id) => drop(accounts.insert(id.uuid())),
                        Name::Hold(id) => drop(holds.insert(id.uuid())),
                        Name::Transfer(id) => drop(transfers.insert(id.uuid())),
                        Name::AccountKind(_) | Name::TransferKind(_) => wanted.kinds = true,
                    }
                }
            });
        }
        wanted.accounts.extend(accounts);
        wanted.holds.extend(holds);
        wanted.transfers.extend(transfers);
        wanted
    }

    fn has_name(&self, name: &Name) -> bool {
        match name {
            Name::Account(id) => self.state.accounts.contains_key(id) || self.absent_accounts.contains(id),
            Name::Hold(id) => self.state.holds.contains_key(id) || self.absent_holds.contains(id),
            Name::Transfer(id) => self.state.paid.contains_key(id),
            Name::AccountKind(code) => self.account_kinds.contains_key(code),
            Name::TransferKind(code) => self.transfer_kinds.contains_key(code),
        }
    }

    /// Whether an account is here or known to be absent.
    pub(crate) fn has_account(&self, id: AccountId) -> bool {
        self.has_name(&Name::Account(id))
    }

    /// Notes that what was looked for and not found is not there.
    pub(crate) fn note_absent(&mut self, accounts: &[Uuid], holds: &[Uuid]) {
        let accounts = accounts.iter().map(|id| AccountId::from(*id));
        self.absent_accounts.extend(accounts.filter(|id| !self.state.accounts.contains_key(id)));
        let holds = holds.iter().map(|id| HoldId::from(*id));
        self.absent_holds.extend(holds.filter(|id| !self.state.holds.contains_key(id)));
    }

    /// Notes which kinds the database has a name for; of those that requests name, the others are absent.
    pub(crate) fn note_kinds(
        &mut self,
        accounts: impl Iterator<Item = i16>,
        transfers: impl Iterator<Item = i16>,
        entries: &[Entry<'_>],
    ) {
        self.account_kinds.extend(accounts.map(|code| (code, Standing::Recorded)));
        self.transfer_kinds.extend(transfers.map(|code| (code, Standing::Recorded)));
        for entry in entries {
            each_name(entry, |name| match name {
                Name::AccountKind(code) => drop(self.account_kinds.entry(code).or_insert(Standing::Absent)),
                Name::TransferKind(code) => drop(self.transfer_kinds.entry(code).or_insert(Standing::Absent)),
                Name::Account(_) | Name::Hold(_) | Name::Transfer(_) => {}
            });
        }
    }

    /// Those of the kinds that a batch uses whose names it must write; from now on it is writing them.
    pub(crate) fn write_kinds(&mut self, accounts: BTreeSet<i16>, transfers: BTreeSet<i16>) -> (Vec<i16>, Vec<i16>) {
        (begin_writing(&mut self.account_kinds, accounts), begin_writing(&mut self.transfer_kinds, transfers))
    }

    /// Notes that a batch which wrote these kinds was committed.
    pub(crate) fn recorded(&mut self, kinds: &NewKinds) {
        self.account_kinds.extend(kinds.accounts.iter().map(|(code, _)| (*code, Standing::Recorded)));
        self.transfer_kinds.extend(kinds.transfers.iter().map(|(code, _)| (*code, Standing::Recorded)));
    }
}

fn begin_writing(kinds: &mut Map<i16, Standing>, used: BTreeSet<i16>) -> Vec<i16> {
    let new = used.into_iter().filter(|code| kinds.get(code) == Some(&Standing::Absent)).collect::<Vec<_>>();
    for code in &new {
        kinds.insert(*code, Standing::Writing);
    }
    new
}

/// Something that a request names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Name {
    Account(AccountId),
    Hold(HoldId),
    /// One that is to be refunded. That it is absent is not remembered, since it may be made at any time.
    Transfer(TransferId),
    AccountKind(i16),
    TransferKind(i16),
}

fn each_name(entry: &Entry<'_>, mut name: impl FnMut(Name)) {
    for spec in entry.open {
        name(Name::Account(spec.id));
        name(Name::AccountKind(spec.kind.code));
    }
    for action in entry.actions {
        match action {
            Action::Transfer(posting) => {
                name(Name::Account(posting.debit));
                name(Name::Account(posting.credit));
                name(Name::TransferKind(posting.kind.code));
            }
            Action::Hold(spec) => {
                name(Name::Hold(spec.id));
                name(Name::Account(spec.debit));
                name(Name::Account(spec.credit));
                name(Name::TransferKind(spec.kind.code));
            }
            Action::Post(posting) => name(Name::Hold(posting.hold)),
            Action::Void(id) | Action::Confirm(id) | Action::Expire(id) => name(Name::Hold(*id)),
            Action::Refund(refund) => {
                name(Name::Transfer(refund.of));
                name(Name::TransferKind(refund.kind.code));
            }
            Action::Freeze(id, _) | Action::Close(id) => name(Name::Account(*id)),
        }
    }
}

//! One decided batch: the rows that it writes, sealed in a block.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use foldhash::fast::RandomState;
use uuid::Uuid;

use crate::account::{Account, AccountId};
use crate::block::{BalanceHash, Block, Hash, Nonce, Record, Tree, transfer_leaf};
use crate::engine::Job;
use crate::fold::{Effects, Entry, Fold, Map, State, Verdict};
use crate::hold::{Hold, Stamp};
use crate::journal::CHANNEL;
use crate::kind::Kinds;
use crate::memory::{Memory, NewKinds};
use crate::request::Outcome;
use crate::rider::{Refusal, Ride};
use crate::session::Bug;
use crate::sql::row::Head;
use crate::sql::write::{self, AccountColumns, Call, Changed};

/// What the clock of this machine said when a batch was stamped, and how far ahead of the database's it may be.
///
/// It is not the stamp itself: tests move the city's time by days, and the machine's stays right.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MachineTime {
    pub(crate) at: DateTime<Utc>,
    pub(crate) ahead_ms: i64,
}

/// A batch in the making: what was decided, with its transfers hashed as they come.
pub(crate) struct Making {
    /// The head that it is decided on.
    on: Head,
    fold: Fold,
    machine: MachineTime,
    transfers: Tree,
    balances: BalanceHash,
    /// What makes the block's hash of balances impossible to guess.
    salt: Uuid,
}

impl Making {
    /// A batch on the books of `on`, stamped when the machine's clock said `machine`.
    pub(crate) fn new(on: Head, fold: Fold, machine: MachineTime) -> Self {
        let salt = Uuid::new_v4();
        Self { on, fold, machine, transfers: Tree::default(), balances: BalanceHash::new(salt), salt }
    }

    /// Decides one request.
    pub(crate) fn decide(&mut self, state: &mut State, entry: &Entry<'_>) {
        self.fold.decide(state, entry);
        let hashed = usize::try_from(self.transfers.leaves()).expect("a batch is small");
        for transfer in &self.fold.effects().transfers[hashed..] {
            self.transfers.push(transfer_leaf(transfer, Nonce::of(self.salt, transfer.sequence)));
            self.balances.push(transfer);
        }
    }

    /// What was decided.
    pub(crate) fn effects(&self) -> &Effects {
        self.fold.effects()
    }

    /// The verdicts of a batch in which there is nothing to write.
    pub(crate) fn into_effects(self) -> Effects {
        self.fold.finish()
    }
}

/// A batch that is ready to be written. It owns everything, so that the next one is decided meanwhile.
pub(crate) struct Sealed {
    pub(crate) block: Block,
    /// Writes the block with its transfers and what they left on accounts. It is made once.
    call: Option<Call>,
    pub(crate) effects: Effects,
    pub(crate) kinds: NewKinds,
    pub(crate) opened: Vec<Account>,
    /// New holds.
    pub(crate) held: Vec<Hold>,
    /// Holds, new or not, that took a step after their opening.
    pub(crate) moved: Vec<Hold>,
}

impl Sealed {
    /// Seals what was decided on `memory`, whose head becomes that of the new block.
    ///
    /// # Errors
    /// When the transfers don't follow one from the other to what their accounts came to: the memory can't be trusted. When they can't be encoded.
    pub(crate) fn new(memory: &mut Memory, kinds: &Kinds, making: Making) -> Result<Self, Bug> {
        let Making { on, fold, machine, transfers, balances, salt } = making;
        let (stamp, effects) = (fold.stamp(), fold.finish());
        follow(&memory.state, &effects)?;
        let kinds = new_kinds(memory, kinds, &effects);
        let state = &memory.state;
        let held: Vec<Hold> = effects.holds_opened.iter().map(|id| state.holds[id].clone()).collect();
        let stepped = held.iter().filter(|hold| hold.confirming.is_some() || hold.ended.is_some()).cloned();
        let moved: Vec<Hold> = effects.holds_moved.iter().map(|id| state.holds[id].clone()).chain(stepped).collect();
        let opened: Vec<Account> = effects.opened.iter().map(|id| state.accounts[id].clone()).collect();
        // In order of ids, so that neighbours in the index are changed one after the other.
        let mut ids = effects.touched.clone();
        ids.sort_unstable();
        let only_money =
            effects.holds_opened.is_empty() && effects.holds_moved.is_empty() && effects.changes.is_empty();
        let changed = if only_money { Changed::Balances } else { Changed::Everything };
        let touched = AccountColumns::of(ids.iter().map(|id| &state.accounts[id]), changed);
        let rows = Rows { salt, kinds: &kinds, opened: &opened, held: &held, moved: &moved, effects: &effects, stamp };
        let block = rows.block(state, &on, &transfers, balances.finish());
        let hash = block.hash();
        memory.advance(Head { sequence: block.last_sequence(), block: block.number, posted_at: block.posted_at, hash });
        let head = write::Head { on: &on, machine, block: &block, hash, salt };
        let call = Some(Call::new(&head, &touched, &effects, CHANNEL).map_err(Bug::Encode)?);
        Ok(Self { block, call, kinds, opened, held, moved, effects })
    }

    /// The call that writes it.
    ///
    /// # Errors
    /// When it was taken before: what is put again is decided and sealed again.
    pub(crate) fn take_call(&mut self) -> Result<Call, Bug> {
        self.call.take().ok_or(Bug::Written)
    }

    /// Whether it only moves money between accounts that are there.
    pub(crate) fn is_plain(&self) -> bool {
        self.kinds.is_empty()
            && self.opened.is_empty()
            && self.held.is_empty()
            && self.moved.is_empty()
            && self.effects.changes.is_empty()
            && self.effects.refunds.is_empty()
            && self.effects.requests.is_empty()
    }
}

/// Follows each account through the batch once more: each transfer must go on where the one before it on that account ended,
/// and the last must leave what the account came to.
fn follow(state: &State, effects: &Effects) -> Result<(), Bug> {
    let most = effects.touched.len() + effects.opened.len();
    let mut seen: Map<AccountId, (i64, i64)> = Map::with_capacity_and_hasher(most, RandomState::default());
    for transfer in &effects.transfers {
        let debit = (transfer.debit, -transfer.amount, transfer.debit_balance, transfer.debit_previous);
        let credit = (transfer.credit, transfer.amount, transfer.credit_balance, transfer.credit_previous);
        for (account, amount, balance, previous) in [debit, credit] {
            let before = seen.insert(account, (balance, transfer.sequence));
            if before.is_some_and(|before| before != (balance - amount, previous)) {
                return Err(Bug::Chain);
            }
        }
    }
    let ends = |(id, end): (&AccountId, &(i64, i64))| {
        state.accounts.get(id).is_some_and(|account| (account.posted, account.sequence) == *end)
    };
    if seen.iter().all(ends) { Ok(()) } else { Err(Bug::Chain) }
}

/// The names that a batch must write of the kinds that it uses.
fn new_kinds(memory: &mut Memory, kinds: &Kinds, effects: &Effects) -> NewKinds {
    let state: &State = &memory.state;
    let accounts: BTreeSet<i16> = effects.opened.iter().map(|id| state.accounts[id].kind).collect();
    let held = effects.holds_opened.iter().map(|id| state.holds[id].kind);
    let transfers: BTreeSet<i16> = effects.transfers.iter().map(|transfer| transfer.kind).chain(held).collect();
    let (accounts, transfers) = memory.write_kinds(accounts, transfers);
    NewKinds {
        accounts: accounts.into_iter().map(|code| (code, kinds.account_name(code))).collect(),
        transfers: transfers.into_iter().map(|code| (code, kinds.transfer_kind(code))).collect(),
    }
}

struct Rows<'a> {
    salt: Uuid,
    kinds: &'a NewKinds,
    opened: &'a [Account],
    held: &'a [Hold],
    moved: &'a [Hold],
    effects: &'a Effects,
    stamp: Stamp,
}

impl Rows<'_> {
    fn block(&self, state: &State, on: &Head, transfers: &Tree, balance_hash: Hash) -> Block {
        let records: Tree = self.records().iter().map(|record| record.leaf(state.shard, self.stamp.block)).collect();
        let count = |tree: &Tree| i32::try_from(tree.leaves()).expect("a batch is small");
        Block {
            shard: state.shard,
            number: self.stamp.block,
            first_sequence: on.sequence + 1,
            transfers: count(transfers),
            // Without the salt.
            records: count(&records) - 1,
            posted_at: self.stamp.at,
            transfer_root: transfers.root(),
            record_root: records.root(),
            balance_hash,
            previous_hash: on.hash,
        }
    }

    /// Everything but transfers, in the order of [`Record`].
    fn records(&self) -> Vec<Record<'_>> {
        let mut opened: Vec<&Account> = self.opened.iter().collect();
        opened.sort_unstable_by_key(|account| account.id);
        let mut held: Vec<&Hold> = self.held.iter().collect();
        held.sort_unstable_by_key(|hold| hold.id);
        let mut moved: Vec<&Hold> = self.moved.iter().collect();
        moved.sort_unstable_by_key(|hold| hold.id);
        let mut requests: Vec<_> = self.effects.requests.iter().collect();
        requests.sort_unstable_by_key(|request| request.key);
        let now = |stamp: Option<Stamp>| stamp.is_some_and(|stamp| stamp.block == self.stamp.block);
        let confirming = moved.iter().copied().filter(|hold| now(hold.confirming));
        let ended = moved.iter().copied().filter(|hold| now(hold.ended.map(|(_, stamp)| stamp)));
        let mut records: Vec<Record<'_>> = vec![Record::Salt(self.salt)];
        records.extend(self.kinds.accounts.iter().map(|(code, name)| Record::AccountKind(*code, name)));
        records.extend(
            self.kinds.transfers.iter().map(|(code, kind)| Record::TransferKind(*code, &kind.name, kind.class)),
        );
        records.extend(opened.into_iter().map(Record::AccountOpened));
        records
            .extend((1..).zip(&self.effects.changes).map(|(ordinal, change)| Record::AccountChanged(ordinal, change)));
        records.extend(held.into_iter().map(Record::HoldOpened));
        records.extend(confirming.map(Record::HoldConfirming));
        records.extend(ended.map(Record::HoldEnded));
        records.extend(self.effects.refunds.iter().map(Record::Refund));
        records.extend(requests.into_iter().map(Record::Request));
        records
    }
}

/// The riders of the requests that were decided by these effects.
pub(crate) fn riders_of<'a, R>(jobs: &'a [Job<R>], effects: &'a Effects) -> (Vec<Ride<'a, R>>, Vec<Refusal<'a, R>>) {
    let (mut rides, mut refusals) = (Vec::new(), Vec::new());
    for (job, verdict) in jobs.iter().zip(&effects.verdicts) {
        let Some(rider) = &job.request.rider else { continue };
        match verdict {
            Verdict::Fresh(Outcome::Posted(posted)) => rides.push(Ride { rider, posted }),
            Verdict::Fresh(Outcome::Rejected(reject)) if job.remembers(*reject) => {
                refusals.push(Refusal { rider, reject: *reject });
            }
            Verdict::Fresh(_) | Verdict::Replayed(_) | Verdict::Conflict => {}
        }
    }
    (rides, refusals)
}

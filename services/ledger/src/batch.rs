//! One batch, one transaction: lock → read → fold → write → riders → commit.
//!
//! | round trip | statement |
//! | --- | --- |
//! | 1 | `BEGIN` and the lock of the shard's row |
//! | 2 | head of the shard, accounts |
//! | 3 | past outcomes of the keys, transfer ids that exist |
//! | (4) | only where needed: holds before accounts; kinds; new accounts, holds, requests without transfers, changes |
//! | 5 | balances, transfers, block, head, notification in one statement |
//! | (6) | riders |
//! | 7 | `COMMIT` |

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use chrono::SubsecRound as _;
use platform::clock::Clock;
use sqlx::pool::PoolConnection;
use sqlx::{Connection as _, PgConnection, PgPool, Postgres};
use uuid::Uuid;

use crate::account::Account;
use crate::block::{Block, Record, Tree, transfer_leaf};
use crate::engine::Job;
use crate::fold::{self, Effects, Entry, State, Verdict};
use crate::hold::{Hold, Stamp};
use crate::journal;
use crate::kind::{Kinds, NewKinds};
use crate::meter::Meter;
use crate::request::{Action, Outcome};
use crate::rider::{Refusal, Ride, RiderError, Riders};
use crate::sql::{batch, row::Head, write};

/// Why a batch was not put.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The program or its data is at fault; another attempt fails as well. Nothing was committed.
    Fault(Arc<dyn std::error::Error + Send + Sync>),
    /// The database can't be reached or is busy. Nothing was committed.
    Passing(Arc<sqlx::Error>),
    /// The answer to COMMIT was lost. What it would have done, if it was the first to get that far.
    Unknown { source: Arc<sqlx::Error>, effects: Option<Box<Effects>> },
}

impl Failure {
    fn of(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed | sqlx::Error::BeginFailed => {
                Self::Passing(Arc::new(error))
            }
            _ if platform::db::is_passing(&error) => Self::Passing(Arc::new(error)),
            _ => Self::Fault(Arc::new(error)),
        }
    }

    fn of_commit(error: sqlx::Error, effects: Effects) -> Self {
        // The server says itself that it rolled back only with these classes; anything else leaves it open.
        let refused = error
            .as_database_error()
            .and_then(|error| error.code())
            .is_some_and(|code| code.starts_with("23") || code.starts_with("40"));
        if refused {
            Self::of(error)
        } else {
            Self::Unknown { source: Arc::new(error), effects: Some(Box::new(effects)) }
        }
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::of(error)
    }
}

impl From<RiderError> for Failure {
    fn from(error: RiderError) -> Self {
        match error {
            RiderError::Database(error) => Self::of(error),
            RiderError::Other(_) => Self::Fault(Arc::new(error)),
        }
    }
}

/// Something that the program itself did wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Bug {
    #[error("{changed} rows were changed where {expected} should have been")]
    Changed { expected: usize, changed: usize },
    #[error("the fold panicked")]
    Panic,
    #[error("kind {code} has the name {stored} in the database and {name} in the program")]
    Kind { code: i16, name: String, stored: String },
}

/// The engine's connection and what it knows of the database.
pub(crate) struct Session<R, S> {
    pool: PgPool,
    clock: Clock,
    shard: i16,
    riders: S,
    kinds: Arc<Kinds>,
    meter: Arc<Meter>,
    connection: Option<PoolConnection<Postgres>>,
    riding: PhantomData<fn(R)>,
}

impl<R: Send + Sync + 'static, S: Riders<R>> Session<R, S> {
    pub(crate) fn new(pool: PgPool, clock: Clock, shard: i16, riders: S, shared: (Arc<Kinds>, Arc<Meter>)) -> Self {
        let (kinds, meter) = shared;
        Self { pool, clock, shard, riders, kinds, meter, connection: None, riding: PhantomData }
    }

    /// Puts a batch in one transaction; gives one verdict per request.
    ///
    /// After a failure the connection is dropped: what the server still does with it is over when its lock is.
    pub(crate) async fn put(&mut self, jobs: &[Job<R>], deadline: Instant) -> Result<Vec<Verdict>, Failure> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => connect(&self.pool, deadline).await?,
        };
        let put = self.put_on(&mut connection, jobs, deadline).await;
        match &put {
            Ok(_) => self.connection = Some(connection),
            Err(_) => drop(connection.detach()),
        }
        put
    }

    /// Gives the connection up.
    pub(crate) async fn close(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.detach().close().await.ok();
        }
    }

    async fn put_on(
        &self,
        connection: &mut PgConnection,
        jobs: &[Job<R>],
        deadline: Instant,
    ) -> Result<Vec<Verdict>, Failure> {
        let lock = connection.begin_with(batch::begin_and_lock(self.shard));
        let mut tx = within(deadline, lock).await?;
        let work = async { self.work(&mut tx, jobs).await };
        let (effects, kinds) = match tokio::time::timeout_at(deadline.into(), work).await {
            Ok(worked) => worked?,
            Err(_) => return Err(Failure::Passing(Arc::new(too_late()))),
        };
        let done = match tokio::time::timeout_at(deadline.into(), tx.commit()).await {
            Ok(done) => done,
            Err(_) => Err(too_late()),
        };
        if let Err(error) = done {
            return Err(Failure::of_commit(error, effects));
        }
        self.kinds.recorded(&kinds);
        self.was_committed(jobs, &effects);
        Ok(effects.verdicts)
    }

    async fn work(&self, tx: &mut PgConnection, jobs: &[Job<R>]) -> Result<(Effects, NewKinds), Failure> {
        let entries: Vec<Entry<'_>> = jobs.iter().map(Job::entry).collect();
        let (head, mut state) = self.read(tx, &Wanted::by(&entries)).await?;
        let now = self.clock.now().trunc_subsecs(6);
        let stamp = Stamp { block: head.block + 1, at: now.max(head.posted_at) };
        // A panic is a fault of one request like any other: nothing is written, and what was read is dropped.
        let decide = || fold::fold(&mut state, &entries, stamp);
        let effects = catch_unwind(AssertUnwindSafe(decide)).map_err(|_| Failure::Fault(Arc::new(Bug::Panic)))?;
        if effects.is_empty() {
            return Ok((effects, NewKinds::default()));
        }
        let kinds = self.kinds.missing(tx, self.shard, &state, &effects).await?;
        Written::of(&state, &effects, &kinds, stamp).write(tx, &head).await?;
        self.ride(tx, jobs, &effects).await?;
        Ok((effects, kinds))
    }

    /// Reads everything that the requests name. The lock is held already.
    async fn read(&self, tx: &mut PgConnection, wanted: &Wanted) -> Result<(Head, State), Failure> {
        let holds = match wanted.holds.as_slice() {
            [] => HashMap::new(),
            ids => batch::holds(tx, ids).await?,
        };
        let parties = holds.values().flat_map(|hold| [hold.debit.uuid(), hold.credit.uuid()]);
        let ids: HashSet<Uuid> = wanted.accounts.iter().copied().chain(parties).collect();
        let ids: Vec<Uuid> = ids.into_iter().collect();
        let (head, accounts) = batch::accounts(tx, self.shard, &ids).await?;
        let past = batch::past(tx, &wanted.keys, &wanted.transfers).await?;
        let state = State {
            shard: self.shard,
            sequence: head.sequence,
            accounts,
            holds,
            remembered: past.remembered,
            used: past.used,
        };
        Ok((head, state))
    }

    /// Hands over the riders of the requests that were decided now.
    async fn ride(&self, tx: &mut PgConnection, jobs: &[Job<R>], effects: &Effects) -> Result<(), Failure> {
        let (rides, refusals) = riders_of(jobs, effects);
        if !rides.is_empty() {
            self.riders.apply(tx, &rides).await?;
        }
        if !refusals.is_empty() {
            self.riders.refused(tx, &refusals).await?;
        }
        Ok(())
    }

    /// Counts what was certainly committed, once: after COMMIT, or when a lost answer to it turns out to have been yes.
    pub(crate) fn was_committed(&self, jobs: &[Job<R>], effects: &Effects) {
        self.meter.committed(effects, &self.kinds);
        let (rides, refusals) = riders_of(jobs, effects);
        self.riders.committed(&rides, &refusals);
    }
}

/// The riders of the requests that were decided by these effects.
fn riders_of<'a, R>(jobs: &'a [Job<R>], effects: &'a Effects) -> (Vec<Ride<'a, R>>, Vec<Refusal<'a, R>>) {
    let (mut rides, mut refusals) = (Vec::new(), Vec::new());
    for (job, verdict) in jobs.iter().zip(&effects.verdicts) {
        let Some(rider) = &job.request.rider else { continue };
        match verdict {
            Verdict::Fresh(Outcome::Posted(posted)) => rides.push(Ride { rider, posted }),
            Verdict::Fresh(Outcome::Rejected(reject)) => refusals.push(Refusal { rider, reject: *reject }),
            Verdict::Replayed(_) | Verdict::Conflict => {}
        }
    }
    (rides, refusals)
}

/// Takes a connection out of the pool for the engine alone. One that can't be prepared never goes back: its settings are half made.
async fn connect(pool: &PgPool, deadline: Instant) -> Result<PoolConnection<Postgres>, Failure> {
    let mut connection = within(deadline, pool.acquire()).await?;
    let prepared = within(deadline, async { sqlx::raw_sql(batch::SESSION).execute(&mut *connection).await }).await;
    match prepared {
        Ok(_) => Ok(connection),
        Err(failure) => {
            drop(connection.detach());
            Err(failure)
        }
    }
}

async fn within<T>(deadline: Instant, work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, Failure> {
    match tokio::time::timeout_at(deadline.into(), work).await {
        Ok(done) => done.map_err(Failure::of),
        Err(_) => Err(Failure::Passing(Arc::new(too_late()))),
    }
}

fn too_late() -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "the batch's time is over"))
}

/// What a batch's requests name.
#[derive(Default)]
struct Wanted {
    accounts: Vec<Uuid>,
    holds: Vec<Uuid>,
    keys: Vec<Uuid>,
    transfers: Vec<Uuid>,
}

impl Wanted {
    fn by(entries: &[Entry<'_>]) -> Self {
        let mut wanted = Self::default();
        for entry in entries {
            wanted.keys.push(entry.key.0);
            wanted.accounts.extend(entry.open.iter().map(|spec| spec.id.uuid()));
            for action in entry.actions {
                wanted.add(action);
            }
        }
        wanted
    }

    fn add(&mut self, action: &Action) {
        match action {
            Action::Transfer(posting) => {
                self.transfers.push(posting.id.uuid());
                self.accounts.extend([posting.debit.uuid(), posting.credit.uuid()]);
            }
            Action::Hold(spec) => {
                self.holds.push(spec.id.uuid());
                self.accounts.extend([spec.debit.uuid(), spec.credit.uuid()]);
            }
            Action::Post(posting) => {
                self.holds.push(posting.hold.uuid());
                self.transfers.push(posting.transfer.uuid());
            }
            Action::Void(id) | Action::Confirm(id) | Action::Expire(id) => self.holds.push(id.uuid()),
            Action::Freeze(id, _) | Action::Close(id) => self.accounts.push(id.uuid()),
        }
    }
}

/// The rows that a batch writes.
struct Written<'a> {
    effects: &'a Effects,
    kinds: &'a NewKinds,
    stamp: Stamp,
    shard: i16,
    opened: Vec<&'a Account>,
    touched: Vec<&'a Account>,
    /// New holds.
    held: Vec<&'a Hold>,
    /// Holds, new or not, that took a step after their opening.
    moved: Vec<&'a Hold>,
}

impl<'a> Written<'a> {
    fn of(state: &'a State, effects: &'a Effects, kinds: &'a NewKinds, stamp: Stamp) -> Self {
        let held: Vec<&Hold> = effects.holds_opened.iter().map(|id| &state.holds[id]).collect();
        let stepped = held.iter().copied().filter(|hold| hold.confirming.is_some() || hold.ended.is_some());
        let moved = effects.holds_moved.iter().map(|id| &state.holds[id]).chain(stepped).collect();
        Self {
            effects,
            kinds,
            stamp,
            shard: state.shard,
            opened: effects.opened.iter().map(|id| &state.accounts[id]).collect(),
            touched: effects.touched.iter().map(|id| &state.accounts[id]).collect(),
            held,
            moved,
        }
    }

    async fn write(&self, tx: &mut PgConnection, head: &Head) -> Result<(), Failure> {
        let (shard, number) = (self.shard, self.stamp.block);
        if !self.kinds.accounts.is_empty() {
            write::account_kinds(tx, shard, number, &self.kinds.accounts).await?;
        }
        if !self.kinds.transfers.is_empty() {
            write::transfer_kinds(tx, shard, number, &self.kinds.transfers).await?;
        }
        if !self.opened.is_empty() {
            write::open_accounts(tx, shard, &self.opened).await?;
        }
        if !self.held.is_empty() {
            write::open_holds(tx, shard, &self.held).await?;
        }
        if !self.moved.is_empty() {
            let changed = write::move_holds(tx, &self.moved).await?;
            all_changed(self.moved.len(), changed)?;
        }
        if !self.effects.changes.is_empty() {
            write::changes(tx, shard, number, &self.effects.changes).await?;
        }
        if !self.effects.requests.is_empty() {
            write::requests(tx, shard, number, &self.effects.requests).await?;
        }
        let block = self.block(head);
        let changed = write::journal(tx, &self.touched, &self.effects.transfers, &block, journal::CHANNEL).await?;
        all_changed(self.touched.len(), changed)
    }

    /// Seals the rows.
    fn block(&self, head: &Head) -> Block {
        let transfers: Tree = self.effects.transfers.iter().map(transfer_leaf).collect();
        let records: Tree = self.records().iter().map(|record| record.leaf(self.shard, self.stamp.block)).collect();
        let count = |tree: &Tree| i32::try_from(tree.leaves()).expect("a batch is small");
        Block {
            shard: self.shard,
            number: self.stamp.block,
            first_sequence: head.sequence + 1,
            transfers: count(&transfers),
            records: count(&records),
            posted_at: self.stamp.at,
            transfer_root: transfers.root(),
            record_root: records.root(),
            previous_hash: head.hash,
        }
    }

    /// Everything but transfers, in the order of [`Record`].
    fn records(&self) -> Vec<Record<'_>> {
        let mut opened = self.opened.clone();
        opened.sort_unstable_by_key(|account| account.id);
        let mut held = self.held.clone();
        held.sort_unstable_by_key(|hold| hold.id);
        let mut moved = self.moved.clone();
        moved.sort_unstable_by_key(|hold| hold.id);
        let mut requests: Vec<_> = self.effects.requests.iter().collect();
        requests.sort_unstable_by_key(|request| request.key);
        let now = |stamp: Option<Stamp>| stamp.is_some_and(|stamp| stamp.block == self.stamp.block);
        let confirming = moved.iter().copied().filter(|hold| now(hold.confirming));
        let ended = moved.iter().copied().filter(|hold| now(hold.ended.map(|(_, stamp)| stamp)));
        let mut records: Vec<Record<'_>> = Vec::new();
        records.extend(self.kinds.accounts.iter().map(|(code, name)| Record::AccountKind(*code, name)));
        records.extend(self.kinds.transfers.iter().map(|(code, name)| Record::TransferKind(*code, name)));
        records.extend(opened.into_iter().map(Record::AccountOpened));
        records
            .extend((1..).zip(&self.effects.changes).map(|(ordinal, change)| Record::AccountChanged(ordinal, change)));
        records.extend(held.into_iter().map(Record::HoldOpened));
        records.extend(confirming.map(Record::HoldConfirming));
        records.extend(ended.map(Record::HoldEnded));
        records.extend(requests.into_iter().map(Record::Request));
        records
    }
}

/// The engine counts what it changed: a row that is not there is a fault, never a silent loss.
fn all_changed(expected: usize, changed: usize) -> Result<(), Failure> {
    if expected == changed { Ok(()) } else { Err(Failure::Fault(Arc::new(Bug::Changed { expected, changed }))) }
}

//! The engine's connection: reads what is missing in memory, writes sealed batches.
//!
//! Two ways to write a batch:
//! - **At once** ([`write`]): it was decided on the memory, without a lock. `ledger.post` takes the lock, looks whether the books are still those, and writes everything: one round trip when the batch only moves money.
//! - **Under the lock** ([`Session::put`]): `BEGIN` and lock, read everything and the past of every key, decide, write, commit. The way after anything unusual; it always gets on, whatever other replicas do.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use chrono::SubsecRound as _;
use futures::FutureExt as _;
use platform::clock::Clock;
use sqlx::pool::PoolConnection;
use sqlx::{Connection as _, PgConnection, PgPool, Postgres};

use crate::batch::{Making, Sealed, riders_of};
use crate::engine::Job;
use crate::fold::{Effects, Entry, Fold};
use crate::hold::Stamp;
use crate::journal;
use crate::kind::Kinds;
use crate::limit::Calendar;
use crate::memory::{Memory, Past};
use crate::meter::Meter;
use crate::rider::{RiderError, Riders};
use crate::sql::row::Head;
use crate::sql::write::Posting;
use crate::sql::{batch, write};

/// Why a batch was not put.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The program or its data is at fault; another attempt fails as well. Nothing was committed.
    Fault(Arc<dyn std::error::Error + Send + Sync>),
    /// The database can't be reached or is busy. Nothing was committed.
    Passing(Arc<sqlx::Error>),
    /// The books have moved on since the batch was decided. Nothing was committed.
    Moved,
    /// A key of the batch has been answered before. Nothing was committed.
    Known,
    /// The answer to COMMIT was lost.
    Unknown(Arc<sqlx::Error>),
}

impl Failure {
    pub(crate) fn of(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed | sqlx::Error::BeginFailed => {
                Self::Passing(Arc::new(error))
            }
            _ if write::is_known_key(&error) => Self::Known,
            _ if platform::db::is_passing(&error) => Self::Passing(Arc::new(error)),
            _ => Self::Fault(Arc::new(error)),
        }
    }

    /// Of a statement after which the server may have committed.
    fn of_commit(error: sqlx::Error) -> Self {
        // The server says itself that it rolled back only with these classes; anything else leaves it open.
        // 40003 is "statement completion unknown".
        let refused = error.as_database_error().and_then(|error| error.code()).is_some_and(|code| {
            code != "40003" && ["22", "23", "40", "42", "55", "P0", "XX"].iter().any(|class| code.starts_with(class))
        });
        if refused { Self::of(error) } else { Self::Unknown(Arc::new(error)) }
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
    #[error("a rider panicked")]
    RiderPanic,
    #[error("the transfers of a batch don't follow one from the other")]
    Chain,
    #[error("a key that the lock guards was answered before")]
    KnownUnderLock,
    #[error("kind {code} has the name {stored} in the database and {name} in the program, or another class")]
    Kind { code: i16, name: String, stored: String },
}

impl From<Bug> for Failure {
    fn from(bug: Bug) -> Self {
        Self::Fault(Arc::new(bug))
    }
}

/// What every batch needs.
pub(crate) struct Shared<S> {
    pub(crate) pool: PgPool,
    pub(crate) clock: Clock,
    pub(crate) shard: i16,
    pub(crate) calendar: Calendar,
    pub(crate) riders: S,
    pub(crate) kinds: Arc<Kinds>,
    pub(crate) meter: Arc<Meter>,
}

impl<S> Shared<S> {
    /// The block after `head`, now.
    pub(crate) fn stamp(&self, head: &Head) -> Stamp {
        Stamp { block: head.block + 1, at: self.clock.now().trunc_subsecs(6).max(head.posted_at) }
    }

    /// Counts what was certainly committed, once: after COMMIT, or when a lost answer to it turns out to have been yes.
    pub(crate) fn was_committed<R>(&self, jobs: &[Job<R>], effects: &Effects)
    where
        S: Riders<R>,
    {
        self.meter.committed(effects, &self.kinds);
        let (rides, refusals) = riders_of(jobs, effects);
        if catch_unwind(AssertUnwindSafe(|| self.riders.committed(&rides, &refusals))).is_err() {
            tracing::error!("counting committed riders panicked");
        }
    }
}

/// The connection, which belongs to the engine alone. After any failure it is dropped: what the server still does with it is over when its lock is.
pub(crate) struct Session<S> {
    pub(crate) shared: Arc<Shared<S>>,
    connection: Option<PoolConnection<Postgres>>,
}

/// A batch that was put under the lock, or why it was not.
pub(crate) struct Attempt {
    /// What it decided, if it got that far.
    pub(crate) effects: Option<Effects>,
    pub(crate) result: Result<(), Failure>,
}

impl<S: Send + Sync + 'static> Session<S> {
    pub(crate) fn new(shared: Shared<S>) -> Self {
        Self { shared: Arc::new(shared), connection: None }
    }

    /// Takes the connection for one batch; give it back with [`Session::keep`] when all went well.
    pub(crate) async fn connection(&mut self, deadline: Instant) -> Result<PoolConnection<Postgres>, Failure> {
        match self.connection.take() {
            Some(connection) => Ok(connection),
            None => connect(&self.shared.pool, deadline).await,
        }
    }

    /// Keeps the connection for the next batch.
    pub(crate) fn keep(&mut self, connection: PoolConnection<Postgres>) {
        self.connection = Some(connection);
    }

    /// Gives the connection up.
    pub(crate) async fn close(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.detach().close().await.ok();
        }
    }

    /// Reads what requests name and memory has not, without a lock. The memory's head tells on which books they will be decided.
    pub(crate) async fn load(
        &mut self,
        memory: &mut Memory,
        entries: &[Entry<'_>],
        past: Past,
        deadline: Instant,
    ) -> Result<(), Failure> {
        let mut connection = self.connection(deadline).await?;
        let kinds = self.shared.kinds.clone();
        let reading = Reading { shard: self.shared.shard, kinds: &kinds, past };
        let read = within(deadline, async { Ok(reading.read(&mut connection, memory, entries).await) }).await;
        match read.and_then(|read| read) {
            Ok(()) => {
                self.keep(connection);
                Ok(())
            }
            Err(failure) => {
                drop(connection.detach());
                Err(failure)
            }
        }
    }

    /// Puts a batch under the lock, in one transaction.
    pub(crate) async fn put<R>(&mut self, memory: &mut Memory, jobs: &[Job<R>], deadline: Instant) -> Attempt
    where
        R: Send + Sync + 'static,
        S: Riders<R>,
    {
        let failed = |failure| Attempt { effects: None, result: Err(failure) };
        let mut connection = match self.connection(deadline).await {
            Ok(connection) => connection,
            Err(failure) => return failed(failure),
        };
        memory.forget();
        let attempt = self.put_on(&mut connection, memory, jobs, deadline).await;
        match &attempt.result {
            Ok(()) => self.keep(connection),
            Err(_) => {
                memory.forget();
                drop(connection.detach());
            }
        }
        attempt
    }

    async fn put_on<R>(
        &self,
        connection: &mut PgConnection,
        memory: &mut Memory,
        jobs: &[Job<R>],
        deadline: Instant,
    ) -> Attempt
    where
        R: Send + Sync + 'static,
        S: Riders<R>,
    {
        let shared = &*self.shared;
        let lock = connection.begin_with(batch::begin_and_lock(shared.shard));
        let mut tx = match within(deadline, lock).await {
            Ok(tx) => tx,
            Err(failure) => return Attempt { effects: None, result: Err(failure) },
        };
        let work = async {
            let decided = decide(shared, &mut tx, memory, jobs).await?;
            if let Decided::Sealed(sealed) = &decided {
                write_rows(shared, &mut tx, sealed, jobs).await?;
            }
            Ok(decided)
        };
        let decided = match tokio::time::timeout_at(deadline.into(), work).await {
            Ok(Ok(decided)) => decided,
            Ok(Err(Failure::Known)) => {
                return Attempt { effects: None, result: Err(Bug::KnownUnderLock.into()) };
            }
            Ok(Err(failure)) => return Attempt { effects: None, result: Err(failure) },
            Err(_) => return Attempt { effects: None, result: Err(Failure::Passing(Arc::new(too_late()))) },
        };
        let result = commit(tx.commit(), deadline).await;
        match decided {
            Decided::Nothing(effects) => Attempt { effects: Some(*effects), result },
            Decided::Sealed(sealed) => {
                if result.is_ok() {
                    memory.recorded(&sealed.kinds);
                }
                Attempt { effects: Some(sealed.effects), result }
            }
        }
    }
}

async fn commit(commit: impl Future<Output = Result<(), sqlx::Error>>, deadline: Instant) -> Result<(), Failure> {
    match tokio::time::timeout_at(deadline.into(), commit).await {
        Ok(done) => done.map_err(Failure::of_commit),
        Err(_) => Err(Failure::Unknown(Arc::new(too_late()))),
    }
}

/// Reads everything that the jobs name, with the lock held, and decides them.
async fn decide<R: Sync, S>(
    shared: &Shared<S>,
    tx: &mut PgConnection,
    memory: &mut Memory,
    jobs: &[Job<R>],
) -> Result<Decided, Failure> {
    let entries: Vec<Entry<'_>> = jobs.iter().map(Job::entry).collect();
    let reading = Reading { shard: shared.shard, kinds: &shared.kinds, past: Past::Read };
    reading.read(tx, memory, &entries).await?;
    let on = memory.head.ok_or(sqlx::Error::RowNotFound)?;
    let mut making = Making::new(on, Fold::new(shared.stamp(&on), shared.calendar));
    // A panic is a fault of one request like any other: nothing is written, and what was read is dropped.
    let decide = || entries.iter().for_each(|entry| making.decide(&mut memory.state, entry));
    catch_unwind(AssertUnwindSafe(decide)).map_err(|_| Bug::Panic)?;
    entries.iter().for_each(|entry| memory.decided(entry.key));
    if making.effects().is_empty() {
        return Ok(Decided::Nothing(Box::new(making.into_effects())));
    }
    Ok(Decided::Sealed(Box::new(Sealed::new(memory, &shared.kinds, making)?)))
}

/// What came of deciding a batch under the lock.
enum Decided {
    /// There is nothing to write.
    Nothing(Box<Effects>),
    Sealed(Box<Sealed>),
}

/// Writes a batch that was decided without the lock; gives the connection back when all went well.
///
/// Nothing is borrowed, so that the engine goes on deciding meanwhile.
pub(crate) async fn write<R, S>(
    shared: Arc<Shared<S>>,
    mut connection: PoolConnection<Postgres>,
    sealed: Sealed,
    jobs: Vec<Job<R>>,
    deadline: Instant,
) -> Wrote<R>
where
    R: Send + Sync + 'static,
    S: Riders<R>,
{
    let result = write_on(&shared, &mut connection, &sealed, &jobs, deadline).await;
    let connection = match &result {
        Ok(()) => Some(connection),
        Err(_) => {
            drop(connection.detach());
            None
        }
    };
    Wrote { jobs, sealed, connection, result }
}

/// What came of writing a batch.
pub(crate) struct Wrote<R> {
    pub(crate) jobs: Vec<Job<R>>,
    pub(crate) sealed: Sealed,
    pub(crate) connection: Option<PoolConnection<Postgres>>,
    pub(crate) result: Result<(), Failure>,
}

async fn write_on<R, S>(
    shared: &Shared<S>,
    connection: &mut PgConnection,
    sealed: &Sealed,
    jobs: &[Job<R>],
    deadline: Instant,
) -> Result<(), Failure>
where
    R: Send + Sync + 'static,
    S: Riders<R>,
{
    let (rides, refusals) = riders_of(jobs, &sealed.effects);
    if sealed.is_plain() && rides.is_empty() && refusals.is_empty() {
        let post = write::post(connection, sealed, journal::CHANNEL);
        return match tokio::time::timeout_at(deadline.into(), post).await {
            Ok(posted) => posting(posted.map_err(Failure::of_commit)?),
            Err(_) => Err(Failure::Unknown(Arc::new(too_late()))),
        };
    }
    let mut tx = within(deadline, connection.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED")).await?;
    match tokio::time::timeout_at(deadline.into(), write_rows(shared, &mut tx, sealed, jobs)).await {
        Ok(written) => written?,
        Err(_) => return Err(Failure::Passing(Arc::new(too_late()))),
    }
    commit(tx.commit(), deadline).await
}

/// Writes all rows of a batch and its riders' inside a transaction: first what takes the lock.
async fn write_rows<R, S>(
    shared: &Shared<S>,
    tx: &mut PgConnection,
    sealed: &Sealed,
    jobs: &[Job<R>],
) -> Result<(), Failure>
where
    R: Send + Sync + 'static,
    S: Riders<R>,
{
    posting(write::post(tx, sealed, journal::CHANNEL).await?)?;
    let (shard, number) = (sealed.block.shard, sealed.block.number);
    if !sealed.kinds.accounts.is_empty() {
        write::account_kinds(tx, shard, number, &sealed.kinds.accounts).await?;
    }
    if !sealed.kinds.transfers.is_empty() {
        write::transfer_kinds(tx, shard, number, &sealed.kinds.transfers).await?;
    }
    if !sealed.opened.is_empty() {
        write::open_accounts(tx, shard, &sealed.opened).await?;
    }
    if !sealed.held.is_empty() {
        write::open_holds(tx, shard, &sealed.held).await?;
    }
    if !sealed.moved.is_empty() {
        let (expected, changed) = (sealed.moved.len(), write::move_holds(tx, &sealed.moved).await?);
        if expected != changed {
            // A row that is not there is a fault, never a silent loss.
            return Err(Bug::Changed { expected, changed }.into());
        }
    }
    if !sealed.effects.changes.is_empty() {
        write::changes(tx, shard, number, &sealed.effects.changes).await?;
    }
    if !sealed.effects.refunds.is_empty() {
        write::refunds(tx, shard, number, &sealed.effects.refunds).await?;
    }
    if !sealed.effects.requests.is_empty() {
        write::requests(tx, shard, number, &sealed.effects.requests).await?;
    }
    let (rides, refusals) = riders_of(jobs, &sealed.effects);
    // A panic is a fault of one rider, which halving isolates.
    let ride = async {
        if !rides.is_empty() {
            shared.riders.apply(tx, &rides).await?;
        }
        if !refusals.is_empty() {
            shared.riders.refused(tx, &refusals).await?;
        }
        Ok::<(), RiderError>(())
    };
    AssertUnwindSafe(ride).catch_unwind().await.map_err(|_| Bug::RiderPanic)??;
    Ok(())
}

fn posting(posting: Posting) -> Result<(), Failure> {
    match posting {
        Posting::Posted => Ok(()),
        Posting::Moved => Err(Failure::Moved),
        Posting::Known => Err(Failure::Known),
    }
}

/// How memory is filled.
struct Reading<'a> {
    shard: i16,
    kinds: &'a Kinds,
    past: Past,
}

impl Reading<'_> {
    /// Reads what is wanted. Without the lock each statement may see newer books than the one before it,
    /// so that the head is read first and once more with the accounts, last: all is well if it is the memory's own both times.
    async fn read(
        &self,
        connection: &mut PgConnection,
        memory: &mut Memory,
        entries: &[Entry<'_>],
    ) -> Result<(), Failure> {
        if memory.head.is_none() {
            let head = batch::head(connection, self.shard).await?;
            (memory.state.shard, memory.state.sequence) = (self.shard, head.sequence);
            memory.head = Some(head);
        }
        let mut wanted = memory.wanted(entries, self.past);
        let mut parties = Vec::new();
        if !wanted.holds.is_empty() {
            let holds = batch::holds(connection, &wanted.holds).await?;
            parties.extend(holds.values().flat_map(|hold| [hold.debit, hold.credit]));
            memory.state.holds.extend(holds);
        }
        if !wanted.transfers.is_empty() {
            let paid = batch::paid(connection, &wanted.transfers).await?;
            parties.extend(paid.values().flat_map(|paid| [paid.debit, paid.credit]));
            memory.state.paid.extend(paid);
        }
        if !parties.is_empty() {
            let parties = parties.into_iter().filter(|id| !memory.has_account(*id));
            wanted.accounts.extend(parties.map(|id| id.uuid()));
            wanted.accounts.sort_unstable();
            wanted.accounts.dedup();
        }
        if !wanted.keys.is_empty() {
            memory.state.remembered.extend(batch::past(connection, &wanted.keys).await?);
        }
        if wanted.kinds {
            let (accounts, transfers) = batch::kinds(connection, self.shard).await?;
            self.kinds.learn(&accounts, &transfers)?;
            memory.note_kinds(accounts.into_keys(), transfers.into_keys(), entries);
        }
        let (head, accounts) = batch::accounts(connection, self.shard, &wanted.accounts).await?;
        if memory.head != Some(head) {
            return Err(Failure::Moved);
        }
        memory.state.accounts.extend(accounts);
        memory.note_absent(&wanted.accounts, &wanted.holds);
        Ok(())
    }
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

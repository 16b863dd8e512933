//! The engine's connection: reads what is missing in memory, writes sealed batches.
//!
//! Two ways to write a batch:
//! - **At once** ([`write`]): it was decided on the memory, without a lock. `ledger.post_batch` takes the lock, looks whether the books are still those, and writes everything: one round trip when the batch only moves money.
//! - **Under the lock** ([`Session::put`]): `BEGIN` and lock, read everything and the past of every key, decide, write, commit. The way after anything unusual; it always gets on, whatever other replicas do.

mod failure;
mod read;
mod write;

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use chrono::SubsecRound as _;
use platform::clock::Clock;
use sqlx::pool::PoolConnection;
use sqlx::{Connection as _, PgConnection, PgPool, Postgres};

pub(crate) use self::failure::{Bug, Failure};
use self::read::Reading;
use self::write::write_rows;
pub(crate) use self::write::{Wrote, write};
use crate::batch::{MachineTime, Making, Sealed, riders_of};
use crate::engine::Job;
use crate::fold::{Effects, Entry, Fold};
use crate::hold::Stamp;
use crate::kind::Kinds;
use crate::limit::Calendar;
use crate::memory::{Memory, Past};
use crate::meter::Meter;
use crate::rider::Riders;
use crate::sql::batch;
use crate::sql::row::Head;

/// What every batch needs.
pub(crate) struct Shared<S> {
    pub(crate) pool: PgPool,
    pub(crate) clock: Clock,
    /// The machine's own clock, and how far it may be ahead of the database's.
    pub(crate) machine: Clock,
    pub(crate) clock_ahead_ms: i64,
    pub(crate) shard: i16,
    pub(crate) calendar: Calendar,
    pub(crate) riders: S,
    pub(crate) kinds: Arc<Kinds>,
    pub(crate) meter: Arc<Meter>,
}

impl<S> Shared<S> {
    /// An empty batch for the block after `head`, now.
    pub(crate) fn begin(&self, head: Head) -> Making {
        let machine = self.machine_time();
        let stamp = Stamp { block: head.block + 1, at: self.clock.now().trunc_subsecs(6).max(head.posted_at) };
        Making::new(head, Fold::new(stamp, self.calendar), machine)
    }

    /// What this machine's clock says.
    fn machine_time(&self) -> MachineTime {
        MachineTime { at: self.machine.now(), ahead_ms: self.clock_ahead_ms }
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
        let lock = connection.begin_with(batch::begin_and_lock(shared.shard, shared.machine_time()));
        let mut tx = match within(deadline, lock).await {
            Ok(tx) => tx,
            Err(failure) => return Attempt { effects: None, result: Err(failure) },
        };
        let work = async {
            let mut decided = decide(shared, &mut tx, memory, jobs).await?;
            if let Decided::Sealed(sealed) = &mut decided {
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
    let mut making = shared.begin(on);
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

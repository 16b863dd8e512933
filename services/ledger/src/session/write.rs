//! Writing a sealed batch: at once by `ledger.post_batch`, or with all its other rows and its riders' in one transaction.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use futures::FutureExt as _;
use sqlx::pool::PoolConnection;
use sqlx::{Connection as _, PgConnection, Postgres};

use super::failure::{Bug, Failure};
use super::{Shared, commit, too_late, within};
use crate::batch::{Sealed, riders_of};
use crate::engine::Job;
use crate::rider::{RiderError, Riders};
use crate::sql::write::{self, Posting};

/// Writes a batch that was decided without the lock; gives the connection back when all went well.
///
/// Nothing is borrowed, so that the engine goes on deciding meanwhile.
pub(crate) async fn write<R, S>(
    shared: Arc<Shared<S>>,
    mut connection: PoolConnection<Postgres>,
    mut sealed: Sealed,
    jobs: Vec<Job<R>>,
    deadline: Instant,
) -> Wrote<R>
where
    R: Send + Sync + 'static,
    S: Riders<R>,
{
    let result = write_on(&shared, &mut connection, &mut sealed, &jobs, deadline).await;
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
    sealed: &mut Sealed,
    jobs: &[Job<R>],
    deadline: Instant,
) -> Result<(), Failure>
where
    R: Send + Sync + 'static,
    S: Riders<R>,
{
    let (rides, refusals) = riders_of(jobs, &sealed.effects);
    if sealed.is_plain() && rides.is_empty() && refusals.is_empty() {
        let call = sealed.take_call()?;
        return match tokio::time::timeout_at(deadline.into(), call.make(connection)).await {
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
pub(super) async fn write_rows<R, S>(
    shared: &Shared<S>,
    tx: &mut PgConnection,
    sealed: &mut Sealed,
    jobs: &[Job<R>],
) -> Result<(), Failure>
where
    R: Send + Sync + 'static,
    S: Riders<R>,
{
    let call = sealed.take_call()?;
    posting(call.make(tx).await?)?;
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
    }
}

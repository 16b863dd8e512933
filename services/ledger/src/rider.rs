//! Riders: what the caller of the ledger writes in the very transaction that posts.
//!
//! A request may carry a typed rider. When its batch is written, all riders of the batch are handed over at once, so that their effects are written set-based too.
//! Lock order: the shard's row is held already; a rider may lock rows of its own schema after it, and nothing that holds those rows may ever wait for the shard.

use async_trait::async_trait;
use sqlx::PgConnection;

use crate::request::{Posted, Reject};

/// A rider whose request was granted.
#[derive(Clone, Copy, Debug)]
pub struct Ride<'a, R> {
    /// The rider.
    pub rider: &'a R,
    /// The transfers that its request made, in order; empty for a request that made none.
    pub posted: &'a [Posted],
}

/// A rider whose request was refused.
#[derive(Clone, Copy, Debug)]
pub struct Refusal<'a, R> {
    /// The rider.
    pub rider: &'a R,
    /// Why its request was refused.
    pub reject: Reject,
}

/// Writes riders; given to the engine at start.
///
/// Each rider is handed over in exactly one committed transaction, whatever is retried: replays and conflicts bring none.
/// An error rolls back the batch; the engine then isolates the request that caused it, answers that one as a fault and posts the others.
#[async_trait]
pub trait Riders<R>: Send + Sync + 'static {
    /// Writes the effects of granted requests, in order of the journal. `tx` is inside the batch's transaction: neither begin nor commit it.
    async fn apply(&self, tx: &mut PgConnection, riders: &[Ride<'_, R>]) -> Result<(), RiderError>;

    /// Writes what refused requests leave behind (an event, a failed intent). By default nothing.
    async fn refused(&self, _tx: &mut PgConnection, _riders: &[Refusal<'_, R>]) -> Result<(), RiderError> {
        Ok(())
    }

    /// Counts what was certainly committed: each rider comes here at most once, and only after COMMIT, whoever still waits for the answer.
    /// By default nothing.
    ///
    /// A rider whose COMMIT had no answer comes when a later attempt of the same batch finds it committed;
    /// when none did before time was over, or the process died in between, it does not come.
    fn committed(&self, _rides: &[Ride<'_, R>], _refusals: &[Refusal<'_, R>]) {}
}

/// Why riders could not be written.
#[derive(Debug, thiserror::Error)]
pub enum RiderError {
    /// A statement failed.
    #[error("a rider's statement failed")]
    Database(#[from] sqlx::Error),
    /// Anything else that is wrong with a rider.
    #[error("a rider can't be written")]
    Other(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// For callers without riders.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoRiders;

#[async_trait]
impl<R: Send + Sync + 'static> Riders<R> for NoRiders {
    async fn apply(&self, _tx: &mut PgConnection, _riders: &[Ride<'_, R>]) -> Result<(), RiderError> {
        Ok(())
    }
}

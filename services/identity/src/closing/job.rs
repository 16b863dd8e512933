//! The jobs that send the last message and erase once the time to take it back is over.
//!
//! Each is one transaction with its end: a process that dies in between has done nothing, and another does it.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::TimeDelta;
use platform::job::{Job, JobError, JobHandler, Outcome};
use platform::outbox::{self, NewEvent};
use proto::identity::v1::{ErasureDue, ErasureNear};
use tracing::warn;

use super::rule::State;
use super::{ClosingId, erase, sql};
use crate::audit::{self, Action, Entry, Source};
use crate::citizen;
use crate::error::Error;
use crate::{Identity, SCHEMA};

/// The kind of the job that erases; its key is the closing's id.
pub(crate) const JOB: &str = "closing";
/// The kind of the job that sends the last message; its key is the closing's id.
pub(crate) const LAST_WORD_JOB: &str = "closing-last-word";
/// The pause after something did not work.
const PAUSE: TimeDelta = TimeDelta::seconds(30);

/// Runs [`JOB`].
pub(crate) struct ErasureJob {
    pub identity: Arc<Identity>,
}

#[async_trait]
impl JobHandler for ErasureJob {
    async fn run(&self, job: &Job) -> Outcome {
        let Ok(id) = job.key.parse() else { return Outcome::Dead("the key is no closing".to_owned()) };
        match self.erase(id, job).await {
            Ok(()) => Outcome::Done,
            Err(error) => {
                warn!(%error, "an erasure waits");
                Outcome::RetryAt(self.identity.now() + PAUSE, error.to_string())
            }
        }
    }
}

impl ErasureJob {
    /// Identity's own part and the event that lets all others follow, in one transaction.
    async fn erase(&self, id: ClosingId, job: &Job) -> Result<(), Error> {
        let (identity, now) = (&self.identity, self.identity.now());
        let mut tx = platform::db::begin(&identity.pool).await?;
        let Some(user) = sql::citizen_of(&mut tx, id).await? else { return Ok(()) };
        citizen::lock(&mut tx, user).await?;
        let closing = sql::lock(&mut tx, id).await?.filter(|closing| closing.state == State::Cooling);
        if closing.is_none() {
            return Ok(());
        }
        let erase::Open { sessions, delegations } = erase::erase(&mut tx, user, now).await?;
        sql::begin_erasure(&mut tx, id).await?;
        sql::erased(&mut tx, (id, SCHEMA.name()), now).await?;
        let (mut revoked, mut events) = identity.revoke(&mut tx, user, &sessions, now).await?;
        let (refused, told) = identity.delegations_left(&mut tx, user, &delegations, now).await?;
        revoked.extend(refused);
        events.extend(told);
        let source = Source::schedule(&identity.instance);
        audit::append(&mut tx, &[Entry::of(user, Action::ClosingErase, id, &source)], now).await?;
        let due = ErasureDue { user_id: user.to_string(), closing_id: id.to_string() };
        events.push(NewEvent::new(user.uuid(), &due));
        outbox::append(&mut tx, SCHEMA, now, &events).await?;
        job.finish(&mut tx).await.map_err(unfinished)?;
        tx.commit().await?;
        identity.forget_now(&revoked);
        Ok(())
    }
}

/// Runs [`LAST_WORD_JOB`].
pub(crate) struct LastWordJob {
    pub identity: Arc<Identity>,
}

#[async_trait]
impl JobHandler for LastWordJob {
    async fn run(&self, job: &Job) -> Outcome {
        let Ok(id) = job.key.parse() else { return Outcome::Dead("the key is no closing".to_owned()) };
        match self.tell(id, job).await {
            Ok(()) => Outcome::Done,
            Err(error) => Outcome::RetryAt(self.identity.now() + PAUSE, error.to_string()),
        }
    }
}

impl LastWordJob {
    /// The event, unless the closing was taken back or is past it.
    async fn tell(&self, id: ClosingId, job: &Job) -> Result<(), Error> {
        let (identity, now) = (&self.identity, self.identity.now());
        let mut tx = platform::db::begin(&identity.pool).await?;
        let closing = sql::lock(&mut tx, id).await?.filter(|closing| closing.state == State::Cooling);
        let Some((closing, erase_at)) = closing.and_then(|closing| closing.erase_at.map(|at| (closing, at))) else {
            return Ok(());
        };
        let near = ErasureNear {
            user_id: closing.citizen.to_string(),
            closing_id: id.to_string(),
            erase_at: erase_at.timestamp(),
        };
        outbox::append(&mut tx, SCHEMA, now, &[NewEvent::new(closing.citizen.uuid(), &near)]).await?;
        job.finish(&mut tx).await.map_err(unfinished)?;
        tx.commit().await?;
        Ok(())
    }
}

fn unfinished(error: JobError) -> Error {
    match error {
        JobError::Database(error) => Error::Database(error),
        JobError::LeaseLost => Error::Hashing("another process has the job".to_owned()),
    }
}

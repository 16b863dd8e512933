//! The job that erases once the time to take it back is over.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::TimeDelta;
use platform::job::{Job, JobError, JobHandler, Outcome};
use platform::outbox::{self, NewEvent};
use proto::identity::v1::ErasureDue;
use tracing::warn;

use super::rule::State;
use super::{ClosingId, erase, sql};
use crate::audit::{self, Action, Entry, Source};
use crate::citizen;
use crate::error::Error;
use crate::{Identity, SCHEMA};

/// The kind of the job; its key is the closing's id.
pub(crate) const JOB: &str = "closing";
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
        let open = erase::erase(&mut tx, user, now).await?;
        sql::begin_erasure(&mut tx, id).await?;
        sql::erased(&mut tx, (id, SCHEMA.name()), now).await?;
        let (revoked, mut events) = identity.revoke(&mut tx, user, &open, now).await?;
        let source = Source::schedule(&identity.instance);
        audit::append(&mut tx, &[Entry::of(user, Action::ClosingErase, id, &source)], now).await?;
        let due = ErasureDue { user_id: user.to_string(), closing_id: id.to_string() };
        events.push(NewEvent::new(user.uuid(), &due));
        outbox::append(&mut tx, SCHEMA, now, &events).await?;
        job.finish(&mut tx).await.map_err(|error| match error {
            JobError::Database(error) => Error::Database(error),
            JobError::LeaseLost => Error::Hashing("another process has the job".to_owned()),
        })?;
        tx.commit().await?;
        identity.forget_now(&revoked);
        Ok(())
    }
}

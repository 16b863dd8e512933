//! What a service that keeps something of persons does when one asks for a copy of everything, or wants it to end.
//!
//! Identity asks by event; a job does the work and answers identity by call, as often as it takes: a service or an identity that is
//! away delays and loses nothing. Every step may be done again.
//!
//! A closing that is over is reopened in any order of jobs: whoever closes learns from the answer that it came too late, and opens again.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use proto::identity::v1::person_service_client::PersonServiceClient;
use proto::identity::v1::{
    AnswerClosingRequest, ClosingEnded, ClosingRequested, ConfirmErasureRequest, ErasureDue, ExportRequested,
};
use serde_json::json;
use sqlx::{AssertSqlSafe, PgConnection, PgPool};
use tracing::{info, warn};
use uuid::Uuid;

use super::PersonKeys;
use super::copy::{self, CopyError, PersonCopy, Section};
use crate::clock::Clock;
use crate::db::Schema;
use crate::events::{Consumer, Event, HandleError, Handler};
use crate::job::{self, Job, JobHandler, NewJob, Outcome, Runner};
use crate::rpc::Channel;
use crate::service::Context;
use crate::task::Task;

/// The stream on which identity asks.
const STREAM: &str = "identity";
/// Kinds of jobs; their keys are the id of the export or of the closing.
const EXPORT: &str = "person-export";
const CLOSE: &str = "person-close";
const REOPEN: &str = "person-reopen";
const ERASE: &str = "person-erase";
/// The first pause after something did not work; it doubles.
const FIRST_PAUSE_S: i64 = 1;
/// The longest pause.
const LONGEST_PAUSE_S: i64 = 300;

/// A service that keeps something of persons.
#[async_trait]
pub trait Holder: Send + Sync + 'static {
    /// What it keeps, as far as a statement can say it.
    fn sections(&self) -> &'static [Section];

    /// What it keeps beside that.
    async fn copy_more(&self, person: Uuid, copy: &mut PersonCopy) -> Result<(), CopyError> {
        let _ = (person, copy);
        Ok(())
    }

    /// Closes what it keeps, so that nothing begins any more for this person, or says by stable codes what stands against it and
    /// leaves everything open. Doing it again changes nothing.
    async fn close(&self, person: Uuid, closing: Uuid) -> Result<Vec<&'static str>, CopyError> {
        let _ = (person, closing);
        Ok(Vec::new())
    }

    /// Opens again what this very closing closed.
    async fn reopen(&self, person: Uuid, closing: Uuid) -> Result<(), CopyError> {
        let _ = (person, closing);
        Ok(())
    }

    /// Ends for good what does not fit into one transaction, before the rest is erased. The person's key is destroyed already, so that
    /// nothing is sealed for them any more.
    async fn end(&self, person: Uuid, closing: Uuid) -> Result<(), CopyError> {
        let _ = (person, closing);
        Ok(())
    }

    /// Removes the rest of what is not sealed.
    async fn erase(&self, tx: &mut PgConnection, person: Uuid, now: DateTime<Utc>) -> Result<(), sqlx::Error>;
}

/// The tasks of a holder: one hears what identity asks, and hands every event on to `next`; the other does the work.
pub fn tasks(
    context: &Context,
    (schema, keys): (Schema, Arc<PersonKeys>),
    identity: Channel,
    holder: Arc<dyn Holder>,
    next: Option<Arc<dyn Handler>>,
) -> [Task; 2] {
    let listener = Arc::new(Listener { schema, clock: context.clock.clone(), next });
    let work = Work { schema, keys, identity, holder, pool: context.pool.clone(), clock: context.clock.clone() };
    let runner = Runner::new(context, schema).on(EXPORT, work.clone()).on(CLOSE, work.clone());
    let runner = runner.on(REOPEN, work.clone()).on(ERASE, work);
    [Consumer::new(context, schema, STREAM, listener).into_task(), runner.into_task()]
}

/// Turns what identity asks into jobs.
pub struct Listener {
    schema: Schema,
    clock: Clock,
    next: Option<Arc<dyn Handler>>,
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Listener").field("schema", &self.schema).finish_non_exhaustive()
    }
}

#[async_trait]
impl Handler for Listener {
    async fn handle(&self, transaction: &mut PgConnection, events: &[Event]) -> Result<(), HandleError> {
        let now = self.clock.now();
        let mut jobs = Vec::new();
        for event in events {
            jobs.extend(
                asked(event)?
                    .map(|(kind, key)| NewJob::new(kind, key, now).payload(json!({ "person": event.subject }))),
            );
        }
        job::schedule_all(transaction, self.schema, now, &jobs).await?;
        match &self.next {
            Some(next) => next.handle(transaction, events).await,
            None => Ok(()),
        }
    }
}

/// The job that an event asks for: its kind and key.
fn asked(event: &Event) -> Result<Option<(&'static str, String)>, HandleError> {
    if let Some(asked) = event.decode::<ExportRequested>() {
        return Ok(Some((EXPORT, asked?.export_id)));
    }
    if let Some(asked) = event.decode::<ClosingRequested>() {
        return Ok(Some((CLOSE, asked?.closing_id)));
    }
    if let Some(ended) = event.decode::<ClosingEnded>() {
        return Ok(Some((REOPEN, ended?.closing_id)));
    }
    if let Some(due) = event.decode::<ErasureDue>() {
        return Ok(Some((ERASE, due?.closing_id)));
    }
    Ok(None)
}

/// Does what was asked.
#[derive(Clone)]
struct Work {
    schema: Schema,
    keys: Arc<PersonKeys>,
    identity: Channel,
    holder: Arc<dyn Holder>,
    pool: PgPool,
    clock: Clock,
}

#[async_trait]
impl JobHandler for Work {
    async fn run(&self, job: &Job) -> Outcome {
        let person = job.payload["person"].as_str().and_then(|text| text.parse::<Uuid>().ok());
        let (Some(person), Ok(id)) = (person, job.key.parse::<Uuid>()) else {
            return Outcome::Dead("it does not say of whom".to_owned());
        };
        let done = match job.kind.as_str() {
            EXPORT => self.export(person, id).await,
            CLOSE => self.close(person, id).await,
            REOPEN => self.holder.reopen(person, id).await,
            _ => self.erase(person, id).await,
        };
        match done {
            Ok(()) => Outcome::Done,
            Err(error) => {
                let source = std::error::Error::source(&error);
                warn!(job.kind = job.kind, %error, ?source, "what a person asked for waits");
                let doubled = FIRST_PAUSE_S.saturating_mul(1 << job.attempts.clamp(0, 20));
                let pause = TimeDelta::seconds(doubled.min(LONGEST_PAUSE_S));
                Outcome::RetryAt(self.clock.now() + pause, error.to_string())
            }
        }
    }
}

impl Work {
    async fn export(&self, person: Uuid, export: Uuid) -> Result<(), CopyError> {
        let mut copy =
            PersonCopy::new(Box::new(PersonServiceClient::new(self.identity.clone())), self.schema.name(), export);
        copy::write(&self.pool, &self.keys, (person, self.holder.sections()), &mut copy).await?;
        if !copy.is_over() {
            self.holder.copy_more(person, &mut copy).await?;
        }
        copy.finish().await
    }

    async fn close(&self, person: Uuid, closing: Uuid) -> Result<(), CopyError> {
        let hindrances = self.holder.close(person, closing).await?;
        let request = AnswerClosingRequest {
            closing_id: closing.to_string(),
            service: self.schema.name().to_owned(),
            hindrances: hindrances.into_iter().map(ToOwned::to_owned).collect(),
        };
        let answer = PersonServiceClient::new(self.identity.clone()).answer_closing(request).await;
        if answer.map_err(|status| CopyError::Taker(status.code().to_string()))?.into_inner().over {
            self.holder.reopen(person, closing).await?;
        }
        Ok(())
    }

    async fn erase(&self, person: Uuid, closing: Uuid) -> Result<(), CopyError> {
        let now = self.clock.now();
        // First, so that nothing new is kept of them while the rest goes.
        self.keys.destroy(&mut *self.pool.acquire().await?, person, now).await?;
        self.holder.end(person, closing).await?;
        let mut tx = crate::db::begin(&self.pool).await?;
        self.holder.erase(&mut tx, person, now).await?;
        sqlx::query(AssertSqlSafe(self.schema.sql(FORGET_ANSWERS))).bind(person).execute(&mut *tx).await?;
        tx.commit().await?;
        let request = ConfirmErasureRequest { closing_id: closing.to_string(), service: self.schema.name().to_owned() };
        let answer = PersonServiceClient::new(self.identity.clone()).confirm_erasure(request).await;
        answer.map_err(|status| CopyError::Taker(status.code().to_string()))?;
        info!(closing.id = %closing, "a person was erased");
        Ok(())
    }
}

/// Answers to idempotency keys repeat what the person asked and was told.
const FORGET_ANSWERS: &str = "DELETE FROM {schema}.idempotency_key WHERE caller = $1";

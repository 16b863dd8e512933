//! Sending: what a lane's worker does with one message.
//!
//! | step | round trips |
//! | --- | --- |
//! | read the message | 1 to PostgreSQL |
//! | SMS: take the code, or ask for number and language | 1 to identity |
//! | push: read devices, ask identity for the language if the citizen chose none | 1 to PostgreSQL, at most 1 to identity |
//! | send | 1 to the gateway (push: 1 per device, at once) |
//! | record the attempts, settle the message | 2 to PostgreSQL |
//!
//! No database connection is held while an outside party is asked.
//!
//! A warning that is replaced, ended or expired while its message waits is not sent any more: the message is suppressed as
//! `overtaken`, unless some device has it.
//!
//! **A one-time code is never stored or logged.** It is taken from identity when it is sent, lives in memory for that
//! attempt, and is dropped. Identity hands a code out once, and again to us within [`RETAKE_WINDOW`] of the first time.
//! So the ways this can break end right:
//! - the process dies between taking and sending: the job's lease runs out, another worker takes the code again and sends it;
//! - the gateway fails or does not answer: the retry takes the code again, with the same reference, so that a gateway that
//!   took the first one can see the repetition;
//! - the window closes before any attempt gets through: identity refuses, the message fails as `code-gone`, and the
//!   citizen asks for a new code, which is what an outage of that length means for a code of five minutes anyway.

mod otp;
mod push;
mod text;

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use platform::clock::Clock;
use platform::job::{Job, JobError, JobHandler, Outcome};
use platform::person::{PersonError, PersonKeys};
use platform::retry::Patience;
use rand::Rng as _;
use serde_json::Value;
use sqlx::{PgPool, Postgres, Transaction};
use tracing::{debug, error, warn};
use uuid::Uuid;

use crate::SCHEMA;
use crate::gateway::{GatewayError, PushGateway, Reference, SmsGateway};
use crate::grpc::Identity;
use crate::lane::{Channel, Lane};
use crate::message::{State, settled_event};
use crate::meter::Meter;
use crate::template::{self, Template, TemplateError};

/// How long after the first time identity hands out a code again.
pub const RETAKE_WINDOW: Duration = Duration::from_secs(60);
/// Failed attempts after which a message is given up, however young it is.
const MAX_FAILURES: u32 = 200;

/// How old a message may get before it is given up: nobody wants yesterday's code.
const fn longest_life(lane: Lane) -> TimeDelta {
    match lane {
        Lane::Security => TimeDelta::minutes(10),
        Lane::Emergency => TimeDelta::hours(6),
        Lane::Payment | Lane::Service | Lane::News => TimeDelta::hours(24),
    }
}

/// How a lane's workers retry: what is urgent is tried again sooner. The handler gives up before the runner would.
pub(crate) fn patience(lane: Lane) -> Patience {
    let (first, most) = match lane {
        Lane::Emergency | Lane::Security => (Duration::from_millis(250), Duration::from_secs(5)),
        Lane::Payment => (Duration::from_millis(500), Duration::from_secs(300)),
        Lane::Service | Lane::News => (Duration::from_secs(1), Duration::from_secs(900)),
    };
    Patience { attempts: MAX_FAILURES + 50, first, most }
}

/// Sends messages of any lane.
pub(crate) struct Sender {
    pub(crate) pool: PgPool,
    pub(crate) clock: Clock,
    pub(crate) meter: Meter,
    pub(crate) identity: Identity,
    pub(crate) sms: Arc<dyn SmsGateway>,
    pub(crate) push: Arc<dyn PushGateway>,
    pub(crate) persons: Arc<PersonKeys>,
}

/// A message as a worker reads it.
struct Outgoing {
    id: Uuid,
    recipient: Uuid,
    lane: Lane,
    channel: Channel,
    template: Template,
    parameters: Value,
    state: String,
    created_at: DateTime<Utc>,
    /// It is part of an alert that is not in force any more.
    is_overtaken: bool,
}

/// What one run made of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    /// It ended, and nobody has to do anything about it.
    Ended(State, Option<&'static str>),
    /// It can't go out, and an operator should know: a dead letter.
    Dead(&'static str),
    /// It failed and may go through later.
    Failed(&'static str),
    /// It must wait, through no fault of its own.
    Wait(Duration, &'static str),
}

/// One attempt at a gateway, for the record.
struct Attempt {
    device: Option<Uuid>,
    answer: Result<Reference, GatewayError>,
    at: DateTime<Utc>,
    took: Duration,
}

impl Attempt {
    fn outcome(&self) -> &'static str {
        self.answer.as_ref().map_or_else(GatewayError::name, |_| State::Delivered.name())
    }
}

/// Why a run broke off; all of these may pass.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error("the database did not answer")]
    Database(#[from] sqlx::Error),
    #[error("the text can't be made")]
    Template(#[from] TemplateError),
    #[error("the stored message can't be read")]
    Unreadable,
    #[error("a token can't be opened")]
    Token(#[from] PersonError),
}

impl RunError {
    fn name(&self) -> &'static str {
        match self {
            Self::Database(_) => "database",
            Self::Template(_) => "template",
            Self::Unreadable => "unreadable",
            Self::Token(_) => "token",
        }
    }
}

/// A lane's handler of jobs.
#[derive(Clone)]
pub(crate) struct LaneWorker(pub(crate) Arc<Sender>);

#[async_trait]
impl JobHandler for LaneWorker {
    async fn run(&self, job: &Job) -> Outcome {
        match self.0.try_run(job).await {
            Ok(outcome) => outcome,
            Err(error) => {
                warn!(%error, source = ?std::error::Error::source(&error), "message was not processed");
                Outcome::Retry(error.name().to_owned())
            }
        }
    }
}

impl Sender {
    async fn try_run(&self, job: &Job) -> Result<Outcome, RunError> {
        let Ok(id) = job.key.parse::<Uuid>() else { return Ok(Outcome::Dead("unreadable".to_owned())) };
        let Some(message) = self.read(id).await? else { return Ok(Outcome::Done) };
        // A dead letter that is redriven comes back as failed.
        if ![State::Waiting.name(), State::Failed.name()].contains(&message.state.as_str()) {
            return Ok(Outcome::Done);
        }
        let verdict = match message.channel {
            _ if message.is_overtaken => self.drop_overtaken(&message).await,
            Channel::Sms if message.template == template::OTP => self.send_code(&message).await,
            Channel::Sms => self.send_text(&message).await,
            Channel::Push => self.send_push(&message).await,
            Channel::InApp => Ok(Verdict::Ended(State::Delivered, None)),
        };
        let verdict = match verdict {
            Err(RunError::Template(error)) => {
                error!(message.id = %id, %error, "message has no text");
                Verdict::Dead("template")
            }
            other => other?,
        };
        self.conclude(job, &message, verdict).await
    }

    /// A warning that is over goes to nobody else.
    async fn drop_overtaken(&self, message: &Outgoing) -> Result<Verdict, RunError> {
        Ok(match message.channel {
            Channel::Push if self.reached_any(message.id).await? => Verdict::Ended(State::Delivered, None),
            _ => Verdict::Ended(State::Suppressed, Some("overtaken")),
        })
    }

    async fn conclude(&self, job: &Job, message: &Outgoing, verdict: Verdict) -> Result<Outcome, RunError> {
        let now = self.clock.now();
        let old = now - message.created_at > longest_life(message.lane);
        match verdict {
            Verdict::Ended(state, reason) => self.end(job, message, state, reason).await,
            Verdict::Dead(reason) => self.give_up(job, message, reason).await,
            Verdict::Failed(reason) if old || job.failures + 1 >= MAX_FAILURES => {
                self.give_up(job, message, reason).await
            }
            Verdict::Failed(reason) => Ok(Outcome::Retry(reason.to_owned())),
            Verdict::Wait(_, reason) if old => self.give_up(job, message, reason).await,
            Verdict::Wait(pause, reason) => Ok(Outcome::RetryAt(now + jittered(pause), reason.to_owned())),
        }
    }

    /// Ends a message and its job in one transaction.
    async fn end(
        &self,
        job: &Job,
        message: &Outgoing,
        state: State,
        reason: Option<&'static str>,
    ) -> Result<Outcome, RunError> {
        let mut transaction = platform::db::begin(&self.pool).await?;
        if let Err(error) = job.finish(&mut transaction).await {
            return match error {
                // Another worker has the message now.
                JobError::LeaseLost => Ok(Outcome::Done),
                JobError::Database(error) => Err(error.into()),
            };
        }
        self.settle(transaction, message, state, reason).await?;
        Ok(Outcome::Done)
    }

    /// Gives a message up as a dead letter; one that some device has is delivered all the same.
    async fn give_up(&self, job: &Job, message: &Outgoing, reason: &'static str) -> Result<Outcome, RunError> {
        if message.channel == Channel::Push && self.reached_any(message.id).await? {
            return self.end(job, message, State::Delivered, None).await;
        }
        self.settle(platform::db::begin(&self.pool).await?, message, State::Failed, Some(reason)).await?;
        warn!(message.id = %message.id, lane = message.lane.name(), reason, "message given up");
        Ok(Outcome::Dead(reason.to_owned()))
    }

    /// Writes how a message ended, tells it on our stream, commits and counts; once.
    async fn settle(
        &self,
        mut transaction: Transaction<'_, Postgres>,
        message: &Outgoing,
        state: State,
        reason: Option<&'static str>,
    ) -> Result<(), sqlx::Error> {
        let now = self.clock.now();
        let settled = sqlx::query!(
            "UPDATE notifications.message SET state = $2, reason = $3, settled_at = $4
             WHERE id = $1 AND state IN ('waiting', 'failed') AND state <> $2",
            message.id,
            state.name(),
            reason,
            now
        );
        let changed = settled.execute(&mut *transaction).await?.rows_affected() == 1;
        if changed {
            let event = settled_event(message.id, message.recipient, (message.lane, message.channel, state));
            platform::outbox::append(&mut transaction, SCHEMA, now, &[event]).await?;
        }
        transaction.commit().await?;
        if changed {
            self.meter.settled(message.lane, message.channel, state);
            debug!(message.id = %message.id, lane = message.lane.name(), outcome = state.name(), "message settled");
        }
        Ok(())
    }

    async fn read(&self, id: Uuid) -> Result<Option<Outgoing>, RunError> {
        let row = sqlx::query!(
            r#"SELECT recipient, lane, channel, template, parameters, message.state, created_at,
                      coalesce(alert.state <> 'released' OR alert.expires_at <= $2, false) AS "is_overtaken!"
               FROM notifications.message LEFT JOIN notifications.alert ON alert.id = message.event_id
               WHERE message.id = $1"#,
            id,
            self.clock.now()
        );
        let Some(row) = row.fetch_optional(&self.pool).await? else { return Ok(None) };
        Ok(Some(Outgoing {
            id,
            recipient: row.recipient,
            lane: Lane::from_name(&row.lane).ok_or(RunError::Unreadable)?,
            channel: Channel::from_name(&row.channel).ok_or(RunError::Unreadable)?,
            template: Template::find(&row.template)?,
            parameters: row.parameters,
            state: row.state,
            created_at: row.created_at,
            is_overtaken: row.is_overtaken,
        }))
    }

    /// Asks a gateway once and measures it.
    async fn attempt<F>(&self, channel: Channel, device: Option<Uuid>, call: F) -> Attempt
    where
        F: Future<Output = Result<Reference, GatewayError>>,
    {
        let (at, start) = (self.clock.now(), Instant::now());
        let answer = call.await;
        let attempt = Attempt { device, answer, at, took: start.elapsed() };
        self.meter.attempted(channel, attempt.outcome(), attempt.took);
        attempt
    }

    /// Keeps what was tried and what was answered. A run that could not reach a gateway at all leaves no record.
    async fn record(&self, message: Uuid, attempts: &[Attempt]) -> Result<(), sqlx::Error> {
        let asked: Vec<&Attempt> =
            attempts.iter().filter(|attempt| !matches!(attempt.answer, Err(GatewayError::CircuitOpen(_)))).collect();
        if asked.is_empty() {
            return Ok(());
        }
        let ids: Vec<Uuid> = asked.iter().map(|_| platform::id::new()).collect();
        let devices: Vec<Option<Uuid>> = asked.iter().map(|attempt| attempt.device).collect();
        let outcomes: Vec<&str> = asked.iter().map(|attempt| attempt.outcome()).collect();
        let references: Vec<Option<&str>> =
            asked.iter().map(|attempt| attempt.answer.as_ref().ok().and_then(Option::as_deref)).collect();
        let times: Vec<DateTime<Utc>> = asked.iter().map(|attempt| attempt.at).collect();
        let durations: Vec<i32> =
            asked.iter().map(|attempt| i32::try_from(attempt.took.as_millis()).unwrap_or(i32::MAX)).collect();
        sqlx::query!(
            "INSERT INTO notifications.attempt (id, message_id, device_id, outcome, gateway_reference, attempted_at, duration_ms)
             SELECT attempt.id, $1, attempt.device_id, attempt.outcome, attempt.reference, attempt.at, attempt.duration_ms
             FROM unnest($2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::timestamptz[], $7::integer[])
                 AS attempt (id, device_id, outcome, reference, at, duration_ms)",
            message,
            &ids,
            &devices as &[Option<Uuid>],
            &outcomes as &[&str],
            &references as &[Option<&str>],
            &times,
            &durations
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}

/// What a gateway's answer means for a message that goes to one address.
fn verdict_of(answer: &Result<Reference, GatewayError>) -> Verdict {
    match answer {
        Ok(_) => Verdict::Ended(State::Delivered, None),
        Err(error @ GatewayError::Dead) => Verdict::Ended(State::Failed, Some(error.name())),
        Err(error @ GatewayError::Refused(_)) => Verdict::Dead(error.name()),
        Err(error @ GatewayError::NotConfigured) => Verdict::Ended(State::Suppressed, Some(error.name())),
        Err(error @ (GatewayError::Throttled(pause) | GatewayError::CircuitOpen(pause))) => {
            Verdict::Wait(*pause, error.name())
        }
        Err(error @ (GatewayError::Unavailable(_) | GatewayError::Timeout)) => Verdict::Failed(error.name()),
    }
}

/// A pause, up to a half longer, so that those who wait for the same thing don't come back at the same moment.
fn jittered(pause: Duration) -> TimeDelta {
    let factor = rand::rng().random_range(1.0..1.5);
    TimeDelta::from_std(pause.mul_f64(factor)).unwrap_or(TimeDelta::MAX)
}

//! Messages to people: one-time codes, money that moved, news of the city.
//!
//! # Map
//!
//! | module | what it holds |
//! | --- | --- |
//! | `lane`, `template`, `preference`, `quiet`, `sms` | pure rules: what a message is about, its text, who muted it, when it waits, what an SMS costs |
//! | `event` | which events call for which messages; the consumer |
//! | `escalation` | officers are told of time limits of reports |
//! | `message` | messages made at most once each, in the transaction of their event |
//! | `ladder` | what reached no phone goes by text message in the end |
//! | `digest` | news of a day as one message |
//! | `send` | what a lane's worker does with one message |
//! | `gateway` | the outside parties: SMS and push, each with deadline, breaker and typed errors |
//! | `inbox` | in-app messages in order, and the wake-up of their streams |
//! | `receipt` | what a gateway says of a text message after it took it |
//! | `device`, `preference_sql` | what citizens registered and chose |
//! | `dependent` | who has no telephone, and who is told in their place |
//! | `person` | what is sealed under a citizen's own key |
//! | `news` | news of the city: published by an officer, fanned out |
//! | `alert` | warnings: drafted, released by another officer, fanned out, written as CAP 1.2 |
//! | `fan_out` | what both fan-outs have in common |
//! | `city`, `ward` | the city's wards, and those that citizens chose |
//! | `grpc` | what is asked of identity |
//! | `http` | what a citizen sees: inbox, stream, preferences, devices, wards; warnings for officers and for everybody |
//! | `retention`, `meter` | what is removed, what is measured |
//!
//! # From an event to a phone
//!
//! 1. A consumer reads an event of `identity`, `journal`, `reports-private` or `wallet` and inserts one row per recipient and channel,
//!    unique by (event, recipient, channel, template). In-app messages have arrived with that, and some are not to be sent:
//!    `MessagesSettled` tells how many; the others get a job of their lane's kind in the same transaction.
//! 2. A worker of that lane claims the job, asks identity for what it needs, sends, records the attempt, and settles
//!    message and job in one transaction, with a `MessageSettled` event.
//! 3. A failure that may pass is tried again with backoff and jitter; what is given up is a dead letter with its reason.
//!
//! Invariants:
//! - Lanes share no worker: a flood in one delays no other.
//! - A one-time code is never stored or logged (see `send`).
//! - No outside party is called inside a transaction.
//! - The names axum and tonic appear in `http`, `grpc` and this file only.

mod alert;
mod city;
mod config;
mod dependent;
mod device;
mod digest;
mod error;
mod escalation;
mod event;
mod fan_out;
mod gateway;
mod grpc;
mod http;
mod inbox;
mod ladder;
mod lane;
mod message;
mod meter;
mod news;
mod person;
mod preference;
mod preference_sql;
mod quiet;
mod receipt;
mod retention;
mod send;
mod sms;
mod template;
#[cfg(test)]
mod tests;
mod ward;

use std::path::Path;
use std::sync::Arc;

use chrono::TimeDelta;
use chrono_tz::Tz;
use platform::clock::Clock;
use platform::dataset::Fault;
use platform::db::Schema;
use platform::events::Consumer;
use platform::job::{Runner, RunnerSettings};
use platform::outbox::Relay;
use platform::person::{PersonConfigError, PersonKeys, tasks as person_tasks, upkeep};
use platform::rpc::Channel;
use platform::service::{Context, DatabaseReady, Service};
use platform::task::Task;
use tracing::warn;

pub use crate::config::{CapPartner, Config, LaneConfig, PushConfig, ReceiptConfig, RetentionDays, SmsConfig};
pub use crate::error::CODES;
pub use crate::lane::{Channel as MessageChannel, Lane};
pub use crate::send::RETAKE_WINDOW;
pub use crate::sms::{Cost, Encoding, cost};

/// The role's schema.
pub const SCHEMA: Schema = Schema::new("notifications");

/// How long jobs that are done are remembered; their messages stay for longer.
const JOB_MEMORY: TimeDelta = TimeDelta::days(1);

/// The role's migrations.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!();

/// What the role is given.
#[derive(Clone, Debug)]
pub struct Deps {
    /// What every role is given.
    pub context: Context,
    /// The way to identity.
    pub identity: Channel,
}

/// Why the role can't be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A lane would have no workers, or too many.
    #[error("lane {} must have 1 to {max} workers", .lane.name(), max = config::MAX_WORKERS)]
    Workers {
        /// Which.
        lane: Lane,
    },
    /// The city's folder can't be used.
    #[error(transparent)]
    City(#[from] platform::dataset::Faults),
    /// Receipts of text messages can't come.
    #[error("notifications.sms.receipts: {0}")]
    Receipts(&'static str),
    /// The secrets of citizens' keys can't be used.
    #[error(transparent)]
    Persons(#[from] PersonConfigError),
    /// A gateway's settings can't be used.
    #[error("gateway {gateway}: {source}")]
    Gateway {
        /// Which.
        gateway: &'static str,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl BuildError {
    fn gateway(gateway: &'static str, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Gateway { gateway, source: Box::new(source) }
    }
}

/// Makes the role.
///
/// # Errors
/// When a setting can't be used.
pub async fn build(config: Config, deps: Deps) -> Result<Service, BuildError> {
    if let Some(lane) = config.lanes.fault() {
        return Err(BuildError::Workers { lane });
    }
    let Context { pool, clock, metrics, verifier, public_url, .. } = deps.context.clone();
    let city = Arc::new(city::City::read(&deps.context.city)?);
    let meter = meter::Meter::new(&metrics);
    let persons = Arc::new(PersonKeys::try_new(SCHEMA, &config.persons)?);
    let receipts = config.sms.as_ref().map(|sms| sms.receipts(&public_url)).transpose()?.flatten();
    let sender = Arc::new(send::Sender {
        pool: pool.clone(),
        clock: clock.clone(),
        meter: meter.clone(),
        identity: grpc::Identity::new(deps.identity.clone()),
        sms: sms_gateway(config.sms, receipts.as_ref())?,
        push: push_gateway(config.push, &clock)?,
        persons: persons.clone(),
    });
    let hub = inbox::Hub::default();
    let mut tasks = lane_tasks(&deps.context, &config.lanes, &sender);
    tasks.extend(event_tasks(&deps, &persons, &meter, city.zone));
    // Apart from those that send.
    let batches = fan_out::Batches::new(&deps.context, &meter, city.zone);
    tasks.push(fan_out::task(&deps.context, alert::fan_out::AlertFanOut(batches.clone())));
    tasks.push(fan_out::task(&deps.context, news::fan_out::NewsFanOut(batches)));
    tasks.push(digest_task(&deps.context, &meter, city.zone));
    tasks.push(ladder_task(&deps.context, &meter, city.zone));
    tasks.push(hub.task(pool.clone()));
    tasks.push(meter.task(pool.clone()));
    tasks.push(upkeep(&deps.context, persons.clone(), Arc::new(person::Plain(persons.clone()))));
    tasks.push(retention::task(pool.clone(), clock.clone(), config.retention_days));
    let partners = config.cap_partners;
    let news = news::Desk { clock: clock.clone(), city: city.clone(), identity: sender.identity.clone() };
    tasks.extend(escalation_tasks(&deps.context, &city, &meter, &sender.identity));
    let desk = alert::desk::Desk { pool: pool.clone(), clock: clock.clone(), city, meter };
    tasks.extend(alert_tasks(&deps.context, &desk));
    let mut machines = platform::http::Machines::default();
    partners.iter().for_each(|(name, partner)| machines.insert(name, partner.secret.clone()));
    let senders = partners.into_iter().map(|(name, partner)| (name, partner.senders)).collect();
    let routes = http::Routes {
        pool: pool.clone(),
        clock,
        verifier,
        hub,
        desk,
        news,
        receipts,
        persons,
        cap_partners: Arc::new(machines),
        cap_senders: Arc::new(senders),
        public_url,
    };
    Ok(Service { http: http::router(routes), grpc: None, tasks, ready: vec![Arc::new(DatabaseReady(pool))], metrics })
}

/// What is wrong with the files of a city's folder that warnings need.
pub fn check_city(dir: &Path) -> Vec<Fault> {
    city::City::read(dir).err().map(|faults| faults.0).unwrap_or_default()
}

/// One runner per lane, with workers of its own.
fn lane_tasks(context: &Context, lanes: &LaneConfig, sender: &Arc<send::Sender>) -> Vec<Task> {
    let runner = |lane: Lane| {
        let settings = RunnerSettings {
            concurrency: lanes.workers(lane),
            patience: send::patience(lane),
            keep_done: JOB_MEMORY,
            ..RunnerSettings::default()
        };
        let worker = send::LaneWorker(sender.clone());
        Runner::new(context, SCHEMA).on(lane.job_kind(), worker).settings(settings).into_task()
    };
    Lane::ALL.into_iter().map(runner).collect()
}

/// The runner that makes digests.
fn digest_task(context: &Context, meter: &meter::Meter, zone: Tz) -> Task {
    use digest::{Digester, JOB_KIND, WORKERS};
    let digester = Digester { pool: context.pool.clone(), clock: context.clock.clone(), meter: meter.clone(), zone };
    let settings = RunnerSettings { concurrency: WORKERS, ..RunnerSettings::default() };
    Runner::new(context, SCHEMA).on(JOB_KIND, digester).settings(settings).into_task()
}

/// The runner that sends by text message what reached no phone.
fn ladder_task(context: &Context, meter: &meter::Meter, zone: Tz) -> Task {
    use ladder::{JOB_KIND, Ladder, WORKERS};
    let ladder = Ladder { pool: context.pool.clone(), clock: context.clock.clone(), meter: meter.clone(), zone };
    let settings = RunnerSettings { concurrency: WORKERS, ..RunnerSettings::default() };
    Runner::new(context, SCHEMA).on(JOB_KIND, ladder).settings(settings).into_task()
}

/// What drafts warnings from alarms, and drafts them anew; what sends them by text message in the end, and what tells how many have a warning.
fn alert_tasks(context: &Context, desk: &alert::desk::Desk) -> [Task; 4] {
    use alert::tell::{JOB_KIND, Teller, WORKERS};
    use alert::{climb, climb::Climber, renew, renew::Renewer};
    let drafter = alert::alarm::Drafter(desk.clone());
    let (renewer, drafter) = (Renewer(drafter.clone()), Arc::new(drafter));
    let renewing = RunnerSettings { concurrency: renew::WORKERS, ..RunnerSettings::default() };
    let teller = Teller { pool: context.pool.clone(), clock: context.clock.clone() };
    let settings = RunnerSettings { concurrency: WORKERS, ..RunnerSettings::default() };
    let climber = Climber {
        pool: context.pool.clone(),
        clock: context.clock.clone(),
        meter: desk.meter.clone(),
        zone: desk.city.zone,
    };
    let climbing = RunnerSettings { concurrency: climb::WORKERS, ..RunnerSettings::default() };
    [
        Runner::new(context, SCHEMA).on(climb::JOB_KIND, climber).settings(climbing).into_task(),
        Runner::new(context, SCHEMA).on(renew::JOB_KIND, renewer).settings(renewing).into_task(),
        Consumer::new(context, SCHEMA, alert::alarm::STREAM, drafter).into_task(),
        Runner::new(context, SCHEMA).on(JOB_KIND, teller).settings(settings).into_task(),
    ]
}

/// The consumer that sees escalations of reports, and the runner that tells officers.
fn escalation_tasks(
    context: &Context,
    city: &Arc<city::City>,
    meter: &meter::Meter,
    identity: &grpc::Identity,
) -> [Task; 2] {
    use escalation::{JOB_KIND, Planner, STREAM, Teller, WORKERS};
    let teller = Teller {
        pool: context.pool.clone(),
        clock: context.clock.clone(),
        meter: meter.clone(),
        city: city.clone(),
        identity: identity.clone(),
    };
    let settings = RunnerSettings { concurrency: WORKERS, ..RunnerSettings::default() };
    [
        Consumer::new(context, SCHEMA, STREAM, Arc::new(Planner(context.clock.clone()))).into_task(),
        Runner::new(context, SCHEMA).on(JOB_KIND, teller).settings(settings).into_task(),
    ]
}

/// The consumers of other services' events, and the relay of our own.
fn event_tasks(deps: &Deps, persons: &Arc<PersonKeys>, meter: &meter::Meter, zone: Tz) -> Vec<Task> {
    let context = &deps.context;
    let writer = Arc::new(event::Writer { clock: context.clock.clone(), zone, meter: meter.clone() });
    let consumers =
        event::STREAMS.into_iter().map(|stream| Consumer::new(context, SCHEMA, stream, writer.clone()).into_task());
    let holder = Arc::new(person::NotificationHolder);
    let asked = person_tasks(context, (SCHEMA, persons.clone()), deps.identity.clone(), holder, Some(writer.clone()));
    consumers.chain([Relay::of_outbox(context, SCHEMA, SCHEMA.name()).into_task()]).chain(asked).collect()
}

fn sms_gateway(
    config: Option<SmsConfig>,
    receipts: Option<&receipt::Receipts>,
) -> Result<Arc<dyn gateway::SmsGateway>, BuildError> {
    let Some(config) = config else {
        warn!("no SMS gateway is configured; text messages will be suppressed");
        return Ok(Arc::new(gateway::NotConfigured));
    };
    let receipt_url = receipts.map(|receipts| receipts.url.clone());
    let gateway = gateway::HttpSmsGateway::try_new(config, receipt_url);
    let gateway = gateway.map_err(|error| BuildError::gateway("sms", error))?;
    Ok(Arc::new(gateway))
}

fn push_gateway(config: Option<PushConfig>, clock: &Clock) -> Result<Arc<dyn gateway::PushGateway>, BuildError> {
    let Some(config) = config else {
        warn!("no push gateway is configured; push messages will be suppressed");
        return Ok(Arc::new(gateway::NotConfigured));
    };
    let gateway =
        gateway::FcmGateway::try_new(config, clock.clone()).map_err(|error| BuildError::gateway("push", error))?;
    Ok(Arc::new(gateway))
}

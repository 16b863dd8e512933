//! Field reports: what citizens tell the city, where, and who must act.
//!
//! # Map
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`city`] | the city itself, its wards with their geometry, categories and their forms, agencies, working days, places: read from the city's folder and checked |
//! | [`lifecycle`] | the state machine: who may do what, versions, rounds (pure) |
//! | [`clock`] | time limits on the working calendar, stopwatches (pure) |
//! | `report` | the use cases: a report is filed, something is done to it |
//! | `history` | the append-only history and its hash chain |
//! | `escalation` | time limits as jobs |
//! | `photo`, `picture`, `store` | photos: written down; cleaned (pure); where they are kept |
//! | `arrival` | photos on their way, and what is left of those that never came |
//! | `redact`, `text` | numbers of persons taken out of texts; parsed texts (pure) |
//! | `list`, `queue`, `statistics` | reading: by everyone, by officers, counted |
//! | `officer` | who acts for the operations centre or an agency, by the roles of their token (pure) |
//! | [`appointment`] | who was appointed here before identity gave the roles |
//! | `person` | what is sealed under a reporter's own key |
//! | [`event`], `metrics`, `error` | what is told; counts; stable codes |
//! | `http` | routes |
//!
//! Round trips of a transition: a look at the key and the report, and one statement that writes everything.
//!
//! Lock order: reporter's key, report, arrival, idempotency key, job, outbox head; what is written together goes by the reports' ids.
//!
//! Invariants:
//! - The names axum and tonic appear in `http` and in this file only.
//! - The role reads the city's folder once, at start, and refuses to start when a fault is found in it.
//! - Who sent a report stands in `reports.reporter` and on the private stream, and nowhere else: in no public or agency answer,
//!   no event of the city's stream, no history, no job, no log, no metric.

pub mod appointment;
mod arrival;
pub mod city;
pub mod clock;
pub mod config;
mod error;
mod escalation;
pub mod event;
mod history;
mod http;
pub mod lifecycle;
mod list;
mod metrics;
mod officer;
mod person;
mod photo;
mod picture;
mod queue;
mod redact;
mod report;
mod statistics;
mod store;
mod text;
mod together;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use platform::clock::Clock;
use platform::dataset::{Fault, Faults};
use platform::db::Schema;
use platform::idempotency;
use platform::job::Runner;
use platform::outbox::Relay;
use platform::person::{PersonConfigError, PersonKeys, tasks as person_tasks, upkeep};
use platform::rpc::Channel;
use platform::service::{Context, DatabaseReady, KeysReady, Service};
use platform::task::Task;
use sqlx::PgPool;

pub use config::Config;
pub use event::{PRIVATE_STREAM, STREAM};

use crate::city::City;
use crate::clock::WorkingTime;
use crate::lifecycle::{Case, Moment};
use crate::metrics::ReportMetrics;
use crate::together::Together;

/// The role's schema.
pub const SCHEMA: Schema = Schema::new("reports");

/// The role's migrations.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!();

/// How often open reports are counted.
const COUNT_INTERVAL: Duration = Duration::from_secs(15);
/// How long answers to idempotency keys are kept: at least as long as an app's offline queue is expected to live.
const KEY_LIFE: TimeDelta = TimeDelta::days(30);
/// Digits of a second that the database keeps.
const KEPT_DIGITS: u16 = 6;

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
    /// The city's folder has faults.
    #[error("the city's folder has faults:\n{0}")]
    City(#[from] Faults),
    /// The secrets of citizens' keys can't be used.
    #[error(transparent)]
    Persons(#[from] PersonConfigError),
    /// Photos can't be kept where the configuration says.
    #[error("reports: photos: {0}")]
    Photos(Box<dyn std::error::Error + Send + Sync>),
}

/// The service: what every use case needs.
pub(crate) struct Reports {
    pool: PgPool,
    together: Together,
    clock: Clock,
    city: Arc<City>,
    time: WorkingTime,
    photos: photo::Photos,
    metrics: ReportMetrics,
    statistics: statistics::Counter,
    persons: Arc<PersonKeys>,
}

impl Reports {
    /// Now, as precise as the database keeps it.
    fn now(&self) -> DateTime<Utc> {
        self.clock.now().trunc_subsecs(KEPT_DIGITS)
    }

    /// The moment of a decision about a report of a category.
    fn moment(&self, now: DateTime<Utc>, category: &str) -> Moment<'_> {
        let target_working_days = self.city.category(category).map_or(0, |category| category.target_working_days);
        Moment { now, time: &self.time, target_working_days }
    }

    /// When the running limit of a case ends.
    fn due(&self, case: &Case) -> Option<DateTime<Utc>> {
        case.running().and_then(|watch| watch.reaches(&self.time, 100))
    }
}

/// Reads the city and makes the role. Database and files may be away when the process starts.
///
/// # Errors
/// Every fault of the city's folder that concerns field reports.
pub async fn build(config: Config, deps: Deps) -> Result<Service, BuildError> {
    let Deps { context, identity } = deps;
    let dir = Arc::clone(&context.city);
    let city = tokio::task::spawn_blocking(move || City::load(&dir))
        .await
        .expect("reading the city's folder does not panic")?;
    let entries = context.metrics.gauge("city_entries", "Entries read from the city's folder.", &["kind"]);
    for (kind, count) in [("ward", city.wards.len()), ("category", city.categories.len())] {
        entries.with_label_values(&[kind]).set(i64::try_from(count).unwrap_or(i64::MAX));
    }
    let store = store::Store::try_new(&config.photos).map_err(BuildError::Photos)?;
    let (together, together_tasks) = Together::start(&context.pool);
    let reports = Arc::new(Reports {
        pool: context.pool.clone(),
        together,
        clock: context.clock.clone(),
        time: WorkingTime::of(&city),
        city: Arc::new(city),
        photos: photo::Photos::new(store, config.photos_at_once),
        metrics: ReportMetrics::new(&context.metrics),
        statistics: statistics::Counter::default(),
        persons: Arc::new(PersonKeys::try_new(SCHEMA, &config.persons)?),
    });
    let [asked, work] = person_tasks(
        &context,
        (SCHEMA, reports.persons.clone()),
        identity,
        Arc::new(person::ReportHolder(Arc::clone(&reports))),
        None,
    );
    let limits = escalation::LimitJob { reports: Arc::clone(&reports) };
    let beside = [
        Relay::of_outbox(&context, SCHEMA, STREAM).into_task(),
        Relay::of_outbox(&context, SCHEMA, PRIVATE_STREAM).into_task(),
        Runner::new(&context, SCHEMA).on(escalation::JOB, limits).into_task(),
        count_task(Arc::clone(&reports)),
        arrival::sweep_task(Arc::clone(&reports)),
        asked,
        work,
        upkeep(&context, reports.persons.clone(), Arc::new(person::Plain(Arc::clone(&reports)))),
        idempotency::retention(context.pool.clone(), SCHEMA, context.clock.clone(), KEY_LIFE),
    ];
    Ok(Service {
        tasks: together_tasks.into_iter().chain(beside).collect(),
        http: http::router(reports),
        grpc: None,
        ready: vec![Arc::new(DatabaseReady(context.pool)), Arc::new(KeysReady(context.verifier))],
        metrics: context.metrics,
    })
}

/// Counts open reports for the metrics.
fn count_task(reports: Arc<Reports>) -> Task {
    Task::new("report-count", move |shutdown| async move {
        loop {
            let counted = async { list::open(&mut *reports.pool.acquire().await?).await };
            match counted.await {
                Ok(counts) => reports.metrics.open(&counts),
                Err(error) => tracing::warn!(%error, "open reports were not counted"),
            }
            tokio::select! {
                () = tokio::time::sleep(COUNT_INTERVAL) => {}
                () = shutdown.cancelled() => return Ok(()),
            }
        }
    })
}

/// The largest body that a path of the role takes when it takes more than others, in bytes; a proxy in front asks for it.
pub fn body_limit(path: &str) -> Option<usize> {
    http::body_limit(path)
}

/// Every fault of the files that field reports read from a city's folder, with file and line.
pub fn check_city(dir: &Path) -> Vec<Fault> {
    city::read(dir).1
}

//! The operations centre: what happens in the city, counted, shown live, and checked against the wallet's own books.
//!
//! | module | what it holds |
//! | --- | --- |
//! | `city` | the name on the wall, the zone of its days, its currency |
//! | [`directory`] | the names of wards and agencies, and the map of the wards |
//! | `tally` | from events to what is counted. Pure |
//! | `report` | from events of field reports to how many stand where and what happened to them. Pure |
//! | `warning` | from events of warnings to which are in force and how many they reached. Pure |
//! | `consume` | the streams of the other services into the tallies, in the consumer's transaction |
//! | `sql` | every statement |
//! | `board` | what changed, at most four times a second, to every wall of this process |
//! | `lag` | how far the figures trail the streams that they are counted from |
//! | `books` | the comparison with the wallet's totals at one journal position |
//! | `metrics` | the Prometheus text format: read strictly, joined, written. Pure |
//! | `expose` | the shared metrics endpoint's text |
//! | `sign_in` | operators' way to the wall by browser: the OpenID provider, sessions, their cookies |
//! | `upstream` | the city's own public HTTP, as this process reaches it |
//! | `sensor` | sensors by OGC SensorThings, plausible readings, alarms of rivers |
//! | [`role`] and [`peers`] | how roles of this process and of others are asked |
//! | `grpc` | the call to the wallet |
//! | `http` | routes, the embedded pages, and who may ask |
//!
//! Lock order: the leases of the consumed stream, or the datastream of a reading; then the row of `ioc.board`; then the outbox. Readers lock
//! nothing.
//!
//! Invariants:
//! - Revisions grow in the order of commits; a wall that has seen one misses exactly the rows with a greater one.
//! - Nothing stored or shown here names a citizen.
//! - Every replica may consume, compare and show: the database alone is shared.

pub mod city;
pub mod config;
pub mod directory;
pub mod metrics;
pub mod network;
pub mod overview;
pub mod peers;
pub mod role;

mod board;
mod books;
mod consume;
mod error;
mod expose;
mod grpc;
mod happening;
mod http;
mod lag;
mod report;
mod sensor;
mod sign_in;
mod sql;
mod tally;
mod upstream;
mod warning;

use std::path::Path;
use std::sync::Arc;

use platform::dataset::Fault;
use platform::db::Schema;
use platform::events::Consumer;
use platform::outbox::Relay;
use platform::service::Service;
use platform::task::Task;

pub use self::config::Config;
pub use self::error::{BuildError, Error};
pub use self::sign_in::{Places as SignInPlaces, places as sign_in_places};

/// The schema of the operations centre.
pub const SCHEMA: Schema = Schema::new("ioc");
/// Its migrations.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!();

/// What the operations centre needs from the program.
pub struct Deps {
    /// What every role gets.
    pub context: platform::service::Context,
    /// The wallet, for its totals.
    pub wallet: platform::rpc::Channel,
    /// The roles of this process.
    pub roles: Arc<dyn role::RoleStatus>,
}

impl std::fmt::Debug for Deps {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Deps").field("context", &self.context).finish_non_exhaustive()
    }
}

/// Builds the role.
///
/// # Errors
/// When the city's folder or a peer's address is not usable.
pub async fn build(config: Config, deps: Deps) -> Result<Service, BuildError> {
    let Deps { context, wallet, roles } = deps;
    let city = Arc::new(city::City::read(&context.city)?);
    let places = Arc::new(directory::Places::read(&context.city)?);
    let peers = peers::HttpPeers::new(config.peers.clone())?;
    let roles: Arc<dyn role::RoleStatus> = Arc::new(role::Every(vec![roles, Arc::new(peers)]));
    let stations = Arc::new(stations(&context.city, &places)?);
    let (pool, clock, metrics) = (context.pool.clone(), context.clock.clone(), context.metrics.clone());
    config.sensor_clients.check(&stations)?;
    let clients = Arc::new(config.sensor_clients.clone());
    let meter = sensor::keep::SensorMeter::new(&metrics);
    clients.reporting(&stations).for_each(|station| meter.expect(station));

    let comparer = books::Comparer::new(pool.clone(), clock.clone(), &metrics, wallet);
    let lookout = lag::Lookout::new(&context, &metrics, consume::STREAMS.into_iter().chain([report::REPORTS]));
    let sources = board::Sources {
        roles: roles.clone(),
        books: comparer.watch(),
        streams: lookout.watch(),
        stations: stations.clone(),
    };
    let board = Arc::new(board::Board::new((pool, clock, &metrics), city.clone(), sources, config.max_walls));
    let gatherer = Arc::new(expose::Gatherer::new(roles, &metrics));
    let (pool, clock) = (context.pool.clone(), context.clock.clone());
    let upstream = upstream::Upstream::new(&context.public_url, config.city_url.as_ref())?;
    let (verifier, reached) = (context.verifier.clone(), (&context.public_url, upstream.clone()));
    let sign_in = match &config.sign_in {
        Some(own) => Some(Arc::new(sign_in::SignIn::try_new(own, (pool.clone(), clock.clone()), verifier, reached)?)),
        None => None,
    };
    let desk = http::Desk {
        board: board.clone(),
        happenings: happening::Happenings { pool: pool.clone(), city: city.clone(), clock: clock.clone() },
        places,
        gatherer,
        scraping: Arc::new(tokio::sync::Semaphore::new(1)),
        alarms: sensor::desk::AlarmDesk {
            pool: pool.clone(),
            clock: clock.clone(),
            stations: stations.clone(),
            meter: meter.clone(),
        },
        registry: sensor::registry::Registry {
            pool: pool.clone(),
            clock: clock.clone(),
            stations: stations.clone(),
            clients: clients.clone(),
            base: format!("{}sta/v1.1/", context.public_url),
        },
        sensor_clients: Arc::new(clients.machines()),
        watch: sensor::watch::Watch {
            pool: pool.clone(),
            clock: clock.clone(),
            stations,
            clients,
            meter: meter.clone(),
        },
        upstream,
    };

    let mut tasks = vec![
        Task::new("board", move |shutdown| async move {
            board.run(&shutdown).await;
            Ok(())
        }),
        Task::new("books", move |shutdown| async move {
            comparer.run(shutdown).await;
            Ok(())
        }),
    ];
    tasks.push(Task::new("lag", move |shutdown| async move {
        lookout.run(shutdown).await;
        Ok(())
    }));
    tasks.push(meter.task(pool, clock));
    tasks.extend(sign_in.iter().map(|sign_in| sign_in.sessions.task()));
    let door = http::door::Door::new(sign_in, &context.public_url);
    tasks.push(Relay::of_outbox(&context, SCHEMA, SCHEMA.name()).into_task());
    for stream in consume::STREAMS {
        let tallier = consume::Tallier { stream, city: city.clone() };
        tasks.push(Consumer::new(&context, SCHEMA, stream, Arc::new(tallier)).into_task());
    }
    let counter = Arc::new(consume::ReportCounter { city });
    tasks.push(Consumer::new(&context, SCHEMA, report::REPORTS, counter).into_task());
    // No checks of its own: the program asks every role's database. While it is away the role is not ready, and the
    // shared metrics endpoint, which needs none, goes on answering.
    Ok(Service { http: http::routes(Arc::new(config), desk, door), grpc: None, tasks, ready: Vec::new(), metrics })
}

/// What is wrong with the files of a city's folder that the centre reads.
pub fn check_city(dir: &Path) -> Vec<Fault> {
    let places = match directory::Places::read(dir) {
        Ok(places) => stations(dir, &places).err(),
        Err(faults) => Some(faults),
    };
    city::City::read(dir).err().into_iter().chain(places.map(|faults| faults.0).unwrap_or_default()).collect()
}

/// The flood stations, whose wards are those of the directory.
fn stations(dir: &Path, places: &directory::Places) -> Result<sensor::level::Stations, platform::dataset::Faults> {
    let wards: Vec<&str> = places.directory.wards.iter().map(|ward| ward.code.as_str()).collect();
    sensor::level::Stations::read(dir, &wards)
}

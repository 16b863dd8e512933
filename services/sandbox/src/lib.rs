//! The outside world for demos and tests: a bank, billers, an SMS gateway, a push gateway, a verifier of citizen numbers and VNeID, in memory.
//!
//! Services reach it over HTTP only and never link it; the command and the tests start it.
//!
//! | module | what it plays |
//! | --- | --- |
//! | `bank` | a bank that collects money from its customers' accounts for a partner, and calls back |
//! | `biller` | utilities that bill what their customers used, by the city's dated tariffs, and record payments |
//! | `agency` | endpoints of agencies, which hear of paid fees |
//! | `sms` | an SMS gateway with delivery receipts |
//! | `push` | a push gateway in the form of FCM's HTTP v1 interface |
//! | `ekyc` | a verifier of citizen identity numbers |
//! | `vneid` | the national identity app as an OpenID provider |
//! | `fault` | what goes wrong with each of them, when a test asks for it |
//! | `signature` | the signatures of the bank and the billers, both ways |
//! | `journal` | what a partner asked for, once per id |
//!
//! Invariant: everything is bounded. Lists are rings with a named maximum, waits and retries end.
//! Invariant: no lock is held across an await.
//!
//! The two kinds of routes: those under `/bank/v1/collections`, `/billers/{code}/v1` and `/gateways` are what a partner integrates with,
//! and demand credentials; all others exist for whoever plays with the sandbox, and demand none.
//! So the sandbox belongs on a loopback address.

mod agency;
mod bank;
mod biller;
mod callback;
mod config;
mod ekyc;
mod fault;
mod index;
mod journal;
mod money;
mod push;
mod push_token;
mod refusal;
mod ring;
mod signature;
mod sms;
mod vneid;
mod world;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use platform::clock::Clock;
use platform::task::Shutdown;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

pub use bank::{CLOSED_ACCOUNT, OPENING_BALANCE, POOR_ACCOUNT, RICH_ACCOUNTS};
pub use biller::{Billers, check_city};
pub use config::{
    AgencyConfig, BankConfig, BillerConfig, Config, EkycConfig, PushConfig, ServiceAccount, SmsConfig, VneidConfig,
};
pub use push::DEAD_TOKEN_PREFIX;
pub use signature::{MAX_AGE, PARTNER_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, sign};

/// The largest request body accepted, in bytes.
pub const MAX_BODY: usize = 64 * 1024;

/// All routes of the sandbox, with a fresh world behind them.
///
/// Callbacks run as tasks of the runtime and stop when it does; [`serve`] stops them earlier.
pub fn router(config: Config, clock: Clock) -> Router {
    routes(world::World::new(config, clock, &Shutdown::new()))
}

/// Serves the sandbox on `listener` until `shutdown` begins, then lets callbacks that run at that moment end.
///
/// # Errors
/// What the listener reports.
pub async fn serve(listener: TcpListener, config: Config, clock: Clock, shutdown: Shutdown) -> std::io::Result<()> {
    serve_all(vec![listener], config, clock, shutdown).await
}

/// Serves one world on several listeners, as [`serve`] does on one.
///
/// # Errors
/// What a listener reports.
pub async fn serve_all(
    listeners: Vec<TcpListener>,
    config: Config,
    clock: Clock,
    shutdown: Shutdown,
) -> std::io::Result<()> {
    let world = world::World::new(config, clock, &shutdown);
    let mut serving = JoinSet::new();
    for listener in listeners {
        let token = shutdown.token().clone();
        let until = async move { token.cancelled().await };
        serving.spawn(axum::serve(listener, routes(world.clone())).with_graceful_shutdown(until).into_future());
    }
    while let Some(ended) = serving.join_next().await {
        ended.map_err(std::io::Error::other)??;
    }
    world.finish().await;
    Ok(())
}

fn routes(world: world::World) -> Router {
    Router::new()
        .merge(index::routes())
        .merge(bank::routes())
        .merge(biller::routes())
        .merge(agency::routes())
        .merge(sms::routes())
        .merge(push::routes())
        .merge(ekyc::routes())
        .merge(vneid::routes())
        .fallback(index::unknown_route)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(world)
}

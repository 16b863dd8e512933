//! The HTTP side of the centre: the wall's numbers, its stream, what their codes mean, the shared metrics, the pages.

mod alarm;
mod directory;
mod guard;
mod metrics;
mod overview;
mod sta;
mod stream;
mod web;

use std::sync::Arc;

use axum::middleware::from_fn_with_state;
use platform::http::{ApiRouter, Machines};
use utoipa_axum::routes;

use crate::board::Board;
use crate::config::Config;
use crate::directory::Places;
use crate::expose::Gatherer;
use crate::sensor::desk::AlarmDesk;
use crate::sensor::registry::Registry;
use crate::sensor::watch::Watch;

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct Desk {
    pub(crate) board: Arc<Board>,
    pub(crate) places: Arc<Places>,
    pub(crate) gatherer: Arc<Gatherer>,
    /// One scrape of all peers at a time; further scrapers wait for their turn.
    pub(crate) scraping: Arc<tokio::sync::Semaphore>,
    pub(crate) alarms: AlarmDesk,
    pub(crate) registry: Registry,
    pub(crate) watch: Watch,
    /// Who sends readings.
    pub(crate) sensor_clients: Arc<Machines>,
}

/// All routes.
pub(crate) fn routes(config: Arc<Config>, desk: Desk) -> ApiRouter {
    let wall = ApiRouter::new()
        .routes(routes!(overview::overview))
        .routes(routes!(overview::roles))
        .routes(routes!(stream::stream))
        .routes(routes!(directory::directory))
        .routes(routes!(directory::map))
        .routes(routes!(alarm::list))
        .routes(routes!(alarm::show))
        .layer(from_fn_with_state(config.clone(), guard::wall));
    let internal =
        ApiRouter::new().routes(routes!(metrics::metrics)).layer(from_fn_with_state(config, guard::internal));
    let officers = ApiRouter::new().routes(routes!(alarm::acknowledge)).routes(routes!(alarm::close));
    let sensors = ApiRouter::new()
        .routes(routes!(sta::root))
        .routes(routes!(sta::get, sta::create))
        .routes(routes!(sta::get_link, sta::create_link));
    let all = ApiRouter::new().merge(wall).merge(internal).merge(officers).merge(sensors);
    all.with_state(desk).merge(ApiRouter::from(web::routes()))
}

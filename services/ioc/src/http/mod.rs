//! The HTTP side of the centre: the wall's numbers, its stream, what their codes mean, the shared metrics, the pages.

mod alarm;
mod directory;
pub(crate) mod door;
mod guard;
mod happening;
mod metrics;
mod overview;
mod queue;
mod sign_in;
mod sta;
mod stream;
mod web;

use std::sync::Arc;

use axum::Extension;
use axum::middleware::from_fn_with_state;
use platform::auth::OpenTo;
use platform::http::{ApiRouter, Machines};
use utoipa_axum::routes;

use self::door::Door;
use crate::board::Board;
use crate::config::Config;
use crate::directory::Places;
use crate::expose::Gatherer;
use crate::happening::Happenings;
use crate::sensor::desk::AlarmDesk;
use crate::sensor::registry::Registry;
use crate::sensor::watch::Watch;
use crate::upstream::Upstream;

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct Desk {
    pub(crate) board: Arc<Board>,
    pub(crate) happenings: Happenings,
    pub(crate) places: Arc<Places>,
    pub(crate) gatherer: Arc<Gatherer>,
    /// One scrape of all peers at a time; further scrapers wait for their turn.
    pub(crate) scraping: Arc<tokio::sync::Semaphore>,
    pub(crate) alarms: AlarmDesk,
    pub(crate) registry: Registry,
    pub(crate) watch: Watch,
    pub(crate) upstream: Upstream,
    /// Who sends readings.
    pub(crate) sensor_clients: Arc<Machines>,
}

/// All routes.
pub(crate) fn routes(config: Arc<Config>, desk: Desk, door: Door) -> ApiRouter {
    let wall = ApiRouter::new()
        .routes(routes!(overview::overview))
        .routes(routes!(stream::stream))
        .routes(routes!(directory::directory))
        .routes(routes!(directory::map))
        .routes(routes!(alarm::list))
        .routes(routes!(alarm::show))
        .layer(from_fn_with_state(config.clone(), guard::wall));
    let internal =
        ApiRouter::new().routes(routes!(metrics::metrics)).layer(from_fn_with_state(config, guard::internal));
    let officers = ApiRouter::new()
        .routes(routes!(alarm::acknowledge))
        .routes(routes!(alarm::close))
        .routes(routes!(queue::queue))
        .routes(routes!(happening::list))
        .routes(routes!(sign_in::session));
    let anyone = ApiRouter::new().routes(routes!(overview::roles));
    let sensors = ApiRouter::new()
        .routes(routes!(sta::root))
        .routes(routes!(sta::get, sta::create))
        .routes(routes!(sta::get_link, sta::create_link));
    // Whoever brings the wall's cookie comes with a token to all of these.
    let people = ApiRouter::new().merge(wall).merge(officers).merge(sensors).merge(anyone);
    let people = people.with_state(desk.clone()).layer(from_fn_with_state(door.clone(), door::by_cookie));
    let sign_in = ApiRouter::new()
        .routes(routes!(sign_in::begin))
        .routes(routes!(sign_in::callback))
        .routes(routes!(sign_in::sign_out));
    // The wall is a page: its tokens open this, and nothing of any other service.
    let people = people.layer(Extension(OpenTo::PAGES));
    people.merge(internal.with_state(desk)).merge(sign_in.with_state(door)).merge(ApiRouter::from(web::routes()))
}

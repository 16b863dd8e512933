//! The HTTP side of the centre: the wall's numbers, its stream, what their codes mean, the shared metrics, the pages.

mod directory;
mod guard;
mod metrics;
mod overview;
mod stream;
mod web;

use std::sync::Arc;

use axum::middleware::from_fn_with_state;
use platform::http::ApiRouter;
use utoipa_axum::routes;

use crate::board::Board;
use crate::config::Config;
use crate::directory::Places;
use crate::expose::Gatherer;

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct Desk {
    pub(crate) board: Arc<Board>,
    pub(crate) places: Arc<Places>,
    pub(crate) gatherer: Arc<Gatherer>,
    /// One scrape of all peers at a time; further scrapers wait for their turn.
    pub(crate) scraping: Arc<tokio::sync::Semaphore>,
}

/// All routes.
pub(crate) fn routes(config: Arc<Config>, desk: Desk) -> ApiRouter {
    let wall = ApiRouter::new()
        .routes(routes!(overview::overview))
        .routes(routes!(overview::roles))
        .routes(routes!(stream::stream))
        .routes(routes!(directory::directory))
        .routes(routes!(directory::map))
        .layer(from_fn_with_state(config.clone(), guard::wall));
    let internal =
        ApiRouter::new().routes(routes!(metrics::metrics)).layer(from_fn_with_state(config, guard::internal));
    ApiRouter::new().merge(wall).merge(internal).with_state(desk).merge(ApiRouter::from(web::routes()))
}

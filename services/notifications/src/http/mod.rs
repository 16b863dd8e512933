//! Public routes of notifications: what a citizen sees and chooses. Every route needs the citizen's token and shows
//! that citizen's things only; another's are not found.

mod device;
mod inbox;
mod preference;
mod stream;

use platform::auth::Verifier;
use platform::clock::Clock;
use platform::http::ApiRouter;
use sqlx::PgPool;
use utoipa_axum::routes;

use crate::inbox::Hub;

/// What the handlers need.
#[derive(Clone, Debug)]
pub(crate) struct Routes {
    pub(crate) pool: PgPool,
    pub(crate) clock: Clock,
    pub(crate) verifier: Verifier,
    pub(crate) hub: Hub,
}

/// All routes of the role.
pub(crate) fn router(state: Routes) -> ApiRouter {
    ApiRouter::new()
        .routes(routes!(inbox::list))
        .routes(routes!(inbox::mark_read))
        .routes(routes!(stream::open))
        .routes(routes!(preference::show, preference::replace))
        .routes(routes!(device::register, device::list))
        .routes(routes!(device::remove))
        .with_state(state)
}

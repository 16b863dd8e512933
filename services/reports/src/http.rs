//! Public routes of field reports.

mod category;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use platform::http::ApiRouter;
use utoipa_axum::routes;

use crate::city::City;

/// All routes of the role.
pub(crate) fn router(city: Arc<City>) -> ApiRouter {
    ApiRouter::new().routes(routes!(category::list)).with_state(city)
}

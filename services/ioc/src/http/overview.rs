//! The wall's numbers at one moment.

use axum::extract::State;
use http::header::CACHE_CONTROL;
use http::{HeaderName, HeaderValue};
use platform::auth::Principal;
use platform::http::Json;
use platform::problem::Problem;

use super::Desk;
use super::guard::may_watch;
use crate::overview::{Overview, Roles};

pub(super) type Fresh = [(HeaderName, HeaderValue); 1];

/// Numbers of this moment are of no use to a cache.
pub(super) const FRESH: Fresh = [(CACHE_CONTROL, HeaderValue::from_static("no-store"))];

/// Everything that the wall shows, read at one moment, with the source positions that it includes.
///
/// For operators, leads and admins, unless the wall is public.
#[utoipa::path(
    get,
    operation_id = "getOverview",
    path = "/ioc/v1/overview",
    tag = "ioc",
    responses(
        (status = 200, description = "The numbers", body = Overview),
        (status = 401, description = "`unauthenticated`", content_type = "application/problem+json"),
        (status = 403, description = "`forbidden`: the role is missing", content_type = "application/problem+json"),
    )
)]
pub(super) async fn overview(State(desk): State<Desk>) -> Result<(Fresh, Json<Overview>), Problem> {
    Ok((FRESH, Json(desk.board.overview().await?)))
}

/// The health of every role of every process. What a process is called and what it lacks, operators alone are told.
#[utoipa::path(
    get,
    operation_id = "getRoles",
    path = "/ioc/v1/roles",
    tag = "ioc",
    responses((status = 200, description = "The roles", body = Roles))
)]
pub(super) async fn roles(State(desk): State<Desk>, principal: Option<Principal>) -> (Fresh, Json<Roles>) {
    let mut roles = desk.board.roles().await;
    if !principal.as_ref().is_some_and(may_watch) {
        for role in &mut roles.roles {
            (role.instance, role.detail) = (String::new(), None);
        }
    }
    (FRESH, Json(roles))
}

//! What the codes of the figures mean, and the map of the wards: what the city's folder says, the same for as long as the process runs.

use axum::extract::State;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderName, HeaderValue};
use platform::http::Json;

use super::Desk;
use crate::directory::Directory;

type Header = (HeaderName, HeaderValue);

/// A page asks again after ten minutes: a city's folder changes rarely.
const SELDOM: Header = (CACHE_CONTROL, HeaderValue::from_static("private, max-age=600"));
const GEOMETRY: Header = (CONTENT_TYPE, HeaderValue::from_static("application/json"));

/// The names of wards and agencies, by the codes that the figures use.
///
/// For operators, leads and admins, unless the wall is public.
#[utoipa::path(
    get,
    operation_id = "getDirectory",
    path = "/ioc/v1/directory",
    tag = "ioc",
    responses(
        (status = 200, description = "The names", body = Directory),
        (status = 401, description = "`unauthenticated`", content_type = "application/problem+json"),
        (status = 403, description = "`forbidden`: the role is missing", content_type = "application/problem+json"),
    )
)]
pub(super) async fn directory(State(desk): State<Desk>) -> ([Header; 1], Json<Directory>) {
    ([SELDOM], Json(desk.places.directory.clone()))
}

/// The wards as TopoJSON: object `wards`, each geometry with property `code`.
///
/// For operators, leads and admins, unless the wall is public.
#[utoipa::path(
    get,
    operation_id = "getWardMap",
    path = "/ioc/v1/wards.topojson",
    tag = "ioc",
    responses(
        (status = 200, description = "TopoJSON", body = Object, content_type = "application/json"),
        (status = 401, description = "`unauthenticated`", content_type = "application/problem+json"),
        (status = 403, description = "`forbidden`: the role is missing", content_type = "application/problem+json"),
    )
)]
pub(super) async fn map(State(desk): State<Desk>) -> ([Header; 2], String) {
    ([SELDOM, GEOMETRY], desk.places.map.clone())
}

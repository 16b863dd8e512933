//! Public reports on a map, and public figures. Open to everyone; nothing here names a citizen.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};
use platform::http::{Json, Query};
use platform::problem::Problem;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::App;
use super::place::bounds;
use crate::list;
use crate::statistics::Statistics;

/// Part of the map.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct MapQuery {
    /// West, south, east and north in degrees, joined by commas.
    #[param(example = "107.5,16.4,107.7,16.5")]
    bbox: String,
}

/// RFC 7946.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FeatureCollection {
    /// `FeatureCollection`.
    r#type: &'static str,
    /// The newest reports inside the box, at most 2,000.
    features: Vec<Feature>,
}

/// One report as a feature.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Feature {
    /// `Feature`.
    r#type: &'static str,
    id: uuid::Uuid,
    geometry: Point,
    properties: list::Item,
}

/// Where it is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Point {
    /// `Point`.
    r#type: &'static str,
    /// Longitude and latitude.
    coordinates: [f64; 2],
}

/// Public reports inside a box, as GeoJSON.
#[utoipa::path(
    get,
    path = "/reports/v1/map.geojson",
    tag = "reports",
    operation_id = "getReportMap",
    params(MapQuery),
    responses((status = 200, body = FeatureCollection, content_type = "application/geo+json"), (status = 400, description = "invalid-query"))
)]
pub(super) async fn geojson(State(reports): State<App>, Query(query): Query<MapQuery>) -> Result<Response, Problem> {
    let bounds = bounds(&query.bbox)?;
    let items = list::inside(&mut *reports.pool.acquire().await?, bounds).await?;
    let feature = |item: list::Item| {
        let coordinates = [item.lon?, item.lat?];
        let geometry = Point { r#type: "Point", coordinates };
        Some(Feature { r#type: "Feature", id: item.id, geometry, properties: item })
    };
    let features = items.into_iter().filter_map(feature).collect();
    let mut response = Json(FeatureCollection { r#type: "FeatureCollection", features }).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/geo+json"));
    Ok(response)
}

/// How many reports stand where, how many results kept which deadline, how satisfied reporters are.
#[utoipa::path(
    get,
    path = "/reports/v1/statistics",
    tag = "reports",
    operation_id = "getReportStatistics",
    responses((status = 200, body = Statistics))
)]
pub(super) async fn statistics(State(reports): State<App>) -> Result<Json<Statistics>, Problem> {
    Ok(Json(reports.statistics.get(&reports.pool).await?))
}

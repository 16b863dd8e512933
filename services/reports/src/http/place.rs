//! Where a point lies, and what was reported near it already. Open to everyone.

use axum::extract::State;
use chrono::{DateTime, TimeDelta, Utc};
use platform::auth::Principal;
use platform::http::{Json, Language, Query};
use platform::problem::{INVALID_QUERY, Problem};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::App;
use crate::city::{City, Ward};
use crate::error::Error;
use crate::list::{self, Bounds};

/// How near a report lies that may tell the same, in metres.
const NEAR_M: f64 = 200.0;
/// How old a report may be that may tell the same.
const RECENT: TimeDelta = TimeDelta::days(30);
/// The most possible duplicates that are shown.
const MAX_DUPLICATES: usize = 10;
/// The side of the square in which a report is told to lie that nobody has looked at, in degrees: some 50 m.
const SQUARE: f64 = 0.000_5;
/// Metres in a degree of latitude.
const METRES_PER_DEGREE: f64 = 111_320.0;

/// A point.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PointQuery {
    /// Latitude in degrees, WGS 84.
    lat: f64,
    /// Longitude in degrees, WGS 84.
    lon: f64,
}

/// A ward.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WardBody {
    /// The statistics office's five-digit code.
    code: String,
    /// Its name with its kind, in the language of the answer.
    name: String,
}

impl WardBody {
    pub(super) fn new(ward: &Ward, language: Language) -> Self {
        let name = match language {
            Language::Vi => &ward.full_name,
            Language::En => &ward.full_name_en,
        };
        Self { code: ward.code.clone(), name: name.clone() }
    }
}

/// Where a point lies.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Located {
    ward: WardBody,
    /// Ward and city, as one line.
    address: String,
}

/// In which ward a point lies.
#[utoipa::path(
    get,
    path = "/reports/v1/locate",
    tag = "reports",
    operation_id = "locate",
    params(PointQuery),
    responses((status = 200, body = Located), (status = 422, description = "outside-city"))
)]
pub(super) async fn locate(
    State(reports): State<App>,
    language: Language,
    Query(point): Query<PointQuery>,
) -> Result<Json<Located>, Problem> {
    let ward = reports.city.ward_at(point.lon, point.lat).ok_or(Error::OutsideCity)?;
    let ward = WardBody::new(ward, language);
    let address = format!("{}, {}", ward.name, city_name(&reports.city, language));
    Ok(Json(Located { ward, address }))
}

fn city_name(city: &City, language: Language) -> &str {
    match language {
        Language::Vi => &city.profile.name.vi,
        Language::En => &city.profile.name.en,
    }
}

/// A point and a category.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DuplicateQuery {
    /// Code of the category.
    category: String,
    /// Latitude in degrees, WGS 84.
    lat: f64,
    /// Longitude in degrees, WGS 84.
    lon: f64,
}

/// A report that may tell the same.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Possible {
    /// Absent until the operations centre has looked at it: it tells when the report was sent.
    id: Option<Uuid>,
    /// How far away it lies, in whole metres; until the operations centre has looked at it, how far the middle of its square does.
    distance_m: u32,
    state: String,
    /// What was reported; absent until the operations centre has looked at it.
    text: Option<String>,
    /// When it was sent; until the operations centre has looked at it, the beginning of that day.
    created_at: DateTime<Utc>,
}

/// Reports that may tell the same.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Possibles {
    /// At most 10, the nearest first.
    items: Vec<Possible>,
}

/// What was reported near a point: same category, at most 200 m away, at most 30 days ago. Of what the operations centre has not looked at
/// yet, whoever is signed in is told that it is there: its day and a square of some 50 m; others nothing.
#[utoipa::path(
    get,
    path = "/reports/v1/duplicates",
    tag = "reports",
    operation_id = "findPossibleDuplicates",
    params(DuplicateQuery),
    responses((status = 200, body = Possibles), (status = 422, description = "category-unknown, outside-city"))
)]
pub(super) async fn duplicates(
    State(reports): State<App>,
    principal: Option<Principal>,
    Query(query): Query<DuplicateQuery>,
) -> Result<Json<Possibles>, Problem> {
    let DuplicateQuery { category, lat, lon } = query;
    if reports.city.category(&category).is_none() {
        return Err(Error::CategoryUnknown.into());
    }
    reports.city.ward_at(lon, lat).ok_or(Error::OutsideCity)?;
    // A square's middle may be near where the report itself is not.
    let reach = NEAR_M + SQUARE * METRES_PER_DEGREE;
    let (dy, dx) = (reach / METRES_PER_DEGREE, reach / METRES_PER_DEGREE / lat.to_radians().cos());
    let bounds = Bounds { west: lon - dx, south: lat - dy, east: lon + dx, north: lat + dy };
    let mut connection = reports.pool.acquire().await?;
    let near = list::near(&mut connection, &category, bounds, reports.now() - RECENT).await?;
    let told = near.into_iter().filter(|row| row.text.is_some() || principal.is_some());
    let mut found: Vec<_> = told.map(|row| possible(&reports, row, (lat, lon))).filter(|(m, _)| *m <= NEAR_M).collect();
    found.sort_by(|a, b| a.0.total_cmp(&b.0));
    Ok(Json(Possibles { items: found.into_iter().take(MAX_DUPLICATES).map(|(_, possible)| possible).collect() }))
}

/// What is told of a report, and how far it is said to be from a point. Of one that is not public neither the distance nor the time may
/// lead to it, however often and from wherever it is asked: so both are of its square and its day, never rounded afterwards.
fn possible(reports: &App, row: list::Near, (lat, lon): (f64, f64)) -> (f64, Possible) {
    let is_public = row.text.is_some();
    let at = |degrees: f64| if is_public { degrees } else { ((degrees / SQUARE).floor() + 0.5) * SQUARE };
    let (y, x) = (at(row.lat) - lat, (at(row.lon) - lon) * lat.to_radians().cos());
    let metres = y.hypot(x) * METRES_PER_DEGREE;
    let created_at = if is_public { row.created_at } else { reports.time.day_of(row.created_at) };
    let id = is_public.then_some(row.id);
    (metres, Possible { id, distance_m: metres.round() as u32, state: row.state, text: row.text, created_at })
}

/// A box from `west,south,east,north`.
pub(super) fn bounds(text: &str) -> Result<Bounds, Problem> {
    let numbers: Option<Vec<f64>> = text.split(',').map(|part| part.trim().parse().ok()).collect();
    match numbers.as_deref() {
        Some(&[west, south, east, north]) if west < east && south < north => Ok(Bounds { west, south, east, north }),
        _ => Err(Problem::new(INVALID_QUERY)
            .detail("bbox là tây,nam,đông,bắc tính bằng độ.", "bbox is west,south,east,north in degrees.")),
    }
}

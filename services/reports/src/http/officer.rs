//! Officers, appointed by supervisors. The first one is made on the machine itself.

use axum::extract::State;
use http::StatusCode;
use platform::auth::Principal;
use platform::http::{Json, Path};
use platform::problem::{FORBIDDEN, Problem};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::App;
use crate::error::Error;
use crate::lifecycle::Actor;
use crate::officer::{self as officers, Appointment, Officer, Role};

/// A role to be given.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AppointmentBody {
    role: Role,
    /// Code of the agency; with role `agency` only, and then always.
    agency: Option<String>,
}

/// All officers.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Officers {
    /// Oldest appointment first, at most 500.
    items: Vec<Officer>,
}

/// Lets supervisors through who were appointed here: an appointment outlives a role, so that a role must not make one.
async fn supervisor(reports: &App, principal: &Principal) -> Result<(), Problem> {
    let mut connection = reports.pool.acquire().await?;
    match officers::find(&mut connection, principal.subject).await?.map(|officer| officer.actor()) {
        Some(Actor::Supervisor) => Ok(()),
        _ => Err(Problem::new(FORBIDDEN)),
    }
}

/// For supervisors: all officers.
#[utoipa::path(
    get,
    path = "/reports/v1/officers",
    tag = "reports",
    operation_id = "listReportOfficers",
    responses((status = 200, body = Officers), (status = 403, description = "forbidden")),
    security(("bearer" = []))
)]
pub(super) async fn list(State(reports): State<App>, principal: Principal) -> Result<Json<Officers>, Problem> {
    supervisor(&reports, &principal).await?;
    let items = officers::list(&mut *reports.pool.acquire().await?).await?;
    Ok(Json(Officers { items }))
}

/// For supervisors: makes a person an officer, or another one than before.
#[utoipa::path(
    put,
    path = "/reports/v1/officers/{user_id}",
    tag = "reports",
    operation_id = "appointReportOfficer",
    params(("user_id" = Uuid, Path)),
    request_body = AppointmentBody,
    responses((status = 204), (status = 403, description = "forbidden"), (status = 422, description = "agency-unknown")),
    security(("bearer" = []))
)]
pub(super) async fn appoint(
    State(reports): State<App>,
    principal: Principal,
    Path(user_id): Path<Uuid>,
    Json(body): Json<AppointmentBody>,
) -> Result<StatusCode, Problem> {
    supervisor(&reports, &principal).await?;
    let known = body.agency.as_ref().is_some_and(|code| reports.city.agencies.get(code).is_some());
    if known != (body.role == Role::Agency) || body.agency.is_some() != known {
        return Err(Error::AgencyUnknown.into());
    }
    let appointment = Appointment { user_id, role: body.role, agency: body.agency };
    officers::appoint(&reports.pool, &appointment, Some(principal.subject), reports.now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// For supervisors: takes an officer's role away.
#[utoipa::path(
    delete,
    path = "/reports/v1/officers/{user_id}",
    tag = "reports",
    operation_id = "dismissReportOfficer",
    params(("user_id" = Uuid, Path)),
    responses((status = 204), (status = 403, description = "forbidden"), (status = 404, description = "not-found")),
    security(("bearer" = []))
)]
pub(super) async fn dismiss(
    State(reports): State<App>,
    principal: Principal,
    Path(user_id): Path<Uuid>,
) -> Result<StatusCode, Problem> {
    supervisor(&reports, &principal).await?;
    let dismissed = officers::dismiss(&reports.pool, user_id, Some(principal.subject), reports.now()).await?;
    if dismissed { Ok(StatusCode::NO_CONTENT) } else { Err(Error::NotFound.into()) }
}

//! `GET /identity/v1/officers`, `PUT` and `DELETE /identity/v1/officers/{user_id}/roles/{role}`
//!
//! For officers who give roles; anyone may list their own. The database says what the caller may do, not the token's claims.

use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, SubsecRound as _, Utc};
use http::StatusCode;
use platform::auth::Principal;
use platform::http::{Json, Path, Query};
use platform::page::{Page, PageQuery};
use platform::problem::Problem;
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::address::ClientAddress;
use super::{App, origin, private};
use crate::audit::Reason;
use crate::error::Error;
use crate::officer::{Appointment, Filter, Grant, Role, RoleKind, Term};

/// Which grants are listed.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum GrantState {
    /// Those that are held, also if only from a later time on.
    Held,
    /// Those that have ended.
    Ended,
    /// Both.
    All,
}

/// Which grants are wanted.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct OfficerQuery {
    /// Only this officer's; one's own may be listed by anyone.
    user_id: Option<Uuid>,
    /// Only of this role.
    #[param(inline)]
    role: Option<RoleKind>,
    /// Only of the agency with this code.
    agency: Option<String>,
    /// `held` when absent; `ended` and `all` show the history.
    #[param(inline)]
    state: Option<GrantState>,
    /// Items wanted, 1 to 200; 50 when absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u16>,
    /// `next_cursor` of the page before; absent for the first page.
    cursor: Option<String>,
}

/// Why a role is given, and for how long.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct GrantRequest {
    /// For the audit: 1 to 200 characters that name nobody; ids and numbers of papers are welcome.
    #[schema(min_length = 1, max_length = 200, example = "decision 118/QĐ-UBND")]
    reason: String,
    /// Since when it counts; at once when absent.
    from: Option<DateTime<Utc>>,
    /// Until when it counts, at most ten years; until it is taken when absent.
    until: Option<DateTime<Utc>>,
}

/// Why a role is taken.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RevokeQuery {
    /// For the audit: 1 to 200 characters that name nobody.
    #[param(min_length = 1, max_length = 200)]
    reason: Option<String>,
}

/// List officers and their roles
///
/// Each item is one role of one officer, oldest first. Admins see all, leads of the operations centre its own, heads
/// those of their agency and of all below it.
#[utoipa::path(
    get, path = "/identity/v1/officers", tag = "identity", security(("bearer" = [])), params(OfficerQuery),
    responses(
        (status = 200, description = "A page of grants", body = Page<Grant>),
        (status = 400, description = "`invalid-query`", content_type = "application/problem+json"),
        (status = 401, description = "`unauthenticated`", content_type = "application/problem+json"),
        (status = 403, description = "`forbidden`: you give no roles", content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    State(identity): App,
    caller: Principal,
    Query(query): Query<OfficerQuery>,
) -> Result<Response, Problem> {
    let page = PageQuery { limit: query.limit, cursor: query.cursor };
    let (limit, after) = (page.limit()?, page.after()?);
    let held = match query.state.unwrap_or(GrantState::Held) {
        GrantState::Held => Some(true),
        GrantState::Ended => Some(false),
        GrantState::All => None,
    };
    let filter = Filter { user_id: query.user_id, role: query.role, agency: query.agency, held };
    let rows = identity.officers(caller.subject.into(), &filter, after, limit + 1).await?;
    Ok(private(StatusCode::OK, Page::from_rows(rows, limit, |grant| grant.id)))
}

/// Give a role
///
/// Admins give all roles, leads of the operations centre `ioc.operator`, heads of an agency `agency.officer` of it and of all
/// below it and `agency.head` of those below. A role of an agency counts in all below it, and with `:WARD` only in that ward.
/// Nobody gives a role to themself, or to somebody who is closing their account.
/// The officer's tokens say it from their next refresh on, and none of them outlives it. Asked for again, nothing changes; with
/// another `from` or `until`, the role ends and is given anew.
#[utoipa::path(
    put, path = "/identity/v1/officers/{user_id}/roles/{role}", tag = "identity", security(("bearer" = [])),
    params(
        ("user_id" = Uuid, Path, description = "The officer"),
        ("role" = String, Path, description = "The role, with `:AGENCY` and perhaps `:WARD` for one of an agency", example = "agency.officer:HEPCO"),
    ),
    request_body = GrantRequest,
    responses(
        (status = 200, description = "It is held already", body = Grant),
        (status = 201, description = "It is held now", body = Grant),
        (status = 401, description = "`unauthenticated`", content_type = "application/problem+json"),
        (status = 403, description = "`forbidden`: it is not yours to give; `own-role`: nobody gives one to themself", content_type = "application/problem+json"),
        (status = 404, description = "`not-found`: no such person, or none any more", content_type = "application/problem+json"),
        (status = 409, description = "`roles-too-many`, `person-leaves`", content_type = "application/problem+json"),
        (status = 422, description = "`role-unknown`, `role-scope-invalid`, `agency-unknown`, `ward-unknown`, `invalid-body`", content_type = "application/problem+json"),
    )
)]
pub(super) async fn grant(
    State(identity): App,
    caller: Principal,
    ClientAddress(address): ClientAddress,
    Path((user_id, role)): Path<(Uuid, String)>,
    Json(request): Json<GrantRequest>,
) -> Result<Response, Problem> {
    let exactly = |time: Option<DateTime<Utc>>| time.map(|time| time.trunc_subsecs(6));
    let term = Term { from: exactly(request.from), until: exactly(request.until) };
    let (appointment, why) = (appointment(user_id, &role, term)?, reason(&request.reason)?);
    let origin = origin(&caller, address);
    let (grant, new) = identity.grant_role(caller.subject.into(), &appointment, (origin, why)).await?;
    Ok(private(if new { StatusCode::CREATED } else { StatusCode::OK }, grant))
}

/// Take a role
///
/// Who gives a role also takes it. Within five seconds every older access token of the officer is refused
/// (`reason: roles-changed`); a refresh gives one that says what is left. Asked for again, nothing changes.
#[utoipa::path(
    delete, path = "/identity/v1/officers/{user_id}/roles/{role}", tag = "identity", security(("bearer" = [])),
    params(
        ("user_id" = Uuid, Path, description = "The officer"),
        ("role" = String, Path, description = "The role, as it was given", example = "agency.officer:HEPCO"),
        RevokeQuery,
    ),
    responses(
        (status = 204, description = "It is not held any more"),
        (status = 400, description = "`invalid-query`", content_type = "application/problem+json"),
        (status = 401, description = "`unauthenticated`", content_type = "application/problem+json"),
        (status = 403, description = "`forbidden`: it is not yours to take", content_type = "application/problem+json"),
        (status = 404, description = "`not-found`: that person never held it", content_type = "application/problem+json"),
        (status = 422, description = "`role-unknown`, `role-scope-invalid`, `invalid-body`: the reason names somebody", content_type = "application/problem+json"),
    )
)]
pub(super) async fn revoke(
    State(identity): App,
    caller: Principal,
    ClientAddress(address): ClientAddress,
    Path((user_id, role)): Path<(Uuid, String)>,
    Query(query): Query<RevokeQuery>,
) -> Result<StatusCode, Problem> {
    let appointment = appointment(user_id, &role, Term::default())?;
    let why = reason(query.reason.as_deref().unwrap_or(NOT_STATED))?;
    identity.revoke_role(caller.subject.into(), &appointment, (origin(&caller, address), why)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Why, when nobody says.
const NOT_STATED: &str = "not stated";

fn appointment(user_id: Uuid, role: &str, term: Term) -> Result<Appointment, Error> {
    Ok(Appointment { user_id, role: role.parse::<Role>()?, term })
}

/// A reason as it was written.
pub(super) fn reason(text: &str) -> Result<Reason, Error> {
    text.parse().map_err(|_| Error::Field {
        field: "reason",
        vi: "Lý do dài từ 1 đến 200 ký tự và không nêu số điện thoại, số định danh hay e-mail của ai.",
        en: "A reason has 1 to 200 characters and no telephone number, identity number or e-mail address.",
    })
}

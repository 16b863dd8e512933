//! `GET /identity/v1/organisations`, `GET /identity/v1/organisations/{code}`
//!
//! For everyone who is signed in: what the city's agencies are and who stands above whom is no secret.

use axum::extract::State;
use platform::auth::Principal;
use platform::http::{Json, Path, Query};
use platform::page::{Page, PageQuery};
use platform::problem::Problem;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::App;
use crate::error::Error;
use crate::organisation::Organisation;

/// Which organisations are wanted.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct OrganisationQuery {
    /// Only those right below the one with this code.
    parent: Option<String>,
    /// Only those of the ward with this code.
    ward: Option<String>,
    /// Items wanted, 1 to 200; 50 when absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u16>,
    /// `next_cursor` of the page before; absent for the first page.
    cursor: Option<String>,
}

/// An organisation and where it stands.
#[derive(Serialize, ToSchema)]
pub(super) struct OrganisationView {
    #[serde(flatten)]
    organisation: Organisation,
    /// Codes of those above it, the nearest first.
    above: Vec<String>,
    /// Codes of those right below it.
    below: Vec<String>,
}

/// List the city's agencies
///
/// By code. Officers hold their roles in one of them, and there in all below it.
#[utoipa::path(
    get, path = "/identity/v1/organisations", tag = "identity", security(("bearer" = [])), params(OrganisationQuery),
    responses(
        (status = 200, description = "A page of organisations", body = Page<Organisation>),
        (status = 400, description = "`invalid-query`", content_type = "application/problem+json"),
        (status = 401, description = "`unauthenticated`", content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    State(identity): App,
    _: Principal,
    Query(query): Query<OrganisationQuery>,
) -> Result<Json<Page<Organisation>>, Problem> {
    let page = PageQuery { limit: query.limit, cursor: query.cursor };
    let (limit, after) = (page.limit()?, page.after::<String>()?);
    let wanted = identity.organisations.after(after.as_deref()).filter(|one| {
        query.parent.as_ref().is_none_or(|parent| one.parent.as_ref() == Some(parent))
            && query.ward.as_ref().is_none_or(|ward| one.ward.as_ref() == Some(ward))
    });
    let rows: Vec<Organisation> = wanted.take(usize::try_from(limit + 1).unwrap_or(0)).cloned().collect();
    Ok(Json(Page::from_rows(rows, limit, |one| one.code.clone())))
}

/// Show an agency and where it stands
#[utoipa::path(
    get, path = "/identity/v1/organisations/{code}", tag = "identity", security(("bearer" = [])),
    params(("code" = String, Path, description = "Its code", example = "KTHT-19753")),
    responses(
        (status = 200, description = "The organisation", body = OrganisationView),
        (status = 401, description = "`unauthenticated`", content_type = "application/problem+json"),
        (status = 404, description = "`not-found`: the city has none with this code", content_type = "application/problem+json"),
    )
)]
pub(super) async fn show(
    State(identity): App,
    _: Principal,
    Path(code): Path<String>,
) -> Result<Json<OrganisationView>, Problem> {
    let known = &identity.organisations;
    let organisation = known.get(&code).ok_or(Error::NotFound)?.clone();
    let above = known.upwards(&code).skip(1).map(|one| one.code.clone()).collect();
    let below =
        known.after(None).filter(|one| one.parent.as_ref() == Some(&code)).map(|one| one.code.clone()).collect();
    Ok(Json(OrganisationView { organisation, above, below }))
}

//! `GET /identity/v1/me/export`

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use platform::auth::Principal;
use platform::problem::Problem;
use serde_json::Value;

use super::address::ClientAddress;
use super::{App, origin, private};

/// Export what identity holds on me
///
/// One JSON document: profile, citizen number, devices, sessions, passkeys, consents, roles, and what the audit says of the citizen.
/// Soon after signing in only.
#[utoipa::path(
    get, path = "/identity/v1/me/export", tag = "identity", security(("bearer" = [])),
    responses(
        (status = 200, description = "The document", body = Object),
        (status = 401, description = "`unauthenticated`", content_type = "application/problem+json"),
        (status = 403, description = "`session-not-fresh`: sign in again", content_type = "application/problem+json"),
    )
)]
pub(super) async fn show(
    State(identity): App,
    caller: Principal,
    ClientAddress(address): ClientAddress,
) -> Result<Response, Problem> {
    let document: Value = identity.export(&caller, origin(&caller, address)).await?;
    Ok(private(StatusCode::OK, document))
}

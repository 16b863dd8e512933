//! `POST` and `DELETE /identity/v1/me/vneid`, `POST /identity/v1/me/vneid/returns`
//!
//! No `Idempotency-Key`: a return is taken once.

use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use http::StatusCode;
use platform::auth::Principal;
use platform::http::Json;
use platform::problem::Problem;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::address::ClientAddress;
use super::ekyc::EkycView;
use super::hidden::Hidden;
use super::{App, origin, private};
use crate::error::Error;
use crate::pin::strength::Pin;
use crate::vneid::Begun;

/// A link to VNeID is wanted.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct VneidRequest {
    /// The payment PIN; needed when one is set.
    #[serde(default)]
    #[schema(value_type = Option<String>, min_length = 6, max_length = 6)]
    pin: Option<Hidden>,
}

/// A visit to VNeID.
#[derive(Serialize, ToSchema)]
pub(super) struct VneidVisit {
    /// Where the citizen signs in; VNeID sends them on to the app with `state` and `code`.
    authorization_url: String,
    /// When the visit ends.
    expires_at: DateTime<Utc>,
}

impl From<Begun> for VneidVisit {
    fn from(begun: Begun) -> Self {
        Self { authorization_url: begun.url.to_string(), expires_at: begun.expires_at }
    }
}

/// What VNeID sent the citizen back with.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct VneidReturn {
    /// As it came.
    #[schema(value_type = String, max_length = 2048)]
    state: Hidden,
    /// As it came.
    #[schema(value_type = String, max_length = 2048)]
    code: Hidden,
}

/// Visit VNeID
///
/// Soon after signing in, and with the PIN if one is set: whoever is linked signs in by VNeID.
#[utoipa::path(
    post, path = "/identity/v1/me/vneid", tag = "identity", security(("bearer" = [])), request_body = VneidRequest,
    responses(
        (status = 201, description = "Where to go", body = VneidVisit),
        (status = 401, description = "`unauthenticated`", content_type = "application/problem+json"),
        (status = 403, description = "`session-not-fresh`, `pin-wrong`, `pin-cooling`", content_type = "application/problem+json"),
        (status = 422, description = "`pin-proof-required`, `pin-malformed`, `invalid-body`", content_type = "application/problem+json"),
        (status = 429, description = "`pin-delayed`", content_type = "application/problem+json"),
        (status = 503, description = "`vneid-unavailable`: it does not answer, or this city is not connected to it", content_type = "application/problem+json"),
    )
)]
pub(super) async fn begin(
    State(identity): App,
    caller: Principal,
    ClientAddress(address): ClientAddress,
    Json(request): Json<VneidRequest>,
) -> Result<Response, Problem> {
    let pin = request.pin.as_ref().map(|pin| Pin::parse(&pin.0)).transpose().map_err(Error::from)?;
    let begun = identity.on_record(&caller, address, identity.begin_vneid(&caller, pin.as_ref())).await?;
    Ok(private(StatusCode::CREATED, VneidVisit::from(begun)))
}

/// Take the link to VNeID back
///
/// Soon after signing in. Nobody signs in by it any more; the number stays proved, and sessions go on.
#[utoipa::path(
    delete, path = "/identity/v1/me/vneid", tag = "identity", security(("bearer" = [])),
    responses(
        (status = 204, description = "The account is linked to nothing any more"),
        (status = 401, description = "`unauthenticated`", content_type = "application/problem+json"),
        (status = 403, description = "`session-not-fresh`", content_type = "application/problem+json"),
        (status = 404, description = "`not-found`: it is not linked", content_type = "application/problem+json"),
    )
)]
pub(super) async fn unlink(
    State(identity): App,
    caller: Principal,
    ClientAddress(address): ClientAddress,
) -> Result<StatusCode, Problem> {
    identity.unlink_vneid(&caller, origin(&caller, address)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Come back from VNeID
///
/// The account is linked to the one at VNeID, and the number that VNeID says is proved. Whatever collides changes nothing.
#[utoipa::path(
    post, path = "/identity/v1/me/vneid/returns", tag = "identity", security(("bearer" = [])), request_body = VneidReturn,
    responses(
        (status = 200, description = "How well the citizen is known now", body = EkycView),
        (status = 401, description = "`unauthenticated`", content_type = "application/problem+json"),
        (status = 403, description = "`vneid-refused`: VNeID does not vouch", content_type = "application/problem+json"),
        (status = 409, description = "`vneid-taken`, `vneid-differs`, `number-taken`, `number-differs`", content_type = "application/problem+json"),
        (status = 422, description = "`vneid-state-unknown`, `citizen-number-invalid`, `invalid-body`", content_type = "application/problem+json"),
        (status = 503, description = "`vneid-unavailable`", content_type = "application/problem+json"),
    )
)]
pub(super) async fn come_back(
    State(identity): App,
    caller: Principal,
    ClientAddress(address): ClientAddress,
    Json(request): Json<VneidReturn>,
) -> Result<Response, Problem> {
    let back = (request.state.0.as_str(), request.code.0.as_str());
    identity.on_record(&caller, address, identity.return_from_vneid(&caller, back, origin(&caller, address))).await?;
    Ok(private(StatusCode::OK, EkycView::of(&identity, caller.subject.into()).await?))
}

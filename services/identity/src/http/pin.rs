//! `PUT /identity/v1/me/pin`

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
use super::hidden::Hidden;
use super::{App, private};
use crate::challenge::{ChallengeId, Code};
use crate::error::Error;
use crate::pin::Proof;
use crate::pin::strength::Pin;

/// A new PIN. The first needs a recent sign-in; another one needs `current_pin` or `reset`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PinRequest {
    /// Six digits that are not easy to guess.
    #[schema(value_type = String, example = "502917", min_length = 6, max_length = 6)]
    pin: Hidden,
    /// The PIN that holds now.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    current_pin: Option<Hidden>,
    /// A one-time code for `pin-reset`, asked for on this session's device.
    #[serde(default)]
    reset: Option<Reset>,
}

/// A one-time code in place of a forgotten PIN.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Reset {
    /// From the answer to the request for the code.
    challenge_id: ChallengeId,
    /// The six digits that came by SMS.
    #[schema(value_type = String)]
    code: Hidden,
}

/// The PIN holds.
#[derive(Serialize, ToSchema)]
pub(super) struct PinAnswer {
    /// Since when.
    set_at: DateTime<Utc>,
    /// After a reset: until then large payments ask for more than the PIN.
    cooling_until: Option<DateTime<Utc>>,
}

/// Set, change or reset my PIN
#[utoipa::path(
    put, path = "/identity/v1/me/pin", tag = "identity", security(("bearer" = [])), request_body = PinRequest,
    responses(
        (status = 200, description = "The PIN holds", body = PinAnswer),
        (status = 401, description = "`unauthenticated`", content_type = "application/problem+json"),
        (status = 403, description = "`pin-wrong`, `session-not-fresh`", content_type = "application/problem+json"),
        (status = 409, description = "`pin-not-set`, `pin-changed`, `otp-used`", content_type = "application/problem+json"),
        (status = 422, description = "`pin-weak`, `pin-malformed`, `pin-proof-required`, `otp-wrong`, `otp-expired`, `otp-exhausted`, `otp-unknown`, `invalid-body`", content_type = "application/problem+json"),
        (status = 429, description = "`pin-delayed`, `pin-too-many`, `otp-tries-too-many`: wait before the next try", content_type = "application/problem+json"),
    )
)]
pub(super) async fn set(
    State(identity): App,
    caller: Principal,
    ClientAddress(address): ClientAddress,
    Json(request): Json<PinRequest>,
) -> Result<Response, Problem> {
    let pin = Pin::parse_strong(&request.pin.0).map_err(Error::from)?;
    let proof = match (request.current_pin, request.reset) {
        (None, None) => Proof::FreshSession,
        (Some(current), None) => Proof::Current(Pin::parse(&current.0).map_err(Error::from)?),
        (None, Some(reset)) => {
            let code = Code::parse(&reset.code.0).ok_or(Error::Field {
                field: "reset.code",
                vi: "Mã gồm đúng 6 chữ số.",
                en: "A code has exactly 6 digits.",
            })?;
            Proof::Code(reset.challenge_id, code)
        }
        (Some(_), Some(_)) => {
            return Err(Error::Field {
                field: "reset",
                vi: "Chỉ gửi một trong hai: current_pin hoặc reset.",
                en: "Send either current_pin or reset, not both.",
            }
            .into());
        }
    };
    let set = identity.on_record(&caller, address, identity.set_pin(&caller, &pin, proof, address)).await?;
    Ok(private(StatusCode::OK, PinAnswer { set_at: set.set_at, cooling_until: set.cooling_until }))
}

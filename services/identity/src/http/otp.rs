//! `POST /identity/v1/otp`

use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use http::StatusCode;
use platform::http::{Json, Language};
use platform::problem::Problem;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::address::ClientAddress;
use super::hidden::Hidden;
use super::{App, private};
use crate::challenge::{Ask, ChallengeId, Purpose};
use crate::device::DeviceId;
use crate::error::Error;

/// A request for a one-time code.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OtpRequest {
    /// A mobile number, as people write it or in E.164.
    #[schema(value_type = String, example = "0912 345 678")]
    phone: Hidden,
    /// What the code is for.
    purpose: Purpose,
    /// The device that will answer; a UUID that the app made once and keeps.
    device_id: DeviceId,
}

/// A code is on its way.
#[derive(Serialize, ToSchema)]
pub(super) struct OtpRequested {
    /// Names the code when it is answered.
    challenge_id: ChallengeId,
    /// When the code ends.
    expires_at: DateTime<Utc>,
    /// Seconds until this device may ask for another code to this number.
    resend_after: u32,
}

/// Ask for a one-time code
///
/// Sends six digits by SMS. The answer is the same whether or not the number has an account.
/// A code lives for five minutes, is bound to this device and purpose, and dies after five wrong answers.
#[utoipa::path(
    post, path = "/identity/v1/otp", tag = "identity", request_body = OtpRequest,
    responses(
        (status = 202, description = "A code is on its way", body = OtpRequested),
        (status = 422, description = "`phone-invalid`, `phone-not-mobile`, `phone-not-served`, `invalid-body`", content_type = "application/problem+json"),
        (status = 429, description = "`otp-too-soon`, `otp-too-many`: wait `retry_after` seconds", content_type = "application/problem+json"),
        (status = 503, description = "`sign-in-unavailable`: codes can't be sent right now; `otp-paused`: too many went unanswered or were sent today; with `Retry-After`", content_type = "application/problem+json"),
    )
)]
pub(super) async fn ask(
    State(identity): App,
    language: Language,
    ClientAddress(address): ClientAddress,
    Json(request): Json<OtpRequest>,
) -> Result<Response, Problem> {
    let phone = identity.numbering.parse(&request.phone.0).map_err(|fault| {
        identity.meter.otp_refused("number");
        Error::from(fault)
    })?;
    let ask = Ask { phone, purpose: request.purpose, device: request.device_id, language, address };
    let asked = identity.ask_code(ask).await?;
    let body =
        OtpRequested { challenge_id: asked.id, expires_at: asked.expires_at, resend_after: asked.resend_after_s };
    Ok(private(StatusCode::ACCEPTED, body))
}

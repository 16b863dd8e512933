//! `POST /identity/v1/vneid`, `POST /identity/v1/vneid/returns`
//!
//! No `Idempotency-Key`: a return is taken once.

use axum::extract::State;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use platform::http::Json;
use platform::problem::Problem;
use serde::Deserialize;
use utoipa::ToSchema;

use super::address::ClientAddress;
use super::hidden::Hidden;
use super::session::SessionAnswer;
use super::vneid::VneidVisit;
use super::{App, private};
use crate::device::{self, Announcement, DeviceId, DeviceName};
use crate::error::Error;
use crate::session::{Arrival, Seat};
use crate::vault::Digest;
use crate::vneid::sign_in::{Comer, Visitor};

/// Where a citizen wants to sign in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct VneidSignInRequest {
    /// The device that will come back; a UUID that the app made once and keeps.
    device_id: DeviceId,
    /// base64url of the SHA-256 of a verifier (RFC 7636: 43 to 128 characters) that the app makes for this visit and keeps.
    #[schema(example = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM", min_length = 43, max_length = 43)]
    challenge: String,
}

/// What VNeID sent the citizen back with, and what the app kept.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct VneidSignInReturn {
    /// As it came.
    #[schema(value_type = String, max_length = 2048)]
    state: Hidden,
    /// As it came.
    #[schema(value_type = String, max_length = 2048)]
    code: Hidden,
    /// Whose SHA-256 the challenge was.
    #[schema(value_type = String, min_length = 43, max_length = 128)]
    verifier: Hidden,
    /// The device.
    device: VneidDevice,
}

/// The device that the session starts on.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct VneidDevice {
    /// The `device_id` that the visit began with; any other is refused.
    id: DeviceId,
    /// What its owner calls it, 1 to 64 characters.
    #[schema(example = "Điện thoại của Hương", min_length = 1, max_length = 64)]
    name: String,
    /// SubjectPublicKeyInfo of the key in its secure store (Ed25519 or P-256), as base64 DER or PEM.
    #[serde(default)]
    public_key: Option<String>,
}

/// Visit VNeID to sign in
///
/// For a citizen who has linked their account to theirs at VNeID (`POST /identity/v1/me/vneid`).
#[utoipa::path(
    post, path = "/identity/v1/vneid", tag = "identity", request_body = VneidSignInRequest,
    responses(
        (status = 201, description = "Where to go", body = VneidVisit),
        (status = 403, description = "`vneid-refused`: what VNeID says of itself is not to be believed", content_type = "application/problem+json"),
        (status = 422, description = "`invalid-body`", content_type = "application/problem+json"),
        (status = 429, description = "`vneid-too-many`: wait `retry_after` seconds", content_type = "application/problem+json"),
        (status = 503, description = "`vneid-unavailable`: it does not answer, visits can't be counted, or this city is not connected to it", content_type = "application/problem+json"),
    )
)]
pub(super) async fn begin(
    State(identity): App,
    ClientAddress(address): ClientAddress,
    Json(request): Json<VneidSignInRequest>,
) -> Result<Response, Problem> {
    let visitor = Visitor::App { challenge: challenge(&request.challenge)? };
    let begun = identity.begin_vneid_sign_in(request.device_id, visitor, address).await?;
    Ok(private(StatusCode::CREATED, VneidVisit::from(begun)))
}

/// Come back from VNeID and sign in
///
/// The session is one of the citizen who is linked to that account, as if they had signed in by phone: a device that is new to them
/// counts as new. A session that ran on the same device ends. A return is taken once.
#[utoipa::path(
    post, path = "/identity/v1/vneid/returns", tag = "identity", request_body = VneidSignInReturn,
    responses(
        (status = 201, description = "The session began", body = SessionAnswer),
        (status = 403, description = "`vneid-refused`: VNeID does not vouch; `vneid-not-linked`: sign in by phone, then link the account", content_type = "application/problem+json"),
        (status = 422, description = "`vneid-state-unknown`, `invalid-body`", content_type = "application/problem+json"),
        (status = 503, description = "`vneid-unavailable`", content_type = "application/problem+json"),
    )
)]
pub(super) async fn come_back(
    State(identity): App,
    ClientAddress(address): ClientAddress,
    Json(request): Json<VneidSignInReturn>,
) -> Result<Response, Problem> {
    let device = Announcement {
        id: request.device.id,
        name: DeviceName::parse(&request.device.name)?,
        public_key: request.device.public_key.as_deref().map(device::parse_public_key).transpose()?,
    };
    let comer = Comer::App { verifier: &request.verifier.0 };
    let taken = identity.take_vneid_sign_in(device.id, &request.state.0, comer).await?;
    let arrival = Arrival { seat: Seat::App, device, address };
    let opened = identity.finish_vneid_sign_in(&taken, &request.code.0, &arrival).await?;
    Ok(private(StatusCode::CREATED, SessionAnswer::from(opened)))
}

fn challenge(text: &str) -> Result<Digest, Error> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or(Error::Field {
        field: "challenge",
        vi: "challenge là base64url của một giá trị SHA-256.",
        en: "The challenge is the base64url of a SHA-256 digest.",
    })
}

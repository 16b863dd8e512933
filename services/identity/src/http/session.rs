//! `POST /identity/v1/sessions`, `…/refresh`, `DELETE …/current`

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use platform::auth::Principal;
use platform::http::Json;
use platform::problem::Problem;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::address::ClientAddress;
use super::hidden::Hidden;
use super::{App, LanguageTag, origin, private};
use crate::challenge::{ChallengeId, Code};
use crate::citizen::CitizenId;
use crate::device::{self, DeviceId, DeviceName};
use crate::error::Error;
use crate::session::{Opened, Opening, Seat, Tokens};

/// A sign-in by one-time code.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SessionRequest {
    /// From the answer to the request for the code.
    challenge_id: ChallengeId,
    /// The six digits that came by SMS.
    #[schema(value_type = String, example = "493201", min_length = 6, max_length = 6)]
    code: Hidden,
    /// The device.
    device: DeviceRequest,
}

/// The device that a session starts on.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DeviceRequest {
    /// The `device_id` that asked for the code; any other is refused. Taken from the challenge when absent.
    #[serde(default)]
    id: Option<DeviceId>,
    /// What its owner calls it, 1 to 64 characters.
    #[schema(example = "Điện thoại của Hương", min_length = 1, max_length = 64)]
    name: String,
    /// SubjectPublicKeyInfo of the key in its secure store (Ed25519 or P-256), as base64 DER or PEM.
    #[serde(default)]
    public_key: Option<String>,
}

/// Tokens of a session.
#[derive(Serialize, ToSchema)]
pub(super) struct TokenAnswer {
    /// An `at+jwt` (RFC 9068), for `Authorization: Bearer`.
    access_token: String,
    /// Opaque; good for one refresh.
    refresh_token: String,
    /// Seconds until the access token expires.
    expires_in: u32,
    /// Always `Bearer`.
    token_type: &'static str,
}

/// A session that began.
#[derive(Serialize, ToSchema)]
pub(super) struct SessionAnswer {
    #[serde(flatten)]
    tokens: TokenAnswer,
    /// Who signed in.
    user: User,
}

/// Who signed in.
#[derive(Serialize, ToSchema)]
pub(super) struct User {
    /// The citizen.
    id: CitizenId,
    /// The number with its middle hidden.
    #[schema(example = "+84******678")]
    phone_masked: String,
    /// 0 = phone proved, 1 = citizen number proved, 2 = proved in person.
    tier: i16,
    /// The language of messages.
    language: LanguageTag,
    /// Whether this sign-in made the account.
    new: bool,
}

/// A refresh.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RefreshRequest {
    /// The newest refresh token of the session.
    #[schema(value_type = String)]
    refresh_token: Hidden,
}

impl From<Tokens> for TokenAnswer {
    fn from(tokens: Tokens) -> Self {
        Self {
            access_token: tokens.access,
            refresh_token: tokens.refresh,
            expires_in: tokens.expires_in_s,
            token_type: "Bearer",
        }
    }
}

impl From<Opened> for SessionAnswer {
    fn from(opened: Opened) -> Self {
        let citizen = opened.citizen;
        let user = User {
            id: citizen.id,
            phone_masked: citizen.phone_masked(),
            tier: citizen.tier.number(),
            language: citizen.language.into(),
            new: opened.new_citizen,
        };
        Self { tokens: opened.tokens.into(), user }
    }
}

/// Start a session with a one-time code
///
/// The first session of a number makes the account. A session that ran on the same device ends.
/// A code is good for one session; after five wrong ones it is dead.
#[utoipa::path(
    post, path = "/identity/v1/sessions", tag = "identity", request_body = SessionRequest,
    responses(
        (status = 201, description = "The session began", body = SessionAnswer),
        (status = 409, description = "`otp-used`: the code was used before", content_type = "application/problem+json"),
        (status = 422, description = "`otp-wrong` (with `tries_left`), `otp-exhausted`, `otp-expired`, `otp-unknown`, `invalid-body`", content_type = "application/problem+json"),
        (status = 429, description = "`otp-tries-too-many`: wait `retry_after` seconds", content_type = "application/problem+json"),
    )
)]
pub(super) async fn open(
    State(identity): App,
    ClientAddress(address): ClientAddress,
    Json(request): Json<SessionRequest>,
) -> Result<Response, Problem> {
    let code = Code::parse(&request.code.0).ok_or(Error::Field {
        field: "code",
        vi: "Mã gồm đúng 6 chữ số.",
        en: "A code has exactly 6 digits.",
    })?;
    let opening = Opening {
        seat: Seat::App,
        challenge: request.challenge_id,
        code,
        device: request.device.id,
        device_name: DeviceName::parse(&request.device.name)?,
        public_key: request.device.public_key.as_deref().map(device::parse_public_key).transpose()?,
        address,
    };
    let opened = identity.open_session(opening).await?;
    Ok(private(StatusCode::CREATED, SessionAnswer::from(opened)))
}

/// Exchange a refresh token
///
/// Each refresh token is good once. If the answer was lost, the same token gets the same successor again within ten
/// seconds; used later, it ends its session, for somebody else may hold a copy.
#[utoipa::path(
    post, path = "/identity/v1/sessions/refresh", tag = "identity", request_body = RefreshRequest,
    responses(
        (status = 200, description = "New tokens", body = TokenAnswer),
        (status = 401, description = "`refresh-token-invalid`, `refresh-token-replayed`: sign in again", content_type = "application/problem+json"),
    )
)]
pub(super) async fn refresh(
    State(identity): App,
    ClientAddress(address): ClientAddress,
    Json(request): Json<RefreshRequest>,
) -> Result<Response, Problem> {
    let tokens = identity.refresh(&request.refresh_token.0, address).await?;
    Ok(private(StatusCode::OK, TokenAnswer::from(tokens)))
}

/// Sign out
///
/// Ends the session of the access token; its refresh token is dead, and all services refuse its access tokens within seconds.
#[utoipa::path(
    delete, path = "/identity/v1/sessions/current", tag = "identity", security(("bearer" = [])),
    responses(
        (status = 204, description = "The session has ended"),
        (status = 401, description = "`unauthenticated`", content_type = "application/problem+json"),
    )
)]
pub(super) async fn sign_out(
    State(identity): App,
    caller: Principal,
    ClientAddress(address): ClientAddress,
) -> Result<StatusCode, Problem> {
    let origin = origin(&caller, address);
    identity.sign_out(caller.subject.into(), caller.session.into(), origin).await?;
    Ok(StatusCode::NO_CONTENT)
}

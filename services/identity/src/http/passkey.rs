//! `/identity/v1/me/passkeys…`, `POST /identity/v1/step-ups/challenges`
//!
//! No `Idempotency-Key`: a challenge is answered once, and so makes one passkey.

use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use http::StatusCode;
use platform::auth::Principal;
use platform::http::{Json, Path};
use platform::problem::Problem;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use webauthn_rs::prelude::RegisterPublicKeyCredential;

use super::address::ClientAddress;
use super::hidden::Hidden;
use super::{App, origin, private};
use crate::device::DeviceName;
use crate::error::Error;
use crate::passkey::{Challenge, Passkey, PasskeyChallengeId, PasskeyId};
use crate::pin::strength::Pin;
use crate::step_up::Transaction;

/// A new passkey is wanted.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PasskeyChallengeRequest {
    /// The payment PIN; needed when one is set.
    #[serde(default)]
    #[schema(value_type = Option<String>, min_length = 6, max_length = 6)]
    pin: Option<Hidden>,
}

/// A transaction that a passkey is to prove.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StepUpChallengeRequest {
    /// The one transaction.
    transaction: Transaction,
}

/// What an authenticator is asked.
#[derive(Serialize, ToSchema)]
pub(super) struct PasskeyChallengeAnswer {
    /// Names the challenge when it is answered.
    challenge_id: PasskeyChallengeId,
    /// For `PublicKeyCredential.parseCreationOptionsFromJSON` or `parseRequestOptionsFromJSON` (Web Authentication, level 3).
    #[schema(value_type = Object)]
    public_key: Value,
    /// When the challenge ends.
    expires_at: DateTime<Utc>,
}

/// A passkey that an authenticator made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PasskeyRequest {
    /// The challenge.
    challenge_id: PasskeyChallengeId,
    /// What its owner calls it, 1 to 64 characters.
    #[schema(example = "Điện thoại của Hương", min_length = 1, max_length = 64)]
    name: String,
    /// The authenticator's answer: `RegistrationResponseJSON`, from `toJSON()`.
    #[schema(value_type = Object)]
    credential: RegisterPublicKeyCredential,
}

/// A passkey.
#[derive(Serialize, ToSchema)]
pub(super) struct PasskeyItem {
    /// The passkey.
    id: PasskeyId,
    /// What its owner calls it.
    name: String,
    /// Since when.
    created_at: DateTime<Utc>,
    /// When it proved something last.
    last_used_at: Option<DateTime<Utc>>,
}

/// The caller's passkeys; at most 10, so there is one page.
#[derive(Serialize, ToSchema)]
pub(super) struct PasskeyList {
    /// The newest first.
    items: Vec<PasskeyItem>,
    /// Always null.
    next_cursor: Option<String>,
}

impl From<Passkey> for PasskeyItem {
    fn from(passkey: Passkey) -> Self {
        let Passkey { id, name, created_at, last_used_at } = passkey;
        Self { id, name, created_at, last_used_at }
    }
}

impl From<Challenge> for PasskeyChallengeAnswer {
    fn from(challenge: Challenge) -> Self {
        let Challenge { id, public_key, expires_at } = challenge;
        Self { challenge_id: id, public_key, expires_at }
    }
}

/// Begin a passkey
///
/// Soon after signing in, and with the PIN if one is set: a passkey proves more than either.
#[utoipa::path(
    post, path = "/identity/v1/me/passkeys/challenges", tag = "identity", security(("bearer" = [])),
    request_body = PasskeyChallengeRequest,
    responses(
        (status = 201, description = "What the authenticator is asked", body = PasskeyChallengeAnswer),
        (status = 401, description = "`unauthenticated`", content_type = "application/problem+json"),
        (status = 403, description = "`session-not-fresh`, `pin-wrong`, `pin-cooling`", content_type = "application/problem+json"),
        (status = 409, description = "`passkeys-too-many`", content_type = "application/problem+json"),
        (status = 422, description = "`pin-proof-required`, `pin-malformed`, `invalid-body`", content_type = "application/problem+json"),
        (status = 429, description = "`pin-delayed`", content_type = "application/problem+json"),
        (status = 503, description = "`passkeys-unavailable`: the city's address is no name", content_type = "application/problem+json"),
    )
)]
pub(super) async fn begin(
    State(identity): App,
    caller: Principal,
    ClientAddress(address): ClientAddress,
    Json(request): Json<PasskeyChallengeRequest>,
) -> Result<Response, Problem> {
    let pin = request.pin.as_ref().map(|pin| Pin::parse(&pin.0)).transpose().map_err(Error::from)?;
    let challenge = identity.on_record(&caller, address, identity.begin_passkey(&caller, pin.as_ref())).await?;
    Ok(private(StatusCode::CREATED, PasskeyChallengeAnswer::from(challenge)))
}

/// Keep a passkey
///
/// A challenge is answered once, rightly or wrongly, in the session that asked for it.
#[utoipa::path(
    post, path = "/identity/v1/me/passkeys", tag = "identity", security(("bearer" = [])), request_body = PasskeyRequest,
    responses(
        (status = 201, description = "The passkey", body = PasskeyItem),
        (status = 401, description = "`unauthenticated`", content_type = "application/problem+json"),
        (status = 403, description = "`passkey-refused`", content_type = "application/problem+json"),
        (status = 409, description = "`passkey-known`, `passkeys-too-many`", content_type = "application/problem+json"),
        (status = 422, description = "`passkey-challenge-unknown`, `invalid-body`", content_type = "application/problem+json"),
    )
)]
pub(super) async fn finish(
    State(identity): App,
    caller: Principal,
    ClientAddress(address): ClientAddress,
    Json(request): Json<PasskeyRequest>,
) -> Result<Response, Problem> {
    let (name, origin) = (DeviceName::parse(&request.name)?, origin(&caller, address));
    let passkey = identity
        .on_record(
            &caller,
            address,
            identity.finish_passkey(&caller, request.challenge_id, &request.credential, name, origin),
        )
        .await?;
    Ok(private(StatusCode::CREATED, PasskeyItem::from(passkey)))
}

/// List my passkeys
#[utoipa::path(
    get, path = "/identity/v1/me/passkeys", tag = "identity", security(("bearer" = [])),
    responses(
        (status = 200, description = "The passkeys", body = PasskeyList),
        (status = 401, description = "`unauthenticated`", content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(State(identity): App, caller: Principal) -> Result<Response, Problem> {
    let passkeys = identity.passkeys_of(caller.subject.into()).await?;
    let items = passkeys.into_iter().map(PasskeyItem::from).collect();
    Ok(private(StatusCode::OK, PasskeyList { items, next_cursor: None }))
}

/// Remove a passkey
///
/// Soon after signing in.
#[utoipa::path(
    delete, path = "/identity/v1/me/passkeys/{id}", tag = "identity", security(("bearer" = [])),
    params(("id" = PasskeyId, Path, description = "The passkey")),
    responses(
        (status = 204, description = "It proves nothing any more"),
        (status = 401, description = "`unauthenticated`", content_type = "application/problem+json"),
        (status = 403, description = "`session-not-fresh`", content_type = "application/problem+json"),
        (status = 404, description = "`not-found`: no passkey of yours", content_type = "application/problem+json"),
    )
)]
pub(super) async fn remove(
    State(identity): App,
    caller: Principal,
    ClientAddress(address): ClientAddress,
    Path(id): Path<PasskeyId>,
) -> Result<StatusCode, Problem> {
    identity.remove_passkey(&caller, id, origin(&caller, address)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ask my passkeys to prove one transaction
///
/// The answer goes to `POST /identity/v1/step-ups` with method `passkey`.
#[utoipa::path(
    post, path = "/identity/v1/step-ups/challenges", tag = "identity", security(("bearer" = [])),
    request_body = StepUpChallengeRequest,
    responses(
        (status = 201, description = "What the authenticator is asked", body = PasskeyChallengeAnswer),
        (status = 401, description = "`unauthenticated`", content_type = "application/problem+json"),
        (status = 409, description = "`passkey-missing`: none is registered", content_type = "application/problem+json"),
        (status = 422, description = "`invalid-body`", content_type = "application/problem+json"),
        (status = 503, description = "`passkeys-unavailable`: the city's address is no name", content_type = "application/problem+json"),
    )
)]
pub(super) async fn challenge(
    State(identity): App,
    caller: Principal,
    Json(request): Json<StepUpChallengeRequest>,
) -> Result<Response, Problem> {
    let transaction = request.transaction.checked()?;
    let challenge = identity.challenge_passkey(&caller, &transaction).await?;
    Ok(private(StatusCode::CREATED, PasskeyChallengeAnswer::from(challenge)))
}

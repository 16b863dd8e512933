//! `GET /identity/v1/me/dependents`, `DELETE …/{id}`, `POST …/{id}/confirmation`, `POST …/{id}/phone`, `POST` and `DELETE …/{id}/closing`
//!
//! For guardians of people without a telephone: what an officer registered for them, and the accounts that they answer for.
//! None of these routes takes a token of who acts for somebody.

use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use http::StatusCode;
use platform::auth::Principal;
use platform::http::{Json, Language, Path};
use platform::problem::Problem;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::address::ClientAddress;
use super::closing::{ClosingRequest, ClosingView};
use super::delegation::DelegationLimits;
use super::hidden::Hidden;
use super::{App, origin, private};
use crate::challenge::{ChallengeId, Code};
use crate::dependent::{PhoneProof, RegistrationId, Shown, State as RegistrationState};
use crate::error::Error;
use crate::pin::strength::Pin;

/// Somebody whom an officer registered for you.
#[derive(Serialize, ToSchema)]
pub(super) struct MyDependent {
    id: RegistrationId,
    state: RegistrationState,
    /// Who it is, as their papers say; while it waits for you, and while the account has no number.
    full_name: Option<String>,
    /// Whether the account has no telephone number and you answer for it.
    without_phone: bool,
    /// The account, once you have confirmed.
    dependent_id: Option<Uuid>,
    /// By which you act: ask it for tokens.
    delegation_id: Option<Uuid>,
    kinds: Vec<String>,
    limits: DelegationLimits,
    until: DateTime<Utc>,
    registered_at: DateTime<Utc>,
    confirmed_at: Option<DateTime<Utc>>,
    ended_at: Option<DateTime<Utc>>,
    /// The newest closing of the account, while you answer for it.
    closing: Option<ClosingView>,
}

/// All of them.
#[derive(Serialize, ToSchema)]
pub(super) struct MyDependentList {
    /// The newest first, at most 50.
    items: Vec<MyDependent>,
}

/// A number for somebody who has none.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AttachPhoneRequest {
    /// From the answer to the request for the code, made with purpose `attach-phone` on this session's device.
    challenge_id: ChallengeId,
    /// The six digits that came to that number.
    #[schema(value_type = String, min_length = 6, max_length = 6)]
    code: Hidden,
    /// Your own payment PIN; needed when one is set.
    #[serde(default)]
    #[schema(value_type = Option<String>, min_length = 6, max_length = 6)]
    pin: Option<Hidden>,
}

impl MyDependent {
    fn new(shown: Shown, now: DateTime<Utc>, language: Language) -> Self {
        let Shown { registration: one, full_name, without_phone, closing } = shown;
        Self {
            id: one.id,
            state: one.state(now),
            full_name,
            without_phone,
            dependent_id: one.citizen_id,
            delegation_id: one.delegation_id,
            limits: DelegationLimits::new([one.transaction_maximum, one.day_maximum, one.month_maximum]),
            kinds: one.kinds,
            until: one.valid_until,
            registered_at: one.registered_at,
            confirmed_at: one.confirmed_at,
            ended_at: one.ended_at,
            closing: closing.map(|closing| ClosingView::new(closing, language)),
        }
    }
}

/// List whose guardian I am, or am asked to be
#[utoipa::path(
    get, path = "/identity/v1/me/dependents", tag = "identity", operation_id = "listMyDependents", security(("bearer" = [])),
    responses(
        (status = 200, description = "All", body = MyDependentList),
        (status = 401, description = "`unauthenticated`", content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(State(identity): App, caller: Principal, language: Language) -> Result<Response, Problem> {
    let now = identity.now();
    let found = identity.dependents_of(caller.subject.into()).await?;
    let items = found.into_iter().map(|shown| MyDependent::new(shown, now, language)).collect();
    Ok(private(StatusCode::OK, MyDependentList { items }))
}

/// Confirm that I am somebody's guardian
///
/// The account of the person begins, or passes to you from another guardian. You answer for it until it has a number of its own, is
/// closed, or passes on; until then you can't close your own. Asked for again, nothing changes.
#[utoipa::path(
    post, path = "/identity/v1/me/dependents/{id}/confirmation", tag = "identity", operation_id = "confirmMyDependent", security(("bearer" = [])),
    params(("id" = Uuid, Path, description = "The registration")),
    responses(
        (status = 200, description = "You may act from now on", body = MyDependent),
        (status = 401, description = "`unauthenticated`", content_type = "application/problem+json"),
        (status = 404, description = "`not-found`", content_type = "application/problem+json"),
        (status = 409, description = "`registration-over`, `number-taken`, `guardian-leaves`: you are closing your own account", content_type = "application/problem+json"),
    )
)]
pub(super) async fn confirm(
    State(identity): App,
    caller: Principal,
    language: Language,
    ClientAddress(address): ClientAddress,
    Path(id): Path<RegistrationId>,
) -> Result<Response, Problem> {
    let confirmed = identity.confirm_dependent(&caller, id, origin(&caller, address)).await?;
    let shown = identity.show_to_guardian(confirmed).await?;
    Ok(private(StatusCode::OK, MyDependent::new(shown, identity.now(), language)))
}

/// Refuse to be somebody's guardian
///
/// Before you have confirmed it. Asked for again, nothing changes.
#[utoipa::path(
    delete, path = "/identity/v1/me/dependents/{id}", tag = "identity", operation_id = "refuseMyDependent", security(("bearer" = [])),
    params(("id" = Uuid, Path, description = "The registration")),
    responses(
        (status = 204, description = "It waits no more"),
        (status = 401, description = "`unauthenticated`", content_type = "application/problem+json"),
        (status = 404, description = "`not-found`", content_type = "application/problem+json"),
        (status = 409, description = "`registration-over`: you have confirmed it", content_type = "application/problem+json"),
    )
)]
pub(super) async fn refuse(
    State(identity): App,
    caller: Principal,
    ClientAddress(address): ClientAddress,
    Path(id): Path<RegistrationId>,
) -> Result<StatusCode, Problem> {
    identity.refuse_dependent(caller.subject.into(), id, origin(&caller, address)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Give a number to the account of somebody without a telephone
///
/// Soon after signing in, with your PIN where one is set. A one-time code to the number proves that whoever holds it wants this: ask for
/// one with purpose `attach-phone`. From then on its owner signs in with it, and may end what you may do. A number has one account.
#[utoipa::path(
    post, path = "/identity/v1/me/dependents/{id}/phone", tag = "identity", operation_id = "attachPhoneOfMyDependent", security(("bearer" = [])),
    params(("id" = Uuid, Path, description = "The registration")), request_body = AttachPhoneRequest,
    responses(
        (status = 204, description = "The account has the number"),
        (status = 401, description = "`unauthenticated`", content_type = "application/problem+json"),
        (status = 403, description = "`session-not-fresh`, `pin-wrong`, `pin-cooling`", content_type = "application/problem+json"),
        (status = 404, description = "`not-found`", content_type = "application/problem+json"),
        (status = 409, description = "`phone-taken`, `dependent-has-phone`, `registration-over`, `otp-used`", content_type = "application/problem+json"),
        (status = 422, description = "`pin-proof-required`, `pin-malformed`, `otp-wrong`, `otp-expired`, `otp-exhausted`, `otp-unknown`, `invalid-body`", content_type = "application/problem+json"),
        (status = 429, description = "`pin-delayed`, `otp-tries-too-many`", content_type = "application/problem+json"),
    )
)]
pub(super) async fn attach_phone(
    State(identity): App,
    caller: Principal,
    ClientAddress(address): ClientAddress,
    Path(id): Path<RegistrationId>,
    Json(request): Json<AttachPhoneRequest>,
) -> Result<StatusCode, Problem> {
    let code = Code::parse(&request.code.0).ok_or(Error::Field {
        field: "code",
        vi: "Mã gồm đúng 6 chữ số.",
        en: "A code has exactly 6 digits.",
    })?;
    let pin = request.pin.map(|pin| Pin::parse(&pin.0)).transpose().map_err(Error::from)?;
    let proof = PhoneProof { challenge: request.challenge_id, code, pin };
    identity
        .on_record(&caller, address, identity.attach_phone_of(&caller, id, proof, origin(&caller, address)))
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Close the account of somebody without a telephone, for whom I answer
///
/// As your own closing: soon after signing in, with your PIN where one is set; services say what stands against it, and it may be taken
/// back until `erase_at`. While one is under way, that one is answered.
#[utoipa::path(
    post, path = "/identity/v1/me/dependents/{id}/closing", tag = "identity", operation_id = "closeMyDependent", security(("bearer" = [])),
    params(("id" = Uuid, Path, description = "The registration")), request_body = ClosingRequest,
    responses(
        (status = 202, description = "Services are being asked", body = ClosingView),
        (status = 401, description = "`unauthenticated`", content_type = "application/problem+json"),
        (status = 403, description = "`session-not-fresh`, `pin-wrong`", content_type = "application/problem+json"),
        (status = 404, description = "`not-found`", content_type = "application/problem+json"),
        (status = 409, description = "`registration-over`, `dependent-has-phone`", content_type = "application/problem+json"),
        (status = 422, description = "`pin-proof-required`, `invalid-body`", content_type = "application/problem+json"),
        (status = 429, description = "`pin-delayed`", content_type = "application/problem+json"),
    )
)]
pub(super) async fn close(
    State(identity): App,
    caller: Principal,
    language: Language,
    ClientAddress(address): ClientAddress,
    Path(id): Path<RegistrationId>,
    Json(request): Json<ClosingRequest>,
) -> Result<Response, Problem> {
    let pin = request.pin.map(|pin| Pin::parse(&pin.0)).transpose().map_err(Error::from)?;
    let begun = identity
        .on_record(&caller, address, identity.close_dependent(&caller, id, pin.as_ref(), origin(&caller, address)))
        .await?;
    Ok(private(StatusCode::ACCEPTED, ClosingView::new(begun, language)))
}

/// Keep the account of somebody without a telephone
#[utoipa::path(
    delete, path = "/identity/v1/me/dependents/{id}/closing", tag = "identity", operation_id = "keepMyDependent", security(("bearer" = [])),
    params(("id" = Uuid, Path, description = "The registration")),
    responses(
        (status = 204, description = "The account stays"),
        (status = 401, description = "`unauthenticated`", content_type = "application/problem+json"),
        (status = 404, description = "`not-found`", content_type = "application/problem+json"),
        (status = 409, description = "`closing-not-open`, `registration-over`, `dependent-has-phone`", content_type = "application/problem+json"),
    )
)]
pub(super) async fn keep(
    State(identity): App,
    caller: Principal,
    ClientAddress(address): ClientAddress,
    Path(id): Path<RegistrationId>,
) -> Result<StatusCode, Problem> {
    identity.keep_dependent(caller.subject.into(), id, origin(&caller, address)).await?;
    Ok(StatusCode::NO_CONTENT)
}

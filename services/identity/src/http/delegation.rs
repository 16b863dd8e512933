//! `GET` and `POST /identity/v1/me/delegations`, `DELETE …/{id}`, `POST …/{id}/confirmation`, `POST …/{id}/tokens`
//!
//! Both sides see a delegation, and either ends it. None of these routes takes a token of who acts for somebody.

use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, SubsecRound as _, Utc};
use http::StatusCode;
use platform::auth::Principal;
use platform::http::{IdempotentJson, Json, Path};
use platform::idempotency::Key;
use platform::problem::Problem;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::address::ClientAddress;
use super::hidden::Hidden;
use super::{App, origin, private};
use crate::Identity;
use crate::citizen;
use crate::delegation::{Delegation, DelegationId, Kind, Proposal, Side, State as DelegationState, Terms};
use crate::error::Error;
use crate::pin::strength::Pin;

/// The most that may be paid, in đồng.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DelegationLimits {
    /// With one payment.
    #[schema(minimum = 1, maximum = 100_000_000, example = 200_000)]
    transaction: i64,
    /// In a day.
    #[schema(minimum = 1, maximum = 100_000_000, example = 500_000)]
    day: i64,
    /// In a month.
    #[schema(minimum = 1, maximum = 100_000_000, example = 2_000_000)]
    month: i64,
}

impl DelegationLimits {
    pub(super) fn new([transaction, day, month]: [i64; 3]) -> Self {
        Self { transaction, day, month }
    }

    pub(super) fn maxima(self) -> [i64; 3] {
        [self.transaction, self.day, self.month]
    }
}

/// A delegation to be proposed.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DelegationRequest {
    /// On which side you are.
    side: Side,
    /// The other's telephone number. Whether somebody has it is not said.
    #[schema(min_length = 3, max_length = 32, example = "0912345678")]
    phone: String,
    /// What may be paid.
    #[schema(inline, min_items = 1, max_items = 3)]
    kinds: Vec<Kind>,
    limits: DelegationLimits,
    /// Until when, at most five years.
    until: DateTime<Utc>,
    /// Your PIN, where you are the dependent: it is your money.
    #[serde(default)]
    #[schema(value_type = Option<String>, min_length = 6, max_length = 6)]
    pin: Option<Hidden>,
}

/// The word of whoever a delegation was proposed to.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DelegationConfirmation {
    /// Your PIN, where you are the dependent: it is your money. A guardian sends none.
    #[serde(default)]
    #[schema(value_type = Option<String>, min_length = 6, max_length = 6)]
    pin: Option<Hidden>,
}

fn pin(text: Option<Hidden>) -> Result<Option<Pin>, Error> {
    text.map(|text| Pin::parse(&text.0)).transpose().map_err(Error::from)
}

/// A delegation, as one side sees it.
#[derive(Serialize, ToSchema)]
pub(super) struct DelegationView {
    id: DelegationId,
    state: DelegationState,
    /// On which side you are.
    side: Side,
    /// Whether you proposed it.
    mine: bool,
    /// The other, once they are known; a guardian's answer to a proposal makes them known.
    other_id: Option<Uuid>,
    /// The other's name with its middle hidden, if they gave one.
    other_name: Option<String>,
    kinds: Vec<String>,
    limits: DelegationLimits,
    until: DateTime<Utc>,
    proposed_at: DateTime<Utc>,
    confirmed_at: Option<DateTime<Utc>>,
    ended_at: Option<DateTime<Utc>>,
}

/// All delegations of the caller.
#[derive(Serialize, ToSchema)]
pub(super) struct DelegationList {
    /// The newest first, at most 200.
    items: Vec<DelegationView>,
}

/// A token by which a guardian acts (RFC 8693, section 2.2.1).
#[derive(Serialize, ToSchema)]
pub(super) struct ActingTokenView {
    /// Its `sub` is the person for whom, its `act.sub` the guardian.
    access_token: String,
    /// `urn:ietf:params:oauth:token-type:access_token`
    issued_token_type: &'static str,
    /// `Bearer`
    token_type: &'static str,
    /// Seconds; ask for another then.
    expires_in: u32,
}

async fn view(identity: &Identity, (one, side): (Delegation, Side), me: Uuid) -> Result<DelegationView, Error> {
    let other_id = one.other(side);
    let other = match other_id {
        Some(id) => identity.citizen(id.into()).await.ok(),
        None => None,
    };
    Ok(DelegationView {
        id: one.id,
        state: one.state(identity.now()),
        side,
        mine: one.proposed_by == me,
        other_id,
        other_name: other.and_then(|other| other.display_name.as_deref().map(citizen::mask_name)),
        limits: DelegationLimits::new([one.transaction_maximum, one.day_maximum, one.month_maximum]),
        kinds: one.kinds,
        until: one.valid_until,
        proposed_at: one.proposed_at,
        confirmed_at: one.confirmed_at,
        ended_at: one.ended_at,
    })
}

/// List who may act for me, and for whom I may
///
/// Also what is proposed to your number, and what has ended.
#[utoipa::path(
    get, path = "/identity/v1/me/delegations", tag = "identity", security(("bearer" = [])),
    responses(
        (status = 200, description = "All", body = DelegationList),
        (status = 401, description = "`unauthenticated`", content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(State(identity): App, caller: Principal) -> Result<Response, Problem> {
    let mut items = Vec::new();
    for one in identity.delegations(caller.subject.into()).await? {
        items.push(view(&identity, one, caller.subject).await?);
    }
    Ok(private(StatusCode::OK, DelegationList { items }))
}

/// Propose that I act for somebody, or somebody for me
///
/// It waits seven days for the other's word. Its limits never change; a newer one between the same two people ends the older.
/// Whoever is to be acted for gives power over their money: soon after signing in, with their PIN, and on a device that is theirs for
/// `lifetimes.pin_cooling_seconds` (a day), or the one on which they registered.
#[utoipa::path(
    post, path = "/identity/v1/me/delegations", tag = "identity", security(("bearer" = [])), request_body = DelegationRequest,
    params(("Idempotency-Key" = String, Header, description = "New for each proposal")),
    responses(
        (status = 201, description = "It waits for the other's word", body = DelegationView),
        (status = 400, description = "`idempotency-key-missing`, `malformed-json`", content_type = "application/problem+json"),
        (status = 401, description = "`unauthenticated`", content_type = "application/problem+json"),
        (status = 403, description = "As the dependent: `session-not-fresh`, `pin-wrong`; `pin-cooling` and `key-cooling` (the device is new) with `cooling_until`", content_type = "application/problem+json"),
        (status = 409, description = "`delegations-too-many`; as the dependent: `pin-not-set`", content_type = "application/problem+json"),
        (status = 422, description = "`invalid-body`, `pin-malformed`, `pin-proof-required` (as the dependent), `phone-invalid`, `phone-not-mobile`, `phone-not-served`, `idempotency-key-reused`", content_type = "application/problem+json"),
        (status = 429, description = "`pin-delayed`", content_type = "application/problem+json"),
    )
)]
pub(super) async fn propose(
    State(identity): App,
    caller: Principal,
    ClientAddress(address): ClientAddress,
    IdempotentJson { key, fingerprint, body }: IdempotentJson<DelegationRequest>,
) -> Result<Response, Problem> {
    let mut kinds = body.kinds;
    kinds.sort_unstable();
    kinds.dedup();
    let terms = Terms { kinds, maxima: body.limits.maxima(), until: body.until.trunc_subsecs(6) };
    let other = identity.numbering.parse(&body.phone).map_err(Error::from)?;
    let proposal = Proposal { side: body.side, other, terms, pin: pin(body.pin)? };
    let key = Key { caller: caller.subject, operation: "delegation.propose", key, fingerprint };
    let made = identity
        .on_record(&caller, address, identity.propose_delegation(&caller, &proposal, (origin(&caller, address), &key)))
        .await?;
    Ok(private(StatusCode::CREATED, view(&identity, made, caller.subject).await?))
}

/// Confirm what was proposed to me
///
/// Whoever is to be acted for gives power over their money: soon after signing in, with their PIN, and on a device that is theirs for
/// `lifetimes.pin_cooling_seconds` (a day), or the one on which they registered. A guardian sends `{}`.
#[utoipa::path(
    post, path = "/identity/v1/me/delegations/{id}/confirmation", tag = "identity", security(("bearer" = [])),
    request_body = DelegationConfirmation,
    params(("id" = Uuid, Path, description = "The delegation")),
    responses(
        (status = 200, description = "The guardian may act from now on", body = DelegationView),
        (status = 401, description = "`unauthenticated`", content_type = "application/problem+json"),
        (status = 403, description = "`forbidden`: you proposed it yourself. As the dependent: `session-not-fresh`, `pin-wrong`; `pin-cooling` and `key-cooling` (the device is new) with `cooling_until`", content_type = "application/problem+json"),
        (status = 404, description = "`not-found`", content_type = "application/problem+json"),
        (status = 409, description = "`delegation-over`; as the dependent: `pin-not-set`", content_type = "application/problem+json"),
        (status = 422, description = "`invalid-body`, `pin-malformed`; as the dependent: `pin-proof-required`", content_type = "application/problem+json"),
        (status = 429, description = "`pin-delayed`", content_type = "application/problem+json"),
    )
)]
pub(super) async fn confirm(
    State(identity): App,
    caller: Principal,
    ClientAddress(address): ClientAddress,
    Path(id): Path<DelegationId>,
    Json(body): Json<DelegationConfirmation>,
) -> Result<Response, Problem> {
    let pin = pin(body.pin)?;
    let confirmed = identity
        .on_record(&caller, address, identity.confirm_delegation(&caller, (id, pin.as_ref()), origin(&caller, address)))
        .await?;
    Ok(private(StatusCode::OK, view(&identity, confirmed, caller.subject).await?))
}

/// End a delegation
///
/// Or refuse what is proposed, or take one's own proposal back. Either side may. Every token of it is refused within five seconds.
#[utoipa::path(
    delete, path = "/identity/v1/me/delegations/{id}", tag = "identity", security(("bearer" = [])),
    params(("id" = Uuid, Path, description = "The delegation")),
    responses(
        (status = 204, description = "It has ended"),
        (status = 401, description = "`unauthenticated`", content_type = "application/problem+json"),
        (status = 404, description = "`not-found`", content_type = "application/problem+json"),
        (status = 409, description = "`dependent-without-phone`: somebody without a telephone has nobody else", content_type = "application/problem+json"),
    )
)]
pub(super) async fn end(
    State(identity): App,
    caller: Principal,
    ClientAddress(address): ClientAddress,
    Path(id): Path<DelegationId>,
) -> Result<StatusCode, Problem> {
    identity.end_delegation(&caller, id, origin(&caller, address)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Get a token to act for somebody
///
/// For the guardian. It opens payments and bills of the other within the limits, and nothing else of theirs.
#[utoipa::path(
    post, path = "/identity/v1/me/delegations/{id}/tokens", tag = "identity", security(("bearer" = [])),
    params(("id" = Uuid, Path, description = "The delegation")),
    responses(
        (status = 201, description = "The token", body = ActingTokenView),
        (status = 401, description = "`unauthenticated`", content_type = "application/problem+json"),
        (status = 403, description = "`forbidden`: you are not the guardian", content_type = "application/problem+json"),
        (status = 404, description = "`not-found`", content_type = "application/problem+json"),
        (status = 409, description = "`delegation-over`: not confirmed, ended, or its time is over", content_type = "application/problem+json"),
    )
)]
pub(super) async fn token(
    State(identity): App,
    caller: Principal,
    ClientAddress(address): ClientAddress,
    Path(id): Path<DelegationId>,
) -> Result<Response, Problem> {
    let token = identity.acting_token(&caller, id, origin(&caller, address)).await?;
    let view = ActingTokenView {
        access_token: token.access,
        issued_token_type: "urn:ietf:params:oauth:token-type:access_token",
        token_type: "Bearer",
        expires_in: token.expires_in_s,
    };
    Ok(private(StatusCode::CREATED, view))
}

//! Top-ups: asked for here, carried on by a job, ended by the bank.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use http::{HeaderValue, StatusCode, header};
use ledger::money::Money;
use platform::auth::Party;
use platform::http::{IdempotentJson, Json, Path};
use platform::problem::Problem;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::App;
use super::step_up::StepUpToken;
use crate::account::CURRENCY;
use crate::allowance::Asked;
use crate::delegate;
use crate::error::Error;
use crate::top_up::{self, NewTopUp, State as TopUpState, TopUp, TopUpId};

/// A top-up.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TopUpView {
    id: TopUpId,
    /// `requested` → `submitted` → `completed` or `failed`; `unknown` while the bank's answer is not known.
    state: TopUpState,
    bank_code: String,
    amount: Money,
    /// The bank's own reference, once it gave one.
    bank_reference: Option<String>,
    /// Why it failed: the bank's code.
    reason: Option<String>,
    /// The transaction in the wallet, once completed.
    transaction_id: Option<Uuid>,
    /// The guardian who asked for it, if it was one.
    acted_by: Option<Uuid>,
    requested_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl From<TopUp> for TopUpView {
    fn from(top_up: TopUp) -> Self {
        Self {
            id: top_up.id,
            state: top_up.state,
            bank_code: top_up.bank_code,
            amount: Money::from_minor(top_up.amount, CURRENCY),
            bank_reference: top_up.bank_reference,
            reason: top_up.reason,
            transaction_id: top_up.transfer_id,
            acted_by: top_up.actor_id,
            requested_at: top_up.requested_at,
            updated_at: top_up.updated_at,
        }
    }
}

/// A top-up that was asked for.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TopUpAccepted {
    id: TopUpId,
    /// `requested`: ask for the top-up to see how it goes on.
    state: TopUpState,
    bank_code: String,
    amount: Money,
    requested_at: DateTime<Utc>,
}

/// Asks a bank for money.
///
/// The answer is the same however often it is asked with one key; what became of the money is told by `GET /wallet/v1/top-ups/{id}`.
/// A guardian, with a token to act for somebody, brings that person money from an account of the guardian's own.
#[utoipa::path(
    post,
    path = "/wallet/v1/top-ups",
    tag = "wallet",
    operation_id = "createTopUp",
    params(
        ("Idempotency-Key" = String, Header, description = "One per top-up"),
        ("Step-Up-Token" = Option<String>, Header, description = "A proof for this top-up: `top-up`, `BANK:ACCOUNT`, its amount, its key"),
    ),
    request_body = NewTopUp,
    responses(
        (status = 202, body = TopUpAccepted),
        (status = 403, description = "step-up-required (with `proof`, `threshold` and the `transaction` to prove), step-up-invalid (with `reason`); for a guardian delegation-ended"),
        (status = 422, description = "bank-unknown, too-many-top-ups, amount-above-limit, currency-unsupported, invalid-body, idempotency-key-reused"),
    ),
    security(("bearer" = []))
)]
pub(super) async fn begin(
    State(wallet): State<App>,
    party: Party,
    StepUpToken(proof): StepUpToken,
    request: IdempotentJson<NewTopUp>,
) -> Result<Response, Problem> {
    let key = delegate::key(&party, request.key)?;
    let asker = delegate::asker(&party);
    let asked = Asked { asker, key: &key, fingerprint: &request.fingerprint, proof: proof.as_deref() };
    let saved = top_up::begin(&wallet, asked, &request.body).await?;
    let location = HeaderValue::from_str(&format!("/wallet/v1/top-ups/{}", saved.id)).expect("a UUID is ASCII");
    let accepted = TopUpAccepted {
        id: saved.id,
        state: TopUpState::Requested,
        bank_code: saved.bank_code,
        amount: Money::from_minor(saved.amount, CURRENCY),
        requested_at: saved.requested_at,
    };
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(accepted)).into_response())
}

/// One of the caller's top-ups; for a guardian one that they asked for.
#[utoipa::path(
    get,
    path = "/wallet/v1/top-ups/{top_up_id}",
    tag = "wallet",
    operation_id = "getTopUp",
    params(("top_up_id" = Uuid, Path)),
    responses((status = 200, body = TopUpView), (status = 404, description = "not-found")),
    security(("bearer" = []))
)]
pub(super) async fn show(
    State(wallet): State<App>,
    party: Party,
    Path(id): Path<TopUpId>,
) -> Result<Json<TopUpView>, Problem> {
    let found = top_up::find_own(&mut *wallet.pool.acquire().await?, party.subject, id).await?;
    let seen = found.filter(|top_up| top_up.may_be_seen(party.acting));
    Ok(Json(seen.ok_or(Error::NotFound)?.into()))
}

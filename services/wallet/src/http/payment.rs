//! Payments: made here, and shown to both sides.

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
use crate::merchant::{MerchantId, TillId};
use crate::payment::{self, NewPayment, Paid, Payment, PaymentId};
use crate::person::word;

/// A payment as both sides may see it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PaymentView {
    id: PaymentId,
    /// `completed`: a payment is made at once or not at all.
    state: &'static str,
    amount: Money,
    merchant: PayeeView,
    till_id: TillId,
    note: Option<String>,
    /// Its place in the journal.
    sequence: i64,
    paid_at: DateTime<Utc>,
    /// Who acted for the payer, by identity's id, if somebody did; shown to these two.
    acted_by: Option<Uuid>,
}

/// A payment just made.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PaidView {
    #[serde(flatten)]
    payment: PaymentView,
    /// What the payer's wallet held right after it.
    balance: Money,
}

/// Who was paid.
#[derive(Debug, Serialize, ToSchema)]
struct PayeeView {
    id: MerchantId,
    name: String,
}

impl From<Paid> for PaidView {
    fn from(paid: Paid) -> Self {
        let payment = PaymentView {
            id: PaymentId::from(paid.posted.transfer.uuid()),
            state: "completed",
            amount: paid.amount,
            merchant: PayeeView { id: paid.payee.merchant, name: paid.payee.merchant_name.clone() },
            till_id: paid.payee.till,
            note: paid.note,
            sequence: paid.posted.sequence,
            paid_at: paid.posted.posted_at,
            acted_by: None,
        };
        Self { payment, balance: paid.posted.debit_balance }
    }
}

impl From<Payment> for PaymentView {
    fn from(payment: Payment) -> Self {
        Self {
            id: payment.id,
            state: "completed",
            amount: Money::from_minor(payment.amount, CURRENCY),
            merchant: PayeeView { id: payment.merchant_id, name: payment.merchant_name },
            till_id: payment.till_id,
            note: payment.note,
            sequence: payment.sequence,
            paid_at: payment.paid_at,
            acted_by: None,
        }
    }
}

/// Pays a merchant.
///
/// Equal requests with one key get the same answer and move money once. A guardian pays with the token of their delegation and
/// their own proof.
#[utoipa::path(
    post,
    path = "/wallet/v1/payments",
    tag = "wallet",
    operation_id = "createPayment",
    params(
        ("Idempotency-Key" = String, Header, description = "One per payment"),
        ("Step-Up-Token" = Option<String>, Header, description = "A proof for this payment: `payment`, its till, its amount, its key"),
    ),
    request_body = NewPayment,
    responses(
        (status = 201, body = PaidView),
        (status = 403, description = "step-up-required (with `proof`, `threshold` and the `transaction` to prove), step-up-invalid (with `reason`); for a guardian delegation-ended, delegation-kind"),
        (status = 422, description = "insufficient-funds, payee-unknown, payee-required, amount-required, amount-mismatch, amount-above-limit, limit-day, limit-month, delegation-limit (with `period`, `maximum`), qr-…, invalid-body, idempotency-key-reused"),
        (status = 503, description = "overloaded: nothing happened; outcome-unknown: send it again with the same key"),
    ),
    security(("bearer" = []))
)]
pub(super) async fn pay(
    State(wallet): State<App>,
    party: Party,
    StepUpToken(proof): StepUpToken,
    request: IdempotentJson<NewPayment>,
) -> Result<Response, Problem> {
    let key = delegate::key(&party, request.key)?;
    let asker = delegate::asker(&party);
    let asked = Asked { asker, key: &key, fingerprint: &request.fingerprint, proof: proof.as_deref() };
    let paid = payment::pay(&wallet, asked, &request.body).await?;
    let mut view = PaidView::from(paid);
    view.payment.acted_by = party.acting.map(|acting| acting.actor);
    let location = HeaderValue::from_str(&format!("/wallet/v1/payments/{}", view.payment.id)).expect("a UUID is ASCII");
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(view)).into_response())
}

/// A payment that the caller made, or that a merchant of the caller's got.
#[utoipa::path(
    get,
    path = "/wallet/v1/payments/{payment_id}",
    tag = "wallet",
    operation_id = "getPayment",
    params(("payment_id" = Uuid, Path)),
    responses((status = 200, body = PaymentView), (status = 404, description = "not-found")),
    security(("bearer" = []))
)]
pub(super) async fn show(
    State(wallet): State<App>,
    party: Party,
    Path(id): Path<PaymentId>,
) -> Result<Json<PaymentView>, Problem> {
    delegate::may_see(&wallet, &party, id.uuid()).await?;
    let mut connection = wallet.pool.acquire().await?;
    let mut found = payment::sql::find_seen_by(&mut connection, party.subject, id).await?.ok_or(Error::NotFound)?;
    word::open(&wallet.persons, &mut connection, std::slice::from_mut(&mut found)).await.map_err(Error::from)?;
    // The merchant does not see who acted for the payer.
    let payer = found.payer_user_id == party.subject;
    let acted = if payer { delegate::sql::acting_in(&mut connection, id.uuid()).await? } else { None };
    Ok(Json(PaymentView { acted_by: acted.map(|acting| acting.actor), ..found.into() }))
}

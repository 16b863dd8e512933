//! Payments: made here, and shown to both sides.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use http::{HeaderValue, StatusCode, header};
use ledger::money::Money;
use platform::auth::Principal;
use platform::http::{IdempotentJson, Json, Path};
use platform::problem::Problem;
use serde::Serialize;
use utoipa::ToSchema;

use super::App;
use super::step_up::StepUpToken;
use crate::account::CURRENCY;
use crate::allowance::{Asked, Asker};
use crate::error::Error;
use crate::merchant::{MerchantId, TillId};
use crate::payment::{self, NewPayment, Paid, Payment, PaymentId};

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
        }
    }
}

/// Pays a merchant.
///
/// Equal requests with one key get the same answer and move money once.
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
        (status = 403, description = "step-up-required (with `proof`, `threshold` and the `transaction` to prove), step-up-invalid (with `reason`)"),
        (status = 422, description = "insufficient-funds, payee-unknown, payee-required, amount-required, amount-mismatch, amount-above-limit, limit-day, limit-month, qr-…, invalid-body, idempotency-key-reused"),
        (status = 503, description = "overloaded: nothing happened; outcome-unknown: send it again with the same key"),
    ),
    security(("bearer" = []))
)]
pub(super) async fn pay(
    State(wallet): State<App>,
    principal: Principal,
    StepUpToken(proof): StepUpToken,
    request: IdempotentJson<NewPayment>,
) -> Result<Response, Problem> {
    let asker = Asker { user: principal.subject, session: principal.session };
    let asked = Asked { asker, key: &request.key, fingerprint: &request.fingerprint, proof: proof.as_deref() };
    let paid = payment::pay(&wallet, asked, &request.body).await?;
    let view = PaidView::from(paid);
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
    principal: Principal,
    Path(id): Path<PaymentId>,
) -> Result<Json<PaymentView>, Problem> {
    let found = payment::sql::find_seen_by(&mut *wallet.pool.acquire().await?, principal.subject, id).await?;
    Ok(Json(found.ok_or(Error::NotFound)?.into()))
}

//! Payments of bills: asked for here, carried on by a job, ended by the biller's word.

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
use crate::bill::BillId;
use crate::bill_payment::named::{self, Name};
use crate::bill_payment::{self, BillPayment, BillPaymentId, NewBillPayment, State as PaymentState, sql};
use crate::delegate;
use crate::error::Error;

/// A payment of a bill.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BillPaymentView {
    id: BillPaymentId,
    /// `requested` → `held` → `confirming` → `paid` or `failed`; `unknown` while the biller's answer is not known: it is being confirmed.
    state: PaymentState,
    bill_id: BillId,
    biller_code: String,
    customer_code: String,
    /// The biller's name for the bill.
    reference: String,
    amount: Money,
    /// The biller's own reference of the payment, once it gave one.
    biller_reference: Option<String>,
    /// Why it failed: our code or the biller's.
    reason: Option<String>,
    /// The transaction in the wallet, once paid; its receipt is `GET /wallet/v1/transactions/{id}/receipt`.
    transaction_id: Option<Uuid>,
    requested_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    /// Who acted for the payer, by identity's id, if somebody did.
    acted_by: Option<Uuid>,
}

impl BillPaymentView {
    fn new(payment: BillPayment, name: Name, acted_by: Option<Uuid>) -> Self {
        Self {
            id: payment.id,
            state: payment.state,
            bill_id: payment.bill_id,
            biller_code: payment.biller_code,
            customer_code: name.customer_code,
            reference: name.reference,
            amount: Money::from_minor(payment.amount, CURRENCY),
            biller_reference: payment.biller_reference,
            reason: payment.reason,
            transaction_id: payment.transfer_id,
            requested_at: payment.requested_at,
            updated_at: payment.updated_at,
            acted_by,
        }
    }
}

/// A payment of a bill that was asked for.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BillPaymentAccepted {
    id: BillPaymentId,
    /// `held`: the money is set aside; ask for the payment to see how it goes on.
    state: PaymentState,
    bill_id: BillId,
    amount: Money,
    requested_at: DateTime<Utc>,
}

/// Pays a bill.
///
/// The money is set aside at once; it moves when the biller has recorded the payment, and comes back when the biller has not.
/// A guardian pays with the token of their delegation and their own proof.
/// The answer is the same however often it is asked with one key; what became of it is told by `GET /wallet/v1/bill-payments/{id}`.
#[utoipa::path(
    post,
    path = "/wallet/v1/bills/{bill_id}/payments",
    tag = "wallet",
    operation_id = "createBillPayment",
    params(
        ("bill_id" = Uuid, Path),
        ("Idempotency-Key" = String, Header, description = "One per payment"),
        ("Step-Up-Token" = Option<String>, Header, description = "A proof for this payment: `bill` or `fee`, the bill or the fee, its amount, its key"),
    ),
    request_body = NewBillPayment,
    responses(
        (status = 202, body = BillPaymentAccepted),
        (status = 403, description = "step-up-required (with `proof`, `threshold` and the `transaction` to prove), step-up-invalid (with `reason`); for a guardian delegation-ended, delegation-kind"),
        (status = 404, description = "not-found"),
        (status = 409, description = "bill-paid, bill-being-paid, bill-closed"),
        (status = 422, description = "bill-amount-changed, insufficient-funds, amount-above-limit, limit-day, limit-month, delegation-limit (with `period`, `maximum`), account-frozen, account-closed, \
            too-many-bill-payments, bill-payment-expired, biller-unknown, currency-unsupported, invalid-body, idempotency-key-reused"),
        (status = 503, description = "unavailable, overloaded, outcome-unknown: send it again with the same key"),
    ),
    security(("bearer" = []))
)]
pub(super) async fn pay(
    State(wallet): State<App>,
    party: Party,
    Path(bill): Path<BillId>,
    StepUpToken(proof): StepUpToken,
    request: IdempotentJson<NewBillPayment>,
) -> Result<Response, Problem> {
    let key = delegate::key(&party, request.key)?;
    let asker = delegate::asker(&party);
    let asked = Asked { asker, key: &key, fingerprint: &request.fingerprint, proof: proof.as_deref() };
    let payment = bill_payment::pay(&wallet, asked, bill, &request.body).await?;
    let location = HeaderValue::from_str(&format!("/wallet/v1/bill-payments/{}", payment.id)).expect("a UUID is ASCII");
    let accepted = BillPaymentAccepted {
        id: payment.id,
        state: PaymentState::Held,
        bill_id: payment.bill_id,
        amount: Money::from_minor(payment.amount, CURRENCY),
        requested_at: payment.requested_at,
    };
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(accepted)).into_response())
}

/// One of the caller's payments of bills.
#[utoipa::path(
    get,
    path = "/wallet/v1/bill-payments/{bill_payment_id}",
    tag = "wallet",
    operation_id = "getBillPayment",
    params(("bill_payment_id" = Uuid, Path)),
    responses((status = 200, body = BillPaymentView), (status = 404, description = "not-found")),
    security(("bearer" = []))
)]
pub(super) async fn show(
    State(wallet): State<App>,
    party: Party,
    Path(id): Path<BillPaymentId>,
) -> Result<Json<BillPaymentView>, Problem> {
    delegate::may_see(&wallet, &party, id.uuid()).await?;
    let mut connection = wallet.pool.acquire().await?;
    let found = sql::find_own(&mut connection, party.subject, id).await?.ok_or(Error::NotFound)?;
    let acted = delegate::sql::acting_in(&mut connection, id.uuid()).await?;
    let name = named::of_payment(&wallet.persons, &mut connection, &found).await.map_err(Error::from)?;
    Ok(Json(BillPaymentView::new(found, name.unwrap_or_default(), acted.map(|acting| acting.actor))))
}

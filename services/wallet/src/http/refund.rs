//! Refunds: made by the merchant's owner.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use http::StatusCode;
use ledger::Key;
use ledger::money::Money;
use platform::auth::Principal;
use platform::http::{IdempotentJson, Json, Path};
use platform::problem::Problem;
use serde::Serialize;
use utoipa::ToSchema;

use super::App;
use crate::account::CURRENCY;
use crate::payment::PaymentId;
use crate::refund::{self, NewRefund, Refund, RefundId};

/// A refund that was made.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RefundView {
    id: RefundId,
    payment_id: PaymentId,
    amount: Money,
    reason: Option<String>,
    /// Its place in the journal.
    sequence: i64,
    refunded_at: DateTime<Utc>,
}

impl RefundView {
    fn new(refund: Refund, reason: Option<String>) -> Self {
        Self {
            id: refund.id,
            payment_id: refund.payment_id,
            amount: Money::from_minor(refund.amount, CURRENCY),
            reason,
            sequence: refund.sequence,
            refunded_at: refund.refunded_at,
        }
    }
}

/// Gives a payment's money back, all or part; only the merchant's owner may.
///
/// Refunds of one payment together never exceed it, however many are asked for at once. Equal requests with one key get the same answer and move money once.
#[utoipa::path(
    post,
    path = "/wallet/v1/payments/{payment_id}/refunds",
    tag = "wallet",
    operation_id = "createRefund",
    params(("payment_id" = PaymentId, Path), ("Idempotency-Key" = String, Header, description = "One per refund")),
    request_body = NewRefund,
    responses(
        (status = 201, body = RefundView),
        (status = 404, description = "not-found"),
        (status = 422, description = "refund-exceeds-payment, insufficient-funds, account-frozen, account-closed, currency-unsupported, invalid-body, idempotency-key-reused"),
        (status = 503, description = "overloaded: nothing happened; outcome-unknown: send it again with the same key"),
    ),
    security(("bearer" = []))
)]
pub(super) async fn create(
    State(wallet): State<App>,
    principal: Principal,
    Path(payment): Path<PaymentId>,
    request: IdempotentJson<NewRefund>,
) -> Result<Response, Problem> {
    let key = Key {
        caller: principal.subject,
        operation: refund::OPERATION,
        key: request.key,
        fingerprint: request.fingerprint,
    };
    let (made, reason) = refund::refund(&wallet, payment, key, &request.body).await?;
    Ok((StatusCode::CREATED, Json(RefundView::new(made, reason))).into_response())
}

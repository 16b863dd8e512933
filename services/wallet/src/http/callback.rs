//! A bank says what became of a collection, a biller what became of a payment. They prove themselves by signature, not by token.
//!
//! Everything about a callback is checked before anything is done; a repeated one gets the same answer and has no effect.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{OriginalUri, State};
use http::HeaderMap;
use platform::http::{Json, Path};
use platform::problem::Problem;
use serde::Serialize;
use utoipa::ToSchema;

use super::App;
use super::signed::{Callback, Received, proven};
use crate::bill_payment::{self, State as BillPaymentState};
use crate::error::Error;
use crate::top_up::{self, State as TopUpState, Word};

/// What we have made of it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Recorded {
    /// Where the top-up stands now.
    state: TopUpState,
}

/// Takes a bank's word.
#[utoipa::path(
    post,
    path = "/wallet/v1/bank-callbacks/{bank_code}",
    tag = "wallet",
    operation_id = "receiveBankCallback",
    params(
        ("bank_code" = String, Path),
        ("X-Timestamp" = String, Header, description = "Unix seconds, at most 5 minutes away"),
        ("X-Signature" = String, Header, description = "hex HMAC-SHA256(secret, METHOD\\npath\\ntimestamp\\nsha256hex(body))"),
    ),
    request_body = Callback,
    responses(
        (status = 200, body = Recorded),
        (status = 401, description = "signature-invalid"),
        (status = 404, description = "not-found"),
        (status = 422, description = "callback-amount-mismatch, invalid-body"),
        (status = 503, description = "unavailable, outcome-unknown: say it again later"),
    )
)]
pub(super) async fn receive(
    State(wallet): State<App>,
    Path(bank_code): Path<String>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Recorded>, Problem> {
    let bank = wallet.banks.get(&bank_code).ok_or(Error::NotFound)?;
    let received = Received { path: uri.path(), headers: &headers, body };
    let taken = async {
        let callback = proven(&wallet, (&bank_code, &bank.callback_secret), received)?;
        let found = top_up::find(&mut *wallet.pool.acquire().await?, callback.request_id.into()).await?;
        let found = found.filter(|top_up| top_up.bank_code == bank_code).ok_or(Error::NotFound)?;
        Ok(top_up::settle(&wallet, found.id, &callback.into(), Word::Bank).await?.state)
    };
    let taken: Result<TopUpState, Problem> = taken.await;
    let outcome = taken.as_ref().map_or_else(Problem::code, |state| state.name());
    wallet.metrics.callback(&bank_code, outcome);
    taken.map(|state| Json(Recorded { state }))
}

/// What we have made of a biller's word.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BillRecorded {
    /// Where the payment stands now.
    state: BillPaymentState,
}

/// Takes a biller's word.
#[utoipa::path(
    post,
    path = "/wallet/v1/biller-callbacks/{biller_code}",
    tag = "wallet",
    operation_id = "receiveBillerCallback",
    params(
        ("biller_code" = String, Path),
        ("X-Timestamp" = String, Header, description = "Unix seconds, at most 5 minutes away"),
        ("X-Signature" = String, Header, description = "hex HMAC-SHA256(secret, METHOD\\npath\\ntimestamp\\nsha256hex(body))"),
    ),
    request_body = Callback,
    responses(
        (status = 200, body = BillRecorded),
        (status = 401, description = "signature-invalid"),
        (status = 404, description = "not-found"),
        (status = 422, description = "callback-amount-mismatch, invalid-body"),
        (status = 503, description = "unavailable, outcome-unknown: say it again later"),
    )
)]
pub(super) async fn receive_of_biller(
    State(wallet): State<App>,
    Path(biller_code): Path<String>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<BillRecorded>, Problem> {
    let biller = wallet.billers.get(&biller_code).ok_or(Error::NotFound)?;
    let received = Received { path: uri.path(), headers: &headers, body };
    let taken = async {
        let callback = proven(&wallet, (&biller_code, &biller.callback_secret), received)?;
        let found = bill_payment::sql::find(&mut *wallet.pool.acquire().await?, callback.request_id.into()).await?;
        let found = found.filter(|payment| payment.biller_code == biller_code).ok_or(Error::NotFound)?;
        Ok(bill_payment::settle(&wallet, found.id, &callback.into()).await?)
    };
    let taken: Result<BillPaymentState, Problem> = taken.await;
    let outcome = taken.as_ref().map_or_else(Problem::code, |state| state.name());
    wallet.metrics.biller_callback(&biller_code, outcome);
    taken.map(|state| Json(BillRecorded { state }))
}

//! `POST /wallet/v1/bank-callbacks/{bank_code}`: a bank says what became of a collection. It proves itself by signature, not by token.
//!
//! Everything about a callback is checked before anything is done; a repeated one gets the same answer and has no effect.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{OriginalUri, State};
use http::HeaderMap;
use ledger::money::Money;
use platform::http::{Json, Path};
use platform::problem::{BODY_TOO_LARGE, INVALID_BODY, MALFORMED_JSON, Problem};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::App;
use crate::error::Error;
use crate::top_up::{
    self, CallbackStatus, Outcome, SIGNATURE, Signed, State as TopUpState, TIMESTAMP, TopUpId, verify,
};
use crate::{Bank, Wallet};

/// What a bank says. Fields that a bank adds are ignored.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct Callback {
    /// The id that we gave.
    #[schema(value_type = String, format = Uuid)]
    request_id: TopUpId,
    /// The bank's own reference.
    bank_reference: Option<String>,
    /// `succeeded` or `failed`.
    status: CallbackStatus,
    /// Why it failed.
    reason: Option<String>,
    /// How much was collected.
    amount: Money,
}

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
    let taken = async {
        let body = body.map_err(|rejection| Problem::new(BODY_TOO_LARGE).source(rejection))?;
        take(&wallet, (&bank_code, bank), uri.path(), &headers, &body).await
    };
    let taken = taken.await;
    let outcome = taken.as_ref().map_or_else(Problem::code, |state| state.name());
    wallet.metrics.callback(&bank_code, outcome);
    taken.map(|state| Json(Recorded { state }))
}

/// Checks a callback and books what it says; gives where the top-up stands then.
async fn take(
    wallet: &Wallet,
    (bank_code, bank): (&str, &Bank),
    path: &str,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<TopUpState, Problem> {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let message = Signed { method: "POST", path, body };
    if !verify(bank.callback_secret.expose(), message, header(TIMESTAMP), header(SIGNATURE), wallet.clock.now()) {
        tracing::warn!(bank.code = bank_code, "callback without a valid signature");
        return Err(Error::Signature.into());
    }
    let callback = parse(body)?;
    let found = top_up::find(&mut *wallet.pool.acquire().await?, callback.request_id).await?;
    let found = found.filter(|top_up| top_up.bank_code == bank_code).ok_or(Error::NotFound)?;
    let report = Outcome {
        status: callback.status,
        bank_reference: callback.bank_reference,
        reason: callback.reason,
        amount: Some(callback.amount),
    };
    Ok(top_up::settle(wallet, found.id, &report.into()).await?.state)
}

fn parse(body: &[u8]) -> Result<Callback, Problem> {
    serde_json::from_slice(body).map_err(|error| {
        let code = if error.is_data() { INVALID_BODY } else { MALFORMED_JSON };
        Problem::new(code).source(error)
    })
}

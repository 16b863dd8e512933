//! Receipts of transactions.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderName, HeaderValue};
use ledger::receipt::Receipt;
use platform::auth::Principal;
use platform::http::{Json, Path};
use platform::problem::Problem;
use uuid::Uuid;

use super::App;
use crate::receipt;

/// Says who paid for the citizen. Not in the receipt itself: the books seal what moved, not who asked.
const ACTED_BY: HeaderName = HeaderName::from_static("acted-by");

/// The receipt of one of the caller's transactions, to be kept byte by byte.
///
/// It proves the block at once, and what the city signed about it after the day has ended: `trangtien ledger verify --receipt FILE` checks it without the city.
#[utoipa::path(
    get,
    path = "/wallet/v1/transactions/{transaction_id}/receipt",
    tag = "wallet",
    operation_id = "getReceipt",
    params(("transaction_id" = Uuid, Path)),
    responses(
        (status = 200, body = Receipt,
            headers(("acted-by" = Option<Uuid>, description = "The guardian who paid for the caller; absent otherwise"))),
        (status = 404, description = "not-found"),
    ),
    security(("bearer" = []))
)]
pub(super) async fn show(
    State(wallet): State<App>,
    principal: Principal,
    Path(id): Path<Uuid>,
) -> Result<Response, Problem> {
    let (receipt, acted_by) = receipt::of(&wallet, principal.subject, id).await?;
    let mut response = Json(receipt).into_response();
    if let Some(value) = acted_by.and_then(|actor| HeaderValue::from_str(&actor.to_string()).ok()) {
        response.headers_mut().insert(ACTED_BY, value);
    }
    Ok(response)
}

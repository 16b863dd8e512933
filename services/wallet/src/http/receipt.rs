//! Receipts of transactions.

use axum::extract::State;
use ledger::receipt::Receipt;
use platform::auth::Principal;
use platform::http::{Json, Path};
use platform::problem::Problem;
use uuid::Uuid;

use super::App;
use crate::receipt;

/// The receipt of one of the caller's transactions, to be kept byte by byte.
///
/// It proves the block at once, and what the city signed about it after the day has ended: `trangtien ledger verify --receipt FILE` checks it without the city.
#[utoipa::path(
    get,
    path = "/wallet/v1/transactions/{transaction_id}/receipt",
    tag = "wallet",
    operation_id = "getReceipt",
    params(("transaction_id" = Uuid, Path)),
    responses((status = 200, body = Receipt), (status = 404, description = "not-found")),
    security(("bearer" = []))
)]
pub(super) async fn show(
    State(wallet): State<App>,
    principal: Principal,
    Path(id): Path<Uuid>,
) -> Result<Json<Receipt>, Problem> {
    Ok(Json(receipt::of(&wallet, principal.subject, id).await?))
}

//! What the city has signed about its books, for everyone.

use axum::extract::State;
use chrono::NaiveDate;
use ledger::checkpoint::{self, MAX_CHECKPOINTS, Published};
use platform::http::{Json, Query};
use platform::page::{Page, PageQuery};
use platform::problem::Problem;
use serde::Serialize;
use utoipa::ToSchema;

use super::App;

/// One signed checkpoint.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CheckpointView {
    shard: i16,
    /// The day of the city that it ends.
    day: NaiveDate,
    /// How many blocks it covers.
    blocks: i64,
    /// The signed note (C2SP signed-note and tlog-checkpoint), to be kept as it is.
    note: String,
    /// The public key that it is signed with: `name+id+key`.
    key: String,
}

impl From<Published> for CheckpointView {
    fn from(published: Published) -> Self {
        let Published { shard, day, blocks, note, signer } = published;
        Self { shard, day, blocks, note, key: signer }
    }
}

/// The key that new checkpoints are signed with.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct KeyView {
    /// The public key, `name+id+key`; `null` when this city signs none.
    key: Option<String>,
}

/// The public key of the city's checkpoints. Keep it: a receipt is worth as much as the way by which you got this key.
#[utoipa::path(
    get,
    path = "/wallet/v1/ledger/key",
    tag = "wallet",
    operation_id = "getLedgerKey",
    responses((status = 200, body = KeyView))
)]
pub(super) async fn key(State(wallet): State<App>) -> Json<KeyView> {
    Json(KeyView { key: wallet.checkpoint_key.as_ref().map(ToString::to_string) })
}

/// What the city has signed about its books, newest first.
#[utoipa::path(
    get,
    path = "/wallet/v1/ledger/checkpoints",
    tag = "wallet",
    operation_id = "listCheckpoints",
    params(PageQuery),
    responses((status = 200, body = Page<CheckpointView>))
)]
pub(super) async fn list(
    State(wallet): State<App>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<CheckpointView>>, Problem> {
    let (limit, before) = (page.limit()?, page.after::<NaiveDate>()?);
    // One more than asked for tells whether there is a next page.
    let wanted = u16::try_from(limit + 1).unwrap_or(MAX_CHECKPOINTS);
    let rows = checkpoint::list(&wallet.pool, wallet.shard, before, wanted).await?;
    Ok(Json(Page::from_rows(rows, limit, |row| row.day).map(CheckpointView::from)))
}

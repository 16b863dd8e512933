//! `GET /notifications/v1/inbox` and `POST /notifications/v1/inbox/{id}/read`.

use axum::extract::State;
use chrono::{DateTime, Utc};
use platform::auth::Principal;
use platform::http::{Json, Language, Path, Query};
use platform::page::{Page, PageQuery};
use platform::problem::Problem;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Routes;
use crate::inbox::{self, Item};
use crate::lane::Lane;

/// One message of the inbox.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct ItemBody {
    /// The message.
    id: Uuid,
    /// Grows by one with each message of this inbox; also the event id on the stream.
    pub(super) sequence: i64,
    /// What it is about.
    lane: Lane,
    /// What happened, for instance `payment-sent`, `bill-due` or `pin-changed`: docs/api.md lists them by lane, and more may come.
    #[schema(example = "payment-sent")]
    kind: &'static str,
    /// In the language of the answer.
    #[schema(example = "Payment made")]
    title: String,
    /// In the language of the answer.
    #[schema(example = "You paid 25.000 ₫ to Cà phê Muối. Balance: 175.000 ₫.")]
    body: String,
    /// The facts behind the text, for the app: ids, amounts (`{amount, currency}`), names. Depends on `kind`.
    #[schema(value_type = Object)]
    data: Value,
    /// When it arrived.
    created_at: DateTime<Utc>,
    /// When it was read; null until then.
    read_at: Option<DateTime<Utc>>,
}

impl From<Item> for ItemBody {
    fn from(item: Item) -> Self {
        Self {
            id: item.id,
            sequence: item.sequence,
            lane: item.lane,
            kind: item.kind,
            title: item.text.title,
            body: item.text.body,
            data: item.parameters,
            created_at: item.created_at,
            read_at: item.read_at,
        }
    }
}

/// The citizen's in-app messages, newest first. Texts follow `Accept-Language`.
#[utoipa::path(
    get,
    path = "/notifications/v1/inbox",
    tag = "notifications",
    operation_id = "listInbox",
    params(PageQuery),
    responses((status = 200, description = "A page of messages.", body = Page<ItemBody>)),
    security(("bearer" = []))
)]
pub(super) async fn list(
    State(routes): State<Routes>,
    principal: Principal,
    language: Language,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<ItemBody>>, Problem> {
    let before = query.after::<i64>()?;
    let page = inbox::page(&routes.pool, principal.subject, before, query.limit()?, language).await?;
    Ok(Json(page.map(ItemBody::from)))
}

/// When a message was read.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct ReadBody {
    /// The message.
    id: Uuid,
    /// When it was first marked as read.
    read_at: DateTime<Utc>,
}

/// Marks a message as read. Doing it again changes nothing and answers the same, so no `Idempotency-Key` is needed.
#[utoipa::path(
    post,
    path = "/notifications/v1/inbox/{id}/read",
    tag = "notifications",
    operation_id = "markInboxItemRead",
    params(("id" = Uuid, Path, description = "The message.")),
    responses(
        (status = 200, description = "It is read.", body = ReadBody),
        (status = 404, description = "`not-found`: no such message in this citizen's inbox.")
    ),
    security(("bearer" = []))
)]
pub(super) async fn mark_read(
    State(routes): State<Routes>,
    principal: Principal,
    Path(id): Path<Uuid>,
) -> Result<Json<ReadBody>, Problem> {
    let read_at = inbox::mark_read(&routes.pool, principal.subject, id, routes.clock.now()).await?;
    Ok(Json(ReadBody { id, read_at }))
}

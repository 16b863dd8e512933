//! What proves that somebody has a message.
//!
//! `POST /notifications/v1/sms-receipts`: an SMS gateway says what became of a text message. It proves itself by signature, not by token.
//! `POST /notifications/v1/messages/{id}/received`: an app says that it has a message.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{OriginalUri, State};
use chrono::{DateTime, Utc};
use http::{HeaderMap, StatusCode};
use platform::auth::Principal;
use platform::http::{Json, Path};
use platform::problem::{BODY_TOO_LARGE, INVALID_BODY, MALFORMED_JSON, Problem};
use platform::signature::{SIGNATURE, Signed, TIMESTAMP, verify};
use serde::{Deserialize, Serialize};
use tracing::debug;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Routes;
use crate::error::Error;
use crate::receipt::{self, Fate};

/// What a gateway says. Fields that it adds are ignored.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct ReceiptBody {
    /// The reference that we gave with the message.
    reference: Uuid,
    /// `delivered`; `undelivered`, `failed`, `rejected` or `expired`; anything else says that it is on its way.
    #[schema(example = "delivered", max_length = 32)]
    status: String,
    /// When that was.
    at: DateTime<Utc>,
}

/// Takes a gateway's word on a text message that it took. Said again it changes nothing; of several words the newest stands, and
/// `delivered` stands for ever.
#[utoipa::path(
    post,
    path = "/notifications/v1/sms-receipts",
    tag = "notifications",
    operation_id = "receiveSmsReceipt",
    params(
        ("X-Timestamp" = String, Header, description = "Unix seconds, at most 5 minutes away"),
        ("X-Signature" = String, Header, description = "hex HMAC-SHA256(secret, METHOD\\npath\\ntimestamp\\nsha256hex(body))"),
    ),
    request_body = ReceiptBody,
    responses(
        (status = 204, description = "It is kept, or was known."),
        (status = 400, description = "`malformed-json`."),
        (status = 401, description = "`signature-invalid`."),
        (status = 404, description = "`not-found`: no such text message, or not any more."),
        (status = 422, description = "`invalid-body`.")
    )
)]
pub(super) async fn take(
    State(routes): State<Routes>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<StatusCode, Problem> {
    let body = body.map_err(|rejection| Problem::new(BODY_TOO_LARGE).source(rejection))?;
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let message = Signed { method: "POST", path: uri.path(), body: &body };
    let now = routes.clock.now();
    let secret = routes.receipts.as_ref().map(|receipts| receipts.secret.expose());
    if !secret.is_some_and(|secret| verify(secret, message, header(TIMESTAMP), header(SIGNATURE), now)) {
        debug!("receipt without a valid signature");
        return Err(Error::Signature.into());
    }
    let said: ReceiptBody = serde_json::from_slice(&body).map_err(|error| {
        let code = if error.is_data() { INVALID_BODY } else { MALFORMED_JSON };
        Problem::new(code).source(error)
    })?;
    let Some(fate) = Fate::of(&said.status) else { return Ok(StatusCode::NO_CONTENT) };
    let mut connection = routes.pool.acquire().await.map_err(Error::from)?;
    if receipt::keep(&mut connection, (said.reference, fate), (said.at, now)).await? {
        routes.desk.meter.receipt(fate);
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Since when an app has a message.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct ReceivedBody {
    /// The message.
    id: Uuid,
    /// When an app of the citizen first said so.
    received_at: DateTime<Utc>,
}

/// An app says that the phone has a message, by the `message_id` that came with its push, or by the id that it has in the inbox. Only what
/// was confirmed so, opened or received as text message counts as reached by a warning; a warning that nothing confirms goes out as text
/// message. Doing it again changes nothing and answers the same, so no `Idempotency-Key` is needed.
#[utoipa::path(
    post,
    path = "/notifications/v1/messages/{id}/received",
    tag = "notifications",
    operation_id = "confirmMessageReceived",
    params(("id" = Uuid, Path, description = "The message.")),
    responses(
        (status = 200, description = "It is kept.", body = ReceivedBody),
        (status = 404, description = "`not-found`: this citizen has no such message in the app or by push.")
    ),
    security(("bearer" = []))
)]
pub(super) async fn received(
    State(routes): State<Routes>,
    principal: Principal,
    Path(id): Path<Uuid>,
) -> Result<Json<ReceivedBody>, Problem> {
    let received_at = receipt::keep_received(&routes.pool, (principal.subject, id), routes.clock.now()).await?;
    Ok(Json(ReceivedBody { id, received_at }))
}

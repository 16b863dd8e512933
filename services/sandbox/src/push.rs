//! A push gateway in the form of FCM's HTTP v1 interface (`projects.messages.send`).
//!
//! Invariant: it keeps the newest [`MAX_MESSAGES`] messages.
//! Whoever sends bears the project's token, or one that the service account was given (see `push_token`).
//! A token that begins with [`DEAD_TOKEN_PREFIX`] belongs to an app that was removed: 404 `UNREGISTERED`.

use std::collections::BTreeMap;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use chrono::{DateTime, Utc};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::fault;
use crate::push_token::{self, Tokens};
use crate::refusal::{Refusal, parse};
use crate::ring::Ring;
use crate::signature::has_bearer;
use crate::world::World;

/// How tokens of removed apps begin.
pub const DEAD_TOKEN_PREFIX: &str = "dead-";
/// Messages remembered at most.
const MAX_MESSAGES: usize = 20_000;
/// Messages on one answer at most.
const MAX_LIST: usize = 1_000;
/// Bytes of a token at most.
const MAX_TOKEN: usize = 4_096;

/// What the gateway received.
#[derive(Debug)]
pub(crate) struct PushGateway {
    messages: Ring<Push>,
    pub(crate) tokens: Tokens,
}

/// One message as it arrived.
#[derive(Clone, Debug, Serialize)]
struct Push {
    name: String,
    token: String,
    notification: Option<Notification>,
    data: BTreeMap<String, String>,
    received_at: DateTime<Utc>,
}

impl PushGateway {
    pub(crate) fn new() -> Self {
        Self { messages: Ring::new(MAX_MESSAGES), tokens: Tokens::default() }
    }

    fn newest_to(&self, token: Option<&str>, limit: usize) -> Vec<Push> {
        let matching = self.messages.newest_first().filter(|push| token.is_none_or(|token| push.token == token));
        matching.take(limit).cloned().collect()
    }
}

/// The routes of the push gateway.
pub(crate) fn routes() -> Router<World> {
    Router::new()
        .route("/gateways/fcm/v1/projects/{project}/{method}", post(send))
        .route("/push", get(list))
        .route("/push/faults", fault::routes(World::push_faults))
        .merge(push_token::routes())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SendRequest {
    message: Message,
    #[serde(default)]
    validate_only: bool,
}

/// The fields of FCM's `Message` that matter here; FCM has more, and they are taken and not looked at.
#[derive(Deserialize)]
struct Message {
    token: String,
    notification: Option<Notification>,
    #[serde(default)]
    data: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Notification {
    title: Option<String>,
    body: Option<String>,
}

/// An error in FCM's form.
struct FcmError {
    status: StatusCode,
    name: &'static str,
    error_code: &'static str,
    message: String,
}

impl FcmError {
    fn new(status: StatusCode, name: &'static str, error_code: &'static str, message: impl Into<String>) -> Self {
        Self { status, name, error_code, message: message.into() }
    }

    fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "INVALID_ARGUMENT", "INVALID_ARGUMENT", message)
    }
}

impl From<Refusal> for FcmError {
    fn from(refusal: Refusal) -> Self {
        match refusal.status {
            StatusCode::BAD_REQUEST => Self::invalid(refusal.detail),
            status => Self::new(status, "INTERNAL", "INTERNAL", refusal.detail),
        }
    }
}

impl IntoResponse for FcmError {
    fn into_response(self) -> Response {
        let body = json!({ "error": {
            "code": self.status.as_u16(),
            "message": self.message,
            "status": self.name,
            "details": [{
                "@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError",
                "errorCode": self.error_code,
            }],
        }});
        (self.status, axum::Json(body)).into_response()
    }
}

async fn send(
    State(world): State<World>,
    Path((project, method)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, FcmError> {
    let config = &world.config().push;
    if method != "messages:send" || project != config.project {
        let message = "Requested entity was not found.";
        return Err(FcmError::new(StatusCode::NOT_FOUND, "NOT_FOUND", "UNSPECIFIED_ERROR", message));
    }
    let now = world.clock().now();
    if !has_bearer(&headers, config.token.expose()) && !world.push().tokens.admit(&headers, now) {
        let message = "Request had invalid authentication credentials.";
        return Err(FcmError::new(StatusCode::UNAUTHORIZED, "UNAUTHENTICATED", "UNSPECIFIED_ERROR", message));
    }
    let course = world.push_faults().strike();
    course.before_effect().await?;
    let SendRequest { message, validate_only } = parse(&body)?;
    if message.token.is_empty() || message.token.len() > MAX_TOKEN {
        return Err(FcmError::invalid("The registration token is not a valid FCM registration token"));
    }
    if message.token.starts_with(DEAD_TOKEN_PREFIX) {
        let message = "Requested entity was not found.";
        return Err(FcmError::new(StatusCode::NOT_FOUND, "NOT_FOUND", "UNREGISTERED", message));
    }
    let name = format!("projects/{project}/messages/{:032x}", rand::random::<u128>());
    if !validate_only {
        let Message { token, notification, data } = message;
        let received_at = world.clock().now();
        world.push().messages.push(Push { name: name.clone(), token, notification, data, received_at });
    }
    course.after_effect().await?;
    Ok(axum::Json(json!({ "name": name })).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    token: Option<String>,
    limit: Option<usize>,
}

async fn list(State(world): State<World>, Query(query): Query<ListQuery>) -> Response {
    let limit = query.limit.unwrap_or(MAX_LIST).min(MAX_LIST);
    axum::Json(world.push().newest_to(query.token.as_deref(), limit)).into_response()
}

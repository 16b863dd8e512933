//! A push gateway in the form of FCM's HTTP v1 interface (`projects.messages.send`).
//!
//! Invariant: it keeps the newest [`MAX_MESSAGES`] messages.
//! Whoever sends bears the project's token, or one that the service account was given (see `push_token`).
//! Data are strings under names that FCM leaves to apps, and what goes to a phone is at most [`MAX_PAYLOAD`] bytes: 400 `INVALID_ARGUMENT`.
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
use serde_json::{Value, json};

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
/// Bytes of what goes to a phone at most.
const MAX_PAYLOAD: usize = 4_096;

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
    /// What an app on Android gets.
    data: BTreeMap<String, String>,
    /// How soon Android wakes the app.
    priority: Option<Priority>,
    /// What iOS shows.
    alert: Option<Notification>,
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
    #[serde(default)]
    android: Android,
    #[serde(default)]
    apns: Apns,
}

#[derive(Default, Deserialize)]
struct Android {
    priority: Option<Priority>,
    /// Takes the place of the message's.
    data: Option<BTreeMap<String, String>>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Priority {
    Normal,
    High,
}

#[derive(Default, Deserialize)]
struct Apns {
    /// What APNs gets beside the data.
    #[serde(default)]
    payload: Value,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Notification {
    title: Option<String>,
    body: Option<String>,
}

impl Message {
    /// Whether FCM would take it to a phone of either kind.
    fn check(&self) -> Result<(), FcmError> {
        let android = self.android.data.as_ref().unwrap_or(&self.data);
        let reserved = |name: &&String| {
            ["from", "message_type"].contains(&name.as_str()) || name.starts_with("google") || name.starts_with("gcm")
        };
        if let Some(name) = self.data.keys().chain(android.keys()).find(reserved) {
            return Err(FcmError::invalid(format!("Invalid data payload key: {name}")));
        }
        let size =
            |data: &BTreeMap<String, String>| data.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let shown = self.notification.as_ref().map_or(0, |shown| text(&shown.title) + text(&shown.body));
        let payload = match &self.apns.payload {
            Value::Null => 0,
            payload => payload.to_string().len(),
        };
        if size(android) + shown > MAX_PAYLOAD || size(&self.data) + shown + payload > MAX_PAYLOAD {
            return Err(FcmError::invalid("Message is too big"));
        }
        Ok(())
    }

    /// What iOS shows.
    fn alert(&self) -> Option<Notification> {
        Notification::deserialize(&self.apns.payload["aps"]["alert"]).ok()
    }
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
    message.check()?;
    let name = format!("projects/{project}/messages/{:032x}", rand::random::<u128>());
    if !validate_only {
        let (name, alert, received_at) = (name.clone(), message.alert(), world.clock().now());
        let Message { token, notification, data, android, .. } = message;
        let (data, priority) = (android.data.unwrap_or(data), android.priority);
        world.push().messages.push(Push { name, token, notification, data, priority, alert, received_at });
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

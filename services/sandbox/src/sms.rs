//! An SMS gateway: takes messages with a bearer token, shows what it received, and can confirm delivery.
//!
//! Invariant: it keeps the newest [`MAX_MESSAGES`] messages. A `reference` that it still knows is not delivered again:
//! the answer is the first one's `message_id`.

use std::collections::HashMap;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use chrono::{DateTime, Utc};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use crate::callback::Callback;
use crate::fault;
use crate::refusal::{Refusal, parse};
use crate::ring::Ring;
use crate::signature::has_bearer;
use crate::world::World;

/// Messages remembered at most.
const MAX_MESSAGES: usize = 20_000;
/// Characters of one message at most (ten concatenated parts of GSM-7).
const MAX_TEXT: usize = 1_530;
/// Characters of a reference at most.
const MAX_REFERENCE: usize = 100;
/// Messages on one answer at most.
const MAX_LIST: usize = 1_000;
/// Delivery receipts still to come at most.
const MAX_PENDING: usize = 50_000;
/// What receipts name as their sender.
const SENDER: &str = "sandbox-sms";

/// What the gateway received.
#[derive(Debug)]
pub(crate) struct SmsGateway {
    messages: Ring<Sms>,
    by_reference: HashMap<String, Uuid>,
}

/// One message as it arrived.
#[derive(Clone, Debug, Serialize)]
struct Sms {
    message_id: Uuid,
    to: String,
    text: String,
    reference: String,
    received_at: DateTime<Utc>,
}

impl SmsGateway {
    pub(crate) fn new() -> Self {
        Self { messages: Ring::new(MAX_MESSAGES), by_reference: HashMap::new() }
    }

    /// Keeps `sms` unless its reference is known; gives the id under which it is kept, and whether it is new.
    fn receive(&mut self, sms: Sms) -> (Uuid, bool) {
        if let Some(known) = self.by_reference.get(&sms.reference) {
            return (*known, false);
        }
        let id = sms.message_id;
        self.by_reference.insert(sms.reference.clone(), id);
        if let Some(oldest) = self.messages.push(sms) {
            self.by_reference.remove(&oldest.reference);
        }
        (id, true)
    }

    fn newest_to(&self, to: Option<&str>, limit: usize) -> Vec<Sms> {
        let matching = self.messages.newest_first().filter(|sms| to.is_none_or(|to| sms.to == to));
        matching.take(limit).cloned().collect()
    }
}

/// The routes of the SMS gateway.
pub(crate) fn routes() -> Router<World> {
    Router::new()
        .route("/gateways/sms/v1/messages", post(receive))
        .route("/sms", get(list))
        .route("/sms/faults", fault::routes(World::sms_faults))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SmsRequest {
    to: String,
    text: String,
    reference: String,
    receipt_url: Option<reqwest::Url>,
}

impl SmsRequest {
    fn validate(&self) -> Result<(), Refusal> {
        let digits = self.to.strip_prefix('+').unwrap_or_default();
        if !(8..=15).contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Refusal::invalid_field("to must be an E.164 number"));
        }
        if self.text.is_empty() || self.text.chars().count() > MAX_TEXT {
            return Err(Refusal::invalid_field(format!("text must have 1 to {MAX_TEXT} characters")));
        }
        if self.reference.is_empty() || self.reference.len() > MAX_REFERENCE {
            return Err(Refusal::invalid_field(format!("reference must have 1 to {MAX_REFERENCE} bytes")));
        }
        Ok(())
    }
}

async fn receive(State(world): State<World>, headers: HeaderMap, body: Bytes) -> Result<Response, Refusal> {
    if !has_bearer(&headers, world.config().sms.token.expose()) {
        return Err(Refusal::unauthenticated("the bearer token is missing or wrong"));
    }
    let course = world.sms_faults().strike();
    course.before_effect().await?;
    let SmsRequest { to, text, reference, receipt_url } = {
        let request: SmsRequest = parse(&body)?;
        request.validate()?;
        request
    };
    if world.tasks().len() >= MAX_PENDING {
        return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "too many receipts are pending"));
    }
    let received_at = world.clock().now();
    let sms = Sms { message_id: Uuid::new_v4(), to, text, reference: reference.clone(), received_at };
    let (message_id, new) = world.sms().receive(sms);
    if let Some(url) = receipt_url.filter(|_| new) {
        let receipt = json!({
            "message_id": message_id, "reference": reference, "status": "delivered", "at": received_at,
        });
        let secret = world.config().sms.token.expose().to_owned();
        let body = receipt.to_string().into_bytes();
        let callback = Callback { url, sender: SENDER.to_owned(), secret, body };
        let deliverer = world.clone();
        world.tasks().spawn(async move { deliverer.callbacks().deliver(&callback, course.callback).await });
    }
    course.after_effect().await?;
    Ok((StatusCode::ACCEPTED, axum::Json(json!({ "message_id": message_id }))).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    to: Option<String>,
    limit: Option<usize>,
}

async fn list(State(world): State<World>, Query(query): Query<ListQuery>) -> Response {
    let limit = query.limit.unwrap_or(MAX_LIST).min(MAX_LIST);
    // A plus sign in a query string means a space; a number is meant either way.
    let to = query.to.map(|to| to.replacen(' ', "+", 1));
    axum::Json(world.sms().newest_to(to.as_deref(), limit)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sms(reference: usize) -> Sms {
        Sms {
            message_id: Uuid::new_v4(),
            to: "+84901234567".to_owned(),
            text: "text".to_owned(),
            reference: reference.to_string(),
            received_at: Utc::now(),
        }
    }

    #[test]
    fn a_reference_is_delivered_once_while_it_is_known() {
        let mut gateway = SmsGateway::new();
        let (first, new) = gateway.receive(sms(0));
        assert!(new);
        assert_eq!(gateway.receive(sms(0)), (first, false));
        for reference in 1..=MAX_MESSAGES {
            assert!(gateway.receive(sms(reference)).1);
        }
        assert_eq!((gateway.messages.newest_first().count(), gateway.by_reference.len()), (MAX_MESSAGES, MAX_MESSAGES));
        assert!(gateway.receive(sms(0)).1, "the oldest was forgotten");
    }
}

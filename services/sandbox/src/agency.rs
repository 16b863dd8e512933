//! Agencies' endpoints: take what the city tells of paid fees, signed as Standard Webhooks wants it, and show it.
//!
//! Invariant: it keeps the newest [`MAX_EVENTS`] messages; one whose id it still knows is taken again and kept once.

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use serde_json::Value;
use sha2::Sha256;

use crate::refusal::{Refusal, parse};
use crate::ring::Ring;
use crate::world::World;

/// Messages remembered at most.
const MAX_EVENTS: usize = 10_000;
/// Messages on one answer at most.
const MAX_LIST: usize = 1_000;
/// How far the sender's clock may be from ours, in seconds.
const MAX_SKEW_S: u64 = 300;
/// What secrets begin with.
const SECRET_PREFIX: &str = "whsec_";

/// What the agencies heard.
#[derive(Debug)]
pub(crate) struct Mailbox(Ring<Heard>);

/// One message as it arrived.
#[derive(Clone, Debug, Serialize)]
struct Heard {
    agency: String,
    id: String,
    event: Value,
    received_at: DateTime<Utc>,
}

impl Mailbox {
    pub(crate) fn new() -> Self {
        Self(Ring::new(MAX_EVENTS))
    }

    fn receive(&mut self, heard: Heard) {
        if !self.0.newest_first().any(|known| known.id == heard.id) {
            self.0.push(heard);
        }
    }
}

/// The routes of the agencies.
pub(crate) fn routes() -> Router<World> {
    Router::new().route("/agencies/{code}/v1/events", post(receive)).route("/agencies/{code}/events", get(list))
}

async fn receive(
    State(world): State<World>,
    Path(agency): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, Refusal> {
    let received_at = world.clock().now();
    let id = verified(world.config().agency.secret.expose(), &headers, &body, received_at)
        .ok_or_else(|| Refusal::unauthenticated("the signature is missing, wrong or too old"))?;
    world.mailbox().receive(Heard { agency, id, event: parse(&body)?, received_at });
    Ok(StatusCode::NO_CONTENT)
}

/// The message's id, if the holder of the secret sent it within the last minutes.
fn verified(secret: &str, headers: &HeaderMap, body: &[u8], now: DateTime<Utc>) -> Option<String> {
    let header = |name: &str| headers.get(name)?.to_str().ok();
    let (id, time) = (header("webhook-id")?, header("webhook-timestamp")?);
    let signature = STANDARD.decode(header("webhook-signature")?.strip_prefix("v1,")?).ok()?;
    let mut mac = Hmac::<Sha256>::new_from_slice(&STANDARD.decode(secret.strip_prefix(SECRET_PREFIX)?).ok()?).ok()?;
    mac.update(format!("{id}.{time}.").as_bytes());
    mac.update(body);
    let recent = time.parse::<i64>().ok()?.abs_diff(now.timestamp()) <= MAX_SKEW_S;
    (recent && mac.verify_slice(&signature).is_ok()).then(|| id.to_owned())
}

async fn list(State(world): State<World>, Path(agency): Path<String>) -> Response {
    let heard: Vec<Heard> =
        world.mailbox().0.newest_first().filter(|heard| heard.agency == agency).take(MAX_LIST).cloned().collect();
    axum::Json(heard).into_response()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_message_proves_its_sender() {
        // The example of the Standard Webhooks specification.
        let (secret, body) = ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", b"{\"test\": 2432232314}");
        let now = DateTime::from_timestamp(1_614_265_330, 0).expect("a time");
        let mut headers = HeaderMap::new();
        headers.insert("webhook-id", HeaderValue::from_static("msg_p5jXN8AQM9LWM0D4loKWxJek"));
        headers.insert("webhook-timestamp", HeaderValue::from_static("1614265330"));
        let signature = HeaderValue::from_static("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        headers.insert("webhook-signature", signature);
        assert_eq!(verified(secret, &headers, body, now).as_deref(), Some("msg_p5jXN8AQM9LWM0D4loKWxJek"));
        assert_eq!(verified(secret, &headers, b"{}", now), None);
        assert_eq!(verified(secret, &headers, body, now + chrono::TimeDelta::seconds(301)), None);
        headers.remove("webhook-signature");
        assert_eq!(verified(secret, &headers, body, now), None);
    }
}

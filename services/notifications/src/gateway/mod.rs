//! Outside parties that carry messages: SMS and push gateways.
//!
//! Each is behind a trait because it is an outside party. Every call has a deadline and passes a circuit breaker, and
//! every failure is one of the kinds of [`GatewayError`], which say what to do next.
//! Invariant: no text, phone number or token of a message is logged or put into an error.

mod breaker;
mod fcm;
mod sms;

use std::time::{Duration, Instant};

use async_trait::async_trait;
use http::{HeaderMap, StatusCode, header};

pub(crate) use breaker::Breaker;
pub(crate) use fcm::FcmGateway;
pub(crate) use sms::HttpSmsGateway;

/// The longest wait that a gateway's `Retry-After` is believed.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(600);
/// The wait when a gateway throttles without saying for how long.
const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(5);

/// Why a gateway did not take a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum GatewayError {
    /// The address is gone for ever (an app that was removed).
    #[error("the address is dead")]
    Dead,
    /// This message will never be taken; the code is the gateway's or the status.
    #[error("refused: {0}")]
    Refused(String),
    /// Too many; try again after that time.
    #[error("throttled")]
    Throttled(Duration),
    /// It may work later.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// No answer in time; the message may have been taken.
    #[error("no answer in time")]
    Timeout,
    /// Not asked, because it failed too often just now; it may be asked again after that time.
    #[error("the circuit is open")]
    CircuitOpen(Duration),
    /// There is no such gateway here.
    #[error("not configured")]
    NotConfigured,
}

impl GatewayError {
    /// A bounded name for metrics and the record of attempts.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Refused(_) => "refused",
            Self::Throttled(_) => "throttled",
            Self::Unavailable(_) => "unavailable",
            Self::Timeout => "timeout",
            Self::CircuitOpen(_) => "circuit-open",
            Self::NotConfigured => "not-configured",
        }
    }

    /// Whether the gateway itself is in trouble, as opposed to this message.
    fn is_outage(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Timeout)
    }

    /// What an HTTP status means when the body says nothing more precise.
    fn of_status(status: StatusCode, headers: &HeaderMap) -> Self {
        match status {
            StatusCode::TOO_MANY_REQUESTS => Self::Throttled(retry_after(headers).unwrap_or(DEFAULT_RETRY_AFTER)),
            StatusCode::REQUEST_TIMEOUT => Self::Timeout,
            // Wrong credentials are ours to repair, and the message can go out afterwards.
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Self::Unavailable(status.as_str().to_owned()),
            status if status.is_client_error() => Self::Refused(status.as_str().to_owned()),
            status => Self::Unavailable(status.as_str().to_owned()),
        }
    }

    fn of_transport(error: &reqwest::Error) -> Self {
        if error.is_timeout() {
            Self::Timeout
        } else if error.is_connect() {
            Self::Unavailable("connect".to_owned())
        } else {
            Self::Unavailable("transport".to_owned())
        }
    }
}

/// Reads `Retry-After` in seconds.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).min(MAX_RETRY_AFTER))
}

/// What a gateway calls a message that it took.
pub(crate) type Reference = String;

/// A text message. Invariant: `Debug` shows neither number nor text.
pub(crate) struct Sms<'a> {
    /// E.164.
    pub(crate) to: &'a str,
    pub(crate) text: &'a str,
    /// Ours; the same for every attempt, so that a gateway can see a repetition.
    pub(crate) reference: &'a str,
}

/// Carries text messages.
#[async_trait]
pub(crate) trait SmsGateway: Send + Sync {
    async fn send(&self, sms: &Sms<'_>) -> Result<Reference, GatewayError>;
}

/// A push message.
pub(crate) struct Push<'a> {
    pub(crate) title: &'a str,
    pub(crate) body: &'a str,
    /// For the app; keys and values are strings (FCM demands it).
    pub(crate) data: &'a [(&'a str, String)],
    pub(crate) urgent: bool,
}

/// Carries push messages.
#[async_trait]
pub(crate) trait PushGateway: Send + Sync {
    async fn send(&self, token: &str, push: &Push<'_>) -> Result<Reference, GatewayError>;
}

/// Runs one call through a gateway's breaker.
async fn guarded<F>(breaker: &Breaker, call: F) -> Result<Reference, GatewayError>
where
    F: Future<Output = Result<Reference, GatewayError>>,
{
    breaker.admit(Instant::now()).map_err(GatewayError::CircuitOpen)?;
    let answer = call.await;
    match &answer {
        Err(error) if error.is_outage() => breaker.failed(Instant::now()),
        _ => breaker.answered(),
    }
    answer
}

/// A client for one gateway.
fn client(timeout_ms: u64) -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .timeout(Duration::from_millis(timeout_ms))
        .redirect(reqwest::redirect::Policy::none())
        .build()
}

/// Stands in for a gateway that is not configured.
pub(crate) struct NotConfigured;

#[async_trait]
impl SmsGateway for NotConfigured {
    async fn send(&self, _: &Sms<'_>) -> Result<Reference, GatewayError> {
        Err(GatewayError::NotConfigured)
    }
}

#[async_trait]
impl PushGateway for NotConfigured {
    async fn send(&self, _: &str, _: &Push<'_>) -> Result<Reference, GatewayError> {
        Err(GatewayError::NotConfigured)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_say_what_to_do() {
        let none = HeaderMap::new();
        assert_eq!(GatewayError::of_status(StatusCode::BAD_REQUEST, &none), GatewayError::Refused("400".into()));
        assert!(GatewayError::of_status(StatusCode::BAD_GATEWAY, &none).is_outage());
        let throttled = GatewayError::of_status(StatusCode::TOO_MANY_REQUESTS, &none);
        assert_eq!(throttled, GatewayError::Throttled(DEFAULT_RETRY_AFTER));
        let asked = HeaderMap::from_iter([(header::RETRY_AFTER, 7.into())]);
        let throttled = GatewayError::of_status(StatusCode::TOO_MANY_REQUESTS, &asked);
        assert_eq!(throttled, GatewayError::Throttled(Duration::from_secs(7)));
    }

    #[tokio::test]
    async fn an_outage_opens_the_circuit_and_a_refusal_does_not() {
        let breaker = Breaker::default();
        for _ in 0..50 {
            let refused = guarded(&breaker, async { Err(GatewayError::Refused("400".into())) }).await;
            assert!(matches!(refused, Err(GatewayError::Refused(_))));
        }
        let mut asked = 0;
        while !matches!(
            guarded(&breaker, async {
                asked += 1;
                Err(GatewayError::Timeout)
            })
            .await,
            Err(GatewayError::CircuitOpen(_))
        ) {}
        assert_eq!(asked, breaker::FAILURES);
    }
}

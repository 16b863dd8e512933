//! Outside parties that carry messages: SMS and push gateways.
//!
//! Each is behind a trait because it is an outside party. Every call has a deadline and passes a circuit breaker, and
//! every failure is one of the kinds of [`GatewayError`], which say what to do next.
//! A success status means that the message was taken, whatever the rest of the answer looks like: sending again would
//! cost another SMS.
//! Invariant: no text, phone number or token of a message is logged or put into an error.

mod bearer;
mod breaker;
mod fcm;
mod sms;

use std::time::{Duration, Instant};

use async_trait::async_trait;
use http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;

use bearer::Bearer;
pub(crate) use bearer::BearerError;
pub(crate) use breaker::Breaker;
pub(crate) use fcm::FcmGateway;
pub(crate) use sms::HttpSmsGateway;

/// The longest wait that a gateway's `Retry-After` is believed.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(600);
/// The wait when a gateway throttles without saying for how long.
const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(5);

/// The most bytes of an answer's body that are looked at.
const MAX_ANSWER_BYTES: usize = 16 * 1024;
/// The most characters of a reference.
const MAX_REFERENCE: usize = 256;

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

/// What a gateway calls a message that it took, if it says so.
pub(crate) type Reference = Option<String>;

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
    /// Ours; a device that gets two messages of one id shows one.
    pub(crate) id: &'a str,
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

/// The body of an answer if it comes whole, in time, within [`MAX_ANSWER_BYTES`] and in this form.
async fn read_answer<T: DeserializeOwned>(mut response: reqwest::Response) -> Option<T> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.ok()? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > MAX_ANSWER_BYTES {
            return None;
        }
    }
    serde_json::from_slice(&bytes).ok()
}

/// A reference that can be kept, if it is one.
fn reference(text: String) -> Reference {
    let plain = !text.is_empty() && text.chars().count() <= MAX_REFERENCE && !text.chars().any(char::is_control);
    plain.then_some(text)
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
    use platform::clock::Clock;
    use platform::config::Secret;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::config::{PushConfig, SmsConfig};

    /// A gateway that answers every request with these bytes and then stays silent; gives its URL.
    async fn answering(bytes: Vec<u8>) -> url::Url {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/", listener.local_addr().expect("bound")).parse().expect("a URL");
        tokio::spawn(async move {
            let mut open = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 4_096];
                if stream.read(&mut request).await.is_ok() && stream.write_all(&bytes).await.is_ok() {
                    open.push(stream);
                }
            }
        });
        url
    }

    /// What both gateways make of an answer.
    async fn taken(answer: impl Into<Vec<u8>>) -> [Result<Reference, GatewayError>; 2] {
        let url = answering(answer.into()).await;
        let (token, timeout_ms) = (Secret::new("t"), 300);
        let sms = SmsConfig { url: url.clone(), token: token.clone(), timeout_ms, receipts: None };
        let sms = HttpSmsGateway::try_new(sms, None).expect("a gateway");
        let push = PushConfig { url, project: "p".to_owned(), token: Some(token), service_account: None, timeout_ms };
        let push = FcmGateway::try_new(push, Clock::system()).expect("a gateway");
        let message = Push { id: "m", title: "", body: "", data: &[], urgent: true };
        [sms.send(&Sms { to: "+84901234567", text: "x", reference: "r" }).await, push.send("token", &message).await]
    }

    #[tokio::test]
    async fn a_success_status_means_taken_whatever_the_body() {
        let body = |body: &str| format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let nothing = [Ok(None), Ok(None)];
        assert_eq!(taken("HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n").await, nothing);
        assert_eq!(taken(body("<html>Queued</html>")).await, nothing);
        assert_eq!(taken("HTTP/1.1 200 OK\r\ncontent-length: 90\r\n\r\n{\"message_id\"").await, nothing, "too slow");
        let long = "x".repeat(MAX_ANSWER_BYTES);
        assert_eq!(taken(body(&format!(r#"{{"message_id":"a","name":"b","more":"{long}"}}"#))).await, nothing);
        let long = "x".repeat(MAX_REFERENCE + 1);
        assert_eq!(taken(body(&format!(r#"{{"message_id":"{long}","name":"{long}"}}"#))).await, nothing);
        assert_eq!(taken(body(r#"{"message_id":"a\u0000","name":"b\u0000"}"#)).await, nothing, "can't be stored");
        let named = [Ok(Some("a".to_owned())), Ok(Some("b".to_owned()))];
        assert_eq!(taken(body(r#"{"message_id":"a","name":"b"}"#)).await, named);
        let refused = taken("HTTP/1.1 400 Bad Request\r\ncontent-length: 90\r\n\r\n{").await;
        assert!(refused.iter().all(|answer| *answer == Err(GatewayError::Refused("400".into()))), "{refused:?}");
    }

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

//! What every call out of a role passes, over either transport.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use prometheus::IntCounterVec;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Service};

use super::Channel;
use super::breaker::Breaker;
use super::inbound::code_of;
use crate::metrics::Metrics;
use crate::trace::{self, TRACEPARENT};

/// The largest request message that is kept to be sent again.
const MAX_REQUEST: usize = 4 * 1024 * 1024;
/// The pause before the first retry; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(25);

/// How calls to one role behave.
#[derive(Clone, Copy, Debug)]
pub struct CallSettings {
    /// The longest time one call may take, retries included, when the caller set none.
    pub deadline: Duration,
    /// How often an idempotent call is tried in all.
    pub attempts: u32,
}

impl Default for CallSettings {
    fn default() -> Self {
        Self { deadline: Duration::from_secs(5), attempts: 3 }
    }
}

/// Counts calls out of one role: `grpc_calls_total{method,code}`.
#[derive(Clone, Debug)]
pub struct CallMetrics(IntCounterVec);

impl CallMetrics {
    /// Registers with the calling role's metrics.
    pub fn new(metrics: &Metrics) -> Self {
        Self(metrics.counter(
            "grpc_calls_total",
            "gRPC calls made to other roles, by method and code.",
            &["method", "code"],
        ))
    }
}

/// Puts the outbound stack around a transport.
pub(super) fn stack<T>(transport: T, metrics: &CallMetrics, settings: CallSettings) -> Channel
where
    T: Service<http::Request<Body>, Response = http::Response<Body>, Error = BoxError> + Clone + Send + Sync + 'static,
    T::Future: Send,
{
    let breaker = Arc::new(Breaker::default());
    let metrics = metrics.clone();
    BoxCloneSyncService::new(tower::service_fn(move |request: http::Request<Body>| {
        let (transport, breaker, metrics) = (transport.clone(), breaker.clone(), metrics.clone());
        async move {
            let method = request.uri().path().to_owned();
            let within = asked_deadline(&request).unwrap_or(settings.deadline);
            let attempts = if is_idempotent(&method) { settings.attempts } else { 1 };
            let answer = match tokio::time::timeout(within, send(transport, &breaker, request, attempts)).await {
                Ok(answer) => answer,
                Err(_) => {
                    breaker.failed(Instant::now());
                    Status::deadline_exceeded("the call took too long").into_http::<Body>()
                }
            };
            metrics.0.with_label_values(&[method.as_str(), &format!("{:?}", code_of(&answer))]).inc();
            Ok(answer)
        }
    }))
}

async fn send<T>(transport: T, breaker: &Breaker, request: http::Request<Body>, attempts: u32) -> http::Response<Body>
where
    T: Service<http::Request<Body>, Response = http::Response<Body>, Error = BoxError> + Clone,
{
    let (parts, body) = request.into_parts();
    let body = match Limited::new(body, MAX_REQUEST).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => {
            return Status::resource_exhausted(format!("the request cannot be sent: {error}")).into_http::<Body>();
        }
    };
    let mut pause = FIRST_PAUSE;
    let mut attempt = 1;
    loop {
        let answer = match breaker.admits(Instant::now()) {
            true => once(transport.clone(), breaker, &parts, body.clone()).await,
            false => Status::unavailable("the role does not answer; not asked again yet").into_http::<Body>(),
        };
        if attempt >= attempts || code_of(&answer) != Code::Unavailable {
            return answer;
        }
        attempt += 1;
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
}

async fn once<T>(mut transport: T, breaker: &Breaker, parts: &http::request::Parts, body: Bytes) -> http::Response<Body>
where
    T: Service<http::Request<Body>, Response = http::Response<Body>, Error = BoxError>,
{
    let mut request = http::Request::from_parts(parts.clone(), Body::new(Full::new(body)));
    if let Some(value) = trace::current_traceparent().and_then(|text| text.parse().ok()) {
        request.headers_mut().insert(TRACEPARENT, value);
    }
    match transport.call(request).await {
        Ok(answer) => {
            breaker.succeeded();
            answer
        }
        Err(error) => {
            breaker.failed(Instant::now());
            Status::unavailable(format!("the role cannot be reached: {error}")).into_http::<Body>()
        }
    }
}

/// `Get…`, `List…` and `Find…` are idempotent by contract.
fn is_idempotent(path: &str) -> bool {
    let method = path.rsplit('/').next().unwrap_or_default();
    ["Get", "List", "Find"].iter().any(|prefix| method.starts_with(prefix))
}

/// Reads `grpc-timeout` (gRPC over HTTP/2: at most eight digits and a unit).
fn asked_deadline(request: &http::Request<Body>) -> Option<Duration> {
    let text = request.headers().get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let amount: u64 = (digits.len() <= 8).then(|| digits.parse().ok()).flatten()?;
    match unit {
        "H" => Some(Duration::from_secs(amount * 3_600)),
        "M" => Some(Duration::from_secs(amount * 60)),
        "S" => Some(Duration::from_secs(amount)),
        "m" => Some(Duration::from_millis(amount)),
        "u" => Some(Duration::from_micros(amount)),
        "n" => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn channel(calls: Arc<AtomicU32>, fail_first: u32) -> Channel {
        let transport = tower::service_fn(move |_: http::Request<Body>| {
            let call = calls.fetch_add(1, Ordering::SeqCst);
            async move {
                if call < fail_first {
                    Err(BoxError::from("connection refused"))
                } else {
                    Ok(http::Response::new(Body::empty()))
                }
            }
        });
        stack(transport, &CallMetrics::new(&Metrics::new("test", "1")), CallSettings::default())
    }

    async fn call(channel: &mut Channel, path: &str) -> Code {
        let request = http::Request::builder().uri(path).body(Body::empty()).expect("valid request");
        code_of(&channel.call(request).await.expect("infallible"))
    }

    #[tokio::test]
    async fn only_idempotent_calls_are_sent_again() {
        let calls = Arc::new(AtomicU32::new(0));
        assert_eq!(call(&mut channel(calls.clone(), 2), "/x.S/GetKeys").await, Code::Ok);
        assert_eq!(calls.swap(0, Ordering::SeqCst), 3);
        assert_eq!(call(&mut channel(calls.clone(), 2), "/x.S/TakeOtpCode").await, Code::Unavailable);
        assert_eq!(calls.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_dead_role_is_not_asked_for_every_call() {
        let calls = Arc::new(AtomicU32::new(0));
        let mut channel = channel(calls.clone(), u32::MAX);
        for _ in 0..50 {
            assert_eq!(call(&mut channel, "/x.S/Take").await, Code::Unavailable);
        }
        assert!(calls.load(Ordering::SeqCst) < 50, "the breaker opened");
    }
}

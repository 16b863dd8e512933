//! Signed calls from the outside world back to the city, retried until the city accepts them.
//!
//! Invariant: at most [`MAX_IN_FLIGHT`] requests at once; at most [`MAX_ATTEMPTS`] attempts per delivery.

use std::time::Duration;

use http::Method;
use platform::clock::Clock;
use platform::task::Shutdown;
use reqwest::Url;
use tokio::sync::Semaphore;
use tracing::{debug, info, warn};

use crate::fault::CallbackCourse;
use crate::signature::{PARTNER_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, sign};

/// Requests on their way at once.
const MAX_IN_FLIGHT: usize = 64;
/// Attempts per delivery before it is given up.
const MAX_ATTEMPTS: u32 = 8;
/// The wait before the second attempt; it doubles from there.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
/// The longest wait between two attempts.
const MAX_BACKOFF: Duration = Duration::from_secs(5);
/// How long one attempt may take.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

/// Delivers callbacks.
#[derive(Debug)]
pub(crate) struct Callbacks {
    client: reqwest::Client,
    clock: Clock,
    shutdown: Shutdown,
    in_flight: Semaphore,
}

/// One callback: where it goes, who signs it, what it says.
#[derive(Clone, Debug)]
pub(crate) struct Callback {
    pub(crate) url: Url,
    pub(crate) sender: String,
    pub(crate) secret: String,
    pub(crate) body: Vec<u8>,
}

impl Callbacks {
    pub(crate) fn new(clock: Clock, shutdown: Shutdown) -> Self {
        let client = reqwest::Client::builder()
            .timeout(ATTEMPT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .expect("the client's settings are constant and valid");
        Self { client, clock, shutdown, in_flight: Semaphore::new(MAX_IN_FLIGHT) }
    }

    /// Delivers `callback` as `course` says; ends early when the sandbox stops.
    pub(crate) async fn deliver(&self, callback: &Callback, course: CallbackCourse) {
        let work = async {
            tokio::time::sleep(course.delay).await;
            for _ in 0..course.deliveries {
                self.deliver_once(callback).await;
            }
        };
        tokio::select! {
            () = work => {}
            () = self.shutdown.cancelled() => info!("a callback was dropped at shutdown"),
        }
    }

    async fn deliver_once(&self, callback: &Callback) {
        let mut backoff = Duration::ZERO;
        for attempt in 1..=MAX_ATTEMPTS {
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).clamp(FIRST_BACKOFF, MAX_BACKOFF);
            match self.attempt(callback).await {
                Ok(status) if status.is_success() => return,
                Ok(status) => debug!(attempt, status = status.as_u16(), "callback not accepted"),
                Err(error) => debug!(attempt, %error, "callback failed"),
            }
        }
        warn!(attempts = MAX_ATTEMPTS, "callback given up");
    }

    async fn attempt(&self, callback: &Callback) -> reqwest::Result<reqwest::StatusCode> {
        let _permit = self.in_flight.acquire().await.expect("the semaphore is never closed");
        let timestamp = self.clock.now().timestamp();
        let signature = sign(&callback.secret, &Method::POST, callback.url.path(), timestamp, &callback.body);
        let request = self
            .client
            .post(callback.url.clone())
            .header(PARTNER_HEADER, &callback.sender)
            .header(TIMESTAMP_HEADER, timestamp)
            .header(SIGNATURE_HEADER, signature)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(callback.body.clone());
        Ok(request.send().await?.status())
    }
}

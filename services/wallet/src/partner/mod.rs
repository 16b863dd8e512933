//! Outside parties that do something for us once per request id: a bank collects money, a biller records a payment.
//!
//! [`platform::signature`] proves who speaks, both ways; `report` says what a partner's answers mean. Here is the way to them.
//!
//! Every call has a deadline and reads a bounded answer. What can't be read as a definite answer is [`Answer::Lost`]:
//! no answer is not a no.

mod report;

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use platform::clock::Clock;
use platform::config::Secret;
use platform::signature::{PARTNER, sign};
pub(crate) use platform::signature::{SIGNATURE, Signed, TIMESTAMP, verify};
use reqwest::{Method, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::Url;
use uuid::Uuid;

pub use report::{Answer, Report};
pub(crate) use report::{Said, Status};

use crate::config::PartnerConfig;

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Most bytes of an answer that are read.
const MAX_ANSWER: usize = 256 * 1024;
/// The first wait after an answer was lost; it doubles.
const AFTER_LOSS: Duration = Duration::from_millis(500);
/// Doublings of a wait, at most; the configuration bounds the wait itself.
const MAX_DOUBLINGS: u32 = 20;

/// How long a request is sent again that a partner, by its own word, never saw. Then it is given up.
pub(crate) const SEND_WITHIN: TimeDelta = TimeDelta::hours(24);

/// A partner reached over HTTP.
#[derive(Clone, Debug)]
pub(crate) struct Partner {
    client: reqwest::Client,
    base: Url,
    /// What the partner calls us.
    name: String,
    secret: Secret,
    clock: Clock,
}

/// A whole answer of a partner.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    body: Vec<u8>,
}

impl Reply {
    /// The body, if it is what was expected.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(&self.body).ok()
    }

    /// The code of a problem in the partner's own words.
    pub(crate) fn code(&self) -> Option<String> {
        report::code(&self.body)
    }
}

impl Partner {
    /// A partner as configured; `timeout` bounds a whole call.
    ///
    /// # Errors
    /// When the HTTP client can't be set up.
    pub(crate) fn try_new(settings: &PartnerConfig, timeout: Duration, clock: Clock) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(timeout)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self {
            client,
            base: settings.url.clone(),
            name: settings.partner.clone(),
            secret: settings.secret.clone(),
            clock,
        })
    }

    /// Asks for something to be done. Safe to repeat: the partner does each request id once.
    pub(crate) async fn ask(&self, path: &str, request: &(impl Serialize + Sync)) -> Report {
        let body = serde_json::to_vec(request).expect("a request of strings is JSON");
        self.send(Method::POST, path, body).await.map_or_else(Report::lost, |reply| Report::of_request(&reply))
    }

    /// Asks what became of a request.
    pub(crate) async fn status(&self, path: &str) -> Report {
        self.get(path).await.map_or_else(Report::lost, |reply| Report::of_status(&reply))
    }

    /// Reads something; `None` when no whole answer came.
    pub(crate) async fn get(&self, path: &str) -> Option<Reply> {
        self.send(Method::GET, path, Vec::new()).await
    }

    /// Sends one signed request; `None` when no whole answer came.
    async fn send(&self, method: Method, path: &str, body: Vec<u8>) -> Option<Reply> {
        let url = self.base.join(path).ok()?;
        let timestamp = self.clock.now().timestamp();
        let signature =
            sign(self.secret.expose(), Signed { method: method.as_str(), path: url.path(), body: &body }, timestamp);
        let mut request = self
            .client
            .request(method, url)
            .header(PARTNER, &self.name)
            .header(TIMESTAMP, timestamp.to_string())
            .header(SIGNATURE, signature);
        if !body.is_empty() {
            request = request.header(reqwest::header::CONTENT_TYPE, "application/json").body(body);
        }
        let mut answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::warn!(error = %error.without_url(), "partner did not answer");
                return None;
            }
        };
        let status = answer.status();
        let mut bytes = Vec::new();
        loop {
            match answer.chunk().await {
                Ok(Some(chunk)) if bytes.len() + chunk.len() <= MAX_ANSWER => bytes.extend_from_slice(&chunk),
                Ok(None) => return Some(Reply { status, body: bytes }),
                Ok(Some(_)) | Err(_) => return None,
            }
        }
    }
}

/// When a partner is asked for a status.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    pub(crate) first_status_query: Duration,
    pub(crate) last_status_query: Duration,
}

impl Timing {
    /// When to ask next, after an answer and so many runs: the later the more often it ran, but never is it given up.
    pub(crate) fn next(&self, now: DateTime<Utc>, answer: Answer, attempts: u32) -> DateTime<Utc> {
        let first = if answer == Answer::Lost { AFTER_LOSS } else { self.first_status_query };
        let wait = first.saturating_mul(1 << attempts.saturating_sub(1).min(MAX_DOUBLINGS)).min(self.last_status_query);
        now + TimeDelta::from_std(wait).unwrap_or(TimeDelta::MAX)
    }
}

/// What a report becomes for a request that is older than [`SEND_WITHIN`]: a partner that keeps refusing it and says
/// that it never saw it is not asked for ever.
pub(crate) fn given_up(report: Report, request_id: Uuid, age: TimeDelta, reason: &str) -> Report {
    if report.answer != Answer::NeverSeen || age < SEND_WITHIN {
        return report;
    }
    tracing::error!(request.id = %request_id, reason, "partner took no request within a day and knows of none; it is given up");
    Report { answer: Answer::Refused, reason: Some(reason.to_owned()), ..report }
}

//! The bank's API, behind a trait because the bank is an outside party.
//!
//! Every call has a deadline and reads a bounded answer. What can't be read as a definite answer is [`Answer::Lost`]:
//! no answer is not a no.

use std::time::Duration;

use async_trait::async_trait;
use ledger::money::Money;
use platform::clock::Clock;
use platform::config::Secret;
use reqwest::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use url::Url;

use super::signature::{PARTNER, SIGNATURE, Signed, TIMESTAMP, sign};
use super::{Answer, TopUpId};

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Most bytes of an answer that are read.
const MAX_ANSWER: usize = 64 * 1024;
/// Longest reason or reference that is kept.
const MAX_TEXT: usize = 64;
/// The bank's code for a request id that it has already.
const ID_KNOWN: &str = "request-id-reused";
/// Where collections live at a bank.
const COLLECTIONS: &str = "/bank/v1/collections";

/// What the bank is asked to collect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collection {
    /// Ours; the bank does the same request once.
    pub id: TopUpId,
    /// The citizen's account at the bank.
    pub account: String,
    /// How much.
    pub amount: Money,
}

/// What the bank said about a collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// In one word.
    pub answer: Answer,
    /// The bank's own reference.
    pub reference: Option<String>,
    /// Why it failed or was refused.
    pub reason: Option<String>,
    /// How much money the bank says it is about.
    pub amount: Option<Money>,
}

impl Report {
    fn lost() -> Self {
        Self { answer: Answer::Lost, reference: None, reason: None, amount: None }
    }
}

/// A bank that collects money from its customers for us.
#[async_trait]
pub trait BankConnector: Send + Sync {
    /// Asks for a collection. Safe to repeat: the bank does each id once.
    async fn collect(&self, collection: &Collection) -> Report;

    /// Asks what became of a collection.
    async fn status(&self, id: TopUpId) -> Report;
}

/// A bank reached over HTTP.
#[derive(Clone, Debug)]
pub struct HttpBank {
    client: reqwest::Client,
    base: Url,
    partner: String,
    secret: Secret,
    callback_url: Url,
    clock: Clock,
}

#[derive(Serialize)]
struct Request<'a> {
    request_id: TopUpId,
    account: &'a str,
    amount: Money,
    callback_url: &'a Url,
}

/// What a bank says of a collection: in an answer and in a callback.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) status: CallbackStatus,
    pub(crate) bank_reference: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) amount: Option<Money>,
}

/// Where a collection stands at the bank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum CallbackStatus {
    Processing,
    Succeeded,
    Failed,
}

impl From<Outcome> for Report {
    fn from(outcome: Outcome) -> Self {
        let answer = match outcome.status {
            CallbackStatus::Processing => Answer::Processing,
            CallbackStatus::Succeeded => Answer::Succeeded,
            CallbackStatus::Failed => Answer::Failed,
        };
        Self {
            answer,
            reference: outcome.bank_reference.map(short),
            reason: outcome.reason.map(short),
            amount: outcome.amount,
        }
    }
}

#[derive(Deserialize)]
struct Refusal {
    code: String,
}

impl HttpBank {
    /// A bank at `base`; it calls back at `callback_url`. `timeout` bounds a whole call.
    ///
    /// # Errors
    /// When the HTTP client can't be set up.
    pub fn try_new(
        settings: &crate::config::BankConfig,
        callback_url: Url,
        timeout: Duration,
        clock: Clock,
    ) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(timeout)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self {
            client,
            base: settings.url.clone(),
            partner: settings.partner.clone(),
            secret: settings.secret.clone(),
            callback_url,
            clock,
        })
    }

    /// Sends one signed request; `None` when no whole answer came.
    async fn send(&self, method: Method, path: &str, body: Vec<u8>) -> Option<(StatusCode, Vec<u8>)> {
        let url = self.base.join(path).ok()?;
        let timestamp = self.clock.now().timestamp();
        let signature =
            sign(self.secret.expose(), Signed { method: method.as_str(), path: url.path(), body: &body }, timestamp);
        let mut request = self
            .client
            .request(method, url)
            .header(PARTNER, &self.partner)
            .header(TIMESTAMP, timestamp.to_string())
            .header(SIGNATURE, signature);
        if !body.is_empty() {
            request = request.header(reqwest::header::CONTENT_TYPE, "application/json").body(body);
        }
        let mut answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::warn!(error = %error.without_url(), "bank did not answer");
                return None;
            }
        };
        let status = answer.status();
        let mut bytes = Vec::new();
        loop {
            match answer.chunk().await {
                Ok(Some(chunk)) if bytes.len() + chunk.len() <= MAX_ANSWER => bytes.extend_from_slice(&chunk),
                Ok(None) => return Some((status, bytes)),
                Ok(Some(_)) | Err(_) => return None,
            }
        }
    }
}

#[async_trait]
impl BankConnector for HttpBank {
    async fn collect(&self, collection: &Collection) -> Report {
        let request = Request {
            request_id: collection.id,
            account: &collection.account,
            amount: collection.amount,
            callback_url: &self.callback_url,
        };
        let body = serde_json::to_vec(&request).expect("a request of strings is JSON");
        let Some((status, body)) = self.send(Method::POST, COLLECTIONS, body).await else { return Report::lost() };
        if status.is_success() {
            return serde_json::from_slice::<Outcome>(&body).map_or_else(|_| Report::lost(), Report::from);
        }
        refused(status, &body)
    }

    async fn status(&self, id: TopUpId) -> Report {
        let path = format!("{COLLECTIONS}/{id}");
        let Some((status, body)) = self.send(Method::GET, &path, Vec::new()).await else { return Report::lost() };
        match status {
            // Only the bank's own words count: a proxy in between says 404 too.
            StatusCode::NOT_FOUND if code(&body).as_deref() == Some("not-found") => {
                Report { answer: Answer::NeverSeen, ..Report::lost() }
            }
            status if status.is_success() => {
                serde_json::from_slice::<Outcome>(&body).map_or_else(|_| Report::lost(), Report::from)
            }
            status => {
                tracing::warn!(status = status.as_u16(), "bank refused a status query");
                Report::lost()
            }
        }
    }
}

/// A refusal (4xx) in the bank's own words is a definite no; anything else may come from in between.
/// What asks for patience is none, nor that the bank has the id already: an earlier request came through,
/// and the status says what became of it.
fn refused(status: StatusCode, body: &[u8]) -> Report {
    let passing = matches!(
        status,
        StatusCode::REQUEST_TIMEOUT | StatusCode::CONFLICT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
    );
    let said = code(body).filter(|code| status.is_client_error() && !passing && code != ID_KNOWN);
    let Some(code) = said else { return Report::lost() };
    if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
        tracing::error!(code, "bank refuses our credentials");
    }
    Report { answer: Answer::Refused, reason: Some(short(code)), ..Report::lost() }
}

fn code(body: &[u8]) -> Option<String> {
    serde_json::from_slice::<Refusal>(body).ok().map(|refusal| refusal.code)
}

/// A bank's text as it is kept: bounded, and without control characters, of which the database takes no NUL.
fn short(text: String) -> String {
    text.chars().filter(|character| !character.is_control()).take(MAX_TEXT).collect()
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;

    use super::{Answer, MAX_TEXT, refused, short};

    #[test]
    fn a_bank_that_has_the_id_already_has_not_refused() {
        let body = |code: &str| format!("{{\"code\":\"{code}\"}}").into_bytes();
        let answer = |status, code: &str| refused(status, &body(code)).answer;
        for status in [StatusCode::UNPROCESSABLE_ENTITY, StatusCode::BAD_REQUEST] {
            assert_eq!(answer(status, "request-id-reused"), Answer::Lost);
            assert_eq!(answer(status, "invalid-field"), Answer::Refused);
        }
        assert_eq!(answer(StatusCode::CONFLICT, "request-id-reused"), Answer::Lost);
        // Every other refusal in the bank's own words ends it; what asks for patience, or is not the bank's, does not.
        for status in [StatusCode::NOT_FOUND, StatusCode::GONE, StatusCode::PAYMENT_REQUIRED] {
            assert_eq!(answer(status, "account-unknown"), Answer::Refused, "{status}");
            assert_eq!(refused(status, b"<html>").answer, Answer::Lost, "{status}");
        }
        for status in [StatusCode::TOO_MANY_REQUESTS, StatusCode::CONFLICT, StatusCode::SERVICE_UNAVAILABLE] {
            assert_eq!(answer(status, "busy"), Answer::Lost, "{status}");
        }
        assert_eq!(refused(StatusCode::UNPROCESSABLE_ENTITY, b"<html>").answer, Answer::Lost);
    }

    #[test]
    fn texts_of_a_bank_can_be_kept() {
        assert_eq!(short("no\u{0} mo\nney\u{7f}".to_owned()), "no money");
        assert_eq!(short("ế".repeat(MAX_TEXT + 1)).chars().count(), MAX_TEXT);
        assert_eq!(refused(StatusCode::BAD_REQUEST, br#"{"code":"a\u0000b"}"#).reason.as_deref(), Some("ab"));
    }
}

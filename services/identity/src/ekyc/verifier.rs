//! The outside verifier: says whether a citizen number, a name and a day of birth belong together.
//!
//! A trait because it is an outside party; [`HttpVerifier`] speaks to one over HTTP.
//! No answer is not a no: whoever can't be reached is asked again.

use std::time::Duration;

use async_trait::async_trait;
use chrono::NaiveDate;
use platform::config::Secret;
use serde::{Deserialize, Serialize};
use url::Url;
use uuid::Uuid;

/// How long one answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What a citizen says of themself.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claim {
    pub citizen_number: String,
    pub full_name: String,
    pub date_of_birth: NaiveDate,
}

impl std::fmt::Debug for Claim {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Claim(…)")
    }
}

/// What the verifier says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    /// They belong together.
    Matched,
    /// They do not.
    Mismatched,
    /// There is no such number.
    Unknown,
}

/// Why there is no verdict yet.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VerifierError {
    /// It did not answer, or not in time, or with an error of its own.
    #[error("the verifier did not answer")]
    Away(#[from] reqwest::Error),
    /// It refuses our request: someone must look at the settings.
    #[error("the verifier refused the request with {0}")]
    Refused(u16),
}

/// Who verifies.
#[async_trait]
pub(crate) trait Verifier: Send + Sync {
    /// Asks; `id` names the question, so that asking again is the same question.
    async fn verify(&self, id: Uuid, claim: &Claim) -> Result<Verdict, VerifierError>;
}

/// A verifier over HTTP: `POST {url}` with a bearer token.
pub(crate) struct HttpVerifier {
    client: reqwest::Client,
    url: Url,
    token: Secret,
}

#[derive(Serialize)]
struct Question<'a> {
    request_id: Uuid,
    #[serde(flatten)]
    claim: &'a Claim,
}

#[derive(Deserialize)]
struct Answer {
    result: Verdict,
}

impl HttpVerifier {
    /// Speaks to a verifier at a URL.
    ///
    /// # Errors
    /// When no client can be made.
    pub(crate) fn try_new(url: Url, token: Secret) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .no_proxy()
            // Token and question go nowhere else.
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self { client, url, token })
    }
}

#[async_trait]
impl Verifier for HttpVerifier {
    async fn verify(&self, id: Uuid, claim: &Claim) -> Result<Verdict, VerifierError> {
        let request = self.client.post(self.url.clone()).bearer_auth(self.token.expose());
        // The error of a request names its URL; ours holds no secret and no person.
        let answer = request.json(&Question { request_id: id, claim }).send().await?;
        let status = answer.status();
        if status.is_client_error() {
            return Err(VerifierError::Refused(status.as_u16()));
        }
        Ok(answer.error_for_status()?.json::<Answer>().await?.result)
    }
}

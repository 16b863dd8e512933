//! What a partner said about a request, read from its answer, its status and its callback. Pure.

use ledger::money::Money;
use reqwest::StatusCode;
use serde::Deserialize;

use super::Reply;

/// Longest reason or reference that is kept, in characters.
const MAX_TEXT: usize = 64;
/// The code for a request id that a partner has already.
const ID_KNOWN: &str = "request-id-reused";

/// What a partner said, or did not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is working on it.
    Processing,
    /// It did what was asked.
    Succeeded,
    /// It tried and did not.
    Failed,
    /// It does not take such a request.
    Refused,
    /// It knows no such request.
    NeverSeen,
    /// No answer came, or none that can be read.
    Lost,
}

impl Answer {
    /// Every answer.
    pub const ALL: [Self; 6] =
        [Self::Processing, Self::Succeeded, Self::Failed, Self::Refused, Self::NeverSeen, Self::Lost];
}

/// What a partner said about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// In one word.
    pub answer: Answer,
    /// The partner's own reference.
    pub reference: Option<String>,
    /// Why it failed or was refused.
    pub reason: Option<String>,
    /// How much money the partner says it is about.
    pub amount: Option<Money>,
}

impl Report {
    /// No answer.
    pub(crate) fn lost() -> Self {
        Self { answer: Answer::Lost, reference: None, reason: None, amount: None }
    }

    /// What the answer to a request says.
    pub(super) fn of_request(reply: &Reply) -> Self {
        if reply.status.is_success() { Self::told(reply) } else { refused(reply.status, &reply.body) }
    }

    /// What the answer to a status query says.
    pub(super) fn of_status(reply: &Reply) -> Self {
        match reply.status {
            // Only the partner's own words count: a proxy in between says 404 too.
            StatusCode::NOT_FOUND if reply.code().as_deref() == Some("not-found") => {
                Self { answer: Answer::NeverSeen, ..Self::lost() }
            }
            status if status.is_success() => Self::told(reply),
            status => {
                tracing::warn!(status = status.as_u16(), "partner refused a status query");
                Self::lost()
            }
        }
    }

    fn told(reply: &Reply) -> Self {
        reply.read::<Said>().map_or_else(Self::lost, Self::from)
    }

    /// Whether the money that it speaks of is what was asked for; success must name it.
    pub(crate) fn is_about(&self, amount: Money) -> bool {
        match self.amount {
            Some(said) => said == amount,
            None => self.answer != Answer::Succeeded,
        }
    }
}

/// What a partner says of a request: in an answer and in a callback.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Said {
    pub(crate) status: Status,
    #[serde(alias = "bank_reference", alias = "biller_reference")]
    pub(crate) reference: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) amount: Option<Money>,
}

/// Where a request stands at a partner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = PartnerStatus)]
pub(crate) enum Status {
    Processing,
    Succeeded,
    Failed,
}

impl From<Said> for Report {
    fn from(said: Said) -> Self {
        let answer = match said.status {
            Status::Processing => Answer::Processing,
            Status::Succeeded => Answer::Succeeded,
            Status::Failed => Answer::Failed,
        };
        Self { answer, reference: said.reference.map(short), reason: said.reason.map(short), amount: said.amount }
    }
}

#[derive(Deserialize)]
struct Refusal {
    code: String,
}

/// A refusal (4xx) in the partner's own words is a definite no; anything else may come from in between.
/// What asks for patience is none, nor that the partner has the id already: an earlier request came through,
/// and the status says what became of it.
fn refused(status: StatusCode, body: &[u8]) -> Report {
    let passing = matches!(
        status,
        StatusCode::REQUEST_TIMEOUT | StatusCode::CONFLICT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
    );
    let said = code(body).filter(|code| status.is_client_error() && !passing && code != ID_KNOWN);
    let Some(code) = said else { return Report::lost() };
    if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
        tracing::error!(code, "partner refuses our credentials");
    }
    Report { answer: Answer::Refused, reason: Some(short(code)), ..Report::lost() }
}

pub(super) fn code(body: &[u8]) -> Option<String> {
    serde_json::from_slice::<Refusal>(body).ok().map(|refusal| refusal.code)
}

/// A partner's text as it is kept: bounded, and without control characters, of which the database takes no NUL.
fn short(text: String) -> String {
    text.chars().filter(|character| !character.is_control()).take(MAX_TEXT).collect()
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;

    use super::{Answer, MAX_TEXT, refused, short};

    #[test]
    fn a_partner_that_has_the_id_already_has_not_refused() {
        let body = |code: &str| format!("{{\"code\":\"{code}\"}}").into_bytes();
        let answer = |status, code: &str| refused(status, &body(code)).answer;
        for status in [StatusCode::UNPROCESSABLE_ENTITY, StatusCode::BAD_REQUEST] {
            assert_eq!(answer(status, "request-id-reused"), Answer::Lost);
            assert_eq!(answer(status, "invalid-field"), Answer::Refused);
        }
        assert_eq!(answer(StatusCode::CONFLICT, "request-id-reused"), Answer::Lost);
        // Every other refusal in the partner's own words ends it; what asks for patience, or is not the partner's, does not.
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
    fn texts_of_a_partner_can_be_kept() {
        assert_eq!(short("no\u{0} mo\nney\u{7f}".to_owned()), "no money");
        assert_eq!(short("ế".repeat(MAX_TEXT + 1)).chars().count(), MAX_TEXT);
        assert_eq!(refused(StatusCode::BAD_REQUEST, br#"{"code":"a\u0000b"}"#).reason.as_deref(), Some("ab"));
    }
}

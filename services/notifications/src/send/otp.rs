//! One-time codes by SMS. The code exists in memory only, for the time of one attempt.

use platform::http::Language;
use proto::identity::v1::{TakeOtpCodeRequest, TakeOtpCodeResponse};
use serde_json::json;
use tonic::Code;

use super::{Outgoing, RunError, Sender, Verdict, verdict_of};
use crate::gateway::Sms;
use crate::lane::Channel;
use crate::message::State;
use crate::sms::cost;

impl Sender {
    /// Takes the code of the challenge and sends it.
    pub(super) async fn send_sms(&self, message: &Outgoing) -> Result<Verdict, RunError> {
        let request = TakeOtpCodeRequest { challenge_id: message.recipient.to_string() };
        let taken = match self.identity.clone().take_otp_code(request).await {
            Ok(taken) => taken.into_inner(),
            Err(status) => return Ok(refusal(status.code())),
        };
        let Some(minutes) = minutes_left(&taken, self.clock.now().timestamp()) else {
            return Ok(Verdict::Ended(State::Suppressed, Some("code-expired")));
        };
        let parameters = json!({ "code": taken.code, "purpose": taken.purpose, "minutes": minutes });
        let text = message.template.sms(Language::from_tag(&taken.language), &parameters)?;
        let reference = message.id.to_string();
        let sms = Sms { to: &taken.phone, text: &text, reference: &reference };
        let attempt = self.attempt(Channel::Sms, None, self.sms.send(&sms)).await;
        let verdict = verdict_of(&attempt.answer);
        if attempt.answer.is_ok() {
            self.meter.sms_taken(message.lane, cost(&text));
        }
        self.record(message.id, &[attempt]).await?;
        Ok(verdict)
    }
}

/// What identity's refusal means: it is away, or the code is gone for good (unknown, used, expired, taken long ago).
fn refusal(code: Code) -> Verdict {
    match code {
        Code::NotFound | Code::FailedPrecondition | Code::AlreadyExists | Code::InvalidArgument | Code::OutOfRange => {
            Verdict::Ended(State::Failed, Some("code-gone"))
        }
        _ => Verdict::Failed("identity-unavailable"),
    }
}

/// Whole minutes that the code is of use, rounded up; `None` when it is of none.
fn minutes_left(taken: &TakeOtpCodeResponse, now: i64) -> Option<i64> {
    let seconds = taken.expires_at - now;
    (seconds > 0).then(|| (seconds + 59) / 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_are_rounded_up() {
        let taken = |expires_at| TakeOtpCodeResponse { expires_at, ..TakeOtpCodeResponse::default() };
        for (left, minutes) in [(300, Some(5)), (299, Some(5)), (241, Some(5)), (240, Some(4)), (1, Some(1)), (0, None)]
        {
            assert_eq!(minutes_left(&taken(1_000 + left), 1_000), minutes);
        }
    }

    #[test]
    fn an_identity_that_is_away_is_asked_again() {
        assert_eq!(refusal(Code::Unavailable), Verdict::Failed("identity-unavailable"));
        assert_eq!(refusal(Code::DeadlineExceeded), Verdict::Failed("identity-unavailable"));
        assert_eq!(refusal(Code::NotFound), Verdict::Ended(State::Failed, Some("code-gone")));
    }
}

//! One-time codes by SMS. The code exists in memory only, for the time of one attempt.

use serde_json::json;

use super::{Outgoing, RunError, Sender, Verdict, verdict_of};
use crate::gateway::Sms;
use crate::grpc::NoAnswer;
use crate::lane::Channel;
use crate::message::State;
use crate::sms::cost;

impl Sender {
    /// Takes the code of the challenge and sends it.
    pub(super) async fn send_code(&self, message: &Outgoing) -> Result<Verdict, RunError> {
        let taken = match self.identity.take_code(message.recipient).await {
            Ok(taken) => taken,
            Err(NoAnswer::Gone) => return Ok(Verdict::Ended(State::Failed, Some("code-gone"))),
            Err(NoAnswer::Away) => return Ok(Verdict::Failed("identity-unavailable")),
        };
        let Some(minutes) = minutes_left(taken.expires_at, self.clock.now().timestamp()) else {
            return Ok(Verdict::Ended(State::Suppressed, Some("code-expired")));
        };
        let parameters = json!({ "code": taken.code, "purpose": taken.purpose, "minutes": minutes });
        let text = message.template.sms(taken.language, &parameters)?;
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

/// Whole minutes that a code is of use, rounded up; `None` when it is of none.
fn minutes_left(expires_at: i64, now: i64) -> Option<i64> {
    let seconds = expires_at - now;
    (seconds > 0).then(|| (seconds + 59) / 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_are_rounded_up() {
        for (left, minutes) in [(300, Some(5)), (299, Some(5)), (241, Some(5)), (240, Some(4)), (1, Some(1)), (0, None)]
        {
            assert_eq!(minutes_left(1_000 + left, 1_000), minutes);
        }
    }
}

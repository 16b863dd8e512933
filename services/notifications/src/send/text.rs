//! Text messages to citizens: number and language are asked of identity for each attempt, and kept nowhere.

use super::{Outgoing, RunError, Sender, Verdict, verdict_of};
use crate::gateway::Sms;
use crate::grpc::NoAnswer;
use crate::lane::Channel;
use crate::message::State;
use crate::preference_sql;
use crate::sms::cost;

impl Sender {
    /// Sends the template's text to the citizen's number.
    pub(super) async fn send_text(&self, message: &Outgoing) -> Result<Verdict, RunError> {
        let contact = match self.identity.contact(message.recipient).await {
            Ok(contact) => contact,
            Err(NoAnswer::Gone) => return Ok(Verdict::Ended(State::Failed, Some("no-number"))),
            Err(NoAnswer::Away) => return Ok(Verdict::Failed("identity-unavailable")),
        };
        let chosen = preference_sql::read(&mut *self.pool.acquire().await?, message.recipient).await?.language;
        let text = message.template.sms(chosen.unwrap_or(contact.language), &message.parameters)?;
        let reference = message.id.to_string();
        let sms = Sms { to: &contact.phone, text: &text, reference: &reference };
        let attempt = self.attempt(Channel::Sms, None, self.sms.send(&sms)).await;
        let verdict = verdict_of(&attempt.answer);
        if attempt.answer.is_ok() {
            self.meter.sms_taken(message.lane, cost(&text));
        }
        self.record(message.id, &[attempt]).await?;
        Ok(verdict)
    }
}

//! Push messages: one to each device of the citizen that has not had it yet.

use futures::future::join_all;
use platform::http::Language;
use uuid::Uuid;

use super::{Attempt, Outgoing, RunError, Sender, Verdict};
use crate::device::{self, Target};
use crate::gateway::{GatewayError, Push};
use crate::lane::Channel;
use crate::message::State;
use crate::preference_sql;

impl Sender {
    /// Sends to every device at once; devices whose token is dead are removed.
    pub(super) async fn send_push(&self, message: &Outgoing) -> Result<Verdict, RunError> {
        let targets = device::unreached((&self.pool, &self.persons), message.recipient, message.id).await?;
        if targets.is_empty() {
            return self.nothing_left(message).await;
        }
        let text = message.template.text(self.language(message.recipient).await?, &message.parameters)?;
        let id = message.id.to_string();
        let data = [
            ("message_id", id.clone()),
            ("lane", message.lane.name().to_owned()),
            ("kind", message.template.kind().to_owned()),
        ];
        let urgent = message.lane.is_urgent();
        let push = Push { id: &id, title: &text.title, body: &text.body, data: &data, urgent };
        let attempts = join_all(targets.iter().map(|target| self.push_to(target, &push))).await;
        self.record(message.id, &attempts).await?;
        let dead: Vec<Uuid> = attempts
            .iter()
            .filter(|attempt| attempt.answer == Err(GatewayError::Dead))
            .filter_map(|attempt| attempt.device)
            .collect();
        if !dead.is_empty() {
            device::remove_dead(&self.pool, &dead).await?;
        }
        match verdict_of_all(&attempts) {
            // Nothing reached a device this time; an earlier run may have.
            Verdict::Ended(State::Failed, _) if self.reached_any(message.id).await? => {
                Ok(Verdict::Ended(State::Delivered, None))
            }
            verdict => Ok(verdict),
        }
    }

    async fn push_to(&self, target: &Target, push: &Push<'_>) -> Attempt {
        self.attempt(Channel::Push, Some(target.id), self.push.send(&target.token, push)).await
    }

    /// Every device has it, or the citizen has none any more.
    async fn nothing_left(&self, message: &Outgoing) -> Result<Verdict, RunError> {
        Ok(match self.reached_any(message.id).await? {
            true => Verdict::Ended(State::Delivered, None),
            false => Verdict::Ended(State::Suppressed, Some("no-device")),
        })
    }

    pub(super) async fn reached_any(&self, message: Uuid) -> Result<bool, sqlx::Error> {
        sqlx::query_scalar!(
            r#"SELECT EXISTS (
                   SELECT FROM notifications.attempt WHERE message_id = $1 AND outcome = 'delivered') AS "reached!""#,
            message
        )
        .fetch_one(&self.pool)
        .await
    }

    /// The language the citizen chose here, else the one that identity knows. Better a message in Vietnamese than none.
    async fn language(&self, user: Uuid) -> Result<Language, RunError> {
        let chosen = preference_sql::read(&mut *self.pool.acquire().await?, user).await?.language;
        if let Some(language) = chosen {
            return Ok(language);
        }
        Ok(self.identity.language(user).await.unwrap_or_default())
    }
}

/// What the answers of several devices mean together.
///
/// While one may still be reached the message goes on (those that have it are left out next time);
/// else it is delivered when at least one has it.
fn verdict_of_all(attempts: &[Attempt]) -> Verdict {
    let verdicts: Vec<Verdict> = attempts.iter().map(|attempt| super::verdict_of(&attempt.answer)).collect();
    if let Some(failed) = verdicts.iter().find(|verdict| matches!(verdict, Verdict::Failed(_))) {
        return failed.clone();
    }
    let waits = verdicts.iter().filter(|verdict| matches!(verdict, Verdict::Wait(..)));
    let longest = waits.max_by_key(|verdict| match verdict {
        Verdict::Wait(pause, _) => *pause,
        _ => std::time::Duration::ZERO,
    });
    if let Some(wait) = longest {
        return wait.clone();
    }
    let delivered = Verdict::Ended(State::Delivered, None);
    if verdicts.contains(&delivered) { delivered } else { verdicts.into_iter().next().unwrap_or(delivered) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn together(answers: Vec<Result<&str, GatewayError>>) -> Verdict {
        let attempt = |answer: Result<&str, GatewayError>| Attempt {
            device: None,
            answer: answer.map(|name| Some(name.to_owned())),
            at: chrono::Utc::now(),
            took: Duration::ZERO,
        };
        verdict_of_all(&answers.into_iter().map(attempt).collect::<Vec<_>>())
    }

    #[test]
    fn one_device_is_enough_and_a_passing_failure_is_tried_again() {
        let delivered = Verdict::Ended(State::Delivered, None);
        assert_eq!(together(vec![Ok("a"), Err(GatewayError::Dead)]), delivered);
        assert_eq!(together(vec![Err(GatewayError::Dead)]), Verdict::Ended(State::Failed, Some("dead")));
        assert_eq!(together(vec![Ok("a"), Err(GatewayError::Timeout)]), Verdict::Failed("timeout"));
        let pauses = [1, 3, 2].map(|seconds| Err(GatewayError::Throttled(Duration::from_secs(seconds))));
        assert_eq!(together(pauses.to_vec()), Verdict::Wait(Duration::from_secs(3), "throttled"));
    }
}

//! The ladder of messages about somebody's account: in the app and by push first; what has neither reached a phone nor been opened
//! [`AFTER`] that goes by text message, once. That of warnings is `alert::climb`.
//!
//! Only the lane `security` climbs: a text message costs the city money, and money that moved or a report that was handled can wait until
//! the citizen opens the app.
//!
//! Invariant: nobody gets it twice on one channel: messages are unique by event, citizen, channel and template.
//! Locks: those of `message`.

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use platform::clock::Clock;
use platform::job::{Job, JobHandler, NewJob, Outcome};
use sqlx::PgPool;
use tracing::warn;
use uuid::Uuid;

use crate::lane::{Channel, Lane};
use crate::message::{self, Draft, Made};
use crate::meter::Meter;
use crate::template::Template;

/// The kind of job that climbs; its key is the message in the app.
pub(crate) const JOB_KIND: &str = "climb-message";
/// Messages that climb at a time in one process.
pub(crate) const WORKERS: usize = 2;
/// How long a message has to reach a phone or to be opened.
pub(crate) const AFTER: TimeDelta = TimeDelta::minutes(2);

/// Climbs.
#[derive(Clone, Debug)]
pub(crate) struct Ladder {
    pub(crate) pool: PgPool,
    pub(crate) clock: Clock,
    pub(crate) meter: Meter,
    pub(crate) zone: Tz,
}

/// What became of a message that was to climb.
enum Climb {
    /// Its text message is made, or none is needed.
    Over,
    /// Its template is of a later version of the program, which sends it.
    Unreadable,
}

/// The jobs of new messages that climb.
pub(crate) fn jobs(made: &[Made], now: DateTime<Utc>) -> Vec<NewJob> {
    let climbs = |each: &&Made| (each.lane, each.channel) == (Lane::Security, Channel::InApp);
    made.iter().filter(climbs).map(|each| NewJob::new(JOB_KIND, each.id.to_string(), now + AFTER)).collect()
}

#[async_trait]
impl JobHandler for Ladder {
    async fn run(&self, job: &Job) -> Outcome {
        let Ok(id) = job.key.parse::<Uuid>() else { return Outcome::Dead("unreadable".to_owned()) };
        match self.climb(id).await {
            Ok(Climb::Over) => Outcome::Done,
            Ok(Climb::Unreadable) => Outcome::RetryAt(self.clock.now() + AFTER, "template".to_owned()),
            Err(error) => {
                warn!(message.id = %id, %error, "message did not climb");
                Outcome::Retry("database".to_owned())
            }
        }
    }
}

impl Ladder {
    /// Makes the text message of a message in the app, unless that was opened or its push has reached a phone.
    async fn climb(&self, in_app: Uuid) -> Result<Climb, sqlx::Error> {
        let mut transaction = platform::db::begin(&self.pool).await?;
        let row = sqlx::query!(
            "SELECT event_id, recipient, template, parameters FROM notifications.message
             WHERE id = $1 AND NOT EXISTS (
                 SELECT FROM notifications.message AS other LEFT JOIN notifications.inbox ON inbox.message_id = other.id
                 WHERE other.event_id = message.event_id AND other.recipient = message.recipient
                     AND other.template = message.template
                     AND ((other.channel = 'push' AND other.state = 'delivered') OR inbox.read_at IS NOT NULL))",
            in_app
        );
        let Some(row) = row.fetch_optional(&mut *transaction).await? else { return Ok(Climb::Over) };
        let Ok(template) = Template::find(&row.template) else { return Ok(Climb::Unreadable) };
        let draft = Draft {
            event_id: row.event_id,
            recipient: row.recipient,
            lane: Lane::Security,
            channel: Channel::Sms,
            template,
            parameters: row.parameters,
        };
        let made = message::enqueue(&mut transaction, &[draft], (self.clock.now(), self.zone)).await?;
        transaction.commit().await?;
        made.iter().for_each(|each| self.meter.made(each));
        Ok(Climb::Over)
    }
}

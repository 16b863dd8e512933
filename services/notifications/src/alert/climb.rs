//! The ladder of a warning: of whom there is no word in time that they have it gets it by text message.
//!
//! In the app and by push first (see `fan_out`); [`AFTER`] the release a job looks at everybody who was warned, in order of their ids, and
//! makes a text message for each of whom there is no receipt yet: neither an app's nor that it was opened (see `receipt`). That a push
//! gateway took it is none: it takes messages for phones that are off or have no network, as in a flood. But an app that is to confirm
//! has [`AFTER`] from then: whose push message still waits, or was taken less long ago, is looked at again, until it is [`LONGEST`] old.
//! Severe and extreme warnings climb, and the ends of such; others are not worth waking anybody for. What was tried and answered stands in
//! `attempt`, as for every message.
//!
//! Invariants:
//! - Nobody gets a warning by text message twice: messages are unique by alert, citizen, channel and template.
//! - A batch share-locks the alert, and whoever ends one locks it: nobody is sent a text message of a warning after its end.
//!
//! Locks, in this order: `alert` (shared), then those of `message`.

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use platform::clock::Clock;
use platform::job::{Job, JobHandler, NewJob, Outcome};
use sqlx::{PgConnection, PgPool};
use tracing::{info, warn};
use uuid::Uuid;

use super::fan_out::{parameters_of, template_of};
use super::{AlertId, Content, Kind, Severity, State};
use crate::error::Error;
use crate::fan_out::BATCH;
use crate::lane::{Channel, Lane};
use crate::message::{self, Draft};
use crate::meter::Meter;

/// The kind of job that climbs; its key is the alert.
pub(crate) const JOB_KIND: &str = "climb-alert";
/// Warnings that climb at a time in one process.
pub(crate) const WORKERS: usize = 2;
/// How long an app has to confirm a warning, or somebody to read it.
pub(crate) const AFTER: TimeDelta = TimeDelta::minutes(2);
/// How old a push message may be and still be waited for.
const LONGEST: TimeDelta = TimeDelta::minutes(10);
/// How soon to look again while the fan-out still goes on, or push messages are waited for.
const AGAIN: TimeDelta = TimeDelta::seconds(15);

/// Makes the text messages.
#[derive(Clone, Debug)]
pub(crate) struct Climber {
    pub(crate) pool: PgPool,
    pub(crate) clock: Clock,
    pub(crate) meter: Meter,
    pub(crate) zone: Tz,
}

/// The job of a warning that is released now, if it climbs.
pub(crate) fn job(alert: AlertId, severity: Severity, now: DateTime<Utc>) -> Option<NewJob> {
    let climbs = matches!(severity, Severity::Extreme | Severity::Severe);
    climbs.then(|| NewJob::new(JOB_KIND, alert.to_string(), now + AFTER))
}

#[async_trait]
impl JobHandler for Climber {
    async fn run(&self, job: &Job) -> Outcome {
        let Ok(id) = job.key.parse::<Uuid>() else { return Outcome::Dead("unreadable".to_owned()) };
        match self.climb(AlertId::from(id)).await {
            Ok(None) => Outcome::Done,
            Ok(Some(awaited)) => Outcome::RetryAt(self.clock.now() + AGAIN, awaited.to_owned()),
            Err(Error::Unreadable(_)) => Outcome::Dead("unreadable".to_owned()),
            Err(error) => {
                warn!(alert.id = %id, %error, "alert did not climb");
                Outcome::Retry("database".to_owned())
            }
        }
    }
}

impl Climber {
    /// Makes all text messages that are due; gives what is still waited for, if anything.
    pub(crate) async fn climb(&self, alert: AlertId) -> Result<Option<&'static str>, Error> {
        let (mut after, mut all, mut awaited) = (Uuid::nil(), 0_usize, None);
        loop {
            let mut transaction = platform::db::begin(&self.pool).await?;
            let now = self.clock.now();
            let row = sqlx::query!(
                r#"SELECT identifier, kind, content, alert_fan_out.ended_at IS NOT NULL AS "complete!"
                   FROM notifications.alert JOIN notifications.alert_fan_out ON alert_id = id
                   WHERE id = $1 AND state = $2 AND expires_at > $3 FOR SHARE OF alert"#,
                alert.uuid(),
                State::Released.name(),
                now
            );
            let Some(row) = row.fetch_optional(&mut *transaction).await? else { return Ok(None) };
            if !row.complete {
                return Ok(Some("fan-out"));
            }
            let content: Content = serde_json::from_value(row.content).map_err(|_| Error::Unreadable(alert))?;
            let kind = Kind::from_name(&row.kind).ok_or(Error::Unreadable(alert))?;
            let unreached = unreached(&mut transaction, alert, (after, now)).await?;
            let Some((last, _)) = unreached.last().copied() else {
                info!(alert.id = %alert, recipients = all, awaited, "alert has climbed");
                return Ok(awaited);
            };
            let parameters = parameters_of(alert, &row.identifier, &content);
            let draft = |recipient: &Uuid| Draft {
                event_id: alert.uuid(),
                recipient: *recipient,
                lane: Lane::Emergency,
                channel: Channel::Sms,
                template: template_of(kind),
                parameters: parameters.clone(),
            };
            let (later, due): (Vec<_>, Vec<_>) = unreached.into_iter().partition(|(_, may_come)| *may_come);
            awaited = awaited.or_else(|| (!later.is_empty()).then_some("push"));
            let drafts: Vec<Draft> = due.iter().map(|(recipient, _)| draft(recipient)).collect();
            let made = message::enqueue(&mut transaction, &drafts, (now, self.zone)).await?;
            transaction.commit().await?;
            made.iter().for_each(|each| self.meter.made(each));
            self.meter.climbed(content.severity, made.len());
            (after, all) = (last, all + made.len());
        }
    }
}

/// The next of those of whom there is no receipt and who were sent no text message yet, each with whether an app may yet confirm a push.
async fn unreached(
    connection: &mut PgConnection,
    alert: AlertId,
    (after, now): (Uuid, DateTime<Utc>),
) -> Result<Vec<(Uuid, bool)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"WITH unreached AS MATERIALIZED (
               SELECT DISTINCT user_id FROM notifications.alert_recipient
               WHERE alert_id = $1 AND user_id > $2 AND NOT EXISTS (
                   SELECT FROM notifications.message LEFT JOIN notifications.inbox ON inbox.message_id = message.id
                   WHERE message.event_id = $1 AND message.recipient = alert_recipient.user_id
                       AND (message.channel = 'sms' OR message.received_at IS NOT NULL OR inbox.read_at IS NOT NULL))
               ORDER BY user_id LIMIT $3
           )
           SELECT user_id, EXISTS (
               SELECT FROM notifications.message
               WHERE event_id = $1 AND recipient = user_id AND channel = 'push' AND created_at > $4
                   AND (state = 'waiting' OR state = 'delivered' AND settled_at > $5)) AS "may_come!"
           FROM unreached ORDER BY user_id"#,
        alert.uuid(),
        after,
        BATCH,
        now - LONGEST,
        now - AFTER
    );
    Ok(rows.fetch_all(connection).await?.into_iter().map(|row| (row.user_id, row.may_come)).collect())
}

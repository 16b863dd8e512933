//! A river may stand at its highest level for longer than a warning is in force: then the next one is drafted in time.
//!
//! Each draft of an alarm has a job, due [`BEFORE`] its end. It follows the warning that is in force by then, and stops when the alarm stands lower,
//! when a newer draft has a job of its own, or when officers gave the warning up.
//! Locks, in this order: those of `family`, the keys of `alert_alarm`, `job`.

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use platform::job::{Job, JobHandler, NewJob, Outcome};
use prost::Message as _;
use proto::ioc::v1::Alarm;
use sqlx::PgConnection;
use tracing::{info, warn};
use uuid::Uuid;

use super::alarm::{Crossing, Drafter, content, latest};
use super::family::Family;
use super::store::Alert;
use super::{AlertId, State};
use crate::error::Error;

/// The kind of job that renews; its key is the draft.
pub(crate) const JOB_KIND: &str = "renew-alert";
/// Warnings that are renewed at a time in one process.
pub(crate) const WORKERS: usize = 1;
/// How long before its end a warning is drafted anew: two officers need some time.
pub(crate) const BEFORE: TimeDelta = TimeDelta::hours(1);

/// Drafts the next warning.
#[derive(Clone, Debug)]
pub(crate) struct Renewer(pub(crate) Drafter);

/// The job of a draft.
pub(crate) fn job(draft: &Alert) -> NewJob {
    NewJob::new(JOB_KIND, draft.id.to_string(), draft.life.expires_at - BEFORE)
}

#[async_trait]
impl JobHandler for Renewer {
    async fn run(&self, job: &Job) -> Outcome {
        let Ok(id) = job.key.parse::<Uuid>() else { return Outcome::Dead("unreadable".to_owned()) };
        match self.renew(AlertId::from(id)).await {
            Ok(None) => Outcome::Done,
            Ok(Some(later)) => Outcome::RetryAt(later, "in force".to_owned()),
            Err(Error::Unreadable(_)) => Outcome::Dead("unreadable".to_owned()),
            Err(error) => {
                warn!(alert.id = %id, %error, "alert was not renewed");
                Outcome::Retry("database".to_owned())
            }
        }
    }
}

impl Renewer {
    /// Drafts what follows a draft of an alarm, if it is time; else says when to look again, if ever.
    pub(crate) async fn renew(&self, draft: AlertId) -> Result<Option<DateTime<Utc>>, Error> {
        let Drafter(desk) = &self.0;
        let mut transaction = platform::db::begin(&desk.pool).await?;
        let family = Family::of(&mut transaction, draft).await?;
        let Some((crossing, told)) = standing(&mut transaction, draft).await? else { return Ok(None) };
        let Some(known) = family.get(draft) else { return Ok(None) };
        if latest(&mut transaction, &crossing).await? != Some(draft) {
            return Ok(None);
        }
        let now = desk.clock.now();
        let ends = match (family.in_force(now), known.life.state_at(now)) {
            (Some(warning), _) => warning.life.expires_at,
            (None, State::Drafted | State::Expired) => known.life.expires_at,
            (None, _) => return Ok(None),
        };
        if ends - BEFORE > now {
            return Ok(Some(ends - BEFORE));
        }
        let alarm = Alarm::decode(told.as_slice()).map_err(|_| Error::Unreadable(draft))?;
        self.0.fresh(&mut transaction, &crossing, (content(&alarm, &desk.city), &family)).await?;
        transaction.commit().await?;
        info!(alert.id = %draft, alarm.id = %crossing.alarm, "alert is drafted anew");
        Ok(None)
    }
}

/// The alarm of a draft, and how it was told last, while it stands at its highest level.
async fn standing(connection: &mut PgConnection, draft: AlertId) -> Result<Option<(Crossing, Vec<u8>)>, sqlx::Error> {
    let row = sqlx::query!(
        "SELECT alarm_id, crossing, station, exercise, told FROM notifications.alert_alarm JOIN notifications.high_alarm USING (alarm_id)
         WHERE alert_id = $1 ORDER BY crossing DESC LIMIT 1",
        draft.uuid()
    );
    let row = row.fetch_optional(connection).await?;
    Ok(row.map(|row| {
        let (alarm, number) = (row.alarm_id, row.crossing);
        (Crossing { alarm, number, station: row.station, exercise: row.exercise }, row.told)
    }))
}

//! Tells the city how many have a warning, while that grows: the job that counts, and the event `AlertReached`.
//!
//! Counting is put off further the older the warning is, from [`SOONEST`] to [`LATEST`], and ends once everybody has it, or after
//! [`LONGEST`], or with the warning itself. What has not changed since it was told last is not told again.
//! Locks, in this order: the row of `alert_fan_out`, `outbox_head`.

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use platform::clock::Clock;
use platform::job::{Job, JobHandler, NewJob, Outcome};
use platform::outbox::NewEvent;
use prost::Message as _;
use proto::notifications::v1::{AlertReached, WardReached};
use sqlx::{PgConnection, PgPool};
use tracing::warn;
use uuid::Uuid;

use super::AlertId;
use super::store;
use crate::SCHEMA;
use crate::error::Error;

/// The kind of job that counts a warning's reach; its key is the alert.
pub(crate) const JOB_KIND: &str = "tell-reach";
/// Warnings that one process counts at a time.
pub(crate) const WORKERS: usize = 2;
/// How soon after one count the next comes, at least.
const SOONEST: TimeDelta = TimeDelta::seconds(1);
/// And at most.
const LATEST: TimeDelta = TimeDelta::minutes(1);
/// A warning's age, in such parts, is how long the next count waits.
const PARTS: i32 = 8;
/// How long a warning is counted at most.
const LONGEST: TimeDelta = TimeDelta::hours(12);

/// Counts and tells.
#[derive(Clone, Debug)]
pub(crate) struct Teller {
    pub(crate) pool: PgPool,
    pub(crate) clock: Clock,
}

/// The job for a warning that is released now.
pub(crate) fn job(alert: AlertId, now: DateTime<Utc>) -> NewJob {
    NewJob::new(JOB_KIND, alert.to_string(), now + SOONEST)
}

#[async_trait]
impl JobHandler for Teller {
    async fn run(&self, job: &Job) -> Outcome {
        let Ok(id) = job.key.parse::<Uuid>() else { return Outcome::Dead("unreadable".to_owned()) };
        match self.tell(AlertId::from(id)).await {
            Ok(Some(next)) => Outcome::RetryAt(next, "counting".to_owned()),
            Ok(None) => Outcome::Done,
            Err(Error::Unreadable(_)) => Outcome::Dead("unreadable".to_owned()),
            Err(error) => {
                warn!(alert.id = %id, %error, "reach was not counted");
                Outcome::Retry("database".to_owned())
            }
        }
    }
}

impl Teller {
    /// Counts once, tells what changed, and says when to count again.
    ///
    /// Counts without a lock, for that takes a while and the fan-out needs the row; then locks, compares and tells. One process at a time
    /// counts a warning, by the job's lease.
    pub(crate) async fn tell(&self, id: AlertId) -> Result<Option<DateTime<Utc>>, Error> {
        let mut reading = platform::db::begin_read_only(&self.pool).await?;
        let fan_out = sqlx::query!(
            r#"SELECT recipients, ended_at IS NOT NULL AS "complete!" FROM notifications.alert_fan_out WHERE alert_id = $1"#,
            id.uuid()
        );
        let Some(fan_out) = fan_out.fetch_optional(&mut *reading).await? else { return Ok(None) };
        let alert = store::read(&mut reading, id).await?;
        let reached = AlertReached {
            alert_id: id.to_string(),
            recipients: fan_out.recipients,
            reached: reached(&mut reading, id).await?,
            complete: fan_out.complete,
            wards: wards(&mut reading, id).await?,
        };
        reading.commit().await?;
        let now = self.clock.now();
        self.tell_if_new(id, &reached, now).await?;
        let age = now - alert.released_at.unwrap_or(now);
        let everybody = reached.complete && reached.reached == reached.recipients;
        let over = alert.life.state_at(now) != super::State::Released;
        let pause = (age / PARTS).clamp(SOONEST, LATEST);
        Ok((!everybody && !over && age < LONGEST).then_some(now + pause))
    }

    async fn tell_if_new(&self, id: AlertId, reached: &AlertReached, now: DateTime<Utc>) -> Result<(), Error> {
        let told = reached.encode_to_vec();
        let mut transaction = platform::db::begin(&self.pool).await?;
        let known = sqlx::query_scalar!(
            "SELECT told FROM notifications.alert_fan_out WHERE alert_id = $1 FOR UPDATE",
            id.uuid()
        );
        if known.fetch_optional(&mut *transaction).await?.flatten().as_ref() == Some(&told) {
            return Ok(());
        }
        sqlx::query!("UPDATE notifications.alert_fan_out SET told = $2 WHERE alert_id = $1", id.uuid(), told)
            .execute(&mut *transaction)
            .await?;
        platform::outbox::append(&mut transaction, SCHEMA, now, &[NewEvent::new(id.uuid(), reached)]).await?;
        transaction.commit().await?;
        Ok(())
    }
}

/// Recipients of whom there is a receipt (see `receipt`): a phone has it, or they read it in the app.
async fn reached(connection: &mut PgConnection, alert: AlertId) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT count(DISTINCT message.recipient) AS "count!"
           FROM notifications.message LEFT JOIN notifications.inbox ON inbox.message_id = message.id
               LEFT JOIN notifications.sms_receipt AS receipt ON receipt.message_id = message.id
           WHERE message.event_id = $1
               AND (message.received_at IS NOT NULL OR inbox.read_at IS NOT NULL OR receipt.status = 'delivered')"#,
        alert.uuid()
    )
    .fetch_one(connection)
    .await
}

/// The same by ward, in order of their codes.
async fn wards(connection: &mut PgConnection, alert: AlertId) -> Result<Vec<WardReached>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"WITH reached AS (
               SELECT DISTINCT message.recipient
               FROM notifications.message LEFT JOIN notifications.inbox ON inbox.message_id = message.id
                   LEFT JOIN notifications.sms_receipt AS receipt ON receipt.message_id = message.id
               WHERE message.event_id = $1
                   AND (message.received_at IS NOT NULL OR inbox.read_at IS NOT NULL OR receipt.status = 'delivered')
           )
           SELECT ward_code, count(*) AS "recipients!", count(reached.recipient) AS "reached!"
           FROM notifications.alert_recipient LEFT JOIN reached ON reached.recipient = alert_recipient.user_id
           WHERE alert_id = $1 GROUP BY ward_code ORDER BY ward_code"#,
        alert.uuid()
    );
    let ward = |ward_code, recipients, reached| WardReached { ward_code, recipients, reached };
    Ok(rows
        .fetch_all(connection)
        .await?
        .into_iter()
        .map(|row| ward(row.ward_code, row.recipients, row.reached))
        .collect())
}

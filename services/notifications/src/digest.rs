//! News of a day as one push message, for who wants them so.
//!
//! A push message of lane `news` waits as an item of the digest instead of having a job of its own; it stands in the inbox at once, as
//! always. At the citizen's hour one job takes all items that are due, settles them as `digest` and makes one message, in one transaction.
//!
//! Invariants:
//! - The digest's message has the job's id for its event: however often the job is begun, there is one.
//! - An item is told once: its row goes with the message that tells it.
//!
//! Locks, in this order: `digest_item` (of one citizen), those of `message`.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use platform::clock::Clock;
use platform::job::{Job, JobError, JobHandler, NewJob, Outcome};
use serde_json::json;
use sqlx::{PgConnection, PgPool};
use tracing::warn;
use uuid::Uuid;

use crate::SCHEMA;
use crate::lane::{Channel, Lane};
use crate::message::{self, Draft, State, settled_event};
use crate::meter::Meter;
use crate::template;

/// The kind of job that makes digests; its key is the citizen and the time.
pub(crate) const JOB_KIND: &str = "digest";
/// Digests that one process makes at a time.
pub(crate) const WORKERS: usize = 4;
/// Items of one digest at most; more wait for the next run of the same job.
const MAX_ITEMS: i64 = 500;
/// Why an item was not sent by itself.
pub(crate) const REASON: &str = "digest";

/// Makes digests.
#[derive(Clone, Debug)]
pub(crate) struct Digester {
    pub(crate) pool: PgPool,
    pub(crate) clock: Clock,
    pub(crate) meter: Meter,
    pub(crate) zone: Tz,
}

/// Lets push messages wait for the digest: `(message, citizen, due)`.
pub(crate) async fn wait(
    connection: &mut PgConnection,
    items: &[(Uuid, Uuid, DateTime<Utc>)],
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    if items.is_empty() {
        return Ok(());
    }
    let messages: Vec<Uuid> = items.iter().map(|item| item.0).collect();
    let users: Vec<Uuid> = items.iter().map(|item| item.1).collect();
    let due: Vec<DateTime<Utc>> = items.iter().map(|item| item.2).collect();
    sqlx::query!(
        "INSERT INTO notifications.digest_item (message_id, user_id, due_at)
         SELECT message_id, user_id, due_at FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[]) AS item (message_id, user_id, due_at)",
        &messages,
        &users,
        &due
    )
    .execute(&mut *connection)
    .await?;
    let job = |(_, user, due): &(Uuid, Uuid, DateTime<Utc>)| {
        NewJob::new(JOB_KIND, format!("{user} {}", due.timestamp()), *due)
    };
    let jobs: Vec<NewJob> = items.iter().map(job).collect();
    platform::job::schedule_all(connection, SCHEMA, now, &jobs).await.map(|_| ())
}

#[async_trait]
impl JobHandler for Digester {
    async fn run(&self, job: &Job) -> Outcome {
        let user = job.key.split_once(' ').and_then(|(user, _)| user.parse::<Uuid>().ok());
        let Some(user) = user else { return Outcome::Dead("unreadable".to_owned()) };
        match self.tell(job, user).await {
            Ok(()) | Err(JobError::LeaseLost) => Outcome::Done,
            Err(error) => {
                warn!(%error, "digest was not made");
                Outcome::Retry("database".to_owned())
            }
        }
    }
}

impl Digester {
    async fn tell(&self, job: &Job, user: Uuid) -> Result<(), JobError> {
        let mut transaction = platform::db::begin(&self.pool).await?;
        let now = self.clock.now();
        let items = sqlx::query_scalar!(
            "DELETE FROM notifications.digest_item WHERE message_id IN (
                 SELECT message_id FROM notifications.digest_item WHERE user_id = $1 AND due_at <= $2
                 ORDER BY message_id LIMIT $3 FOR UPDATE)
             RETURNING message_id",
            user,
            now,
            MAX_ITEMS
        )
        .fetch_all(&mut *transaction)
        .await?;
        let settled = sqlx::query_scalar!(
            "UPDATE notifications.message SET state = $2, reason = $3, settled_at = $4
             WHERE id = ANY ($1) AND state = 'waiting' RETURNING id",
            &items,
            State::Suppressed.name(),
            REASON,
            now
        )
        .fetch_all(&mut *transaction)
        .await?;
        let mut made = Vec::new();
        if !settled.is_empty() {
            let event = |id: &Uuid| settled_event(*id, user, (Lane::News, Channel::Push, State::Suppressed));
            let events: Vec<_> = settled.iter().map(event).collect();
            platform::outbox::append(&mut transaction, SCHEMA, now, &events).await?;
            let draft = Draft {
                event_id: job.id,
                recipient: user,
                lane: Lane::News,
                channel: Channel::Push,
                template: template::DIGEST,
                parameters: json!({ "count": settled.len() }),
            };
            made = message::enqueue(&mut transaction, &[draft], (now, self.zone)).await?;
        }
        job.finish(&mut transaction).await?;
        transaction.commit().await?;
        for _ in &settled {
            self.meter.settled(Lane::News, Channel::Push, State::Suppressed);
        }
        made.iter().for_each(|each| self.meter.made(each));
        Ok(())
    }
}

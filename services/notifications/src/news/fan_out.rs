//! From a published item to a message for everybody whom it is for, in batches: as `alert::fan_out`, with less haste.
//!
//! In the app and by push, in lane `news`: what a citizen muted is not made, push messages wait for the end of quiet hours or come with the
//! digest. Nothing of it climbs.
//!
//! Invariants:
//! - A batch is one transaction with its position, whose row is locked for it: whoever dies, and however many work at it, nobody gets
//!   a message twice or is left out.
//!
//! Locks, in this order: `news`, then those of `message`.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use platform::clock::Clock;
use platform::job::{Job, JobHandler, Outcome};
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool};
use tracing::{info, warn};
use uuid::Uuid;

use super::NewsId;
use crate::lane::{Channel, Lane};
use crate::message::{self, Draft};
use crate::meter::Meter;
use crate::template;

/// The kind of job that makes the messages; its key is the item.
pub(crate) const JOB_KIND: &str = "fan-out-news";
/// Citizens in one batch.
pub(crate) const BATCH: i64 = 1_000;
/// Items that one process makes messages of at a time.
pub(crate) const WORKERS: usize = 1;

/// Makes the messages of news.
#[derive(Clone, Debug)]
pub(crate) struct FanOut {
    pub(crate) pool: PgPool,
    pub(crate) clock: Clock,
    pub(crate) meter: Meter,
    pub(crate) batch: i64,
    pub(crate) zone: chrono_tz::Tz,
}

/// What came of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// There may be more.
    More,
    /// Everybody has their messages.
    Ended,
}

#[async_trait]
impl JobHandler for FanOut {
    async fn run(&self, job: &Job) -> Outcome {
        let Ok(id) = job.key.parse::<NewsId>() else { return Outcome::Dead("unreadable".to_owned()) };
        loop {
            match self.next_batch(id).await {
                Ok(Progress::More) => {}
                Ok(Progress::Ended) => return Outcome::Done,
                Err(error) => {
                    warn!(news.id = %id, %error, "news were not fanned out");
                    return Outcome::Retry("database".to_owned());
                }
            }
        }
    }
}

impl FanOut {
    /// Makes the messages of the next citizens.
    pub(crate) async fn next_batch(&self, news: NewsId) -> Result<Progress, sqlx::Error> {
        let mut transaction = platform::db::begin(&self.pool).await?;
        let now = self.clock.now();
        let row = sqlx::query!(
            "SELECT title, text, wards, position FROM notifications.news WHERE id = $1 AND ended_at IS NULL FOR UPDATE",
            news.uuid()
        );
        let Some(row) = row.fetch_optional(&mut *transaction).await? else { return Ok(Progress::Ended) };
        let users = match &row.wards {
            Some(wards) => of_wards(&mut transaction, wards, (row.position, self.batch)).await?,
            None => everybody(&mut transaction, (row.position, self.batch)).await?,
        };
        let Some(last) = users.last().copied() else {
            let recipients = end(&mut transaction, news, now).await?;
            transaction.commit().await?;
            info!(news.id = %news, recipients, "news are fanned out");
            return Ok(Progress::Ended);
        };
        save(&mut transaction, news, last, users.len()).await?;
        let parameters = json!({ "news_id": news, "title": row.title, "text": row.text });
        let drafts: Vec<Draft> = users.iter().flat_map(|user| drafts(news, *user, &parameters)).collect();
        let made = message::enqueue(&mut transaction, &drafts, (now, self.zone)).await?;
        transaction.commit().await?;
        made.iter().for_each(|each| self.meter.made(each));
        Ok(Progress::More)
    }
}

fn drafts(news: NewsId, recipient: Uuid, parameters: &Value) -> [Draft; 2] {
    [Channel::InApp, Channel::Push].map(|channel| Draft {
        event_id: news.uuid(),
        recipient,
        lane: Lane::News,
        channel,
        template: template::NEWS,
        parameters: parameters.clone(),
    })
}

async fn everybody(connection: &mut PgConnection, (after, limit): (Uuid, i64)) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        "SELECT user_id FROM notifications.citizen WHERE user_id > $1 ORDER BY user_id LIMIT $2",
        after,
        limit
    )
    .fetch_all(connection)
    .await
}

async fn of_wards(
    connection: &mut PgConnection,
    wards: &[String],
    (after, limit): (Uuid, i64),
) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        "SELECT DISTINCT user_id FROM notifications.ward_choice WHERE ward_code = ANY ($1) AND user_id > $2 ORDER BY user_id LIMIT $3",
        wards,
        after,
        limit
    )
    .fetch_all(connection)
    .await
}

async fn save(
    connection: &mut PgConnection,
    news: NewsId,
    position: Uuid,
    recipients: usize,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE notifications.news SET position = $2, recipients = recipients + $3 WHERE id = $1",
        news.uuid(),
        position,
        i64::try_from(recipients).unwrap_or(i64::MAX)
    )
    .execute(connection)
    .await
    .map(|_| ())
}

async fn end(connection: &mut PgConnection, news: NewsId, now: DateTime<Utc>) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        "UPDATE notifications.news SET ended_at = $2 WHERE id = $1 RETURNING recipients",
        news.uuid(),
        now
    )
    .fetch_one(connection)
    .await
}

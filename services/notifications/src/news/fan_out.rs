//! From a published item to a message for everybody whom it is for: as `alert::fan_out`, with less haste.
//!
//! In the app and by push, in lane `news`: what a citizen muted is not made, push messages wait for the end of quiet hours or come with the
//! digest. Nothing of it climbs.
//!
//! Locks, in this order: `news`, then those of `message`.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::PgConnection;
use tracing::info;
use uuid::Uuid;

use super::NewsId;
use crate::error::Error;
use crate::fan_out::{Batches, FanOut, Progress};
use crate::lane::{Channel, Lane};
use crate::message::{self, Draft};
use crate::template;

/// The kind of job that makes the messages; its key is the item.
pub(crate) const JOB_KIND: &str = "fan-out-news";

/// Makes the messages of news.
#[derive(Clone, Debug)]
pub(crate) struct NewsFanOut(pub(crate) Batches);

#[async_trait]
impl FanOut for NewsFanOut {
    const JOB_KIND: &'static str = JOB_KIND;
    const WORKERS: usize = 1;
    type Id = NewsId;

    async fn next_batch(&self, news: NewsId) -> Result<Progress, Error> {
        let Batches { pool, clock, meter, zone, size } = &self.0;
        let mut transaction = platform::db::begin(pool).await?;
        let now = clock.now();
        let row = sqlx::query!(
            "SELECT title, text, wards, position FROM notifications.news WHERE id = $1 AND ended_at IS NULL FOR UPDATE",
            news.uuid()
        );
        let Some(row) = row.fetch_optional(&mut *transaction).await? else { return Ok(Progress::Ended) };
        let users = match &row.wards {
            Some(wards) => of_wards(&mut transaction, wards, (row.position, *size)).await?,
            None => everybody(&mut transaction, (row.position, *size)).await?,
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
        let made = message::enqueue(&mut transaction, &drafts, (now, *zone)).await?;
        transaction.commit().await?;
        made.iter().for_each(|each| meter.made(each));
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

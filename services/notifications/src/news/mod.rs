//! News of the city: an officer publishes them for everybody or for wards, and they go out in lane `news`, where each citizen's wishes count.
//!
//! `fan_out.rs` makes the messages in batches; here an item is checked, put on record and stored.
//!
//! Invariants:
//! - What was published never changes, and nobody publishes without a record in identity's audit.
//! - No more than [`MAX_PER_DAY`] items are published in 24 hours, however many officers ask at once.
//!
//! Locks, in this order: idempotency key, the turn of all who publish, `news`, `job`. Identity is asked for the record while the turn is held.

pub(crate) mod fan_out;

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use platform::clock::Clock;
use platform::job::NewJob;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::SCHEMA;
use crate::alert::Bilingual;
use crate::city::City;
use crate::error::Error;
use crate::grpc::Identity;

platform::typed_id! {
    /// One item of news; also the event that causes its messages.
    pub(crate) struct NewsId;
}

/// Characters of a title at most: it is the first line of a push message.
pub(crate) const MAX_TITLE: usize = 100;
/// Characters of a text at most: with its title it fits in a push message.
pub(crate) const MAX_TEXT: usize = 700;
/// Items that are published in [`DAY`] at most.
pub(crate) const MAX_PER_DAY: i64 = 10;
/// The time in which they are counted.
const DAY: TimeDelta = TimeDelta::hours(24);
/// What the audit calls it.
const ACTION: &str = "news.publish";

/// Where officers publish. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Desk {
    pub(crate) clock: Clock,
    pub(crate) city: Arc<City>,
    pub(crate) identity: Identity,
}

/// What an officer wants to publish.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) title: Bilingual,
    pub(crate) text: Bilingual,
    /// For whom: who chose one of these wards; everybody when absent.
    pub(crate) wards: Option<Vec<String>>,
}

/// An item that was published.
#[derive(Clone, Debug)]
pub(crate) struct News {
    pub(crate) id: NewsId,
    pub(crate) title: Bilingual,
    pub(crate) text: Bilingual,
    pub(crate) wards: Option<Vec<String>>,
    pub(crate) published_by: Uuid,
    pub(crate) published_at: DateTime<Utc>,
    /// Citizens whose messages are made.
    pub(crate) recipients: i64,
    /// Whether all of them are.
    pub(crate) complete: bool,
}

/// Who publishes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Officer {
    pub(crate) user: Uuid,
    pub(crate) session: Uuid,
}

impl Desk {
    /// Puts an item on record and stores it; a job sends it. Call it in a transaction, under the request's key.
    ///
    /// # Errors
    /// When its texts or wards are not valid, there are enough for a day, or it can't be put on record.
    pub(crate) async fn publish(
        &self,
        connection: &mut PgConnection,
        officer: Officer,
        wanted: Wanted,
    ) -> Result<News, Error> {
        wanted.title.check("title", MAX_TITLE)?;
        wanted.text.check("text", MAX_TEXT)?;
        if let Some(wards) = &wanted.wards {
            self.city.check_wards(wards, self.city.wards.len())?;
        }
        let now = self.clock.now();
        take_turn(connection, now).await?;
        let id = NewsId::generate();
        self.identity.record((officer.user, officer.session), (ACTION, format!("news {id}"))).await?;
        let Wanted { title, text, wards } = wanted;
        let (published_by, published_at) = (officer.user, now);
        let news = News { id, title, text, wards, published_by, published_at, recipients: 0, complete: false };
        insert(connection, &news).await?;
        platform::job::schedule(connection, SCHEMA, now, NewJob::new(fan_out::JOB_KIND, id.to_string(), now)).await?;
        Ok(news)
    }
}

/// One after the other, so that nobody publishes one too many.
async fn take_turn(connection: &mut PgConnection, now: DateTime<Utc>) -> Result<(), Error> {
    sqlx::query!("SELECT pg_advisory_xact_lock(hashtextextended('notifications.news', 0))")
        .execute(&mut *connection)
        .await?;
    let lately = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM notifications.news WHERE published_at > $1"#,
        now - DAY
    );
    if lately.fetch_one(connection).await? >= MAX_PER_DAY { Err(Error::NewsTooMany) } else { Ok(()) }
}

async fn insert(connection: &mut PgConnection, news: &News) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO notifications.news (id, title, text, wards, published_by, published_at, position, recipients)
         VALUES ($1, $2, $3, $4, $5, $6, $7, 0)",
        news.id.uuid(),
        json(&news.title),
        json(&news.text),
        news.wards.as_deref(),
        news.published_by,
        news.published_at,
        Uuid::nil()
    )
    .execute(connection)
    .await
    .map(|_| ())
}

fn json(text: &Bilingual) -> serde_json::Value {
    serde_json::to_value(text).expect("two texts serialise")
}

/// What was published, the newest first, at most `limit`.
pub(crate) async fn list(pool: &PgPool, before: Option<NewsId>, limit: i64) -> Result<Vec<News>, Error> {
    let rows = sqlx::query!(
        r#"SELECT id AS "id: NewsId", title, text, wards, published_by, published_at, recipients, ended_at IS NOT NULL AS "complete!"
           FROM notifications.news WHERE $1::uuid IS NULL OR id < $1 ORDER BY id DESC LIMIT $2"#,
        before.map(NewsId::uuid),
        limit
    );
    let read = |row: serde_json::Value, id: NewsId| serde_json::from_value(row).map_err(|_| Error::NewsUnreadable(id));
    let news = rows.fetch_all(pool).await?.into_iter().map(|row| {
        Ok(News {
            id: row.id,
            title: read(row.title, row.id)?,
            text: read(row.text, row.id)?,
            wards: row.wards,
            published_by: row.published_by,
            published_at: row.published_at,
            recipients: row.recipients,
            complete: row.complete,
        })
    });
    news.collect()
}

/// Keeps who has an account, and nobody who was erased. The ids are in order, so that two who keep the same never wait for each other
/// in a circle.
pub(crate) async fn keep_citizens(
    connection: &mut PgConnection,
    users: &std::collections::BTreeSet<Uuid>,
) -> Result<(), sqlx::Error> {
    if users.is_empty() {
        return Ok(());
    }
    let users: Vec<Uuid> = users.iter().copied().collect();
    sqlx::query!(
        "INSERT INTO notifications.citizen (user_id) SELECT user_id FROM unnest($1::uuid[]) AS one (user_id)
         ON CONFLICT ON CONSTRAINT citizen_pk DO NOTHING",
        &users
    )
    .execute(&mut *connection)
    .await?;
    // After an erasure that it waited for; one that begins now waits for this.
    sqlx::query!(
        "DELETE FROM notifications.citizen WHERE user_id = ANY ($1)
             AND EXISTS (SELECT FROM notifications.person_key WHERE person = user_id AND key IS NULL)",
        &users
    )
    .execute(connection)
    .await
    .map(|_| ())
}

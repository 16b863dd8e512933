//! The inbox of the app: in-app messages of a citizen, in order of arrival, and the wake-up of their streams.
//!
//! Invariant: a citizen's sequence has no gap and grows in the order of commits, because it is given under the lock of
//! the citizen's `inbox_head` row; whoever has read up to a sequence has missed nothing below it.

mod hub;

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use platform::http::Language;
use platform::page::Page;
use serde_json::Value;
use sqlx::{PgConnection, PgPool};
use tracing::error;
use uuid::Uuid;

#[cfg(test)]
pub(crate) use hub::MAX_STREAMS_PER_USER;
pub(crate) use hub::{Hub, Subscription};

use crate::error::Error;
use crate::lane::Lane;
use crate::template::{Template, TemplateError, Text};

/// The `NOTIFY` channel that tells which citizens have something new.
const WAKE_CHANNEL: &str = "notifications_inbox";
/// Citizens in one notification; its payload is bounded by PostgreSQL to 8,000 bytes.
const WAKE_BATCH: usize = 200;

/// Puts messages at the end of inboxes: pairs of citizen and message, in order.
pub(crate) async fn insert(connection: &mut PgConnection, arrivals: &[(Uuid, Uuid)]) -> Result<(), sqlx::Error> {
    if arrivals.is_empty() {
        return Ok(());
    }
    let (users, messages): (Vec<Uuid>, Vec<Uuid>) = arrivals.iter().copied().unzip();
    // The heads are locked in the order of their ids, so that two transactions never wait for each other.
    sqlx::query!(
        "WITH arrival AS (
             SELECT user_id, message_id, ordinal,
                    row_number() OVER (PARTITION BY user_id ORDER BY ordinal) AS place,
                    count(*) OVER (PARTITION BY user_id) AS total
             FROM unnest($1::uuid[], $2::uuid[]) WITH ORDINALITY AS arrival (user_id, message_id, ordinal)
         ), head AS (
             INSERT INTO notifications.inbox_head (user_id, sequence)
             SELECT user_id, count(*) FROM arrival GROUP BY user_id ORDER BY user_id
             ON CONFLICT ON CONSTRAINT inbox_head_pk DO UPDATE SET sequence = inbox_head.sequence + excluded.sequence
             RETURNING user_id, sequence
         )
         INSERT INTO notifications.inbox (user_id, sequence, message_id)
         SELECT arrival.user_id, head.sequence - arrival.total + arrival.place, arrival.message_id
         FROM arrival JOIN head ON head.user_id = arrival.user_id",
        &users,
        &messages
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Wakes the streams of these citizens when the transaction commits.
pub(crate) async fn announce(connection: &mut PgConnection, users: &BTreeSet<Uuid>) -> Result<(), sqlx::Error> {
    let users: Vec<String> = users.iter().map(|user| user.simple().to_string()).collect();
    for batch in users.chunks(WAKE_BATCH) {
        sqlx::query!("SELECT pg_notify($1, $2)", WAKE_CHANNEL, batch.join(",")).execute(&mut *connection).await?;
    }
    Ok(())
}

/// One in-app message.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Item {
    pub(crate) id: Uuid,
    pub(crate) sequence: i64,
    pub(crate) lane: Lane,
    pub(crate) kind: &'static str,
    pub(crate) text: Text,
    pub(crate) parameters: Value,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) read_at: Option<DateTime<Utc>>,
}

struct Row {
    id: Uuid,
    sequence: i64,
    lane: String,
    template: String,
    parameters: Value,
    created_at: DateTime<Utc>,
    read_at: Option<DateTime<Utc>>,
}

impl Row {
    fn item(self, language: Language) -> Result<Item, TemplateError> {
        let template = Template::find(&self.template)?;
        Ok(Item {
            id: self.id,
            sequence: self.sequence,
            lane: Lane::from_name(&self.lane).unwrap_or(Lane::Service),
            kind: template.kind(),
            text: template.text(language, &self.parameters)?,
            parameters: self.parameters,
            created_at: self.created_at,
            read_at: self.read_at,
        })
    }
}

/// Texts of `rows`; one that can't be made is left out and logged, so that it does not hide the others.
fn items(rows: Vec<Row>, language: Language) -> Vec<Item> {
    let item = |row: Row| {
        let id = row.id;
        row.item(language).inspect_err(|error| error!(message.id = %id, %error, "message has no text")).ok()
    };
    rows.into_iter().filter_map(item).collect()
}

/// Up to `limit` messages before a sequence (`None`: the newest), newest first.
pub(crate) async fn page(
    pool: &PgPool,
    user: Uuid,
    before: Option<i64>,
    limit: i64,
    language: Language,
) -> Result<Page<Item>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT message.id, inbox.sequence, message.lane, message.template, message.parameters, message.created_at,
                inbox.read_at
         FROM notifications.inbox JOIN notifications.message ON message.id = inbox.message_id
         WHERE inbox.user_id = $1 AND inbox.sequence < $2 ORDER BY inbox.sequence DESC LIMIT $3::bigint + 1",
        user,
        before.unwrap_or(i64::MAX),
        limit
    )
    .fetch_all(pool)
    .await?;
    let page = Page::from_rows(rows, limit, |row| row.sequence);
    Ok(Page { items: items(page.items, language), next_cursor: page.next_cursor })
}

/// Up to `limit` messages after a sequence, oldest first; and the last sequence that was read.
pub(crate) async fn after(
    pool: &PgPool,
    user: Uuid,
    sequence: i64,
    limit: i64,
    language: Language,
) -> Result<(Vec<Item>, i64), sqlx::Error> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT message.id, inbox.sequence, message.lane, message.template, message.parameters, message.created_at,
                inbox.read_at
         FROM notifications.inbox JOIN notifications.message ON message.id = inbox.message_id
         WHERE inbox.user_id = $1 AND inbox.sequence > $2 ORDER BY inbox.sequence LIMIT $3",
        user,
        sequence,
        limit
    )
    .fetch_all(pool)
    .await?;
    let last = rows.last().map_or(sequence, |row| row.sequence);
    Ok((items(rows, language), last))
}

/// The sequence of a citizen's newest message; 0 when there is none.
pub(crate) async fn head(pool: &PgPool, user: Uuid) -> Result<i64, sqlx::Error> {
    let head = sqlx::query_scalar!("SELECT sequence FROM notifications.inbox_head WHERE user_id = $1", user);
    Ok(head.fetch_optional(pool).await?.unwrap_or(0))
}

/// Marks a message as read, once; gives when that was.
///
/// # Errors
/// [`Error::NotFound`] when it is not in this citizen's inbox.
pub(crate) async fn mark_read(
    pool: &PgPool,
    user: Uuid,
    message: Uuid,
    now: DateTime<Utc>,
) -> Result<DateTime<Utc>, Error> {
    let read_at = sqlx::query_scalar!(
        r#"UPDATE notifications.inbox SET read_at = coalesce(read_at, $3)
           WHERE message_id = $2 AND user_id = $1 RETURNING read_at AS "read_at!""#,
        user,
        message,
        now
    );
    read_at.fetch_optional(pool).await?.ok_or(Error::NotFound)
}

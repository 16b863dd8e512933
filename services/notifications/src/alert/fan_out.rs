//! From a released alert to a message for everybody it concerns, in batches.
//!
//! | a batch of [`crate::fan_out::BATCH`] citizens | round trips |
//! | --- | --- |
//! | lock the position, read who is next | 2 |
//! | save the position | 1 |
//! | the messages (see `message`) | 7 |
//! | who was warned on account of which ward | 1 |
//!
//! Everybody who chose one of its wards, and everybody who got the alert that it replaces or ends, in order of their ids:
//! in the app; by push to those who have a device; by text message to those who have none, if the danger is extreme.
//! The first batch's messages leave while the next is made.
//!
//! Invariant, beside those of every fan-out:
//! - The alert's row is share-locked for the batch, and whoever ends an alert locks it: once it is updated or cancelled,
//!   no batch of it begins, and none is open. So nobody reads a warning after its end.
//!
//! Locks, in this order: `alert_fan_out`, `alert` (shared), then those of `message`.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::PgConnection;
use tracing::info;
use uuid::Uuid;

use super::{AlertId, Content, Kind, Severity, State, Status};
use crate::error::Error;
use crate::fan_out::{Batches, FanOut, Progress};
use crate::lane::{Channel, Lane};
use crate::message::{self, Draft};
use crate::template::{self, Template};

/// The kind of job that fans an alert out; its key is the alert.
pub(crate) const JOB_KIND: &str = "fan-out-alert";

/// Makes the messages of alerts.
#[derive(Clone, Debug)]
pub(crate) struct AlertFanOut(pub(crate) Batches);

/// An alert while it is fanned out.
struct Open {
    id: AlertId,
    position: Uuid,
    kind: Kind,
    supersedes: Option<Uuid>,
    content: Content,
    parameters: Value,
}

/// A citizen whom an alert concerns.
struct Recipient {
    user_id: Uuid,
    has_device: bool,
    wards: Vec<String>,
}

/// Begins the fan-out of an alert, in the transaction that releases it.
pub(crate) async fn begin(connection: &mut PgConnection, alert: AlertId) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO notifications.alert_fan_out (alert_id, position, recipients) VALUES ($1, $2, 0)",
        alert.uuid(),
        Uuid::nil()
    )
    .execute(connection)
    .await
    .map(|_| ())
}

#[async_trait]
impl FanOut for AlertFanOut {
    const JOB_KIND: &'static str = JOB_KIND;
    const WORKERS: usize = 4;
    type Id = AlertId;

    async fn next_batch(&self, alert: AlertId) -> Result<Progress, Error> {
        let Batches { pool, clock, meter, zone, size } = &self.0;
        let mut transaction = platform::db::begin(pool).await?;
        let now = clock.now();
        let Some(open) = lock(&mut transaction, alert, now).await? else {
            transaction.commit().await?;
            return Ok(Progress::Ended);
        };
        let recipients = open.next(&mut transaction, *size).await?;
        let Some(last) = recipients.last() else {
            let total = end(&mut transaction, alert, now).await?;
            transaction.commit().await?;
            info!(alert.id = %alert, recipients = total, "alert is fanned out");
            return Ok(Progress::Ended);
        };
        save(&mut transaction, alert, last.user_id, recipients.len()).await?;
        let drafts: Vec<Draft> = recipients.iter().flat_map(|recipient| open.drafts(recipient)).collect();
        let made = message::enqueue(&mut transaction, &drafts, (now, *zone)).await?;
        // Behind the messages, which hold those whom they are for.
        open.remember(&mut transaction, &recipients).await?;
        transaction.commit().await?;
        made.iter().for_each(|each| meter.made(each));
        meter.warned(open.content.severity, recipients.len());
        Ok(Progress::More)
    }
}

/// Locks the position of an alert and its state; `None` when there is nothing (more) to do, and an alert that is not in
/// force any more ends here.
async fn lock(connection: &mut PgConnection, alert: AlertId, now: DateTime<Utc>) -> Result<Option<Open>, Error> {
    let position = sqlx::query_scalar!(
        "SELECT position FROM notifications.alert_fan_out WHERE alert_id = $1 AND ended_at IS NULL FOR UPDATE",
        alert.uuid()
    );
    let Some(position) = position.fetch_optional(&mut *connection).await? else { return Ok(None) };
    let row = sqlx::query!(
        "SELECT identifier, kind, supersedes, content FROM notifications.alert
         WHERE id = $1 AND state = $2 AND expires_at > $3 FOR SHARE",
        alert.uuid(),
        State::Released.name(),
        now
    );
    let Some(row) = row.fetch_optional(&mut *connection).await? else {
        end(connection, alert, now).await?;
        return Ok(None);
    };
    let content: Content = serde_json::from_value(row.content).map_err(|_| Error::Unreadable(alert))?;
    let parameters = parameters_of(alert, &row.identifier, &content);
    let kind = Kind::from_name(&row.kind).ok_or(Error::Unreadable(alert))?;
    Ok(Some(Open { id: alert, position, kind, supersedes: row.supersedes, content, parameters }))
}

/// What fills the templates of a warning.
pub(super) fn parameters_of(alert: AlertId, identifier: &str, content: &Content) -> Value {
    json!({
        "alert_id": alert,
        "identifier": identifier,
        "exercise": content.status == Status::Exercise,
        "severity": content.severity,
        "headline": content.headline,
        "text": content.instruction,
    })
}

impl Open {
    async fn next(&self, connection: &mut PgConnection, limit: i64) -> Result<Vec<Recipient>, sqlx::Error> {
        sqlx::query_as!(
            Recipient,
            r#"WITH next AS (
                   (SELECT DISTINCT user_id FROM notifications.ward_choice
                    WHERE ward_code = ANY ($1) AND user_id > $2 ORDER BY user_id LIMIT $4)
                   UNION
                   (SELECT DISTINCT user_id FROM notifications.alert_recipient
                    WHERE alert_id = $3 AND user_id > $2 ORDER BY user_id LIMIT $4)
                   ORDER BY user_id LIMIT $4
               )
               SELECT next.user_id AS "user_id!",
                      EXISTS (SELECT FROM notifications.device WHERE device.user_id = next.user_id) AS "has_device!",
                      ARRAY(SELECT ward_code FROM notifications.ward_choice
                            WHERE ward_choice.user_id = next.user_id AND ward_code = ANY ($1)
                            UNION
                            SELECT ward_code FROM notifications.alert_recipient
                            WHERE alert_id = $3 AND alert_recipient.user_id = next.user_id) AS "wards!"
               FROM next ORDER BY next.user_id"#,
            &self.content.wards,
            self.position,
            self.supersedes,
            limit
        )
        .fetch_all(connection)
        .await
    }

    /// Keeps who was warned on account of which wards; nobody who was erased.
    async fn remember(&self, connection: &mut PgConnection, recipients: &[Recipient]) -> Result<(), sqlx::Error> {
        let pairs = recipients.iter().flat_map(|one| one.wards.iter().map(|ward| (one.user_id, ward.as_str())));
        let (users, wards): (Vec<Uuid>, Vec<&str>) = pairs.unzip();
        sqlx::query!(
            "INSERT INTO notifications.alert_recipient (alert_id, user_id, ward_code)
             SELECT $1, user_id, ward_code FROM unnest($2::uuid[], $3::text[]) AS warned (user_id, ward_code)
             WHERE NOT EXISTS (SELECT FROM notifications.person_key WHERE person = warned.user_id AND key IS NULL)",
            self.id.uuid(),
            &users,
            &wards as &[&str]
        )
        .execute(connection)
        .await
        .map(|_| ())
    }

    fn drafts(&self, recipient: &Recipient) -> Vec<Draft> {
        let draft = |channel| Draft {
            event_id: self.id.uuid(),
            recipient: recipient.user_id,
            lane: Lane::Emergency,
            channel,
            template: template_of(self.kind),
            parameters: self.parameters.clone(),
        };
        let second = match (recipient.has_device, self.content.severity) {
            (true, _) => Some(Channel::Push),
            (false, Severity::Extreme) => Some(Channel::Sms),
            (false, _) => None,
        };
        [Some(Channel::InApp), second].into_iter().flatten().map(draft).collect()
    }
}

/// The template of a kind of message.
pub(super) fn template_of(kind: Kind) -> Template {
    match kind {
        Kind::Alert => template::ALERT_RELEASED,
        Kind::Update => template::ALERT_UPDATED,
        Kind::Cancel => template::ALERT_CANCELLED,
    }
}

async fn save(
    connection: &mut PgConnection,
    alert: AlertId,
    position: Uuid,
    recipients: usize,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE notifications.alert_fan_out SET position = $2, recipients = recipients + $3 WHERE alert_id = $1",
        alert.uuid(),
        position,
        i64::try_from(recipients).unwrap_or(i64::MAX)
    )
    .execute(connection)
    .await
    .map(|_| ())
}

async fn end(connection: &mut PgConnection, alert: AlertId, now: DateTime<Utc>) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        "UPDATE notifications.alert_fan_out SET ended_at = $2 WHERE alert_id = $1 RETURNING recipients",
        alert.uuid(),
        now
    )
    .fetch_one(connection)
    .await
}

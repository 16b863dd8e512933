//! How many have an alert, by ward and channel, counted when it is asked for.
//!
//! A citizen of two wards of the alert counts in both, and once in the total. Figures are complete once the fan-out has
//! ended, and go with the messages when those are removed.

use std::collections::BTreeMap;

use serde::Serialize;
use sqlx::{PgConnection, PgPool};
use utoipa::ToSchema;

use super::{AlertId, Bilingual};
use crate::city::City;
use crate::error::Error;
use crate::lane::Channel;

/// Messages of one channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Deliveries {
    /// Made for it, whatever became of them.
    pub(crate) queued: i64,
    /// Taken by a gateway, or lying in the inbox, with no word yet of whether anybody has them.
    pub(crate) unconfirmed: i64,
    /// With a receipt: the text message came to a phone, an app confirmed it, or it was opened.
    pub(crate) delivered: i64,
    /// Given up or not to be sent.
    pub(crate) failed: i64,
}

/// Messages by channel: `in-app`, `push`, `sms`.
pub(crate) type ByChannel = BTreeMap<&'static str, Deliveries>;

/// The figures of one ward.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct WardReach {
    /// Its code.
    pub(crate) code: String,
    /// Its name.
    pub(crate) name: Bilingual,
    /// Citizens who were warned on its account.
    pub(crate) recipients: i64,
    /// Their messages by channel: `in-app`, `push`, `sms`.
    #[schema(value_type = std::collections::BTreeMap<String, Deliveries>)]
    pub(crate) channels: ByChannel,
}

/// How far an alert has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Reach {
    /// Citizens who were warned.
    pub(crate) recipients: i64,
    /// Whether everybody it concerns has been counted in.
    pub(crate) complete: bool,
    /// All messages by channel: `in-app`, `push`, `sms`.
    #[schema(value_type = std::collections::BTreeMap<String, Deliveries>)]
    pub(crate) channels: ByChannel,
    /// By ward; wards without a recipient too.
    pub(crate) wards: Vec<WardReach>,
}

impl Deliveries {
    fn add(&mut self, state: &str, count: i64) {
        self.queued += count;
        match state {
            "unconfirmed" => self.unconfirmed += count,
            "delivered" => self.delivered += count,
            "failed" | "suppressed" => self.failed += count,
            _ => {}
        }
    }
}

/// Counts an alert's recipients and messages, all at one moment.
///
/// # Errors
/// [`Error::NotFound`] when it was not released.
pub(crate) async fn count(pool: &PgPool, alert: AlertId, city: &City) -> Result<Reach, Error> {
    let mut transaction = platform::db::begin_read_only(pool).await?;
    let row = sqlx::query!(
        r#"SELECT recipients, ended_at IS NOT NULL AS "complete!" FROM notifications.alert_fan_out WHERE alert_id = $1"#,
        alert.uuid()
    );
    let row = row.fetch_optional(&mut *transaction).await?.ok_or(Error::NotFound)?;
    let concerned = super::store::read(&mut transaction, alert).await?.content.wards;
    let channels = total(&mut transaction, alert).await?;
    let mut wards: BTreeMap<String, (i64, ByChannel)> =
        concerned.into_iter().map(|code| (code, (0, none_yet()))).collect();
    for (code, recipients) in recipients(&mut transaction, alert).await? {
        wards.entry(code).or_insert_with(|| (0, none_yet())).0 = recipients;
    }
    count_wards(&mut transaction, alert, &mut wards).await?;
    let ward = |(code, (recipients, channels)): (String, (i64, ByChannel))| {
        let unnamed = || Bilingual { vi: code.clone(), en: code.clone() };
        let name = city.wards.get(&code).cloned().unwrap_or_else(unnamed);
        WardReach { code, name, recipients, channels }
    };
    let wards = wards.into_iter().map(ward).collect();
    Ok(Reach { recipients: row.recipients, complete: row.complete, channels, wards })
}

fn none_yet() -> ByChannel {
    Channel::ALL.into_iter().map(|channel| (channel.name(), Deliveries::default())).collect()
}

fn add(tallies: &mut ByChannel, channel: &str, state: &str, count: i64) {
    if let Some(channel) = Channel::from_name(channel) {
        tallies.entry(channel.name()).or_default().add(state, count);
    }
}

async fn total(connection: &mut PgConnection, alert: AlertId) -> Result<ByChannel, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT channel, CASE WHEN message.received_at IS NOT NULL OR inbox.read_at IS NOT NULL OR receipt.status = 'delivered' THEN 'delivered'
                       WHEN receipt.status = 'undelivered' THEN 'failed'
                       WHEN message.state = 'delivered' THEN 'unconfirmed' ELSE message.state END AS "state!", count(*) AS "count!"
           FROM notifications.message LEFT JOIN notifications.inbox ON inbox.message_id = message.id
               LEFT JOIN notifications.sms_receipt AS receipt ON receipt.message_id = message.id
           WHERE event_id = $1 GROUP BY 1, 2"#,
        alert.uuid()
    );
    let mut tallies = none_yet();
    for row in rows.fetch_all(connection).await? {
        add(&mut tallies, &row.channel, &row.state, row.count);
    }
    Ok(tallies)
}

async fn recipients(connection: &mut PgConnection, alert: AlertId) -> Result<Vec<(String, i64)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT ward_code, count(*) AS "count!" FROM notifications.alert_recipient WHERE alert_id = $1
           GROUP BY ward_code"#,
        alert.uuid()
    );
    Ok(rows.fetch_all(connection).await?.into_iter().map(|row| (row.ward_code, row.count)).collect())
}

async fn count_wards(
    connection: &mut PgConnection,
    alert: AlertId,
    wards: &mut BTreeMap<String, (i64, ByChannel)>,
) -> Result<(), sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT alert_recipient.ward_code, message.channel,
                  CASE WHEN message.received_at IS NOT NULL OR inbox.read_at IS NOT NULL OR receipt.status = 'delivered' THEN 'delivered'
                       WHEN receipt.status = 'undelivered' THEN 'failed'
                       WHEN message.state = 'delivered' THEN 'unconfirmed' ELSE message.state END AS "state!", count(*) AS "count!"
           FROM notifications.alert_recipient JOIN notifications.message
               ON message.event_id = alert_recipient.alert_id AND message.recipient = alert_recipient.user_id
               LEFT JOIN notifications.inbox ON inbox.message_id = message.id
               LEFT JOIN notifications.sms_receipt AS receipt ON receipt.message_id = message.id
           WHERE alert_recipient.alert_id = $1
           GROUP BY 1, 2, 3"#,
        alert.uuid()
    );
    for row in rows.fetch_all(connection).await? {
        if let Some((_, tallies)) = wards.get_mut(&row.ward_code) {
            add(tallies, &row.channel, &row.state, row.count);
        }
    }
    Ok(())
}

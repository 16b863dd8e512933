//! Receipts: what proves that somebody has a message.
//!
//! A message is `delivered` when its gateway took it, or when it lies in the inbox: that says nothing of a phone that is switched off.
//! A receipt does: the gateway's word that a text message came to a phone, an app's word that it has a message, and that it was opened.
//! A warning reaches by receipts alone (`alert::tell`, `alert::reach`), and climbs where there is none (`alert::climb`).
//!
//! Invariants:
//! - Receipts may come twice, late and in any order: the newest word of the gateway stands, and once a phone has a message it has it.
//! - A gateway's receipt is believed only when it is signed with the gateway's secret, within minutes; an app's, by the citizen's token.

use chrono::{DateTime, Utc};
use platform::config::Secret;
use sqlx::{PgConnection, PgPool};
use url::Url;
use uuid::Uuid;

use crate::error::Error;

/// Where gateways send receipts.
pub(crate) const PATH: &str = "/notifications/v1/sms-receipts";

/// How receipts come here.
#[derive(Clone, Debug)]
pub(crate) struct Receipts {
    /// What they are signed with.
    pub(crate) secret: Secret,
    /// What gateways are told to call.
    pub(crate) url: Url,
}

/// What a phone has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It has the message.
    Delivered,
    /// It does not, and will not.
    Undelivered,
}

impl Fate {
    /// What a gateway's word means; nothing while the message is on its way.
    pub(crate) fn of(word: &str) -> Option<Self> {
        match word {
            "delivered" => Some(Self::Delivered),
            "undelivered" | "failed" | "rejected" | "expired" => Some(Self::Undelivered),
            _ => None,
        }
    }

    /// The name in SQL and metrics.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Undelivered => "undelivered",
        }
    }
}

/// Keeps what a gateway said of a message, unless it had said something better; tells whether it is news.
///
/// # Errors
/// [`Error::NotFound`] when there is no such text message, or not any more.
pub(crate) async fn keep(
    connection: &mut PgConnection,
    (message, fate): (Uuid, Fate),
    (reported_at, now): (DateTime<Utc>, DateTime<Utc>),
) -> Result<bool, Error> {
    let kept = sqlx::query!(
        "INSERT INTO notifications.sms_receipt (message_id, status, reported_at, received_at)
         SELECT id, $2, $3, $4 FROM notifications.message WHERE id = $1 AND channel = 'sms'
         ON CONFLICT ON CONSTRAINT sms_receipt_pk DO UPDATE
         SET status = excluded.status, reported_at = excluded.reported_at, received_at = excluded.received_at
         WHERE sms_receipt.status <> 'delivered' AND (excluded.status = 'delivered' OR excluded.reported_at > sms_receipt.reported_at)",
        message,
        fate.name(),
        reported_at.min(now),
        now
    )
    .execute(&mut *connection)
    .await?;
    if kept.rows_affected() == 1 {
        return Ok(true);
    }
    let known = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM notifications.sms_receipt WHERE message_id = $1) AS "known!""#,
        message
    );
    if known.fetch_one(connection).await? { Ok(false) } else { Err(Error::NotFound) }
}

/// Keeps that an app of a citizen has a message, once; gives since when.
///
/// # Errors
/// [`Error::NotFound`] when there is no such message of this citizen that goes to an app.
pub(crate) async fn keep_received(
    pool: &PgPool,
    (user, message): (Uuid, Uuid),
    now: DateTime<Utc>,
) -> Result<DateTime<Utc>, Error> {
    let first = sqlx::query_scalar!(
        r#"UPDATE notifications.message SET received_at = $3
           WHERE id = $2 AND recipient = $1 AND channel <> 'sms' AND received_at IS NULL RETURNING received_at AS "received_at!""#,
        user,
        message,
        now
    );
    if let Some(received_at) = first.fetch_optional(pool).await? {
        return Ok(received_at);
    }
    // Said before, or no such message.
    let received_at = sqlx::query_scalar!(
        r#"SELECT received_at AS "received_at!" FROM notifications.message
           WHERE id = $2 AND recipient = $1 AND channel <> 'sms' AND received_at IS NOT NULL"#,
        user,
        message
    );
    received_at.fetch_optional(pool).await?.ok_or(Error::NotFound)
}

#[cfg(test)]
mod tests {
    use super::Fate;

    #[test]
    fn words_of_gateways_mean_that_a_phone_has_it_or_never_will() {
        assert_eq!(Fate::of("delivered"), Some(Fate::Delivered));
        for word in ["undelivered", "failed", "rejected", "expired"] {
            assert_eq!(Fate::of(word), Some(Fate::Undelivered), "{word}");
        }
        for word in ["queued", "sent", "", "DELIVERED"] {
            assert_eq!(Fate::of(word), None, "{word}");
        }
    }
}

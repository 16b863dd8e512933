//! How well each citizen is known, and on which device: the wallet's own copy, from identity's events. Limits are decided from it, never from a token.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use platform::events::{Event, HandleError, Handler};
use proto::identity::v1::{CitizenRegistered, SessionStarted, TierChanged};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::city::TIERS;
use crate::device::{self, Novelty, Started};
use crate::limit::Standing;

/// The citizen's tier; the lowest while identity's event is on its way.
pub(crate) async fn tier(connection: &mut PgConnection, user: Uuid) -> Result<u8, sqlx::Error> {
    let tier = sqlx::query_scalar!("SELECT tier FROM wallet.citizen WHERE user_id = $1", user)
        .fetch_optional(connection)
        .await?;
    Ok(tier.and_then(|tier| u8::try_from(tier).ok()).unwrap_or(TIERS[0]))
}

/// How far the citizen is trusted in this session.
pub(crate) async fn standing(
    connection: &mut PgConnection,
    user: Uuid,
    session: Uuid,
) -> Result<Standing, sqlx::Error> {
    let row = sqlx::query!(
        "SELECT (SELECT tier FROM wallet.citizen WHERE user_id = $1) AS tier,
                (SELECT max(bound_at) FROM wallet.device WHERE user_id = $1 AND session_id = $2) AS bound_at",
        user,
        session,
    )
    .fetch_one(connection)
    .await?;
    let tier = row.tier.and_then(|tier| u8::try_from(tier).ok()).unwrap_or(TIERS[0]);
    Ok(Standing { tier, bound_at: row.bound_at, proved: None })
}

/// Keeps a tier unless a later one is known: an event that was put aside and sent again changes nothing back.
async fn store(connection: &mut PgConnection, user: Uuid, tier: i16, at: DateTime<Utc>) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO wallet.citizen (user_id, tier, updated_at) VALUES ($1, $2, $3)
         ON CONFLICT ON CONSTRAINT citizen_pk DO UPDATE SET tier = excluded.tier, updated_at = excluded.updated_at
         WHERE citizen.updated_at <= excluded.updated_at",
        user,
        tier,
        at,
    )
    .execute(connection)
    .await
    .map(|_| ())
}

fn on_device(message: &SessionStarted, at: DateTime<Utc>) -> Result<Started, HandleError> {
    let id = |text: &str, wrong| text.parse::<Uuid>().map_err(|_| HandleError::poison(wrong));
    Ok(Started {
        user: id(&message.user_id, "user_id is not a UUID")?,
        device: id(&message.device_id, "device_id is not a UUID")?,
        session: id(&message.session_id, "session_id is not a UUID")?,
        novelty: if message.new_device { Novelty::New } else { Novelty::Known },
        at,
    })
}

/// Keeps the copies of tiers and devices, by the events' own time.
pub(crate) struct CitizenKeeper;

#[async_trait]
impl Handler for CitizenKeeper {
    async fn handle(&self, transaction: &mut PgConnection, events: &[Event]) -> Result<(), HandleError> {
        for event in events {
            if let Some(started) = event.decode::<SessionStarted>() {
                device::store(transaction, &on_device(&started?, event.time)?).await?;
                continue;
            }
            let (user, tier) = match (event.decode::<CitizenRegistered>(), event.decode::<TierChanged>()) {
                (Some(registered), _) => registered.map(|message| (message.user_id, message.tier))?,
                (_, Some(changed)) => changed.map(|message| (message.user_id, message.tier))?,
                (None, None) => continue,
            };
            let user = user.parse().map_err(|_| HandleError::poison("user_id is not a UUID"))?;
            let tier = i16::try_from(tier).ok().filter(|tier| TIERS.iter().any(|known| i16::from(*known) == *tier));
            let tier = tier.ok_or_else(|| HandleError::poison("the tier is not known"))?;
            store(transaction, user, tier, event.time).await?;
        }
        Ok(())
    }
}

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

/// How far each citizen is trusted in the session beside them; as many as were asked for, in the same order.
pub(crate) async fn standings(
    connection: &mut PgConnection,
    users: &[Uuid],
    sessions: &[Uuid],
) -> Result<Vec<Standing>, sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT (SELECT tier FROM wallet.citizen WHERE user_id = asked.who) AS tier,
                (SELECT max(bound_at) FROM wallet.device WHERE user_id = asked.who AND session_id = asked.session) AS bound_at
         FROM unnest($1::uuid[], $2::uuid[]) WITH ORDINALITY AS asked (who, session, place) ORDER BY asked.place",
        users,
        sessions,
    )
    .fetch_all(connection)
    .await?;
    let standing = |tier: Option<i16>, bound_at| {
        let tier = tier.and_then(|tier| u8::try_from(tier).ok()).unwrap_or(TIERS[0]);
        Standing { tier, bound_at, proved: None }
    };
    Ok(rows.into_iter().map(|row| standing(row.tier, row.bound_at)).collect())
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

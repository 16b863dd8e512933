//! Since when each citizen uses which device: the wallet's own copy, from identity's events.
//!
//! A session that is not known here, because identity's event is on its way, counts as one on a device bound just now.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

/// The most devices that are kept of one citizen, well above what identity allows; those used longest ago give way.
const MAX_DEVICES: i64 = 64;

/// A session that began on a device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Started {
    pub(crate) user: Uuid,
    pub(crate) device: Uuid,
    pub(crate) session: Uuid,
    pub(crate) novelty: Novelty,
    pub(crate) at: DateTime<Utc>,
}

/// Whether the citizen had used the device before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Novelty {
    /// They had not: it is bound now.
    New,
    /// They had.
    Known,
}

/// Keeps a session unless a later one of the device is known: an event that was put aside and sent again changes nothing back.
pub(crate) async fn store(connection: &mut PgConnection, started: &Started) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO wallet.device (user_id, device_id, session_id, bound_at, updated_at) VALUES ($1, $2, $3, $4, $4)
         ON CONFLICT ON CONSTRAINT device_pk DO UPDATE SET session_id = excluded.session_id, updated_at = excluded.updated_at,
             bound_at = CASE WHEN $5 THEN excluded.bound_at ELSE device.bound_at END
         WHERE device.updated_at <= excluded.updated_at",
        started.user,
        started.device,
        started.session,
        started.at,
        started.novelty == Novelty::New,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "DELETE FROM wallet.device WHERE user_id = $1 AND device_id IN (
             SELECT device_id FROM wallet.device WHERE user_id = $1 AND device_id <> $2 ORDER BY updated_at DESC, device_id OFFSET $3)",
        started.user,
        started.device,
        MAX_DEVICES - 1,
    )
    .execute(connection)
    .await
    .map(|_| ())
}

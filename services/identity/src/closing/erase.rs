//! What identity removes of a citizen: everything but their id, which the audit, roles and the books name.
//!
//! One transaction; the caller holds the locks of the citizen and of the closing.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::citizen::CitizenId;
use crate::delegation::{self, InForce};
use crate::dependent;
use crate::session::SessionId;
use crate::vault::{Digest, random};

/// What was still open, and whose tokens must be refused.
pub(super) struct Open {
    pub sessions: Vec<SessionId>,
    pub delegations: Vec<InForce>,
}

/// Removes it.
pub(super) async fn erase(tx: &mut PgConnection, user: CitizenId, now: DateTime<Utc>) -> Result<Open, sqlx::Error> {
    let id = user.uuid();
    // Codes that are on their way to the number, and the pause before the next.
    sqlx::query!(
        "DELETE FROM identity.challenge WHERE phone_digest = (SELECT phone_digest FROM identity.citizen WHERE id = $1)",
        id
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "DELETE FROM identity.sending WHERE phone_digest = (SELECT phone_digest FROM identity.citizen WHERE id = $1)",
        id
    )
    .execute(&mut *tx)
    .await?;
    dependent::refuse_all(tx, user, now).await?;
    // Before the number is forgotten, to which somebody may have proposed one.
    let delegations = delegation::leave(tx, user, now).await?;
    sqlx::query!("DELETE FROM identity.authorisation WHERE citizen_id = $1", id).execute(&mut *tx).await?;
    sqlx::query!("DELETE FROM identity.consent WHERE citizen_id = $1", id).execute(&mut *tx).await?;
    sqlx::query!("DELETE FROM identity.passkey_challenge WHERE citizen_id = $1", id).execute(&mut *tx).await?;
    sqlx::query!("DELETE FROM identity.passkey WHERE citizen_id = $1", id).execute(&mut *tx).await?;
    sqlx::query!("DELETE FROM identity.pin WHERE citizen_id = $1", id).execute(&mut *tx).await?;
    sqlx::query!("DELETE FROM identity.vneid_attempt WHERE citizen_id = $1", id).execute(&mut *tx).await?;
    sqlx::query!("DELETE FROM identity.vneid_link WHERE citizen_id = $1", id).execute(&mut *tx).await?;
    sqlx::query!("DELETE FROM identity.citizen_number WHERE citizen_id = $1", id).execute(&mut *tx).await?;
    sqlx::query!("DELETE FROM identity.ekyc WHERE citizen_id = $1", id).execute(&mut *tx).await?;
    sqlx::query!("DELETE FROM identity.archive WHERE citizen_id = $1", id).execute(&mut *tx).await?;
    sqlx::query!("DELETE FROM identity.device WHERE citizen_id = $1", id).execute(&mut *tx).await?;
    sqlx::query!("DELETE FROM identity.idempotency_key WHERE caller = $1", id).execute(&mut *tx).await?;
    // No number has this digest.
    let nobody: Digest = random();
    let sessions = sqlx::query!(
        r#"DELETE FROM identity.session WHERE citizen_id = $1 RETURNING id AS "id: SessionId", ended_at IS NULL AS "open!""#,
        id,
    )
    .fetch_all(&mut *tx)
    .await?;
    sqlx::query!(
        "UPDATE identity.citizen SET phone_digest = $3, data_key = '', phone = '', display_name = NULL, tier = 0,
            language = 'vi', version = version + 1, updated_at = $2, erased_at = $2 WHERE id = $1",
        id,
        now,
        &nobody[..],
    )
    .execute(tx)
    .await?;
    let sessions = sessions.into_iter().filter(|session| session.open).map(|session| session.id).collect();
    Ok(Open { sessions, delegations })
}

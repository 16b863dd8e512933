//! What identity removes of a citizen: everything but their id, which the audit, roles and the books name.
//!
//! One transaction; the caller holds the locks of the citizen and of the closing.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::citizen::CitizenId;
use crate::session::SessionId;
use crate::vault::{Digest, random};

/// Removes it; gives the sessions that were still open, whose tokens must be refused.
pub(super) async fn erase(
    tx: &mut PgConnection,
    user: CitizenId,
    now: DateTime<Utc>,
) -> Result<Vec<SessionId>, sqlx::Error> {
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
    // Proposals that wait: those of the citizen, and those to the number.
    sqlx::query!(
        "UPDATE identity.delegation SET ended_at = $2, ended_by = proposed_by, other_digest = NULL
        WHERE ended_at IS NULL AND (guardian_id = $1 OR dependent_id = $1
            OR other_digest = (SELECT phone_digest FROM identity.citizen WHERE id = $1))",
        id,
        now,
    )
    .execute(&mut *tx)
    .await?;
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
    Ok(sessions.into_iter().filter(|session| session.open).map(|session| session.id).collect())
}

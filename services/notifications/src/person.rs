//! What notifications keep of a citizen, sealed under a key of that citizen (`platform::person`).
//!
//! | column | what |
//! | --- | --- |
//! | `device.token_sealed`, `device.name_sealed` | where push messages go, and what the citizen calls it |
//! | `device.token_lookup` | a keyed digest of the token, which goes with the row |

mod sections;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use platform::person::{Holder, PersonError, PersonKey, PersonKeys, Section, Unsealed};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::error::Error;

/// Where tokens are sealed and looked up.
pub(crate) const TOKEN: &str = "device.token";
/// Where names of devices are sealed.
pub(crate) const NAME: &str = "device.name";
/// Rows that one transaction seals.
const BATCH: i64 = 200;

impl From<PersonError> for Error {
    fn from(error: PersonError) -> Self {
        match error {
            PersonError::Database(error) => error.into(),
            // Whoever was erased has no session; a token of theirs that is still alive finds nothing.
            PersonError::Erased => Self::SessionEnded,
            PersonError::Unsealable(_) | PersonError::KeyUnopened(_) => Self::Sealed(error),
        }
    }
}

/// A value as its citizen reads it: sealed, or still plain in a row from before.
pub(crate) fn text(
    key: Option<&PersonKey>,
    (column, row): (&'static str, Uuid),
    (sealed, plain): (Option<&[u8]>, Option<String>),
) -> Result<Option<String>, PersonError> {
    match (sealed, key) {
        (Some(sealed), Some(key)) => Ok(Some(key.open(column, row, sealed)?)),
        (Some(_), None) => Ok(None),
        (None, _) => Ok(plain),
    }
}

/// Notifications, where a citizen asks all services for something.
pub(crate) struct NotificationHolder;

#[async_trait]
impl Holder for NotificationHolder {
    fn sections(&self) -> &'static [Section] {
        sections::SECTIONS
    }

    async fn erase(&self, tx: &mut PgConnection, person: Uuid, _now: DateTime<Utc>) -> Result<(), sqlx::Error> {
        erase(tx, person).await
    }
}

/// Removes messages with the proof of their delivery, devices and wishes.
async fn erase(tx: &mut PgConnection, person: Uuid) -> Result<(), sqlx::Error> {
    // Before everything else, so that whoever makes a message for them, or hears of them for the first time, has ended (see `message`).
    sqlx::query!(
        "INSERT INTO notifications.citizen (user_id) VALUES ($1) ON CONFLICT ON CONSTRAINT citizen_pk DO NOTHING",
        person
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!("DELETE FROM notifications.citizen WHERE user_id = $1", person).execute(&mut *tx).await?;
    crate::dependent::forget(tx, person).await?;
    // Attempts, inbox entries and places in digests go with their messages.
    sqlx::query!("DELETE FROM notifications.message WHERE recipient = $1", person).execute(&mut *tx).await?;
    sqlx::query!("DELETE FROM notifications.inbox_head WHERE user_id = $1", person).execute(&mut *tx).await?;
    sqlx::query!("DELETE FROM notifications.device WHERE user_id = $1", person).execute(&mut *tx).await?;
    sqlx::query!("DELETE FROM notifications.preference WHERE user_id = $1", person).execute(&mut *tx).await?;
    sqlx::query!("DELETE FROM notifications.muted WHERE user_id = $1", person).execute(&mut *tx).await?;
    sqlx::query!("DELETE FROM notifications.ward_choice WHERE user_id = $1", person).execute(&mut *tx).await?;
    sqlx::query!("DELETE FROM notifications.alert_recipient WHERE user_id = $1", person).execute(&mut *tx).await?;
    Ok(())
}

/// Rows from before there were keys.
pub(crate) struct Plain(pub(crate) Arc<PersonKeys>);

#[async_trait]
impl Unsealed for Plain {
    async fn seal_some(
        &self,
        tx: &mut PgConnection,
        now: DateTime<Utc>,
        passed_over: &[Uuid],
    ) -> Result<usize, PersonError> {
        let rows = sqlx::query!(
            r#"SELECT id, user_id, token AS "token!", coalesce(name, '') AS "name!" FROM notifications.device
               WHERE token IS NOT NULL AND user_id <> ALL ($2) ORDER BY user_id, id LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED"#,
            BATCH,
            passed_over
        )
        .fetch_all(&mut *tx)
        .await?;
        for row in &rows {
            let key = match self.0.for_sealing(tx, row.user_id, now).await {
                Ok(key) => key,
                Err(PersonError::Erased) => {
                    sqlx::query!("DELETE FROM notifications.device WHERE id = $1", row.id).execute(&mut *tx).await?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            sqlx::query!(
                "UPDATE notifications.device
                 SET token = NULL, name = NULL, token_lookup = $2, token_sealed = $3, name_sealed = $4 WHERE id = $1",
                row.id,
                &self.0.lookup(TOKEN, &row.token)[..],
                key.seal(TOKEN, row.id, &row.token),
                key.seal(NAME, row.id, &row.name)
            )
            .execute(&mut *tx)
            .await?;
        }
        Ok(rows.len())
    }
}

//! What field reports keep of their reporters, sealed under a key of that citizen (`platform::person`).
//!
//! | column | what |
//! | --- | --- |
//! | `report.body_sealed` | the reporter's own words, for themself and the operations centre |
//!
//! Everyone else reads `public_body`. What goes with the reporter, and what stays of a report, is `erase`.

mod erase;
mod sections;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use platform::person::{CopyError, Holder, PersonCopy, PersonError, PersonKeys, Section, Unsealed};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::Reports;
use crate::error::Error;
use crate::list::{self, Item, Row};
use crate::report::Sender;

/// Where a reporter's words are sealed.
const BODY: &str = "report.body_sealed";
/// Rows that one transaction seals.
const BATCH: i64 = 200;

/// A text as it is stored: plain of a caller without account, sealed of a reporter.
#[derive(Debug)]
pub(crate) struct Words {
    pub(crate) plain: Option<String>,
    pub(crate) sealed: Option<Vec<u8>>,
}

impl Words {
    /// The words of a new report, for a statement that holds the reporter's key.
    ///
    /// # Errors
    /// [`PersonError::Erased`] when the reporter is.
    pub(crate) async fn of(
        persons: &PersonKeys,
        connection: &mut PgConnection,
        (sender, report): (Sender, Uuid),
        text: &str,
        now: DateTime<Utc>,
    ) -> Result<Self, PersonError> {
        match sender {
            Sender::Operator(_) => Ok(Self { plain: Some(text.to_owned()), sealed: None }),
            Sender::Citizen(user) => {
                let key = persons.for_holding(connection, user, now).await?;
                Ok(Self { plain: None, sealed: Some(key.seal(BODY, report, text)) })
            }
        }
    }
}

impl From<PersonError> for Error {
    fn from(error: PersonError) -> Self {
        match error {
            PersonError::Database(error) => error.into(),
            PersonError::Erased => Self::Forbidden,
            PersonError::Unsealable(_) => Self::Sealed(error),
        }
    }
}

/// Opens the reporter's words in a row, as far as they are still there.
pub(crate) async fn open(persons: &PersonKeys, connection: &mut PgConnection, row: &mut Row) -> Result<(), Error> {
    let Some(sealed) = &row.body_sealed else { return Ok(()) };
    let Some(user) = list::reporter(connection, row.id).await? else { return Ok(()) };
    if let Some(key) = persons.find(connection, &[user]).await?.remove(&user) {
        row.body = Some(key.open(BODY, row.id, sealed).map_err(PersonError::from)?);
    }
    Ok(())
}

/// Puts a reporter's own words into the list of their reports.
pub(crate) async fn open_all(
    persons: &PersonKeys,
    connection: &mut PgConnection,
    user: Uuid,
    items: &mut [Item],
) -> Result<(), Error> {
    let Some(key) = persons.find(connection, &[user]).await?.remove(&user) else { return Ok(()) };
    let ids: Vec<Uuid> = items.iter().map(|item| item.id).collect();
    let rows = sqlx::query!(
        r#"SELECT id, body_sealed AS "sealed!" FROM reports.report WHERE id = ANY ($1) AND body_sealed IS NOT NULL"#,
        &ids
    )
    .fetch_all(connection)
    .await?;
    for row in rows {
        if let Some(item) = items.iter_mut().find(|item| item.id == row.id) {
            item.text = key.open(BODY, row.id, &row.sealed).map_err(PersonError::from)?;
        }
    }
    Ok(())
}

/// Field reports, where a citizen asks all services for something.
pub(crate) struct ReportHolder(pub(crate) Arc<Reports>);

#[async_trait]
impl Holder for ReportHolder {
    fn sections(&self) -> &'static [Section] {
        sections::SECTIONS
    }

    /// The reporter's photos, one after the other.
    async fn copy_more(&self, person: Uuid, copy: &mut PersonCopy) -> Result<(), CopyError> {
        let photos = sqlx::query!(
            "SELECT attachment.id, attachment.report_id, attachment.media_type, attachment.created_at
             FROM reports.reporter JOIN reports.attachment ON attachment.report_id = reporter.report_id
             WHERE reporter.user_id = $1 AND attachment.kind = 'report' ORDER BY attachment.id",
            person
        )
        .fetch_all(&self.0.pool)
        .await?;
        copy.list("photos");
        for photo in photos {
            if copy.is_over() {
                break;
            }
            let bytes = self.0.photos.get(photo.report_id, photo.id).await;
            let bytes = bytes.map_err(|error| CopyError::Other(error.to_string()))?;
            let item = json!({
                "id": photo.id, "report_id": photo.report_id, "media_type": photo.media_type, "created_at": photo.created_at,
                "base64": STANDARD.encode(bytes),
            });
            copy.item(&item).await?;
        }
        Ok(())
    }

    async fn end(&self, person: Uuid, _closing: Uuid) -> Result<(), CopyError> {
        erase::reports_of(&self.0, person, self.0.now()).await
    }

    /// What stays is the city's record; everything else went before.
    async fn erase(&self, _tx: &mut PgConnection, _person: Uuid, _now: DateTime<Utc>) -> Result<(), sqlx::Error> {
        Ok(())
    }
}

/// Rows from before there were keys.
pub(crate) struct Plain(pub(crate) Arc<PersonKeys>);

#[async_trait]
impl Unsealed for Plain {
    async fn seal_some(&self, tx: &mut PgConnection, now: DateTime<Utc>) -> Result<usize, PersonError> {
        let rows = sqlx::query!(
            r#"SELECT report.id, reporter.user_id, report.body AS "body!"
               FROM reports.report JOIN reports.reporter ON reporter.report_id = report.id
               WHERE report.body IS NOT NULL AND report.body_sealed IS NULL
               ORDER BY reporter.user_id, report.id LIMIT $1 FOR NO KEY UPDATE OF report SKIP LOCKED"#,
            BATCH
        )
        .fetch_all(&mut *tx)
        .await?;
        for row in &rows {
            let sealed = match self.0.for_sealing(tx, row.user_id, now).await {
                Ok(key) => Some(key.seal(BODY, row.id, &row.body)),
                Err(PersonError::Erased) => None,
                Err(error) => return Err(error),
            };
            sqlx::query!(
                "UPDATE reports.report SET body = NULL, body_sealed = $2 WHERE id = $1",
                row.id,
                sealed as Option<Vec<u8>>
            )
            .execute(&mut *tx)
            .await?;
        }
        Ok(rows.len())
    }
}

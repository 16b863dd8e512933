//! What goes with a reporter: words, texts of forms, photos, the place where they stood. Their words are gone with the key already; here
//! the bytes go, too, and what was plain.
//!
//! What stays is the city's record of its own work: category, ward, times, states, who handled it and how it was rated. One report at
//! a time, photos before rows: a process that dies in between does the same again, and a photo that is gone is none to remove.
//! From the row's `erased_at` on, the reporter is nobody to the report: they add nothing to it and are told nothing of it.

use chrono::{DateTime, Utc};
use platform::person::CopyError;
use serde_json::{Map, Value};
use sqlx::types::Json;
use uuid::Uuid;

use super::{form_of, parted};
use crate::Reports;
use crate::arrival;

/// What stands in place of a text, in both languages, because everyone reads it.
pub(crate) const REMOVED: &str =
    "(Nội dung đã được xóa theo yêu cầu của người phản ánh. Removed at the request of the person who reported it.)";
/// Reports that are looked for at a time.
const PAGE: i64 = 50;

/// One report of somebody who leaves.
struct Left {
    id: Uuid,
    category: String,
    ward_code: Option<String>,
    attributes: Json<Map<String, Value>>,
}

/// Erases all of them.
///
/// # Errors
/// When the store of photos or the database is away; what was done until then stays done.
pub(super) async fn reports_of(reports: &Reports, person: Uuid, now: DateTime<Utc>) -> Result<(), CopyError> {
    loop {
        let page = sqlx::query_as!(
            Left,
            r#"SELECT report.id, report.category, report.ward_code, report.attributes AS "attributes: Json<Map<String, Value>>"
               FROM reports.reporter JOIN reports.report ON report.id = reporter.report_id
               WHERE reporter.user_id = $1 AND report.erased_at IS NULL ORDER BY report.id LIMIT $2"#,
            person,
            PAGE
        )
        .fetch_all(&reports.pool)
        .await?;
        if page.is_empty() {
            return Ok(());
        }
        for left in page {
            erase(reports, left, now).await?;
        }
    }
}

async fn erase(reports: &Reports, left: Left, now: DateTime<Utc>) -> Result<(), CopyError> {
    let removed = remove_photos(reports, left.id).await?;
    let position = left.ward_code.as_deref().and_then(|code| reports.city.ward(code)).map(|ward| ward.middle());
    let mut tx = platform::db::begin(&reports.pool).await?;
    sqlx::query!(
        "UPDATE reports.report SET body = NULL, body_sealed = NULL, public_body = $2, attributes = $3, answers_sealed = NULL,
             address = NULL, address_sealed = NULL, lon = $4, lat = $5, sealed = TRUE, erased_at = $6
         WHERE id = $1",
        left.id,
        REMOVED,
        Value::Object(parted(form_of(reports, &left.category), left.attributes.0).1),
        position.map(|[lon, _]| lon),
        position.map(|[_, lat]| lat),
        now
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "UPDATE reports.history SET details = '{}', details_sealed = NULL, erased_at = $2
         WHERE report_id = $1 AND actor = 'citizen' AND (details <> '{}' OR details_sealed IS NOT NULL)",
        left.id,
        now
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "UPDATE reports.rating SET comment = NULL, comment_sealed = NULL
         WHERE report_id = $1 AND (comment IS NOT NULL OR comment_sealed IS NOT NULL)",
        left.id
    )
    .execute(&mut *tx)
    .await?;
    let rows = sqlx::query_scalar!(
        "DELETE FROM reports.attachment WHERE report_id = $1 AND kind = 'report' RETURNING id",
        left.id
    )
    .fetch_all(&mut *tx)
    .await?;
    if rows.iter().any(|photo| !removed.contains(photo)) {
        return Err(CopyError::Other("a photo came in meanwhile".to_owned()));
    }
    tx.commit().await?;
    Ok(())
}

/// Removes the reporter's photos from the store, and those that never were written down.
async fn remove_photos(reports: &Reports, report: Uuid) -> Result<Vec<Uuid>, CopyError> {
    let photos = sqlx::query_scalar!(
        "SELECT id FROM reports.attachment WHERE report_id = $1 AND kind = 'report' ORDER BY id",
        report
    )
    .fetch_all(&reports.pool)
    .await?;
    for photo in &photos {
        let removed = reports.photos.remove(report, *photo).await;
        removed.map_err(|error| CopyError::Other(error.to_string()))?;
    }
    arrival::withdraw_all(reports, report).await.map_err(|error| CopyError::Other(error.to_string()))?;
    Ok(photos)
}

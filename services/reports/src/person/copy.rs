//! What field reports hand over of a citizen who asks for a copy of everything: what can be read in one statement as sections, then
//! lists of what has to be opened, and the photos. A page at a time, and its keys with it; no connection is held while a piece goes out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use platform::person::{CopyError, PersonCopy, PersonError, PersonKey, Section};
use serde_json::{Map, Value, json};
use sqlx::PgConnection;
use tracing::error;
use uuid::Uuid;

use super::{ADDRESS, ANSWERS, BODY, COMMENT, DETAILS, numbered};
use crate::{Reports, list};

/// Rows of one page.
const PAGE: i64 = 200;

/// What names the citizen as an officer.
pub(crate) const SECTIONS: &[Section] = &[Section {
    name: "appointments",
    sql: "SELECT a.id::text, jsonb_build_object('id', a.id, 'act', a.act, 'role', a.role, 'agency', a.agency,
            'acted_at', a.acted_at)
        FROM reports.appointment a WHERE a.user_id = $1 AND ($2::text IS NULL OR a.id::text > $2) ORDER BY 1 LIMIT $3",
    sealed: &[],
}];

/// Everything of a reporter.
pub(super) async fn lists(reports: &Reports, person: Uuid, copy: &mut PersonCopy) -> Result<(), CopyError> {
    of_reports(reports, person, copy).await?;
    of_history(reports, person, copy).await?;
    of_ratings(reports, person, copy).await?;
    of_photos(reports, person, copy).await
}

/// What is sealed of one thing. What the key does not open, because it was changed or sealed for another place, holds nothing up: the copy
/// names it, and somebody has to look.
struct Sealed<'a> {
    key: Option<&'a PersonKey>,
    report: Uuid,
    unreadable: Vec<&'static str>,
}

impl<'a> Sealed<'a> {
    fn of(key: Option<&'a PersonKey>, report: Uuid) -> Self {
        Self { key, report, unreadable: Vec::new() }
    }

    /// A field, sealed for a column and a row; none without the key.
    fn open(
        &mut self,
        (field, column): (&'static str, &'static str),
        row: Uuid,
        sealed: Option<&[u8]>,
    ) -> Option<String> {
        let (key, sealed) = self.key.zip(sealed)?;
        match key.open(column, row, sealed) {
            Ok(text) => Some(text),
            Err(error) => {
                error!(%error, report.id = %self.report, column, "something of a reporter can't be opened");
                self.unreadable.push(field);
                None
            }
        }
    }

    /// The thing, with the names of its fields that can't be read.
    fn marked(self, mut item: Value) -> Value {
        if !self.unreadable.is_empty() {
            item["unreadable"] = json!(self.unreadable);
        }
        item
    }
}

/// A citizen's key, if they have one.
async fn key(reports: &Reports, connection: &mut PgConnection, person: Uuid) -> Result<Option<PersonKey>, PersonError> {
    Ok(reports.persons.find(connection, &[person]).await?.remove(&person))
}

async fn of_reports(reports: &Reports, person: Uuid, copy: &mut PersonCopy) -> Result<(), CopyError> {
    copy.list("reports");
    let mut after = Uuid::nil();
    loop {
        let mut connection = reports.pool.acquire().await?;
        let key = key(reports, &mut connection, person).await?;
        let page = list::whole(&mut connection, person, after, PAGE).await?;
        drop(connection);
        match page.last() {
            Some(last) if !copy.is_over() => after = last.id,
            _ => return Ok(()),
        }
        for mut row in page {
            let mut sealed = Sealed::of(key.as_ref(), row.id);
            let body = sealed.open(("text", BODY), row.id, row.body_sealed.as_deref()).or(row.body);
            let address = sealed.open(("address", ADDRESS), row.id, row.address_sealed.as_deref()).or(row.address);
            let answers = sealed.open(("attributes", ANSWERS), row.id, row.answers_sealed.as_deref());
            if let (Some(answers), Some(attributes)) = (answers, row.attributes.as_object_mut()) {
                attributes.extend(serde_json::from_str::<Map<String, Value>>(&answers).unwrap_or_default());
            }
            let case = row.progress.0;
            let item = json!({
                "id": row.id, "category": row.category, "lane": row.lane, "text": body, "public_text": row.public_body,
                "attributes": row.attributes, "lon": row.lon, "lat": row.lat, "address": address, "ward_code": row.ward_code,
                "state": case.state, "version": case.version, "round": case.round, "result": row.result,
                "created_at": row.created_at, "updated_at": row.updated_at,
            });
            copy.item(&sealed.marked(item)).await?;
        }
    }
}

async fn of_history(reports: &Reports, person: Uuid, copy: &mut PersonCopy) -> Result<(), CopyError> {
    copy.list("history");
    let (mut report, mut version) = (Uuid::nil(), 0);
    loop {
        let mut connection = reports.pool.acquire().await?;
        let key = key(reports, &mut connection, person).await?;
        let page = sqlx::query!(
            "SELECT history.report_id, history.version, history.action, history.to_state, history.actor, history.details,
                 history.details_sealed, history.occurred_at
             FROM reports.reporter JOIN reports.history ON history.report_id = reporter.report_id
             WHERE reporter.user_id = $1 AND reporter.report_id >= $2 AND (history.report_id, history.version) > ($2, $3)
             ORDER BY history.report_id, history.version LIMIT $4",
            person,
            report,
            version,
            PAGE
        )
        .fetch_all(&mut *connection)
        .await?;
        drop(connection);
        match page.last() {
            Some(last) if !copy.is_over() => (report, version) = (last.report_id, last.version),
            _ => return Ok(()),
        }
        for row in page {
            let mut sealed = Sealed::of(key.as_ref(), row.report_id);
            // What officers say to each other is not the citizen's.
            let details = match &row.details_sealed {
                _ if row.actor != "citizen" => Value::Null,
                None => parsed(&row.details),
                Some(bytes) => {
                    let place = numbered(row.report_id, row.version);
                    sealed.open(("details", DETAILS), place, Some(bytes)).map_or(Value::Null, |text| parsed(&text))
                }
            };
            let item = json!({
                "report_id": row.report_id, "version": row.version, "action": row.action, "to_state": row.to_state,
                "actor": row.actor, "details": details, "occurred_at": row.occurred_at,
            });
            copy.item(&sealed.marked(item)).await?;
        }
    }
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

async fn of_ratings(reports: &Reports, person: Uuid, copy: &mut PersonCopy) -> Result<(), CopyError> {
    copy.list("ratings");
    let (mut report, mut round) = (Uuid::nil(), 0);
    loop {
        let mut connection = reports.pool.acquire().await?;
        let key = key(reports, &mut connection, person).await?;
        let page = sqlx::query!(
            "SELECT rating.report_id, rating.round, rating.rating, rating.comment, rating.comment_sealed, rating.rated_at
             FROM reports.reporter JOIN reports.rating ON rating.report_id = reporter.report_id
             WHERE reporter.user_id = $1 AND reporter.report_id >= $2 AND (rating.report_id, rating.round) > ($2, $3)
             ORDER BY rating.report_id, rating.round LIMIT $4",
            person,
            report,
            round,
            PAGE
        )
        .fetch_all(&mut *connection)
        .await?;
        drop(connection);
        match page.last() {
            Some(last) if !copy.is_over() => (report, round) = (last.report_id, last.round),
            _ => return Ok(()),
        }
        for row in page {
            let place = numbered(row.report_id, i64::from(row.round));
            let mut sealed = Sealed::of(key.as_ref(), row.report_id);
            let comment = sealed.open(("comment", COMMENT), place, row.comment_sealed.as_deref()).or(row.comment);
            let item = json!({
                "report_id": row.report_id, "round": row.round, "rating": row.rating, "comment": comment, "rated_at": row.rated_at,
            });
            copy.item(&sealed.marked(item)).await?;
        }
    }
}

/// One after the other.
async fn of_photos(reports: &Reports, person: Uuid, copy: &mut PersonCopy) -> Result<(), CopyError> {
    let photos = sqlx::query!(
        "SELECT attachment.id, attachment.report_id, attachment.media_type, attachment.created_at
         FROM reports.reporter JOIN reports.attachment ON attachment.report_id = reporter.report_id
         WHERE reporter.user_id = $1 AND attachment.kind = 'report' ORDER BY attachment.id",
        person
    )
    .fetch_all(&reports.pool)
    .await?;
    copy.list("photos");
    for photo in photos {
        if copy.is_over() {
            break;
        }
        let bytes = reports.photos.get(photo.report_id, photo.id).await;
        let bytes = bytes.map_err(|error| CopyError::Other(error.to_string()))?;
        let item = json!({
            "id": photo.id, "report_id": photo.report_id, "media_type": photo.media_type, "created_at": photo.created_at,
            "base64": STANDARD.encode(bytes),
        });
        copy.item(&item).await?;
    }
    Ok(())
}

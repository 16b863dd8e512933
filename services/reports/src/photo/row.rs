//! A stored photo as it is written down, with the answer to its request in one statement ([`crate::together`]).

use chrono::{DateTime, Utc};
use platform::idempotency::Answer;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{PhotoView, most};
use crate::arrival::Ticket;
use crate::picture;
use crate::together::{Entry, each};

/// All that is written down of a photo.
#[derive(Debug)]
pub(crate) struct Row {
    pub(super) report: Uuid,
    /// The version of the report that was looked at.
    pub(super) version: i64,
    pub(super) view: PhotoView,
    /// Whose evidence it is.
    pub(super) agency: Option<String>,
    pub(super) bytes: i32,
    pub(super) sha256: [u8; 32],
    pub(super) ticket: Ticket,
    pub(super) now: DateTime<Utc>,
    pub(super) answer: Answer,
}

impl Entry for Row {
    /// The report, whose photos are counted.
    type Name = Uuid;

    fn name(&self) -> Uuid {
        self.report
    }

    async fn insert(connection: &mut PgConnection, rows: &[&Self]) -> Result<Vec<Uuid>, sqlx::Error> {
        insert(connection, rows).await
    }
}

/// Writes photos of different reports down; gives the reports that have them.
async fn insert(connection: &mut PgConnection, rows: &[&Row]) -> Result<Vec<Uuid>, sqlx::Error> {
    let added = sqlx::query_file!(
        "queries/photo.sql",
        &each(rows, |row| row.report),
        &each(rows, |row| row.version),
        &each(rows, |row| row.view.id),
        &each(rows, |row| row.ticket.0),
        &each(rows, |row| row.view.kind.as_str()) as &[&str],
        &each(rows, |row| row.view.round),
        &each(rows, |row| most(&row.view.kind)),
        &each(rows, |row| row.agency.as_deref()) as &[Option<&str>],
        &each(rows, |row| row.bytes),
        &each(rows, |row| row.view.width),
        &each(rows, |row| row.view.height),
        &each(rows, |row| &row.sha256[..]) as &[&[u8]],
        &each(rows, |row| row.now),
        &each(rows, |row| row.answer.key.caller),
        &each(rows, |row| row.answer.key.operation) as &[&str],
        &each(rows, |row| row.answer.key.key.as_str()) as &[&str],
        &each(rows, |row| &row.answer.key.fingerprint[..]) as &[&[u8]],
        &each(rows, |row| row.answer.status),
        &each(rows, |row| &row.answer.body) as &[&Value],
        picture::MEDIA_TYPE
    )
    .fetch_optional(connection)
    .await?;
    Ok(added.map(|row| row.reports).unwrap_or_default())
}

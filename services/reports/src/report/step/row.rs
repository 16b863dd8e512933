//! A step as it is written: all that belongs to it in one statement ([`crate::together`]).
//!
//! One that merges reports goes by itself: the report to merge into is looked at by the statement, and must not be merged itself in it.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use platform::idempotency::{Answer, Key};
use platform::job::JobColumns;
use platform::outbox::{EventColumns, NewEvent};
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::history::Entry;
use crate::lifecycle::{Case, Kept, Rating};
use crate::person::Said;
use crate::report::round;
use crate::together::{self, each};
use crate::{Reports, SCHEMA, escalation};

/// All that is written of a step.
#[derive(Debug)]
pub(crate) struct Row {
    pub(super) report: Uuid,
    /// The version that was decided on, and its round.
    pub(super) before: (i64, i32),
    pub(super) after: Case,
    pub(super) due_at: Option<DateTime<Utc>>,
    pub(super) first_due_at: Option<DateTime<Utc>>,
    pub(super) merged_into: Option<Uuid>,
    /// Whether the public may see the report from now on.
    pub(super) publishes: bool,
    pub(super) public_text: Option<String>,
    /// The result, if the step changes it: it stands from its submission until the report is looked at again.
    pub(super) result: Option<Option<String>>,
    /// Of a round whose result is published.
    pub(super) kept: Option<Kept>,
    /// Of a round that the reporter rated.
    pub(super) rating: Option<Rating>,
    pub(super) entry: Entry,
    pub(super) said: Said,
    pub(super) last_hash: Vec<u8>,
    /// Whether the reporter was not erased when it was looked at.
    pub(super) has_reporter: bool,
    pub(super) plan: escalation::Plan,
    pub(super) events: Vec<NewEvent>,
    /// To the request, if there is one.
    pub(super) answer: Option<Answer>,
}

impl Row {
    fn job(&self) -> Option<&JobColumns> {
        self.plan.job.as_ref()
    }

    fn key(&self) -> Option<&Key> {
        self.answer.as_ref().map(|answer| &answer.key)
    }
}

/// Writes a row with others or by itself; `false` when the report moved on, its reporter was erased, the report to merge into can't be
/// merged into any more, or the key was answered, and nothing is written.
pub(super) async fn write(reports: &Reports, row: Row) -> Result<bool, sqlx::Error> {
    match row.merged_into {
        None => together::write(&reports.together.steps, &reports.pool, Arc::new(row)).await,
        Some(_) => together::write_alone(&mut *reports.pool.acquire().await?, &row).await,
    }
}

impl together::Entry for Row {
    /// The report.
    type Name = Uuid;

    fn name(&self) -> Uuid {
        self.report
    }

    async fn insert(connection: &mut PgConnection, rows: &[&Self]) -> Result<Vec<Uuid>, sqlx::Error> {
        insert(connection, rows).await
    }
}

/// Writes rows of different reports; says which of these moved, and leaves the others as they are.
async fn insert(connection: &mut PgConnection, rows: &[&Row]) -> Result<Vec<Uuid>, sqlx::Error> {
    let events = EventColumns::of(SCHEMA, rows.iter().flat_map(|row| &row.events));
    let of_events = || rows.iter().flat_map(|row| row.events.iter().map(move |_| row));
    let moved = sqlx::query_file!(
        "queries/step.sql",
        &each(rows, |row| row.report),
        &each(rows, |row| row.before.0),
        &each(rows, |row| row.before.1),
        &each(rows, |row| row.after.state.name()) as &[&str],
        &each(rows, |row| row.after.version),
        &each(rows, |row| round(&row.after)),
        &each(rows, |row| row.after.lead.as_deref()) as &[Option<&str>],
        &each(rows, |row| json!(row.after)),
        &each(rows, |row| row.due_at) as &[Option<DateTime<Utc>>],
        &each(rows, |row| row.first_due_at) as &[Option<DateTime<Utc>>],
        &each(rows, |row| row.entry.occurred_at),
        &each(rows, |row| row.merged_into) as &[Option<Uuid>],
        &each(rows, |row| row.publishes),
        &each(rows, |row| row.public_text.as_deref()) as &[Option<&str>],
        &each(rows, |row| row.result.is_some()),
        &each(rows, |row| row.result.as_ref().and_then(Option::as_deref)) as &[Option<&str>],
        &each(rows, |row| row.kept.map(|kept| kept.first)) as &[Option<bool>],
        &each(rows, |row| row.kept.map(|kept| kept.extended)) as &[Option<bool>],
        &each(rows, |row| row.rating.map(Rating::name)) as &[Option<&str>],
        &each(rows, |row| row.said.comment_sealed.as_deref()) as &[Option<&[u8]>],
        &each(rows, |row| row.entry.action.as_str()) as &[&str],
        &each(rows, |row| row.entry.from_state.as_deref()) as &[Option<&str>],
        &each(rows, |row| row.entry.actor.as_str()) as &[&str],
        &each(rows, |row| row.entry.agency.as_deref()) as &[Option<&str>],
        &each(rows, |row| row.entry.officer_id) as &[Option<Uuid>],
        &each(rows, |row| row.said.stored()) as &[&str],
        &each(rows, |row| row.said.details_sealed.as_deref()) as &[Option<&[u8]>],
        &each(rows, |row| row.last_hash.as_slice()) as &[&[u8]],
        &each(rows, |row| row.entry.hash(row.report, &row.last_hash)) as &[[u8; 32]],
        &each(rows, |row| row.said.citizen) as &[Option<Uuid>],
        &each(rows, |row| row.has_reporter),
        &each(rows, |row| row.key().map(|key| key.caller)) as &[Option<Uuid>],
        &each(rows, |row| row.key().map(|key| key.operation)) as &[Option<&str>],
        &each(rows, |row| row.key().map(|key| key.key.as_str())) as &[Option<&str>],
        &each(rows, |row| row.key().map(|key| &key.fingerprint[..])) as &[Option<&[u8]>],
        &each(rows, |row| row.answer.as_ref().map(|answer| answer.status)) as &[Option<i16>],
        &each(rows, |row| row.answer.as_ref().map(|answer| &answer.body)) as &[Option<&Value>],
        &each(rows, |row| row.plan.taken_back.as_deref()) as &[Option<&str>],
        &each(rows, |row| row.job().map(|job| job.id)) as &[Option<Uuid>],
        &each(rows, |row| row.job().map(|job| job.key.as_str())) as &[Option<&str>],
        &each(rows, |row| row.job().map(|job| job.due_at)) as &[Option<DateTime<Utc>>],
        &each(rows, |row| row.job().map(|job| &job.payload)) as &[Option<&Value>],
        &each(rows, |row| row.job().and_then(|job| job.traceparent.as_deref())) as &[Option<&str>],
        &each(rows, |row| row.job().is_some_and(|job| job.wakes)),
        escalation::JOB,
        &of_events().map(|row| row.report).collect::<Vec<_>>(),
        &of_events().map(|row| row.entry.occurred_at).collect::<Vec<_>>(),
        &events.streams as &[&str],
        &events.ids,
        &events.kinds as &[&str],
        &events.subjects,
        &events.traces as &[Option<&str>],
        &events.data as &[&[u8]]
    )
    .fetch_optional(connection)
    .await?;
    Ok(moved.map(|row| row.moved).unwrap_or_default())
}

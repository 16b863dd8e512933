//! A new report as it is written: all that belongs to it in one statement ([`crate::together`]).

use chrono::{DateTime, Utc};
use platform::idempotency::{Answer, Key};
use platform::job::JobColumns;
use platform::outbox::{EventColumns, NewEvent};
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use super::MAX_PER_DAY;
use crate::history::{self, GENESIS};
use crate::lifecycle::Case;
use crate::person::Written;
use crate::report::{Filed, Position, round};
use crate::together::{self, each};
use crate::{SCHEMA, escalation};

/// All that is written of a new report.
#[derive(Debug)]
pub(crate) struct Row {
    pub(super) filed: Filed,
    pub(super) case: Case,
    pub(super) public_text: String,
    pub(super) position: Option<Position>,
    /// Whose key must stand until all is written.
    pub(super) citizen: Option<Uuid>,
    pub(super) written: Written,
    pub(super) agency: Option<String>,
    pub(super) due_at: Option<DateTime<Utc>>,
    pub(super) entry: history::Entry,
    pub(super) plan: escalation::Plan,
    pub(super) events: Vec<NewEvent>,
    /// To the request.
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

impl together::Entry for Row {
    /// Caller and key: of what is sent twice at once, one is filed.
    type Name = Option<(Uuid, String)>;

    fn name(&self) -> Self::Name {
        self.key().map(|key| (key.caller, key.key.clone()))
    }

    async fn insert(connection: &mut PgConnection, rows: &[&Self]) -> Result<Vec<Self::Name>, sqlx::Error> {
        insert(connection, rows).await
    }
}

/// Files reports of different keys; gives the keys of those that were filed.
async fn insert(connection: &mut PgConnection, rows: &[&Row]) -> Result<Vec<Option<(Uuid, String)>>, sqlx::Error> {
    let events = EventColumns::of(SCHEMA, rows.iter().flat_map(|row| &row.events));
    let of_events = || rows.iter().flat_map(|row| row.events.iter().map(move |_| row));
    let filed = sqlx::query_file!(
        "queries/filing.sql",
        &each(rows, |row| row.filed.id),
        &each(rows, |row| row.filed.category.as_str()) as &[&str],
        &each(rows, |row| row.case.lane.name()) as &[&str],
        &each(rows, |row| row.written.body.plain.as_deref()) as &[Option<&str>],
        &each(rows, |row| row.public_text.as_str()) as &[&str],
        &each(rows, |row| json!(row.written.attributes)),
        &each(rows, |row| row.position.map(|position| position.lon)) as &[Option<f64>],
        &each(rows, |row| row.position.map(|position| position.lat)) as &[Option<f64>],
        &each(rows, |row| row.written.address.plain.as_deref()) as &[Option<&str>],
        &each(rows, |row| row.filed.ward_code.as_deref()) as &[Option<&str>],
        &each(rows, |row| row.agency.as_deref()) as &[Option<&str>],
        &each(rows, |row| row.case.state.name()) as &[&str],
        &each(rows, |row| row.case.version),
        &each(rows, |row| round(&row.case)),
        &each(rows, |row| json!(row.case)),
        &each(rows, |row| row.due_at) as &[Option<DateTime<Utc>>],
        &each(rows, |row| row.entry.occurred_at),
        &each(rows, |row| row.written.body.sealed.as_deref()) as &[Option<&[u8]>],
        &each(rows, |row| row.written.address.sealed.as_deref()) as &[Option<&[u8]>],
        &each(rows, |row| row.written.answers_sealed.as_deref()) as &[Option<&[u8]>],
        &each(rows, |row| row.citizen) as &[Option<Uuid>],
        &each(rows, |row| row.entry.action.as_str()) as &[&str],
        &each(rows, |row| row.entry.actor.as_str()) as &[&str],
        &each(rows, |row| row.entry.officer_id) as &[Option<Uuid>],
        &each(rows, |row| row.entry.details.as_str()) as &[&str],
        &each(rows, |_| &GENESIS[..]) as &[&[u8]],
        &each(rows, |row| row.entry.hash(row.filed.id, &GENESIS).to_vec()),
        &each(rows, |row| row.key().map(|key| key.caller)) as &[Option<Uuid>],
        &each(rows, |row| row.key().map(|key| key.operation)) as &[Option<&str>],
        &each(rows, |row| row.key().map(|key| key.key.as_str())) as &[Option<&str>],
        &each(rows, |row| row.key().map(|key| &key.fingerprint[..])) as &[Option<&[u8]>],
        &each(rows, |row| row.answer.as_ref().map(|answer| answer.status)) as &[Option<i16>],
        &each(rows, |row| row.answer.as_ref().map(|answer| &answer.body)) as &[Option<&Value>],
        &each(rows, |row| row.job().map(|job| job.id)) as &[Option<Uuid>],
        &each(rows, |row| row.job().map(|job| job.key.as_str())) as &[Option<&str>],
        &each(rows, |row| row.job().map(|job| job.due_at)) as &[Option<DateTime<Utc>>],
        &each(rows, |row| row.job().map(|job| &job.payload)) as &[Option<&Value>],
        &each(rows, |row| row.job().and_then(|job| job.traceparent.as_deref())) as &[Option<&str>],
        &each(rows, |row| row.job().is_some_and(|job| job.wakes)),
        escalation::JOB,
        &of_events().map(|row| row.filed.id).collect::<Vec<_>>(),
        &of_events().map(|row| row.entry.occurred_at).collect::<Vec<_>>(),
        &events.streams as &[&str],
        &events.ids,
        &events.kinds as &[&str],
        &events.subjects,
        &events.traces as &[Option<&str>],
        &events.data as &[&[u8]],
        MAX_PER_DAY
    )
    .fetch_optional(connection)
    .await?;
    Ok(filed.map(|row| row.callers.into_iter().zip(row.keys).map(Some).collect()).unwrap_or_default())
}

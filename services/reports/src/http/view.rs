//! What each kind of viewer sees of a report and of its history.
//!
//! Invariant: `reporter` is filled for the operations centre only; texts of the citizen reach agencies and the public redacted.

use chrono::{DateTime, Utc};
use platform::http::Language;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Viewer;
use super::place::WardBody;
use crate::Reports;
use crate::history::Entry;
use crate::lifecycle::State;
use crate::list::Row;
use crate::photo::PhotoView;
use crate::redact;

/// One report.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ReportView {
    id: Uuid,
    state: State,
    /// Name it in every transition.
    version: i64,
    /// 1, and one more for each reopening.
    round: u32,
    category: String,
    /// `instant` or `timed`.
    lane: String,
    text: String,
    /// Answers to the category's form.
    #[schema(value_type = Object)]
    attributes: Value,
    lat: Option<f64>,
    lon: Option<f64>,
    address: Option<String>,
    ward: Option<WardBody>,
    /// Code of the agency that answers for it.
    lead_agency: Option<String>,
    co_agencies: Vec<String>,
    /// When the running time limit ends; absent when none runs.
    due_at: Option<DateTime<Utc>>,
    /// The work's first deadline.
    first_due_at: Option<DateTime<Utc>>,
    /// What was done, once it is published.
    result: Option<String>,
    /// `GET …/photos/{id}` has the bytes.
    photos: Vec<PhotoView>,
    /// The report that tells the same.
    merged_into: Option<Uuid>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    /// Whether the caller sent it.
    mine: bool,
    /// For officers: whom the rules propose.
    #[serde(skip_serializing_if = "Option::is_none")]
    proposed_agency: Option<String>,
    /// For officers: whether the agency asks for more time.
    #[serde(skip_serializing_if = "Option::is_none")]
    extension_asked: Option<bool>,
    /// For the operations centre: how often an agency said that it is not theirs.
    #[serde(skip_serializing_if = "Option::is_none")]
    returns: Option<u32>,
    /// For the operations centre: who sent it, by identity's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    reporter: Option<Uuid>,
}

/// What goes with a row into its view.
pub(super) struct Surroundings {
    pub(super) photos: Vec<PhotoView>,
    pub(super) reporter: Option<Uuid>,
    pub(super) language: Language,
}

impl ReportView {
    pub(super) fn new(reports: &Reports, row: Row, viewer: &Viewer, around: Surroundings) -> Self {
        let case = row.progress.0;
        let (ioc, whole) = (*viewer == Viewer::Ioc, viewer.reads_all());
        let officer = matches!(viewer, Viewer::Ioc | Viewer::Agency);
        let ended = matches!(case.state, State::Published | State::Closed);
        let ward = row.ward_code.as_deref().and_then(|code| reports.city.ward(code));
        let mut photos = around.photos;
        photos.retain(|photo| shows(photo, viewer, ended));
        Self {
            id: row.id,
            state: case.state,
            version: case.version,
            round: case.round,
            category: row.category,
            lane: row.lane,
            text: row.body.filter(|_| whole).unwrap_or(row.public_body),
            attributes: if whole { row.attributes } else { redact::value(&row.attributes) },
            lat: row.lat,
            lon: row.lon,
            address: row.address.map(|address| if whole { address } else { redact::text(&address) }),
            ward: ward.map(|ward| WardBody::new(ward, around.language)),
            lead_agency: case.lead.clone(),
            co_agencies: case.co.clone(),
            due_at: row.due_at,
            first_due_at: row.first_due_at,
            result: row.result.filter(|_| ended || officer),
            photos,
            merged_into: row.merged_into,
            created_at: row.created_at,
            updated_at: row.updated_at,
            mine: *viewer == Viewer::Reporter,
            proposed_agency: row.agency_code.filter(|_| officer),
            extension_asked: officer.then_some(case.asked_allowance_ms.is_some()),
            returns: ioc.then_some(case.returns),
            reporter: around.reporter.filter(|_| ioc),
        }
    }
}

/// Whether a viewer sees a photo: evidence is public with the result, not before.
pub(super) fn shows(photo: &PhotoView, viewer: &Viewer, ended: bool) -> bool {
    photo.kind == "report" || ended || matches!(viewer, Viewer::Ioc | Viewer::Agency)
}

/// One thing that was done.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TimelineEntry {
    version: i64,
    action: String,
    /// The state before it; absent for the first.
    from: Option<String>,
    /// The state after it.
    to: String,
    round: i32,
    /// `citizen`, `ioc`, `supervisor`, `agency` or `system`.
    by: String,
    agency: Option<String>,
    at: DateTime<Utc>,
    /// What was said with it; not for the public.
    #[schema(value_type = Option<Object>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Value>,
    /// For the operations centre: which officer.
    #[serde(skip_serializing_if = "Option::is_none")]
    officer_id: Option<Uuid>,
}

/// What was done to a report.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Timeline {
    /// Oldest first.
    items: Vec<TimelineEntry>,
    /// Whether every entry's hash covers it and the one before.
    chain_holds: bool,
}

impl Timeline {
    pub(super) fn new(entries: Vec<Entry>, chain_holds: bool, viewer: &Viewer) -> Self {
        Self { items: entries.into_iter().map(|entry| TimelineEntry::new(entry, viewer)).collect(), chain_holds }
    }
}

impl TimelineEntry {
    fn new(entry: Entry, viewer: &Viewer) -> Self {
        let details = match viewer {
            Viewer::Ioc => Some(entry.details()),
            // What officers tell each other stays with them; the citizen reads what was asked and decided.
            Viewer::Reporter => matches!(
                entry.action.as_str(),
                "ask" | "answer" | "reject" | "merge" | "rate" | "reopen" | "submit-result"
            )
            .then(|| entry.details()),
            Viewer::Agency => Some(redact::value(&entry.details())),
            Viewer::Public => None,
        };
        Self {
            version: entry.version,
            officer_id: entry.officer_id.filter(|_| *viewer == Viewer::Ioc),
            action: entry.action,
            from: entry.from_state,
            to: entry.to_state,
            round: entry.round,
            by: entry.actor,
            agency: entry.agency,
            at: entry.occurred_at,
            details,
        }
    }
}

/// Where a report stands after something was done to it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Moved {
    pub(super) id: Uuid,
    pub(super) state: State,
    pub(super) version: i64,
    pub(super) round: u32,
    /// When the running time limit ends; absent when none runs.
    pub(super) due_at: Option<DateTime<Utc>>,
}

impl Moved {
    pub(super) fn new(reports: &Reports, done: &crate::report::Done) -> Self {
        let case = &done.case;
        Self { id: done.id, state: case.state, version: case.version, round: case.round, due_at: reports.due(case) }
    }
}

//! What the role tells: protobuf values and their streams.
//!
//! Invariant: nothing on [`STREAM`] says who sent a report. [`PRIVATE_STREAM`] has the reporter's opaque id and is read by
//! notifications only; it says nothing that a citizen wrote.

use platform::outbox::NewEvent;
use proto::reports::v1::{ReportEscalated, ReportMoved, ReportRated, ReportSubmitted, ReporterNotice, ResultPublished};
use uuid::Uuid;

use crate::city::Name;
use crate::lifecycle::{Case, Kept, Rating};
use crate::report::Filed;

/// The city's stream.
pub const STREAM: &str = "reports";
/// Whom to tell.
pub const PRIVATE_STREAM: &str = "reports-private";

pub(crate) fn submitted(report: &Filed, case: &Case, channel: &str) -> NewEvent {
    let message = ReportSubmitted {
        report_id: report.id.to_string(),
        category: report.category.clone(),
        lane: case.lane.name().to_owned(),
        ward_code: report.ward_code.clone().unwrap_or_default(),
        channel: channel.to_owned(),
    };
    NewEvent::new(report.id, &message)
}

pub(crate) fn moved(report: &Filed, before: &Case, after: &Case, action: &str, due_at: i64) -> NewEvent {
    let message = ReportMoved {
        report_id: report.id.to_string(),
        version: after.version,
        action: action.to_owned(),
        from_state: before.state.name().to_owned(),
        to_state: after.state.name().to_owned(),
        round: after.round,
        category: report.category.clone(),
        ward_code: report.ward_code.clone().unwrap_or_default(),
        lead_agency: after.lead.clone().unwrap_or_default(),
        due_at,
    };
    NewEvent::new(report.id, &message)
}

pub(crate) fn escalated(report: &Filed, case: &Case, level: i16, agency: Option<&str>) -> NewEvent {
    let message = ReportEscalated {
        report_id: report.id.to_string(),
        level: u32::from(level.unsigned_abs()),
        state: case.state.name().to_owned(),
        agency: agency.unwrap_or_default().to_owned(),
        category: report.category.clone(),
        ward_code: report.ward_code.clone().unwrap_or_default(),
    };
    NewEvent::new(report.id, &message)
}

pub(crate) fn published(report: &Filed, case: &Case, kept: Kept) -> NewEvent {
    let message = ResultPublished {
        report_id: report.id.to_string(),
        round: case.round,
        agency: case.lead.clone().unwrap_or_default(),
        category: report.category.clone(),
        ward_code: report.ward_code.clone().unwrap_or_default(),
        kept_first: kept.first,
        kept_extended: kept.extended,
    };
    NewEvent::new(report.id, &message)
}

pub(crate) fn rated(report: &Filed, case: &Case, rating: Rating) -> NewEvent {
    let message = ReportRated {
        report_id: report.id.to_string(),
        round: case.round,
        rating: rating.name().to_owned(),
        agency: case.lead.clone().unwrap_or_default(),
        category: report.category.clone(),
    };
    NewEvent::new(report.id, &message)
}

pub(crate) fn notice(report: &Filed, category: &Name, reporter: Uuid, action: &str, case: &Case) -> NewEvent {
    let message = ReporterNotice {
        user_id: reporter.to_string(),
        report_id: report.id.to_string(),
        action: action.to_owned(),
        to_state: case.state.name().to_owned(),
        category: report.category.clone(),
        category_vi: category.vi.clone(),
        category_en: category.en.clone(),
    };
    NewEvent::new(reporter, &message).stream(PRIVATE_STREAM)
}

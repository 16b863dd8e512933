//! From the events of field reports to what is counted of them: pure, no I/O.
//!
//! Two things are counted. **Standing**: how many reports stand where now; a report's newest event tells its state, its agency and whether
//! its time has run out, and moves it from one count to another. **Flow**: what happened on which day; each event adds to it once.
//!
//! Invariants, tested against a slow model:
//! - The standing is that of the greatest version of each report that was told, however late, in what order of versions and in how many
//!   batches its events came.
//! - The flow is a sum: batches may be cut anywhere.
//! - Whether an event was counted already is not decided here but by the consumer, which hands over each event once.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, NaiveDate, Utc};
use platform::events::Event;
use proto::reports::v1::{ReportEscalated, ReportMoved, ReportRated, ReportSubmitted, ResultPublished};
use uuid::Uuid;

use crate::city::City;
use crate::happening::Happening;
use crate::tally::{Label, OTHER, Sum, TallyError, bounded, minute_of};

#[cfg(test)]
mod tests;

/// The stream of field reports.
pub(crate) const REPORTS: &str = "reports";
/// States in which a report has not ended.
pub(crate) const OPEN: [&str; 6] =
    [RECEIVED, "verifying", NEEDS_INFO, "distributed", "in-progress", "result-submitted"];
const ENDED: [&str; 4] = [PUBLISHED, "closed", "rejected", "duplicate"];
const RECEIVED: &str = "received";
const NEEDS_INFO: &str = "needs-info";
const PUBLISHED: &str = "published";
const RATINGS: [&str; 3] = ["satisfied", "acceptable", "dissatisfied"];
/// A round that ended without a rating: without them there is no response rate.
const UNRATED: &str = "none";
/// The share of a limit, in percent, at which it is a breach.
const BREACH: u32 = 100;

/// How a report stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    /// The version that said so.
    pub(crate) version: i64,
    /// Where it stands, who leads, in which ward.
    pub(crate) place: Place,
    /// Whether the limit of whoever must act has run out.
    pub(crate) overdue: bool,
}

/// What standing reports are counted by. Empty where nothing is known or nobody leads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) state: String,
    pub(crate) agency: String,
    pub(crate) ward: String,
}

/// By how much the reports of a place became more or fewer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) reports: i64,
    pub(crate) overdue: i64,
}

/// What happenings are counted by. Empty what a kind is not counted by.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Flow {
    /// `submitted`, `breach`, `result` or `rating`.
    pub(crate) kind: &'static str,
    /// Of a breach the state whose limit it was; of a result the deadline that it kept; of an ended round its rating.
    pub(crate) outcome: &'static str,
    pub(crate) agency: String,
    pub(crate) category: String,
    pub(crate) ward: String,
}

/// What a batch of events changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Batch {
    known: BTreeMap<Uuid, Case>,
    changed: BTreeSet<Uuid>,
    /// Changes of the standing; those that cancel out are left out by [`Batch::standing`].
    standing: BTreeMap<Place, Change>,
    /// What happened, by day of the city.
    pub(crate) days: BTreeMap<(NaiveDate, Flow), i64>,
    /// The same by minute, under kind `report` with what happened as the outcome.
    pub(crate) minutes: BTreeMap<(DateTime<Utc>, Label), Sum>,
    /// Each of them.
    pub(crate) happenings: Vec<Happening>,
    /// The newest position of each partition.
    pub(crate) positions: BTreeMap<i16, i64>,
}

impl Batch {
    /// A batch over what is known of the reports that its events are about.
    pub(crate) fn new(known: BTreeMap<Uuid, Case>) -> Self {
        Self { known, ..Self::default() }
    }

    /// The reports that changed, as they stand now.
    pub(crate) fn cases(&self) -> impl Iterator<Item = (&Uuid, &Case)> {
        self.changed.iter().filter_map(|id| self.known.get_key_value(id))
    }

    /// Where reports became more or fewer.
    pub(crate) fn standing(&self) -> impl Iterator<Item = (&Place, &Change)> {
        self.standing.iter().filter(|(_, change)| **change != Change::default())
    }

    /// Counts one event.
    ///
    /// # Errors
    /// When its payload is not what its type says; the batch is then of no use.
    pub(crate) fn add(&mut self, city: &City, event: &Event) -> Result<(), TallyError> {
        let partition = i16::try_from(event.partition()).expect("there are sixteen partitions");
        let position = self.positions.entry(partition).or_default();
        *position = event.position.max(*position);
        let flow = if let Some(read) = event.decode::<ReportSubmitted>() {
            Some(self.submitted(event.subject, read?))
        } else if let Some(read) = event.decode::<ReportMoved>() {
            self.moved(event, read?)
        } else if let Some(read) = event.decode::<ReportEscalated>() {
            self.escalated(event.subject, read?)
        } else if let Some(read) = event.decode::<ResultPublished>() {
            Some(published(read?))
        } else if let Some(read) = event.decode::<ReportRated>() {
            let read = read?;
            Some(rated(bounded(&read.rating, &RATINGS), read.agency))
        } else {
            None
        };
        if let Some(flow) = flow {
            let label = Label { kind: "report".to_owned(), outcome: flow.kind.to_owned() };
            let one = (&label, Sum { count: 1, amount: 0 });
            self.happenings.push(Happening::of(event, one, Some(event.subject)));
            self.minutes.entry((minute_of(event)?, label)).or_default().add(0)?;
            *self.days.entry((city.day(event.time), flow)).or_default() += 1;
        }
        Ok(())
    }

    fn submitted(&mut self, id: Uuid, read: ReportSubmitted) -> Flow {
        if !self.known.contains_key(&id) {
            let place = Place { state: RECEIVED.to_owned(), agency: String::new(), ward: read.ward_code.clone() };
            self.stand(id, Case { version: 1, place, overdue: false });
        }
        Flow { kind: "submitted", category: read.category, ward: read.ward_code, ..Flow::default() }
    }

    fn moved(&mut self, event: &Event, read: ReportMoved) -> Option<Flow> {
        let unrated = read.action == "expire" && read.from_state == PUBLISHED;
        let flow = unrated.then(|| rated(UNRATED, read.lead_agency.clone()));
        if self.known.get(&event.subject).is_none_or(|case| case.version < read.version) {
            let state = bounded_state(&read.to_state);
            // A clock that goes on after a stop may have run out before it.
            let overdue = limits_someone(state) && read.due_at != 0 && read.due_at <= event.time.timestamp();
            let place = Place { state: state.to_owned(), agency: read.lead_agency, ward: read.ward_code };
            self.stand(event.subject, Case { version: read.version, place, overdue });
        }
        flow
    }

    fn escalated(&mut self, id: Uuid, read: ReportEscalated) -> Option<Flow> {
        let late = self.known.get(&id).filter(|case| case.place.state == read.state && !case.overdue);
        if let Some(case) = late.filter(|case| read.level >= BREACH && limits_someone(&case.place.state)) {
            let case = Case { overdue: true, ..case.clone() };
            self.stand(id, case);
        }
        (read.level == BREACH).then(|| Flow {
            kind: "breach",
            outcome: bounded_state(&read.state),
            agency: read.agency,
            ..Flow::default()
        })
    }

    /// Moves a report to where it stands now.
    fn stand(&mut self, id: Uuid, case: Case) {
        self.standing.entry(case.place.clone()).or_default().add(1, &case);
        if let Some(before) = self.known.insert(id, case) {
            self.standing.entry(before.place.clone()).or_default().add(-1, &before);
        }
        self.changed.insert(id);
    }
}

impl Change {
    fn add(&mut self, sign: i64, case: &Case) {
        self.reports += sign;
        self.overdue += sign * i64::from(case.overdue);
    }
}

fn published(read: ResultPublished) -> Flow {
    let outcome = match (read.kept_first, read.kept_extended) {
        (true, _) => "first",
        (false, true) => "extended",
        (false, false) => "late",
    };
    Flow { kind: "result", outcome, agency: read.agency, ..Flow::default() }
}

fn rated(rating: &'static str, agency: String) -> Flow {
    Flow { kind: "rating", outcome: rating, agency, ..Flow::default() }
}

/// Whether a state's limit is that of an office: in the others the city waits for the citizen, or nothing runs.
fn limits_someone(state: &str) -> bool {
    OPEN.contains(&state) && state != NEEDS_INFO
}

fn bounded_state(state: &str) -> &'static str {
    match bounded(state, &OPEN) {
        OTHER => bounded(state, &ENDED),
        open => open,
    }
}

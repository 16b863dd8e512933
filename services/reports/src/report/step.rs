//! Something is done to a report.

mod row;

use chrono::{DateTime, Utc};
use platform::idempotency::Answer;
use platform::outbox::NewEvent;
use sqlx::PgConnection;
use uuid::Uuid;

pub(crate) use self::row::Row;
use super::{Deed, Done, Standing, round};
use crate::error::Error;
use crate::history::{self, Entry};
use crate::lifecycle::{Action, Actor, Case, Kept, Rating, State, decide};
use crate::metrics::Count;
use crate::person::Said;
use crate::{Reports, escalation, event, together};

/// A deed that was decided.
#[derive(Debug)]
pub(crate) struct Step {
    row: Row,
    pub(crate) done: Done,
}

/// What is kept beside a report, and told of it.
#[derive(Debug, Default)]
struct Outcome {
    kept: Option<Kept>,
    rating: Option<Rating>,
    event: Option<NewEvent>,
    count: Option<Count>,
}

/// Decides about a deed.
///
/// # Errors
/// What the state machine refuses; an agency or a report that is named and does not exist; `NotFound` to a reporter who was erased.
pub(crate) async fn prepare(reports: &Reports, standing: &Standing, mut deed: Deed) -> Result<Step, Error> {
    let now = reports.now();
    let Standing { filed, case: before, .. } = standing;
    if let Action::SubmitResult(count) = &mut deed.action {
        *count = standing.evidence;
    }
    let moment = reports.moment(now, &filed.category);
    let after = decide(before, &deed.actor, deed.version, &deed.action, moment)?;
    named(reports, filed.id, &deed.action).await?;
    let said = match deed.actor {
        Actor::Reporter => {
            let words = (&deed.details, deed.said("comment"));
            Said::of_reporter(reports, (standing, after.version), words).await?
        }
        _ => Said::plain(&deed.details),
    };
    let due_at = reports.due(&after);
    let Outcome { kept, rating, event, count } = ended(standing, &after, &deed.action);
    let moved = event::moved(filed, before, &after, deed.action.name(), due_at.map_or(0, |due| due.timestamp()));
    let notice = standing.reporter.map(|reporter| {
        let name = reports.city.name_of_category(&filed.category);
        event::notice(filed, &name, reporter, deed.action.name(), &after)
    });
    let row = Row {
        report: filed.id,
        before: (before.version, round(before)),
        due_at,
        first_due_at: after.handling.and_then(|handling| handling.first_due(&reports.time)),
        merged_into: match deed.action {
            Action::Merge(into) => Some(into),
            _ => None,
        },
        publishes: matches!(deed.action, Action::Distribute(_)),
        result: result(&deed),
        kept,
        rating,
        entry: entry(standing, &after, (&deed, &said), now),
        said,
        last_hash: standing.last_hash.clone(),
        has_reporter: standing.reporter.is_some(),
        plan: escalation::plan(reports, filed.id, Some(before), &after),
        events: [Some(moved), event, notice].into_iter().flatten().collect(),
        answer: None,
        after: after.clone(),
        public_text: deed.public_text,
    };
    let counts = count.into_iter().chain([Count::Moved(deed.action.name())]).collect();
    Ok(Step { row, done: Done { id: filed.id, case: after, counts } })
}

/// Whether what an action names exists. The statement that writes looks again at a report to merge into.
async fn named(reports: &Reports, id: Uuid, action: &Action) -> Result<(), Error> {
    match action {
        Action::Distribute(assignment) => {
            let mut codes = assignment.co.iter().chain([&assignment.lead]);
            if codes.all(|code| reports.city.agencies.get(code).is_some()) { Ok(()) } else { Err(Error::AgencyUnknown) }
        }
        Action::Merge(into) => {
            let state = sqlx::query_scalar!("SELECT state FROM reports.report WHERE id = $1 AND id <> $2", into, id)
                .fetch_optional(&reports.pool)
                .await?;
            if state.is_some_and(|state| state != "duplicate") { Ok(()) } else { Err(Error::MergeTarget) }
        }
        _ => Ok(()),
    }
}

/// What is kept and told beside the report when a round's result is published, rated or left unrated.
fn ended(standing: &Standing, after: &Case, action: &Action) -> Outcome {
    let Standing { filed, case: before, .. } = standing;
    match action {
        Action::Approve => {
            let kept = after.handling.expect("published work had a time").kept();
            let event = Some(event::published(filed, after, kept));
            Outcome { kept: Some(kept), event, count: Some(Count::Published(kept)), ..Outcome::default() }
        }
        Action::Rate(rating) => {
            let event = Some(event::rated(filed, before, *rating));
            Outcome { rating: Some(*rating), event, count: Some(Count::Ended(Some(*rating))), ..Outcome::default() }
        }
        Action::Expire if after.state == State::Closed => {
            Outcome { count: Some(Count::Ended(None)), ..Outcome::default() }
        }
        _ => Outcome::default(),
    }
}

/// Its row of history, as it is hashed.
fn entry(standing: &Standing, after: &Case, (deed, said): (&Deed, &Said), now: DateTime<Utc>) -> Entry {
    let (kind, agency) = history::actor(&deed.actor);
    Entry {
        version: after.version,
        action: deed.action.name().to_owned(),
        from_state: Some(standing.case.state.name().to_owned()),
        to_state: after.state.name().to_owned(),
        round: round(after),
        actor: kind.to_owned(),
        agency: agency.map(ToOwned::to_owned),
        officer_id: deed.officer,
        details: said.details.clone(),
        occurred_at: now,
    }
}

/// The result, if the deed changes it.
fn result(deed: &Deed) -> Option<Option<String>> {
    match deed.action {
        Action::SubmitResult(_) => Some(deed.said("text").map(ToOwned::to_owned)),
        Action::Reopen => Some(None),
        _ => None,
    }
}

impl Step {
    /// Writes all of it with the answer to its request, in one statement; nothing and `None` when the report moved on, its reporter was
    /// erased, the report to merge into can't be merged into any more, or the key was answered. What a reporter says is written while
    /// their key is held.
    pub(crate) async fn write(self, reports: &Reports, answer: Answer) -> Result<Option<Done>, sqlx::Error> {
        let Self { row, done } = self;
        let written = row::write(reports, Row { answer: Some(answer), ..row }).await?;
        Ok(written.then_some(done))
    }

    /// The same without a request, as a part of a transaction.
    pub(crate) async fn write_in(self, tx: &mut PgConnection) -> Result<Option<Done>, sqlx::Error> {
        Ok(together::write_alone(tx, &self.row).await?.then_some(self.done))
    }
}

//! Something is done to a report.

use chrono::{DateTime, Utc};
use platform::idempotency::{Answer, answered_meanwhile};
use platform::outbox::{EventColumns, NewEvent};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Deed, Done, Standing, round};
use crate::error::Error;
use crate::history::{self, Entry};
use crate::lifecycle::{Action, Actor, Case, Kept, Rating, State, decide};
use crate::metrics::Count;
use crate::person::Said;
use crate::{Reports, SCHEMA, escalation, event};

/// A deed that was decided: everything that is to be written of it.
#[derive(Debug)]
pub(crate) struct Step<'a> {
    standing: &'a Standing,
    deed: Deed,
    said: Said,
    due_at: Option<DateTime<Utc>>,
    first_due_at: Option<DateTime<Utc>>,
    outcome: Outcome,
    plan: escalation::Plan,
    events: Vec<NewEvent>,
    now: DateTime<Utc>,
    pub(crate) done: Done,
}

/// What is kept beside a report.
#[derive(Clone, Copy, Debug, Default)]
struct Outcome {
    /// Of a round whose result is published.
    kept: Option<Kept>,
    /// Of a round that the reporter rated.
    rating: Option<Rating>,
}

/// Decides about a deed.
///
/// # Errors
/// What the state machine refuses; an agency or a report that is named and does not exist; `NotFound` to a reporter who was erased.
pub(crate) async fn prepare<'a>(
    reports: &Reports,
    connection: &mut PgConnection,
    standing: &'a Standing,
    mut deed: Deed,
) -> Result<Step<'a>, Error> {
    let now = reports.now();
    let Standing { filed, case: before, .. } = standing;
    if let Action::SubmitResult(count) = &mut deed.action {
        *count = standing.evidence;
    }
    let moment = reports.moment(now, &filed.category);
    let after = decide(before, &deed.actor, deed.version, &deed.action, moment)?;
    named(reports, connection, filed.id, &deed.action).await?;
    let said = match deed.actor {
        Actor::Reporter => {
            let words = (&deed.details, deed.said("comment"));
            Said::of_reporter(reports, connection, (standing, after.version), words).await?
        }
        _ => Said::plain(&deed.details),
    };
    let (outcome, told, mut counts) = ended(standing, &after, &deed.action);
    let due_at = reports.due(&after);
    let mut events =
        vec![event::moved(filed, before, &after, deed.action.name(), due_at.map_or(0, |due| due.timestamp()))];
    events.extend(told);
    if let Some(reporter) = standing.reporter {
        let name = reports.city.name_of_category(&filed.category);
        events.push(event::notice(filed, &name, reporter, deed.action.name(), &after));
    }
    counts.push(Count::Moved(deed.action.name()));
    Ok(Step {
        due_at,
        first_due_at: after.handling.and_then(|handling| handling.first_due(&reports.time)),
        plan: escalation::plan(reports, filed.id, Some(before), &after),
        done: Done { id: filed.id, case: after, counts },
        standing,
        deed,
        said,
        outcome,
        events,
        now,
    })
}

/// Whether what an action names exists. The statement that writes looks again at a report to merge into.
async fn named(reports: &Reports, connection: &mut PgConnection, id: Uuid, action: &Action) -> Result<(), Error> {
    match action {
        Action::Distribute(assignment) => {
            let mut codes = assignment.co.iter().chain([&assignment.lead]);
            if codes.all(|code| reports.city.agencies.get(code).is_some()) { Ok(()) } else { Err(Error::AgencyUnknown) }
        }
        Action::Merge(into) => {
            let state = sqlx::query_scalar!("SELECT state FROM reports.report WHERE id = $1 AND id <> $2", into, id)
                .fetch_optional(connection)
                .await?;
            if state.is_some_and(|state| state != "duplicate") { Ok(()) } else { Err(Error::MergeTarget) }
        }
        _ => Ok(()),
    }
}

/// What is kept and told beside the report when a round's result is published, rated or left unrated.
fn ended(standing: &Standing, after: &Case, action: &Action) -> (Outcome, Option<NewEvent>, Vec<Count>) {
    let Standing { filed, case: before, .. } = standing;
    match action {
        Action::Approve => {
            let kept = after.handling.expect("published work had a time").kept();
            let outcome = Outcome { kept: Some(kept), rating: None };
            (outcome, Some(event::published(filed, after, kept)), vec![Count::Published(kept)])
        }
        Action::Rate(rating) => {
            let outcome = Outcome { kept: None, rating: Some(*rating) };
            (outcome, Some(event::rated(filed, before, *rating)), vec![Count::Ended(Some(*rating))])
        }
        Action::Expire if after.state == State::Closed => (Outcome::default(), None, vec![Count::Ended(None)]),
        _ => (Outcome::default(), None, Vec::new()),
    }
}

impl Step<'_> {
    /// Its row of history, as it is hashed.
    fn entry(&self) -> Entry {
        let ((kind, agency), after) = (history::actor(&self.deed.actor), &self.done.case);
        Entry {
            version: after.version,
            action: self.deed.action.name().to_owned(),
            from_state: Some(self.standing.case.state.name().to_owned()),
            to_state: after.state.name().to_owned(),
            round: round(after),
            actor: kind.to_owned(),
            agency: agency.map(ToOwned::to_owned),
            officer_id: self.deed.officer,
            details: self.said.details.clone(),
            occurred_at: self.now,
        }
    }

    /// The result, if the step changes it: it stands from its submission until the report is looked at again.
    fn result(&self) -> Option<Option<&str>> {
        match self.deed.action {
            Action::SubmitResult(_) => Some(self.deed.said("text")),
            Action::Reopen => Some(None),
            _ => None,
        }
    }

    /// Writes all of it in one statement, and the answer if there is one to give; `false` when the report moved on, its reporter was erased,
    /// the report to merge into can't be merged into any more, or the key was answered, and nothing is written. What a reporter says is
    /// written while their key is held.
    pub(crate) async fn write(
        &self,
        connection: &mut PgConnection,
        answer: Option<&Answer<'_>>,
    ) -> Result<bool, sqlx::Error> {
        let (Standing { filed, case: before, last_hash, .. }, after, deed) =
            (self.standing, &self.done.case, &self.deed);
        let merged_into = match deed.action {
            Action::Merge(into) => Some(into),
            _ => None,
        };
        let (entry, result, Outcome { kept, rating }) = (self.entry(), self.result(), self.outcome);
        let events = EventColumns::of(SCHEMA, &self.events);
        let (job, key) = (self.plan.job.as_ref(), answer.map(|answer| answer.key));
        let written = sqlx::query!(
            r#"WITH target AS MATERIALIZED (
                SELECT id FROM reports.report WHERE id = $12 AND id <> $1 AND state <> 'duplicate' FOR SHARE
            ), moved AS (
                UPDATE reports.report SET state = $3, version = $4, round = $5, lead_agency = $6, co_agencies = $7, progress = $8,
                    due_at = $9, first_due_at = $10, updated_at = $11, merged_into = $12,
                    public_since = CASE WHEN $13 THEN coalesce(public_since, $11) ELSE public_since END,
                    public_body = CASE WHEN erased_at IS NULL THEN coalesce($14, public_body) ELSE public_body END,
                    result = CASE WHEN $15 THEN $16 ELSE result END
                WHERE id = $1 AND version = $2 AND (erased_at IS NULL OR NOT $50) AND ($12::uuid IS NULL OR EXISTS (SELECT 1 FROM target))
                    AND ($51::uuid IS NULL OR reports.hold_person_key($51))
                RETURNING id, category, lead_agency, version, state, round
            ), entered AS (
                INSERT INTO reports.history (report_id, version, action, from_state, to_state, round, actor, agency, officer_id, details,
                    occurred_at, previous_hash, hash, details_sealed)
                SELECT id, version, $17, $18, state, round, $19, $20, $21, $22, $11, $23, $24, $52 FROM moved RETURNING report_id
            ), published AS (
                INSERT INTO reports.outcome (report_id, round, category, agency, kept_first, kept_extended, published_at)
                SELECT id, round, category, coalesce(lead_agency, ''), $25, $26, $11 FROM moved WHERE $25::boolean IS NOT NULL
                RETURNING report_id
            ), rated AS (
                INSERT INTO reports.rating (report_id, round, rating, comment_sealed, rated_at)
                SELECT id, $27, $28, $29, $11 FROM moved WHERE $28::text IS NOT NULL RETURNING report_id
            )
            SELECT reports.answer_key($30, $31, $32, $33, $34, $35, $11),
                reports.replan_job($36, $37, $38, $39, $40, $41, $42, $11, $43),
                reports.append_event($44, $45, $46, $47, $48, $49, $11)
            FROM entered, (SELECT count(*) FROM published) AS published, (SELECT count(*) FROM rated) AS rated"#,
            filed.id,
            before.version,
            after.state.name(),
            after.version,
            round(after),
            after.lead,
            &after.co,
            json!(after),
            self.due_at,
            self.first_due_at,
            self.now,
            merged_into,
            matches!(deed.action, Action::Distribute(_)),
            deed.public_text,
            result.is_some(),
            result.flatten(),
            entry.action,
            entry.from_state,
            entry.actor,
            entry.agency,
            entry.officer_id,
            self.said.stored(),
            last_hash,
            &entry.hash(filed.id, last_hash)[..],
            kept.map(|kept| kept.first),
            kept.map(|kept| kept.extended),
            round(before),
            rating.map(Rating::name),
            self.said.comment_sealed,
            key.map(|key| key.caller),
            key.map(|key| key.operation),
            key.map(|key| key.key.as_str()),
            key.map(|key| &key.fingerprint[..]),
            answer.map(|answer| answer.status),
            answer.map(|answer| &answer.body),
            escalation::JOB,
            self.plan.taken_back,
            job.map(|job| job.id),
            job.map(|job| job.key.as_str()),
            job.map(|job| job.due_at),
            job.map(|job| &job.payload),
            job.and_then(|job| job.traceparent.as_deref()),
            job.is_some_and(|job| job.wakes),
            &events.streams as &[&str],
            &events.ids,
            &events.kinds as &[&str],
            &events.subjects,
            &events.traces as &[Option<&str>],
            &events.data as &[&[u8]],
            self.standing.reporter.is_some(),
            self.said.citizen,
            self.said.details_sealed
        )
        .fetch_optional(connection)
        .await;
        match written {
            Err(error) if answered_meanwhile(&error) => Ok(false),
            written => Ok(written?.is_some()),
        }
    }
}

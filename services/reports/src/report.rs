//! What happens to a report, each in one transaction: it is filed, and something is done to it.
//!
//! | use case | statements |
//! | --- | --- |
//! | [`file`] | count of today, report, reporter, history, job, events |
//! | [`act`] | (the row's lock, taken by the caller through [`lock`]), report, history (read and write), job taken back and set, events; a rating or an outcome |
//!
//! Locks, in order: the idempotency key, the report's row, a job's row, the outbox head. [`act`] appends events last.
//!
//! Invariants:
//! - [`crate::lifecycle::decide`] alone decides; the row is changed only from the version that was decided on.
//! - Every version has its row of history, its events and its planned escalation in the same transaction.
//! - Who sent the report is read here for the private stream and goes nowhere else.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use platform::outbox::{self, NewEvent};
use serde_json::{Value, json};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use crate::error::Error;
use crate::history::{self, Entry};
use crate::lifecycle::{Action, Actor, Case, Channel, decide};
use crate::metrics::Count;
use crate::person::Words;
use crate::{Reports, SCHEMA, city, escalation, event, redact};

/// Reports that one citizen may send within a day.
const MAX_PER_DAY: i64 = 50;

/// What a report is about, as events need it.
#[derive(Clone, Debug)]
pub(crate) struct Filed {
    pub(crate) id: Uuid,
    pub(crate) category: String,
    pub(crate) ward_code: Option<String>,
}

/// A report whose row is locked.
#[derive(Debug)]
pub(crate) struct Locked {
    pub(crate) filed: Filed,
    pub(crate) case: Case,
    pub(crate) reporter: Option<Uuid>,
}

/// A point in WGS 84.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Position {
    pub(crate) lat: f64,
    pub(crate) lon: f64,
}

/// A report to be filed.
#[derive(Debug)]
pub(crate) struct NewReport {
    pub(crate) category: String,
    pub(crate) text: String,
    pub(crate) attributes: BTreeMap<String, Value>,
    pub(crate) position: Option<Position>,
    pub(crate) address: Option<String>,
}

/// Who files it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sender {
    /// The citizen.
    Citizen(Uuid),
    /// An operator for a caller.
    Operator(Uuid),
}

/// What somebody does to a report.
#[derive(Debug)]
pub(crate) struct Deed {
    pub(crate) actor: Actor,
    pub(crate) officer: Option<Uuid>,
    pub(crate) version: i64,
    pub(crate) action: Action,
    /// What is kept of it in the history.
    pub(crate) details: Value,
    /// A text for the public in place of the citizen's.
    pub(crate) public_text: Option<String>,
}

impl Deed {
    /// What the system does to a case by itself.
    pub(crate) fn system(version: i64, action: Action) -> Self {
        Self { actor: Actor::System, officer: None, version, action, details: json!({}), public_text: None }
    }

    fn said(&self, name: &str) -> Option<&str> {
        self.details.get(name).and_then(Value::as_str)
    }
}

/// What came of a use case.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) id: Uuid,
    pub(crate) case: Case,
    pub(crate) counts: Vec<Count>,
}

/// Locks a report's row until the transaction ends.
pub(crate) async fn lock(tx: &mut PgConnection, id: Uuid) -> Result<Option<Locked>, sqlx::Error> {
    let row = sqlx::query!(
        r#"SELECT report.category, report.ward_code, report.progress AS "progress: Json<Case>", reporter.user_id AS "reporter?"
           FROM reports.report AS report LEFT JOIN reports.reporter AS reporter ON reporter.report_id = report.id
           WHERE report.id = $1 FOR UPDATE OF report"#,
        id
    )
    .fetch_optional(tx)
    .await?;
    Ok(row.map(|row| Locked {
        filed: Filed { id, category: row.category, ward_code: row.ward_code },
        case: row.progress.0,
        reporter: row.reporter,
    }))
}

/// Files a report.
///
/// # Errors
/// When the category is unknown, its form is not met, the position lies outside the city, or the citizen sent too many.
pub(crate) async fn file(
    reports: &Reports,
    tx: &mut PgConnection,
    sender: Sender,
    new: &NewReport,
) -> Result<Done, Error> {
    let now = reports.now();
    let category = reports.city.category(&new.category).ok_or(Error::CategoryUnknown)?;
    city::check_form(&category.form, &new.attributes).map_err(Error::Attribute)?;
    let ward = match new.position {
        Some(Position { lat, lon }) => Some(reports.city.ward_at(lon, lat).ok_or(Error::OutsideCity)?),
        None => None,
    };
    if let Sender::Citizen(user) = sender {
        within_the_day(tx, user, now).await?;
    }
    let channel = match sender {
        Sender::Citizen(_) => Channel::App,
        Sender::Operator(_) => Channel::Call,
    };
    let case = Case::submitted(category.lane, channel, reports.moment(now, &category.code));
    let ward_code = ward.map(|ward| ward.code.clone());
    let filed = Filed { id: platform::id::new(), category: category.code.clone(), ward_code };
    let words = Words::of(&reports.persons, tx, (sender, filed.id), &new.text, now).await?;
    insert(reports, tx, (&filed, &case), (new, words), now).await?;
    let (actor, officer) = match sender {
        Sender::Citizen(user) => {
            sqlx::query!("INSERT INTO reports.reporter (report_id, user_id) VALUES ($1, $2)", filed.id, user)
                .execute(&mut *tx)
                .await?;
            (Actor::Reporter, None)
        }
        Sender::Operator(officer) => (Actor::Ioc, Some(officer)),
    };
    let entry = first_entry(&case, &actor, officer, now);
    history::append(tx, filed.id, &entry).await?;
    escalation::plan(reports, tx, filed.id, None, &case).await?;
    let word = if channel == Channel::App { "app" } else { "call" };
    let mut events = vec![event::submitted(&filed, &case, word)];
    if let Sender::Citizen(user) = sender {
        events.push(event::notice(&filed, &category.name, user, "submit", &case));
    }
    outbox::append(tx, SCHEMA, now, &events).await?;
    let counts = vec![Count::Submitted { category: filed.category, channel: word }];
    Ok(Done { id: filed.id, case, counts })
}

async fn within_the_day(tx: &mut PgConnection, user: Uuid, now: DateTime<Utc>) -> Result<(), Error> {
    let sent = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM (
               SELECT 1 AS one FROM reports.reporter JOIN reports.report ON report.id = reporter.report_id
               WHERE reporter.user_id = $1 AND report.created_at > $2 LIMIT $3) AS today"#,
        user,
        now - TimeDelta::days(1),
        MAX_PER_DAY
    )
    .fetch_one(tx)
    .await?;
    if sent >= MAX_PER_DAY { Err(Error::TooManyReports) } else { Ok(()) }
}

async fn insert(
    reports: &Reports,
    tx: &mut PgConnection,
    (filed, case): (&Filed, &Case),
    (new, words): (&NewReport, Words),
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let agency = reports.city.agencies.propose(&filed.category, filed.ward_code.as_deref());
    sqlx::query!(
        "INSERT INTO reports.report (id, category, lane, body, public_body, attributes, lon, lat, address, ward_code, agency_code,
             state, version, round, co_agencies, progress, due_at, created_at, updated_at, body_sealed)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, '{}', $15, $16, $17, $17, $18)",
        filed.id,
        filed.category,
        case.lane.name(),
        words.plain,
        redact::text(&new.text),
        json!(new.attributes),
        new.position.map(|position| position.lon),
        new.position.map(|position| position.lat),
        new.address,
        filed.ward_code,
        agency.map(|agency| agency.code.as_str()),
        case.state.name(),
        case.version,
        round(case),
        json!(case),
        reports.due(case),
        now,
        words.sealed
    )
    .execute(tx)
    .await
    .map(|_| ())
}

fn round(case: &Case) -> i32 {
    i32::try_from(case.round).unwrap_or(i32::MAX)
}

/// The first row of a history.
fn first_entry(case: &Case, actor: &Actor, officer: Option<Uuid>, now: DateTime<Utc>) -> Entry {
    let (kind, agency) = history::actor(actor);
    Entry {
        version: case.version,
        action: "submit".to_owned(),
        from_state: None,
        to_state: case.state.name().to_owned(),
        round: round(case),
        actor: kind.to_owned(),
        agency: agency.map(ToOwned::to_owned),
        officer_id: officer,
        details: json!({}).to_string(),
        occurred_at: now,
    }
}

/// A deed that was decided.
#[derive(Clone, Copy, Debug)]
struct Change<'a> {
    filed: &'a Filed,
    before: &'a Case,
    after: &'a Case,
    deed: &'a Deed,
    now: DateTime<Utc>,
}

impl Change<'_> {
    /// Its row of history.
    fn entry(&self) -> Entry {
        let (kind, agency) = history::actor(&self.deed.actor);
        Entry {
            version: self.after.version,
            action: self.deed.action.name().to_owned(),
            from_state: Some(self.before.state.name().to_owned()),
            to_state: self.after.state.name().to_owned(),
            round: round(self.after),
            actor: kind.to_owned(),
            agency: agency.map(ToOwned::to_owned),
            officer_id: self.deed.officer,
            details: self.deed.details.to_string(),
            occurred_at: self.now,
        }
    }
}

/// Does something to a report whose row the transaction has locked.
///
/// # Errors
/// What the state machine refuses; an agency or a report that is named and does not exist.
pub(crate) async fn act(
    reports: &Reports,
    tx: &mut PgConnection,
    locked: &Locked,
    mut deed: Deed,
) -> Result<Done, Error> {
    let now = reports.now();
    let Locked { filed, case: before, .. } = locked;
    if let Action::SubmitResult(count) = &mut deed.action {
        *count = evidence(tx, filed.id, before).await?;
    }
    let moment = reports.moment(now, &filed.category);
    let after = decide(before, &deed.actor, deed.version, &deed.action, moment)?;
    named(reports, tx, filed.id, &deed.action).await?;
    let change = Change { filed, before, after: &after, deed: &deed, now };
    update(reports, tx, change).await?;
    history::append(tx, filed.id, &change.entry()).await?;
    let (mut events, mut counts) = settled(tx, change).await?;
    escalation::plan(reports, tx, filed.id, Some(before), &after).await?;
    let due = reports.due(&after).map_or(0, |due| due.timestamp());
    events.insert(0, event::moved(filed, before, &after, deed.action.name(), due));
    if let Some(reporter) = locked.reporter {
        let name = reports.city.name_of_category(&filed.category);
        events.push(event::notice(filed, &name, reporter, deed.action.name(), &after));
    }
    outbox::append(tx, SCHEMA, now, &events).await?;
    counts.push(Count::Moved(deed.action.name()));
    Ok(Done { id: filed.id, case: after, counts })
}

/// Photos that the leading agency gave as evidence in this round.
async fn evidence(tx: &mut PgConnection, id: Uuid, case: &Case) -> Result<usize, sqlx::Error> {
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM reports.attachment
           WHERE report_id = $1 AND kind = 'evidence' AND round = $2 AND agency = $3"#,
        id,
        round(case),
        case.lead
    )
    .fetch_one(tx)
    .await?;
    Ok(usize::try_from(count).unwrap_or_default())
}

/// Whether what an action names exists.
async fn named(reports: &Reports, tx: &mut PgConnection, id: Uuid, action: &Action) -> Result<(), Error> {
    match action {
        Action::Distribute(assignment) => {
            let mut codes = assignment.co.iter().chain([&assignment.lead]);
            if codes.all(|code| reports.city.agencies.get(code).is_some()) { Ok(()) } else { Err(Error::AgencyUnknown) }
        }
        Action::Merge(into) => {
            let state =
                sqlx::query_scalar!("SELECT state FROM reports.report WHERE id = $1 AND id <> $2 FOR SHARE", into, id)
                    .fetch_optional(tx)
                    .await?;
            if state.is_some_and(|state| state != "duplicate") { Ok(()) } else { Err(Error::MergeTarget) }
        }
        _ => Ok(()),
    }
}

async fn update(reports: &Reports, tx: &mut PgConnection, change: Change<'_>) -> Result<(), Error> {
    let Change { filed, before, after, deed, now } = change;
    let merged_into = match deed.action {
        Action::Merge(into) => Some(into),
        _ => None,
    };
    // A result stands from its submission until the report is looked at again.
    let result = match deed.action {
        Action::SubmitResult(_) => Some(deed.said("text")),
        Action::Reopen => Some(None),
        _ => None,
    };
    let first_due = after.handling.and_then(|handling| handling.first_due(&reports.time));
    let updated = sqlx::query!(
        "UPDATE reports.report SET state = $3, version = $4, round = $5, lead_agency = $6, co_agencies = $7, progress = $8,
             due_at = $9, first_due_at = $10, updated_at = $11, merged_into = $12,
             public_since = CASE WHEN $13 THEN coalesce(public_since, $11) ELSE public_since END,
             public_body = coalesce($14, public_body), result = CASE WHEN $15 THEN $16 ELSE result END
         WHERE id = $1 AND version = $2",
        filed.id,
        before.version,
        after.state.name(),
        after.version,
        round(after),
        after.lead,
        &after.co,
        json!(after),
        reports.due(after),
        first_due,
        now,
        merged_into,
        matches!(deed.action, Action::Distribute(_)),
        deed.public_text,
        result.is_some(),
        result.flatten()
    )
    .execute(tx)
    .await?;
    if updated.rows_affected() == 1 { Ok(()) } else { Err(crate::lifecycle::Refusal::Stale(before.version).into()) }
}

/// What is kept beside the report when a round's result is published, rated or left unrated.
async fn settled(tx: &mut PgConnection, change: Change<'_>) -> Result<(Vec<NewEvent>, Vec<Count>), Error> {
    let Change { filed, before, after, deed, now } = change;
    match deed.action {
        Action::Approve => {
            let kept = after.handling.expect("published work had a time").kept();
            sqlx::query!(
                "INSERT INTO reports.outcome (report_id, round, category, agency, kept_first, kept_extended, published_at)
                 VALUES ($1, $2, $3, $4, $5, $6, $7)",
                filed.id,
                round(after),
                filed.category,
                after.lead.as_deref().unwrap_or_default(),
                kept.first,
                kept.extended,
                now
            )
            .execute(tx)
            .await?;
            Ok((vec![event::published(filed, after, kept)], vec![Count::Published(kept)]))
        }
        Action::Rate(rating) => {
            sqlx::query!(
                "INSERT INTO reports.rating (report_id, round, rating, comment, rated_at) VALUES ($1, $2, $3, $4, $5)",
                filed.id,
                round(before),
                rating.name(),
                deed.said("comment"),
                now
            )
            .execute(tx)
            .await?;
            Ok((vec![event::rated(filed, before, rating)], vec![Count::Ended(Some(rating))]))
        }
        Action::Expire if after.state == crate::lifecycle::State::Closed => Ok((Vec::new(), vec![Count::Ended(None)])),
        _ => Ok((Vec::new(), Vec::new())),
    }
}

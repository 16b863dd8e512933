//! A report is filed.

use chrono::{DateTime, TimeDelta, Utc};
use platform::idempotency::{Answer, Key, Known, answered_meanwhile};
use platform::outbox::{EventColumns, NewEvent};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Done, Filed, NewReport, Position, Sender, round};
use crate::error::Error;
use crate::history::{self, Entry};
use crate::lifecycle::{Actor, Case, Channel};
use crate::metrics::Count;
use crate::person::Written;
use crate::{Reports, SCHEMA, city, escalation, event, redact};

/// Reports that one citizen may send within a day.
const MAX_PER_DAY: i64 = 50;

/// A report that may be filed: everything that is to be written of it.
#[derive(Debug)]
pub(crate) struct Filing<'a> {
    filed: Filed,
    new: &'a NewReport,
    sender: Sender,
    written: Written,
    agency: Option<&'a str>,
    due_at: Option<DateTime<Utc>>,
    plan: escalation::Plan,
    events: Vec<NewEvent>,
    now: DateTime<Utc>,
    pub(crate) done: Done,
}

/// What is known of a key, and how many reports its caller sent within a day.
pub(crate) async fn look(
    connection: &mut PgConnection,
    key: &Key,
    now: DateTime<Utc>,
) -> Result<(Known, i64), sqlx::Error> {
    let row = sqlx::query!(
        r#"SELECT known.fingerprint AS "fingerprint?", known.status AS "status?", known.body AS "answer?",
               (SELECT count(*) FROM (
                    SELECT 1 AS one FROM reports.reporter JOIN reports.report ON report.id = reporter.report_id
                    WHERE reporter.user_id = $1 AND report.created_at > $4 LIMIT $5) AS today) AS "sent!"
           FROM (VALUES (1)) AS one LEFT JOIN reports.key_answer($1, $2, $3) AS known ON TRUE"#,
        key.caller,
        key.operation,
        key.key,
        now - TimeDelta::days(1),
        MAX_PER_DAY
    )
    .fetch_one(connection)
    .await?;
    Ok((Known { fingerprint: row.fingerprint, status: row.status, body: row.answer }, row.sent))
}

/// Decides about a new report of somebody who sent so many within a day.
///
/// # Errors
/// When the category is unknown, its form is not met, the position lies outside the city, the citizen sent too many or was erased.
pub(crate) async fn prepare<'a>(
    reports: &'a Reports,
    connection: &mut PgConnection,
    (sender, sent): (Sender, i64),
    new: &'a NewReport,
) -> Result<Filing<'a>, Error> {
    let now = reports.now();
    let category = reports.city.category(&new.category).ok_or(Error::CategoryUnknown)?;
    city::check_form(&category.form, &new.attributes).map_err(Error::Attribute)?;
    let ward = match new.position {
        Some(Position { lat, lon }) => Some(reports.city.ward_at(lon, lat).ok_or(Error::OutsideCity)?),
        None => None,
    };
    let (channel, word) = match sender {
        Sender::Citizen(_) if sent >= MAX_PER_DAY => return Err(Error::TooManyReports),
        Sender::Citizen(_) => (Channel::App, "app"),
        Sender::Operator(_) => (Channel::Call, "call"),
    };
    let case = Case::submitted(category.lane, channel, reports.moment(now, &category.code));
    let ward_code = ward.map(|ward| ward.code.clone());
    let filed = Filed { id: platform::id::new(), category: category.code.clone(), ward_code };
    let written = Written::of(reports, connection, (sender, filed.id), new, now).await?;
    let mut events = vec![event::submitted(&filed, &case, word)];
    if let Sender::Citizen(user) = sender {
        events.push(event::notice(&filed, &category.name, user, "submit", &case));
    }
    let counts = vec![Count::Submitted { category: filed.category.clone(), channel: word }];
    Ok(Filing {
        agency: reports
            .city
            .agencies
            .propose(&filed.category, filed.ward_code.as_deref())
            .map(|agency| agency.code.as_str()),
        due_at: reports.due(&case),
        plan: escalation::plan(reports, filed.id, None, &case),
        done: Done { id: filed.id, case, counts },
        filed,
        new,
        sender,
        written,
        events,
        now,
    })
}

impl Filing<'_> {
    /// The first row of its history.
    fn entry(&self) -> Entry {
        let (actor, officer) = match self.sender {
            Sender::Citizen(_) => (Actor::Reporter, None),
            Sender::Operator(officer) => (Actor::Ioc, Some(officer)),
        };
        let ((kind, agency), case) = (history::actor(&actor), &self.done.case);
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
            occurred_at: self.now,
        }
    }

    /// Whose key must stand until all is written.
    fn citizen(&self) -> Option<Uuid> {
        match self.sender {
            Sender::Citizen(user) => Some(user),
            Sender::Operator(_) => None,
        }
    }

    /// Writes all of it in one statement; `false` when the key was answered or the citizen was erased meanwhile, and nothing is written.
    pub(crate) async fn write(&self, connection: &mut PgConnection, answer: &Answer<'_>) -> Result<bool, sqlx::Error> {
        let (case, entry) = (&self.done.case, self.entry());
        let events = EventColumns::of(SCHEMA, &self.events);
        let (job, key) = (self.plan.job.as_ref(), answer.key);
        let written = sqlx::query!(
            r#"WITH filed AS (
                INSERT INTO reports.report (id, category, lane, body, public_body, attributes, lon, lat, address, ward_code, agency_code,
                    state, version, round, co_agencies, progress, due_at, created_at, updated_at, body_sealed, address_sealed,
                    answers_sealed, sealed)
                SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, '{}', $15, $16, $17, $17, $18, $45, $46,
                    TRUE
                WHERE $19::uuid IS NULL OR reports.hold_person_key($19)
                RETURNING id, state, version, round, created_at
            ), sent AS (
                INSERT INTO reports.reporter (report_id, user_id) SELECT id, $19 FROM filed WHERE $19 IS NOT NULL RETURNING report_id
            ), entered AS (
                INSERT INTO reports.history (report_id, version, action, to_state, round, actor, officer_id, details, occurred_at,
                    previous_hash, hash)
                SELECT id, version, $20, state, round, $21, $22, $23, created_at, $24, $25 FROM filed RETURNING report_id
            )
            SELECT reports.answer_key($26, $27, $28, $29, $30, $31, $17),
                reports.replan_job($32, NULL, $33, $34, $35, $36, $37, $17, $38),
                reports.append_event($39, $40, $41, $42, $43, $44, $17)
            FROM entered, (SELECT count(*) FROM sent) AS sent"#,
            self.filed.id,
            self.filed.category,
            case.lane.name(),
            self.written.body.plain,
            redact::text(&self.new.text),
            json!(self.written.attributes),
            self.new.position.map(|position| position.lon),
            self.new.position.map(|position| position.lat),
            self.written.address.plain,
            self.filed.ward_code,
            self.agency,
            case.state.name(),
            case.version,
            round(case),
            json!(case),
            self.due_at,
            self.now,
            self.written.body.sealed,
            self.citizen(),
            entry.action,
            entry.actor,
            entry.officer_id,
            entry.details,
            &history::GENESIS[..],
            &entry.hash(self.filed.id, &history::GENESIS)[..],
            key.caller,
            key.operation,
            key.key,
            &key.fingerprint[..],
            answer.status,
            answer.body,
            escalation::JOB,
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
            self.written.address.sealed,
            self.written.answers_sealed
        )
        .fetch_optional(connection)
        .await;
        match written {
            Err(error) if answered_meanwhile(&error) => Ok(false),
            written => Ok(written?.is_some()),
        }
    }
}

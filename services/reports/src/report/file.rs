//! A report is filed.

mod row;

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use platform::gather::{BATCH, Gather};
use platform::idempotency::{Answer, Key, Known};
use platform::person::{PersonError, PersonKey};
use platform::task::Task;
use serde_json::json;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

pub(crate) use self::row::Row;
use super::{Done, Filed, NewReport, Position, Sender, round};
use crate::error::Error;
use crate::history::{self, Entry};
use crate::lifecycle::{Actor, Case, Channel};
use crate::metrics::Count;
use crate::person::Written;
use crate::{Reports, city, escalation, event, redact, together};

/// Reports that one citizen may send within a day.
const MAX_PER_DAY: i64 = 50;

/// A report that may be filed.
#[derive(Debug)]
pub(crate) struct Filing {
    row: Row,
    pub(crate) done: Done,
}

/// What is known of a caller who files a report.
#[derive(Debug)]
pub(crate) struct Caller {
    /// What is known of their key.
    pub(crate) known: Known,
    /// How many reports they sent within a day.
    sent: i64,
    /// Their key of personal data as it is stored, if they have one.
    person_key: Option<Vec<u8>>,
}

/// Looks at callers that come at the same moment are one statement.
pub(crate) type Looks = Gather<(Key, DateTime<Utc>), Caller>;

/// The reader as a task, and the way to it.
pub(crate) fn looks(pool: PgPool) -> (Looks, Task) {
    Gather::start("looks-at-callers", BATCH, move |looks: Vec<(Key, DateTime<Utc>)>| {
        let pool = pool.clone();
        async move { look(&mut *pool.acquire().await?, &looks).await }
    })
}

/// What is known of each caller at a moment, in their order.
async fn look(connection: &mut PgConnection, looks: &[(Key, DateTime<Utc>)]) -> Result<Vec<Caller>, sqlx::Error> {
    let callers: Vec<Uuid> = looks.iter().map(|(key, _)| key.caller).collect();
    let operations: Vec<&str> = looks.iter().map(|(key, _)| key.operation).collect();
    let keys: Vec<&str> = looks.iter().map(|(key, _)| key.key.as_str()).collect();
    let since: Vec<DateTime<Utc>> = looks.iter().map(|(_, now)| *now - TimeDelta::days(1)).collect();
    // OFFSET 0: each is looked up by its index, also by a plan that was made while there were few.
    let rows = sqlx::query!(
        r#"SELECT known.fingerprint AS "fingerprint?", known.status AS "status?", known.body AS "answer?", today.sent AS "sent!",
               person.key AS "person_key?"
           FROM unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[])
               WITH ORDINALITY AS wanted (caller, operation, key, since, place)
           LEFT JOIN LATERAL (
               SELECT fingerprint, status, body FROM reports.key_answer(wanted.caller, wanted.operation, wanted.key) OFFSET 0
           ) AS known ON TRUE
           CROSS JOIN LATERAL (
               SELECT count(*) AS sent FROM (
                   SELECT FROM reports.reporter JOIN reports.report ON report.id = reporter.report_id
                   WHERE reporter.user_id = wanted.caller AND report.created_at > wanted.since LIMIT $5) AS report
           ) AS today
           LEFT JOIN LATERAL (SELECT key FROM reports.person_key WHERE person = wanted.caller OFFSET 0) AS person ON TRUE
           ORDER BY wanted.place"#,
        &callers,
        &operations as &[&str],
        &keys as &[&str],
        &since,
        MAX_PER_DAY
    )
    .fetch_all(connection)
    .await?;
    let caller = rows.into_iter().map(|row| Caller {
        known: Known { fingerprint: row.fingerprint, status: row.status, body: row.answer },
        sent: row.sent,
        person_key: row.person_key,
    });
    Ok(caller.collect())
}

/// Decides about a new report.
///
/// # Errors
/// When the category is unknown, its form is not met, the position lies outside the city, the citizen sent too many or was erased.
pub(crate) async fn prepare(
    reports: &Reports,
    (sender, caller): (Sender, &Caller),
    new: &NewReport,
) -> Result<Filing, Error> {
    let now = reports.now();
    let category = reports.city.category(&new.category).ok_or(Error::CategoryUnknown)?;
    city::check_form(&category.form, &new.attributes).map_err(Error::Attribute)?;
    let ward = match new.position {
        Some(Position { lat, lon }) => Some(reports.city.ward_at(lon, lat).ok_or(Error::OutsideCity)?),
        None => None,
    };
    let (channel, word) = match sender {
        Sender::Citizen(_) if caller.sent >= MAX_PER_DAY => return Err(Error::TooManyReports),
        Sender::Citizen(_) => (Channel::App, "app"),
        Sender::Operator(_) => (Channel::Call, "call"),
    };
    let case = Case::submitted(category.lane, channel, reports.moment(now, &category.code));
    let ward_code = ward.map(|ward| ward.code.clone());
    let filed = Filed { id: platform::id::new(), category: category.code.clone(), ward_code };
    let written = match sender {
        Sender::Citizen(user) => {
            let key = reporter_key(reports, (user, caller), now).await?;
            Written::of_reporter(reports, &key, filed.id, new)
        }
        Sender::Operator(_) => Written::plain(new),
    };
    let mut events = vec![event::submitted(&filed, &case, word)];
    if let Sender::Citizen(user) = sender {
        events.push(event::notice(&filed, &category.name, user, "submit", &case));
    }
    let counts = vec![Count::Submitted { category: filed.category.clone(), channel: word }];
    let agency = reports.city.agencies.propose(&filed.category, filed.ward_code.as_deref());
    let row = Row {
        agency: agency.map(|agency| agency.code.clone()),
        public_text: redact::text(&new.text),
        position: new.position,
        citizen: match sender {
            Sender::Citizen(user) => Some(user),
            Sender::Operator(_) => None,
        },
        written,
        due_at: reports.due(&case),
        entry: entry(&case, sender, now),
        plan: escalation::plan(reports, filed.id, None, &case),
        events,
        answer: None,
        case: case.clone(),
        filed: filed.clone(),
    };
    Ok(Filing { row, done: Done { id: filed.id, case, counts } })
}

/// The reporter's key as it was looked at; made when they had none.
async fn reporter_key(
    reports: &Reports,
    (user, caller): (Uuid, &Caller),
    now: DateTime<Utc>,
) -> Result<PersonKey, PersonError> {
    match &caller.person_key {
        Some(key) => Ok(reports.persons.of_column(user, key)?),
        None => reports.persons.make_for_holding(&mut *reports.pool.acquire().await?, user, now).await,
    }
}

/// The first row of its history.
fn entry(case: &Case, sender: Sender, now: DateTime<Utc>) -> Entry {
    let (actor, officer) = match sender {
        Sender::Citizen(_) => (Actor::Reporter, None),
        Sender::Operator(officer) => (Actor::Ioc, Some(officer)),
    };
    let (kind, agency) = history::actor(&actor);
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

impl Filing {
    /// Writes all of it with the answer to its request, in one statement with others of the same moment; nothing and `None` when the key
    /// was answered, or the citizen was erased or sent as many as one may, meanwhile.
    pub(crate) async fn write(self, reports: &Reports, answer: Answer) -> Result<Option<Done>, sqlx::Error> {
        let Self { row, done } = self;
        let row = Arc::new(Row { answer: Some(answer), ..row });
        Ok(together::write(&reports.together.filings, &reports.pool, row).await?.then_some(done))
    }
}

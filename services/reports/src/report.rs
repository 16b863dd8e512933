//! What happens to a report: it is filed, and something is done to it.
//!
//! | use case | round trips |
//! | --- | --- |
//! | [`file`] | a look: key, count of today, and the reporter's key, which is made if there is none (1 more); then one statement: report, reporter, history, job, answer, events |
//! | [`step`] | [`look`]: key, report, and the reporter's key; then one statement: report, history, a rating or an outcome, job taken back and set, answer, events |
//!
//! Looks of the same moment are one statement, and so is what is written at the same moment ([`crate::together`]).
//! Nothing is locked between the look and the statement: it changes the report only from the version that was looked at, and fails
//! when the key was answered meanwhile. Whoever was overtaken looks again. Jobs hold the report's row instead ([`lock`]).
//!
//! Locks, in order: the report and the one to merge into by their ids; of each of the steps that are written together, by their reports' ids,
//! the reporter's key and the report; of each new report the reporter's key and what counts their reports of a day; the idempotency keys,
//! the jobs, the outbox head.
//!
//! Invariants:
//! - [`crate::lifecycle::decide`] alone decides; the row is changed only from the version that was decided on.
//! - Every version has its row of history, its events, its planned escalation and the answer to its request in the same transaction.
//! - Who sent the report is read here for the private stream and goes nowhere else.

pub(crate) mod file;
pub(crate) mod step;

use std::collections::BTreeMap;

use platform::gather::{BATCH, Gather};
use platform::idempotency::{Key, Known};
use platform::task::Task;
use serde_json::{Value, json};
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::history;
use crate::lifecycle::{Action, Actor, Case};
use crate::metrics::Count;

/// What a report is about, as events need it.
#[derive(Clone, Debug)]
pub(crate) struct Filed {
    pub(crate) id: Uuid,
    pub(crate) category: String,
    pub(crate) ward_code: Option<String>,
}

/// A report as it stands.
#[derive(Debug)]
pub(crate) struct Standing {
    pub(crate) filed: Filed,
    pub(crate) case: Case,
    /// Who sent it, unless they were erased.
    pub(crate) reporter: Option<Uuid>,
    /// Their key as it is stored, if they have one.
    pub(crate) reporter_key: Option<Vec<u8>>,
    /// The hash of its newest row of history.
    pub(crate) last_hash: Vec<u8>,
    /// Photos that the leading agency gave as evidence in this round.
    pub(crate) evidence: usize,
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
#[derive(Clone, Debug)]
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

/// A look at a report: which, and under whose key something is to be done to it.
pub(crate) type Look = (Uuid, Option<Key>);

/// What is known of the key, and how the report stands, if there is one.
pub(crate) type Seen = (Known, Option<Standing>);

/// Looks of requests that come at the same moment are one statement.
pub(crate) type Looks = Gather<Look, Seen>;

/// The reader as a task, and the way to it.
pub(crate) fn looks(pool: PgPool) -> (Looks, Task) {
    Gather::start("looks-at-reports", BATCH, move |looks: Vec<Look>| {
        let pool = pool.clone();
        async move { look(&mut *pool.acquire().await?, &looks).await }
    })
}

/// What each look sees, in their order.
async fn look(connection: &mut PgConnection, looks: &[Look]) -> Result<Vec<Seen>, sqlx::Error> {
    let ids: Vec<Uuid> = looks.iter().map(|(id, _)| *id).collect();
    let keys = || looks.iter().map(|(_, key)| key.as_ref());
    let callers: Vec<Option<Uuid>> = keys().map(|key| key.map(|key| key.caller)).collect();
    let operations: Vec<Option<&str>> = keys().map(|key| key.map(|key| key.operation)).collect();
    let names: Vec<Option<&str>> = keys().map(|key| key.map(|key| key.key.as_str())).collect();
    // OFFSET 0: each is looked up by its index, also by a plan that was made while there were few.
    let rows = sqlx::query!(
        r#"SELECT wanted.id AS "id!", known.fingerprint AS "fingerprint?", known.status AS "status?", known.body AS "answer?",
               found.category AS "category?", found.ward_code AS "ward_code?", found.progress AS "progress?: Json<Case>",
               found.reporter AS "reporter?", found.reporter_key AS "reporter_key?", found.hash AS "hash?", found.evidence AS "evidence?"
           FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[]) WITH ORDINALITY AS wanted (id, caller, operation, key, place)
           LEFT JOIN LATERAL (
               SELECT fingerprint, status, body FROM reports.key_answer(wanted.caller, wanted.operation, wanted.key) OFFSET 0
           ) AS known ON TRUE
           LEFT JOIN LATERAL (
               SELECT report.category, report.ward_code, report.progress, person_key.key AS reporter_key, history.hash,
                   CASE WHEN report.erased_at IS NULL AND person_key.destroyed_at IS NULL THEN reporter.user_id END AS reporter,
                   (SELECT count(*) FROM reports.attachment
                    WHERE report_id = report.id AND kind = 'evidence' AND round = report.round AND agency = report.lead_agency) AS evidence
               FROM reports.report
               LEFT JOIN reports.reporter ON reporter.report_id = report.id
               LEFT JOIN reports.person_key ON person_key.person = reporter.user_id
               LEFT JOIN reports.history ON history.report_id = report.id AND history.version = report.version
               WHERE report.id = wanted.id OFFSET 0
           ) AS found ON TRUE
           ORDER BY wanted.place"#,
        &ids,
        &callers as &[Option<Uuid>],
        &operations as &[Option<&str>],
        &names as &[Option<&str>]
    )
    .fetch_all(connection)
    .await?;
    let seen = rows.into_iter().map(|row| {
        let known = Known { fingerprint: row.fingerprint, status: row.status, body: row.answer };
        let standing = row.category.zip(row.progress).map(|(category, progress)| Standing {
            filed: Filed { id: row.id, category, ward_code: row.ward_code },
            case: progress.0,
            reporter: row.reporter,
            reporter_key: row.reporter_key,
            last_hash: row.hash.unwrap_or_else(|| history::GENESIS.to_vec()),
            evidence: row.evidence.and_then(|count| usize::try_from(count).ok()).unwrap_or_default(),
        });
        (known, standing)
    });
    Ok(seen.collect())
}

/// How a report stands once its row is locked until the transaction ends.
pub(crate) async fn lock(tx: &mut PgConnection, report: Uuid) -> Result<Option<Standing>, sqlx::Error> {
    // By itself, so that everything else is read under the lock.
    sqlx::query!("SELECT id FROM reports.report WHERE id = $1 FOR NO KEY UPDATE", report)
        .fetch_optional(&mut *tx)
        .await?;
    Ok(look(tx, &[(report, None)]).await?.pop().and_then(|(_, standing)| standing))
}

fn round(case: &Case) -> i32 {
    i32::try_from(case.round).unwrap_or(i32::MAX)
}

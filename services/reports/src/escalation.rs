//! Time limits as jobs: at 80% of a limit who must act is warned, at 100% it is a breach, at 150% it goes to the city's leadership;
//! and a wait for the citizen that ran out ends.
//!
//! One job for each version of a report, planned in the transaction that makes the version, taken back by the next.
//! It looks at the report again under its lock, so that a job that was too late to be taken back does nothing.
//!
//! Invariant: each level of each stopwatch is escalated once, however often jobs run (primary key of `escalation`); a stopped
//! clock escalates nothing, and one that goes on keeps what it had spent.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use platform::job::{Job, JobColumns, JobError, JobHandler, NewJob, Outcome};
use platform::outbox::{self, NewEvent};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::error::Error;
use crate::lifecycle::{Action, Case, State};
use crate::metrics::Count;
use crate::report::{self, Deed, Standing, step};
use crate::{Reports, SCHEMA, event};

/// The kind of these jobs.
pub(crate) const JOB: &str = "report-limit";
/// Shares of a limit at which somebody hears of it, in percent.
const LEVELS: [u8; 3] = [80, 100, 150];

#[derive(Serialize, Deserialize)]
struct Payload {
    report_id: Uuid,
    version: i64,
}

fn key(report: Uuid, version: i64) -> String {
    format!("{report}:{version}")
}

/// What is planned for a new version of a report.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The key of the job of the version before, which is taken back.
    pub(crate) taken_back: Option<String>,
    /// The job of the new version; none when nothing runs.
    pub(crate) job: Option<JobColumns>,
}

/// Plans for a new version of a report and takes back the plan of the one before.
pub(crate) fn plan(reports: &Reports, id: Uuid, before: Option<&Case>, after: &Case) -> Plan {
    let first = if after.awaits_citizen() { 100 } else { LEVELS[0] };
    let due = after.running().and_then(|watch| watch.reaches(&reports.time, first));
    let job = due.map(|due| {
        let payload = serde_json::json!(Payload { report_id: id, version: after.version });
        JobColumns::of(NewJob::new(JOB, key(id, after.version), due).payload(payload), reports.now())
    });
    Plan { taken_back: before.map(|before| key(id, before.version)), job }
}

/// Does what is due.
pub(crate) struct LimitJob {
    pub(crate) reports: Arc<Reports>,
}

#[async_trait]
impl JobHandler for LimitJob {
    async fn run(&self, job: &Job) -> Outcome {
        let Ok(payload) = job.parse::<Payload>() else { return Outcome::Dead("the payload is unknown".to_owned()) };
        match self.look(job, &payload).await {
            Ok(outcome) => outcome,
            Err(error) => Outcome::Retry(error.to_string()),
        }
    }
}

impl LimitJob {
    async fn look(&self, job: &Job, payload: &Payload) -> Result<Outcome, Error> {
        let reports = &*self.reports;
        let mut tx = platform::db::begin(&reports.pool).await?;
        let Some(locked) = report::lock(&mut tx, payload.report_id).await? else { return Ok(Outcome::Done) };
        if locked.case.version != payload.version {
            return Ok(Outcome::Done);
        }
        let (counts, next) = if locked.case.awaits_citizen() {
            expire(reports, &mut tx, &locked).await?
        } else {
            escalate(reports, &mut tx, &locked).await?
        };
        if next.is_none() {
            match job.finish(&mut tx).await {
                Ok(()) => {}
                Err(JobError::LeaseLost) => return Ok(Outcome::Done),
                Err(JobError::Database(error)) => return Err(error.into()),
            }
        }
        tx.commit().await?;
        counts.iter().for_each(|count| reports.metrics.count(count));
        Ok(next.map_or(Outcome::Done, |next| Outcome::RetryAt(next, "the next level".to_owned())))
    }
}

/// Ends a wait that ran out; else says when it will.
async fn expire(
    reports: &Reports,
    tx: &mut PgConnection,
    locked: &Standing,
) -> Result<(Vec<Count>, Option<DateTime<Utc>>), Error> {
    let due = locked.case.running().and_then(|wait| wait.reaches(&reports.time, 100));
    if let Some(due) = due.filter(|due| reports.now() < *due) {
        return Ok((Vec::new(), Some(due)));
    }
    let expiry = Deed::system(locked.case.version, Action::Expire);
    let written = step::prepare(reports, locked, expiry).await?.write_in(tx).await?;
    // Nobody moves a report whose row is locked; if it happens, the job tries again.
    let done = written.ok_or(Error::Database(sqlx::Error::RowNotFound))?;
    Ok((done.counts, None))
}

/// Writes down the levels that are reached and were not yet; says when the next will be.
async fn escalate(
    reports: &Reports,
    tx: &mut PgConnection,
    locked: &Standing,
) -> Result<(Vec<Count>, Option<DateTime<Utc>>), Error> {
    let (now, case) = (reports.now(), &locked.case);
    let Some(watch) = case.running() else { return Ok((Vec::new(), None)) };
    let agency = case.lead.as_deref().filter(|_| matches!(case.state, State::Distributed | State::InProgress));
    let mut events: Vec<NewEvent> = Vec::new();
    let mut counts = Vec::new();
    let mut next = None;
    for level in LEVELS {
        let Some(due) = watch.reaches(&reports.time, level) else { break };
        if now < due {
            next = Some(due);
            break;
        }
        let level = i16::from(level);
        let written = sqlx::query!(
            "INSERT INTO reports.escalation (report_id, stopwatch, level, state, agency, escalated_at) VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT ON CONSTRAINT escalation_pk DO NOTHING",
            locked.filed.id,
            i32::try_from(watch.number).unwrap_or(i32::MAX),
            level,
            case.state.name(),
            agency,
            now
        )
        .execute(&mut *tx)
        .await?;
        if written.rows_affected() == 1 {
            events.push(event::escalated(&locked.filed, case, level, agency));
            counts.push(Count::Escalated { level, state: case.state.name() });
        }
    }
    outbox::append(tx, SCHEMA, now, &events).await?;
    Ok((counts, next))
}

//! Officers are told when a share of a report's time limit is spent: at 80% whoever must act, at 100% the agency's head and the operations
//! centre, at 150% whoever leads the city (the lead of the operations centre, and the heads of the agencies above).
//!
//! The consumer of `reports` only plans a job: who holds which role is identity's to say, and nobody is asked inside a transaction. The job
//! asks and makes the messages, in the app and by push, in lane `service`.
//!
//! Invariants:
//! - Nobody is told of one escalation twice: messages are unique by event, officer, channel and template.
//! - What happened more than [`LONGEST`] ago is not told: the stream keeps days, and a consumer that is new reads all of them. As long
//!   identity is waited for, however often it was asked.
//! - Somebody is told as long as the city has an officer: whom nobody stands for in an agency goes to the operations centre.
//!
//! Locks: those of `message`.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use platform::clock::Clock;
use platform::events::{Event, HandleError, Handler};
use platform::job::{Job, JobHandler, NewJob, Outcome};
use proto::reports::v1::ReportEscalated;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool};
use tracing::warn;
use uuid::Uuid;

use crate::SCHEMA;
use crate::city::City;
use crate::grpc::{Identity, NoAnswer, Officer};
use crate::lane::{Channel, Lane};
use crate::message::{self, Draft};
use crate::meter::Meter;
use crate::template::{self, Template};

/// The stream that tells of them.
pub(crate) const STREAM: &str = "reports";
/// The kind of job that tells officers; its key is the event.
pub(crate) const JOB_KIND: &str = "tell-escalation";
/// Escalations that one process tells at a time.
pub(crate) const WORKERS: usize = 2;
/// How old an escalation may be and still be told.
const LONGEST: TimeDelta = TimeDelta::hours(24);
/// How soon identity is asked again when it is away.
const AGAIN: TimeDelta = TimeDelta::minutes(1);
/// From this share on a limit is missed, in percent.
const MISSED: u32 = 100;
/// From this share on whoever leads is told.
const EXCEEDED: u32 = 150;

/// Plans, in the consumer's transaction.
#[derive(Clone, Debug)]
pub(crate) struct Planner(pub(crate) Clock);

/// Tells officers.
#[derive(Clone, Debug)]
pub(crate) struct Teller {
    pub(crate) pool: PgPool,
    pub(crate) clock: Clock,
    pub(crate) meter: Meter,
    pub(crate) city: Arc<City>,
    pub(crate) identity: Identity,
}

/// What a job is about: the event, without what nobody is told.
#[derive(Debug, Serialize, Deserialize)]
struct Escalation {
    at: DateTime<Utc>,
    report_id: Uuid,
    level: u32,
    state: String,
    agency: String,
    category: String,
    ward_code: String,
}

#[async_trait]
impl Handler for Planner {
    async fn handle(&self, transaction: &mut PgConnection, events: &[Event]) -> Result<(), HandleError> {
        let (now, mut jobs) = (self.0.now(), Vec::new());
        for event in events.iter().filter(|event| now - event.time <= LONGEST) {
            let Some(read) = event.decode::<ReportEscalated>() else { continue };
            let ReportEscalated { report_id, level, state, agency, category, ward_code } = read?;
            let report_id = report_id.parse().map_err(|_| HandleError::poison("an id is not a UUID"))?;
            let escalation = Escalation { at: event.time, report_id, level, state, agency, category, ward_code };
            jobs.push(NewJob::new(JOB_KIND, event.id.to_string(), now).payload(json!(escalation)));
        }
        platform::job::schedule_all(transaction, SCHEMA, now, &jobs).await?;
        Ok(())
    }
}

#[async_trait]
impl JobHandler for Teller {
    async fn run(&self, job: &Job) -> Outcome {
        let (Ok(event), Ok(escalation)) = (job.key.parse::<Uuid>(), job.parse::<Escalation>()) else {
            return Outcome::Dead("unreadable".to_owned());
        };
        let officers = match self.identity.officers(&escalation.agency, &escalation.ward_code).await {
            Ok(officers) => officers,
            Err(NoAnswer::Away) => return self.wait(&escalation),
            Err(NoAnswer::Gone) => return Outcome::Dead("identity-refuses".to_owned()),
        };
        let told = audience(escalation.level, !escalation.agency.is_empty(), &officers);
        if told.is_empty() {
            warn!(report.id = %escalation.report_id, escalation.level, "no officer could be told of an escalation");
        }
        match self.tell(event, &escalation, &told).await {
            Ok(()) => Outcome::Done,
            Err(error) => {
                warn!(report.id = %escalation.report_id, %error, "officers were not told of an escalation");
                Outcome::Retry("database".to_owned())
            }
        }
    }
}

impl Teller {
    /// Identity is away: later, while anybody still wants to hear of it.
    fn wait(&self, escalation: &Escalation) -> Outcome {
        let (now, reason) = (self.clock.now(), "identity-unavailable".to_owned());
        if now - escalation.at > LONGEST { Outcome::Dead(reason) } else { Outcome::RetryAt(now + AGAIN, reason) }
    }

    async fn tell(&self, event: Uuid, escalation: &Escalation, told: &BTreeSet<Uuid>) -> Result<(), sqlx::Error> {
        let (template, parameters) = (template_of(escalation.level), self.parameters(escalation));
        let draft = |recipient: &Uuid, channel| Draft {
            event_id: event,
            recipient: *recipient,
            lane: Lane::Service,
            channel,
            template,
            parameters: parameters.clone(),
        };
        let both = |recipient| [Channel::InApp, Channel::Push].map(|channel| draft(recipient, channel));
        let drafts: Vec<Draft> = told.iter().flat_map(both).collect();
        let mut transaction = platform::db::begin(&self.pool).await?;
        let made = message::enqueue(&mut transaction, &drafts, (self.clock.now(), self.city.zone)).await?;
        transaction.commit().await?;
        made.iter().for_each(|each| self.meter.made(each));
        Ok(())
    }

    fn parameters(&self, escalation: &Escalation) -> Value {
        let Escalation { at: _, report_id, level, state, agency, category, ward_code } = escalation;
        json!({
            "report_id": report_id,
            "level": level,
            "state": state,
            "category": self.city.category(category),
            "ward": self.city.wards.get(ward_code),
            "agency": (!agency.is_empty()).then(|| self.city.agency(agency)),
        })
    }
}

const fn template_of(level: u32) -> Template {
    match level {
        ..MISSED => template::REPORT_LIMIT_NEAR,
        MISSED..EXCEEDED => template::REPORT_LIMIT_MISSED,
        EXCEEDED.. => template::REPORT_LIMIT_EXCEEDED,
    }
}

/// Who is told of a level, of those who act for the agency that must act, those above it, and the operations centre. Pure.
fn audience(level: u32, of_agency: bool, officers: &[Officer]) -> BTreeSet<Uuid> {
    let with = |role: &'static str| officers.iter().filter(move |officer| officer.role == role);
    let ids = |some: Vec<&Officer>| some.into_iter().map(|officer| officer.id).collect::<BTreeSet<Uuid>>();
    let (operators, leads) = (ids(with("ioc.operator").collect()), ids(with("ioc.lead").collect()));
    // Those of the agency itself, or of the next one above it that has any.
    let nearest = |role: &'static str| {
        let steps = with(role).map(|officer| officer.above).min();
        ids(with(role).filter(|officer| Some(officer.above) == steps).collect())
    };
    let told = match (level, of_agency) {
        (..MISSED, true) => first_of([nearest("agency.officer"), nearest("agency.head")]),
        (MISSED..EXCEEDED, true) => &nearest("agency.head") | &operators,
        (EXCEEDED.., true) => &ids(with("agency.head").filter(|officer| officer.above > 0).collect()) | &leads,
        (..MISSED, false) => operators.clone(),
        (MISSED..EXCEEDED, false) => &operators | &leads,
        (EXCEEDED.., false) => leads.clone(),
    };
    first_of([told, leads, operators, nearest("agency.head"), nearest("agency.officer")])
}

/// The first that is not empty.
fn first_of<const N: usize>(groups: [BTreeSet<Uuid>; N]) -> BTreeSet<Uuid> {
    groups.into_iter().find(|group| !group.is_empty()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_level_is_told_to_those_whom_it_is_for() {
        let roles = [
            ("agency.officer", 0),
            ("agency.officer", 0),
            ("agency.officer", 1),
            ("agency.head", 0),
            ("agency.head", 1),
            ("ioc.operator", 0),
            ("ioc.lead", 0),
        ];
        let officer = |(number, (role, above)): (usize, &(&str, u32))| Officer {
            id: Uuid::from_u128(number as u128),
            role: (*role).to_owned(),
            above: *above,
        };
        let all: Vec<Officer> = roles.iter().enumerate().map(officer).collect();
        let told = |level, of_agency, officers: &[Officer]| {
            audience(level, of_agency, officers).into_iter().map(|id| id.as_u128()).collect::<Vec<_>>()
        };
        assert_eq!(told(80, true, &all), [0, 1], "the agency is warned");
        assert_eq!(told(100, true, &all), [3, 5], "its head and the operations centre");
        assert_eq!(told(150, true, &all), [4, 6], "whoever leads");
        assert_eq!(told(80, false, &all), [5]);
        assert_eq!(told(100, false, &all), [5, 6]);
        assert_eq!(told(150, false, &all), [6]);
        assert_eq!(told(80, true, &all[2..]), [2], "nobody of the agency: the one above it");
        assert_eq!(told(80, true, &all[3..]), [3], "no officer: the head");
        assert_eq!(told(80, true, &all[5..]), [6], "nobody at all: the operations centre");
        assert_eq!(told(150, true, &all[..4]), [3], "and the other way round");
        assert!(told(100, true, &[]).is_empty());
    }
}

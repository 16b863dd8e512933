//! The life of a report as one pure state machine: states, actions, who may, versions, rounds, time limits.
//!
//! | from | action (who) | to | limit of the state: instant lane / timed lane |
//! | --- | --- | --- | --- |
//! | – | submit | received | 15 min / 2 working hours |
//! | received | claim (IOC) | verifying | 30 min / 4 working hours |
//! | verifying | ask (IOC) | needs-info; verifying's clock stops | 72 h, then rejected |
//! | needs-info | answer (reporter) | verifying; its clock goes on | |
//! | verifying | reject, merge (IOC) | rejected, duplicate | |
//! | verifying | distribute (IOC) | distributed; the work's clock starts | 30 min / 8 working hours |
//! | distributed | accept, return (lead agency) | in-progress, verifying | 2 h / the category's working days |
//! | in-progress | request-extension (lead agency), grant-extension, refuse-extension (IOC) | in-progress | |
//! | in-progress | submit-result with evidence (lead agency) | result-submitted; the work's clock stops | 4 working hours |
//! | result-submitted | approve, send-back (IOC) | published, in-progress | 10 days, then closed |
//! | published | rate (reporter) | closed | |
//! | published, closed, rejected | reopen (reporter within 72 h, twice; then a supervisor) | verifying, next round | |
//!
//! Invariants, kept by [`decide`] and tested against a slow model:
//! - It does no I/O and reads no clock. A refused action changes nothing.
//! - Every accepted action raises the version by one and names the version that it was decided on.
//! - The first deadline of a round is never moved by an extension; both run on one stopwatch.
//! - A supervisor may all that the IOC may. The system acts only when a wait has run out.

#[cfg(test)]
mod tests;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::city::Lane;
use crate::clock::{Pace, Stopwatch, WorkingTime};

/// Reopenings that the reporter has.
pub const MAX_REOPENINGS: u32 = 2;
/// How long after the end the reporter may reopen.
pub const REOPEN_WINDOW: TimeDelta = TimeDelta::hours(72);
/// Extensions that one round may be granted.
pub const MAX_EXTENSIONS: u32 = 3;
/// The longest time that work may be given, in working days.
pub const MAX_WORKING_DAYS: i32 = 120;
/// Agencies that help the leading one.
pub const MAX_CO_AGENCIES: usize = 5;

/// Where a report stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Sent by the citizen.
    Received,
    /// The operations centre looks at it.
    Verifying,
    /// The citizen was asked.
    NeedsInfo,
    /// Not a case for the city.
    Rejected,
    /// Told by another report already.
    Duplicate,
    /// Given to an agency.
    Distributed,
    /// The agency works on it.
    InProgress,
    /// The agency says that it is done.
    ResultSubmitted,
    /// The result is public.
    Published,
    /// Rated, or left unrated.
    Closed,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Received,
        Self::Verifying,
        Self::NeedsInfo,
        Self::Rejected,
        Self::Duplicate,
        Self::Distributed,
        Self::InProgress,
        Self::ResultSubmitted,
        Self::Published,
        Self::Closed,
    ];

    /// Its name on the wire and in the database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Verifying => "verifying",
            Self::NeedsInfo => "needs-info",
            Self::Rejected => "rejected",
            Self::Duplicate => "duplicate",
            Self::Distributed => "distributed",
            Self::InProgress => "in-progress",
            Self::ResultSubmitted => "result-submitted",
            Self::Published => "published",
            Self::Closed => "closed",
        }
    }
}

/// How the report came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Channel {
    /// The citizen sent it.
    App,
    /// An operator wrote it down for a caller; it has no reporter in the system.
    Call,
}

/// Who acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// The citizen who sent the report.
    Reporter,
    /// An operator of the operations centre.
    Ioc,
    /// A supervisor of the operations centre.
    Supervisor,
    /// An officer of the agency with this code.
    Agency(String),
    /// Nobody: a time ran out.
    System,
}

/// How satisfied the reporter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Rating {
    /// Satisfied.
    Satisfied,
    /// Acceptable.
    Acceptable,
    /// Dissatisfied: the report may be reopened.
    Dissatisfied,
}

impl Rating {
    /// Its name on the wire and in the database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Satisfied => "satisfied",
            Self::Acceptable => "acceptable",
            Self::Dissatisfied => "dissatisfied",
        }
    }
}

/// Who shall do the work, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// Code of the agency that answers for it.
    pub lead: String,
    /// Codes of agencies that help.
    pub co: Vec<String>,
    /// The deadline; the category's default when absent.
    pub deadline: Option<DateTime<Utc>>,
}

/// What is done to a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// The operations centre takes it up.
    Claim,
    /// The citizen is asked.
    Ask,
    /// The citizen answers.
    Answer,
    /// It is no case for the city.
    Reject,
    /// Another report tells it already.
    Merge(Uuid),
    /// An agency shall do it.
    Distribute(Assignment),
    /// The agency takes it.
    Accept,
    /// The agency says that it is not theirs.
    Return,
    /// The agency asks for more time.
    RequestExtension(DateTime<Utc>),
    /// It gets it.
    GrantExtension,
    /// It does not.
    RefuseExtension,
    /// The agency says that it is done, with so many photos as evidence.
    SubmitResult(usize),
    /// The result is published.
    Approve,
    /// The result does not do.
    SendBack,
    /// The reporter rates.
    Rate(Rating),
    /// The reporter or a supervisor wants it looked at again.
    Reopen,
    /// A wait for the citizen ran out.
    Expire,
}

impl Action {
    /// Its name on the wire and in the history.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Claim => "claim",
            Self::Ask => "ask",
            Self::Answer => "answer",
            Self::Reject => "reject",
            Self::Merge(_) => "merge",
            Self::Distribute(_) => "distribute",
            Self::Accept => "accept",
            Self::Return => "return",
            Self::RequestExtension(_) => "request-extension",
            Self::GrantExtension => "grant-extension",
            Self::RefuseExtension => "refuse-extension",
            Self::SubmitResult(_) => "submit-result",
            Self::Approve => "approve",
            Self::SendBack => "send-back",
            Self::Rate(_) => "rate",
            Self::Reopen => "reopen",
            Self::Expire => "expire",
        }
    }
}

/// Why an action is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The actor may not do this to this report.
    #[error("the actor may not do this")]
    NotAllowed,
    /// It was decided on an older version.
    #[error("the report is at version {0}")]
    Stale(i64),
    /// The report does not stand where this can be done.
    #[error("this can't be done in state {}", .0.name())]
    WrongState(State),
    /// The deadline or the new one is past, not later than the old one, or too far.
    #[error("the deadline is not valid")]
    Deadline,
    /// Too many helping agencies, one twice, or the leading one among them.
    #[error("the agencies are not valid")]
    Agencies,
    /// A result needs a photo.
    #[error("a result needs a photo as evidence")]
    EvidenceMissing,
    /// An extension is asked for already, or too many were granted.
    #[error("no further extension can be asked for")]
    ExtensionNotOpen,
    /// No extension is asked for.
    #[error("no extension is asked for")]
    NoExtensionAsked,
    /// The time in which the reporter may reopen has passed.
    #[error("the time to reopen has passed")]
    ReopenTooLate,
    /// The reporter has reopened as often as may be.
    #[error("only a supervisor can reopen it")]
    ReopenExhausted,
    /// The wait has not run out.
    #[error("the wait has not run out")]
    NotDue,
}

/// The work's time: one stopwatch, and the allowance that it had first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handling {
    /// Runs from distribution; its allowance is the one in force.
    pub watch: Stopwatch,
    /// The allowance before any extension, in milliseconds.
    pub first_allowance_ms: i64,
}

impl Handling {
    /// When the first deadline is; absent while the clock is stopped.
    pub fn first_due(&self, time: &WorkingTime) -> Option<DateTime<Utc>> {
        self.watch.reaches_ms(time, self.first_allowance_ms)
    }

    /// Whether the stopped work kept the first deadline, and the one in force.
    pub fn kept(&self) -> Kept {
        Kept {
            first: self.watch.spent_ms <= self.first_allowance_ms,
            extended: self.watch.spent_ms <= self.watch.allowance_ms,
        }
    }
}

/// Which deadlines the work kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The first one.
    pub first: bool,
    /// The one in force, extensions included.
    pub extended: bool,
}

/// A report as far as decisions need it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    /// Where it stands.
    pub state: State,
    /// How many actions were accepted, the submission included.
    pub version: i64,
    /// 1, and one more for each reopening.
    pub round: u32,
    /// How fast it moves.
    pub lane: Lane,
    /// How it came in.
    pub channel: Channel,
    /// Since when it stands there.
    pub entered_at: DateTime<Utc>,
    /// The agency that answers for it.
    pub lead: Option<String>,
    /// Agencies that help.
    pub co: Vec<String>,
    /// How often an agency said that it is not theirs.
    pub returns: u32,
    /// The time limit of the office that must act; stopped while the citizen is asked.
    pub step: Option<Stopwatch>,
    /// The wait for the citizen.
    pub wait: Option<Stopwatch>,
    /// The time of the work.
    pub handling: Option<Handling>,
    /// The allowance that the agency asks for, in milliseconds.
    pub asked_allowance_ms: Option<i64>,
    /// Extensions granted in this round.
    pub extensions: u32,
    /// Stopwatches started so far.
    pub stopwatches: u32,
}

/// The moment of a decision, and the time limits that hold then.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// Now.
    pub now: DateTime<Utc>,
    /// The city's office hours.
    pub time: &'a WorkingTime,
    /// Working days that the category gives to the work in the timed lane.
    pub target_working_days: u32,
}

impl Moment<'_> {
    /// The limit of a state, at its pace.
    fn limit(&self, lane: Lane, state: State) -> Option<(Pace, TimeDelta)> {
        let minutes = |count| (Pace::Always, TimeDelta::minutes(count));
        let working = |hours| (Pace::Working, TimeDelta::hours(hours));
        Some(match (state, lane) {
            (State::Received, Lane::Instant) => minutes(15),
            (State::Received, Lane::Timed) => working(2),
            (State::Verifying | State::Distributed, Lane::Instant) => minutes(30),
            (State::Verifying, Lane::Timed) => working(4),
            (State::Distributed, Lane::Timed) => working(8),
            (State::NeedsInfo, _) => (Pace::Always, TimeDelta::hours(72)),
            (State::InProgress, Lane::Instant) => minutes(120),
            (State::InProgress, Lane::Timed) => (Pace::Working, self.time.day() * self.days()),
            (State::ResultSubmitted, _) => working(4),
            (State::Published, _) => (Pace::Always, TimeDelta::days(10)),
            (State::Rejected | State::Duplicate | State::Closed, _) => return None,
        })
    }

    /// Working days of work: the category's, or five.
    fn days(&self) -> i32 {
        i32::try_from(self.target_working_days).ok().filter(|days| (1..=MAX_WORKING_DAYS).contains(days)).unwrap_or(5)
    }
}

impl Case {
    /// A report that was just sent.
    pub fn submitted(lane: Lane, channel: Channel, at: Moment<'_>) -> Self {
        let mut case = Self {
            state: State::Received,
            version: 1,
            round: 1,
            lane,
            channel,
            entered_at: at.now,
            lead: None,
            co: Vec::new(),
            returns: 0,
            step: None,
            wait: None,
            handling: None,
            asked_allowance_ms: None,
            extensions: 0,
            stopwatches: 0,
        };
        case.step = case.start(State::Received, at);
        case
    }

    /// The stopwatch that decides now: of the office that must act, or of the wait for the citizen.
    pub fn running(&self) -> Option<&Stopwatch> {
        match self.state {
            State::Received | State::Verifying | State::Distributed | State::ResultSubmitted => self.step.as_ref(),
            State::NeedsInfo | State::Published => self.wait.as_ref(),
            State::InProgress => self.handling.as_ref().map(|handling| &handling.watch),
            State::Rejected | State::Duplicate | State::Closed => None,
        }
    }

    /// Whether the running stopwatch is a wait for the citizen, which ends by itself.
    pub fn awaits_citizen(&self) -> bool {
        matches!(self.state, State::NeedsInfo | State::Published)
    }

    /// Whether an agency leads or helps.
    pub fn concerns(&self, agency: &str) -> bool {
        self.lead.as_deref() == Some(agency) || self.co.iter().any(|co| co == agency)
    }

    /// A new stopwatch with the limit of a state.
    fn start(&mut self, state: State, at: Moment<'_>) -> Option<Stopwatch> {
        let (pace, allowance) = at.limit(self.lane, state)?;
        self.stopwatches += 1;
        Some(Stopwatch::started(self.stopwatches, pace, allowance, at.now))
    }

    /// Enters a state whose limit is the office's.
    fn enter_step(&mut self, state: State, at: Moment<'_>) {
        self.wait = None;
        self.step = self.start(state, at);
        self.state = state;
    }

    /// Enters a state in which nothing runs.
    fn end(&mut self, state: State) {
        self.wait = None;
        self.step = None;
        self.state = state;
    }

    /// Takes the work from the agency.
    fn take_back(&mut self) {
        self.lead = None;
        self.co.clear();
        self.handling = None;
        self.asked_allowance_ms = None;
        self.extensions = 0;
    }

    fn may(&self, actor: &Actor, action: &Action) -> bool {
        let ioc = matches!(actor, Actor::Ioc | Actor::Supervisor);
        let reporter = *actor == Actor::Reporter;
        match action {
            Action::Claim
            | Action::Ask
            | Action::Reject
            | Action::Merge(_)
            | Action::Distribute(_)
            | Action::GrantExtension
            | Action::RefuseExtension
            | Action::Approve
            | Action::SendBack => ioc,
            Action::Answer => reporter || (ioc && self.channel == Channel::Call),
            Action::Accept | Action::Return | Action::RequestExtension(_) | Action::SubmitResult(_) => {
                matches!(actor, Actor::Agency(code) if self.lead.as_ref() == Some(code))
            }
            Action::Rate(_) => reporter,
            Action::Reopen => reporter || *actor == Actor::Supervisor,
            Action::Expire => *actor == Actor::System,
        }
    }
}

/// What becomes of a report when somebody does something to it, decided on a version of it.
///
/// # Errors
/// Why it is refused; who may is judged first, then the version, then the rest.
pub fn decide(case: &Case, actor: &Actor, version: i64, action: &Action, at: Moment<'_>) -> Result<Case, Refusal> {
    if !case.may(actor, action) {
        return Err(Refusal::NotAllowed);
    }
    if version != case.version {
        return Err(Refusal::Stale(case.version));
    }
    let mut next = case.clone();
    apply(&mut next, actor, action, at)?;
    next.version += 1;
    if next.state != case.state {
        next.entered_at = at.now;
    }
    Ok(next)
}

fn apply(case: &mut Case, actor: &Actor, action: &Action, at: Moment<'_>) -> Result<(), Refusal> {
    match (case.state, action) {
        (State::Received, Action::Claim) => case.enter_step(State::Verifying, at),
        (State::Verifying, Action::Ask) => {
            case.step = case.step.map(|step| step.stopped(at.time, at.now));
            case.wait = case.start(State::NeedsInfo, at);
            case.state = State::NeedsInfo;
        }
        (State::NeedsInfo, Action::Answer) => {
            case.step = case.step.map(|step| step.resumed(at.now));
            case.wait = None;
            case.state = State::Verifying;
        }
        (State::Verifying, Action::Reject) => case.end(State::Rejected),
        (State::Verifying, Action::Merge(_)) => case.end(State::Duplicate),
        (State::Verifying, Action::Distribute(assignment)) => distribute(case, assignment, at)?,
        (State::Distributed, Action::Accept) => {
            case.step = None;
            case.state = State::InProgress;
        }
        (State::Distributed, Action::Return) => {
            case.take_back();
            case.returns += 1;
            case.enter_step(State::Verifying, at);
        }
        (State::InProgress, Action::RequestExtension(until)) => request_extension(case, *until, at)?,
        (State::InProgress, Action::GrantExtension) => grant_extension(case)?,
        (State::InProgress, Action::RefuseExtension) => {
            case.asked_allowance_ms.take().ok_or(Refusal::NoExtensionAsked)?;
        }
        (State::InProgress, Action::SubmitResult(evidence)) => {
            if *evidence == 0 {
                return Err(Refusal::EvidenceMissing);
            }
            case.asked_allowance_ms = None;
            case.handling = case.handling.map(|handling| stopped(handling, at));
            case.enter_step(State::ResultSubmitted, at);
        }
        (State::ResultSubmitted, Action::Approve) => {
            case.step = None;
            case.wait = case.start(State::Published, at);
            case.state = State::Published;
        }
        (State::ResultSubmitted, Action::SendBack) => {
            case.step = None;
            case.handling = case.handling.map(|old| Handling { watch: old.watch.resumed(at.now), ..old });
            case.state = State::InProgress;
        }
        (State::Published, Action::Rate(_)) => case.end(State::Closed),
        (State::Published | State::Closed | State::Rejected, Action::Reopen) => reopen(case, actor, at)?,
        (State::NeedsInfo, Action::Expire) => expire(case, State::Rejected, at)?,
        (State::Published, Action::Expire) => expire(case, State::Closed, at)?,
        (state, _) => return Err(Refusal::WrongState(state)),
    }
    Ok(())
}

fn stopped(handling: Handling, at: Moment<'_>) -> Handling {
    Handling { watch: handling.watch.stopped(at.time, at.now), ..handling }
}

fn distribute(case: &mut Case, assignment: &Assignment, at: Moment<'_>) -> Result<(), Refusal> {
    let Assignment { lead, co, deadline } = assignment;
    let twice = co.iter().enumerate().any(|(index, code)| code == lead || co[..index].contains(code));
    if co.len() > MAX_CO_AGENCIES || twice {
        return Err(Refusal::Agencies);
    }
    let (pace, default) = at.limit(case.lane, State::InProgress).expect("work has a limit");
    let allowance = match deadline {
        None => default,
        Some(deadline) => bounded(at.time.between(pace, at.now, *deadline), pace, at)?,
    };
    case.enter_step(State::Distributed, at);
    case.stopwatches += 1;
    let watch = Stopwatch::started(case.stopwatches, pace, allowance, at.now);
    case.handling = Some(Handling { watch, first_allowance_ms: watch.allowance_ms });
    case.lead = Some(lead.clone());
    case.co.clone_from(co);
    Ok(())
}

/// An allowance that is some time, and not more than may be given.
fn bounded(allowance: TimeDelta, pace: Pace, at: Moment<'_>) -> Result<TimeDelta, Refusal> {
    let most = match pace {
        Pace::Always => TimeDelta::days(i64::from(MAX_WORKING_DAYS)),
        Pace::Working => at.time.day() * MAX_WORKING_DAYS,
    };
    if allowance <= TimeDelta::zero() || allowance > most { Err(Refusal::Deadline) } else { Ok(allowance) }
}

fn request_extension(case: &mut Case, until: DateTime<Utc>, at: Moment<'_>) -> Result<(), Refusal> {
    if case.asked_allowance_ms.is_some() || case.extensions >= MAX_EXTENSIONS {
        return Err(Refusal::ExtensionNotOpen);
    }
    let handling = case.handling.expect("work under way has a time");
    let more = bounded(at.time.between(handling.watch.pace, at.now, until), handling.watch.pace, at)?;
    let asked = (handling.watch.spent(at.time, at.now) + more).num_milliseconds();
    if asked <= handling.watch.allowance_ms {
        return Err(Refusal::Deadline);
    }
    case.asked_allowance_ms = Some(asked);
    Ok(())
}

fn grant_extension(case: &mut Case) -> Result<(), Refusal> {
    let asked = case.asked_allowance_ms.take().ok_or(Refusal::NoExtensionAsked)?;
    case.extensions += 1;
    case.stopwatches += 1;
    let number = case.stopwatches;
    case.handling =
        case.handling.map(|old| Handling { watch: Stopwatch { number, allowance_ms: asked, ..old.watch }, ..old });
    Ok(())
}

fn reopen(case: &mut Case, actor: &Actor, at: Moment<'_>) -> Result<(), Refusal> {
    if *actor == Actor::Reporter {
        if case.round > MAX_REOPENINGS {
            return Err(Refusal::ReopenExhausted);
        }
        if at.now > case.entered_at + REOPEN_WINDOW {
            return Err(Refusal::ReopenTooLate);
        }
    }
    case.take_back();
    case.round += 1;
    case.enter_step(State::Verifying, at);
    Ok(())
}

fn expire(case: &mut Case, state: State, at: Moment<'_>) -> Result<(), Refusal> {
    let due = case.wait.and_then(|wait| wait.reaches(at.time, 100));
    if due.is_none_or(|due| at.now < due) {
        return Err(Refusal::NotDue);
    }
    case.end(state);
    Ok(())
}

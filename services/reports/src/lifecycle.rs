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

mod action;
mod case;
mod moment;
mod state;
#[cfg(test)]
mod tests;

use chrono::{DateTime, TimeDelta, Utc};

pub use self::action::{Action, Actor, Assignment, Channel, Rating};
pub use self::case::{Case, Handling, Kept};
pub use self::moment::Moment;
pub use self::state::State;
use crate::clock::{Pace, Stopwatch};

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

impl Case {
    /// Whether the actor may do this to this report.
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

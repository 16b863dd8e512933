//! The machine against a slow model: a table of words, and clocks counted again from the whole past each time.

use std::path::Path;
use std::sync::OnceLock;

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::city::{City, Lane};
use crate::clock::WorkingTime;

const DAYS: u32 = 7;

fn hue() -> &'static WorkingTime {
    static HUE: OnceLock<WorkingTime> = OnceLock::new();
    HUE.get_or_init(|| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/city/hue");
        WorkingTime::of(&City::load(&folder).expect("the folder is sound"))
    })
}

fn at(now: DateTime<Utc>) -> Moment<'static> {
    Moment { now, time: hue(), target_working_days: DAYS }
}

fn monday() -> DateTime<Utc> {
    "2026-11-16T08:00:00+07:00".parse().expect("the test writes a time")
}

fn actors() -> [Actor; 6] {
    let agency = |code: &str| Actor::Agency(code.to_owned());
    [Actor::Reporter, Actor::Ioc, Actor::Supervisor, agency("A"), agency("B"), Actor::System]
}

/// An action by its number, sensible at `now` or not.
fn action(number: usize, now: DateTime<Utc>) -> Action {
    let assignment = |deadline| Assignment { lead: "A".to_owned(), co: vec!["B".to_owned()], deadline };
    match number {
        0 => Action::Claim,
        1 => Action::Ask,
        2 => Action::Answer,
        3 => Action::Reject,
        4 => Action::Merge(Uuid::nil()),
        5 => Action::Distribute(assignment(None)),
        6 => Action::Distribute(assignment(Some(now + TimeDelta::days(9)))),
        7 => Action::Accept,
        8 => Action::Return,
        9 => Action::RequestExtension(now + TimeDelta::days(30)),
        10 => Action::GrantExtension,
        11 => Action::RefuseExtension,
        12 => Action::SubmitResult(1),
        13 => Action::Approve,
        14 => Action::SendBack,
        15 => Action::Rate(Rating::Dissatisfied),
        16 => Action::Reopen,
        _ => Action::Expire,
    }
}

const ACTIONS: usize = 18;

/// `from action who to`; `=` stays.
const TABLE: &str = "
    received          claim              ioc       verifying
    verifying         ask                ioc       needs-info
    needs-info        answer             reporter  verifying
    verifying         reject             ioc       rejected
    verifying         merge              ioc       duplicate
    verifying         distribute         ioc       distributed
    distributed       accept             lead      in-progress
    distributed       return             lead      verifying
    in-progress       request-extension  lead      =
    in-progress       grant-extension    ioc       =
    in-progress       refuse-extension   ioc       =
    in-progress       submit-result      lead      result-submitted
    result-submitted  approve            ioc       published
    result-submitted  send-back          ioc       in-progress
    published         rate               reporter  closed
    published         reopen             reopener  verifying
    closed            reopen             reopener  verifying
    rejected          reopen             reopener  verifying
    needs-info        expire             system    rejected
    published         expire             system    closed";

/// The whole past of a report: nothing is carried along but what was done when.
struct Model {
    past: Vec<(DateTime<Utc>, &'static str, String)>,
}

impl Model {
    fn state(&self) -> &str {
        &self.past.last().expect("it was submitted").2
    }

    fn entered(&self) -> DateTime<Utc> {
        let state = self.state();
        let same = self.past.iter().rev().take_while(|(_, _, after)| after == state);
        same.last().expect("it was submitted").0
    }

    fn count(&self, action: &str) -> usize {
        self.past.iter().filter(|(_, did, _)| *did == action).count()
    }

    /// What was done since the last of some actions, that one included.
    fn since(&self, actions: &[&str]) -> &[(DateTime<Utc>, &'static str, String)] {
        let from = self.past.iter().rposition(|(_, did, _)| actions.contains(did)).unwrap_or(0);
        &self.past[from..]
    }

    /// Working time spent in some states since the last of some actions.
    fn spent(&self, states: &[&str], since: &[&str], now: DateTime<Utc>) -> TimeDelta {
        let past = self.since(since);
        let ends = past[1..].iter().map(|(moment, _, _)| *moment).chain([now]);
        let in_them = past.iter().zip(ends).filter(|((_, _, state), _)| states.contains(&state.as_str()));
        in_them.map(|((from, _, _), until)| hue().between(Pace::Working, *from, until)).sum()
    }

    fn may(&self, who: &str, actor: &Actor) -> bool {
        let held = self.since(&["submit", "return", "reopen"]).iter().any(|(_, did, _)| *did == "distribute");
        match who {
            "ioc" => matches!(actor, Actor::Ioc | Actor::Supervisor),
            "reporter" => *actor == Actor::Reporter,
            "reopener" => matches!(actor, Actor::Reporter | Actor::Supervisor),
            "lead" => held && *actor == Actor::Agency("A".to_owned()),
            _ => *actor == Actor::System,
        }
    }

    /// The state after an action, or `None` when it must be refused.
    fn next(&self, actor: &Actor, action: &Action, now: DateTime<Utc>) -> Option<String> {
        let lines = TABLE.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let line = lines
            .filter(|line| line.len() == 4)
            .find(|line| line[0] == self.state() && line[1] == action.name() && self.may(line[2], actor))?;
        let asks = self.since(&["distribute"]).iter().rev().find(|(_, did, _)| did.ends_with("-extension"));
        let pending = asks.is_some_and(|(_, did, _)| *did == "request-extension");
        let granted = self.since(&["distribute"]).iter().filter(|(_, did, _)| *did == "grant-extension").count();
        let waited = now - self.entered();
        let holds = match action.name() {
            "request-extension" => !self.pending_after_send_back(pending) && granted < 3 && self.is_longer(now),
            "grant-extension" | "refuse-extension" => self.pending_after_send_back(pending),
            "reopen" if *actor == Actor::Reporter => self.count("reopen") < 2 && waited <= TimeDelta::hours(72),
            "expire" if self.state() == "needs-info" => waited >= TimeDelta::hours(72),
            "expire" => waited >= TimeDelta::days(10),
            _ => true,
        };
        let to = if line[3] == "=" { self.state() } else { line[3] };
        holds.then(|| to.to_owned())
    }

    /// A result that was submitted ends the question for more time.
    fn pending_after_send_back(&self, pending: bool) -> bool {
        let past = self.since(&["distribute"]);
        let place = |name: &str| past.iter().rposition(|(_, did, _)| *did == name);
        pending && place("submit-result") < place("request-extension")
    }

    /// Whether thirty days from now are more than what is allowed.
    fn is_longer(&self, now: DateTime<Utc>) -> bool {
        let past = self.since(&["distribute"]);
        let mut allowed = hue().day() * 7;
        let mut asked = allowed;
        for (index, (moment, did, _)) in past.iter().enumerate() {
            let until = Self { past: past[..index].to_vec() };
            if *did == "request-extension" {
                asked = until.spent(&["distributed", "in-progress"], &["distribute"], *moment)
                    + hue().between(Pace::Working, *moment, *moment + TimeDelta::days(30));
            }
            if *did == "grant-extension" {
                allowed = asked;
            }
        }
        let spent = self.spent(&["distributed", "in-progress"], &["distribute"], now);
        spent + hue().between(Pace::Working, now, now + TimeDelta::days(30)) > allowed
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    /// Any actor tries anything, at any pace; the machine and the model say the same of it.
    #[test]
    fn the_machine_is_the_table(steps in prop::collection::vec((0_usize..6, 0..ACTIONS, 0_u8..100, 0_i64..6_000), 1..60)) {
        let mut now = monday();
        let mut case = Case::submitted(Lane::Timed, Channel::App, at(now));
        let mut model = Model { past: vec![(now, "submit", "received".to_owned())] };
        for (who, what, luck, minutes) in steps {
            now += TimeDelta::minutes(if luck < 70 { minutes / 60 } else { minutes });
            let (actor, action) = if luck < 80 { likely(&case, what, now) } else { (actors()[who].clone(), action(what, now)) };
            // The custom deadline is tried by an example below; the model knows the default one.
            let action = if let Action::Distribute(assignment) = action {
                Action::Distribute(Assignment { deadline: None, ..assignment })
            } else {
                action
            };
            let expected = model.next(&actor, &action, now);
            prop_assert!(decide(&case, &actor, case.version - 1, &action, at(now)).is_err(), "an old version");
            match (decide(&case, &actor, case.version, &action, at(now)), expected) {
                (Ok(next), Some(state)) => {
                    prop_assert_eq!(next.state.name(), state.as_str());
                    prop_assert_eq!(next.version, case.version + 1);
                    model.past.push((now, action.name(), state));
                    case = next;
                }
                (Err(_), None) => {}
                (got, expected) => prop_assert!(false, "{actor:?} {action:?} in {:?}: {got:?}, not {expected:?}", case.state),
            }
            agree(&case, &model, now)?;
        }
    }
}

/// Somebody who may, doing what is probably possible.
fn likely(case: &Case, what: usize, now: DateTime<Utc>) -> (Actor, Action) {
    let agency = Actor::Agency("A".to_owned());
    let (actor, choices): (Actor, &[usize]) = match case.state {
        State::Received => (Actor::Ioc, &[0]),
        State::Verifying => (Actor::Ioc, &[1, 3, 5, 5, 5]),
        State::NeedsInfo if what.is_multiple_of(5) => (Actor::System, &[17]),
        State::NeedsInfo => (Actor::Reporter, &[2]),
        State::Distributed => (agency, &[7, 7, 8]),
        State::InProgress if what.is_multiple_of(3) => (Actor::Ioc, &[10, 10, 11]),
        State::InProgress => (agency, &[9, 12]),
        State::ResultSubmitted => (Actor::Supervisor, &[13, 14]),
        State::Published if what.is_multiple_of(4) => (Actor::System, &[17]),
        State::Published => (Actor::Reporter, &[15, 16]),
        State::Rejected | State::Duplicate | State::Closed => (Actor::Reporter, &[16]),
    };
    (actor, action(choices[what % choices.len()], now))
}

/// What the machine carries along equals what the past gives.
fn agree(case: &Case, model: &Model, now: DateTime<Utc>) -> Result<(), TestCaseError> {
    prop_assert_eq!(usize::try_from(case.version).expect("positive"), model.past.len());
    prop_assert_eq!(case.round as usize, 1 + model.count("reopen"));
    prop_assert_eq!(case.returns as usize, model.count("return"));
    prop_assert_eq!(case.entered_at, model.entered());
    if matches!(case.state, State::Verifying | State::NeedsInfo) {
        let spent = model.spent(&["verifying"], &["claim", "return", "reopen"], now);
        prop_assert_eq!(case.step.expect("verifying has a limit").spent(hue(), now), spent);
    }
    if let (Some(handling), true) = (case.handling, case.lead.is_some()) {
        let spent = model.spent(&["distributed", "in-progress"], &["distribute"], now);
        prop_assert_eq!(handling.watch.spent(hue(), now), spent);
        prop_assert_eq!(handling.first_allowance_ms, (hue().day() * 7).num_milliseconds(), "the first deadline stays");
        prop_assert!(handling.watch.allowance_ms >= handling.first_allowance_ms);
    }
    prop_assert_eq!(case.running().is_none(), matches!(case.state, State::Rejected | State::Duplicate | State::Closed));
    Ok(())
}

fn go(case: Case, actor: &Actor, action: &Action, now: DateTime<Utc>) -> Case {
    decide(&case, actor, case.version, action, at(now)).expect("the test does what may be done")
}

fn distributed(deadline: Option<DateTime<Utc>>) -> Case {
    let case = Case::submitted(Lane::Timed, Channel::App, at(monday()));
    let case = go(case, &Actor::Ioc, &Action::Claim, monday());
    let lead = Assignment { lead: "A".to_owned(), co: Vec::new(), deadline };
    go(case, &Actor::Ioc, &Action::Distribute(lead), monday())
}

#[test]
fn the_first_and_the_extended_deadline_stay_apart() {
    let agency = Actor::Agency("A".to_owned());
    let deadline = monday() + TimeDelta::days(2);
    let case = go(distributed(Some(deadline)), &agency, &Action::Accept, monday());
    assert_eq!(case.handling.and_then(|work| work.first_due(hue())), Some(deadline));
    let later = deadline + TimeDelta::days(2);
    let case = go(case, &agency, &Action::RequestExtension(later), monday() + TimeDelta::hours(1));
    let again = decide(&case, &agency, case.version, &Action::RequestExtension(later), at(monday()));
    assert_eq!(again, Err(Refusal::ExtensionNotOpen));
    let case = go(case, &Actor::Ioc, &Action::GrantExtension, monday() + TimeDelta::hours(2));
    let work = case.handling.expect("it is worked on");
    assert_eq!(work.first_due(hue()), Some(deadline));
    assert_eq!(work.watch.reaches(hue(), 100), Some(later));
    let none = decide(&case, &agency, case.version, &Action::SubmitResult(0), at(deadline));
    assert_eq!(none, Err(Refusal::EvidenceMissing));
    let case = go(case, &agency, &Action::SubmitResult(2), deadline + TimeDelta::hours(1));
    assert_eq!(case.handling.map(|work| work.kept()), Some(Kept { first: false, extended: true }));
}

#[test]
fn a_deadline_is_in_the_future_and_not_for_ever() {
    let case = go(Case::submitted(Lane::Timed, Channel::App, at(monday())), &Actor::Ioc, &Action::Claim, monday());
    for deadline in [monday() - TimeDelta::hours(1), monday() + TimeDelta::days(3_000)] {
        let lead = Assignment { lead: "A".to_owned(), co: Vec::new(), deadline: Some(deadline) };
        let refused = decide(&case, &Actor::Ioc, case.version, &Action::Distribute(lead), at(monday()));
        assert_eq!(refused, Err(Refusal::Deadline));
    }
    let co = vec!["A".to_owned()];
    let lead = Assignment { lead: "A".to_owned(), co, deadline: None };
    let refused = decide(&case, &Actor::Ioc, case.version, &Action::Distribute(lead), at(monday()));
    assert_eq!(refused, Err(Refusal::Agencies));
}

#[test]
fn the_instant_lane_runs_at_night() {
    let night: DateTime<Utc> = "2026-11-22T02:00:00+07:00".parse().expect("a time");
    let case = Case::submitted(Lane::Instant, Channel::App, at(night));
    let due = case.running().and_then(|watch| watch.reaches(hue(), 100));
    assert_eq!(due, Some(night + TimeDelta::minutes(15)));
    let timed = Case::submitted(Lane::Timed, Channel::App, at(night));
    let due = timed.running().and_then(|watch| watch.reaches(hue(), 100));
    assert_eq!(due, Some("2026-11-23T09:30:00+07:00".parse().expect("a time")));
}

#[test]
fn a_call_is_answered_by_the_operator() {
    let case = go(Case::submitted(Lane::Timed, Channel::Call, at(monday())), &Actor::Ioc, &Action::Claim, monday());
    let case = go(case, &Actor::Ioc, &Action::Ask, monday());
    assert_eq!(go(case, &Actor::Ioc, &Action::Answer, monday()).state, State::Verifying);
}

//! A report as far as decisions need it: where it stands, who answers for it, and its clocks.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Channel, Moment, State};
use crate::city::Lane;
use crate::clock::{Stopwatch, WorkingTime};

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

    /// A new stopwatch with the limit of a state.
    pub(super) fn start(&mut self, state: State, at: Moment<'_>) -> Option<Stopwatch> {
        let (pace, allowance) = at.limit(self.lane, state)?;
        self.stopwatches += 1;
        Some(Stopwatch::started(self.stopwatches, pace, allowance, at.now))
    }

    /// Enters a state whose limit is the office's.
    pub(super) fn enter_step(&mut self, state: State, at: Moment<'_>) {
        self.wait = None;
        self.step = self.start(state, at);
        self.state = state;
    }

    /// Enters a state in which nothing runs.
    pub(super) fn end(&mut self, state: State) {
        self.wait = None;
        self.step = None;
        self.state = state;
    }

    /// Takes the work from the agency.
    pub(super) fn take_back(&mut self) {
        self.lead = None;
        self.co.clear();
        self.handling = None;
        self.asked_allowance_ms = None;
        self.extensions = 0;
    }
}

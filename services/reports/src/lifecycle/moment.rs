//! The moment of a decision, and the time limits that hold then.

use chrono::{DateTime, TimeDelta, Utc};

use super::{MAX_WORKING_DAYS, State};
use crate::city::Lane;
use crate::clock::{Pace, WorkingTime};

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
    pub(super) fn limit(&self, lane: Lane, state: State) -> Option<(Pace, TimeDelta)> {
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
    pub(super) fn days(&self) -> i32 {
        i32::try_from(self.target_working_days).ok().filter(|days| (1..=MAX_WORKING_DAYS).contains(days)).unwrap_or(5)
    }
}

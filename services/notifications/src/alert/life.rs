//! The life of an alert: who may release, replace and end it, and when. Pure.
//!
//! ```text
//!    ┌─adopt─┐  (a draft of nobody)
//! drafted ◀──┘
//! drafted ──release by another officer──▶ released ──an update is released──▶ updated
//!    │                                       ├──cancel──▶ cancelled
//!    └──cancel──▶ withdrawn                  └──time────▶ expired   (a draft expires too)
//! ```
//!
//! `expired` is never stored: it is what a drafted or released alert is from its end on, so that nothing has to happen
//! on time for it to be true.
//!
//! Invariants:
//! - What citizens get was drafted, or adopted, by one officer and released by another; a cancellation of what they got needs one.
//! - What no officer drafted (an alarm of a river, a partner's document) is adopted once.
//! - `withdrawn`, `updated`, `cancelled` and `expired` are final.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// Which message of CAP an alert is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// The first about its event.
    Alert,
    /// Replaces an earlier one.
    Update,
    /// Ends an earlier one.
    Cancel,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Alert, Self::Update, Self::Cancel];

    /// The name in SQL, JSON and events.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Alert => "alert",
            Self::Update => "update",
            Self::Cancel => "cancel",
        }
    }

    /// As CAP writes it.
    pub(crate) const fn cap(self) -> &'static str {
        match self {
            Self::Alert => "Alert",
            Self::Update => "Update",
            Self::Cancel => "Cancel",
        }
    }

    /// The kind with that name.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// How an alert stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = AlertState)]
pub(crate) enum State {
    /// It waits for another officer.
    Drafted,
    /// It was given up before anybody got it.
    Withdrawn,
    /// It is in force.
    Released,
    /// A newer one replaced it.
    Updated,
    /// It was ended.
    Cancelled,
    /// Its time is over.
    Expired,
}

impl State {
    const ALL: [Self; 6] =
        [Self::Drafted, Self::Withdrawn, Self::Released, Self::Updated, Self::Cancelled, Self::Expired];

    /// The name in SQL and JSON.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Drafted => "drafted",
            Self::Withdrawn => "withdrawn",
            Self::Released => "released",
            Self::Updated => "updated",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }

    /// The state with that name.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// Why a step is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Whoever drafted it may not release it.
    SameOfficer,
    /// No officer stands for it yet.
    NotAdopted,
    /// An officer stands for it already.
    Adopted,
    /// The end of a warning needs nobody to stand for it.
    NeedsNobody,
    /// It is no draft (any more).
    NotDrafted(State),
    /// It is not in force (any more), so that it can be neither replaced nor ended.
    NotInForce(State),
}

/// What decides about the steps of an alert. Invariant: `state` is never [`State::Expired`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) kind: Kind,
    pub(crate) state: State,
    /// `None` while no officer stands for it.
    pub(crate) drafted_by: Option<Uuid>,
    pub(crate) released_by: Option<Uuid>,
    pub(crate) expires_at: DateTime<Utc>,
}

impl Life {
    /// How it stands at a time.
    pub(crate) fn state_at(&self, now: DateTime<Utc>) -> State {
        match self.state {
            State::Drafted | State::Released if self.expires_at <= now => State::Expired,
            state => state,
        }
    }

    /// Releases a draft; `None` when this officer has released it before, so that a second click does no harm.
    pub(crate) fn release(self, officer: Uuid, now: DateTime<Utc>) -> Result<Option<Self>, Refusal> {
        match self.state_at(now) {
            // Who ends what a partner withdrew need not wait for another.
            State::Drafted if self.kind == Kind::Cancel => {
                Ok(Some(Self { state: State::Released, released_by: Some(officer), ..self }))
            }
            State::Drafted if self.drafted_by.is_none() => Err(Refusal::NotAdopted),
            State::Drafted if self.drafted_by == Some(officer) => Err(Refusal::SameOfficer),
            State::Drafted => Ok(Some(Self { state: State::Released, released_by: Some(officer), ..self })),
            State::Released if self.released_by == Some(officer) => Ok(None),
            state => Err(Refusal::NotDrafted(state)),
        }
    }

    /// Lets an officer stand for a draft of nobody's; `None` when this one does already.
    pub(crate) fn adopt(self, officer: Uuid, now: DateTime<Utc>) -> Result<Option<Self>, Refusal> {
        match (self.state_at(now), self.drafted_by) {
            // One officer may send it; nobody may make another warning of it first.
            (State::Drafted, _) if self.kind == Kind::Cancel => Err(Refusal::NeedsNobody),
            (State::Drafted, None) => Ok(Some(Self { drafted_by: Some(officer), ..self })),
            (State::Drafted, Some(known)) if known == officer => Ok(None),
            (State::Drafted, Some(_)) => Err(Refusal::Adopted),
            (state, _) => Err(Refusal::NotDrafted(state)),
        }
    }

    /// Ends an alert in force, because another one replaces it. What says that an alert is over can't be replaced itself.
    pub(crate) fn replace(self, by: Kind, now: DateTime<Utc>) -> Result<Self, Refusal> {
        match self.state_at(now) {
            state if self.kind == Kind::Cancel => Err(Refusal::NotInForce(state)),
            State::Released if by == Kind::Cancel => Ok(Self { state: State::Cancelled, ..self }),
            State::Released => Ok(Self { state: State::Updated, ..self }),
            state => Err(Refusal::NotInForce(state)),
        }
    }

    /// As [`Life::replace`], when the other one is sent: `None` when this one has expired and an update speaks on, so that nothing is left to
    /// be ended.
    pub(crate) fn yields(self, to: Kind, now: DateTime<Utc>) -> Result<Option<Self>, Refusal> {
        match self.replace(to, now) {
            Err(Refusal::NotInForce(State::Expired)) if to == Kind::Update && self.kind != Kind::Cancel => Ok(None),
            other => other.map(Some),
        }
    }

    /// Gives a draft up.
    pub(crate) fn withdraw(self, now: DateTime<Utc>) -> Result<Self, Refusal> {
        match self.state_at(now) {
            State::Drafted => Ok(Self { state: State::Withdrawn, ..self }),
            state => Err(Refusal::NotDrafted(state)),
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Adopt(u128),
        Release(u128),
        Replace(Kind),
        Withdraw,
        Wait(i64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..3_u128).prop_map(Step::Adopt),
            (0..3_u128).prop_map(Step::Release),
            prop_oneof![Just(Kind::Update), Just(Kind::Cancel)].prop_map(Step::Replace),
            Just(Step::Withdraw),
            (0..40_i64).prop_map(Step::Wait),
        ]
    }

    fn start() -> DateTime<Utc> {
        DateTime::from_timestamp(1_761_523_200, 0).expect("a time")
    }

    fn draft() -> Life {
        Life {
            kind: Kind::Alert,
            state: State::Drafted,
            drafted_by: Some(Uuid::from_u128(0)),
            released_by: None,
            expires_at: start() + TimeDelta::minutes(60),
        }
    }

    #[test]
    fn names_read_back() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_name(kind.name()), Some(kind));
            assert_eq!(serde_json::to_value(kind).expect("serialises"), kind.name());
        }
        for state in State::ALL {
            assert_eq!(State::from_name(state.name()), Some(state));
            assert_eq!(serde_json::to_value(state).expect("serialises"), state.name());
        }
    }

    #[test]
    fn two_officers_release_and_a_second_click_changes_nothing() {
        let (one, two, three) = (Uuid::from_u128(0), Uuid::from_u128(1), Uuid::from_u128(2));
        assert_eq!(draft().release(one, start()), Err(Refusal::SameOfficer));
        let nobodys = Life { drafted_by: None, ..draft() };
        assert_eq!(nobodys.release(two, start()), Err(Refusal::NotAdopted));
        assert_eq!(nobodys.adopt(one, start()), Ok(Some(draft())));
        assert_eq!((draft().adopt(one, start()), draft().adopt(two, start())), (Ok(None), Err(Refusal::Adopted)));
        let released = draft().release(two, start()).expect("another officer").expect("changed");
        assert_eq!((released.state, released.released_by), (State::Released, Some(two)));
        assert_eq!(released.release(two, start()), Ok(None));
        assert_eq!(released.release(three, start()), Err(Refusal::NotDrafted(State::Released)));
        assert_eq!(draft().release(two, draft().expires_at), Err(Refusal::NotDrafted(State::Expired)));
        let end = Life { kind: Kind::Cancel, ..released };
        let waiting = Life { kind: Kind::Cancel, ..nobodys };
        assert_eq!(waiting.adopt(one, start()), Err(Refusal::NeedsNobody), "an end can't be made a warning");
        let late = released.expires_at;
        assert_eq!(released.yields(Kind::Update, late), Ok(None), "an update may come after the end");
        assert_eq!(released.yields(Kind::Cancel, late), Err(Refusal::NotInForce(State::Expired)));
        assert_eq!(end.replace(Kind::Cancel, start()), Err(Refusal::NotInForce(State::Released)));
    }

    proptest! {
        #[test]
        fn whatever_officers_do_in_whatever_order(
            steps in prop::collection::vec(step(), 0..20),
            nobodys in any::<bool>(),
        ) {
            let first = Life { drafted_by: draft().drafted_by.filter(|_| !nobodys), ..draft() };
            let (mut life, mut now) = (first, start());
            for step in steps {
                let before = life;
                let seen = before.state_at(now);
                let after = match step {
                    Step::Release(officer) => life.release(Uuid::from_u128(officer), now).map(|new| new.unwrap_or(life)),
                    Step::Adopt(officer) => life.adopt(Uuid::from_u128(officer), now).map(|new| new.unwrap_or(life)),
                    Step::Replace(kind) => life.replace(kind, now),
                    Step::Withdraw => life.withdraw(now),
                    Step::Wait(minutes) => {
                        now += TimeDelta::minutes(minutes);
                        Ok(life)
                    }
                };
                life = after.unwrap_or(before);
                prop_assert_ne!(life.state, State::Expired);
                prop_assert!(life.released_by.is_none() || (life.drafted_by.is_some() && life.released_by != life.drafted_by));
                prop_assert_eq!(
                    life.released_by.is_some(),
                    matches!(life.state, State::Released | State::Updated | State::Cancelled)
                );
                if !matches!(seen, State::Drafted | State::Released) {
                    prop_assert_eq!(life, before, "{:?} is final", seen);
                }
                if seen == State::Drafted && life.state != State::Drafted {
                    prop_assert!(matches!(life.state, State::Released | State::Withdrawn));
                }
            }
        }
    }
}

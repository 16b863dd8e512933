//! The life of an alarm: from readings and thresholds to levels and steps. Pure.
//!
//! ```text
//!        reading ≥ alarm 1                acknowledge
//! (none) ─────────────────▶ raised ─────────────────────▶ acknowledged
//!                             │  ▲        level rises          │
//!                             │  └─────────────────────────────┤
//!                             └──────▶ closed ◀────────────────┘
//!                        below alarm 1 less the hysteresis, or an officer
//! ```
//!
//! Invariants, tested:
//! - A level begins at its threshold and ends only [`HYSTERESIS_M`] below it: a river that stands at a threshold raises one alarm.
//! - The highest level begins only with a reading that another one shortly before agrees with; until then the one below is in force.
//! - An alarm that rises must be acknowledged again.
//! - `closed` is final; the next reading at a threshold raises another alarm.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How far below its threshold a level ends, in metres: waves and gauges move by some centimetres.
pub(crate) const HYSTERESIS_M: f64 = 0.10;
/// The highest level: life is in danger, citizens are warned.
pub(crate) const HIGHEST: u8 = 3;

/// So far above the highest level, in metres, the city is told again: life is in danger everywhere along the river.
pub(crate) const EXTREME_ABOVE_M: f64 = 1.0;

/// How an alarm stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = AlarmState)]
pub enum State {
    /// Nobody has said yet that they have seen it.
    Raised,
    /// An operator has seen it at its present level, or a higher one.
    Acknowledged,
    /// It is over.
    Closed,
}

impl State {
    const ALL: [Self; 3] = [Self::Raised, Self::Acknowledged, Self::Closed];

    /// The name in SQL, JSON and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raised => "raised",
            Self::Acknowledged => "acknowledged",
            Self::Closed => "closed",
        }
    }

    /// The state with that name.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// What happened to an alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = AlarmStepKind)]
pub(crate) enum Step {
    /// It began.
    Raised,
    /// The river reached a higher level.
    Rose,
    /// It fell to a lower one.
    Fell,
    /// An operator has seen it.
    Acknowledged,
    /// It ended.
    Closed,
}

impl Step {
    const ALL: [Self; 5] = [Self::Raised, Self::Rose, Self::Fell, Self::Acknowledged, Self::Closed];

    /// The name in SQL, JSON and metrics.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Raised => "raised",
            Self::Rose => "rose",
            Self::Fell => "fell",
            Self::Acknowledged => "acknowledged",
            Self::Closed => "closed",
        }
    }

    /// The step with that name.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.name() == name)
    }
}

/// What decides about an alarm's steps. The level is 1 to 3; that of a closed alarm is its last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) state: State,
    pub(crate) level: u8,
    /// The highest level that it has had.
    pub(crate) highest: u8,
    /// How often it has reached the highest level there is from below.
    pub(crate) crossings: u32,
}

/// A good reading, and what it is held against.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    pub(crate) value_m: f64,
    /// A reading shortly before it.
    pub(crate) agrees_m: Option<f64>,
}

/// What a reading makes of the alarm that is open, or of none: the alarm as it stands then, and the step if there is one.
///
/// `None` when there is no alarm and none begins.
pub(crate) fn read(open: Option<Life>, alarms_m: [f64; 3], reading: Reading) -> Option<(Life, Option<Step>)> {
    let before = open.map_or(0, |open| open.level);
    let reached = level(before, alarms_m, reading.value_m);
    // The one before may stand a little below the threshold: rivers rise.
    let agrees = reading.agrees_m.is_some_and(|agrees| level(HIGHEST, alarms_m, agrees) == HIGHEST);
    let level = if reached == HIGHEST && before < HIGHEST && !agrees { HIGHEST - 1 } else { reached };
    let Some(before) = open else {
        let crossings = u32::from(level == HIGHEST);
        let raised = Life { state: State::Raised, level, highest: level, crossings };
        return (level > 0).then_some((raised, Some(Step::Raised)));
    };
    let crossed = u32::from(level == HIGHEST && before.level < HIGHEST);
    let now = Life { level, highest: before.highest.max(level), crossings: before.crossings + crossed, ..before };
    Some(match level {
        0 => (Life { state: State::Closed, level: before.level, ..now }, Some(Step::Closed)),
        level if level > before.level => (Life { state: State::Raised, ..now }, Some(Step::Rose)),
        level if level < before.level => (now, Some(Step::Fell)),
        _ => (now, None),
    })
}

/// An operator has seen it; `None` when that was said before. Closed alarms need nobody.
pub(crate) fn acknowledge(life: Life) -> Result<Option<Life>, State> {
    match life.state {
        State::Raised => Ok(Some(Life { state: State::Acknowledged, ..life })),
        State::Acknowledged => Ok(None),
        State::Closed => Err(State::Closed),
    }
}

/// An officer ends it, because its sensor is broken or it was an exercise.
pub(crate) fn close(life: Life) -> Result<Life, State> {
    match life.state {
        State::Closed => Err(State::Closed),
        _ => Ok(Life { state: State::Closed, ..life }),
    }
}

/// The level of a reading, when `current` was in force: up at a threshold, down only below it by the hysteresis.
fn level(current: u8, alarms_m: [f64; 3], value_m: f64) -> u8 {
    let holds = |(level, threshold): (u8, f64)| {
        let from = if level <= current { threshold - HYSTERESIS_M } else { threshold };
        (value_m >= from).then_some(level)
    };
    (1..=HIGHEST).zip(alarms_m).filter_map(holds).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KIM_LONG: [f64; 3] = [1.0, 2.0, 3.5];

    /// A reading that another one agrees with.
    fn sure(value_m: f64) -> Reading {
        Reading { value_m, agrees_m: Some(value_m) }
    }

    fn all(values: &[f64]) -> Vec<(Option<Step>, u8)> {
        let mut open = None;
        let mut steps = Vec::new();
        for value in values {
            let read = read(open, KIM_LONG, sure(*value));
            steps.push(read.map_or((None, 0), |(life, step)| (step, life.level)));
            open = read.map(|(life, _)| life).filter(|life| life.state != State::Closed);
        }
        steps
    }

    #[test]
    fn names_read_back() {
        for state in State::ALL {
            assert_eq!(State::from_name(state.name()), Some(state));
            assert_eq!(serde_json::to_value(state).expect("serialises"), state.name());
        }
        for step in Step::ALL {
            assert_eq!(Step::from_name(step.name()), Some(step));
            assert_eq!(serde_json::to_value(step).expect("serialises"), step.name());
        }
    }

    #[test]
    fn a_flood_rises_falls_and_ends() {
        let steps = all(&[0.5, 1.0, 0.95, 3.58, 3.45, 3.39, 2.56, 3.5, 1.2, 0.89, 1.0]);
        use Step::{Closed, Fell, Raised, Rose};
        assert_eq!(
            steps,
            [
                (None, 0),
                (Some(Raised), 1),
                (None, 1),
                (Some(Rose), 3),
                (None, 3),
                (Some(Fell), 2),
                (None, 2),
                (Some(Rose), 3),
                (Some(Fell), 1),
                (Some(Closed), 1),
                (Some(Raised), 1),
            ]
        );
    }

    #[test]
    fn an_alarm_that_rises_must_be_seen_again() {
        let (raised, _) = read(None, KIM_LONG, sure(2.1)).expect("an alarm");
        let seen = acknowledge(raised).expect("open").expect("news");
        assert_eq!(acknowledge(seen), Ok(None));
        assert_eq!(read(Some(seen), KIM_LONG, sure(2.2)), Some((seen, None)));
        let (higher, step) = read(Some(seen), KIM_LONG, sure(3.5)).expect("an alarm");
        assert_eq!((higher.state, step, higher.crossings), (State::Raised, Some(Step::Rose), 1));
        let (lower, _) =
            read(Some(acknowledge(higher).expect("open").expect("news")), KIM_LONG, sure(3.0)).expect("open");
        assert_eq!((lower.state, lower.highest), (State::Acknowledged, 3));
        let closed = close(lower).expect("open");
        assert_eq!((close(closed), acknowledge(closed)), (Err(State::Closed), Err(State::Closed)));
    }

    #[test]
    fn the_highest_level_takes_a_second_reading_that_agrees() {
        let read_at = |open, value_m, agrees_m| {
            let (life, step) = read(open, KIM_LONG, Reading { value_m, agrees_m }).expect("an alarm");
            (life, step, life.level)
        };
        let (alone, step, level) = read_at(None, 4.8, None);
        assert_eq!((step, level, alone.crossings), (Some(Step::Raised), 2, 0), "one reading raises the level below");
        assert_eq!(read_at(None, 4.8, Some(1.2)).2, 2, "another that does not agree");
        let (twice, step, level) = read_at(Some(alone), 4.8, Some(4.7));
        assert_eq!((step, level, twice.crossings), (Some(Step::Rose), 3, 1));
        assert_eq!(read_at(Some(alone), 3.6, Some(3.41)).2, 3, "rivers rise");
        assert_eq!(read_at(Some(alone), 3.6, Some(3.3)).2, 2);
        assert_eq!(read_at(Some(twice), 4.8, None).2, 3, "what is in force needs no more");
    }

    proptest! {
        #[test]
        fn a_river_that_stands_at_a_threshold_takes_one_step(threshold in 0..3_usize, waves in prop::collection::vec(-9..9_i32, 1..60)) {
            let at = KIM_LONG[threshold];
            let mut values = vec![at];
            values.extend(waves.iter().map(|centimetres| at + f64::from(*centimetres) / 100.0));
            let steps = all(&values).into_iter().filter(|(step, _)| step.is_some()).count();
            prop_assert_eq!(steps, 1);
        }

        #[test]
        fn the_level_is_never_lower_than_the_reading_says(values in prop::collection::vec(0.0..6.0_f64, 1..60)) {
            for (value, (_, level)) in values.iter().zip(all(&values)) {
                let plain = KIM_LONG.iter().filter(|threshold| *value >= **threshold).count();
                let lowest = KIM_LONG.iter().filter(|threshold| *value >= **threshold - HYSTERESIS_M).count();
                let closed = lowest == 0;
                prop_assert!(usize::from(level) >= plain && (closed || usize::from(level) <= lowest));
            }
        }
    }
}

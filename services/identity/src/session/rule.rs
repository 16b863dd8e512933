//! What a refresh token gets. Pure.
//!
//! A session is a family of refresh tokens, numbered by generation; only the newest rotates.
//! The one before it gets the same successor again for a short grace, because answers get lost on the way.
//! Any older one is a replay: somebody else holds a copy, and the family dies. Generations decide, never time stamps,
//! so that two replays in one second can't both pass.

use chrono::{DateTime, TimeDelta, Utc};

/// What the database knows of a family, read under its lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Family {
    /// Generation of the newest token.
    pub generation: u32,
    /// When it was made.
    pub rotated_at: DateTime<Utc>,
    /// When it ends unused, or with the session.
    pub expires_at: DateTime<Utc>,
    /// Whether the session has ended.
    pub ended: bool,
}

/// What a genuine token of a family gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// The newest token: it gets a successor.
    Rotate,
    /// The one before, within the grace: it gets the newest again.
    Repeat,
    /// An older one: the family dies.
    Replay,
    /// The session was ended before.
    Ended,
    /// The session ran out.
    Expired,
    /// A generation that was never given out here: the database lost a rotation. Refused, and nobody is blamed.
    Ahead,
}

/// Decides what a token of generation `presented` gets.
pub(crate) fn decide(family: &Family, presented: u32, grace: TimeDelta, now: DateTime<Utc>) -> Decision {
    if family.ended {
        Decision::Ended
    } else if now >= family.expires_at {
        Decision::Expired
    } else if presented == family.generation {
        Decision::Rotate
    } else if presented > family.generation {
        Decision::Ahead
    } else if presented + 1 == family.generation && now < family.rotated_at + grace {
        Decision::Repeat
    } else {
        Decision::Replay
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GRACE_S: i64 = 10;
    const IDLE_S: i64 = 100;

    /// The obvious model: a list of every token ever given out, with when it was replaced.
    #[derive(Debug, Default)]
    struct Model {
        replaced_at: Vec<Option<i64>>,
        used_until: i64,
        dead: bool,
    }

    impl Model {
        fn present(&mut self, token: usize, now: i64) -> Decision {
            if self.dead {
                return Decision::Ended;
            }
            if now >= self.used_until {
                return Decision::Expired;
            }
            match self.replaced_at[token] {
                None => {
                    self.replaced_at[token] = Some(now);
                    self.replaced_at.push(None);
                    self.used_until = now + IDLE_S;
                    Decision::Rotate
                }
                Some(at) if now - at < GRACE_S && self.replaced_at[token + 1].is_none() => Decision::Repeat,
                Some(_) => {
                    self.dead = true;
                    Decision::Replay
                }
            }
        }
    }

    fn apply(family: &mut Family, decision: Decision, now: DateTime<Utc>) {
        match decision {
            Decision::Rotate => {
                family.generation += 1;
                family.rotated_at = now;
                family.expires_at = now + TimeDelta::seconds(IDLE_S);
            }
            Decision::Replay => family.ended = true,
            _ => {}
        }
    }

    proptest! {
        #[test]
        fn generations_decide_as_a_list_of_all_tokens_would(steps in prop::collection::vec((0_i64..15, 0_usize..4), 1..60)) {
            let start = DateTime::UNIX_EPOCH;
            let mut family = Family { generation: 0, rotated_at: start, expires_at: start + TimeDelta::seconds(IDLE_S), ended: false };
            let mut model = Model { replaced_at: vec![None], used_until: IDLE_S, dead: false };
            let mut second = 0;
            for (wait, age) in steps {
                second += wait;
                let now = start + TimeDelta::seconds(second);
                let token = (family.generation as usize).saturating_sub(age);
                let decision = decide(&family, token as u32, TimeDelta::seconds(GRACE_S), now);
                prop_assert_eq!(decision, model.present(token, second));
                apply(&mut family, decision, now);
            }
        }

        #[test]
        fn at_one_moment_a_token_rotates_once(times in 2_usize..30) {
            let now = DateTime::UNIX_EPOCH;
            let mut family = Family { generation: 7, rotated_at: now, expires_at: now + TimeDelta::seconds(IDLE_S), ended: false };
            let decisions: Vec<Decision> = (0..times).map(|_| {
                let decision = decide(&family, 7, TimeDelta::seconds(GRACE_S), now);
                apply(&mut family, decision, now);
                decision
            }).collect();
            prop_assert_eq!(decisions[0], Decision::Rotate);
            prop_assert!(decisions[1..].iter().all(|decision| *decision == Decision::Repeat));
            prop_assert_eq!(family.generation, 8);
        }
    }

    #[test]
    fn without_grace_every_repeat_is_a_replay() {
        let now = DateTime::UNIX_EPOCH;
        let family = Family { generation: 1, rotated_at: now, expires_at: now + TimeDelta::seconds(1), ended: false };
        assert_eq!(decide(&family, 0, TimeDelta::zero(), now), Decision::Replay);
        assert_eq!(decide(&family, 2, TimeDelta::zero(), now), Decision::Ahead);
    }
}

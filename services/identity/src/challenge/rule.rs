//! A one-time code and the rules by which it is right or wrong. Pure.

use std::fmt;

use chrono::{DateTime, Utc};
use platform::typed_id;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::device::DeviceId;

typed_id! {
    /// A one-time code on its way.
    pub struct ChallengeId;
}

/// Wrong codes after which a challenge is dead. The database's CHECK says the same.
pub(crate) const MAX_TRIES: u8 = 5;
/// A code has this many digits.
pub(crate) const CODE_DIGITS: usize = 6;

/// What a one-time code is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// To start a session.
    SignIn,
    /// To set a PIN without knowing the old one.
    PinReset,
    /// To give the number to the account of somebody who has none.
    AttachPhone,
}

impl Purpose {
    /// The purpose that is stored so.
    pub(crate) fn named(text: &str) -> Option<Self> {
        [Self::SignIn, Self::PinReset, Self::AttachPhone].into_iter().find(|purpose| purpose.as_str() == text)
    }

    /// As it is stored, sent and counted.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SignIn => "sign-in",
            Self::PinReset => "pin-reset",
            Self::AttachPhone => "attach-phone",
        }
    }
}

/// Six digits. `Debug` hides them.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Code(String);

impl Code {
    /// Six random digits, each code equally likely.
    pub(crate) fn generate() -> Self {
        /// The largest multiple of a million below 2^32: numbers past it would favour some codes.
        const FAIR: u32 = u32::MAX - u32::MAX % 1_000_000;
        loop {
            let number = u32::from_be_bytes(crate::vault::random());
            if number < FAIR {
                return Self(format!("{:06}", number % 1_000_000));
            }
        }
    }

    /// Takes six ASCII digits.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        (text.len() == CODE_DIGITS && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| Self(text.to_owned()))
    }

    /// The digits; keep them out of logs.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Code(…)")
    }
}

/// What the database knows of a challenge, read under its lock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct State {
    /// What it is for.
    pub purpose: Purpose,
    /// The device that asked for it.
    pub device: DeviceId,
    /// Wrong codes so far.
    pub tries: u8,
    /// When it ends.
    pub expires_at: DateTime<Utc>,
    /// Whether it was used.
    pub consumed: bool,
}

/// What somebody answers to a challenge.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    /// What they want to do with it.
    pub purpose: Purpose,
    /// The device they say they are on; the one that asked, if they don't say.
    pub device: Option<DeviceId>,
    /// Whether the code's digest is right.
    pub matches: bool,
}

/// The outcome of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Use it up and go on.
    Right,
    /// Count it; so many tries are left.
    Wrong {
        /// After this one.
        left: u8,
    },
    /// No try is left.
    Exhausted,
    /// Too late.
    Expired,
    /// It was used before.
    Used,
    /// It belongs to another device or purpose: answered as if it did not exist, and not counted, so that
    /// nobody else can use its tries up.
    Foreign,
}

/// Decides an answer. The code only matters when everything else holds, so that a dead challenge tells nothing about it.
pub(crate) fn judge(state: &State, answer: Answer, now: DateTime<Utc>) -> Verdict {
    if state.purpose != answer.purpose || answer.device.is_some_and(|device| device != state.device) {
        Verdict::Foreign
    } else if state.consumed {
        Verdict::Used
    } else if state.tries >= MAX_TRIES {
        Verdict::Exhausted
    } else if now >= state.expires_at {
        Verdict::Expired
    } else if answer.matches {
        Verdict::Right
    } else {
        Verdict::Wrong { left: MAX_TRIES - state.tries - 1 }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use proptest::prelude::*;

    use super::*;

    fn state() -> State {
        State {
            purpose: Purpose::SignIn,
            device: DeviceId::generate(),
            tries: 0,
            expires_at: DateTime::UNIX_EPOCH + TimeDelta::seconds(300),
            consumed: false,
        }
    }

    fn answer(matches: bool) -> Answer {
        Answer { purpose: Purpose::SignIn, device: None, matches }
    }

    #[test]
    fn a_right_code_counts_until_the_last_second_only() {
        let state = state();
        assert_eq!(judge(&state, answer(true), state.expires_at - TimeDelta::milliseconds(1)), Verdict::Right);
        assert_eq!(judge(&state, answer(true), state.expires_at), Verdict::Expired);
    }

    #[test]
    fn five_wrong_codes_kill_a_challenge() {
        let mut state = state();
        for left in (0..MAX_TRIES).rev() {
            assert_eq!(judge(&state, answer(false), DateTime::UNIX_EPOCH), Verdict::Wrong { left });
            state.tries += 1;
        }
        assert_eq!(judge(&state, answer(true), DateTime::UNIX_EPOCH), Verdict::Exhausted);
    }

    #[test]
    fn another_device_or_purpose_learns_nothing() {
        let state = state();
        let foreign = Answer { device: Some(DeviceId::generate()), ..answer(true) };
        assert_eq!(judge(&state, foreign, DateTime::UNIX_EPOCH), Verdict::Foreign);
        let foreign = Answer { purpose: Purpose::PinReset, ..answer(true) };
        assert_eq!(judge(&state, foreign, DateTime::UNIX_EPOCH), Verdict::Foreign);
        let own = Answer { device: Some(state.device), ..answer(true) };
        assert_eq!(judge(&state, own, DateTime::UNIX_EPOCH), Verdict::Right);
    }

    #[test]
    fn a_used_code_is_used() {
        let used = State { consumed: true, ..state() };
        assert_eq!(judge(&used, answer(true), DateTime::UNIX_EPOCH), Verdict::Used);
    }

    #[test]
    fn codes_are_six_digits_and_differ() {
        let codes: std::collections::HashSet<String> =
            (0..1_000).map(|_| Code::generate().expose().to_owned()).collect();
        assert!(codes.len() > 990);
        assert!(codes.iter().all(|code| Code::parse(code).is_some()));
        assert!(Code::parse("12345").is_none() && Code::parse("12345x").is_none() && Code::parse("１２").is_none());
    }

    proptest! {
        #[test]
        fn a_dead_challenge_says_nothing_about_the_code(tries in 0_u8..=5, consumed: bool, late_s in -10_i64..10) {
            let state = State { tries, consumed, ..state() };
            let now = state.expires_at + TimeDelta::seconds(late_s);
            let (right, wrong) = (judge(&state, answer(true), now), judge(&state, answer(false), now));
            let alive = !consumed && tries < MAX_TRIES && late_s < 0;
            prop_assert_eq!(alive, right == Verdict::Right);
            prop_assert_eq!(alive, right != wrong);
        }
    }
}

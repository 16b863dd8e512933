//! How a closing goes on. Pure.
//!
//! ```text
//! asked ──all agree──▶ cooling ──time──▶ erasing ──all have erased──▶ erased
//!   │ └──one objects──▶ refused    │
//!   └───────── the citizen ────────┴──▶ taken-back
//! ```

/// Where a closing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema, sqlx::Type)]
#[serde(rename_all = "kebab-case")]
#[sqlx(type_name = "text", rename_all = "kebab-case")]
#[schema(as = ClosingState)]
pub(crate) enum State {
    /// Services are asked.
    Asked,
    /// One did not let the citizen go; everything is open again.
    Refused,
    /// All have closed; the citizen may still take it back.
    Cooling,
    /// The citizen stays.
    TakenBack,
    /// Services erase; there is no way back.
    Erasing,
    /// Everything is erased.
    Erased,
}

/// What a service has said, if anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    pub answered: bool,
    pub hindered: bool,
}

impl State {
    /// As it is stored.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Refused => "refused",
            Self::Cooling => "cooling",
            Self::TakenBack => "taken-back",
            Self::Erasing => "erasing",
            Self::Erased => "erased",
        }
    }

    /// Where it goes once a service has answered: nowhere before all have, so that the citizen sees every reason.
    pub(crate) fn after(self, words: &[Word]) -> Self {
        match self {
            Self::Asked if words.iter().any(|word| !word.answered) => Self::Asked,
            Self::Asked if words.iter().any(|word| word.hindered) => Self::Refused,
            Self::Asked => Self::Cooling,
            other => other,
        }
    }

    /// Whether the citizen may take it back.
    pub(crate) fn may_be_taken_back(self) -> bool {
        matches!(self, Self::Asked | Self::Cooling)
    }

    /// Whether the citizen stays, so that a service that answers now must open again what it closed.
    pub(crate) fn is_over(self) -> bool {
        matches!(self, Self::Refused | Self::TakenBack)
    }
}

#[cfg(test)]
mod tests {
    use super::{State, Word};

    const AGREES: Word = Word { answered: true, hindered: false };
    const OBJECTS: Word = Word { answered: true, hindered: true };
    const SILENT: Word = Word { answered: false, hindered: false };

    #[test]
    fn a_closing_waits_for_every_word_and_one_objection_ends_it() {
        assert_eq!(State::Asked.after(&[AGREES, SILENT, OBJECTS]), State::Asked);
        assert_eq!(State::Asked.after(&[AGREES, OBJECTS, AGREES]), State::Refused);
        assert_eq!(State::Asked.after(&[AGREES, AGREES]), State::Cooling);
    }

    #[test]
    fn a_late_word_changes_nothing_that_was_decided() {
        for state in [State::Refused, State::Cooling, State::TakenBack, State::Erasing, State::Erased] {
            for words in [vec![AGREES], vec![OBJECTS], vec![SILENT]] {
                assert_eq!(state.after(&words), state);
            }
        }
    }

    #[test]
    fn it_is_taken_back_until_the_erasure_begins_and_never_after() {
        for state in [State::Asked, State::Cooling] {
            assert!(state.may_be_taken_back() && !state.is_over());
        }
        for state in [State::Erasing, State::Erased] {
            assert!(!state.may_be_taken_back() && !state.is_over(), "who is being erased never opens again");
        }
        assert!(State::Refused.is_over() && State::TakenBack.is_over());
    }
}

//! The state machine over every state and answer, and over random conversations.

use proptest::prelude::*;

use super::{Answer, Change, State, Step};

#[test]
fn names_are_unique_and_read_back() {
    for state in State::ALL {
        assert_eq!(State::named(state.name()), Some(state));
    }
    assert_eq!(State::named("paid"), None);
}

#[test]
fn no_answer_changes_nothing() {
    for state in State::ALL {
        assert_eq!(state.on(Answer::Lost), Change::Stay, "{state:?}");
    }
}

#[test]
fn money_that_the_bank_took_is_credited_in_every_state_but_completed() {
    for state in State::ALL {
        let credits = matches!(state.on(Answer::Succeeded), Change::Credit | Change::CreditAfterContradiction);
        assert_eq!(credits, state != State::Completed, "{state:?}");
    }
}

#[test]
fn an_end_is_left_only_for_money() {
    for state in [State::Completed, State::Failed] {
        assert_eq!(state.step(), Step::Rest);
        for answer in Answer::ALL {
            assert!(!matches!(state.on(answer), Change::Move(_)), "{state:?} {answer:?}");
        }
    }
    assert_eq!(State::Completed.on(Answer::Failed), Change::Contradiction);
    assert_eq!(State::Failed.on(Answer::Succeeded), Change::CreditAfterContradiction);
}

#[test]
fn a_request_is_sent_only_when_the_bank_was_not_asked_or_never_saw_it() {
    let senders: Vec<_> = State::ALL.into_iter().filter(|state| state.step() == Step::Send).collect();
    assert_eq!(senders, [State::Requested]);
    for state in State::ALL {
        for answer in Answer::ALL {
            if state.on(answer) == Change::Move(State::Requested) {
                assert_eq!((state, answer), (State::Unknown, Answer::NeverSeen));
            }
        }
    }
}

fn answers() -> impl Strategy<Value = Vec<Answer>> {
    proptest::collection::vec(proptest::sample::select(Answer::ALL.to_vec()), 0..30)
}

proptest! {
    /// However a conversation with the bank goes, at most one credit is posted, and one is if the bank ever says that it took the money.
    #[test]
    fn credited_exactly_when_the_bank_took_the_money(answers in answers()) {
        let (mut state, mut credits) = (State::Requested, 0);
        for answer in &answers {
            if state.step() == Step::Send {
                state = State::Unknown;
            }
            match state.on(*answer) {
                Change::Move(next) => state = next,
                Change::Credit | Change::CreditAfterContradiction => {
                    credits += 1;
                    state = State::Completed;
                }
                Change::Stay | Change::Contradiction => {}
            }
        }
        prop_assert_eq!(credits, i32::from(answers.contains(&Answer::Succeeded)));
    }
}

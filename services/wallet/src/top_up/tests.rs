//! The state machine over every state and answer, and over random conversations; a word of the bank that comes late.

use chrono::{DateTime, TimeDelta, Utc};
use platform::db::PlatformTables;
use platform::embedded::scratch;
use proptest::prelude::*;
use sqlx::PgConnection;
use uuid::Uuid;

use super::sql::{self, Intent, Transition};
use super::{Answer, Change, State, Step, TopUp, TopUpId, Word};
use crate::{MIGRATOR, SCHEMA};

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

fn noon() -> DateTime<Utc> {
    "2026-01-10T05:00:00Z".parse().expect("a time")
}

async fn found(connection: &mut PgConnection, id: TopUpId) -> TopUp {
    sql::find(connection, id).await.expect("readable").expect("there")
}

/// Moves a top-up; whether it was still the one that was seen.
async fn moved(connection: &mut PgConnection, seen: &TopUp, to: State) -> bool {
    let reason = (to == State::Failed).then_some("odd");
    let change = Transition { of: seen, to, bank_reference: None, reason, at: noon() };
    sql::transition(connection, &change).await.expect("written")
}

/// The bank says that it took no money, then that it did, and only then gets its first word read.
#[tokio::test]
async fn a_word_of_before_does_not_end_a_top_up_whose_money_the_bank_took_after_all() {
    let parts =
        [(ledger::SCHEMA, &ledger::MIGRATOR, PlatformTables::NotWanted), (SCHEMA, &MIGRATOR, PlatformTables::Wanted)];
    let database = scratch::database(&parts).await.expect("PostgreSQL is installed");
    let mut connection = database.pool(SCHEMA).acquire().await.expect("a connection");
    let id = TopUpId::from(Uuid::now_v7());
    let intent = Intent {
        id,
        user_id: Uuid::now_v7(),
        idempotency_key: "key",
        fingerprint: &[0; 32],
        bank_code: "VCB",
        account_sealed: b"sealed",
        amount: 10,
        acting: None,
        requested_at: noon(),
    };
    sql::insert(&mut connection, &intent).await.expect("stored");
    let requested = found(&mut connection, id).await;
    assert!(moved(&mut connection, &requested, State::Submitted).await);
    let submitted = found(&mut connection, id).await;
    assert_eq!(submitted.on(Answer::Failed, Word::Bank), Change::Move(State::Failed));
    assert!(moved(&mut connection, &submitted, State::Failed).await);
    let failed = found(&mut connection, id).await;
    assert_eq!((failed.taken_at, failed.on(Answer::Succeeded, Word::Bank)), (None, Change::CreditAfterContradiction));
    assert!(moved(&mut connection, &failed, State::Submitted).await);

    assert!(!moved(&mut connection, &submitted, State::Failed).await, "decided before");
    let taken = found(&mut connection, id).await;
    assert_eq!((taken.state, taken.taken_at), (State::Submitted, Some(noon())));
    for answer in Answer::ALL {
        let ends = |whose| taken.on(answer, whose) == Change::Move(State::Failed);
        assert!(!ends(Word::Bank), "decided now: {answer:?}");
        assert!(!ends(Word::Officers { proposed_at: noon() }), "they looked before: {answer:?}");
        let since = Word::Officers { proposed_at: noon() + TimeDelta::seconds(1) };
        assert_eq!(ends(since), answer == Answer::Failed, "{answer:?}");
    }
    assert_eq!(taken.on(Answer::Succeeded, Word::Bank), Change::Credit);
    assert!(sql::mark_taken(&mut connection, id, noon() + TimeDelta::hours(1)).await.expect("written"));
    assert_eq!(found(&mut connection, id).await.taken_at, Some(noon()), "it stays when it first was");
    assert!(moved(&mut connection, &taken, State::Failed).await, "by officers");
    assert!(!sql::mark_taken(&mut connection, id, noon()).await.expect("written"), "it has ended");
}

//! The state machine over every state and answer, and over random conversations with a biller that is a slow model of one; its one way back.

use chrono::{DateTime, Utc};
use platform::db::PlatformTables;
use platform::embedded::scratch;
use proptest::prelude::*;
use sqlx::PgConnection;
use uuid::Uuid;

use super::sql::{self, Transition};
use super::{Answer, BillPayment, BillPaymentId, Change, State, Step};
use crate::city::Proof;
use crate::error::STEP_UP_REQUIRED;
use crate::step_up::Proven;
use crate::{MIGRATOR, SCHEMA};

#[test]
fn names_are_unique() {
    let names: std::collections::HashSet<_> = State::ALL.into_iter().map(State::name).collect();
    assert_eq!(names.len(), State::ALL.len());
}

#[test]
fn no_answer_ends_nothing() {
    for state in State::ALL {
        let expected = if state == State::Confirming { Change::Move(State::Unknown) } else { Change::Stay };
        assert_eq!(state.on(Answer::Lost), expected, "{state:?}");
    }
}

#[test]
fn an_end_is_never_left() {
    for state in [State::Paid, State::Failed] {
        assert_eq!(state.step(), Step::Rest);
        for answer in Answer::ALL {
            assert!(matches!(state.on(answer), Change::Stay | Change::Contradiction), "{state:?} {answer:?}");
        }
    }
    assert_eq!(State::Paid.on(Answer::Failed), Change::Contradiction);
    assert_eq!(State::Failed.on(Answer::Succeeded), Change::Contradiction);
}

#[test]
fn money_moves_only_where_it_is_held() {
    let held = [State::Held, State::Confirming, State::Unknown];
    for state in State::ALL {
        for answer in Answer::ALL {
            let change = state.on(answer);
            let moves = matches!(change, Change::Charge | Change::GiveBack);
            let definite = matches!(answer, Answer::Succeeded | Answer::Failed | Answer::Refused);
            assert_eq!(moves, held.contains(&state) && definite, "{state:?} {answer:?}");
            assert_eq!(change == Change::Charge, moves && answer == Answer::Succeeded, "{state:?} {answer:?}");
        }
    }
}

#[test]
fn a_request_is_sent_only_when_the_biller_was_not_asked_or_never_saw_it() {
    let senders: Vec<_> = State::ALL.into_iter().filter(|state| state.step() == Step::Send).collect();
    assert_eq!(senders, [State::Held]);
    for state in State::ALL {
        for answer in Answer::ALL {
            if state.on(answer) == Change::Move(State::Held) {
                assert_eq!(answer, Answer::NeverSeen, "{state:?}");
            }
        }
    }
}

/// What becomes of one message between wallet and biller.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// It arrives, and so does the answer.
    Good,
    /// It never arrives.
    LostBefore,
    /// It arrives; the answer gets lost.
    LostAfter,
    /// It arrives, the answer gets lost, and the callback comes at once.
    CalledBack,
    /// The wallet dies right before.
    Crash,
}

/// A biller that keeps its word: one verdict per request, for ever.
struct Biller {
    records: bool,
    verdict: Option<Answer>,
}

impl Biller {
    fn ask(&mut self) -> Answer {
        *self.verdict.get_or_insert(if self.records { Answer::Succeeded } else { Answer::Refused })
    }

    fn status(&self) -> Answer {
        match self.verdict {
            Some(Answer::Refused) => Answer::Failed,
            Some(verdict) => verdict,
            None => Answer::NeverSeen,
        }
    }
}

/// The saga as its job runs it; what a crash loses is only what is not in `state`.
struct Saga {
    state: State,
    charges: u32,
    returns: u32,
}

impl Saga {
    fn hear(&mut self, answer: Answer) {
        match self.state.on(answer) {
            Change::Move(next) => self.state = next,
            Change::Charge => {
                self.charges += 1;
                self.state = State::Paid;
            }
            Change::GiveBack => {
                self.returns += 1;
                self.state = State::Failed;
            }
            Change::Stay | Change::Contradiction => {}
        }
    }

    fn step(&mut self, biller: &mut Biller, fate: Fate) {
        let send = match self.state.step() {
            Step::Rest => return,
            Step::Hold => {
                if !matches!(fate, Fate::Crash) {
                    self.state = State::Held;
                }
                return;
            }
            Step::Send => {
                self.state = State::Confirming;
                true
            }
            Step::Ask => false,
        };
        let mut say = || if send { biller.ask() } else { biller.status() };
        match fate {
            Fate::Crash => {}
            Fate::LostBefore => self.hear(Answer::Lost),
            Fate::Good => {
                let answer = say();
                self.hear(answer);
            }
            Fate::LostAfter => {
                say();
                self.hear(Answer::Lost);
            }
            Fate::CalledBack => {
                say();
                if let Some(verdict) = biller.verdict {
                    self.hear(if verdict == Answer::Refused { Answer::Failed } else { verdict });
                    self.hear(if verdict == Answer::Refused { Answer::Failed } else { verdict });
                }
                self.hear(Answer::Lost);
            }
        }
    }
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let fate =
        proptest::sample::select(vec![Fate::Good, Fate::LostBefore, Fate::LostAfter, Fate::CalledBack, Fate::Crash]);
    proptest::collection::vec(fate, 0..25)
}

proptest! {
    /// However messages get lost and whenever the wallet dies: at any moment the citizen was charged at most once and only
    /// for what the biller recorded, and once the world is kind again, exactly when it did.
    #[test]
    fn charged_exactly_when_the_biller_recorded_it(fates in fates(), records in any::<bool>()) {
        let mut biller = Biller { records, verdict: None };
        let mut saga = Saga { state: State::Requested, charges: 0, returns: 0 };
        for fate in fates {
            saga.step(&mut biller, fate);
            let recorded = biller.verdict == Some(Answer::Succeeded);
            prop_assert!(saga.charges <= u32::from(recorded));
            prop_assert!(saga.returns == 0 || !recorded);
        }
        for _ in 0..4 {
            saga.step(&mut biller, Fate::Good);
        }
        prop_assert_eq!((saga.charges, saga.returns), (u32::from(records), u32::from(!records)));
        prop_assert_eq!(saga.state, if records { State::Paid } else { State::Failed });
    }

    /// Whatever anybody says in any order, money goes one way at most, once.
    #[test]
    fn money_goes_one_way_once(answers in proptest::collection::vec(proptest::sample::select(Answer::ALL.to_vec()), 0..30)) {
        let mut saga = Saga { state: State::Held, charges: 0, returns: 0 };
        for answer in answers {
            saga.hear(answer);
        }
        prop_assert!(saga.charges + saga.returns <= 1);
        prop_assert_eq!(saga.charges, u32::from(saga.state == State::Paid));
        prop_assert_eq!(saga.returns, u32::from(saga.state == State::Failed));
    }
}

fn noon() -> DateTime<Utc> {
    "2026-01-10T05:00:00Z".parse().expect("a time")
}

async fn found(connection: &mut PgConnection, id: BillPaymentId) -> BillPayment {
    sql::find(connection, id).await.expect("readable").expect("there")
}

/// Stops a payment for want of a proof; whether it was still the one that was seen.
async fn stop(connection: &mut PgConnection, seen: &BillPayment) -> bool {
    let reason = Some(STEP_UP_REQUIRED.code());
    let change = Transition { of: seen, to: State::Failed, biller_reference: None, reason, at: noon() };
    sql::transition(connection, &change).await.expect("written")
}

/// The citizen's request and the job both find that a proof is needed. One says so, the proof comes, and only then does the other get to say it.
#[tokio::test]
async fn who_was_late_to_ask_for_a_proof_does_not_stop_what_was_proved_meanwhile() {
    let parts =
        [(ledger::SCHEMA, &ledger::MIGRATOR, PlatformTables::NotWanted), (SCHEMA, &MIGRATOR, PlatformTables::Wanted)];
    let database = scratch::database(&parts).await.expect("PostgreSQL is installed");
    let id = BillPaymentId::from(Uuid::now_v7());
    let saved = "WITH bill AS (
            INSERT INTO wallet.bill (id, biller_code, kind, reference, period, amount, issued_on, due_on, details, status, updated_at)
            VALUES (gen_random_uuid(), 'PCHUE', 'electricity', 'R1', '2025-11', 10, $2, $2, '{}', 'open', $2) RETURNING id)
        INSERT INTO wallet.bill_payment (id, user_id, session_id, idempotency_key, fingerprint, bill_id, biller_code, kind, period, amount, state,
            requested_at, updated_at, customer_code_sealed, reference_sealed)
        SELECT $1, gen_random_uuid(), gen_random_uuid(), 'key', sha256(''), bill.id, 'PCHUE', 'electricity', '2025-11', 10, 'requested', $2, $2, 'c', 'r'
        FROM bill";
    let pool = database.pool(SCHEMA);
    sqlx::query(saved).bind(id.uuid()).bind(noon()).execute(&database.admin_pool()).await.expect("stored");
    let mut connection = pool.acquire().await.expect("a connection");

    // Twice, because a proof that does not suffice is followed by a better one.
    for level in [Proof::Pin, Proof::Biometric] {
        let seen = found(&mut connection, id).await;
        assert!(stop(&mut connection, &seen).await);
        assert!(found(&mut connection, id).await.lacks_proof());
        let proven = Proven { id: Uuid::now_v7(), level };
        sql::resume(&mut connection, id, (proven, seen.session_id), noon()).await.expect("written");
        assert!(!stop(&mut connection, &seen).await, "{level:?}");
        let now = found(&mut connection, id).await;
        assert_eq!((now.state, now.proven()), (State::Requested, Some(proven)));
    }
}

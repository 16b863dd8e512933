//! Holds: set aside, then posted, voided or expired.

use chrono::TimeDelta;
use ledger::{Action, HoldId, HoldPosting, HoldSpec, Ledger, Money, Outcome, Reject, Request};
use uuid::Uuid;

use crate::support::*;

fn spec(debit: ledger::AccountId, credit: ledger::AccountId, dong: i64) -> HoldSpec {
    HoldSpec {
        id: HoldId::generate(),
        debit,
        credit,
        amount: Money::vnd(dong),
        kind: PAYMENT,
        reference: Uuid::now_v7(),
        expires_at: None,
    }
}

fn post(hold: HoldId, dong: Option<i64>) -> Action {
    Action::Post(HoldPosting { hold, amount: dong.map(Money::vnd) })
}

async fn act(ledger: &Ledger<()>, action: Action) -> Outcome {
    ledger.post(Request::new(fresh_key()).action(action)).await.expect("answered")
}

/// Holds ignored in the balance check: what is held can't be spent.
#[tokio::test]
async fn what_is_held_cannot_be_spent() {
    let world = World::new().await;
    let replica = world.engine();
    let ledger = &replica.ledger;
    let (nostro, customers) = open(ledger, &[100]).await;
    let hold = spec(customers[0], nostro, 70);
    act(ledger, Action::Hold(hold)).await;
    let shown = ledger.balance(customers[0]).await.expect("readable").expect("there");
    assert_eq!((shown.posted, shown.held, shown.available), (Money::vnd(100), Money::vnd(70), Money::vnd(30)));
    let spend = |dong| Request::new(fresh_key()).transfer(posting(customers[0], nostro, dong));
    assert_eq!(rejected(ledger.post(spend(31)).await), Reject::InsufficientFunds(customers[0]));
    posted(ledger.post(spend(30)).await);
    let second = act(ledger, Action::Hold(spec(customers[0], nostro, 1))).await;
    assert_eq!(second, Outcome::Rejected(Reject::InsufficientFunds(customers[0])));
    assert_sound(&world.pool()).await;
    replica.stop().await;
}

#[tokio::test]
async fn a_hold_is_posted_in_part_and_the_rest_is_given_back() {
    let world = World::new().await;
    let replica = world.engine();
    let ledger = &replica.ledger;
    let (nostro, customers) = open(ledger, &[100]).await;
    let hold = spec(customers[0], nostro, 70);
    act(ledger, Action::Hold(hold)).await;
    assert_eq!(act(ledger, post(hold.id, Some(71))).await, Outcome::Rejected(Reject::AmountExceedsHold(hold.id)));
    let Outcome::Posted(made) = act(ledger, post(hold.id, Some(40))).await else { panic!("posted") };
    assert_eq!((made.len(), made[0].debit_balance), (1, Money::vnd(60)));
    let shown = ledger.balance(customers[0]).await.expect("readable").expect("there");
    assert_eq!((shown.held, shown.available), (Money::vnd(0), Money::vnd(60)));
    assert_eq!(act(ledger, post(hold.id, None)).await, Outcome::Rejected(Reject::HoldPosted(hold.id)));
    assert_eq!(act(ledger, Action::Void(hold.id)).await, Outcome::Rejected(Reject::HoldPosted(hold.id)));
    let row = ledger::journal::read(&world.pool(), 1, 1, 1).await.expect("read").remove(0);
    assert_eq!((row.kind, row.reference), (PAYMENT.code, hold.reference));
    assert_sound(&world.pool()).await;
    replica.stop().await;
}

#[tokio::test]
async fn a_hold_expires_unless_an_outside_party_was_asked() {
    let world = World::new().await;
    let replica = world.engine();
    let (ledger, pool) = (&replica.ledger, world.pool());
    let (nostro, customers) = open(ledger, &[100]).await;
    let expires_at = Some(world.clock.now() + TimeDelta::minutes(10));
    let [lapses, asked] = [1, 2].map(|dong| HoldSpec { expires_at, ..spec(customers[0], nostro, dong) });
    act(ledger, Action::Hold(lapses)).await;
    act(ledger, Action::Hold(asked)).await;
    act(ledger, Action::Confirm(asked.id)).await;
    assert_eq!(act(ledger, Action::Expire(lapses.id)).await, Outcome::Rejected(Reject::HoldNotDue(lapses.id)));
    assert!(ledger::book::due_holds(&pool, 1, world.clock.now(), 10).await.expect("read").is_empty());

    world.clock.advance(TimeDelta::minutes(11));
    assert_eq!(ledger::book::due_holds(&pool, 1, world.clock.now(), 10).await.expect("read"), [lapses.id]);
    assert_eq!(act(ledger, post(lapses.id, None)).await, Outcome::Rejected(Reject::HoldExpired(lapses.id)));
    assert_eq!(act(ledger, Action::Expire(lapses.id)).await, Outcome::Posted(Vec::new()));
    assert_eq!(act(ledger, Action::Expire(asked.id)).await, Outcome::Rejected(Reject::HoldNotDue(asked.id)));
    assert_eq!(ledger::book::open_holds(&pool, 1).await.expect("read"), 1);
    assert!(matches!(act(ledger, post(asked.id, None)).await, Outcome::Posted(made) if made.len() == 1));
    assert_eq!(balance(ledger, customers[0]).await, 98);
    assert_sound(&pool).await;
    replica.stop().await;
}

#[tokio::test]
async fn a_hold_opened_and_ended_in_one_request_leaves_its_history() {
    let world = World::new().await;
    let replica = world.engine();
    let (nostro, customers) = open(&replica.ledger, &[100]).await;
    let [whole, void] = [30, 20].map(|dong| spec(customers[0], nostro, dong));
    let request = Request::new(key("once"))
        .action(Action::Hold(whole))
        .action(Action::Hold(void))
        .action(Action::Confirm(whole.id))
        .action(post(whole.id, None))
        .action(Action::Void(void.id));
    let first = replica.ledger.answer(request.clone()).await.expect("answered");
    let again = replica.ledger.answer(request).await.expect("answered");
    assert!(again.replayed && again.outcome == first.outcome);
    assert_eq!(balance(&replica.ledger, customers[0]).await, 70);
    let exists = Request::new(fresh_key()).action(Action::Hold(whole));
    assert_eq!(rejected(replica.ledger.post(exists).await), Reject::HoldExists(whole.id));
    assert_sound(&world.pool()).await;
    replica.stop().await;
}

#[tokio::test]
async fn an_account_with_a_hold_on_either_side_is_not_closed() {
    let world = World::new().await;
    let replica = world.engine();
    let ledger = &replica.ledger;
    let (_, customers) = open(ledger, &[100, 0]).await;
    let hold = spec(customers[0], customers[1], 100);
    act(ledger, Action::Hold(hold)).await;
    let close = act(ledger, Action::Close(customers[1])).await;
    assert_eq!(close, Outcome::Rejected(Reject::AccountNotEmpty(customers[1])));
    act(ledger, Action::Void(hold.id)).await;
    assert_eq!(act(ledger, Action::Close(customers[1])).await, Outcome::Posted(Vec::new()));
    assert_sound(&world.pool()).await;
    replica.stop().await;
}

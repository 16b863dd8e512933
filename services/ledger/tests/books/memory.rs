//! What the engine remembers between batches: it is bounded, and it never decides against the books.

use ledger::{Action, Config, Freeze, Money, NoRiders, Outcome, Reject, Request};

use crate::support::*;

/// An engine that forgets nearly everything after each batch still spends no money twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forgetting_while_the_next_batch_is_decided_spends_nothing_twice() {
    let world = World::new().await;
    let config = Config { remembered: 2, ..Config::default() };
    let replica: Replica<()> = Replica::start(world.pool(), &world.clock, config, NoRiders);
    let (_, customers) = open(&replica.ledger, &[100, 100, 100, 100, 0]).await;
    let till = customers[4];
    let mut asks = tokio::task::JoinSet::new();
    // Each of four customers has money for ten of the forty payments that they ask for.
    for number in 0..160_usize {
        let (ledger, from) = (replica.ledger.clone(), customers[number % 4]);
        asks.spawn(async move {
            match ledger.post(Request::new(key(&format!("pay/{number}"))).transfer(posting(from, till, 10))).await {
                Ok(Outcome::Posted(_)) => 1_i64,
                Ok(Outcome::Rejected(Reject::InsufficientFunds(_))) => 0,
                other => panic!("{other:?}"),
            }
        });
    }
    let paid: i64 = asks.join_all().await.into_iter().sum();
    assert_eq!(paid, 40);
    assert_eq!(balance(&replica.ledger, till).await, 400);
    for customer in &customers[..4] {
        assert_eq!(balance(&replica.ledger, *customer).await, 0);
    }
    assert_sound(&world.pool()).await;
    replica.stop().await;
}

/// Nothing is written when a refusal leaves no trace, so that no index would contradict an old memory.
#[tokio::test]
async fn a_refusal_without_trace_is_decided_on_the_books_as_they_are() {
    let world = World::new().await;
    let (one, other) = (world.engine(), world.engine());
    let (nostro, customers) = open(&one.ledger, &[100]).await;
    let freeze = |freeze| Request::new(fresh_key()).action(Action::Freeze(customers[0], freeze));
    posted(one.ledger.post(freeze(Freeze::In)).await);
    let top_up = || Request::new(key("top-up")).transfer(posting(nostro, customers[0], 50)).forget_refusal();
    assert_eq!(rejected(one.ledger.post(top_up()).await), Reject::AccountFrozen(customers[0]));
    // The other engine lifts the freeze; the first one still remembers it.
    posted(other.ledger.post(freeze(Freeze::Nothing)).await);
    posted(one.ledger.post(top_up()).await);
    // What was posted stays so for an engine that remembers a later freeze and not the key.
    posted(other.ledger.post(freeze(Freeze::In)).await);
    let again = other.ledger.answer(top_up()).await.expect("answered");
    assert!(again.replayed && matches!(again.outcome, Outcome::Posted(_)), "{again:?}");
    assert_eq!(other.ledger.balance(customers[0]).await.expect("read").expect("there").posted, Money::vnd(150));
    assert_sound(&world.pool()).await;
    one.stop().await;
    other.stop().await;
}

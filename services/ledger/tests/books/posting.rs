//! Posting: keys, batches, replicas, floors, opening, freezing, metrics.

use std::collections::HashSet;

use ledger::{
    Action, Config, Freeze, Invalid, Money, NoRiders, Outcome, PostError, Posting, Reject, Request, TransferId,
};
use sqlx::PgPool;

use crate::support::*;

#[tokio::test]
async fn a_transfer_moves_money_and_tells_both_balances() {
    let world = World::new().await;
    let replica = world.engine();
    let (nostro, customers) = open(&replica.ledger, &[1_000, 0]).await;
    let made = posting(customers[0], customers[1], 300);
    let key = fresh_key();
    let posted = posted(replica.ledger.post(Request::new(key.clone()).transfer(made)).await);
    assert_eq!(posted.len(), 1);
    assert_eq!(posted[0].transfer, key.transfer(0));
    assert_eq!(posted[0].sequence, 2);
    assert_eq!((posted[0].debit_balance, posted[0].credit_balance), (Money::vnd(700), Money::vnd(300)));
    assert_eq!(balance(&replica.ledger, nostro).await, -1_000);
    assert_eq!(assert_sound(&world.pool()).await, 2);
    replica.stop().await;
}

#[tokio::test]
async fn many_callers_share_batches_and_each_gets_its_own_answer() {
    let world = World::new().await;
    let replica = world.engine();
    let (_, customers) = open(&replica.ledger, &[10_000, 0]).await;
    let asks = (0..400).map(|number| {
        // Every fourth wants more than there can be.
        let dong = if number % 4 == 0 { 1_000_000 } else { 10 };
        let request = Request::new(fresh_key()).transfer(posting(customers[0], customers[1], dong));
        let ledger = replica.ledger.clone();
        async move { (dong, ledger.post(request).await) }
    });
    let answers = futures::future::join_all(asks).await;
    let mut sequences = HashSet::new();
    for (dong, answer) in answers {
        if dong == 10 {
            sequences.insert(posted(answer)[0].sequence);
        } else {
            assert_eq!(rejected(answer), Reject::InsufficientFunds(customers[0]));
        }
    }
    assert_eq!(sequences, (2..=301).collect(), "no gap and no double");
    assert_eq!(balance(&replica.ledger, customers[1]).await, 3_000);
    let blocks: i64 = scalar(&world.database.admin_pool(), "SELECT block FROM ledger.shard").await;
    assert!(blocks < 100, "400 requests made {blocks} blocks");
    assert_sound(&world.pool()).await;
    replica.stop().await;
}

#[tokio::test]
async fn equal_keys_in_one_batch_move_money_once() {
    let world = World::new().await;
    let replica = world.engine();
    let (_, customers) = open(&replica.ledger, &[1_000, 0]).await;
    let made = posting(customers[0], customers[1], 100);
    let asks = (0..50).map(|_| replica.ledger.answer(Request::new(key("one")).transfer(made)));
    let answers: Vec<_> =
        futures::future::join_all(asks).await.into_iter().map(|answer| answer.expect("answered")).collect();
    assert_eq!(answers.iter().filter(|answer| !answer.replayed).count(), 1);
    assert!(answers.iter().all(|answer| answer.outcome == answers[0].outcome));
    assert_eq!(balance(&replica.ledger, customers[1]).await, 100);
    replica.stop().await;
}

#[tokio::test]
async fn equal_keys_across_batches_and_restarts_get_the_same_answer() {
    let world = World::new().await;
    let first = world.engine();
    let (_, customers) = open(&first.ledger, &[1_000, 0]).await;
    let (one, two) = (posting(customers[0], customers[1], 100), posting(customers[1], customers[0], 30));
    let request = || Request::new(key("chain")).transfer(one).transfer(two);
    let outcome = first.ledger.post(request()).await.expect("answered");
    let refused = || Request::new(key("too much")).transfer(Posting { amount: Money::vnd(5_000), ..one });
    let reject = first.ledger.post(refused()).await.expect("answered");
    posted(first.ledger.post(Request::new(fresh_key()).transfer(posting(customers[0], customers[1], 7))).await);
    first.stop().await;
    let second = world.engine();
    for (request, outcome) in [(request(), outcome), (refused(), reject)] {
        let again = second.ledger.answer(request).await.expect("answered");
        assert!(again.replayed);
        assert_eq!(again.outcome, outcome);
    }
    assert_eq!(balance(&second.ledger, customers[1]).await, 77);
    assert_eq!(assert_sound(&world.pool()).await, 4);
    second.stop().await;
}

#[tokio::test]
async fn a_key_with_another_fingerprint_is_a_conflict_and_changes_nothing() {
    let world = World::new().await;
    let replica = world.engine();
    let (_, customers) = open(&replica.ledger, &[1_000, 0]).await;
    let request = |fingerprint| {
        let key = ledger::Key { fingerprint: [fingerprint; 32], ..key("one") };
        Request::new(key).transfer(posting(customers[0], customers[1], 100))
    };
    posted(replica.ledger.post(request(1)).await);
    let conflict = replica.ledger.post(request(2)).await;
    assert!(matches!(conflict, Err(PostError::KeyConflict)), "{conflict:?}");
    assert_eq!(balance(&replica.ledger, customers[1]).await, 100);
    replica.stop().await;
}

#[tokio::test]
async fn two_replicas_on_one_shard_agree_on_every_key() {
    let world = World::new().await;
    let (left, right) = (world.engine(), world.engine());
    let (_, customers) = open(&left.ledger, &[100_000, 50_000, 0]).await;
    let mut asks = Vec::new();
    for number in 0..300_usize {
        let made = posting(customers[number % 3], customers[(number + 1) % 3], 10);
        for replica in [&left, &right] {
            let ledger = replica.ledger.clone();
            let request = Request::new(key(&number.to_string())).transfer(made);
            asks.push(tokio::spawn(async move { (number, ledger.answer(request).await.expect("answered")) }));
        }
    }
    let mut answers: Vec<Vec<ledger::Answer>> = vec![Vec::new(); 300];
    for ask in asks {
        let (number, answer) = ask.await.expect("no panic");
        answers[number].push(answer);
    }
    for pair in &answers {
        assert_eq!(pair[0].outcome, pair[1].outcome);
        assert_eq!(pair.iter().filter(|answer| answer.replayed).count(), 1, "{pair:?}");
    }
    let made = answers.iter().filter(|pair| matches!(pair[0].outcome, Outcome::Posted(_))).count();
    assert_eq!(assert_sound(&world.pool()).await, i64::try_from(made).expect("few") + 2);
    left.stop().await;
    right.stop().await;
}

/// Lost credits when the destination was not locked: both replicas pay into the same account.
#[tokio::test]
async fn credits_from_two_replicas_are_never_lost() {
    let world = World::new().await;
    let (left, right) = (world.engine(), world.engine());
    let (_, customers) = open(&left.ledger, &[1_000, 1_000, 0]).await;
    let asks = (0..200_usize).map(|number| {
        let ledger = if number.is_multiple_of(2) { left.ledger.clone() } else { right.ledger.clone() };
        let request = Request::new(fresh_key()).transfer(posting(customers[number % 2], customers[2], 5));
        tokio::spawn(async move { posted(ledger.post(request).await) })
    });
    for ask in futures::future::join_all(asks).await {
        ask.expect("posted");
    }
    assert_eq!(balance(&left.ledger, customers[2]).await, 1_000);
    assert_sound(&world.pool()).await;
    left.stop().await;
    right.stop().await;
}

#[tokio::test]
async fn linked_transfers_stand_or_fall_together() {
    let world = World::new().await;
    let replica = world.engine();
    let (_, customers) = open(&replica.ledger, &[100, 0, 0]).await;
    let late = account(CUSTOMER);
    let chain = |second: i64| {
        Request::new(fresh_key()).open(late).transfer(posting(customers[0], customers[1], 60)).transfer(posting(
            customers[1],
            late.id,
            second,
        ))
    };
    let reject = rejected(replica.ledger.post(chain(61)).await);
    assert_eq!(reject, Reject::InsufficientFunds(customers[1]));
    assert!(replica.ledger.balance(late.id).await.expect("readable").is_none(), "nothing of the chain is left");
    assert_eq!(balance(&replica.ledger, customers[0]).await, 100);
    let made = posted(replica.ledger.post(chain(60)).await);
    assert_eq!(made[1].sequence, made[0].sequence + 1);
    assert_eq!(balance(&replica.ledger, late.id).await, 60);
    assert_sound(&world.pool()).await;
    replica.stop().await;
}

#[tokio::test]
async fn transfer_ids_are_known_from_the_key() {
    let world = World::new().await;
    let replica = world.engine();
    let (_, customers) = open(&replica.ledger, &[100, 0]).await;
    let key = fresh_key();
    let one = posting(customers[0], customers[1], 10);
    let request = Request::new(key.clone()).transfer(one).transfer(posting(customers[1], customers[0], 5));
    let made = posted(replica.ledger.post(request).await);
    assert_eq!(made.iter().map(|made| made.transfer).collect::<Vec<_>>(), [key.transfer(0), key.transfer(1)]);
    let other = posted(replica.ledger.post(Request::new(fresh_key()).transfer(one)).await);
    assert_ne!(other[0].transfer, made[0].transfer);
    replica.stop().await;
}

#[tokio::test]
async fn accounts_are_opened_once_and_freeze_and_close() {
    let world = World::new().await;
    let replica = world.engine();
    let ledger = &replica.ledger;
    let (nostro, customers) = open(ledger, &[100]).await;
    let spec = account(CUSTOMER);
    posted(ledger.post(Request::new(fresh_key()).open(spec)).await);
    posted(ledger.post(Request::new(fresh_key()).open(spec)).await);
    let other = ledger::AccountSpec { owner: uuid::Uuid::nil(), ..spec };
    let reject = rejected(ledger.post(Request::new(fresh_key()).open(other)).await);
    assert_eq!(reject, Reject::AccountExists(spec.id));

    let change = |action| Request::new(fresh_key()).action(action);
    let pay = |debit, credit| Request::new(fresh_key()).transfer(posting(debit, credit, 10));
    for (freeze, comes, goes) in [(Freeze::In, false, true), (Freeze::Out, true, false), (Freeze::Both, false, false)] {
        posted(ledger.post(change(Action::Freeze(customers[0], freeze))).await);
        for (request, moves) in [(pay(nostro, customers[0]), comes), (pay(customers[0], nostro), goes)] {
            let outcome = ledger.post(request).await.expect("answered");
            assert_eq!(matches!(outcome, Outcome::Posted(_)), moves, "{freeze:?} {outcome:?}");
        }
    }
    posted(ledger.post(change(Action::Freeze(customers[0], Freeze::Nothing))).await);
    let reject = rejected(ledger.post(change(Action::Close(customers[0]))).await);
    assert_eq!(reject, Reject::AccountNotEmpty(customers[0]));
    posted(ledger.post(change(Action::Close(spec.id))).await);
    let reject = rejected(ledger.post(pay(nostro, spec.id)).await);
    assert_eq!(reject, Reject::AccountClosed(spec.id));
    assert_sound(&world.pool()).await;
    replica.stop().await;
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_before_it_is_queued() {
    let world = World::new().await;
    let replica = world.engine();
    let (_, customers) = open(&replica.ledger, &[100, 0]).await;
    let good = posting(customers[0], customers[1], 10);
    let request = |made: Posting| Request::new(fresh_key()).transfer(made);
    posted(replica.ledger.post(request(good)).await);
    let cases = [
        (request(Posting { amount: Money::vnd(0), ..good }), Invalid::Amount),
        (request(Posting { amount: Money::vnd(-5), ..good }), Invalid::Amount),
        (request(Posting { credit: good.debit, ..good }), Invalid::SameAccount),
        (request(Posting { kind: ledger::TransferKind { name: "other", ..PAYMENT }, ..good }), Invalid::Kind),
        (request(Posting { kind: ledger::TransferKind { class: None, ..PAYMENT }, ..good }), Invalid::Kind),
        (request(Posting { kind: ledger::TransferKind::new(9, "Bad Name"), ..good }), Invalid::Kind),
        (Request::new(fresh_key()), Invalid::Empty),
        (Request::new(key("")).transfer(good), Invalid::Key),
        (Request::new(key(&"k".repeat(256))).transfer(good), Invalid::Key),
        ((0..257).fold(Request::new(fresh_key()), |request, _| request.transfer(good)), Invalid::TooLarge),
    ];
    for (request, expected) in cases {
        match replica.ledger.post(request).await {
            Err(PostError::Invalid(invalid)) => assert_eq!(invalid, expected),
            other => panic!("{expected:?} was answered {other:?}"),
        }
    }
    replica.stop().await;
}

#[tokio::test]
async fn a_full_queue_says_when_to_come_back() {
    let world = World::new().await;
    let config = Config { queue: 2, ..Config::default() };
    let metrics = platform::metrics::Metrics::new("wallet", "test");
    // The tasks are not run yet: what is asked waits.
    let (ledger, tasks) = ledger::Engine::start(world.pool(), world.clock.clone(), &metrics, config, NoRiders);
    let request = || Request::<()>::new(fresh_key()).open(account(CUSTOMER));
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let (ledger, request) = (ledger.clone(), request());
            tokio::spawn(async move { ledger.post(request).await })
        })
        .collect();
    tokio::time::timeout(PATIENCE, async {
        while ledger.queue_depth() < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("both wait");
    match ledger.post(request()).await {
        Err(PostError::QueueFull { retry_after }) => assert!(retry_after.as_secs() >= 1),
        other => panic!("{other:?}"),
    }
    let shutdown = platform::task::Shutdown::new();
    let tasks = platform::task::Tasks::start(tasks, &shutdown);
    for waiting in waiting {
        posted(waiting.await.expect("no panic"));
    }
    shutdown.begin();
    tasks.finish(PATIENCE).await;
    assert!(matches!(ledger.post(request()).await, Err(PostError::Unavailable(None))));
    assert_eq!(sample(&metrics, "posting_queue_full_total", &[]), 1);
}

#[tokio::test]
async fn metrics_agree_with_the_books() {
    let world = World::new().await;
    let replica = world.engine();
    let (_, customers) = open(&replica.ledger, &[1_000, 0]).await;
    posted(replica.ledger.post(Request::new(key("a")).transfer(posting(customers[0], customers[1], 300))).await);
    posted(replica.ledger.post(Request::new(key("a")).transfer(posting(customers[0], customers[1], 300))).await);
    rejected(replica.ledger.post(Request::new(fresh_key()).transfer(posting(customers[0], customers[1], 3_000))).await);
    let metrics = &replica.metrics;
    let transfers = |kind, outcome| sample(metrics, "transfers_total", &[("kind", kind), ("outcome", outcome)]);
    assert_eq!(transfers("payment", "posted"), 1);
    assert_eq!(transfers("payment", "insufficient-funds"), 1);
    assert_eq!(transfers("top_up", "posted"), 1);
    let moved = |kind| sample(metrics, "money_moved_total", &[("kind", kind), ("currency", "VND")]);
    assert_eq!((moved("payment"), moved("top_up")), (300, 1_000));
    let answered = |outcome| sample(metrics, "posting_duration_seconds_count", &[("outcome", outcome)]);
    assert_eq!((answered("posted"), answered("replayed"), answered("rejected")), (2, 1, 1));
    replica.stop().await;
}

#[tokio::test]
async fn the_time_of_the_books_never_goes_back() {
    let world = World::new().await;
    let replica = world.engine();
    let (_, customers) = open(&replica.ledger, &[1_000, 0]).await;
    let pay = || Request::new(fresh_key()).transfer(posting(customers[0], customers[1], 1));
    let before = posted(replica.ledger.post(pay()).await)[0].posted_at;
    world.clock.advance(chrono::TimeDelta::hours(-1));
    let after = posted(replica.ledger.post(pay()).await)[0].posted_at;
    assert_eq!(after, before);
    assert_sound(&world.pool()).await;
    replica.stop().await;
}

#[tokio::test]
async fn a_batch_notifies_readers_of_the_journal() {
    let world = World::new().await;
    let replica = world.engine();
    let pool = world.pool();
    let mut listener = sqlx::postgres::PgListener::connect_with(&pool).await.expect("connected");
    listener.listen(ledger::journal::CHANNEL).await.expect("listening");
    let (nostro, customers) = open(&replica.ledger, &[700, 0]).await;
    let told = tokio::time::timeout(PATIENCE, listener.recv()).await.expect("told in time").expect("told");
    assert_eq!(told.payload(), "1");
    let made = posting(customers[0], customers[1], 200);
    let key = fresh_key();
    posted(replica.ledger.post(Request::new(key.clone()).transfer(made)).await);
    let rows = ledger::journal::read(&pool, 1, 1, 10).await.expect("read");
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].sequence, rows[0].transfer, rows[0].reference), (2, key.transfer(0), made.reference));
    assert_eq!(rows[0].kind, PAYMENT.code);
    assert_eq!((rows[0].debit.account, rows[0].debit.balance), (customers[0], Money::vnd(500)));
    assert_eq!((rows[0].credit.account, rows[0].amount), (customers[1], Money::vnd(200)));
    let parties = ledger::journal::parties(&pool, &[customers[1], nostro]).await.expect("read");
    assert_eq!((parties.len(), parties[&customers[1]].kind_name.as_str()), (2, "customer"));
    assert_eq!(ledger::journal::read(&pool, 1, 0, 1).await.expect("read")[0].debit.account, nostro);
    assert_eq!(ledger::journal::last_sequence(&pool, 1).await.expect("read"), 2);
    assert!(ledger::journal::read(&pool, 1, 2, 10).await.expect("read").is_empty());
    assert!(ledger::book::transfer(&pool, TransferId::generate()).await.expect("read").is_none());
    replica.stop().await;
}

/// One value of one row.
pub(crate) async fn scalar(pool: &PgPool, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(pool).await.expect("a number")
}

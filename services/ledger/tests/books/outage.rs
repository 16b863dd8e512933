//! The database goes away at the worst moments: nothing that was answered is lost, nothing happens twice, nothing passing is remembered.

use ledger::{AccountId, AccountSpec, Config, NoRiders, Outcome, PostError, Request};
use platform::db::Schema;

use crate::proxy::{Fault, Proxy};
use crate::support::*;

/// A world whose engine speaks through a proxy.
async fn through_proxy(config: Config) -> (World, Proxy, Replica<()>) {
    let world = World::new().await;
    // The role that posts is the wallet's.
    let url = world.database.url(Schema::new("wallet"));
    let proxy = Proxy::start(&url).await;
    let replica = Replica::start(proxy.pool(&url), &world.clock, config, NoRiders);
    (world, proxy, replica)
}

#[tokio::test]
async fn when_the_answer_to_commit_is_lost_the_outcome_is_read_again() {
    let (world, proxy, replica) = through_proxy(Config::default()).await;
    let (_, customers) = open(&replica.ledger, &[1_000, 0]).await;
    let opened = AccountSpec {
        id: AccountId::generate(),
        owner: uuid::Uuid::nil(),
        kind: CUSTOMER,
        currency: ledger::Currency::Vnd,
    };
    // In one statement that commits by itself, and in a transaction that writes more than a movement of money.
    let ways = [None, Some(opened)].into_iter();
    let faults = ways.flat_map(|open| [Fault::LoseAnswer, Fault::LoseCommit].map(|fault| (open, fault)));
    for (number, (open, fault)) in faults.enumerate() {
        let before = balance(&replica.ledger, customers[1]).await;
        proxy.set(fault);
        let mut request = Request::new(key(&format!("{number}"))).transfer(posting(customers[0], customers[1], 100));
        request.open.extend(open);
        let answer = replica.ledger.answer(request.clone()).await.expect("answered after all");
        assert!(!answer.replayed, "it is this caller's own outcome");
        assert!(matches!(&answer.outcome, Outcome::Posted(made) if made.len() == 1));
        let again = replica.ledger.answer(request).await.expect("answered");
        assert!(again.replayed && again.outcome == answer.outcome);
        assert_eq!(balance(&replica.ledger, customers[1]).await, before + 100);
    }
    assert_eq!(proxy.cuts(), 4);
    let moved = sample(&replica.metrics, "money_moved_total", &[("kind", "payment")]);
    assert_eq!(moved, 400, "metrics count what a lost answer hid");
    assert_eq!(assert_sound(&world.pool()).await, 5);
    replica.stop().await;
}

#[tokio::test]
async fn an_outcome_that_cannot_be_read_in_time_is_unknown_and_never_declined() {
    let config = Config { deadline_ms: 700, ..Config::default() };
    let (world, proxy, replica) = through_proxy(config).await;
    let (_, customers) = open(&replica.ledger, &[1_000, 0]).await;
    let request = Request::new(key("lost")).transfer(posting(customers[0], customers[1], 100));
    proxy.set(Fault::LoseAnswerAndStay);
    let unknown = replica.ledger.post(request.clone()).await;
    assert!(matches!(unknown, Err(PostError::OutcomeUnknown)), "{unknown:?}");
    let away = replica.ledger.post(Request::new(key("away")).transfer(posting(customers[0], customers[1], 1))).await;
    assert!(matches!(away, Err(PostError::Unavailable(Some(_)))), "{away:?}");
    proxy.set(Fault::None);
    let answer = replica.ledger.answer(request).await.expect("the database is back");
    assert!(answer.replayed, "it had happened");
    let made = posted(Ok(answer.outcome));
    assert_eq!(made[0].credit_balance.minor(), 100);
    assert_sound(&world.pool()).await;
    replica.stop().await;
}

/// A reject remembered as final after a passing failure: the failure is forgotten, the business reject is kept.
#[tokio::test]
async fn a_passing_failure_is_not_remembered() {
    let config = Config { deadline_ms: 300, ..Config::default() };
    let (world, proxy, replica) = through_proxy(config).await;
    let (_, customers) = open(&replica.ledger, &[1_000, 0]).await;
    let request = Request::new(key("later")).transfer(posting(customers[0], customers[1], 100));
    proxy.set(Fault::Away);
    for _ in 0..3 {
        let away = replica.ledger.post(request.clone()).await;
        assert!(matches!(away, Err(PostError::Unavailable(Some(_)))), "{away:?}");
    }
    proxy.set(Fault::None);
    let answer = replica.ledger.answer(request).await.expect("the database is back");
    assert!(!answer.replayed);
    posted(Ok(answer.outcome));
    assert_sound(&world.pool()).await;
    replica.stop().await;
}

/// Connections are closed under both replicas again and again while callers ask, and ask again with their keys.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_connections_in_the_middle_of_batches_loses_and_doubles_nothing() {
    let world = World::new().await;
    let replicas = [world.engine(), world.engine()];
    let (_, customers) = open(&replicas[0].ledger, &[1_000_000, 0]).await;
    let admin = world.database.admin_pool();
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..16_usize {
        let ledgers = [replicas[0].ledger.clone(), replicas[1].ledger.clone()];
        let (debit, credit) = (customers[0], customers[1]);
        callers.spawn(async move {
            for number in 0..25_usize {
                let request = Request::new(key(&format!("{caller}/{number}"))).transfer(posting(debit, credit, 1));
                let mut ledger = caller;
                loop {
                    match ledgers[ledger % 2].post(request.clone()).await {
                        Ok(Outcome::Posted(_)) => break,
                        Ok(Outcome::Rejected(reject)) => panic!("{reject:?}"),
                        Err(PostError::Unavailable(_) | PostError::OutcomeUnknown) => ledger += 1,
                        Err(error) => panic!("{error:?}"),
                    }
                }
            }
        });
    }
    let (mut killed, mut seen) = (0_i64, 0);
    while !callers.is_empty() {
        // Only once something was committed since, so that there is always an end.
        let sequence = crate::posting::scalar(&admin, "SELECT sequence FROM ledger.shard").await;
        if sequence > seen {
            seen = sequence;
            let kill = "SELECT COUNT(pg_terminate_backend(pid)) FROM pg_stat_activity
                        WHERE usename = 'trangtien_wallet' AND datname = current_database()";
            killed += crate::posting::scalar(&admin, kill).await;
        }
        while let Some(done) = callers.try_join_next() {
            done.expect("no caller gave up");
        }
        tokio::task::yield_now().await;
    }
    assert!(killed > 0, "connections were closed");
    assert_eq!(balance(&replicas[0].ledger, customers[1]).await, 400);
    assert_eq!(assert_sound(&world.pool()).await, 401);
    for replica in replicas {
        replica.stop().await;
    }
}

//! Holds whose time is over are given back, once, by whichever replica; never while an outside party is confirming.

use std::time::{Duration, Instant};

use chrono::TimeDelta;
use ledger::{
    AccountId, Action, Config, HoldId, HoldPosting, HoldSpec, Ledger, Money, NoRiders, Reject, Request, expiry,
};
use platform::clock::Clock;
use platform::metrics::Metrics;
use platform::task::{Shutdown, Tasks};

use crate::support::*;

/// A hold of one đồng that expires so many minutes from now.
async fn hold(ledger: &Ledger<()>, clock: &Clock, accounts: &[AccountId], minutes: Option<i64>) -> HoldId {
    let spec = HoldSpec {
        id: HoldId::generate(),
        debit: accounts[0],
        credit: accounts[1],
        amount: Money::vnd(1),
        kind: PAYMENT,
        reference: uuid::Uuid::nil(),
        expires_at: minutes.map(|minutes| clock.now() + TimeDelta::minutes(minutes)),
    };
    posted(ledger.post(Request::new(fresh_key()).action(Action::Hold(spec))).await);
    spec.id
}

/// The posting of all that a hold set aside.
fn whole(hold: HoldId) -> HoldPosting {
    HoldPosting { hold, amount: None }
}

async fn held(ledger: &Ledger<()>, account: AccountId) -> i64 {
    let balance = ledger.balance(account).await.expect("readable").expect("there");
    balance.posted.minor() - balance.available.minor()
}

async fn until_held(ledger: &Ledger<()>, account: AccountId, wanted: i64) {
    let end = Instant::now() + PATIENCE;
    while held(ledger, account).await != wanted {
        assert!(Instant::now() < end, "{} đồng are held, not {wanted}", held(ledger, account).await);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The task beside an engine, as a wallet runs it.
struct Expiring {
    metrics: Metrics,
    shutdown: Shutdown,
    tasks: Tasks,
}

impl Expiring {
    fn start(world: &World, replica: &Replica<()>) -> Self {
        let (metrics, shutdown) = (Metrics::new("wallet", "test"), Shutdown::new());
        let task = expiry::task(replica.ledger.clone(), world.pool(), world.clock.clone(), 1, &metrics);
        let tasks = Tasks::start(vec![task], &shutdown);
        Self { metrics, shutdown, tasks }
    }

    fn expired(&self) -> u64 {
        sample(&self.metrics, "hold_expiries_total", &[("outcome", "expired")])
    }

    async fn stop(self) {
        self.shutdown.begin();
        self.tasks.finish(PATIENCE).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn due_holds_are_given_back_once_and_confirming_ones_never() {
    const DUE: i64 = 1_300;
    let world = World::new().await;
    let replicas = [world.engine(), world.engine()];
    let ledger = &replicas[0].ledger;
    let (_, customers) = open(ledger, &[10_000, 0]).await;
    let expiring = [Expiring::start(&world, &replicas[0]), Expiring::start(&world, &replicas[1])];
    // More than one page of holds that will be due, and three that will not.
    let many = (0..DUE).map(|_| hold(ledger, &world.clock, &customers, Some(10)));
    futures::future::join_all(many).await;
    let confirming = hold(ledger, &world.clock, &customers, Some(10)).await;
    posted(ledger.post(Request::new(fresh_key()).action(Action::Confirm(confirming))).await);
    hold(ledger, &world.clock, &customers, None).await;
    let later = hold(ledger, &world.clock, &customers, Some(60)).await;
    world.clock.advance(TimeDelta::minutes(9));
    assert_eq!(held(ledger, customers[0]).await, DUE + 3, "nothing is due");

    world.clock.advance(TimeDelta::minutes(1));
    until_held(ledger, customers[0], 3).await;
    let due = ledger::book::due_holds(&world.pool(), 1, world.clock.now(), 10).await.expect("read");
    assert!(due.is_empty());
    // Voided before its time: no expiry follows.
    posted(ledger.post(Request::new(fresh_key()).action(Action::Void(later))).await);
    world.clock.advance(TimeDelta::days(30));
    let one_more = hold(ledger, &world.clock, &customers, Some(0)).await;
    until_held(ledger, customers[0], 2).await;
    assert_eq!(
        rejected(ledger.post(Request::new(fresh_key()).action(Action::Void(one_more))).await),
        Reject::HoldExpired(one_more)
    );
    let expired: u64 = expiring.iter().map(Expiring::expired).sum();
    assert_eq!(expired, DUE as u64 + 1, "each is counted once");
    for expiring in expiring {
        expiring.stop().await;
    }
    let request = Request::new(fresh_key()).action(Action::Post(whole(confirming)));
    assert_eq!(posted(ledger.post(request).await).len(), 1, "long after its time");
    assert_sound(&world.pool()).await;
    for replica in replicas {
        replica.stop().await;
    }
}

/// A clock that was put back made somebody ask too early: the answer that is remembered does not keep the hold open for ever.
#[tokio::test]
async fn a_remembered_answer_of_too_early_is_no_obstacle() {
    let world = World::new().await;
    let replica = world.engine();
    let (_, customers) = open(&replica.ledger, &[100, 0]).await;
    let early = hold(&replica.ledger, &world.clock, &customers, Some(10)).await;
    let request = Request::new(expiry::key(early)).action(Action::Expire(early));
    assert_eq!(rejected(replica.ledger.post(request).await), Reject::HoldNotDue(early));
    let expiring = Expiring::start(&world, &replica);
    world.clock.advance(TimeDelta::minutes(10));
    until_held(&replica.ledger, customers[0], 0).await;
    assert_eq!(expiring.expired(), 1);
    expiring.stop().await;
    assert_sound(&world.pool()).await;
    replica.stop().await;
}

/// The ledger can't take the requests now: the holds wait, and are given back later.
#[tokio::test]
async fn a_full_queue_delays_and_loses_nothing() {
    let world = World::new().await;
    let replica = world.engine();
    let (_, customers) = open(&replica.ledger, &[1_000, 0]).await;
    for _ in 0..40 {
        hold(&replica.ledger, &world.clock, &customers, Some(1)).await;
    }
    let tiny = Replica::start(world.pool(), &world.clock, Config { queue: 2, ..Config::default() }, NoRiders);
    let expiring = Expiring::start(&world, &tiny);
    world.clock.advance(TimeDelta::minutes(1));
    let end = Instant::now() + PATIENCE;
    while held(&replica.ledger, customers[0]).await != 0 {
        assert!(Instant::now() < end, "the holds are not given back");
        // The task looks again when the clock moves.
        world.clock.advance(TimeDelta::seconds(1));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(expiring.expired(), 40);
    assert!(sample(&expiring.metrics, "hold_expiries_total", &[("outcome", "queue-full")]) > 0);
    expiring.stop().await;
    assert_sound(&world.pool()).await;
    for replica in [replica, tiny] {
        replica.stop().await;
    }
}

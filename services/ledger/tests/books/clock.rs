//! The clock of a replica's machine: one that is far ahead posts nothing, and the time in the books stays right for all others.

use chrono::{DateTime, TimeDelta, Utc};
use ledger::{Config, NoRiders, PostError, Request};
use platform::clock::Clock;

use crate::support::*;

/// An engine on a machine whose clock is ahead, and with it its idea of the city's time.
fn ahead(world: &World, by: TimeDelta) -> Replica<()> {
    let machine = Clock::test();
    machine.advance(by);
    let config = Config { machine: machine.clone(), ..Config::default() };
    Replica::start(world.pool(), &machine, config, NoRiders)
}

async fn last_time(world: &World) -> DateTime<Utc> {
    sqlx::query_scalar("SELECT posted_at FROM ledger.shard")
        .fetch_one(&world.database.admin_pool())
        .await
        .expect("read")
}

#[tokio::test]
async fn a_machine_whose_clock_is_far_ahead_posts_nothing() {
    let world = World::new().await;
    let (right, wrong) = (world.engine(), ahead(&world, TimeDelta::hours(1)));
    let (nostro, customers) = open(&right.ledger, &[1_000]).await;
    let pay = |name| Request::new(key(name)).transfer(posting(customers[0], nostro, 10));
    for _ in 0..2 {
        assert!(matches!(wrong.ledger.post(pay("one")).await, Err(PostError::Unavailable(Some(_)))));
    }
    // A refusal that leaves no trace is no business of such a machine either.
    let too_much = Request::new(key("much")).transfer(posting(customers[0], nostro, 5_000)).forget_refusal();
    assert!(matches!(wrong.ledger.post(too_much).await, Err(PostError::Unavailable(Some(_)))));
    assert!(sample(&wrong.metrics, "posting_clock_ahead_total", &[]) >= 3);
    assert_eq!(sample(&wrong.metrics, "posting_faults_total", &[]), 0);
    // Nothing was remembered under the key, and the books' time is that of machines that are right.
    let made = posted(right.ledger.post(pay("one")).await)[0];
    let bound = world.clock.now() + TimeDelta::minutes(1);
    assert!(made.posted_at < bound && last_time(&world).await < bound);
    assert_sound(&world.pool()).await;
    right.stop().await;
    wrong.stop().await;
}

#[tokio::test]
async fn a_clock_within_the_bound_or_a_city_in_another_time_posts() {
    let world = World::new().await;
    let (right, early) = (world.engine(), ahead(&world, TimeDelta::seconds(20)));
    let (nostro, customers) = open(&right.ledger, &[1_000]).await;
    let pay = |name| Request::new(key(name)).transfer(posting(customers[0], nostro, 10));
    posted(early.ledger.post(pay("one")).await);
    // Time in the books does not go back for those whose clock is behind.
    assert!(
        posted(right.ledger.post(pay("two")).await)[0].posted_at >= last_time(&world).await - TimeDelta::seconds(1)
    );
    // Tests move the city's time by days; its machines are right.
    world.clock.advance(TimeDelta::days(40));
    posted(right.ledger.post(pay("three")).await);
    assert_sound(&world.pool()).await;
    right.stop().await;
    early.stop().await;
}

//! Limits on the real engine: decided under the lock whoever posts, given back with what is not spent, recounted by verification.

use chrono::{DateTime, Datelike as _, Months, TimeDelta, Utc};
use futures::future::join_all;
use ledger::limit::{Class, Classes, Lift, Limit, Period};
use ledger::verify::{Fault, Options, verify};
use ledger::{AccountId, Action, HoldId, HoldPosting, HoldSpec, Money, Outcome, Reject, Request};
use uuid::Uuid;

use crate::support::*;

fn limit(account: AccountId, period: Period, maximum: i64) -> Limit {
    Limit { account, classes: Classes::of(&[Class::new(1)]), period, maximum, lift: Lift::Never }
}

fn hold(debit: AccountId, credit: AccountId, dong: i64, expires_at: Option<DateTime<Utc>>) -> HoldSpec {
    let (id, amount, reference) = (HoldId::generate(), Money::vnd(dong), Uuid::now_v7());
    HoldSpec { id, debit, credit, amount, kind: PAYMENT, reference, expires_at }
}

fn request(action: Action) -> Request<()> {
    Request::new(fresh_key()).action(action)
}

/// Two payments at once through two processes pass the month's limit together: one is refused, and after what the other held
/// is given back the money may be spent after all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_two_processes_pass_a_limit_together() {
    let world = World::new().await;
    let (one, two) = (world.engine(), world.engine());
    let (nostro, customers) = open(&one.ledger, &[1_000_000]).await;
    let customer = customers[0];
    let month = limit(customer, Period::Month, 100_000);
    for _ in 0..20 {
        let holds = [hold(customer, nostro, 60_000, None), hold(customer, nostro, 60_000, None)];
        let ask = |ledger: &ledger::Ledger<()>, hold| {
            let (ledger, request) = (ledger.clone(), request(Action::Hold(hold)).limits(vec![month]));
            async move { ledger.post(request).await.expect("an outcome") }
        };
        let (first, second) = tokio::join!(ask(&one.ledger, holds[0]), ask(&two.ledger, holds[1]));
        let refused = Outcome::Rejected(Reject::LimitMonth(customer));
        let granted = match (first == refused, second == refused) {
            (false, true) => holds[0],
            (true, false) => holds[1],
            both => panic!("one of two is refused: {both:?}"),
        };
        assert_eq!(spent(&one.ledger, customer, world.clock.now()).await, (60_000, 60_000));
        posted(two.ledger.post(request(Action::Void(granted.id))).await);
        assert_eq!(spent(&one.ledger, customer, world.clock.now()).await, (0, 0));
    }
    let pay = request(Action::Transfer(posting(customer, nostro, 100_000))).limits(vec![month]);
    posted(one.ledger.post(pay).await);
    assert_sound(&world.pool()).await;
    one.stop().await;
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_spend_exactly_what_the_day_allows() {
    let world = World::new().await;
    let replicas = [world.engine(), world.engine()];
    let (nostro, customers) = open(&replicas[0].ledger, &[1_000_000]).await;
    let limits = vec![limit(customers[0], Period::Transaction, 100), limit(customers[0], Period::Day, 1_000)];
    let asks = (0..64).map(|turn| {
        let request = request(Action::Transfer(posting(customers[0], nostro, 90))).limits(limits.clone());
        replicas[turn % 2].ledger.post(request)
    });
    let answers = join_all(asks).await;
    let granted = answers.iter().filter(|answer| matches!(answer, Ok(Outcome::Posted(_)))).count();
    let refused = Outcome::Rejected(Reject::LimitDay(customers[0]));
    let refusals = answers.iter().filter(|answer| matches!(answer, Ok(outcome) if *outcome == refused)).count();
    assert_eq!((granted, refusals), (11, 53));
    let large = request(Action::Transfer(posting(customers[0], nostro, 101))).limits(limits.clone());
    assert_eq!(rejected(replicas[0].ledger.post(large).await), Reject::LimitTransaction(customers[0]));
    // The next day everything may be spent again.
    world.clock.advance(TimeDelta::days(1));
    posted(replicas[1].ledger.post(request(Action::Transfer(posting(customers[0], nostro, 90))).limits(limits)).await);
    assert_eq!(spent(&replicas[0].ledger, customers[0], world.clock.now()).await.0, 90);
    assert_sound(&world.pool()).await;
    for replica in replicas {
        replica.stop().await;
    }
}

/// Moves on to a noon in the middle of a month, so that no day or month ends by itself while a test counts them.
fn begin_mid_month(world: &World) {
    let now = world.clock.now();
    let first = now.date_naive().with_day(1).expect("every month has a first day") + Months::new(1);
    let noon = first.and_hms_opt(12, 0, 0).expect("every day has a noon").and_utc() + TimeDelta::days(9);
    world.clock.advance(noon - now);
}

/// A hold counts in full in its own month; what it gives back counts there, and nowhere once the month is over.
#[tokio::test]
async fn the_month_is_that_of_the_hold() {
    let world = World::new().await;
    begin_mid_month(&world);
    let replica = world.engine();
    let ledger = &replica.ledger;
    let (nostro, customers) = open(ledger, &[1_000_000]).await;
    let customer = customers[0];
    let part = hold(customer, nostro, 100, None);
    let lapsing = hold(customer, nostro, 1_000, Some(world.clock.now() + TimeDelta::minutes(1)));
    let long = hold(customer, nostro, 10_000, None);
    for hold in [part, lapsing, long] {
        posted(ledger.post(request(Action::Hold(hold))).await);
    }
    assert_eq!(spent(ledger, customer, world.clock.now()).await, (11_100, 11_100));
    let posting_part = HoldPosting { hold: part.id, amount: Some(Money::vnd(30)) };
    posted(ledger.post(request(Action::Post(posting_part))).await);
    assert_eq!(spent(ledger, customer, world.clock.now()).await, (11_030, 11_030));
    world.clock.advance(TimeDelta::minutes(2));
    posted(ledger.post(request(Action::Expire(lapsing.id))).await);
    assert_eq!(spent(ledger, customer, world.clock.now()).await, (10_030, 10_030));
    assert_sound_at_rest(&world.pool()).await;
    world.clock.advance(TimeDelta::days(40));
    assert_eq!(spent(ledger, customer, world.clock.now()).await, (0, 0));
    posted(ledger.post(request(Action::Transfer(posting(customer, nostro, 7)))).await);
    posted(ledger.post(request(Action::Void(long.id))).await);
    assert_eq!(spent(ledger, customer, world.clock.now()).await, (7, 7));
    assert_sound_at_rest(&world.pool()).await;
    replica.stop().await;
}

#[tokio::test]
async fn a_refused_request_leaves_nothing_counted() {
    let world = World::new().await;
    let replica = world.engine();
    let ledger = &replica.ledger;
    let (nostro, customers) = open(ledger, &[1_000]).await;
    let customer = customers[0];
    let chain = |last: i64| {
        let both = request(Action::Transfer(posting(customer, nostro, 600)));
        both.transfer(posting(customer, nostro, last)).limits(vec![limit(customer, Period::Month, 1_000)])
    };
    assert_eq!(rejected(ledger.post(chain(401)).await), Reject::InsufficientFunds(customer));
    let poor = chain(300).limits(vec![limit(customer, Period::Month, 899)]);
    assert_eq!(rejected(ledger.post(poor).await), Reject::LimitMonth(customer));
    let proof = Limit { lift: Lift::Proof, ..limit(customer, Period::Day, 899) };
    assert_eq!(rejected(ledger.post(chain(300).limits(vec![proof])).await), Reject::ProofRequired(customer));
    assert_eq!(spent(ledger, customer, world.clock.now()).await, (0, 0));
    posted(ledger.post(chain(400)).await);
    assert_eq!(spent(ledger, customer, world.clock.now()).await, (1_000, 1_000));
    assert_sound(&world.pool()).await;
    replica.stop().await;
}

/// The proof names the payment's key: who brings it asks under that key again, and must not get the old refusal back.
#[tokio::test]
async fn a_request_that_was_asked_for_a_proof_comes_again_under_its_key() {
    let world = World::new().await;
    let (one, two) = (world.engine(), world.engine());
    let (nostro, customers) = open(&one.ledger, &[1_000]).await;
    let customer = customers[0];
    let proof = Limit { lift: Lift::Proof, ..limit(customer, Period::Month, 500) };
    let month = limit(customer, Period::Month, 900);
    let pay = |name, dong, limits| Request::new(key(name)).transfer(posting(customer, nostro, dong)).limits(limits);
    for replica in [&one, &two, &one] {
        let unproved = pay("large", 600, vec![proof, month]);
        assert_eq!(rejected(replica.ledger.post(unproved).await), Reject::ProofRequired(customer));
    }
    let proved = one.ledger.answer(pay("large", 600, vec![month])).await.expect("an outcome");
    assert!(!proved.replayed && matches!(proved.outcome, Outcome::Posted(_)), "{proved:?}");
    // Once it is paid it stays so, proof or not.
    let again = two.ledger.answer(pay("large", 600, vec![proof, month])).await.expect("an outcome");
    assert_eq!((again.replayed, again.outcome), (true, proved.outcome));
    // Any other refusal is the key's answer, also when a proof was asked for before.
    assert_eq!(
        rejected(two.ledger.post(pay("second", 400, vec![proof, month])).await),
        Reject::ProofRequired(customer)
    );
    assert_eq!(rejected(two.ledger.post(pay("second", 400, vec![month])).await), Reject::LimitMonth(customer));
    assert_eq!(rejected(one.ledger.post(pay("second", 400, vec![])).await), Reject::LimitMonth(customer));
    assert_eq!(spent(&one.ledger, customer, world.clock.now()).await, (600, 600));
    assert_sound(&world.pool()).await;
    one.stop().await;
    two.stop().await;
}

/// Makes other counters of those that are there.
type Forge = fn(&[i64]) -> Vec<i64>;

/// Whoever gives themself room, or takes it from another, is found.
#[tokio::test]
async fn a_usage_that_history_does_not_bear_out_is_found() {
    let world = World::new().await;
    begin_mid_month(&world);
    let replica = world.engine();
    let ledger = &replica.ledger;
    let (nostro, customers) = open(ledger, &[1_000, 1_000, 1_000]).await;
    posted(ledger.post(request(Action::Transfer(posting(customers[0], nostro, 5)))).await);
    world.clock.advance(TimeDelta::days(1));
    posted(ledger.post(request(Action::Transfer(posting(customers[0], nostro, 7)))).await);
    let only_held = hold(customers[1], nostro, 9, None);
    posted(ledger.post(request(Action::Hold(only_held))).await);
    posted(ledger.post(request(Action::Void(only_held.id))).await);
    replica.stop().await;
    assert_sound(&world.pool()).await;
    let admin = world.database.admin_pool();
    let forgeries: [(AccountId, Forge); 12] = [
        (customers[0], |_| Vec::new()),
        (customers[0], |was| was[..1].to_vec()),
        (customers[0], |was| [&was[..3], &[11]].concat()),
        (customers[0], |was| [&was[..2], &[0, 12]].concat()),
        (customers[0], |was| vec![was[0] + 1, 1, 0, 12]),
        (customers[0], |was| vec![was[0] - 1, 1, 5, 12]),
        (customers[0], |was| vec![was[0] + 60]),
        (customers[0], |was| [was, &[2, 1, 1]].concat()),
        (customers[0], |_| vec![7, 8]),
        (customers[1], |_| Vec::new()),
        (customers[1], |was| [was, &[1, 0, 1]].concat()),
        (customers[2], |_| vec![738_000]),
    ];
    for (account, forge) in forgeries {
        let before: Vec<u8> = sqlx::query_scalar("SELECT usage FROM ledger.account WHERE id = $1")
            .bind(account.uuid())
            .fetch_one(&admin)
            .await
            .expect("there");
        let was: Vec<i64> = before.as_chunks().0.iter().map(|number| i64::from_be_bytes(*number)).collect();
        let forged = forge(&was);
        sqlx::query("UPDATE ledger.account SET usage = $2 WHERE id = $1")
            .bind(account.uuid())
            .bind(forged.iter().flat_map(|number| number.to_be_bytes()).collect::<Vec<u8>>())
            .execute(&admin)
            .await
            .expect("forged");
        let report = verify(&world.pool(), Options::default()).await.expect("verified");
        let found: Vec<_> = report.shards[0].findings.iter().map(|finding| (finding.account, finding.fault)).collect();
        assert_eq!(found, [(Some(account.uuid()), Fault::Usage)], "{forged:?} of {was:?}");
        sqlx::query("UPDATE ledger.account SET usage = $2 WHERE id = $1")
            .bind(account.uuid())
            .bind(before)
            .execute(&admin)
            .await
            .expect("put back");
    }
    assert_sound(&world.pool()).await;
}

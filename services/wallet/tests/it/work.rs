//! Jobs that wait for the outside world: whoever hangs there holds up nobody else, and whoever is away for long hears of it all the same.

use chrono::TimeDelta;
use serde_json::json;

use crate::agency::{Scene, Trouble};
use crate::biller::{WATER, pay_path};
use crate::stage::{Replica, Stage, eventually};

/// Customer codes whose bills are asked for at one moment: more than a runner has places by default.
const LINKED: usize = 20;
/// Payments of one citizen that wait for a biller, at most.
const OPEN: usize = 20;
/// Jobs that may wait for one biller by default.
const SHARE: i64 = 8;
/// How long an agency is closed, at an hour a step.
const CLOSED_HOURS: i64 = 48;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_biller_that_hangs_holds_up_no_top_up_and_no_message_to_an_agency() {
    let stage = Stage::new().await;
    let mut config = stage.config();
    // Far longer than this test waits for anything.
    config.biller_timeout_ms = 600_000;
    let refresh = TimeDelta::seconds(i64::try_from(config.bill_refresh_s).expect("some hours"));
    let wallet = stage.replica_with("one", config).await;
    let user = stage.citizen(1).await;
    for _ in 0..LINKED {
        let customer = stage.biller.customer(&[("2025-11-01", 250)]).await;
        wallet.linked(&stage.token(user), &customer).await;
    }
    stage.biller.fault(json!({"timeout": true})).await;
    stage.clock.advance(refresh * 2);
    let hanging = "wallet.job WHERE kind = 'bill-refresh' AND state = 'running'";
    eventually("bills are asked for", async || stage.count(hanging).await >= SHARE).await;
    let token = stage.token(user);
    let id = wallet.top_up(&token, sandbox::RICH_ACCOUNTS[0], 200_000).await;
    wallet.reaches(&token, &id, "completed").await;
    assert!(stage.count(hanging).await >= SHARE, "the biller still hangs");
    wallet.kill().await;
}

/// Two billers, and more patience with them than a test has.
fn two_billers(stage: &Stage) -> wallet::Config {
    let mut config = stage.config();
    config.billers.insert(WATER.to_owned(), stage.biller.settings());
    config.biller_timeout_ms = 600_000;
    config
}

/// Citizens who have linked so many bills of the electricity biller, each with the money for them.
async fn customers(stage: &Stage, wallet: &Replica, bills: usize) -> (uuid::Uuid, Vec<serde_json::Value>) {
    let user = wallet.rich(stage, 1_000_000).await;
    let mut linked = Vec::new();
    for _ in 0..bills {
        let customer = stage.biller.customer(&[("2025-11-01", 10)]).await;
        linked.extend(wallet.linked(&stage.token(user), &customer).await);
    }
    (user, linked)
}

const ASKED: &str = "wallet.bill_payment WHERE biller_code = 'PCHUE' AND state = 'confirming'";
const WAITING: &str = "wallet.bill_payment WHERE biller_code = 'PCHUE' AND state = 'held'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_biller_that_hangs_holds_up_no_bill_of_another() {
    let stage = Stage::new().await;
    let wallet = stage.replica_with("one", two_billers(&stage)).await;
    // Together more than the places for payments of all bills.
    let many = [customers(&stage, &wallet, OPEN).await, customers(&stage, &wallet, OPEN).await];
    let other = wallet.rich(&stage, 1_000_000).await;
    let customer = stage.biller.water_customer(&[("2025-11-01", 10)]).await;
    let water = wallet.linked_at(WATER, &stage.token(other), &customer).await.remove(0);
    stage.biller.fault(json!({"timeout": true})).await;
    for (user, bills) in &many {
        for bill in bills {
            wallet.pay_bill(&stage.token(*user), bill).await;
        }
    }
    let payments = 2 * i64::try_from(OPEN).expect("few");
    eventually("the biller has its share", async || stage.count(ASKED).await >= SHARE).await;

    let id = wallet.pay_bill(&stage.token(other), &water).await;
    wallet.bill_reaches(&stage.token(other), &id, "paid").await;
    assert_eq!((stage.count(ASKED).await, stage.count(WAITING).await), (SHARE, payments - SHARE), "it still hangs");
    assert!(wallet.counted("jobs_total", "postponed") >= payments - SHARE);
    let waiting = "wallet.job WHERE kind = 'bill-payment' AND state = 'due'";
    let tried = format!("{waiting} AND (attempts > 0 OR failures > 0)");
    assert_eq!(stage.count(&tried).await, 0, "who found no place has tried nothing");

    // Nothing is lost, also when the process dies with all this.
    wallet.kill().await;
    stage.biller.heal().await;
    stage.leases_pass().await;
    let wallet = stage.replica_with("two", two_billers(&stage)).await;
    let paid = "wallet.bill_payment WHERE state = 'paid'";
    eventually("all are paid", async || stage.count(paid).await == payments + 1).await;
    assert_eq!(stage.biller.decided().await.len(), 2 * OPEN, "each once");
    assert_eq!(wallet.bill_payment(&stage.token(other), &id).await["state"], "paid");
    stage.audit().await;
}

/// Money that nobody outside was asked about does not wait for a place for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_that_found_no_place_in_time_gives_the_money_back() {
    let stage = Stage::new().await;
    let config = wallet::Config { biller_places: 1, ..two_billers(&stage) };
    let wallet = stage.replica_with("one", config).await;
    let (user, bills) = customers(&stage, &wallet, 2).await;
    stage.biller.fault(json!({"timeout": true})).await;
    let asked = wallet.pay_bill(&stage.token(user), &bills[0]).await;
    wallet.bill_reaches(&stage.token(user), &asked, "confirming").await;
    let waits = wallet.pay_bill(&stage.token(user), &bills[1]).await;
    eventually("it found no place", async || wallet.counted("jobs_total", "postponed") > 0).await;
    assert_eq!(wallet.bill_payment(&stage.token(user), &waits).await["state"], "held");
    stage.clock.advance(TimeDelta::minutes(31));
    wallet.bill_reaches(&stage.token(user), &waits, "failed").await;
    assert_eq!(wallet.bill_payment(&stage.token(user), &waits).await["reason"], "bill-payment-expired");
    assert_eq!(wallet.bill_payment(&stage.token(user), &asked).await["state"], "confirming", "it still hangs");
    let set_aside = |(balance, available): (i64, i64)| balance - available;
    let one = crate::biller::amount(&bills[0]["amount"]);
    assert_eq!(set_aside(wallet.funds(&stage.token(user)).await), one, "only what the biller was asked about");
    wallet.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_biller_never_has_all_places_and_never_none() {
    let stage = Stage::new().await;
    let replica = stage.replica("one").await;
    for places in [0, 32] {
        let config = wallet::Config { biller_places: places, ..stage.config() };
        let deps = wallet::Deps { context: replica.context.clone(), identity: platform::rpc::unreachable() };
        let refused = wallet::build(config, deps).await.expect_err("it is refused");
        assert_eq!(refused.to_string(), "wallet: biller_places is not 1 to 31");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agency_that_is_closed_for_two_days_hears_of_a_fee_afterwards() {
    let scene = Scene::new().await;
    let wallet = scene.start().await;
    scene.fund(&wallet, 5_000_000).await;
    let bill = scene.bill(&wallet, "H57-1").await;
    scene.agency.trouble(Some(Trouble::Refuses), usize::MAX);
    let body = json!({"amount": bill["amount"]});
    wallet.post(&scene.citizen(), &pay_path(&bill), &body).await.expect(202);
    for hour in 0..CLOSED_HOURS {
        let told = format!("wallet.job WHERE kind = 'fee-paid' AND state = 'due' AND attempts > {hour}");
        eventually(&told, async || {
            scene.stage.clock.advance(TimeDelta::minutes(1));
            scene.stage.count(&told).await == 1
        })
        .await;
        scene.stage.clock.advance(TimeDelta::hours(1));
    }
    assert!(!scene.agency.took("H57-1"));
    scene.agency.trouble(None, 0);
    eventually("the agency has heard", async || {
        scene.stage.clock.advance(TimeDelta::minutes(10));
        scene.agency.took("H57-1")
    })
    .await;
}

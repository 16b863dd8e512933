//! Jobs that wait for the outside world: whoever hangs there holds up nobody else, and whoever is away for long hears of it all the same.

use chrono::TimeDelta;
use serde_json::json;

use crate::agency::{Scene, Trouble};
use crate::biller::pay_path;
use crate::stage::{Stage, eventually};

/// Customer codes whose bills are asked for at one moment: more than a runner has places by default.
const LINKED: usize = 20;
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
    eventually("bills are asked for", async || stage.count(hanging).await >= 16).await;
    let token = stage.token(user);
    let id = wallet.top_up(&token, sandbox::RICH_ACCOUNTS[0], 200_000).await;
    wallet.reaches(&token, &id, "completed").await;
    assert!(stage.count(hanging).await >= 16, "the biller still hangs");
    wallet.kill().await;
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

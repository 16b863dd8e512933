//! The books are signed at the end of each day, once, however many wallets run, and everyone may see it.

use chrono::TimeDelta;
use ledger::checkpoint::Checkpoint;
use serde_json::Value;

use crate::stage::{Replica, Stage, dong, eventually, text};

/// Moves the clock to the next morning, so that no midnight comes while a test works.
pub(crate) fn wait_for_morning(stage: &Stage) {
    let now = stage.clock.now();
    let morning = now.date_naive().succ_opt().and_then(|day| day.and_hms_opt(1, 0, 0)).expect("a morning");
    stage.clock.advance(morning.and_utc() - now);
}

/// What is published, without a token, oldest first.
async fn published(wallet: &Replica) -> Vec<Checkpoint> {
    let list = wallet.open_get("/wallet/v1/ledger/checkpoints").await.expect(200);
    let mut read: Vec<Checkpoint> = list["items"].as_array().expect("a list").iter().map(checked).collect();
    read.reverse();
    read
}

fn checked(item: &Value) -> Checkpoint {
    let key = text(item, "key").parse().expect("a public key");
    let checkpoint = Checkpoint::open(&text(item, "note"), &key).expect("signed");
    assert_eq!((item["blocks"].as_i64(), text(item, "day")), (Some(checkpoint.blocks), checkpoint.day.to_string()));
    checkpoint
}

#[tokio::test(flavor = "multi_thread")]
async fn each_day_is_signed_once_also_after_days_of_silence() {
    let stage = Stage::new().await;
    wait_for_morning(&stage);
    let (wallet, other) = (stage.start().await, stage.replica("two").await);
    let key = text(&wallet.open_get("/wallet/v1/ledger/key").await.expect(200), "key");
    assert!(key.starts_with("localhost/ledger/1+"), "{key}");
    let (payer, shop) = (stage.citizen(1).await, wallet.shop(&stage).await);
    let token = stage.token(payer);
    let top_up = wallet.top_up(&token, sandbox::RICH_ACCOUNTS[0], 100_000).await;
    wallet.reaches(&token, &top_up, "completed").await;
    assert!(published(&wallet).await.is_empty());

    stage.clock.advance(TimeDelta::days(1));
    eventually("the first day is signed", async || published(&wallet).await.len() == 1).await;
    let payment = serde_json::json!({"qr_payload": shop.payload, "amount": dong(1_000)});
    wallet.post(&stage.token(payer), "/wallet/v1/payments", &payment).await.expect(201);
    // Both wallets are away for days.
    wallet.kill().await;
    other.kill().await;
    stage.clock.advance(TimeDelta::days(4));
    let (wallet, other) = (stage.start().await, stage.replica("two").await);
    eventually("the second day is signed", async || published(&wallet).await.len() == 2).await;
    let signed = published(&other).await;
    assert_eq!((signed[1].day - signed[0].day).num_days(), 1);
    assert_eq!(signed[1].previous, signed[0].hash());
    assert_eq!(stage.count("ledger.checkpoint").await, 2, "by whichever of the two");
    assert_eq!(stage.count("wallet.job WHERE kind = 'ledger-checkpoint' AND state = 'due' AND failures = 0").await, 1);

    let page = wallet.open_get("/wallet/v1/ledger/checkpoints?limit=1").await.expect(200);
    let next = format!("/wallet/v1/ledger/checkpoints?limit=1&cursor={}", text(&page, "next_cursor"));
    let last = wallet.open_get(&next).await.expect(200);
    assert_eq!(checked(&last["items"][0]), signed[0]);
    assert!(last["next_cursor"].is_null());
    let report = ledger::checkpoint::audit::verify(&stage.admin()).await.expect("read");
    assert_eq!((report.checkpoints, report.fault), (2, None));
    stage.audit().await;
}

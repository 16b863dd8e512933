//! Payments under concurrency, rules and faults.

use futures::future::join_all;
use platform::outbox;
use prost::Message as _;
use proto::wallet::v1::PaymentRejected;
use serde_json::json;

use crate::stage::{Stage, dong, eventually, text};

#[tokio::test(flavor = "multi_thread")]
async fn one_key_pays_once_however_many_ask_at_once() {
    let stage = Stage::new().await;
    let wallet = stage.start().await;
    let other = stage.replica("two").await;
    let citizen = wallet.funded(&stage, 100_000).await;
    let shop = wallet.shop(&stage).await;
    let body = json!({"qr_payload": shop.payload, "amount": dong(30_000)});
    let asks = (0..40).map(|turn| {
        let replica = if turn % 2 == 0 { &wallet } else { &other };
        replica.post_with_key(&citizen, "/wallet/v1/payments", &body, "once")
    });
    let answers = join_all(asks).await;
    let first = answers[0].expect(201);
    assert!(answers.iter().all(|answer| answer.expect(201) == first));
    assert_eq!(wallet.balance(&citizen).await, 70_000);
    assert_eq!(stage.count("wallet.payment").await, 1);
    stage.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_spends_what_is_not_there() {
    let stage = Stage::new().await;
    let wallet = stage.start().await;
    let other = stage.replica("two").await;
    let citizen = wallet.funded(&stage, 100_000).await;
    let shop = wallet.shop(&stage).await;
    let body = json!({"till_id": shop.till, "amount": dong(9_000)});
    let asks = (0..30).map(|turn| {
        let replica = if turn % 2 == 0 { &wallet } else { &other };
        let body = &body;
        let citizen = &citizen;
        async move { replica.post_with_key(citizen, "/wallet/v1/payments", body, &format!("k{turn}")).await }
    });
    let answers = join_all(asks).await;
    let (paid, refused): (Vec<_>, Vec<_>) =
        answers.iter().enumerate().partition(|(_, answer)| answer.status.as_u16() == 201);
    assert_eq!((paid.len(), refused.len()), (11, 19));
    assert!(
        refused
            .iter()
            .all(|(_, answer)| (answer.status.as_u16(), answer.code().as_str()) == (422, "insufficient-funds"))
    );
    assert_eq!(wallet.balance(&citizen).await, 1_000);
    // A refusal is remembered too, though the money would be there now.
    let id = wallet.top_up(&citizen, sandbox::RICH_ACCOUNTS[0], 1_000_000).await;
    wallet.reaches(&citizen, &id, "completed").await;
    let again = wallet.post_with_key(&citizen, "/wallet/v1/payments", &body, &format!("k{}", refused[0].0)).await;
    assert_eq!(again.code(), "insufficient-funds");
    let events = stage.events().await;
    assert_eq!(events.len(), 19, "each refusal is told once");
    let told = PaymentRejected::decode(events[0].1.as_slice()).expect("its kind");
    assert_eq!((told.kind.as_str(), told.code.as_str()), ("payment", "insufficient-funds"));
    stage.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_bound_a_payment_and_an_answered_one_stays_answered() {
    let stage = Stage::new().await;
    let wallet = stage.start().await;
    let user = stage.citizen(1).await;
    let citizen = stage.token(user);
    for _ in 0..2 {
        let id = wallet.top_up(&citizen, sandbox::RICH_ACCOUNTS[0], 10_000_000).await;
        wallet.reaches(&citizen, &id, "completed").await;
    }
    let shop = wallet.shop(&stage).await;
    let pay = async |amount: i64, key: &str| {
        let body = json!({"till_id": shop.till, "amount": dong(amount)});
        wallet.post_with_key(&citizen, "/wallet/v1/payments", &body, key).await
    };
    let paid = pay(5_000_000, "whole").await.expect(201);
    let refused = pay(5_000_001, "more").await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (403, "step-up-required"));
    assert_eq!(refused.json()["threshold"], dong(5_000_000));
    assert_eq!(pay(5_000_001, "more").await.code(), "step-up-required", "the same, but told once");
    sqlx::query("UPDATE wallet.citizen SET tier = 0 WHERE user_id = $1")
        .bind(user)
        .execute(&stage.admin())
        .await
        .expect("a statement");
    assert_eq!(pay(5_000_001, "most").await.code(), "amount-above-limit");
    // Before any rule begins nothing may be moved, but what was paid stays paid.
    stage.clock.advance(chrono::TimeDelta::days(-1_500));
    let early = stage.token(user);
    let body = json!({"till_id": shop.till, "amount": dong(5_000_000)});
    assert_eq!(wallet.post_with_key(&early, "/wallet/v1/payments", &body, "early").await.code(), "no-rule-in-force");
    assert_eq!(wallet.post_with_key(&early, "/wallet/v1/payments", &body, "whole").await.expect(201), paid);
    let other = json!({"till_id": shop.till, "amount": dong(4_000_000)});
    assert_eq!(
        wallet.post_with_key(&early, "/wallet/v1/payments", &other, "whole").await.code(),
        "idempotency-key-reused"
    );
    let told: Vec<_> = stage
        .events()
        .await
        .into_iter()
        .map(|(_, data)| PaymentRejected::decode(data.as_slice()).expect("its kind").code)
        .collect();
    assert_eq!(told, ["step-up-required", "amount-above-limit", "no-rule-in-force"]);
    stage.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_with_an_amount_is_paid_with_that_amount() {
    let stage = Stage::new().await;
    let wallet = stage.start().await;
    let citizen = wallet.funded(&stage, 100_000).await;
    let shop = wallet.shop(&stage).await;
    let mut code = wallet::qr::decode(&shop.payload).expect("our own code");
    code.initiation = wallet::qr::Initiation::Dynamic;
    code.amount = Some(12_000);
    let payload = wallet::qr::encode(&code).expect("a right code");
    let pay = async |amount: Option<i64>| {
        let mut body = json!({"qr_payload": payload});
        if let Some(amount) = amount {
            body["amount"] = dong(amount);
        }
        wallet.post(&citizen, "/wallet/v1/payments", &body).await
    };
    assert_eq!(pay(None).await.expect(201)["amount"], dong(12_000));
    assert_eq!(pay(Some(12_000)).await.expect(201)["balance"], dong(76_000));
    assert_eq!(pay(Some(11_000)).await.code(), "amount-mismatch");
    stage.audit().await;
}

/// Whoever dies in between, a payment has its row, its key and its money together or not at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payments_survive_a_wallet_that_dies() {
    let stage = Stage::new().await;
    let wallet = stage.start().await;
    let citizen = wallet.funded(&stage, 1_000_000).await;
    let shop = wallet.shop(&stage).await;
    wallet.kill().await;
    let body = json!({"till_id": shop.till, "amount": dong(1_000)});
    for round in 0..6_i64 {
        let wallet = stage.start().await;
        let before = stage.count("wallet.payment").await;
        {
            let keys: Vec<_> = (0..20).map(|turn| format!("{round}-{turn}")).collect();
            let all =
                join_all(keys.iter().map(|key| wallet.post_with_key(&citizen, "/wallet/v1/payments", &body, key)));
            let some = eventually("some are paid", async || stage.count("wallet.payment").await >= before + round);
            tokio::select! {
                _ = all => {}
                () = some => {}
            }
        }
        wallet.kill().await;
    }
    let wallet = stage.start().await;
    for round in 0..6 {
        let keys: Vec<_> = (0..20).map(|turn| format!("{round}-{turn}")).collect();
        let answers =
            join_all(keys.iter().map(|key| wallet.post_with_key(&citizen, "/wallet/v1/payments", &body, key))).await;
        for answer in answers {
            answer.expect(201);
        }
    }
    assert_eq!(stage.count("wallet.payment").await, 120);
    assert_eq!(wallet.balance(&citizen).await, 1_000_000 - 120_000);
    stage.audit().await;
}

/// Callers that hang up while their payments are made change nothing about what is counted.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_counted_is_what_was_committed() {
    let stage = Stage::new().await;
    let wallet = stage.start().await;
    let citizen = wallet.funded(&stage, 15_500).await;
    let shop = wallet.shop(&stage).await;
    let body = json!({"till_id": shop.till, "amount": dong(1_000)});
    for round in 0..4 {
        let keys: Vec<_> = (0..5).map(|turn| format!("{round}-{turn}")).collect();
        let before = stage.count("ledger.block").await;
        let all = join_all(keys.iter().map(|key| wallet.post_with_key(&citizen, "/wallet/v1/payments", &body, key)));
        let some = eventually("a batch is committed", async || stage.count("ledger.block").await > before);
        tokio::select! {
            _ = all => {}
            () = some => {}
        }
    }
    // A last one behind them in the queue.
    let last = wallet.post_with_key(&citizen, "/wallet/v1/payments", &body, "last").await;
    assert!(last.status.is_success() || last.code() == "insufficient-funds");
    let paid = stage.count("wallet.payment").await;
    let refused = stage.count("wallet.outbox").await;
    assert_eq!(wallet.counted("payments_total", "completed"), paid);
    assert_eq!(wallet.counted("payments_total", "insufficient-funds"), refused);
    assert_eq!(wallet.counted("top_ups_total", "completed"), 1);
    let again = wallet.post_with_key(&citizen, "/wallet/v1/payments", &body, "last").await;
    assert_eq!(again.status, last.status);
    assert_eq!(wallet.counted("payments_total", "completed"), paid, "a repeated answer is not counted");
    stage.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_never_waits_for_the_city_to_hear_of_it() {
    let stage = Stage::new().await;
    let wallet = stage.start().await;
    let citizen = stage.token(stage.citizen(0).await);
    let shop = wallet.shop(&stage).await;
    let answer = wallet.post(&citizen, "/wallet/v1/payments", &json!({"till_id": shop.till, "amount": dong(1)})).await;
    let problem = answer.expect(422);
    assert_eq!(
        (text(&problem, "code"), text(&problem, "title")),
        ("insufficient-funds".to_owned(), "The wallet holds too little".to_owned())
    );
    eventually("the refusal is told", async || stage.count("wallet.outbox").await == 1).await;
    assert_eq!(outbox::channel(wallet::SCHEMA), "wallet_outbox");
}

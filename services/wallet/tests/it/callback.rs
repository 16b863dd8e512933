//! Callbacks: who may speak for a bank, and what its word can't do.

use std::time::Duration;

use axum::body::Body;
use http::Method;
use ledger::{Action, Config, Engine, Freeze, Key, NoRiders, Outcome, Request};
use platform::metrics::Metrics;
use platform::task::{Shutdown, Tasks};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::stage::{Answer, BANK, Replica, Stage, dong, eventually};

/// A callback signed as the bank does.
pub(crate) async fn send(stage: &Stage, wallet: &Replica, bank: &str, body: &Value) -> Answer {
    send_bytes(stage, wallet, bank, body.to_string().into_bytes()).await
}

async fn send_bytes(stage: &Stage, wallet: &Replica, bank: &str, body: Vec<u8>) -> Answer {
    let path = format!("/wallet/v1/bank-callbacks/{bank}");
    let timestamp = stage.clock.now().timestamp();
    let signature = sandbox::sign(stage.callback_secret.expose(), &Method::POST, &path, timestamp, &body);
    raw(wallet, &path, timestamp, &signature, body).await
}

async fn raw(wallet: &Replica, path: &str, timestamp: i64, signature: &str, body: Vec<u8>) -> Answer {
    let request = http::Request::post(path)
        .header("content-type", "application/json")
        .header("x-timestamp", timestamp)
        .header("x-signature", signature)
        .body(Body::from(body))
        .expect("a request");
    wallet.call(request).await
}

/// A top-up that the bank works on for longer than the test takes.
async fn pending(stage: &Stage, wallet: &Replica, token: &str, amount: i64) -> String {
    stage.bank.fault(json!({"timeout": true})).await;
    let id = wallet.top_up(token, sandbox::RICH_ACCOUNTS[2], amount).await;
    wallet.reaches(token, &id, "unknown").await;
    id
}

fn verdict(answer: &Answer) -> (u16, String) {
    (answer.status.as_u16(), answer.code())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_bank_itself_is_heard() {
    let stage = Stage::new().await;
    let wallet = stage.start().await;
    let citizen = stage.token(stage.citizen(1).await);
    let id = pending(&stage, &wallet, &citizen, 5_000).await;
    let body = json!({"request_id": id, "bank_reference": "FT1", "status": "succeeded", "amount": dong(5_000)})
        .to_string()
        .into_bytes();
    let path = format!("/wallet/v1/bank-callbacks/{BANK}");
    let now = stage.clock.now().timestamp();
    let secret = stage.callback_secret.expose();
    let sign = |secret: &str, path: &str, at: i64| sandbox::sign(secret, &Method::POST, path, at, &body);
    for (what, timestamp, signature) in [
        ("another secret", now, sign("guess", &path, now)),
        ("another path", now, sign(secret, "/wallet/v1/bank-callbacks/ACB", now)),
        ("too old", now - 301, sign(secret, &path, now - 301)),
        ("from the future", now + 302, sign(secret, &path, now + 302)),
        ("another time", now + 1, sign(secret, &path, now)),
        ("nothing", now, String::new()),
        ("no hexadecimal", now, "x".repeat(64)),
    ] {
        assert_eq!(
            verdict(&raw(&wallet, &path, timestamp, &signature, body.clone()).await),
            (401, "signature-invalid".to_owned()),
            "{what}"
        );
    }
    let unsigned = http::Request::post(&path).body(Body::from(body.clone())).expect("a request");
    assert_eq!(verdict(&wallet.call(unsigned).await), (401, "signature-invalid".to_owned()));
    let elsewhere = raw(
        &wallet,
        "/wallet/v1/bank-callbacks/ACB",
        now,
        &sign(secret, "/wallet/v1/bank-callbacks/ACB", now),
        body.clone(),
    )
    .await;
    assert_eq!(verdict(&elsewhere), (404, "not-found".to_owned()), "a bank that is not connected");
    assert_eq!(wallet.balance(&citizen).await, 0);
    assert_eq!(stage.count("ledger.transfer").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_that_does_not_fit_changes_nothing() {
    let stage = Stage::new().await;
    let wallet = stage.start().await;
    let citizen = stage.token(stage.citizen(1).await);
    let id = pending(&stage, &wallet, &citizen, 5_000).await;
    let body =
        |amount: Value| json!({"request_id": id, "bank_reference": "FT1", "status": "succeeded", "amount": amount});
    for (what, body, status, code) in [
        (
            "unknown request",
            json!({"request_id": Uuid::now_v7(), "bank_reference": "FT1", "status": "succeeded", "amount": dong(5_000)}),
            404,
            "not-found",
        ),
        ("more", body(dong(5_001)), 422, "callback-amount-mismatch"),
        ("less", body(dong(4_999)), 422, "callback-amount-mismatch"),
        ("another currency", body(json!({"amount": "5000.00", "currency": "USD"})), 422, "callback-amount-mismatch"),
        ("negative", body(dong(-5_000)), 422, "callback-amount-mismatch"),
        ("a number", body(json!({"amount": 5000, "currency": "VND"})), 422, "invalid-body"),
        ("another status", json!({"request_id": id, "status": "perhaps", "amount": dong(5_000)}), 422, "invalid-body"),
        ("no amount", json!({"request_id": id, "status": "succeeded"}), 422, "invalid-body"),
    ] {
        assert_eq!(verdict(&send(&stage, &wallet, BANK, &body).await), (status, code.to_owned()), "{what}");
    }
    assert_eq!(
        verdict(&send_bytes(&stage, &wallet, BANK, b"{\"request_id\":\"\xff".to_vec()).await),
        (400, "malformed-json".to_owned())
    );
    assert_eq!(
        verdict(&send_bytes(&stage, &wallet, BANK, vec![b' '; 70_000]).await),
        (413, "body-too-large".to_owned())
    );
    assert_eq!(wallet.top_up_state(&citizen, &id).await["state"], "unknown");
    assert_eq!(stage.count("ledger.transfer").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_ahead_of_the_answer_counts_and_its_repetitions_do_not() {
    let stage = Stage::new().await;
    let wallet = stage.start().await;
    let citizen = stage.token(stage.citizen(1).await);
    let id = pending(&stage, &wallet, &citizen, 5_000).await;
    let body = json!({"request_id": id, "bank_reference": "FT1", "status": "succeeded", "amount": dong(5_000), "extra": "ignored"});
    let answers = futures::future::join_all((0..10).map(|_| send(&stage, &wallet, BANK, &body))).await;
    for answer in &answers {
        assert_eq!(answer.expect(200), json!({"state": "completed"}));
    }
    assert_eq!(wallet.balance(&citizen).await, 5_000);
    assert_eq!(wallet.top_up_state(&citizen, &id).await["bank_reference"], "FT1");
    // The bank contradicts itself: nothing is taken back, a person must look.
    let failed = json!({"request_id": id, "bank_reference": "FT1", "status": "failed", "amount": dong(5_000)});
    assert_eq!(send(&stage, &wallet, BANK, &failed).await.expect(200), json!({"state": "completed"}));
    assert_eq!(wallet.balance(&citizen).await, 5_000);
    stage.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn money_that_the_bank_took_after_all_is_credited() {
    let stage = Stage::new().await;
    let wallet = stage.start().await;
    let citizen = stage.token(stage.citizen(1).await);
    let id = pending(&stage, &wallet, &citizen, 5_000).await;
    let said = |status: &str| json!({"request_id": id, "bank_reference": "FT1", "status": status, "reason": "o\u{0}dd", "amount": dong(5_000)});
    assert_eq!(send(&stage, &wallet, BANK, &said("failed")).await.expect(200)["state"], "failed");
    assert_eq!(send(&stage, &wallet, BANK, &said("failed")).await.expect(200)["state"], "failed");
    assert_eq!(wallet.top_up_state(&citizen, &id).await["reason"], "odd");
    assert_eq!(send(&stage, &wallet, BANK, &said("succeeded")).await.expect(200)["state"], "completed");
    let view = wallet.top_up_state(&citizen, &id).await;
    assert_eq!((&view["state"], &view["reason"]), (&json!("completed"), &Value::Null));
    assert_eq!(wallet.balance(&citizen).await, 5_000);
    stage.audit().await;
}

async fn freeze(stage: &Stage, freeze: Freeze) {
    let pool = stage.admin();
    let accounts: Vec<Uuid> = sqlx::query_scalar("SELECT id FROM ledger.account WHERE floor = 0")
        .fetch_all(&pool)
        .await
        .expect("a statement");
    let metrics = Metrics::new("wallet", "officer");
    let (ledger, tasks) = Engine::start(pool, stage.clock.clone(), &metrics, Config::default(), NoRiders);
    let shutdown = Shutdown::new();
    let tasks = Tasks::start(tasks, &shutdown);
    let key = Key { caller: Uuid::nil(), operation: "freeze", key: Uuid::now_v7().to_string(), fingerprint: [0; 32] };
    let every = |request: Request<()>, id: Uuid| request.action(Action::Freeze(id.into(), freeze));
    let request = accounts.into_iter().fold(Request::new(key), every);
    assert!(matches!(ledger.post(request).await, Ok(Outcome::Posted(_))));
    shutdown.begin();
    tasks.finish(Duration::from_secs(10)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn money_that_the_bank_took_after_all_is_credited_by_a_job_when_it_can_not_be_at_once() {
    let stage = Stage::new().await;
    let wallet = stage.start().await;
    let citizen = wallet.funded(&stage, 1_000).await;
    // The bank takes the money, but none of its answers comes through.
    stage.bank.fault(json!({"timeout": true, "error_after_effect": true, "drop_callback": true})).await;
    let id = wallet.top_up(&citizen, sandbox::RICH_ACCOUNTS[2], 5_000).await;
    wallet.reaches(&citizen, &id, "unknown").await;
    eventually("the bank has acted", async || stage.bank.collected().await.contains_key(&id)).await;
    let said = |status: &str| json!({"request_id": id, "bank_reference": "FT1", "status": status, "reason": "odd", "amount": dong(5_000)});
    assert_eq!(send(&stage, &wallet, BANK, &said("failed")).await.expect(200)["state"], "failed");
    eventually("both jobs have ended", async || {
        stage.count("wallet.job WHERE kind = 'top-up' AND state = 'done'").await == 2
    })
    .await;
    freeze(&stage, Freeze::Both).await;
    assert_eq!(verdict(&send(&stage, &wallet, BANK, &said("succeeded")).await), (422, "account-frozen".to_owned()));
    let view = wallet.top_up_state(&citizen, &id).await;
    assert_eq!((&view["state"], &view["reason"]), (&json!("submitted"), &Value::Null));
    assert_eq!(stage.count("wallet.job WHERE kind = 'top-up'").await, 3, "a job takes it up");
    // Its word of before comes once more.
    assert_eq!(send(&stage, &wallet, BANK, &said("failed")).await.expect(200)["state"], "submitted");
    freeze(&stage, Freeze::Nothing).await;
    stage.bank.heal().await;
    stage.clock.advance(chrono::TimeDelta::seconds(60));
    wallet.reaches(&citizen, &id, "completed").await;
    eventually("its job has ended", async || {
        stage.count("wallet.job WHERE kind = 'top-up' AND state = 'done'").await == 3
    })
    .await;
    assert_eq!(wallet.balance(&citizen).await, 6_000);
    stage.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn money_for_a_frozen_wallet_waits_and_is_credited_later() {
    let stage = Stage::new().await;
    let wallet = stage.start().await;
    let citizen = wallet.funded(&stage, 1_000).await;
    let id = pending(&stage, &wallet, &citizen, 5_000).await;
    freeze(&stage, Freeze::Both).await;
    let body = json!({"request_id": id, "bank_reference": "FT1", "status": "succeeded", "amount": dong(5_000)});
    assert_eq!(verdict(&send(&stage, &wallet, BANK, &body).await), (422, "account-frozen".to_owned()));
    // A word from before, which comes late.
    let failed = json!({"request_id": id, "bank_reference": "FT1", "status": "failed", "amount": dong(5_000)});
    assert_eq!(send(&stage, &wallet, BANK, &failed).await.expect(200)["state"], "unknown");
    freeze(&stage, Freeze::Nothing).await;
    stage.clock.advance(chrono::TimeDelta::seconds(60));
    assert_eq!(
        send(&stage, &wallet, BANK, &body).await.expect(200)["state"],
        "completed",
        "the refusal is not remembered for ever"
    );
    assert_eq!(send(&stage, &wallet, BANK, &body).await.expect(200)["state"], "completed");
    assert_eq!(wallet.balance(&citizen).await, 6_000);
    stage.audit().await;
}

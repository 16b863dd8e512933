//! Top-ups against a bank that is late, silent, broken or dead, and a wallet that dies: the citizen is credited exactly once,
//! and exactly when the bank took the money.

use serde_json::{Value, json};

use crate::stage::{BANK, Stage, dong, eventually, text};

const RICH: &str = sandbox::RICH_ACCOUNTS[1];

/// Asks for a top-up while the bank has a fault, and checks that it ends as the bank's own books say,
/// also when `callbacks`, all that the fault lets through, have come.
async fn ends_right_under(fault: Value, callbacks: i64) {
    let stage = Stage::new().await;
    let wallet = stage.start().await;
    let citizen = stage.token(stage.citizen(1).await);
    stage.bank.fault(fault.clone()).await;
    let id = wallet.top_up(&citizen, RICH, 250_000).await;
    wallet.reaches(&citizen, &id, "completed").await;
    let told = async || wallet.counted("bank_callbacks_total", "completed") >= callbacks;
    eventually("the bank has had its answers", told).await;
    // A bank that loses our answer calls once more; one that is silent never does.
    assert!(callbacks > 0 || wallet.counted("bank_callbacks_total", "completed") == 0, "{fault}");
    let collected = stage.bank.collected().await;
    assert_eq!(collected.get(&id), Some(&("succeeded".to_owned(), 250_000)), "{fault}");
    assert_eq!(collected.len(), 1, "the bank took money once under {fault}");
    assert_eq!(wallet.balance(&citizen).await, 250_000, "{fault}");
    eventually("the job has ended", async || {
        stage.count("wallet.job WHERE kind = 'top-up' AND state = 'done'").await == 1
    })
    .await;
    assert_eq!(stage.count("ledger.transfer").await, 1, "{fault}");
    stage.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_that_comes_twice_credits_once() {
    ends_right_under(json!({"duplicate": true}), 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_that_never_comes_is_made_up_by_asking() {
    ends_right_under(json!({"drop_callback": true}), 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_callback_finds_the_money_credited() {
    ends_right_under(json!({"callback_delay_ms": 2_500, "times": 1}), 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bank_that_hangs_before_it_acts_is_asked_again_with_the_same_request() {
    ends_right_under(json!({"timeout": true, "times": 1}), 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bank_that_hangs_after_it_acted_is_not_asked_to_act_again() {
    ends_right_under(json!({"timeout": true, "error_after_effect": true, "drop_callback": true, "times": 1}), 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_before_the_effect_leads_to_the_same_request_again() {
    ends_right_under(json!({"error_rate": 1.0, "times": 2}), 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_after_the_effect_leads_to_the_status() {
    ends_right_under(json!({"error_rate": 1.0, "error_after_effect": true, "drop_callback": true, "times": 3}), 0)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_bank_is_waited_for() {
    ends_right_under(json!({"delay_ms": 1_200, "times": 2}), 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_callback_after_the_status_changes_nothing() {
    let stage = Stage::new().await;
    let wallet = stage.start().await;
    let citizen = stage.token(stage.citizen(1).await);
    stage.bank.fault(json!({"drop_callback": true})).await;
    let id = wallet.top_up(&citizen, RICH, 99_000).await;
    wallet.reaches(&citizen, &id, "completed").await;
    let before = wallet.top_up_state(&citizen, &id).await;
    let callback = json!({"request_id": id, "bank_reference": "LATE", "status": "succeeded", "amount": dong(99_000)});
    let answer = crate::callback::send(&stage, &wallet, BANK, &callback).await.expect(200);
    assert_eq!(answer["state"], "completed");
    assert_eq!(wallet.top_up_state(&citizen, &id).await, before);
    assert_eq!(wallet.balance(&citizen).await, 99_000);
    stage.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bank_that_takes_no_money_fails_the_top_up_and_tells() {
    let stage = Stage::new().await;
    let wallet = stage.start().await;
    let citizen = stage.token(stage.citizen(1).await);
    for (account, reason, fault) in [
        (sandbox::POOR_ACCOUNT, "insufficient-funds", json!({})),
        (sandbox::CLOSED_ACCOUNT, "account-closed", json!({"drop_callback": true})),
        ("4000000001", "account-unknown", json!({"duplicate": true})),
    ] {
        stage.bank.fault(fault).await;
        let id = wallet.top_up(&citizen, account, 10_000).await;
        wallet.reaches(&citizen, &id, "failed").await;
        assert_eq!(wallet.top_up_state(&citizen, &id).await["reason"], reason);
    }
    assert_eq!(wallet.balance(&citizen).await, 0);
    let events = stage.events().await;
    assert_eq!(events.len(), 3, "one event for each");
    assert!(events.iter().all(|(kind, _)| kind == "trangtien.wallet.v1.TopUpFailed"));
    stage.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_the_bank_refuses_fails() {
    let stage = Stage::new().await;
    let wallet = stage.start().await;
    let citizen = stage.token(stage.citizen(1).await);
    // The wallet takes letters, this bank does not.
    let id = wallet.top_up(&citizen, "ABC123456", 10_000).await;
    wallet.reaches(&citizen, &id, "failed").await;
    assert_eq!(wallet.top_up_state(&citizen, &id).await["reason"], "invalid-field");
    assert!(stage.bank.collected().await.is_empty());
    stage.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_is_one_top_up() {
    let stage = Stage::new().await;
    let wallet = stage.start().await;
    let citizen = stage.token(stage.citizen(1).await);
    let body = json!({"bank_code": BANK, "account": RICH, "amount": dong(70_000)});
    let answers =
        futures::future::join_all((0..8).map(|_| wallet.post_with_key(&citizen, "/wallet/v1/top-ups", &body, "k")))
            .await;
    let first = answers[0].expect(202);
    assert!(answers.iter().all(|answer| answer.expect(202) == first));
    wallet.reaches(&citizen, &text(&first, "id"), "completed").await;
    let later = wallet.post_with_key(&citizen, "/wallet/v1/top-ups", &body, "k").await;
    assert_eq!(later.expect(202), first, "the same answer, also when the state has gone on");
    let other = json!({"bank_code": BANK, "account": RICH, "amount": dong(70_001)});
    let reused = wallet.post_with_key(&citizen, "/wallet/v1/top-ups", &other, "k").await;
    assert_eq!((reused.status.as_u16(), reused.code().as_str()), (422, "idempotency-key-reused"));
    // Another citizen's key is another key.
    let neighbour = stage.token(stage.citizen(1).await);
    assert_ne!(wallet.post_with_key(&neighbour, "/wallet/v1/top-ups", &body, "k").await.expect(202)["id"], first["id"]);
    stage.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_citizen_has_only_so_many_top_ups_under_way() {
    let stage = Stage::new().await;
    let wallet = stage.start().await;
    let citizen = stage.token(stage.citizen(1).await);
    // The bank answers nobody: all that are asked for stay open.
    stage.bank.fault(json!({"timeout": true})).await;
    let body = json!({"bank_code": BANK, "account": RICH, "amount": dong(1_000)});
    let keys: Vec<_> = (0..16).map(|number| format!("key-{number}")).collect();
    let ask = |key| wallet.post_with_key(&citizen, "/wallet/v1/top-ups", &body, key);
    let answers = futures::future::join_all(keys.iter().map(|key| ask(key))).await;
    let accepted: Vec<_> = keys.iter().zip(&answers).filter(|(_, answer)| answer.status == 202).collect();
    assert_eq!(accepted.len(), 10, "however many ask at once");
    for refused in answers.iter().filter(|answer| answer.status != 202) {
        assert_eq!((refused.status.as_u16(), refused.code().as_str()), (422, "too-many-top-ups"));
        assert_eq!(refused.json()["maximum"], 10);
    }
    let again = ask(accepted[0].0).await;
    assert_eq!(again.expect(202), accepted[0].1.json(), "a repeated request is none more");
    let neighbour = stage.token(stage.citizen(1).await);
    wallet.top_up(&neighbour, RICH, 1_000).await;
    stage.bank.heal().await;
    for (_, answer) in &accepted {
        wallet.reaches(&citizen, &text(&answer.json(), "id"), "completed").await;
    }
    assert_eq!(ask("later").await.status, 202, "those that ended make place");
}

/// A bank that takes no request, in its own words, and knows of none.
async fn stubborn_bank() -> String {
    use axum::http::StatusCode;
    use axum::routing::{get, post};
    let say = |status: StatusCode, code: &str| (status, axum::Json(json!({ "code": code })));
    let bank = axum::Router::new()
        .route("/bank/v1/collections", post(async move || say(StatusCode::CONFLICT, "try-later")))
        .route("/bank/v1/collections/{id}", get(async move || say(StatusCode::NOT_FOUND, "not-found")));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    tokio::spawn(async move { axum::serve(listener, bank).await });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bank_that_never_takes_a_request_and_knows_of_none_is_given_up_after_a_day() {
    let mut stage = Stage::new().await;
    stage.bank.move_to(stubborn_bank().await);
    let wallet = stage.start().await;
    let user = stage.citizen(1).await;
    let citizen = stage.token(user);
    let id = wallet.top_up(&citizen, RICH, 5_000).await;
    eventually("it is asked again", async || {
        stage.count("wallet.job WHERE kind = 'top-up' AND attempts >= 2").await == 1
    })
    .await;
    assert_ne!(wallet.top_up_state(&citizen, &id).await["state"], "failed");
    stage.clock.advance(chrono::TimeDelta::hours(24));
    let citizen = stage.token(user);
    wallet.reaches(&citizen, &id, "failed").await;
    assert_eq!(wallet.top_up_state(&citizen, &id).await["reason"], "bank-never-took-it");
    eventually("the job has ended", async || {
        stage.count("wallet.job WHERE kind = 'top-up' AND state = 'done'").await == 1
    })
    .await;
    stage.audit().await;
}

/// The wallet dies as soon as a top-up has come as far as each state, while the bank misbehaves in one way after the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wallet_that_dies_at_any_point_goes_on_where_it_was() {
    let stage = Stage::new().await;
    let mut ids = Vec::new();
    let mut citizens = Vec::new();
    let faults = [
        json!({"drop_callback": true}),
        json!({"duplicate": true}),
        json!({"error_rate": 0.5, "error_after_effect": true}),
        json!({"error_rate": 0.5}),
        json!({"callback_delay_ms": 300}),
        json!({"delay_ms": 100}),
    ];
    let far = ["requested", "unknown", "submitted", "completed"];
    for (round, fault) in faults.iter().cycle().take(12).enumerate() {
        let wallet = stage.start().await;
        stage.bank.fault(fault.clone()).await;
        let citizen = stage.token(stage.citizen(1).await);
        for _ in 0..4 {
            ids.push(wallet.top_up(&citizen, RICH, 1_000).await);
        }
        citizens.push(citizen);
        let reached = far[round % far.len()..].join("', '");
        let last = ids.last().expect("four were asked for");
        let condition = format!("wallet.top_up WHERE id = '{last}' AND state IN ('{reached}')");
        eventually("it came as far as this round goes", async || stage.count(&condition).await == 1).await;
        wallet.kill().await;
    }
    stage.bank.heal().await;
    let wallet = stage.start().await;
    for (citizen, ids) in citizens.iter().zip(ids.chunks(4)) {
        for id in ids {
            wallet.reaches(citizen, id, "completed").await;
        }
        assert_eq!(wallet.balance(citizen).await, 4_000);
    }
    let collected = stage.bank.collected().await;
    assert_eq!(collected.len(), ids.len());
    assert!(collected.values().all(|entry| *entry == ("succeeded".to_owned(), 1_000)));
    stage.audit().await;
}

/// However many are asked for at once, no more comes in a day without a proof than the rule says.
#[tokio::test(flavor = "multi_thread")]
async fn a_day_of_top_ups_goes_so_far_without_a_proof() {
    let stage = Stage::new().await;
    let (wallet, other) = (stage.start().await, stage.replica("two").await);
    let token = stage.token(stage.citizen(1).await);
    let body = json!({"bank_code": BANK, "account": RICH, "amount": dong(7_000_000)});
    let asks = (0..6).map(|turn| {
        let replica = if turn % 2 == 0 { &wallet } else { &other };
        replica.post(&token, "/wallet/v1/top-ups", &body)
    });
    let answers = futures::future::join_all(asks).await;
    let mut codes: Vec<_> = answers.iter().map(|answer| (answer.status.as_u16(), answer.code())).collect();
    codes.sort();
    let refused = (403, "step-up-required".to_owned());
    assert_eq!(codes, [vec![(202, String::new()); 2], vec![refused.clone(); 4]].concat());
    let small = json!({"bank_code": BANK, "account": RICH, "amount": dong(6_000_001)});
    let ask = async |token: &str, body: &Value| {
        let answer = wallet.post(token, "/wallet/v1/top-ups", body).await;
        (answer.status.as_u16(), answer.code())
    };
    assert_eq!(ask(&token, &small).await, refused);
    assert_eq!(ask(&token, &json!({"bank_code": BANK, "account": RICH, "amount": dong(6_000_000)})).await.0, 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_bound_a_top_up() {
    let stage = Stage::new().await;
    let wallet = stage.start().await;
    let ask = async |tier: i16, amount: i64| {
        let token = stage.token(stage.citizen(tier).await);
        let body = json!({"bank_code": BANK, "account": RICH, "amount": dong(amount)});
        let answer = wallet.post(&token, "/wallet/v1/top-ups", &body).await;
        (answer.status.as_u16(), answer.code())
    };
    assert_eq!(ask(0, 5_000_000).await.0, 202);
    assert_eq!(ask(0, 5_000_001).await, (422, "amount-above-limit".to_owned()));
    assert_eq!(ask(1, 10_000_000).await.0, 202);
    assert_eq!(ask(1, 10_000_001).await, (403, "step-up-required".to_owned()));
    assert_eq!(ask(1, 50_000_001).await, (422, "amount-above-limit".to_owned()));
    let stranger = stage.token(uuid::Uuid::now_v7());
    let body = json!({"bank_code": BANK, "account": RICH, "amount": dong(5_000_001)});
    assert_eq!(
        wallet.post(&stranger, "/wallet/v1/top-ups", &body).await.code(),
        "amount-above-limit",
        "who is not known yet is tier 0"
    );
}

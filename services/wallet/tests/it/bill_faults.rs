//! Bills against a biller that is late, silent, broken or says everything twice, and a wallet that dies: the citizen is charged exactly once,
//! and exactly when the biller recorded the payment.

use axum::body::Body;
use chrono::TimeDelta;
use http::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::biller::{BILLER, COST, pay_path};
use crate::stage::{Answer, Replica, Stage, dong, eventually, text};

const MONEY: i64 = 1_000_000;

/// Pays a bill while the biller has a fault, and checks that it ends as the biller's own books say,
/// also when `callbacks`, all that the fault lets through, have come.
async fn ends_right_under(fault: Value, callbacks: i64) {
    let stage = Stage::new().await;
    let wallet = stage.start().await;
    let citizen = wallet.funded(&stage, MONEY).await;
    let bill = wallet.bill(&stage, &citizen).await;
    stage.biller.fault(fault.clone()).await;
    let id = wallet.pay_bill(&citizen, &bill).await;
    wallet.bill_reaches(&citizen, &id, "paid").await;
    let told = async || wallet.counted("biller_callbacks_total", "paid") >= callbacks;
    eventually("the biller has had its answers", told).await;
    let decided = stage.biller.decided().await;
    assert_eq!(decided.get(&id), Some(&("succeeded".to_owned(), COST)), "{fault}");
    assert_eq!(decided.len(), 1, "the biller recorded one payment under {fault}");
    assert_eq!(wallet.funds(&citizen).await, (MONEY - COST, MONEY - COST), "{fault}");
    job_ended(&stage).await;
    assert_eq!(stage.count("ledger.transfer").await, 2, "{fault}");
    stage.audit().await;
}

async fn job_ended(stage: &Stage) {
    let done = "wallet.job WHERE kind = 'bill-payment' AND state = 'done'";
    eventually("the job has ended", async || stage.count(done).await == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_that_comes_twice_charges_once() {
    ends_right_under(json!({"duplicate": true}), 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_a_callback_is_enough() {
    ends_right_under(json!({"drop_callback": true}), 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_callback_finds_the_bill_paid() {
    ends_right_under(json!({"callback_delay_ms": 2_500, "times": 1}), 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_biller_that_hangs_before_it_acts_is_asked_again_with_the_same_request() {
    ends_right_under(json!({"timeout": true, "times": 1}), 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_biller_that_hangs_after_it_acted_is_not_asked_to_act_again() {
    ends_right_under(json!({"timeout": true, "error_after_effect": true, "drop_callback": true, "times": 2}), 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_before_the_effect_leads_to_the_same_request_again() {
    ends_right_under(json!({"error_rate": 1.0, "times": 3}), 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_after_the_effect_leads_to_the_status() {
    ends_right_under(json!({"error_rate": 1.0, "error_after_effect": true, "drop_callback": true, "times": 3}), 0)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_makes_up_for_an_answer_that_never_comes() {
    ends_right_under(json!({"timeout": true, "error_after_effect": true, "duplicate": true, "times": 3}), 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_biller_is_waited_for() {
    ends_right_under(json!({"delay_ms": 1_200, "times": 2}), 1).await;
}

/// The bill was paid elsewhere, so that the biller refuses; its answer gets lost in one way after the other.
#[tokio::test(flavor = "multi_thread")]
async fn money_comes_back_however_the_refusal_arrives() {
    let stage = Stage::new().await;
    let wallet = stage.start().await;
    let citizen = wallet.funded(&stage, MONEY).await;
    for fault in [
        json!({"drop_callback": true}),
        json!({"duplicate": true}),
        json!({"timeout": true, "error_after_effect": true, "drop_callback": true, "times": 1}),
        json!({"error_rate": 1.0, "error_after_effect": true, "times": 2}),
        json!({"timeout": true, "times": 1}),
    ] {
        let bill = wallet.bill(&stage, &citizen).await;
        stage.biller.pay_elsewhere(&stage.clock, &bill).await;
        stage.biller.fault(fault.clone()).await;
        let id = wallet.pay_bill(&citizen, &bill).await;
        wallet.bill_reaches(&citizen, &id, "failed").await;
        assert_eq!(wallet.bill_payment(&citizen, &id).await["reason"], "bill-paid", "{fault}");
        assert_eq!(wallet.funds(&citizen).await, (MONEY, MONEY), "{fault}");
        assert_eq!(stage.biller.decided().await.get(&id), Some(&("failed".to_owned(), COST)), "{fault}");
        stage.biller.heal().await;
    }
    let failed = stage.events().await.into_iter().filter(|(kind, _)| kind == "trangtien.wallet.v1.BillPaymentFailed");
    assert_eq!(failed.count(), 5, "one event for each");
    stage.audit().await;
}

/// A payment that the biller does not answer about for longer than the test takes.
async fn pending(stage: &Stage, wallet: &Replica, token: &str) -> String {
    let bill = wallet.bill(stage, token).await;
    stage.biller.fault(json!({"timeout": true})).await;
    let id = wallet.pay_bill(token, &bill).await;
    wallet.bill_reaches(token, &id, "unknown").await;
    id
}

async fn call_back(stage: &Stage, wallet: &Replica, body: &Value) -> Answer {
    let path = format!("/wallet/v1/biller-callbacks/{BILLER}");
    let (timestamp, body) = (stage.clock.now().timestamp(), body.to_string().into_bytes());
    let secret = stage.biller.config.secret.expose();
    let signature = sandbox::sign(secret, &Method::POST, &path, timestamp, &body);
    let request = http::Request::post(path).header("x-timestamp", timestamp).header("x-signature", signature);
    wallet.call(request.body(Body::from(body)).expect("a request")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_counts_only_signed_and_for_the_very_payment() {
    let stage = Stage::new().await;
    let wallet = stage.start().await;
    let citizen = wallet.funded(&stage, MONEY).await;
    let id = pending(&stage, &wallet, &citizen).await;
    let said = |id: &str, status: &str, amount: i64| json!({"request_id": id, "status": status, "biller_reference": "BR1", "reason": "no\u{0}pe", "amount": dong(amount)});
    let verdict = |answer: Answer| (answer.status.as_u16(), answer.code());
    let refused = |status: u16, code: &str| (status, code.to_owned());
    let mismatch = refused(422, "callback-amount-mismatch");
    assert_eq!(verdict(call_back(&stage, &wallet, &said(&id, "succeeded", COST - 1)).await), mismatch);
    let stranger = said(&Uuid::now_v7().to_string(), "succeeded", COST);
    assert_eq!(verdict(call_back(&stage, &wallet, &stranger).await), refused(404, "not-found"));
    let unsigned = http::Request::post(format!("/wallet/v1/biller-callbacks/{BILLER}"))
        .body(Body::from(said(&id, "succeeded", COST).to_string()));
    let unsigned = wallet.call(unsigned.expect("a request")).await;
    assert_eq!(verdict(unsigned), refused(401, "signature-invalid"));
    let elsewhere = http::Request::post("/wallet/v1/biller-callbacks/HUEWACO").body(Body::empty());
    assert_eq!(verdict(wallet.call(elsewhere.expect("a request")).await), refused(404, "not-found"));
    assert_eq!(wallet.funds(&citizen).await, (MONEY, MONEY - COST), "still set aside");

    let good = said(&id, "succeeded", COST);
    let answers = futures::future::join_all((0..10).map(|_| call_back(&stage, &wallet, &good))).await;
    for answer in &answers {
        assert_eq!(answer.expect(200), json!({"state": "paid"}));
    }
    assert_eq!(wallet.bill_payment(&citizen, &id).await["biller_reference"], "BR1");
    // The biller contradicts itself: nothing is given back, a person must look.
    let answer = call_back(&stage, &wallet, &said(&id, "failed", COST)).await;
    assert_eq!(answer.expect(200), json!({"state": "paid"}));
    assert_eq!(wallet.funds(&citizen).await, (MONEY - COST, MONEY - COST));

    stage.biller.heal().await;
    let other = wallet.funded(&stage, MONEY).await;
    let id = pending(&stage, &wallet, &other).await;
    for status in ["failed", "failed", "succeeded"] {
        let answer = call_back(&stage, &wallet, &said(&id, status, COST)).await;
        assert_eq!(answer.expect(200), json!({"state": "failed"}), "{status}");
    }
    assert_eq!(wallet.bill_payment(&other, &id).await["reason"], "nope");
    assert_eq!(wallet.funds(&other).await, (MONEY, MONEY));
    stage.audit().await;
}

/// The money stays set aside however long the biller is silent, and is charged when it speaks.
#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_not_a_no_however_long_it_lasts() {
    let stage = Stage::new().await;
    let wallet = stage.start().await;
    let user = wallet.rich(&stage, MONEY).await;
    let bill = wallet.bill(&stage, &stage.token(user)).await;
    stage.biller.fault(json!({"timeout": true, "error_after_effect": true, "drop_callback": true})).await;
    let id = wallet.pay_bill(&stage.token(user), &bill).await;
    wallet.bill_reaches(&stage.token(user), &id, "unknown").await;
    for _ in 0..3 {
        stage.clock.advance(TimeDelta::hours(20));
        let asked = "wallet.job WHERE kind = 'bill-payment' AND state = 'due'";
        eventually("it was asked again", async || stage.count(asked).await == 1).await;
    }
    let token = stage.token(user);
    assert_eq!(wallet.bill_payment(&token, &id).await["state"], "unknown");
    assert_eq!(wallet.funds(&token).await, (MONEY, MONEY - COST));
    stage.biller.heal().await;
    stage.clock.advance(TimeDelta::minutes(10));
    wallet.bill_reaches(&stage.token(user), &id, "paid").await;
    stage.audit().await;
}

/// A wallet that was away for longer than a citizen counts on asks nobody any more, and gives the money back.
#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_nobody_was_asked_about_expires() {
    let stage = Stage::new().await;
    let wallet = stage.start().await;
    let user = wallet.rich(&stage, MONEY).await;
    let bill = wallet.bill(&stage, &stage.token(user)).await;
    let id = wallet.pay_bill(&stage.token(user), &bill).await;
    wallet.bill_reaches(&stage.token(user), &id, "paid").await;
    job_ended(&stage).await;
    wallet.kill().await;
    // As if the wallet had died right after it saved the intent, or right after it set the money aside.
    let (kept, pool) = (text(&bill, "id"), stage.admin());
    sqlx::query(sqlx::AssertSqlSafe(format!(
        "INSERT INTO wallet.bill (id, biller_code, customer_code, kind, reference, period, amount, issued_on, due_on, details, status, updated_at)
         SELECT gen_random_uuid(), biller_code, customer_code, kind, 'another', period, amount, issued_on, due_on, details, 'open', updated_at
         FROM wallet.bill WHERE id = '{kept}'"
    )))
    .execute(&pool)
    .await
    .expect("a row");
    let orphan = Uuid::now_v7();
    sqlx::query(sqlx::AssertSqlSafe(format!(
        "INSERT INTO wallet.bill_payment (id, user_id, session_id, idempotency_key, fingerprint, bill_id, biller_code, customer_code, kind, reference, period, amount, state, requested_at, updated_at)
         SELECT '{orphan}', user_id, session_id, 'orphan', fingerprint, (SELECT id FROM wallet.bill WHERE reference = 'another'), biller_code, customer_code, kind, 'another', period, amount, 'requested', requested_at, updated_at
         FROM wallet.bill_payment WHERE id = '{id}'"
    )))
    .execute(&pool)
    .await
    .expect("a row");
    sqlx::query(sqlx::AssertSqlSafe(format!(
        "UPDATE wallet.job SET key = '{orphan}', state = 'due', finished_at = NULL WHERE kind = 'bill-payment' AND key = '{id}'"
    )))
    .execute(&pool)
    .await
    .expect("a row");
    stage.clock.advance(TimeDelta::minutes(31));
    let wallet = stage.start().await;
    wallet.bill_reaches(&stage.token(user), &orphan.to_string(), "failed").await;
    let payment = wallet.bill_payment(&stage.token(user), &orphan.to_string()).await;
    assert_eq!(payment["reason"], "bill-payment-expired");
    assert_eq!(wallet.funds(&stage.token(user)).await, (MONEY - COST, MONEY - COST));
    assert_eq!(stage.biller.decided().await.len(), 1, "the biller was not asked");
    stage.audit().await;
}

/// A biller that takes no request, in its own words, and knows of none.
async fn stubborn_biller() -> String {
    use axum::http::StatusCode;
    use axum::routing::{get, post};
    let say = |status: StatusCode, code: &str| (status, axum::Json(json!({ "code": code })));
    let biller = axum::Router::new()
        .route("/billers/{code}/v1/payments", post(async move || say(StatusCode::CONFLICT, "try-later")))
        .route("/billers/{code}/v1/payments/{id}", get(async move || say(StatusCode::NOT_FOUND, "not-found")));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    tokio::spawn(async move { axum::serve(listener, biller).await });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn a_biller_that_never_takes_a_request_and_knows_of_none_is_given_up_after_a_day() {
    let mut stage = Stage::new().await;
    let wallet = stage.start().await;
    let user = wallet.rich(&stage, MONEY).await;
    let bill = wallet.bill(&stage, &stage.token(user)).await;
    wallet.kill().await;
    stage.biller.url = stubborn_biller().await;
    let wallet = stage.start().await;
    let id = wallet.pay_bill(&stage.token(user), &bill).await;
    eventually("it is asked again", async || {
        stage.count("wallet.job WHERE kind = 'bill-payment' AND attempts >= 2").await == 1
    })
    .await;
    assert_ne!(wallet.bill_payment(&stage.token(user), &id).await["state"], "failed");
    stage.clock.advance(TimeDelta::hours(24));
    wallet.bill_reaches(&stage.token(user), &id, "failed").await;
    assert_eq!(wallet.bill_payment(&stage.token(user), &id).await["reason"], "biller-never-took-it");
    assert_eq!(wallet.funds(&stage.token(user)).await, (MONEY, MONEY));
    stage.audit().await;
}

/// Seven faults and five states: each state meets each fault, but that a biller that never answers lets no payment be `paid`.
const ROUNDS: usize = 34;

/// The wallet dies as soon as a payment has come as far as each state, while the biller misbehaves in one way after the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wallet_that_dies_at_any_point_goes_on_where_it_was() {
    let stage = Stage::new().await;
    let mut asked = Vec::new();
    let faults = [
        json!({"drop_callback": true}),
        json!({"duplicate": true}),
        json!({"error_rate": 0.5, "error_after_effect": true}),
        json!({"error_rate": 0.5}),
        json!({"callback_delay_ms": 300}),
        json!({"delay_ms": 100}),
        json!({"timeout": true, "error_after_effect": true, "drop_callback": true}),
    ];
    let far = ["requested", "held", "confirming", "unknown", "paid"];
    for (round, fault) in faults.iter().cycle().take(ROUNDS).enumerate() {
        stage.biller.heal().await;
        let wallet = stage.start().await;
        let citizen = wallet.funded(&stage, MONEY).await;
        let bill = wallet.bill(&stage, &citizen).await;
        if round % 2 == 0 {
            stage.biller.pay_elsewhere(&stage.clock, &bill).await;
        }
        stage.biller.fault(fault.clone()).await;
        let body = json!({"amount": bill["amount"]});
        // The answer may not come before the wallet dies: what counts is what was saved.
        let path = pay_path(&bill);
        let ask = wallet.post_with_key(&citizen, &path, &body, "pay");
        let reached = [&far[round % far.len()..], &["failed"]].concat().join("', '");
        let condition =
            format!("wallet.bill_payment WHERE bill_id = '{}' AND state IN ('{reached}')", text(&bill, "id"));
        let come = eventually("it came as far as this round goes", async || stage.count(&condition).await == 1);
        tokio::select! {
            () = async { ask.await; std::future::pending::<()>().await } => {}
            () = come => {}
        }
        wallet.kill().await;
        asked.push((citizen, bill, round % 2 == 0));
    }
    stage.biller.heal().await;
    let wallet = stage.start().await;
    for (citizen, bill, paid_elsewhere) in &asked {
        // The client never heard and asks again with the same key: the answer is that of the one payment there is.
        let body = json!({"amount": bill["amount"]});
        let id = text(&wallet.post_with_key(citizen, &pay_path(bill), &body, "pay").await.expect(202), "id");
        wallet.bill_reaches(citizen, &id, if *paid_elsewhere { "failed" } else { "paid" }).await;
        let left = if *paid_elsewhere { MONEY } else { MONEY - COST };
        assert_eq!(wallet.funds(citizen).await, (left, left));
        let said = if *paid_elsewhere { "failed" } else { "succeeded" };
        assert_eq!(stage.biller.decided().await.get(&id), Some(&(said.to_owned(), COST)));
    }
    assert_eq!(stage.count("wallet.bill_payment").await, ROUNDS as i64, "one payment each");
    stage.audit().await;
}

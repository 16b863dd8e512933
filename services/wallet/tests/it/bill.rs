//! Bills over HTTP: linked, listed, paid, proved; who sees what, and what is refused.

use chrono::TimeDelta;
use ledger::receipt::{Proven, Receipt};
use platform::clock::Clock;
use prost::Message as _;
use proto::wallet::v1::BillPaymentFailed;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::biller::{BILLER, COST, amount, other_amount, pay_path};
use crate::stage::{Answer, Stage, dong, eventually, text};

fn verdict(answer: &Answer) -> (u16, String) {
    (answer.status.as_u16(), answer.code())
}

fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bill_is_linked_listed_paid_with_one_touch_and_proved() {
    let stage = Stage::new().await;
    let wallet = stage.start().await;
    let citizen = wallet.funded(&stage, 1_000_000).await;
    let billers = wallet.get(&citizen, "/wallet/v1/billers").await.expect(200);
    assert_eq!(
        billers["items"],
        json!([{
            "code": BILLER, "kind": "electricity", "name": "Công ty Điện lực Huế",
            "customer_code": {"prefix": "PC", "digits": 11},
        }])
    );
    let bill = wallet.bill(&stage, &citizen).await;
    assert_eq!(
        (&bill["state"], &bill["due_on"], &bill["period"]),
        (&json!("open"), &json!("2025-11-11"), &json!("2025-11"))
    );
    assert_eq!((amount(&bill["amount"]), &bill["payment"]), (COST, &Value::Null));
    assert_eq!(bill["details"]["before_vat"], dong(589_600));
    assert_eq!((&bill["details"]["vat_percent"], &bill["details"]["usage"]), (&json!("8"), &json!(250)));

    let id = wallet.pay_bill(&citizen, &bill).await;
    wallet.bill_reaches(&citizen, &id, "paid").await;
    let payment = wallet.bill_payment(&citizen, &id).await;
    assert!(text(&payment, "biller_reference").starts_with("BR"));
    assert_eq!((amount(&payment["amount"]), &payment["bill_id"]), (COST, &bill["id"]));
    assert_eq!(wallet.funds(&citizen).await, (1_000_000 - COST, 1_000_000 - COST));
    assert_eq!(stage.biller.decided().await.get(&id), Some(&("succeeded".to_owned(), COST)));
    let listed = wallet.bills(&citizen).await.remove(0);
    assert_eq!((&listed["state"], &listed["payment"]), (&json!("paid"), &json!({"id": id, "state": "paid"})));
    let open = wallet.get(&citizen, "/wallet/v1/bills?state=open").await.expect(200);
    assert_eq!(open["items"], json!([]));

    let transaction = text(&payment, "transaction_id");
    let line = wallet.get(&citizen, &format!("/wallet/v1/transactions/{transaction}")).await.expect(200);
    assert_eq!((&line["kind"], &line["counterparty"]), (&json!("bill"), &json!("Công ty Điện lực Huế")));
    let receipt = wallet.get(&citizen, &format!("/wallet/v1/transactions/{transaction}/receipt")).await;
    receipt.expect(200);
    let receipt = Receipt::from_json(&receipt.bytes).expect("in its one form");
    assert_eq!((receipt.prove(None), receipt.transfer.amount.minor()), (Ok(Proven::Block), COST));

    // It counts for the class of essential payments.
    let limits = wallet.get(&citizen, "/wallet/v1/wallet").await.expect(200)["limits"].clone();
    let used = |class: &str| {
        let limits = limits.as_array().expect("a list");
        let limit = limits.iter().find(|limit| limit["class"] == class && limit["period"] == "month");
        limit.map(|limit| amount(&limit["used"]))
    };
    assert_eq!((used("essential"), used("general")), (Some(COST), Some(0)));
    stage.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_is_one_payment_and_a_bill_is_paid_once_whoever_asks() {
    let stage = Stage::new().await;
    let (wallet, other) = (stage.start().await, stage.replica("two").await);
    let citizen = wallet.funded(&stage, 2_000_000).await;
    let bill = wallet.bill(&stage, &citizen).await;
    let relative = wallet.funded(&stage, 2_000_000).await;
    let theirs = wallet.linked(&relative, bill["customer_code"].as_str().expect("a code")).await.remove(0);
    assert_eq!(theirs["id"], bill["id"], "a bill is the customer's, not the citizen's");
    let (path, body) = (pay_path(&bill), json!({"amount": bill["amount"]}));
    stage.biller.fault(json!({"timeout": true})).await;
    let asks = (0..8).map(|turn| {
        let (replica, key) = (if turn % 2 == 0 { &wallet } else { &other }, if turn < 4 { "k" } else { "another" });
        replica.post_with_key(&citizen, &path, &body, key)
    });
    let answers = futures::future::join_all(asks).await;
    let accepted: Vec<Value> = answers.iter().filter(|answer| answer.status == 202).map(Answer::json).collect();
    assert_eq!(accepted.len(), 4, "the equal keys of one of both");
    assert!(accepted.iter().all(|answer| *answer == accepted[0]));
    for answer in answers.iter().filter(|answer| answer.status != 202) {
        assert_eq!(verdict(answer), refused(409, "bill-being-paid"));
    }
    assert_eq!(verdict(&wallet.post(&relative, &path, &body).await), refused(409, "bill-being-paid"));
    assert_eq!(wallet.funds(&citizen).await, (2_000_000, 2_000_000 - COST), "set aside once");
    let seen = wallet.bills(&relative).await.remove(0);
    assert_eq!((&seen["state"], &seen["payment"]), (&json!("being-paid"), &Value::Null), "not whose payment it is");
    stage.biller.heal().await;
    let id = text(&accepted[0], "id");
    wallet.bill_reaches(&citizen, &id, "paid").await;
    assert_eq!(wallet.get(&relative, &format!("/wallet/v1/bill-payments/{id}")).await.status, 404);
    assert_eq!(verdict(&wallet.post(&relative, &path, &body).await), refused(409, "bill-paid"));
    let key = if answers[0].status == 202 { "k" } else { "another" };
    assert_eq!(wallet.post_with_key(&citizen, &path, &body, key).await.expect(202), accepted[0]);
    let reused = wallet.post_with_key(&citizen, &path, &json!({"amount": dong(1)}), key).await;
    assert_eq!(verdict(&reused), refused(422, "idempotency-key-reused"));
    assert_eq!(stage.biller.decided().await.len(), 1);
    stage.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_paid_is_refused_and_leaves_nothing_set_aside() {
    let stage = Stage::new().await;
    let wallet = stage.start().await;
    let user = wallet.rich(&stage, 100_000).await;
    let citizen = stage.token(user);
    let bill = wallet.bill(&stage, &citizen).await;
    let (path, body) = (pay_path(&bill), json!({"amount": bill["amount"]}));
    let wrong = wallet.post(&citizen, &path, &json!({"amount": other_amount()})).await;
    assert_eq!((verdict(&wrong), &wrong.json()["expected"]), (refused(422, "bill-amount-changed"), &bill["amount"]));
    let usd = json!({"amount": {"amount": "1.00", "currency": "USD"}});
    assert_eq!(verdict(&wallet.post(&citizen, &path, &usd).await), refused(422, "currency-unsupported"));
    for amount in ["0", "-1", "1.5", "x"] {
        let bad = json!({"amount": {"amount": amount, "currency": "VND"}});
        assert_eq!(wallet.post(&citizen, &path, &bad).await.status, 422, "{amount}");
    }
    assert_eq!(verdict(&wallet.post(&citizen, &path, &json!({})).await), refused(422, "invalid-body"));
    let nowhere = format!("/wallet/v1/bills/{}/payments", Uuid::now_v7());
    assert_eq!(verdict(&wallet.post(&citizen, &nowhere, &body).await), refused(404, "not-found"));
    let stranger = wallet.funded(&stage, 1_000_000).await;
    assert_eq!(verdict(&wallet.post(&stranger, &path, &body).await), refused(404, "not-found"), "not linked");
    assert_eq!(stage.count("wallet.bill_payment").await, 0, "nothing of it was saved");

    // Too little money: the same key gets the same answer, also when there is money now.
    let poor = wallet.post_with_key(&citizen, &path, &body, "k").await;
    assert_eq!(verdict(&poor), refused(422, "insufficient-funds"));
    let id = wallet.top_up(&citizen, sandbox::RICH_ACCOUNTS[0], 900_000).await;
    wallet.reaches(&citizen, &id, "completed").await;
    assert_eq!(verdict(&wallet.post_with_key(&citizen, &path, &body, "k").await), refused(422, "insufficient-funds"));
    let failed = stage.count("wallet.bill_payment WHERE state = 'failed' AND reason = 'insufficient-funds'").await;
    assert_eq!(failed, 1);
    assert_eq!(stage.biller.decided().await.len(), 0, "the biller was not asked");
    let (kind, data) = stage.events().await.pop().expect("an event");
    let told = BillPaymentFailed::decode(&*data).expect("a message");
    assert_eq!((kind.as_str(), told.reason.as_str()), ("trangtien.wallet.v1.BillPaymentFailed", "insufficient-funds"));
    assert_eq!(wallet.counted("payments_total", "insufficient-funds"), 1);

    // It was paid elsewhere: the money comes back, and the bill leaves the list of those to be paid.
    stage.biller.pay_elsewhere(&stage.clock, &bill).await;
    let id = wallet.pay_bill(&citizen, &bill).await;
    wallet.bill_reaches(&citizen, &id, "failed").await;
    assert_eq!(wallet.bill_payment(&citizen, &id).await["reason"], "bill-paid");
    assert_eq!(wallet.funds(&citizen).await, (1_000_000, 1_000_000));
    stage.clock.advance(TimeDelta::hours(6));
    let citizen = stage.token(user);
    eventually("the biller asks for it no more", async || wallet.bills(&citizen).await[0]["state"] == "closed").await;
    assert_eq!(verdict(&wallet.post(&citizen, &path, &body).await), refused(409, "bill-closed"));
    stage.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_real_customers_are_linked_once_and_so_many() {
    let stage = Stage::new().await;
    let wallet = stage.start().await;
    let user = stage.citizen(0).await;
    let citizen = stage.token(user);
    let path = "/wallet/v1/bill-subscriptions";
    let ask = async |biller: &str, customer: &str, key: &str| {
        wallet.link(&citizen, &json!({"biller_code": biller, "customer_code": customer}), key).await
    };
    for (biller, customer, code) in [
        ("HUEWACO", "HW12345678", "biller-unknown"),
        ("GAS", "PC12345678901", "biller-unknown"),
        (BILLER, "PC1", "customer-code-invalid"),
        (BILLER, "PC1234567890/", "customer-code-invalid"),
        (BILLER, "PC../bills/..", "customer-code-invalid"),
        (BILLER, "PC00000000000", "customer-unknown"),
    ] {
        assert_eq!(
            verdict(&ask(biller, customer, &Uuid::now_v7().to_string()).await),
            refused(422, code),
            "{customer}"
        );
    }
    let long = json!({"biller_code": BILLER, "customer_code": "PC00000000000", "label": "x".repeat(61)});
    assert_eq!(verdict(&wallet.post(&citizen, path, &long).await), refused(422, "invalid-body"));

    let customer = stage.biller.customer(&[("2025-10-01", 10), ("2025-11-01", 20)]).await;
    stage.biller.fault(json!({"timeout": true})).await;
    let body = json!({"biller_code": BILLER, "customer_code": customer});
    let away = wallet.post_with_key(&citizen, path, &body, "k").await;
    assert_eq!((verdict(&away), away.headers.contains_key("retry-after")), (refused(503, "biller-unavailable"), true));
    stage.biller.heal().await;
    let linked = ask(BILLER, &customer, "k").await.expect(201);
    stage.biller.fault(json!({"timeout": true})).await;
    assert_eq!(ask(BILLER, &customer, "k").await.expect(201), linked, "no biller is needed to repeat an answer");
    assert_eq!(verdict(&ask(BILLER, &customer, "other").await), refused(409, "already-linked"));
    stage.biller.heal().await;
    let periods: Vec<_> = wallet.bills(&citizen).await.iter().map(|bill| text(bill, "period")).collect();
    assert_eq!(periods, ["2025-11", "2025-10"]);
    let page = wallet.get(&citizen, "/wallet/v1/bills?limit=1").await.expect(200);
    let cursor = text(&page, "next_cursor");
    let rest = wallet.get(&citizen, &format!("/wallet/v1/bills?cursor={cursor}")).await.expect(200);
    assert_eq!(
        (text(&page["items"][0], "period"), text(&rest["items"][0], "period")),
        ("2025-11".into(), "2025-10".into())
    );
    for bad in ["state=none", "limit=0", "limit=201", "cursor=x", "other=1"] {
        assert_eq!(wallet.get(&citizen, &format!("/wallet/v1/bills?{bad}")).await.status, 400, "{bad}");
    }

    let stranger = stage.token(stage.citizen(0).await);
    let one = format!("{path}/{}", text(&linked, "id"));
    assert_eq!(wallet.delete(&stranger, &one).await.status, 404);
    assert_eq!(wallet.bills(&stranger).await.len(), 0);
    assert_eq!(wallet.delete(&citizen, &one).await.status, 204);
    assert_eq!((wallet.bills(&citizen).await.len(), wallet.delete(&citizen, &one).await.status.as_u16()), (0, 404));

    for _ in 0..20 {
        let customer = stage.biller.customer(&[]).await;
        ask(BILLER, &customer, &customer).await.expect(201);
    }
    let customer = stage.biller.customer(&[]).await;
    let more = ask(BILLER, &customer, "more").await;
    assert_eq!((verdict(&more), &more.json()["maximum"]), (refused(422, "too-many"), &json!(20)));
    assert_eq!(wallet.get(&citizen, path).await.expect(200)["items"].as_array().map(Vec::len), Some(20));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_tries_customer_codes_in_a_row() {
    let stage = Stage::new().await;
    let wallet = stage.start().await;
    let (citizen, neighbour) = (stage.token(stage.citizen(0).await), stage.token(stage.citizen(0).await));
    let ask = async |token: &str, number: u32| {
        let body = json!({"biller_code": BILLER, "customer_code": format!("PC{number:011}")});
        wallet.link(token, &body, &Uuid::now_v7().to_string()).await
    };
    for number in 0..60 {
        assert_eq!(verdict(&ask(&citizen, number).await), refused(422, "customer-unknown"), "{number}");
    }
    let more = ask(&citizen, 60).await;
    assert_eq!((verdict(&more), more.headers.contains_key("retry-after")), (refused(429, "too-many-requests"), true));
    assert_eq!(verdict(&ask(&neighbour, 60).await), refused(422, "customer-unknown"));
}

#[tokio::test(flavor = "multi_thread")]
async fn new_bills_arrive_by_themselves_until_the_link_is_taken_away() {
    let stage = Stage::new().await;
    let wallet = stage.start().await;
    let user = stage.citizen(0).await;
    let customer = stage.biller.customer(&[("2025-10-01", 10)]).await;
    wallet.linked(&stage.token(user), &customer).await;
    stage.biller.read(&customer, &[("2025-11-01", 20)]).await;
    // The biller is away when its turn comes, and asked again.
    stage.biller.fault(json!({"error_rate": 1.0, "times": 2})).await;
    let later = |clock: &Clock| clock.advance(TimeDelta::hours(6));
    later(&stage.clock);
    eventually("the new bill is there", async || {
        stage.clock.advance(TimeDelta::seconds(1));
        stage.count("wallet.bill WHERE period = '2025-11'").await == 1
    })
    .await;
    let token = stage.token(user);
    let list = wallet.get(&token, "/wallet/v1/bill-subscriptions").await.expect(200);
    let one = format!("/wallet/v1/bill-subscriptions/{}", text(&list["items"][0], "id"));
    assert_eq!(wallet.delete(&token, &one).await.status, 204);
    later(&stage.clock);
    eventually("nobody asks any more", async || {
        stage.count("wallet.job WHERE kind = 'bill-refresh' AND state = 'done'").await == 1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_so_many_bills_of_a_citizen_wait_at_a_time() {
    let stage = Stage::new().await;
    let wallet = stage.start().await;
    let citizen = wallet.funded(&stage, 1_000_000).await;
    let months: Vec<String> = (0..21).map(|at| format!("{}-{:02}-15", 2025 + at / 12, at % 12 + 1)).collect();
    let readings: Vec<(&str, u32)> = months.iter().map(|day| (day.as_str(), 1)).collect();
    let customer = stage.biller.customer(&readings).await;
    let bills = wallet.linked(&citizen, &customer).await;
    assert_eq!(bills.len(), 21);
    stage.biller.fault(json!({"timeout": true})).await;
    let asks = bills
        .iter()
        .map(|bill| async { wallet.post(&citizen, &pay_path(bill), &json!({"amount": bill["amount"]})).await });
    let answers = futures::future::join_all(asks).await;
    let (taken, others): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 202);
    assert_eq!((taken.len(), others.len()), (20, 1), "however many ask at once");
    let full = others[0];
    assert_eq!((verdict(full), &full.json()["maximum"]), (refused(422, "too-many-bill-payments"), &json!(20)));
    stage.biller.heal().await;
    for answer in taken {
        wallet.bill_reaches(&citizen, &text(&answer.json(), "id"), "paid").await;
    }
    stage.audit().await;
}

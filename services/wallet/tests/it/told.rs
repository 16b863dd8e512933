//! What citizens are told before and while they pay: a new bill, a bill that falls due, money of which nobody knows yet. Each once.

use chrono::{DateTime, Days, NaiveDate, TimeDelta, TimeZone as _, Utc};
use prost::{Message, Name};
use proto::wallet::v1::{BillDue, BillFound, BillPaymentUnclear, TopUpUnclear};
use serde_json::Value;
use uuid::Uuid;

use crate::agency;
use crate::stage::{Replica, Stage, eventually, text};

/// Events of one kind, in order.
async fn told<M: Message + Name + Default>(stage: &Stage) -> Vec<M> {
    let all = stage.events().await.into_iter().filter(|(kind, _)| *kind == M::full_name());
    all.map(|(_, data)| M::decode(&*data).expect("its form")).collect()
}

/// The day on which a bill falls due.
fn due_on(bill: &Value) -> NaiveDate {
    text(bill, "due_on").parse().expect("a day")
}

/// Nine in the morning of the third day before a bill falls due.
fn reminded_at(bill: &Value) -> DateTime<Utc> {
    let morning = (due_on(bill) - Days::new(3)).and_hms_opt(9, 0, 0).expect("a time");
    chrono_tz::Asia::Ho_Chi_Minh.from_local_datetime(&morning).single().expect("one such time").to_utc()
}

/// Moves the clock to a time.
fn at(stage: &Stage, time: DateTime<Utc>) {
    stage.clock.advance(time - stage.clock.now());
}

/// A customer with a bill for a reading of some day from now.
async fn customer(stage: &Stage, in_days: u64) -> String {
    let day = (stage.clock.now().date_naive() + Days::new(in_days)).to_string();
    stage.biller.customer(&[(day.as_str(), 250)]).await
}

async fn ended(stage: &Stage, jobs: i64) {
    let done = "wallet.job WHERE kind = 'bill-reminder' AND state = 'done'";
    eventually("reminders have ended", async || stage.count(done).await == jobs).await;
}

async fn linked(stage: &Stage, wallet: &Replica, customer: &str) -> (Uuid, Value) {
    let user = stage.citizen(0).await;
    (user, wallet.linked(&stage.token(user), customer).await.remove(0))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_bill_is_told_to_all_who_linked_its_customer_but_whoever_sees_it_come() {
    let stage = Stage::new().await;
    let wallet = stage.start().await;
    let customer = stage.biller.customer(&[("2025-10-01", 10)]).await;
    let (first, old) = linked(&stage, &wallet, &customer).await;
    assert!(told::<BillFound>(&stage).await.is_empty(), "the citizen sees it in the answer");
    stage.biller.read(&customer, &[("2025-11-01", 20)]).await;
    // The second citizen's link finds the new bill before the regular fetch does.
    let (second, _) = linked(&stage, &wallet, &customer).await;
    let found = told::<BillFound>(&stage).await;
    assert_eq!(found.len(), 1);
    assert_eq!((&found[0].user_id, found[0].period.as_str()), (&first.to_string(), "2025-11"));
    assert_eq!((found[0].kind.as_str(), found[0].biller_code.as_str()), ("electricity", "PCHUE"));
    assert_ne!(found[0].bill_id, text(&old, "id"));

    stage.biller.read(&customer, &[("2025-12-01", 30)]).await;
    stage.clock.advance(TimeDelta::hours(6));
    eventually("the new bill was told", async || told::<BillFound>(&stage).await.len() >= 3).await;
    // Both links are fetched again and again: nothing is new any more.
    stage.clock.advance(TimeDelta::hours(6));
    let fetched = "wallet.job WHERE kind = 'bill-refresh' AND state = 'due' AND attempts >= 2";
    eventually("both were fetched again", async || stage.count(fetched).await == 2).await;
    let mut found: Vec<_> = told::<BillFound>(&stage).await.into_iter().skip(1).map(|found| found.user_id).collect();
    found.sort();
    let mut both = [first.to_string(), second.to_string()];
    both.sort();
    assert_eq!(found, both, "each citizen once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bill_is_spoken_of_once_before_it_falls_due_unless_it_is_paid() {
    let stage = Stage::new().await;
    let wallet = stage.start().await;
    let user = wallet.rich(&stage, 5_000_000).await;
    let token = stage.token(user);
    let (open, settled, moved) = (customer(&stage, 20).await, customer(&stage, 20).await, customer(&stage, 20).await);
    let bill = wallet.linked(&token, &open).await.remove(0);
    let paid = wallet.linked(&token, &settled).await.remove(0);
    let late = wallet.linked(&token, &moved).await.remove(0);
    let id = wallet.pay_bill(&token, &paid).await;
    wallet.bill_reaches(&token, &id, "paid").await;
    // The biller gives more time: the reminder of the old day says nothing.
    sqlx::query("UPDATE wallet.bill SET due_on = due_on + 30 WHERE id = $1")
        .bind(text(&late, "id").parse::<Uuid>().expect("an id"))
        .execute(&stage.admin())
        .await
        .expect("moved");
    stage.biller.fault(serde_json::json!({"timeout": true})).await;
    at(&stage, reminded_at(&bill) - TimeDelta::minutes(1));
    assert!(told::<BillDue>(&stage).await.is_empty(), "not yet");
    at(&stage, reminded_at(&bill));
    ended(&stage, 3).await;
    let due = told::<BillDue>(&stage).await;
    assert_eq!(due.len(), 1, "{due:?}");
    assert_eq!((&due[0].bill_id, &due[0].user_id), (&text(&bill, "id"), &user.to_string()));
    assert_eq!((due[0].due_on.parse().ok(), due[0].kind.as_str()), (Some(due_on(&bill)), "electricity"));
    assert_eq!(stage.count("wallet.bill WHERE reminded_at IS NOT NULL").await, 1);
    // However often the job runs.
    sqlx::query("UPDATE wallet.job SET state = 'due', finished_at = NULL WHERE kind = 'bill-reminder'")
        .execute(&stage.admin())
        .await
        .expect("due again");
    stage.clock.advance(TimeDelta::seconds(1));
    ended(&stage, 3).await;
    assert_eq!(told::<BillDue>(&stage).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fee_is_spoken_of_before_it_falls_due_to_its_addressee() {
    let scene = agency::Scene::new().await;
    let wallet = scene.start().await;
    scene.issue(&wallet, &scene.notice("H57-10")).await.expect(201);
    let bill = wallet.bills(&scene.citizen()).await.remove(0);
    at(&scene.stage, reminded_at(&bill));
    ended(&scene.stage, 1).await;
    let due = told::<BillDue>(&scene.stage).await;
    assert_eq!(due.len(), 1);
    assert_eq!((&due[0].user_id, due[0].kind.as_str()), (&scene.user.to_string(), "fee"));
    assert_eq!(due[0].period, "1.000005");
}

#[tokio::test(flavor = "multi_thread")]
async fn money_of_which_nobody_knows_yet_is_spoken_of_once() {
    let stage = Stage::new().await;
    let wallet = stage.start().await;
    let user = wallet.rich(&stage, 1_000_000).await;
    let token = stage.token(user);
    let bill = wallet.bill(&stage, &token).await;
    stage.biller.fault(serde_json::json!({"timeout": true})).await;
    stage.bank.fault(serde_json::json!({"timeout": true})).await;
    let payment = wallet.pay_bill(&token, &bill).await;
    let top_up = wallet.top_up(&token, sandbox::RICH_ACCOUNTS[0], 50_000).await;
    wallet.bill_reaches(&token, &payment, "unknown").await;
    wallet.reaches(&token, &top_up, "unknown").await;
    assert!(told::<BillPaymentUnclear>(&stage).await.is_empty(), "most partners answer soon");
    let both = async || {
        stage.clock.advance(TimeDelta::seconds(40));
        !told::<BillPaymentUnclear>(&stage).await.is_empty() && !told::<TopUpUnclear>(&stage).await.is_empty()
    };
    eventually("the citizen was told", both).await;
    let [unclear] = &told::<BillPaymentUnclear>(&stage).await[..] else { unreachable!("one message") };
    assert_eq!((&unclear.bill_payment_id, &unclear.user_id), (&payment, &user.to_string()));
    assert_eq!((&unclear.bill_id, unclear.kind.as_str()), (&text(&bill, "id"), "electricity"));
    let [unclear] = &told::<TopUpUnclear>(&stage).await[..] else { unreachable!("one message") };
    assert_eq!((&unclear.top_up_id, unclear.bank_code.as_str()), (&top_up, "VCB"));
    stage.biller.heal().await;
    stage.bank.heal().await;
    let ended = async || {
        stage.clock.advance(TimeDelta::seconds(10));
        let open = "wallet.bill_payment WHERE state NOT IN ('paid', 'failed')";
        stage.count(open).await + stage.count("wallet.top_up WHERE state NOT IN ('completed', 'failed')").await == 0
    };
    eventually("both have ended", ended).await;
    assert_eq!(wallet.bill_payment(&stage.token(user), &payment).await["state"], "paid");
    assert_eq!((told::<BillPaymentUnclear>(&stage).await.len(), told::<TopUpUnclear>(&stage).await.len()), (1, 1));
    stage.audit().await;
}

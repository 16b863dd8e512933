//! Limits of the city's rules, decided under the ledger's lock and shown with what is left of them.

use chrono::{DateTime, Datelike as _, TimeDelta, Utc};
use futures::future::join_all;
use prost::Message as _;
use proto::wallet::v1::PaymentRejected;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::stage::{Replica, Shop, Stage, dong, text};

const RICH: &str = sandbox::RICH_ACCOUNTS[0];

/// Moves the city to the first day of a month, some hours after midnight there.
fn to_the_first(stage: &Stage) {
    let now = stage.clock.now();
    let months = chrono::Months::new(1);
    let first = now.date_naive().with_day(1).and_then(|day| day.checked_add_months(months)).expect("a date");
    stage.clock.advance(first.and_hms_opt(1, 0, 0).expect("a time").and_utc() - now);
}

async fn filled(stage: &Stage, wallet: &Replica, user: Uuid, times: usize, amount: i64) {
    let token = stage.token(user);
    for _ in 0..times {
        let id = wallet.top_up(&token, RICH, amount).await;
        wallet.reaches(&token, &id, "completed").await;
    }
}

async fn pay(stage: &Stage, wallet: &Replica, shop: &Shop, user: Uuid, amount: i64) -> (u16, Value) {
    let body = json!({"till_id": shop.till, "amount": dong(amount)});
    let answer = wallet.post(&stage.token(user), "/wallet/v1/payments", &body).await;
    (answer.status.as_u16(), answer.json())
}

/// The line of a class and period.
async fn shown(stage: &Stage, wallet: &Replica, user: Uuid, class: &str, period: &str) -> Value {
    let view = wallet.get(&stage.token(user), "/wallet/v1/wallet").await.expect(200);
    let lines = view["limits"].as_array().expect("a list").clone();
    lines.into_iter().find(|line| line["class"] == class && line["period"] == period).unwrap_or_default()
}

/// Two payments at once through two processes pass the month's limit together: exactly one is refused.
#[tokio::test(flavor = "multi_thread")]
async fn the_month_is_shared_by_all_processes() {
    let stage = Stage::new().await;
    let (one, two) = (stage.start().await, stage.replica("two").await);
    let shop = one.shop(&stage).await;
    to_the_first(&stage);
    let user = stage.citizen(0).await;
    filled(&stage, &one, user, 4, 5_000_000).await;
    for _ in 0..3 {
        assert_eq!(pay(&stage, &one, &shop, user, 5_000_000).await.0, 201);
        stage.clock.advance(TimeDelta::days(1));
    }
    filled(&stage, &one, user, 2, 5_000_000).await;
    assert_eq!(pay(&stage, &one, &shop, user, 3_000_000).await.0, 201);
    stage.clock.advance(TimeDelta::days(1));
    let before = shown(&stage, &two, user, "general", "month").await;
    assert_eq!(
        (&before["maximum"], &before["used"], &before["left"]),
        (&dong(20_000_000), &dong(18_000_000), &dong(2_000_000))
    );
    let answers = tokio::join!(pay(&stage, &one, &shop, user, 1_500_000), pay(&stage, &two, &shop, user, 1_500_000));
    let mut answers = [answers.0, answers.1];
    answers.sort_by_key(|(status, _)| *status);
    let [(paid, _), (status, refused)] = answers;
    assert_eq!((paid, status), (201, 422), "one of two is refused: {refused}");
    assert_eq!((text(&refused, "code"), &refused["maximum"]), ("limit-month".to_owned(), &dong(20_000_000)));
    let resets_at: DateTime<Utc> = text(&refused, "resets_at").parse().expect("a time");
    // Midnight in the city, of the first day of the next month.
    assert_eq!(resets_at.to_rfc3339().get(11..19), Some("17:00:00"));
    assert_eq!((resets_at + TimeDelta::hours(7)).day(), 1);
    let after = shown(&stage, &one, user, "general", "month").await;
    assert_eq!((&after["used"], &after["left"]), (&dong(19_500_000), &dong(500_000)));
    assert_eq!(after["resets_at"], refused["resets_at"]);
    let told = stage.events().await;
    let last = PaymentRejected::decode(told.last().expect("an event").1.as_slice()).expect("its kind");
    assert_eq!(last.code, "limit-month");
    assert_eq!(one.counted("payments_total", "limit-month") + two.counted("payments_total", "limit-month"), 1);
    // A new month begins from zero, and the receiving side has no limit.
    stage.clock.advance(TimeDelta::days(28));
    assert_eq!(shown(&stage, &one, user, "general", "month").await["used"], dong(0));
    assert_eq!(pay(&stage, &two, &shop, user, 500_000).await.0, 201);
    stage.audit().await;
}

/// The ladder's amount of a day counts all payments of the day: what passes it needs a proof, one by one harmless as they are.
#[tokio::test(flavor = "multi_thread")]
async fn a_day_of_small_payments_asks_for_a_proof() {
    let stage = Stage::new().await;
    let (one, two) = (stage.start().await, stage.replica("two").await);
    let shop = one.shop(&stage).await;
    to_the_first(&stage);
    let user = stage.citizen(1).await;
    filled(&stage, &one, user, 1, 10_000_000).await;
    let asks = (0..8).map(|turn| pay(&stage, if turn % 2 == 0 { &one } else { &two }, &shop, user, 900_000));
    let answers = join_all(asks).await;
    let paid = answers.iter().filter(|(status, _)| *status == 201).count();
    let refused: Vec<_> = answers.iter().filter(|(status, _)| *status != 201).collect();
    assert_eq!((paid, refused.len()), (5, 3));
    for (status, problem) in refused {
        assert_eq!((*status, text(problem, "code")), (403, "step-up-required".to_owned()));
        assert_eq!(problem["threshold"], dong(5_000_000));
    }
    stage.clock.advance(TimeDelta::days(1));
    assert_eq!(pay(&stage, &two, &shop, user, 900_000).await.0, 201);
    stage.audit().await;
}

/// A session on a device bound a short while ago, or on one that the wallet has not heard of, may move less in a day.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_device_moves_less_for_a_day() {
    let stage = Stage::new().await;
    let wallet = stage.start().await;
    let shop = wallet.shop(&stage).await;
    to_the_first(&stage);
    let user = stage.citizen(1).await;
    filled(&stage, &wallet, user, 1, 10_000_000).await;
    assert_eq!(shown(&stage, &wallet, user, "new-device", "day").await, Value::Null);
    assert_eq!(pay(&stage, &wallet, &shop, user, 3_000_000).await.0, 201);
    stage.bind_device(user, stage.clock.now() - TimeDelta::hours(1)).await;
    let line = shown(&stage, &wallet, user, "new-device", "day").await;
    assert_eq!((&line["maximum"], &line["left"]), (&dong(5_000_000), &dong(2_000_000)));
    assert!(line["ends_at"].is_string() && line["resets_at"].is_string());
    let (status, problem) = pay(&stage, &wallet, &shop, user, 2_000_001).await;
    assert_eq!((status, text(&problem, "code")), (422, "limit-day".to_owned()));
    let stranger = Uuid::now_v7();
    let unknown = shown(&stage, &wallet, stranger, "new-device", "day").await;
    assert_eq!((&unknown["left"], &unknown["ends_at"]), (&dong(5_000_000), &Value::Null));
    // An hour before its time is over it is new, an hour later it is not.
    stage.clock.advance(TimeDelta::hours(22));
    assert_ne!(shown(&stage, &wallet, user, "new-device", "day").await, Value::Null);
    stage.clock.advance(TimeDelta::hours(1));
    assert_eq!(shown(&stage, &wallet, user, "new-device", "day").await, Value::Null);
    stage.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_shown_by_class_and_tier() {
    let stage = Stage::new().await;
    let wallet = stage.start().await;
    to_the_first(&stage);
    let known = stage.citizen(2).await;
    let essential = shown(&stage, &wallet, known, "essential", "month").await;
    assert_eq!(
        (&essential["maximum"], &essential["used"], &essential["left"]),
        (&dong(300_000_000), &dong(0), &dong(300_000_000))
    );
    let one = shown(&stage, &wallet, known, "general", "transaction").await;
    assert_eq!(
        (&one["maximum"], &one["left"], &one["resets_at"]),
        (&dong(100_000_000), &dong(100_000_000), &Value::Null)
    );
    let least = stage.citizen(0).await;
    assert_eq!(shown(&stage, &wallet, least, "essential", "month").await, Value::Null);
    assert_eq!(shown(&stage, &wallet, least, "general", "month").await["maximum"], dong(20_000_000));
}

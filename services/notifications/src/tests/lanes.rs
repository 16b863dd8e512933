//! Many messages at once: lanes keep out of each other's way, and nothing is made twice.

use std::time::{Duration, Instant};

use proto::identity::v1::OtpRequested;
use serde_json::json;
use uuid::Uuid;

use super::{Town, until};
use crate::event::tests::{event, payment_of};
use crate::lane::{Channel, Lane};
use crate::message::Draft;
use crate::template;

fn news(recipient: Uuid) -> Draft {
    Draft {
        event_id: platform::id::new(),
        recipient,
        lane: Lane::News,
        channel: Channel::Push,
        template: template::PAYMENT_RECEIVED,
        parameters: json!({ "amount": { "amount": "1", "currency": "VND" }, "merchant": "Huế" }),
    }
}

#[tokio::test]
async fn a_flood_of_news_delays_no_code() {
    let town = Town::start().await;
    let user = platform::id::new();
    town.device(user, "phone-1").await;
    town.fault("push", json!({ "delay_ms": 200 })).await;
    let flood: Vec<Draft> = (0..5_000).map(|_| news(user)).collect();
    town.enqueue(&flood).await;
    let role = town.role().await;
    until(async || (!town.received("/push?token=phone-1").await.is_empty()).then_some(())).await;
    let mut slowest = Duration::ZERO;
    for _ in 0..10 {
        let start = Instant::now();
        let challenge = town.identity.challenge("+84901234567", "738261");
        town.happen(&[event(challenge, &OtpRequested { challenge_id: challenge.to_string() })]).await;
        assert_eq!(town.settled(challenge, "sms").await.0, "delivered");
        slowest = slowest.max(start.elapsed());
    }
    let waiting = town.count("SELECT count(*) FROM notifications.message WHERE state = 'waiting'").await;
    assert!(waiting > 3_000, "the flood is still there: {waiting}");
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    println!("slowest code behind a flood: {slowest:?}; news still waiting: {waiting}");
    until(async || role.metric("queue_messages lane=\"news\"").filter(|count| count != "0")).await;
    role.stop().await;
}

#[tokio::test]
async fn an_event_makes_each_message_once_however_often_it_comes() {
    let town = Town::start().await;
    let (payer, owner) = (platform::id::new(), platform::id::new());
    town.device(payer, "phone-1").await;
    let payment = event(payer, &payment_of(payer, owner));
    let again = (0..8).map(|_| town.happen(std::slice::from_ref(&payment)));
    futures::future::join_all(again).await;
    let rows = town.count("SELECT count(*) FROM notifications.message").await;
    assert_eq!(rows, 3, "two in the app, one by push; the owner has no device");
    assert_eq!(town.count("SELECT count(*) FROM notifications.inbox").await, 2);
    assert_eq!(town.count("SELECT count(*) FROM notifications.job").await, 1);
    let told = town.count("SELECT count(*) FROM notifications.outbox").await;
    assert_eq!(told, 2, "the two in the app together, and that one had nowhere to go");
}

#[tokio::test]
async fn sequences_have_no_gap_and_no_deadlock_when_many_write_at_once() {
    let town = Town::start().await;
    let users: Vec<Uuid> = (0..5).map(|_| platform::id::new()).collect();
    let batches = (0..24).map(|batch| {
        let mut order = users.clone();
        order.rotate_left(batch % users.len());
        let pairs = order.iter().zip(order.iter().rev());
        let events: Vec<_> = pairs.map(|(payer, owner)| event(*payer, &payment_of(*payer, *owner))).collect();
        let town = &town;
        async move { town.happen(&events).await }
    });
    futures::future::join_all(batches).await;
    for user in &users {
        let (count, least, most): (i64, i64, i64) =
            sqlx::query_as("SELECT count(*), min(sequence), max(sequence) FROM notifications.inbox WHERE user_id = $1")
                .bind(user)
                .fetch_one(&town.pool)
                .await
                .unwrap();
        assert_eq!((count, least, most), (48, 1, 48));
    }
    assert_eq!(town.count("SELECT max(sequence) FROM notifications.inbox_head").await, 48);
}

#[tokio::test]
async fn old_messages_are_removed_and_waiting_ones_stay() {
    let town = Town::start().await;
    let user = platform::id::new();
    town.device(user, "phone-1").await;
    town.happen(&[event(user, &payment_of(user, platform::id::new()))]).await;
    let later = town.clock.now() + chrono::TimeDelta::days(1);
    crate::retention::prune(&town.pool, later, later).await.unwrap();
    let left: Vec<String> =
        sqlx::query_scalar("SELECT state FROM notifications.message").fetch_all(&town.pool).await.unwrap();
    assert_eq!(left, ["waiting"]);
    assert_eq!(town.count("SELECT count(*) FROM notifications.inbox").await, 0);
    assert_eq!(town.count("SELECT max(sequence) FROM notifications.inbox_head").await, 1, "sequences go on");
}

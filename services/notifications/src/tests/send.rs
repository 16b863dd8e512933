//! One message on its way: codes, retries, dead letters, devices.

use chrono::TimeDelta;
use platform::events::Event;
use proto::identity::v1::OtpRequested;
use serde_json::json;
use uuid::Uuid;

use super::{Town, until};
use crate::SCHEMA;
use crate::event::tests::{event, payment_of};

const PHONE: &str = "+84901234567";
const SMS_PATH: &str = "/sms?to=%2B84901234567";
const CODE: &str = "738261";

fn otp(challenge: Uuid) -> Event {
    event(challenge, &OtpRequested { challenge_id: challenge.to_string() })
}

fn ended(state: &str, reason: Option<&str>) -> (String, Option<String>) {
    (state.to_owned(), reason.map(str::to_owned))
}

#[tokio::test]
async fn a_code_arrives_once_and_is_stored_nowhere() {
    let town = Town::start().await;
    let role = town.role().await;
    let challenge = town.identity.challenge(PHONE, CODE);
    let requested = otp(challenge);
    town.happen(std::slice::from_ref(&requested)).await;
    town.happen(&[requested]).await;
    assert_eq!(town.settled(challenge, "sms").await, ended("delivered", None));
    let received = town.received(SMS_PATH).await;
    assert_eq!(received.len(), 1);
    assert_eq!(
        received[0]["text"],
        format!("Trang Tien: {CODE} la ma dang nhap cua ban, co hieu luc 5 phut. Khong dua ma nay cho bat ky ai.")
    );
    assert_eq!(town.identity.takes(), 1);
    for table in ["message", "attempt", "job", "outbox"] {
        let rows: Vec<String> =
            sqlx::query_scalar(sqlx::AssertSqlSafe(format!("SELECT t::text FROM notifications.{table} AS t")))
                .fetch_all(&town.pool)
                .await
                .unwrap();
        assert!(!rows.is_empty(), "{table}");
        assert!(!rows.iter().any(|row| row.contains(CODE) || row.contains(PHONE)), "{table}: {rows:?}");
    }
    assert_eq!(
        role.metric("messages_total channel=\"sms\" lane=\"security\" outcome=\"delivered\"").as_deref(),
        Some("1")
    );
    assert_eq!(role.metric("sms_parts_total encoding=\"gsm7\"").as_deref(), Some("1"));
    assert_eq!(town.count("SELECT count(*) FROM notifications.outbox WHERE kind LIKE '%MessageSettled'").await, 1);
}

#[tokio::test]
async fn a_gateway_that_fails_after_taking_a_message_gets_it_again_under_the_same_reference() {
    let town = Town::start().await;
    let role = town.role().await;
    town.fault("sms", json!({ "error_rate": 1.0, "error_after_effect": true, "times": 2 })).await;
    let challenge = town.identity.challenge(PHONE, CODE);
    town.happen(&[otp(challenge)]).await;
    assert_eq!(town.settled(challenge, "sms").await, ended("delivered", None));
    assert_eq!(town.identity.takes(), 3, "each attempt takes the code again");
    assert_eq!(town.received(SMS_PATH).await.len(), 1, "the gateway saw the repetition");
    let outcomes: Vec<String> = sqlx::query_scalar("SELECT outcome FROM notifications.attempt ORDER BY attempted_at")
        .fetch_all(&town.pool)
        .await
        .unwrap();
    assert_eq!(outcomes, ["unavailable", "unavailable", "delivered"]);
    assert_eq!(role.metric("send_duration_seconds_count answer=\"unavailable\"").as_deref(), Some("2"));
}

#[tokio::test]
async fn a_worker_that_dies_after_taking_the_code_is_replaced() {
    let town = Town::start().await;
    town.fault("sms", json!({ "timeout": true })).await;
    let challenge = town.identity.challenge(PHONE, CODE);
    {
        let role = town.role().await;
        town.happen(&[otp(challenge)]).await;
        until(async || (town.identity.takes() == 1).then_some(())).await;
        // Dropped in the middle of its attempt, as by SIGKILL: tasks are aborted, the lease stays.
        let tasks = role.tasks.as_ref().map(|_| ());
        assert!(tasks.is_some());
        kill(role).await;
    }
    town.no_fault("sms").await;
    sqlx::query(
        "UPDATE notifications.job SET lease_until = clock_timestamp() - interval '1 s' WHERE state = 'running'",
    )
    .execute(&town.database.admin_pool())
    .await
    .unwrap();
    let _second = town.role().await;
    assert_eq!(town.settled(challenge, "sms").await, ended("delivered", None));
    assert!(town.identity.takes() >= 2);
    assert_eq!(town.received(SMS_PATH).await.len(), 1);
}

/// Ends a role's tasks without letting them finish anything.
async fn kill(mut role: super::Role) {
    drop(role.tasks.take());
    role.context.pool.close().await;
}

#[tokio::test]
async fn identity_may_be_away_for_a_while() {
    let town = Town::start().await;
    let _role = town.role().await;
    town.identity.outage(true);
    let challenge = town.identity.challenge(PHONE, CODE);
    town.happen(&[otp(challenge)]).await;
    until(async || (town.identity.takes() >= 2).then_some(())).await;
    assert_eq!(town.message(challenge, "sms").await.0, "waiting");
    town.identity.outage(false);
    assert_eq!(town.settled(challenge, "sms").await, ended("delivered", None));
}

#[tokio::test]
async fn a_code_that_is_gone_or_too_old_is_not_sent() {
    let town = Town::start().await;
    let _role = town.role().await;
    let unknown = platform::id::new();
    let expired = town.identity.challenge(PHONE, CODE);
    town.later(TimeDelta::minutes(6));
    town.happen(&[otp(unknown), otp(expired)]).await;
    assert_eq!(town.settled(unknown, "sms").await, ended("failed", Some("code-gone")));
    assert_eq!(town.settled(expired, "sms").await, ended("suppressed", Some("code-expired")));
    assert!(town.received(SMS_PATH).await.is_empty());
    assert_eq!(town.count("SELECT count(*) FROM notifications.job WHERE state = 'dead'").await, 0);
}

#[tokio::test]
async fn what_a_gateway_refuses_is_a_dead_letter_that_can_be_redriven() {
    let town = Town::start().await;
    let role = town.role().await;
    let challenge = town.identity.challenge("+84", CODE);
    town.happen(&[otp(challenge)]).await;
    assert_eq!(town.settled(challenge, "sms").await, ended("failed", Some("refused")));
    let dead = until(async || platform::job::dead_jobs(&town.pool, SCHEMA, None).await.unwrap().pop()).await;
    assert_eq!((dead.kind.as_str(), dead.reason.as_str()), ("send-security", "refused"));
    town.identity.change_phone(challenge, PHONE);
    let mut connection = town.pool.acquire().await.unwrap();
    assert!(platform::job::redrive(&mut connection, SCHEMA, dead.id, town.clock.now()).await.unwrap());
    until(async || (town.message(challenge, "sms").await.0 == "delivered").then_some(())).await;
    assert_eq!(town.received(SMS_PATH).await.len(), 1);
    assert_eq!(role.metric("messages_total outcome=\"failed\"").as_deref(), Some("1"));
}

#[tokio::test]
async fn a_message_that_never_gets_through_is_given_up_when_it_is_old() {
    let town = Town::start().await;
    let _role = town.role().await;
    let user = platform::id::new();
    town.device(user, "phone-1").await;
    town.fault("push", json!({ "error_rate": 1.0 })).await;
    town.happen(&[event(user, &payment_of(user, user))]).await;
    until(async || (town.count("SELECT count(*) FROM notifications.attempt").await > 0).then_some(())).await;
    town.later(TimeDelta::hours(25));
    let dead = until(async || platform::job::dead_jobs(&town.pool, SCHEMA, None).await.unwrap().pop()).await;
    assert!(["unavailable", "circuit-open"].contains(&dead.reason.as_str()), "{dead:?}");
    assert_eq!(town.message_states(user).await, ["delivered", "delivered", "failed", "failed"]);
}

impl Town {
    async fn message_states(&self, user: Uuid) -> Vec<String> {
        until(async || {
            let states: Vec<String> =
                sqlx::query_scalar("SELECT state FROM notifications.message WHERE recipient = $1 ORDER BY state")
                    .bind(user)
                    .fetch_all(&self.pool)
                    .await
                    .unwrap();
            (!states.contains(&"waiting".to_owned())).then_some(states)
        })
        .await
    }
}

#[tokio::test]
async fn a_payment_reaches_both_sides_and_a_dead_token_is_removed() {
    let town = Town::start().await;
    let _role = town.role().await;
    let (payer, owner) = (platform::id::new(), platform::id::new());
    town.identity.speaks(payer, "en");
    town.device(payer, "phone-1").await;
    town.device(payer, "dead-tablet").await;
    town.device(owner, "dead-till").await;
    town.happen(&[event(payer, &payment_of(payer, owner))]).await;
    assert_eq!(town.settled(payer, "push").await, ended("delivered", None));
    assert_eq!(town.settled(owner, "push").await, ended("failed", Some("dead")));
    assert_eq!(town.message(payer, "in-app").await, ended("delivered", None));
    assert_eq!(town.message(owner, "in-app").await, ended("delivered", None));
    let received = town.received("/push?token=phone-1").await;
    assert_eq!(received.len(), 1);
    assert_eq!(received[0]["data"]["title"], "Payment made");
    assert_eq!(received[0]["data"]["body"], "You paid 25.000 ₫ to Cà phê Muối. Balance: 175.000 ₫.");
    assert_eq!(received[0]["notification"], serde_json::Value::Null, "the app is woken, and shows it");
    assert_eq!(received[0]["alert"]["title"], "Payment made", "iOS shows it by itself");
    assert_eq!(received[0]["data"]["kind"], "payment-sent");
    assert_eq!(town.count("SELECT count(*) FROM notifications.device").await, 1);
}

#[tokio::test]
async fn a_device_that_has_a_message_does_not_get_it_again() {
    let town = Town::start().await;
    let _role = town.role().await;
    let user = platform::id::new();
    town.device(user, "phone-1").await;
    town.device(user, "phone-2").await;
    // One of the two sends fails, whichever comes first.
    town.fault("push", json!({ "error_rate": 1.0, "times": 1 })).await;
    let payment = payment_of(user, platform::id::new());
    town.happen(&[event(user, &payment)]).await;
    assert_eq!(town.settled(user, "push").await, ended("delivered", None));
    for token in ["phone-1", "phone-2"] {
        assert_eq!(town.received(&format!("/push?token={token}")).await.len(), 1, "{token}");
    }
    assert_eq!(town.count("SELECT count(*) FROM notifications.attempt").await, 3);
}

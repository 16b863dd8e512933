//! Quiet hours, digests and the ladder, with a clock that is moved.

use chrono::{DateTime, TimeDelta, TimeZone as _, Utc};
use http::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::alert::{Officer, code, draft_of};
use super::{Town, ZONE, until};
use crate::event::tests::{event, payment_of};
use crate::lane::{Channel, Lane};
use crate::message::Draft;
use crate::template;

/// Moves the town's clock to the next time that the city's clocks show so.
pub(super) fn at(town: &Town, hour: u32) -> DateTime<Utc> {
    let now = town.clock.now().with_timezone(&ZONE);
    let day = now.date_naive().succ_opt().unwrap();
    let then = ZONE.from_local_datetime(&day.and_hms_opt(hour, 0, 0).unwrap()).unwrap().to_utc();
    town.later(then - town.clock.now());
    then
}

pub(super) async fn chooses(citizen: &Officer<'_>, what: Value) {
    let mut body = json!({ "lanes": {} });
    body.as_object_mut().unwrap().extend(what.as_object().unwrap().clone());
    let (status, answer) = citizen.call(Method::PUT, "/preferences", Some(&body)).await;
    assert!(status.is_success(), "{answer}");
    for (name, value) in what.as_object().unwrap() {
        assert_eq!(&answer[name], value);
    }
}

/// When the job of a recipient's push message is due.
async fn due(town: &Town, user: Uuid) -> DateTime<Utc> {
    sqlx::query_scalar(
        "SELECT due_at FROM notifications.job JOIN notifications.message ON message.id::text = job.key
         WHERE recipient = $1 AND channel = 'push'",
    )
    .bind(user)
    .fetch_one(&town.pool)
    .await
    .unwrap()
}

#[tokio::test]
async fn what_can_wait_waits_until_the_quiet_hours_are_over() {
    let town = Town::start().await;
    at(&town, 23);
    let role = town.role().await;
    let (lan, minh) = (Officer::with(&town, &role, &[]), Officer::with(&town, &role, &[]));
    chooses(&lan, json!({ "quiet_hours": { "from": "22:00", "to": "06:00" } })).await;
    for citizen in [&lan, &minh] {
        town.device(citizen.id, &format!("phone-{}", citizen.id)).await;
        town.happen(&[event(citizen.id, &payment_of(citizen.id, platform::id::new()))]).await;
    }
    assert_eq!(town.settled(minh.id, "push").await.0, "delivered", "who wants no quiet has none");
    assert_eq!(town.message(lan.id, "push").await.0, "waiting");
    assert_eq!(town.message(lan.id, "in-app").await.0, "delivered", "the inbox makes no noise");
    assert_eq!(due(&town, lan.id).await.with_timezone(&ZONE).format("%H:%M").to_string(), "06:00");

    let warning = Draft {
        event_id: platform::id::new(),
        recipient: lan.id,
        lane: Lane::Emergency,
        channel: Channel::Push,
        template: template::ALERT_RELEASED,
        parameters: json!({ "exercise": false, "headline": { "vi": "Lũ", "en": "Flood" }, "text": { "vi": "Lên cao", "en": "Go up" } }),
    };
    town.enqueue(&[warning]).await;
    until(async || {
        let told = town.received(&format!("/push?token=phone-{}", lan.id)).await;
        (told.len() == 1).then_some(())
    })
    .await;
    town.later(TimeDelta::hours(7));
    until(async || {
        let told = town.received(&format!("/push?token=phone-{}", lan.id)).await;
        (told.len() == 2).then_some(())
    })
    .await;
    role.stop().await;
}

fn news(user: Uuid) -> Draft {
    Draft {
        event_id: platform::id::new(),
        recipient: user,
        lane: Lane::News,
        channel: Channel::Push,
        template: template::REPORT_RECEIVED,
        parameters: json!({ "category": { "vi": "hạ tầng", "en": "roads" } }),
    }
}

#[tokio::test]
async fn news_come_together_once_at_the_hour_that_was_chosen() {
    let town = Town::start().await;
    at(&town, 9);
    let role = town.role().await;
    let lan = Officer::with(&town, &role, &[]);
    chooses(&lan, json!({ "digest_at": "18:00" })).await;
    town.device(lan.id, "phone").await;
    for _ in 0..3 {
        town.enqueue(&[news(lan.id)]).await;
    }
    assert_eq!(town.count("SELECT count(*) FROM notifications.digest_item").await, 3);
    assert_eq!(town.count("SELECT count(*) FROM notifications.job WHERE kind = 'digest'").await, 1, "one job for all");
    assert!(town.received("/push?token=phone").await.is_empty());
    // Two instances: the job's lease decides who tells.
    let other = town.role().await;
    town.later(TimeDelta::hours(9) + TimeDelta::minutes(1));
    let told = until(async || Some(town.received("/push?token=phone").await).filter(|told| !told.is_empty())).await;
    assert!(told[0].to_string().contains('3'), "{told:?}");
    until(async || {
        (town.count("SELECT count(*) FROM notifications.job WHERE state <> 'done'").await == 0).then_some(())
    })
    .await;
    assert_eq!(town.received("/push?token=phone").await.len(), 1);
    let reasons = "SELECT count(*) FROM notifications.message WHERE state = 'suppressed' AND reason = 'digest'";
    assert_eq!(town.count(reasons).await, 3);
    assert_eq!(town.count("SELECT count(*) FROM notifications.digest_item").await, 0);
    town.enqueue(&[news(lan.id)]).await;
    assert_eq!(
        town.count("SELECT count(*) FROM notifications.job WHERE kind = 'digest' AND state = 'due'").await,
        1,
        "tomorrow's"
    );
    other.stop().await;
    role.stop().await;
}

#[tokio::test]
async fn a_warning_that_nobody_confirmed_in_time_climbs_to_a_text_message() {
    let town = Town::start().await;
    let role = town.role().await;
    let (one, two) = (Officer::with(&town, &role, &["ioc.operator"]), Officer::with(&town, &role, &["ioc.lead"]));
    let [phone, off, reader, nobody] = [(); 4].map(|()| Officer::with(&town, &role, &[]));
    for citizen in [&phone, &off, &reader, &nobody] {
        citizen.call(Method::PUT, "/wards", Some(&json!({ "codes": ["19774"] }))).await;
        town.identity.speaks(citizen.id, "vi");
    }
    town.device(phone.id, "phone").await;
    town.device(off.id, "phone-that-is-off").await;
    let id = one.draft(&draft_of(&town, &["19774"])).await;
    two.release(&id).await;
    let pushed = "SELECT count(*) FROM notifications.message WHERE channel = 'push' AND state = 'delivered'";
    until(async || (town.count(pushed).await == 2).then_some(())).await;
    let push = town.received("/push?token=phone").await.remove(0);
    let confirm = format!("/messages/{}/received", push["data"]["message_id"].as_str().unwrap());
    assert_eq!(code(&off.call(Method::POST, &confirm, None).await), (404, "not-found"), "another's");
    let confirmed = phone.call(Method::POST, &confirm, None).await;
    assert_eq!(confirmed.0, 200, "{confirmed:?}");
    town.later(TimeDelta::seconds(1));
    let version = "SELECT xmin::text::bigint FROM notifications.message WHERE received_at IS NOT NULL";
    let before = town.count(version).await;
    assert_eq!(phone.call(Method::POST, &confirm, None).await, confirmed, "said again it changes nothing");
    assert_eq!(town.count(version).await, before, "nor is it written again");
    let (_, inbox) = until(async || {
        let inbox = reader.call(Method::GET, "/inbox", None).await;
        Some(inbox).filter(|(_, inbox)| inbox["items"].as_array().is_some_and(|items| !items.is_empty()))
    })
    .await;
    let message = inbox["items"][0]["id"].as_str().unwrap();
    reader.call(Method::POST, &format!("/inbox/{message}/read"), Some(&json!({}))).await;
    assert_eq!(
        town.count("SELECT count(*) FROM notifications.message WHERE channel = 'sms'").await,
        0,
        "severe, not extreme"
    );
    town.later(TimeDelta::minutes(3));
    let delivered = "SELECT count(*) FROM notifications.message WHERE channel = 'sms' AND state = 'delivered'";
    until(async || (town.count(delivered).await == 2).then_some(())).await;
    assert_eq!(town.message(nobody.id, "sms").await.0, "delivered");
    assert_eq!(town.message(off.id, "sms").await.0, "delivered", "the push gateway took it for a phone that is off");
    until(async || {
        let open =
            town.count("SELECT count(*) FROM notifications.job WHERE kind = 'climb-alert' AND state <> 'done'").await;
        (open == 0).then_some(())
    })
    .await;
    assert_eq!(
        town.count("SELECT count(*) FROM notifications.message WHERE channel = 'sms'").await,
        2,
        "the others have it"
    );
    assert_eq!(role.metric("alert_climbs_total severity=\"severe\"").as_deref(), Some("2"));
    let text: String = sqlx::query_scalar("SELECT id::text FROM notifications.message WHERE channel = 'sms' LIMIT 1")
        .fetch_one(&town.pool)
        .await
        .unwrap();
    let by_hand = off.call(Method::POST, &format!("/messages/{text}/received"), None).await;
    assert_eq!(code(&by_hand), (404, "not-found"), "no app has a text message");
    role.stop().await;
}

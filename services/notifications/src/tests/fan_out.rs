//! From a released alert to everybody it concerns: once each, whoever dies and however many work at it.

use std::task::Poll;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use http::Method;
use platform::metrics::Metrics;
use serde_json::{Value, json};
use uuid::Uuid;

use super::alert::{Officer, draft_of};
use super::{Role, Town, until};
use crate::alert::AlertId;
use crate::alert::climb::{AFTER, Climber};
use crate::alert::desk::{Desk, Wanted};
use crate::alert::fan_out::AlertFanOut;
use crate::alert::tests::flood;
use crate::fan_out::{BATCH, Batches, FanOut as _, Progress};
use crate::meter::Meter;

/// Citizens who chose a ward; every fifth has a device.
async fn people(town: &Town, ward: &str, count: u128) -> Vec<Uuid> {
    let mut users: Vec<Uuid> = (0..count).map(|_| platform::id::new()).collect();
    users.sort();
    sqlx::query(
        "INSERT INTO notifications.ward_choice SELECT user_id, $2, $3 FROM unnest($1::uuid[]) AS one (user_id)",
    )
    .bind(&users)
    .bind(ward)
    .bind(town.clock.now())
    .execute(&town.pool)
    .await
    .unwrap();
    let owners: Vec<Uuid> = users.iter().copied().step_by(5).collect();
    sqlx::query(
        "INSERT INTO notifications.device (id, user_id, platform, token, name, created_at)
         SELECT user_id, user_id, 'fcm', 'phone-' || user_id, 'x', $2 FROM unnest($1::uuid[]) AS one (user_id)",
    )
    .bind(&owners)
    .bind(town.clock.now())
    .execute(&town.pool)
    .await
    .unwrap();
    users
}

fn desk(town: &Town) -> Desk {
    let meter = Meter::new(&Metrics::new("notifications", "desk"));
    let city = std::sync::Arc::new(crate::city::tests::hue());
    Desk { pool: town.pool.clone(), clock: town.clock.clone(), city, meter }
}

pub(super) fn fan_out(town: &Town, size: i64) -> AlertFanOut {
    let meter = Meter::new(&Metrics::new("notifications", "fan-out"));
    AlertFanOut(Batches { pool: town.pool.clone(), clock: town.clock.clone(), meter, size, zone: super::ZONE })
}

/// Polls a future that often and drops it, wherever it then is: so far a process comes that dies.
pub(super) async fn drop_after(polls: usize, future: impl Future) {
    let (mut future, mut left) = (Box::pin(future), polls);
    std::future::poll_fn(|context| {
        left -= 1;
        let polled = future.as_mut().poll(context).map(|_| ());
        if left == 0 { Poll::Ready(()) } else { polled }
    })
    .await;
}

/// A draft by somebody.
async fn drafted(town: &Town, wards: &[&str]) -> AlertId {
    let wanted = Wanted { content: flood(wards), expires_at: town.clock.now() + TimeDelta::hours(12), updates: None };
    let mut transaction = town.pool.begin().await.unwrap();
    let alert = desk(town).draft(&mut transaction, platform::id::new(), wanted).await.unwrap();
    transaction.commit().await.unwrap();
    alert.id
}

/// Releases a warning without a role that fans it out.
pub(super) async fn released(town: &Town, wards: &[&str]) -> AlertId {
    let alert = drafted(town, wards).await;
    desk(town).release(platform::id::new(), (alert, 1)).await.unwrap().id
}

async fn finish(fan_out: &AlertFanOut, alert: AlertId) {
    while fan_out.next_batch(alert).await.unwrap() == Progress::More {}
}

async fn reach(officer: &Officer<'_>, alert: &str) -> Value {
    officer.call(Method::GET, &format!("/alerts/{alert}/reach"), None).await.1
}

/// In-app, push and text messages there are, and how many citizens have more than one of a channel for one alert.
async fn messages(town: &Town) -> [i64; 4] {
    [
        town.count("SELECT count(*) FROM notifications.message WHERE channel = 'in-app'").await,
        town.count("SELECT count(*) FROM notifications.message WHERE channel = 'push'").await,
        town.count("SELECT count(*) FROM notifications.message WHERE channel = 'sms'").await,
        town.count(
            "SELECT count(*) FROM (SELECT FROM notifications.message GROUP BY event_id, recipient, channel
             HAVING count(*) > 1) AS twice",
        )
        .await,
    ]
}

#[tokio::test]
async fn a_released_warning_reaches_its_wards_and_is_counted_by_ward() {
    let town = Town::start().await;
    let role = town.role().await;
    let (one, two) = (Officer::with(&town, &role, &["ioc.operator"]), Officer::with(&town, &role, &["ioc.lead"]));
    let (near, far) = (people(&town, "19774", 10).await, people(&town, "19777", 3).await);
    sqlx::query("INSERT INTO notifications.ward_choice VALUES ($1, '19753', $2)")
        .bind(near[1])
        .bind(town.clock.now())
        .execute(&town.pool)
        .await
        .unwrap();
    let id = one.draft(&draft_of(&town, &["19774", "19753"])).await;
    two.release(&id).await;
    let counted = until(async || {
        let now = reach(&two, &id).await;
        (now["complete"] == json!(true) && now["channels"]["push"]["unconfirmed"] == json!(2)).then_some(now)
    })
    .await;
    assert_eq!(counted["recipients"], 10);
    assert_eq!(counted["channels"]["in-app"], json!({ "queued": 10, "unconfirmed": 10, "delivered": 0, "failed": 0 }));
    assert_eq!(counted["channels"]["push"], json!({ "queued": 2, "unconfirmed": 2, "delivered": 0, "failed": 0 }));
    assert_eq!(counted["channels"]["sms"], json!({ "queued": 0, "unconfirmed": 0, "delivered": 0, "failed": 0 }));
    let by_ward: Vec<_> =
        counted["wards"].as_array().unwrap().iter().map(|ward| (&ward["code"], &ward["recipients"])).collect();
    assert_eq!(by_ward, [(&json!("19753"), &json!(1)), (&json!("19774"), &json!(10))]);
    assert_eq!(counted["wards"][0]["name"]["vi"], "Phường Phú Xuân");

    let pushed = town.received(&format!("/push?token=phone-{}", near[0])).await;
    assert_eq!(pushed.len(), 1);
    assert!(town.received(&format!("/push?token=phone-{}", far[0])).await.is_empty(), "another ward");
    let title: Vec<(String, Value)> =
        sqlx::query_as("SELECT template, parameters FROM notifications.message WHERE recipient = $1")
            .bind(near[1])
            .fetch_all(&town.pool)
            .await
            .unwrap();
    assert_eq!((title.len(), title[0].0.as_str()), (1, "alert-released.v1"));
    assert_eq!(title[0].1["alert_id"], json!(id));
    until(async || role.metric("alert_recipients_total severity=\"severe\"").filter(|count| count == "10")).await;
    role.stop().await;
}

#[tokio::test]
async fn whoever_has_no_device_gets_a_text_when_the_danger_is_extreme() {
    let town = Town::start().await;
    let role = town.role().await;
    let (one, two) = (Officer::with(&town, &role, &["ioc.operator"]), Officer::with(&town, &role, &["ioc.lead"]));
    let users = people(&town, "19774", 2).await;
    town.identity.speaks(users[1], "vi");
    let muted = json!({ "language": "vi", "lanes": { "emergency": { "sms": false } } });
    let mut body = draft_of(&town, &["19774"]);
    body["content"]["severity"] = json!("extreme");
    body["content"]["status"] = json!("exercise");
    let refused = Officer::with(&town, &role, &[]).call(Method::PUT, "/preferences", Some(&muted)).await;
    assert_eq!(refused.1["code"], "lane-locked", "nobody can mute a warning");
    let id = one.draft(&body).await;
    two.release(&id).await;
    until(async || {
        (town.count("SELECT count(*) FROM notifications.message WHERE channel = 'sms'").await > 0).then_some(())
    })
    .await;
    assert_eq!(town.settled(users[1], "sms").await, ("delivered".to_owned(), None));
    let texts = town.received("/sms?to=%2B84900000000").await;
    assert_eq!(texts[0]["text"], "DIEN TAP. CANH BAO: Lu song Huong tren bao dong 3. Di chuyen len noi cao.");
    assert_eq!(messages(&town).await, [2, 1, 1, 0]);
    role.stop().await;
}

#[tokio::test]
async fn a_process_that_dies_while_it_releases_has_done_all_of_it_or_nothing() {
    let town = Town::start().await;
    let (desk, officer) = (desk(&town), platform::id::new());
    let mut alerts = Vec::new();
    for polls in 1..40 {
        let alert = drafted(&town, &["19774"]).await;
        drop_after(polls, desk.release(officer, (alert, 1))).await;
        alerts.push(alert);
    }
    // Released, fanned out, planned and told: the same alerts at any moment.
    let agree = "SELECT count(*) FROM notifications.alert WHERE NOT (
        (state = 'released') = EXISTS (SELECT FROM notifications.alert_fan_out WHERE alert_id = alert.id)
        AND (state = 'released') = EXISTS (SELECT FROM notifications.job WHERE key = alert.id::text)
        AND (state = 'released') = EXISTS (SELECT FROM notifications.outbox WHERE subject = alert.id))";
    assert_eq!(town.count(agree).await, 0);
    for alert in &alerts {
        desk.release(officer, (*alert, 1)).await.unwrap();
    }
    assert_eq!(town.count("SELECT count(*) FROM notifications.alert WHERE state = 'released'").await, 39);
    for table in [
        "alert_fan_out",
        "job WHERE kind = 'fan-out-alert'",
        "job WHERE kind = 'tell-reach'",
        "job WHERE kind = 'climb-alert'",
        "outbox",
    ] {
        let sql = format!("SELECT count(*) FROM notifications.{table}");
        let rows: i64 =
            sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(&town.database.admin_pool()).await.unwrap();
        assert_eq!(rows, 39, "{table}: once each");
    }
}

#[tokio::test]
async fn a_process_that_dies_anywhere_costs_nobody_a_message_and_nobody_gets_two() {
    let town = Town::start().await;
    people(&town, "19774", 97).await;
    let alert = released(&town, &["19774"]).await;
    let fan_out = fan_out(&town, 10);
    // A process dies at each point of a batch where it waits: the batch is dropped after that many polls.
    for polls in 1..60 {
        drop_after(polls, fan_out.next_batch(alert)).await;
    }
    finish(&fan_out, alert).await;
    assert_eq!(messages(&town).await, [97, 20, 0, 0]);
    assert_eq!(town.count("SELECT recipients FROM notifications.alert_fan_out").await, 97);
    assert_eq!(town.count("SELECT count(*) FROM notifications.alert_recipient").await, 97);
    finish(&fan_out, alert).await;
    assert_eq!(messages(&town).await, [97, 20, 0, 0], "once more after the end");
}

#[tokio::test]
async fn two_processes_that_fan_out_the_same_alert_take_turns() {
    let town = Town::start().await;
    people(&town, "19774", 100).await;
    let alert = released(&town, &["19774"]).await;
    let processes: Vec<AlertFanOut> = (0..4).map(|_| fan_out(&town, 7)).collect();
    futures::future::join_all(processes.iter().map(|process| finish(process, alert))).await;
    assert_eq!(messages(&town).await, [100, 20, 0, 0]);
    assert_eq!(town.count("SELECT recipients FROM notifications.alert_fan_out").await, 100);
}

#[tokio::test]
async fn roles_that_are_stopped_and_started_finish_what_was_released() {
    let town = Town::start().await;
    people(&town, "19774", 50).await;
    let alert = released(&town, &["19774"]).await;
    // The release is committed and its process is gone; a batch of another one is done, and that is gone too.
    assert_eq!(fan_out(&town, 10).next_batch(alert).await.unwrap(), Progress::More);
    let roles: Vec<Role> = vec![town.role().await, town.role().await];
    until(async || (town.count("SELECT count(ended_at) FROM notifications.alert_fan_out").await == 1).then_some(()))
        .await;
    assert_eq!(messages(&town).await, [50, 10, 0, 0]);
    for role in roles {
        role.stop().await;
    }
}

#[tokio::test]
async fn an_end_stops_the_fan_out_and_reaches_those_who_were_warned() {
    let town = Town::start().await;
    let users = people(&town, "19774", 30).await;
    let alert = released(&town, &["19774"]).await;
    let fan_out = fan_out(&town, 10);
    assert_eq!(fan_out.next_batch(alert).await.unwrap(), Progress::More);
    // One of those who were warned moves away.
    sqlx::query("DELETE FROM notifications.ward_choice WHERE user_id = $1")
        .bind(users[0])
        .execute(&town.pool)
        .await
        .unwrap();
    let mut transaction = town.pool.begin().await.unwrap();
    let reason = flood(&[]).description;
    let ending = desk(&town).cancel(&mut transaction, platform::id::new(), alert, reason).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(fan_out.next_batch(alert).await.unwrap(), Progress::Ended, "no warning after its end");
    finish(&fan_out, ending.id).await;
    assert_eq!(
        town.count(
            "SELECT count(*) FROM notifications.message WHERE template = 'alert-released.v1' AND channel = 'in-app'"
        )
        .await,
        10
    );
    assert_eq!(
        town.count(
            "SELECT count(*) FROM notifications.message WHERE template = 'alert-cancelled.v1' AND channel = 'in-app'"
        )
        .await,
        30,
        "those in the ward and the one who was warned and left"
    );
    let later = town.clock.now() + TimeDelta::days(1);
    crate::retention::prune(&town.pool, later, later).await.unwrap();
    assert_eq!(town.count("SELECT count(*) FROM notifications.alert_recipient").await, 0);
}

#[tokio::test]
async fn a_message_that_waits_is_not_sent_once_its_warning_is_over() {
    let town = Town::start().await;
    let users = people(&town, "19774", 1).await;
    let alert = released(&town, &["19774"]).await;
    finish(&fan_out(&town, 10), alert).await;
    assert_eq!(town.message(users[0], "push").await.0, "waiting");
    town.later(TimeDelta::hours(12));
    let role = town.role().await;
    assert_eq!(town.settled(users[0], "push").await, ("suppressed".to_owned(), Some("overtaken".to_owned())));
    assert!(town.received(&format!("/push?token=phone-{}", users[0])).await.is_empty());
    role.stop().await;
}

#[tokio::test]
async fn thousands_are_queued_in_seconds_and_the_first_leave_at_once() {
    const PEOPLE: u32 = 5_000;
    let town = Town::start().await;
    let users = people(&town, "19774", PEOPLE.into()).await;
    let role = town.role().await;
    let start = Instant::now();
    released(&town, &["19774"]).await;
    until(async || (!town.received(&format!("/push?token=phone-{}", users[0])).await.is_empty()).then_some(())).await;
    let first = start.elapsed();
    until(async || (town.count("SELECT count(ended_at) FROM notifications.alert_fan_out").await == 1).then_some(()))
        .await;
    let all = start.elapsed();
    assert_eq!(messages(&town).await, [5_000, 1_000, 0, 0]);
    role.stop().await;
    // The fan-out by itself: in a test everything else shares its one thread.
    let second = released(&town, &["19774"]).await;
    let start = Instant::now();
    finish(&fan_out(&town, BATCH), second).await;
    let alone = start.elapsed();
    println!(
        "first push after {first:?}; {PEOPLE} queued after {all:?} while they are sent, after {alone:?} by itself"
    );
    // Far more than it takes: what is wanted is that it does not grow with the square of the number.
    assert!(all < Duration::from_secs(60), "{all:?}");
}

#[tokio::test]
async fn who_may_yet_confirm_a_push_message_gets_no_text_message_beside_it() {
    let town = Town::start().await;
    people(&town, "19774", 10).await;
    let alert = released(&town, &["19774"]).await;
    // The fan-out takes longer than a warning waits before it climbs.
    town.later(AFTER * 2);
    finish(&fan_out(&town, 10), alert).await;
    let meter = Meter::new(&Metrics::new("notifications", "climber"));
    let climber = Climber { pool: town.pool.clone(), clock: town.clock.clone(), meter, zone: super::ZONE };
    let texts = "SELECT count(*) FROM notifications.message WHERE channel = 'sms'";
    let climbed = async || (climber.climb(alert).await.unwrap(), town.count(texts).await);
    assert_eq!(climbed().await, (Some("push"), 8), "who has no device is waited for no longer");
    let taken = "UPDATE notifications.message SET state = 'delivered', settled_at = $1
                 WHERE id = (SELECT id FROM notifications.message WHERE channel = 'push' AND state = 'waiting' LIMIT 1)";
    sqlx::query(taken).bind(town.clock.now()).execute(&town.pool).await.unwrap();
    assert_eq!(climbed().await, (Some("push"), 8), "one is taken just now, one still waits");
    town.later(AFTER);
    assert_eq!(climbed().await, (Some("push"), 9), "the gateway took it two minutes ago, and no app confirmed it");
    town.later(TimeDelta::minutes(8));
    assert_eq!(climbed().await, (None, 10), "it waits for too long");
    assert_eq!(climbed().await, (None, 10), "nobody twice");
}

//! News of the city: who publishes, who gets them, once each, and as each citizen wishes.

use chrono::TimeDelta;
use http::{Method, StatusCode};
use platform::metrics::Metrics;
use proto::identity::v1::{CitizenRegistered, SessionStarted};
use serde_json::{Value, json};
use uuid::Uuid;

use super::alert::{Officer, code};
use super::courtesy::{at, chooses};
use super::{Role, Town, until};
use crate::event::tests::event;
use crate::fan_out::{Batches, FanOut as _, Progress};
use crate::meter::Meter;
use crate::news::fan_out::NewsFanOut;
use crate::news::{MAX_PER_DAY, NewsId};

fn item(wards: Option<&[&str]>) -> Value {
    let mut body = json!({
        "title": { "vi": "Chợ Đông Ba mở cửa lại", "en": "Đông Ba market opens again" },
        "text": { "vi": "Từ sáng mai, sau khi nước rút.", "en": "From tomorrow morning, after the flood." },
    });
    if let Some(wards) = wards {
        body["wards"] = json!(wards);
    }
    body
}

/// Somebody who signs in for the first time.
async fn citizen<'a>(town: &'a Town, role: &'a Role) -> Officer<'a> {
    let one = Officer::with(town, role, &[]);
    let registered = CitizenRegistered { user_id: one.id.to_string(), tier: 0, language: "vi".to_owned() };
    let started = SessionStarted { user_id: one.id.to_string(), ..SessionStarted::default() };
    town.happen(&[event(one.id, &registered), event(one.id, &started)]).await;
    town.identity.speaks(one.id, "vi");
    one
}

async fn publish(officer: &Officer<'_>, body: &Value) -> String {
    let (status, news) = officer.call(Method::POST, "/news", Some(body)).await;
    assert_eq!(status, StatusCode::CREATED, "{news}");
    news["id"].as_str().unwrap().to_owned()
}

/// An item that is in no officer's hands and no job's.
pub(super) async fn stored(town: &Town, wards: Option<&[&str]>) -> NewsId {
    let id = NewsId::generate();
    sqlx::query(
        "INSERT INTO notifications.news (id, title, text, wards, published_by, published_at, position, recipients)
         VALUES ($1, '{\"vi\": \"a\", \"en\": \"b\"}', '{\"vi\": \"c\", \"en\": \"d\"}', $3, $1, $2,
             '00000000-0000-0000-0000-000000000000', 0)",
    )
    .bind(id.uuid())
    .bind(town.clock.now())
    .bind(wards)
    .execute(&town.pool)
    .await
    .unwrap();
    id
}

pub(super) fn fan_out(town: &Town, size: i64) -> NewsFanOut {
    let meter = Meter::new(&Metrics::new("notifications", "news"));
    NewsFanOut(Batches { pool: town.pool.clone(), clock: town.clock.clone(), meter, size, zone: super::ZONE })
}

/// The item as officers see it, once everybody has it.
async fn complete(officer: &Officer<'_>, id: &str) -> Value {
    until(async || {
        let (_, page) = officer.call(Method::GET, "/news", None).await;
        let found = page["items"].as_array()?.iter().find(|news| news["id"] == id)?.clone();
        (found["complete"] == json!(true)).then_some(found)
    })
    .await
}

/// What a citizen's inbox holds of news.
async fn inbox(citizen: &Officer<'_>) -> Vec<Value> {
    let (_, page) = citizen.call(Method::GET, "/inbox", None).await;
    page["items"].as_array().unwrap().iter().filter(|item| item["lane"] == "news").cloned().collect()
}

#[tokio::test]
async fn news_reach_everybody_as_each_of_them_wishes() {
    let town = Town::start().await;
    at(&town, 23);
    let role = town.role().await;
    let [plain, phone, quiet, digest, muted] = [
        citizen(&town, &role).await,
        citizen(&town, &role).await,
        citizen(&town, &role).await,
        citizen(&town, &role).await,
        citizen(&town, &role).await,
    ];
    for one in [&phone, &quiet, &digest, &muted] {
        town.device(one.id, &format!("phone-{}", one.id)).await;
    }
    chooses(&quiet, json!({ "quiet_hours": { "from": "22:00", "to": "06:00" } })).await;
    chooses(&digest, json!({ "digest_at": "18:00" })).await;
    let all_off = json!({ "lanes": { "news": { "in-app": false, "push": false, "sms": false } } });
    assert!(muted.call(Method::PUT, "/preferences", Some(&all_off)).await.0.is_success());
    let lead = Officer::with(&town, &role, &["ioc.lead"]);
    let id = publish(&lead, &item(None)).await;
    let seen = complete(&lead, &id).await;
    assert_eq!(
        (&seen["recipients"], &seen["published_by"], &seen["wards"]),
        (&json!(5), &json!(lead.id), &Value::Null)
    );

    for one in [&plain, &phone, &quiet, &digest] {
        let items = inbox(one).await;
        assert_eq!((items.len(), &items[0]["kind"], &items[0]["data"]["news_id"]), (1, &json!("news"), &json!(id)));
        assert_eq!(items[0]["title"], "Chợ Đông Ba mở cửa lại");
    }
    assert!(inbox(&muted).await.is_empty());
    let pushed = async |one: &Officer<'_>| town.received(&format!("/push?token=phone-{}", one.id)).await;
    until(async || (pushed(&phone).await.len() == 1).then_some(())).await;
    assert!(pushed(&phone).await[0].to_string().contains("Từ sáng mai, sau khi nước rút."));
    assert!(pushed(&quiet).await.is_empty() && pushed(&digest).await.is_empty() && pushed(&muted).await.is_empty());
    town.later(TimeDelta::hours(7));
    until(async || (pushed(&quiet).await.len() == 1).then_some(())).await;
    town.later(TimeDelta::hours(12));
    until(async || (pushed(&digest).await.len() == 1).then_some(())).await;
    assert_eq!((pushed(&phone).await.len(), pushed(&quiet).await.len(), pushed(&muted).await.len()), (1, 1, 0));
    assert_eq!(
        town.count("SELECT count(*) FROM notifications.message WHERE channel = 'sms'").await,
        0,
        "nothing climbs"
    );
    role.stop().await;
}

#[tokio::test]
async fn news_for_wards_reach_those_who_chose_them() {
    let town = Town::start().await;
    let role = town.role().await;
    let (near, far) = (citizen(&town, &role).await, citizen(&town, &role).await);
    near.call(Method::PUT, "/wards", Some(&json!({ "codes": ["19774", "19753"] }))).await;
    far.call(Method::PUT, "/wards", Some(&json!({ "codes": ["19777"] }))).await;
    let lead = Officer::with(&town, &role, &["ioc.lead"]);
    let id = publish(&lead, &item(Some(&["19774", "19753"]))).await;
    assert_eq!(complete(&lead, &id).await["recipients"], 1, "once, on account of two wards");
    assert_eq!((inbox(&near).await.len(), inbox(&far).await.len()), (1, 0));
    role.stop().await;
}

#[tokio::test]
async fn a_lead_publishes_on_record_once_and_not_without_end() {
    let town = Town::start().await;
    let role = town.role().await;
    let lead = Officer::with(&town, &role, &["ioc.lead"]);
    for roles in [&[][..], &["ioc.operator"], &["agency.head:HEPCO"], &["admin"]] {
        let other = Officer::with(&town, &role, roles);
        assert_eq!(code(&other.call(Method::POST, "/news", Some(&item(None))).await), (403, "forbidden"), "{roles:?}");
        let list = other.call(Method::GET, "/news", None).await.0;
        assert_eq!(list.is_success(), roles == ["ioc.operator"], "{roles:?}");
    }
    let mut long = item(None);
    long["text"]["en"] = json!("x".repeat(701));
    let mut silent = item(None);
    silent["title"]["vi"] = json!("");
    for (body, refused) in [
        (long, "invalid-field"),
        (silent, "invalid-field"),
        (item(Some(&[])), "wards-invalid"),
        (item(Some(&["19774", "19774"])), "wards-invalid"),
        (item(Some(&["1"])), "ward-unknown"),
        (json!({ "title": { "vi": "a", "en": "b" } }), "invalid-body"),
    ] {
        assert_eq!(code(&lead.call(Method::POST, "/news", Some(&body)).await), (422, refused));
    }
    town.identity.outage(true);
    let (status, _) = lead.call(Method::POST, "/news", Some(&item(None))).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "nothing is published that is not on record");
    town.identity.outage(false);
    assert_eq!(town.count("SELECT count(*) FROM notifications.news").await, 0);
    assert!(town.identity.acts().is_empty());

    let same = futures::future::join_all(
        (0..4).map(|_| async { lead.call_with_key(Method::POST, "/news", Some(&item(None)), "one").await }),
    )
    .await;
    assert!(same.iter().all(|answer| *answer == same[0] && answer.0 == StatusCode::CREATED), "{same:?}");
    assert_eq!(
        code(&lead.call_with_key(Method::POST, "/news", Some(&item(Some(&["19774"]))), "one").await).1,
        "idempotency-key-reused"
    );
    let acts = town.identity.acts();
    let id = same[0].1["id"].as_str().unwrap();
    assert_eq!(
        (acts.len(), acts[0].action.as_str(), acts[0].object.as_str()),
        (1, "news.publish", &*format!("news {id}"))
    );
    assert_eq!(acts[0].actor_id, lead.id.to_string());
    let body = item(None);
    let more = futures::future::join_all((0..MAX_PER_DAY).map(|_| lead.call(Method::POST, "/news", Some(&body)))).await;
    let refused: Vec<_> = more.iter().filter(|answer| !answer.0.is_success()).map(code).collect();
    assert_eq!(refused, [(429, "news-too-many")], "however many ask at once");
    town.later(TimeDelta::hours(24));
    let fresh = Officer::with(&town, &role, &["ioc.lead"]);
    publish(&fresh, &item(None)).await;
    role.stop().await;
}

#[tokio::test]
async fn whoever_dies_in_the_middle_nobody_gets_news_twice_or_is_left_out() {
    let town = Town::start().await;
    let users: Vec<Uuid> = (0..10).map(|_| platform::id::new()).collect();
    let registered =
        |user: &Uuid| event(*user, &CitizenRegistered { user_id: user.to_string(), ..CitizenRegistered::default() });
    town.happen(&users.iter().map(registered).collect::<Vec<_>>()).await;
    let id = stored(&town, None).await;
    let fan_out = || fan_out(&town, 3);
    for polls in 1..30 {
        super::fan_out::drop_after(polls, fan_out().next_batch(id)).await;
    }
    let (one, other) = (fan_out(), fan_out());
    let finish = async |fan_out: &NewsFanOut| while fan_out.next_batch(id).await.unwrap() == Progress::More {};
    futures::future::join(finish(&one), finish(&other)).await;
    assert_eq!(town.count("SELECT count(*) FROM notifications.inbox").await, 10);
    assert_eq!(town.count("SELECT recipients FROM notifications.news").await, 10);
    let twice = "SELECT count(*) FROM (SELECT FROM notifications.message GROUP BY event_id, recipient, channel HAVING count(*) > 1) AS twice";
    assert_eq!(town.count(twice).await, 0);
}

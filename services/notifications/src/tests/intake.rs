//! Drafts of nobody's: from alarms of rivers and from CAP documents, until officers adopt and release them; and the reach that is told.

use chrono::TimeDelta;
use http::{Method, StatusCode};
use platform::config::Secret;
use platform::events::{Event, Handler as _};
use platform::metrics::Metrics;
use prost::{Message as _, Name as _};
use proto::ioc::v1::{AlarmLevelChanged, AlarmRaised};
use proto::notifications::v1::AlertReached;
use serde_json::{Value, json};
use uuid::Uuid;

use super::alert::{Officer, draft_of};
use super::{Role, Town, until};
use crate::CapPartner;
use crate::alert::alarm::Drafter;
use crate::alert::alarm::tests::kim_long;
use crate::alert::desk::Desk;
use crate::alert::intake::tests::document;
use crate::meter::Meter;

const SECRET: &str = "a-secret-of-the-test";

pub(super) fn event<M: prost::Message + prost::Name>(town: &Town, position: i64, message: &M) -> Event {
    Event {
        id: platform::id::new(),
        source: "ioc".to_owned(),
        position,
        kind: M::full_name(),
        subject: Uuid::from_u128(7),
        time: town.clock.now(),
        traceparent: None,
        data: message.encode_to_vec().into(),
    }
}

pub(super) async fn told(town: &Town, events: &[Event]) {
    let meter = Meter::new(&Metrics::new("notifications", "drafter"));
    let city = std::sync::Arc::new(crate::city::tests::hue());
    let drafter = Drafter(Desk { pool: town.pool.clone(), clock: town.clock.clone(), city, meter });
    let mut transaction = town.pool.begin().await.unwrap();
    drafter.handle(&mut transaction, events).await.unwrap();
    transaction.commit().await.unwrap();
}

pub(super) async fn alerts(officer: &Officer<'_>) -> Vec<Value> {
    officer.call(Method::GET, "/alerts", None).await.1["items"].as_array().unwrap().clone()
}

pub(super) async fn adopt(officer: &Officer<'_>, id: &str, body: Value) -> (StatusCode, Value) {
    officer.call(Method::POST, &format!("/alerts/{id}/adopt"), Some(&body)).await
}

pub(super) fn code(answer: &(StatusCode, Value)) -> (u16, &str) {
    (answer.0.as_u16(), answer.1["code"].as_str().unwrap_or_default())
}

#[tokio::test]
async fn each_crossing_of_alarm_3_makes_one_draft_that_two_officers_release() {
    let town = Town::start().await;
    let role = town.role().await;
    let (one, two) = (Officer::with(&town, &role, &["ioc.operator"]), Officer::with(&town, &role, &["ioc.operator"]));
    let lower = AlarmRaised { alarm: Some(proto::ioc::v1::Alarm { level: 2, crossings: 0, ..kim_long(0) }) };
    let crossed = |crossings| AlarmLevelChanged { alarm: Some(kim_long(crossings)), from_level: 2 };
    told(&town, &[event(&town, 1, &lower), event(&town, 2, &crossed(1)), event(&town, 2, &crossed(1))]).await;
    let drafts = alerts(&one).await;
    assert_eq!(drafts.len(), 1, "{drafts:?}");
    let (id, draft) = (drafts[0]["id"].as_str().unwrap(), &drafts[0]);
    assert_eq!(
        (&draft["origin"], &draft["drafted_by"], &draft["state"]),
        (&json!("alarm"), &Value::Null, &json!("drafted"))
    );
    assert_eq!(draft["origin_reference"], json!(Uuid::from_u128(7)));

    assert_eq!(code(&two.release(id).await), (409, "alert-not-adopted"));
    let amended = json!({ "expires_at": town.clock.now() + TimeDelta::hours(6) });
    let (status, adopted) = adopt(&one, id, amended).await;
    assert_eq!((status, &adopted["drafted_by"]), (StatusCode::OK, &json!(one.id)), "{adopted}");
    assert_eq!(code(&adopt(&two, id, json!({})).await), (409, "alert-already-adopted"));
    assert_eq!(adopt(&one, id, json!({})).await.0, StatusCode::OK, "a second click");
    assert_eq!(code(&one.release(id).await), (409, "alert-same-officer"));
    assert_eq!(two.release(id).await.0, StatusCode::OK);

    told(&town, &[event(&town, 4, &crossed(2))]).await;
    let update = alerts(&one).await[0].clone();
    assert_eq!(
        (&update["kind"], &update["supersedes"]),
        (&json!("update"), &json!(id)),
        "the river rose again meanwhile"
    );
    let waiting = update["id"].as_str().unwrap();
    assert_eq!(adopt(&one, waiting, json!({})).await.0, StatusCode::OK);
    told(&town, &[event(&town, 5, &crossed(3))]).await;
    assert_eq!(alerts(&one).await.len(), 2, "a draft that officers work on is enough");
    role.stop().await;
}

/// Sends a document as the partner, or as an officer.
async fn send(town: &Town, role: &Role, text: &str, partner: Option<&str>) -> (StatusCode, Value) {
    let mut request =
        town.client.post(format!("{}/cap/v1/alerts", role.url)).header("content-type", "application/cap+xml");
    if let Some(secret) = partner {
        request = request.basic_auth("kttv", Some(secret));
    }
    let response = request.body(text.to_owned()).send().await.unwrap();
    let status = response.status();
    (status, serde_json::from_str(&response.text().await.unwrap()).unwrap_or(Value::Null))
}

#[tokio::test]
async fn a_partners_document_becomes_a_draft_once_and_its_updates_and_ends_follow() {
    let mut town = Town::start().await;
    let partner = CapPartner { secret: Secret::new(SECRET), senders: vec!["dubao@kttv.example".to_owned()] };
    town.config.cap_partners.insert("kttv".to_owned(), partner);
    let role = town.role().await;
    let (one, two) = (Officer::with(&town, &role, &["ioc.operator"]), Officer::with(&town, &role, &["ioc.lead"]));
    let later = (town.clock.now() + TimeDelta::hours(12)).format("%Y-%m-%dT%H:%M:%S+00:00").to_string();
    let with = |changes: &[(&str, &str)]| {
        let mut all = vec![("2025-10-27T19:00:00+07:00", later.as_str())];
        all.extend(changes);
        document(&all)
    };
    let take = async |text: &str| send(&town, &role, text, Some(SECRET)).await;
    let (status, receipt) = take(&with(&[])).await;
    assert_eq!((status, &receipt["state"]), (StatusCode::CREATED, &json!("drafted")), "{receipt}");
    assert_eq!(take(&with(&[])).await, (StatusCode::OK, receipt.clone()), "the same again");
    assert_eq!(code(&take(&with(&[("Kim Long<", "Kim Long 2<")])).await), (409, "cap-identifier-reused"));
    assert_eq!(alerts(&one).await.len(), 1);
    let first = receipt["alert_id"].as_str().unwrap();

    let update = [
        ("KTTV-1", "KTTV-2"),
        (">Alert<", ">Update<"),
        (
            "<scope>Public</scope>",
            "<scope>Public</scope><references>dubao@kttv.example,KTTV-1,2025-10-27T07:00:00+07:00</references>",
        ),
    ];
    let (_, receipt) = take(&with(&update)).await;
    let second = receipt["alert_id"].as_str().unwrap().to_owned();
    let (_, replaced) = one.call(Method::GET, &format!("/alerts/{first}"), None).await;
    assert_eq!((&replaced["state"], &replaced["ended_by"]), (&json!("withdrawn"), &Value::Null));
    assert_eq!(adopt(&one, &second, json!({})).await.0, StatusCode::OK);
    assert_eq!(two.release(&second).await.1["state"], "released");

    let end = [
        ("KTTV-1", "KTTV-3"),
        (">Alert<", ">Cancel<"),
        (
            "<scope>Public</scope>",
            "<scope>Public</scope><references>dubao@kttv.example,KTTV-2,2025-10-27T07:00:00+07:00</references>",
        ),
    ];
    let (status, receipt) = take(&with(&end)).await;
    assert_eq!(status, StatusCode::CREATED, "{receipt}");
    let ending = receipt["alert_id"].as_str().unwrap();
    let state = async |id: &str| one.call(Method::GET, &format!("/alerts/{id}"), None).await.1["state"].clone();
    assert_eq!(
        (state(&second).await, state(ending).await),
        (json!("released"), json!("drafted")),
        "an officer decides"
    );
    assert_eq!(two.release(ending).await.1["kind"], "cancel");
    assert_eq!(state(&second).await, "cancelled");
    assert_eq!(town.count("SELECT count(*) FROM notifications.outbox WHERE kind LIKE '%AlertCancelled'").await, 1);
    assert_eq!(
        town.count("SELECT count(*) FROM notifications.cap_message WHERE partner = 'kttv' AND NOT signed").await,
        3
    );

    assert_eq!(code(&take("<alert>\0</alert>").await), (422, "invalid-body"));
    assert_eq!(send(&town, &role, &with(&[]), None).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(send(&town, &role, &with(&[]), Some("wrong")).await.0, StatusCode::UNAUTHORIZED);
    let foreign = with(&[("dubao@kttv.example", "other@kttv.example"), ("KTTV-1", "KTTV-9")]);
    assert_eq!(code(&take(&foreign).await), (403, "cap-sender-forbidden"));
    let (status, fault) = take("<alert/>").await;
    assert_eq!((status.as_u16(), &fault["code"]), (422, &json!("cap-invalid")), "{fault}");
    role.stop().await;
}

#[tokio::test]
async fn what_a_partner_ends_or_replaces_is_what_is_in_force_by_then() {
    let mut town = Town::start().await;
    let partner = CapPartner { secret: Secret::new(SECRET), senders: vec!["dubao@kttv.example".to_owned()] };
    town.config.cap_partners.insert("kttv".to_owned(), partner);
    let role = town.role().await;
    let (one, two) = (Officer::with(&town, &role, &["ioc.operator"]), Officer::with(&town, &role, &["ioc.lead"]));
    let later = (town.clock.now() + TimeDelta::hours(12)).format("%Y-%m-%dT%H:%M:%S+00:00").to_string();
    let take = async |identifier: &str, kind: &str, of: &str| {
        let references =
            format!("<scope>Public</scope><references>dubao@kttv.example,{of},2025-10-27T07:00:00+07:00</references>");
        let mut changes =
            vec![("2025-10-27T19:00:00+07:00", later.as_str()), ("KTTV-1", identifier), (">Alert<", kind)];
        changes.extend((!of.is_empty()).then_some(("<scope>Public</scope>", references.as_str())));
        let (status, receipt) = send(&town, &role, &document(&changes), Some(SECRET)).await;
        assert!(status.is_success(), "{receipt}");
        receipt["alert_id"].as_str().unwrap().to_owned()
    };
    let show = async |id: &str| one.call(Method::GET, &format!("/alerts/{id}"), None).await.1;
    let first = take("KTTV-1", ">Alert<", "").await;
    adopt(&one, &first, json!({})).await;
    assert_eq!(two.release(&first).await.1["state"], "released");
    let waiting = take("KTTV-2", ">Update<", "KTTV-1").await;
    let next = take("KTTV-3", ">Update<", "KTTV-2").await;
    assert_eq!(show(&waiting).await["state"], "withdrawn");
    assert_eq!(show(&next).await["supersedes"], json!(first), "it replaces what is in force");
    let ending = take("KTTV-4", ">Cancel<", "KTTV-3").await;
    let shown = show(&ending).await;
    assert_eq!((&shown["kind"], &shown["supersedes"]), (&json!("cancel"), &json!(first)));
    assert_eq!(show(&next).await["state"], "withdrawn");

    let mut update = draft_of(&town, &["19774"]);
    update["updates"] = json!(first);
    let officers = one.draft(&update).await;
    assert_eq!(two.release(&officers).await.1["kind"], "update");
    let ending = take("KTTV-5", ">Cancel<", "KTTV-1").await;
    assert_eq!(show(&ending).await["supersedes"], json!(officers), "an officer's update speaks on for it");
    let amended = json!({ "expires_at": town.clock.now() + TimeDelta::hours(6) });
    assert_eq!(code(&adopt(&one, &ending, amended).await), (409, "alert-needs-no-adoption"));
    assert_eq!(two.release(&ending).await.1["kind"], "cancel");
    assert_eq!(show(&officers).await["state"], "cancelled");
    role.stop().await;
}

#[tokio::test]
async fn the_city_is_told_how_many_a_warning_reached() {
    let town = Town::start().await;
    let role = town.role().await;
    let (one, two) = (Officer::with(&town, &role, &["ioc.operator"]), Officer::with(&town, &role, &["ioc.lead"]));
    let (phone, reader) = (Officer::with(&town, &role, &[]), Officer::with(&town, &role, &[]));
    for citizen in [&phone, &reader] {
        citizen.call(Method::PUT, "/wards", Some(&json!({ "codes": ["19774"] }))).await;
    }
    town.device(phone.id, "phone").await;
    let id = one.draft(&draft_of(&town, &["19774", "19753"])).await;
    two.release(&id).await;
    let last = async || {
        let data: Option<Vec<u8>> = sqlx::query_scalar(
            "SELECT data FROM notifications.outbox WHERE kind LIKE '%AlertReached' ORDER BY arrival DESC LIMIT 1",
        )
        .fetch_optional(&town.database.admin_pool())
        .await
        .unwrap();
        data.map(|data| AlertReached::decode(data.as_slice()).unwrap())
    };
    until(async || last().await.filter(|told| (told.recipients, told.reached, told.complete) == (2, 0, true))).await;
    let push = until(async || town.received("/push?token=phone").await.into_iter().next()).await;
    town.later(TimeDelta::minutes(1));
    assert_eq!(town.settled(phone.id, "push").await.0, "delivered");
    let confirm = format!("/messages/{}/received", push["data"]["message_id"].as_str().unwrap());
    assert_eq!(phone.call(Method::POST, &confirm, None).await.0, 200);
    until(async || last().await.filter(|told| told.reached == 1)).await;
    let (_, inbox) = reader.call(Method::GET, "/inbox", None).await;
    let message = inbox["items"][0]["id"].as_str().unwrap();
    reader.call(Method::POST, &format!("/inbox/{message}/read"), Some(&json!({}))).await;
    town.later(TimeDelta::minutes(2));
    let told = until(async || last().await.filter(|told| told.reached == 2)).await;
    assert_eq!(
        told.wards.iter().map(|ward| (ward.ward_code.as_str(), ward.recipients, ward.reached)).collect::<Vec<_>>(),
        [("19774", 2, 2)]
    );
    until(async || {
        let open =
            town.count("SELECT count(*) FROM notifications.job WHERE kind = 'tell-reach' AND state <> 'done'").await;
        (open == 0).then_some(())
    })
    .await;
    assert!(AlertReached::full_name().ends_with("AlertReached"));
    role.stop().await;
}

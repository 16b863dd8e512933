//! What a citizen sees and chooses, over HTTP.

use std::collections::BTreeSet;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Role, TOKEN_LIFE_S, Town};
use crate::event::tests::{event, payment_of};
use crate::lane::{Channel, Lane};

/// A citizen with an app.
pub(super) struct Citizen<'a> {
    pub(super) town: &'a Town,
    pub(super) role: &'a Role,
    pub(super) id: Uuid,
    pub(super) session: Uuid,
    pub(super) token: String,
}

impl<'a> Citizen<'a> {
    pub(super) fn of(town: &'a Town, role: &'a Role) -> Self {
        let (id, session) = (platform::id::new(), platform::id::new());
        Self { town, role, id, session, token: town.issuer.token(id, session, TOKEN_LIFE_S) }
    }

    pub(super) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let url = format!("{}/notifications/v1{path}", self.role.url);
        self.town.client.request(method, url).bearer_auth(&self.token).header("accept-language", "en")
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let request = self.request(method, path).header("idempotency-key", Uuid::new_v4().to_string());
        let request = if let Some(body) = body { request.json(&body) } else { request };
        answer(request).await
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.call(Method::GET, path, None).await
    }

    pub(super) async fn pay(&self, times: usize) {
        for _ in 0..times {
            self.town.happen(&[event(self.id, &payment_of(self.id, platform::id::new()))]).await;
        }
    }
}

async fn answer(request: reqwest::RequestBuilder) -> (StatusCode, Value) {
    let response = request.send().await.unwrap();
    let status = response.status();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::Null))
}

#[tokio::test]
async fn the_inbox_is_read_page_by_page_and_belongs_to_its_citizen() {
    let town = Town::start().await;
    let role = town.role().await;
    let (lan, other) = (Citizen::of(&town, &role), Citizen::of(&town, &role));
    lan.pay(5).await;
    other.pay(1).await;
    let (status, first) = lan.get("/inbox?limit=3").await;
    assert_eq!(status, StatusCode::OK);
    let item = &first["items"][0];
    assert_eq!(
        (&item["sequence"], &item["lane"], &item["kind"]),
        (&json!(5), &json!("payment"), &json!("payment-sent"))
    );
    assert_eq!(item["title"], "Payment made");
    assert_eq!(item["data"]["amount"], json!({ "amount": "25000", "currency": "VND" }));
    let cursor = first["next_cursor"].as_str().unwrap();
    let (_, second) = lan.get(&format!("/inbox?limit=3&cursor={cursor}")).await;
    let sequences: Vec<i64> = [&first, &second]
        .into_iter()
        .flat_map(|page| page["items"].as_array().unwrap())
        .map(|item| item["sequence"].as_i64().unwrap())
        .collect();
    assert_eq!(sequences, [5, 4, 3, 2, 1]);
    assert_eq!(second["next_cursor"], Value::Null);

    let id = item["id"].as_str().unwrap();
    let path = format!("/inbox/{id}/read");
    let (status, read) = lan.call(Method::POST, &path, None).await;
    assert_eq!(status, StatusCode::OK);
    town.later(chrono::TimeDelta::minutes(1));
    assert_eq!(lan.call(Method::POST, &path, None).await.1, read, "read once");
    assert_eq!(lan.get("/inbox?limit=1").await.1["items"][0]["read_at"], read["read_at"]);
    let (status, refused) = other.call(Method::POST, &path, None).await;
    assert_eq!((status, &refused["code"]), (StatusCode::NOT_FOUND, &json!("not-found")));
    assert_eq!(lan.call(Method::POST, "/inbox/nonsense/read", None).await.0, StatusCode::NOT_FOUND);
    assert_eq!(lan.get("/inbox?limit=0").await.0, StatusCode::BAD_REQUEST);
    assert_eq!(lan.get("/inbox?cursor=x").await.0, StatusCode::BAD_REQUEST);
    assert_eq!(lan.get("/inbox?page=1").await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn texts_follow_the_language_of_the_request() {
    let town = Town::start().await;
    let role = town.role().await;
    let lan = Citizen::of(&town, &role);
    lan.pay(1).await;
    let url = format!("{}/notifications/v1/inbox", role.url);
    let (_, page) = answer(town.client.get(url).bearer_auth(&lan.token)).await;
    assert_eq!(page["items"][0]["title"], "Thanh toán thành công");
}

#[tokio::test]
async fn nothing_is_shown_without_a_token() {
    let town = Town::start().await;
    let role = town.role().await;
    let id = Uuid::new_v4();
    let routes = [
        (Method::GET, "/inbox".to_owned()),
        (Method::POST, format!("/inbox/{id}/read")),
        (Method::POST, format!("/messages/{id}/received")),
        (Method::GET, "/stream".to_owned()),
        (Method::GET, "/preferences".to_owned()),
        (Method::PUT, "/preferences".to_owned()),
        (Method::GET, "/devices".to_owned()),
        (Method::POST, "/devices".to_owned()),
        (Method::DELETE, format!("/devices/{id}")),
        (Method::GET, "/wards".to_owned()),
        (Method::PUT, "/wards".to_owned()),
        (Method::GET, "/alerts".to_owned()),
        (Method::POST, "/alerts".to_owned()),
        (Method::GET, format!("/alerts/{id}")),
        (Method::POST, format!("/alerts/{id}/adopt")),
        (Method::POST, format!("/alerts/{id}/release")),
        (Method::POST, format!("/alerts/{id}/cancel")),
        (Method::GET, format!("/alerts/{id}/reach")),
        (Method::GET, "/news".to_owned()),
        (Method::POST, "/news".to_owned()),
    ];
    let paths = role.description["paths"].as_object().unwrap();
    let (public, ours): (Vec<_>, Vec<_>) =
        paths.iter().partition(|(path, _)| path.starts_with("/cap/") || path.as_str() == crate::receipt::PATH);
    assert_eq!(public.len(), 4);
    let described = ours.into_iter().flat_map(|(_, path)| path.as_object().unwrap());
    let described: Vec<_> = described.map(|(_, operation)| &operation["security"]).collect();
    assert_eq!(described, vec![&json!([{ "bearer": [] }]); routes.len()]);
    for (method, path) in routes {
        let request = town.client.request(method.clone(), format!("{}/notifications/v1{path}", role.url));
        let (status, problem) = answer(request).await;
        assert_eq!(
            (status, &problem["code"]),
            (StatusCode::UNAUTHORIZED, &json!("unauthenticated")),
            "{method} {path}"
        );
    }
}

#[tokio::test]
async fn what_is_switched_off_does_not_arrive() {
    let town = Town::start().await;
    let role = town.role().await;
    let lan = Citizen::of(&town, &role);
    let (status, before) = lan.get("/preferences").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(before["language"], Value::Null);
    for lane in Lane::ALL {
        for channel in Channel::ALL {
            assert_eq!(before["lanes"][lane.name()][channel.name()], json!(true));
        }
    }
    let wish = json!({ "language": "en", "lanes": { "payment": { "push": false, "in-app": false } } });
    let (status, after) = lan.call(Method::PUT, "/preferences", Some(wish.clone())).await;
    assert_eq!(
        (status, &after["lanes"]["payment"]),
        (StatusCode::OK, &json!({ "in-app": false, "push": false, "sms": true }))
    );
    assert_eq!(lan.get("/preferences").await.1, after);
    town.device(lan.id, "phone-1").await;
    lan.pay(1).await;
    for channel in ["push", "in-app"] {
        assert_eq!(town.message(lan.id, channel).await, ("suppressed".to_owned(), Some("muted".to_owned())));
    }
    assert_eq!(lan.get("/inbox").await.1["items"], json!([]));

    let locked = json!({ "lanes": { "security": { "sms": false } } });
    let (status, refused) = lan.call(Method::PUT, "/preferences", Some(locked)).await;
    assert_eq!((status, &refused["code"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("lane-locked")));
    for wrong in [json!({}), json!({ "lanes": { "spam": {} } }), json!({ "lanes": {}, "language": "fr" })] {
        assert_eq!(lan.call(Method::PUT, "/preferences", Some(wrong)).await.0, StatusCode::UNPROCESSABLE_ENTITY);
    }
}

#[tokio::test]
async fn two_changes_of_the_same_choices_do_not_overwrite_each_other() {
    let town = Town::start().await;
    let role = town.role().await;
    let lan = Citizen::of(&town, &role);
    let etag = async || {
        let response = lan.request(Method::GET, "/preferences").send().await.unwrap();
        response.headers()["etag"].to_str().unwrap().to_owned()
    };
    let put = async |version: &str| {
        let request = lan.request(Method::PUT, "/preferences").header("if-match", version);
        answer(request.json(&json!({ "lanes": { "news": { "push": false } } }))).await
    };
    let first = etag().await;
    assert_eq!(put(&first).await.0, StatusCode::OK);
    let (status, refused) = put(&first).await;
    assert_eq!((status, &refused["code"]), (StatusCode::PRECONDITION_FAILED, &json!("precondition-failed")));
    assert_eq!(put(&etag().await).await.0, StatusCode::OK);
    assert_eq!(put("*").await.0, StatusCode::OK);
    assert_eq!(put("nonsense").await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn devices_come_go_and_change_hands() {
    let town = Town::start().await;
    let role = town.role().await;
    let (lan, other) = (Citizen::of(&town, &role), Citizen::of(&town, &role));
    let device = json!({ "token": "phone-1", "platform": "fcm", "name": "Điện thoại" });
    let post = |citizen: &Citizen<'_>, key: &str, body: &Value| {
        answer(citizen.request(Method::POST, "/devices").header("idempotency-key", key).json(body))
    };
    let (status, first) = post(&lan, "k1", &device).await;
    assert_eq!(status, StatusCode::CREATED);
    assert_eq!((&first["name"], &first["platform"]), (&json!("Điện thoại"), &json!("fcm")));
    assert!(first["token"].is_null());
    assert_eq!(post(&lan, "k1", &device).await, (StatusCode::CREATED, first.clone()));
    let renamed = json!({ "token": "phone-1", "platform": "fcm", "name": "Máy cũ" });
    let (status, reused) = post(&lan, "k1", &renamed).await;
    assert_eq!((status, &reused["code"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("idempotency-key-reused")));
    assert_eq!(post(&lan, "k2", &renamed).await.1["id"], first["id"], "the same token is the same device");
    let (status, missing) = answer(lan.request(Method::POST, "/devices").json(&device)).await;
    assert_eq!((status, &missing["code"]), (StatusCode::BAD_REQUEST, &json!("idempotency-key-missing")));

    let (_, moved) = post(&other, "k1", &device).await;
    assert_ne!(moved["id"], first["id"]);
    assert_eq!(lan.get("/devices").await.1["items"], json!([]));
    let path = format!("/devices/{}", moved["id"].as_str().unwrap());
    assert_eq!(lan.call(Method::DELETE, &path, None).await.0, StatusCode::NOT_FOUND);
    assert_eq!(other.call(Method::DELETE, &path, None).await.0, StatusCode::NO_CONTENT);
    assert_eq!(other.call(Method::DELETE, &path, None).await.0, StatusCode::NOT_FOUND);

    for wrong in [
        json!({ "token": "", "platform": "fcm", "name": "x" }),
        json!({ "token": "a b", "platform": "fcm", "name": "x" }),
        json!({ "token": "a", "platform": "fcm", "name": " " }),
        json!({ "token": "a", "platform": "apns", "name": "x" }),
        json!({ "token": "a", "platform": "fcm", "name": "x", "more": 1 }),
        json!({ "token": "a".repeat(4_097), "platform": "fcm", "name": "x" }),
    ] {
        assert_eq!(post(&lan, "k9", &wrong).await.0, StatusCode::UNPROCESSABLE_ENTITY, "{wrong}");
    }
}

#[tokio::test]
async fn a_device_ends_with_the_session_that_registered_it_last() {
    let town = Town::start().await;
    let role = town.role().await;
    let lan = Citizen::of(&town, &role);
    let session = platform::id::new();
    let token = town.issuer.token(lan.id, session, TOKEN_LIFE_S);
    let again = Citizen { town: &town, role: &role, id: lan.id, session, token };
    let device = |token: &str| Some(json!({ "token": token, "platform": "fcm", "name": "x" }));
    for token in ["old-phone", "phone", "tablet"] {
        assert_eq!(lan.call(Method::POST, "/devices", device(token)).await.0, StatusCode::CREATED);
    }
    for token in ["phone", "laptop"] {
        assert_eq!(again.call(Method::POST, "/devices", device(token)).await.0, StatusCode::CREATED);
    }
    let forget_at = town.clock.now() + chrono::TimeDelta::minutes(15);
    let revoked = proto::identity::v1::SessionRevoked {
        user_id: lan.id.to_string(),
        session_id: lan.session.to_string(),
        position: 1,
        forget_at: forget_at.timestamp(),
    };
    let revoked = event(lan.id, &revoked);
    town.happen(std::slice::from_ref(&revoked)).await;
    town.happen(&[revoked]).await;
    let nothing = platform::id::new();
    let left = crate::device::unreached((&town.pool, &town.persons()), lan.id, nothing).await.unwrap();
    assert_eq!(
        left.iter().map(|target| target.token.as_str()).collect::<BTreeSet<_>>(),
        BTreeSet::from(["laptop", "phone"])
    );
    // Its token has not expired, and word of its end may not have come to every process.
    let (status, refused) = lan.call(Method::POST, "/devices", device("old-phone")).await;
    assert_eq!((status, &refused["reason"]), (StatusCode::UNAUTHORIZED, &json!("revoked")));
    assert_eq!(town.count("SELECT count(*) FROM notifications.device").await, 2);
    crate::retention::forget_sessions(&town.pool, forget_at - chrono::TimeDelta::seconds(1)).await.unwrap();
    assert_eq!(town.count("SELECT count(*) FROM notifications.ended_session").await, 1);
    crate::retention::forget_sessions(&town.pool, forget_at + chrono::TimeDelta::seconds(1)).await.unwrap();
    assert_eq!(town.count("SELECT count(*) FROM notifications.ended_session").await, 0);
}

#[tokio::test]
async fn a_citizen_has_a_bounded_number_of_devices() {
    let town = Town::start().await;
    let role = town.role().await;
    let lan = Citizen::of(&town, &role);
    for number in 0..crate::device::MAX_DEVICES {
        let body = json!({ "token": format!("phone-{number}"), "platform": "fcm", "name": "x" });
        assert_eq!(lan.call(Method::POST, "/devices", Some(body)).await.0, StatusCode::CREATED);
    }
    let body = json!({ "token": "one-more", "platform": "fcm", "name": "x" });
    let (status, refused) = lan.call(Method::POST, "/devices", Some(body)).await;
    assert_eq!((status, &refused["code"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("too-many-devices")));
    let (_, page) = lan.get("/devices?limit=15").await;
    assert_eq!(page["items"].as_array().unwrap().len(), 15);
    let (_, rest) = lan.get(&format!("/devices?limit=15&cursor={}", page["next_cursor"].as_str().unwrap())).await;
    assert_eq!(rest["items"].as_array().unwrap().len(), 5);
}

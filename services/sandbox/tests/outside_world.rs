//! The sandbox over a real listener, as its partners meet it.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use http::{HeaderMap, Method, StatusCode};
use platform::clock::Clock;
use platform::task::Shutdown;
use sandbox::{Config, PARTNER_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, sign};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use uuid::Uuid;

/// How long a condition may take to come true.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a partner received, and how often it still refuses.
#[derive(Clone, Default)]
struct Inbox(Arc<Mutex<InboxState>>);

#[derive(Default)]
struct InboxState {
    received: Vec<(HeaderMap, Bytes)>,
    refusals_left: usize,
    attempts: usize,
}

struct Town {
    url: String,
    partner_url: String,
    config: Config,
    clock: Clock,
    inbox: Inbox,
    client: reqwest::Client,
    shutdown: Shutdown,
}

impl Drop for Town {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}

async fn callback(State(inbox): State<Inbox>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let mut state = inbox.0.lock().unwrap();
    state.attempts += 1;
    if state.refusals_left > 0 {
        state.refusals_left -= 1;
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    state.received.push((headers, body));
    StatusCode::NO_CONTENT
}

impl Town {
    async fn start() -> Self {
        let (config, clock, inbox, shutdown) = (Config::generate(), Clock::test(), Inbox::default(), Shutdown::new());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(sandbox::serve(listener, config.clone(), clock.clone(), shutdown.clone()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let partner_url = format!("http://{}/back?from=bank", listener.local_addr().unwrap());
        let partner = Router::new().route("/back", post(callback)).with_state(inbox.clone());
        tokio::spawn(async move { axum::serve(listener, partner).await });
        Self { url, partner_url, config, clock, inbox, client: reqwest::Client::new(), shutdown }
    }

    async fn signed(&self, method: Method, path: &str, body: Vec<u8>) -> (StatusCode, Value) {
        let timestamp = self.clock.now().timestamp();
        let bank = &self.config.bank;
        let signature = sign(bank.partner_secret.expose(), &method, path, timestamp, &body);
        let request = self
            .client
            .request(method, format!("{}{path}", self.url))
            .header(PARTNER_HEADER, &bank.partner)
            .header(TIMESTAMP_HEADER, timestamp)
            .header(SIGNATURE_HEADER, signature)
            .body(body);
        answer(request).await
    }

    async fn collect(&self, request_id: Uuid, account: &str, amount: &str) -> (StatusCode, Value) {
        let body = json!({
            "request_id": request_id,
            "account": account,
            "amount": { "amount": amount, "currency": "VND" },
            "callback_url": self.partner_url,
        });
        self.signed(Method::POST, "/bank/v1/collections", body.to_string().into_bytes()).await
    }

    async fn status(&self, request_id: Uuid) -> (StatusCode, Value) {
        self.signed(Method::GET, &format!("/bank/v1/collections/{request_id}"), Vec::new()).await
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        answer(self.client.get(format!("{}{path}", self.url))).await
    }

    async fn post(&self, path: &str, body: Value) -> (StatusCode, Value) {
        answer(self.client.post(format!("{}{path}", self.url)).json(&body)).await
    }

    async fn bearer(&self, path: &str, token: &str, body: Value) -> (StatusCode, Value) {
        answer(self.client.post(format!("{}{path}", self.url)).bearer_auth(token).json(&body)).await
    }

    async fn balance(&self, account: &str) -> i64 {
        let (_, body) = self.get(&format!("/bank/v1/accounts/{account}")).await;
        body["balance"]["amount"].as_str().unwrap().parse().unwrap()
    }

    async fn callbacks(&self, count: usize) -> Vec<Value> {
        until(|| self.inbox.0.lock().unwrap().received.len() >= count).await;
        let state = self.inbox.0.lock().unwrap();
        state.received.iter().map(|(_, body)| serde_json::from_slice(body).unwrap()).collect()
    }
}

async fn answer(request: reqwest::RequestBuilder) -> (StatusCode, Value) {
    let response = request.send().await.unwrap();
    let status = response.status();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

async fn until(mut condition: impl FnMut() -> bool) {
    tokio::time::timeout(PATIENCE, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("the condition comes true in time");
}

#[tokio::test]
async fn a_collection_takes_money_once_and_calls_back_signed() {
    let town = Town::start().await;
    let request_id = Uuid::new_v4();
    let before = town.balance("1000000001").await;
    let (status, first) = town.collect(request_id, "1000000001", "200000").await;
    assert_eq!((status, &first["status"]), (StatusCode::ACCEPTED, &json!("processing")));
    let callbacks = town.callbacks(1).await;
    assert_eq!(
        callbacks[0],
        json!({
            "request_id": request_id,
            "bank_reference": first["bank_reference"],
            "status": "succeeded",
            "amount": { "amount": "200000", "currency": "VND" },
        })
    );
    let (headers, body) = town.inbox.0.lock().unwrap().received[0].clone();
    let timestamp = headers[TIMESTAMP_HEADER].to_str().unwrap().parse().unwrap();
    let expected = sign(town.config.bank.secret.expose(), &Method::POST, "/back", timestamp, &body);
    assert_eq!(headers[SIGNATURE_HEADER].to_str().unwrap(), expected);
    assert_eq!(headers[PARTNER_HEADER], town.config.bank.name.as_str());

    let (status, again) = town.collect(request_id, "1000000001", "200000").await;
    assert_eq!((status, &again), (StatusCode::ACCEPTED, &first));
    let (status, other) = town.collect(request_id, "1000000001", "200001").await;
    assert_eq!((status, &other["code"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("request-id-reused")));
    assert_eq!(town.balance("1000000001").await, before - 200_000);
    let (status, queried) = town.status(request_id).await;
    assert_eq!((status, &queried), (StatusCode::OK, &callbacks[0]));
    let (status, unknown) = town.status(Uuid::new_v4()).await;
    assert_eq!((status, &unknown["code"]), (StatusCode::NOT_FOUND, &json!("not-found")));
    let (_, statement) = town.get("/bank/statement").await;
    assert_eq!(statement["items"].as_array().unwrap().len(), 1);
    assert_eq!(statement["items"][0]["account"], "1000000001");
}

#[tokio::test]
async fn a_collection_without_funds_or_from_a_closed_account_fails_with_its_reason() {
    let town = Town::start().await;
    town.collect(Uuid::new_v4(), sandbox::POOR_ACCOUNT, "1").await;
    town.callbacks(1).await;
    town.collect(Uuid::new_v4(), sandbox::CLOSED_ACCOUNT, "1").await;
    let callbacks = town.callbacks(2).await;
    let reasons: Vec<_> = callbacks.iter().map(|callback| callback["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, ["insufficient-funds", "account-closed"]);
    let opened = json!({ "account": "5000000001", "balance": { "amount": "70", "currency": "VND" } });
    assert_eq!(town.post("/bank/v1/accounts", opened).await.0, StatusCode::CREATED);
    town.collect(Uuid::new_v4(), "5000000001", "70").await;
    assert_eq!(town.callbacks(3).await[2]["status"], "succeeded");
    assert_eq!(town.balance("5000000001").await, 0);
}

#[tokio::test]
async fn unsigned_forged_and_old_requests_are_refused() {
    let town = Town::start().await;
    let unsigned = town.post("/bank/v1/collections", json!({})).await;
    assert_eq!((unsigned.0, &unsigned.1["code"]), (StatusCode::UNAUTHORIZED, &json!("unauthenticated")));
    let path = format!("/bank/v1/collections/{}", Uuid::new_v4());
    let bank = &town.config.bank;
    let now = town.clock.now().timestamp();
    for (secret, timestamp) in [("wrong", now), (bank.partner_secret.expose(), now - 301)] {
        let request = town
            .client
            .get(format!("{}{path}", town.url))
            .header(PARTNER_HEADER, &bank.partner)
            .header(TIMESTAMP_HEADER, timestamp)
            .header(SIGNATURE_HEADER, sign(secret, &Method::GET, &path, timestamp, b""));
        assert_eq!(answer(request).await.0, StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn bad_bodies_get_a_problem() {
    let town = Town::start().await;
    let good = json!({
        "request_id": Uuid::new_v4(),
        "account": "1000000001",
        "amount": { "amount": "1", "currency": "VND" },
        "callback_url": town.partner_url,
    });
    let changed = |field: &str, value: Value| {
        let mut body = good.clone();
        body[field] = value;
        body
    };
    for body in [
        changed("surprise", json!(1)),
        changed("amount", json!({ "amount": "0", "currency": "VND" })),
        changed("amount", json!({ "amount": 1, "currency": "VND" })),
        changed("account", json!("12ab")),
        changed("callback_url", json!("file:///etc/passwd")),
        changed("request_id", json!("1")),
    ] {
        let (status, answer) = town.signed(Method::POST, "/bank/v1/collections", body.to_string().into()).await;
        assert!(status.is_client_error(), "{body}: {status}");
        assert!(answer["code"].is_string(), "{answer}");
    }
    let (status, _) = town.signed(Method::POST, "/bank/v1/collections", vec![b'x'; sandbox::MAX_BODY + 1]).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    let (status, _) = town.signed(Method::POST, "/bank/v1/collections", vec![0xff, 0xfe]).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(town.get("/nowhere").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn callbacks_come_late_twice_or_never_when_asked() {
    let town = Town::start().await;
    town.post("/bank/faults", json!({ "duplicate": true, "times": 1 })).await;
    let doubled = Uuid::new_v4();
    town.collect(doubled, "1000000001", "1").await;
    let callbacks = town.callbacks(2).await;
    assert_eq!(callbacks[0], callbacks[1]);

    town.post("/bank/faults", json!({ "drop_callback": true, "times": 1 })).await;
    let dropped = Uuid::new_v4();
    town.collect(dropped, "1000000001", "1").await;
    let late = Uuid::new_v4();
    town.post("/bank/faults", json!({ "callback_delay_ms": 150, "times": 1 })).await;
    town.collect(late, "1000000001", "1").await;
    let callbacks = town.callbacks(3).await;
    assert_eq!(callbacks.len(), 3);
    assert_eq!(callbacks[2]["request_id"], json!(late));
    assert_eq!(town.status(dropped).await.1["status"], "succeeded");
}

#[tokio::test]
async fn a_callback_is_retried_until_it_is_accepted() {
    let town = Town::start().await;
    town.inbox.0.lock().unwrap().refusals_left = 3;
    town.collect(Uuid::new_v4(), "1000000002", "5").await;
    assert_eq!(town.callbacks(1).await.len(), 1);
    assert_eq!(town.inbox.0.lock().unwrap().attempts, 4);
}

#[tokio::test]
async fn an_error_strikes_before_or_after_the_effect() {
    let town = Town::start().await;
    town.post("/bank/faults", json!({ "error_rate": 1.0, "times": 1 })).await;
    let before = Uuid::new_v4();
    assert_eq!(town.collect(before, "1000000003", "1").await.0, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(town.status(before).await.0, StatusCode::NOT_FOUND);

    town.post("/bank/faults", json!({ "error_rate": 1.0, "error_after_effect": true, "times": 1 })).await;
    let after = Uuid::new_v4();
    assert_eq!(town.collect(after, "1000000003", "1").await.0, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(town.callbacks(1).await[0]["request_id"], json!(after));

    town.post("/bank/faults", json!({ "timeout": true })).await;
    let path = format!("{}/bank/faults", town.url);
    let hanging = tokio::time::timeout(Duration::from_millis(200), town.collect(Uuid::new_v4(), "1000000003", "1"));
    assert!(hanging.await.is_err(), "no answer came");
    assert_eq!(town.client.delete(&path).send().await.unwrap().status(), StatusCode::NO_CONTENT);
    assert_eq!(town.get("/bank/faults").await.1, Value::Null);
    assert_eq!(town.collect(Uuid::new_v4(), "1000000003", "1").await.0, StatusCode::ACCEPTED);
    assert_eq!(town.post("/bank/faults", json!({ "error_rate": 2 })).await.0, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn text_messages_are_shown_newest_first_and_once_per_reference() {
    let town = Town::start().await;
    let path = "/gateways/sms/v1/messages";
    let token = town.config.sms.token.expose().to_owned();
    let sms = |text: &str, reference: &str| json!({ "to": "+84901234567", "text": text, "reference": reference });
    assert_eq!(town.bearer(path, "wrong", sms("a", "1")).await.0, StatusCode::UNAUTHORIZED);
    let (status, first) = town.bearer(path, &token, sms("first", "1")).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    assert_eq!(town.bearer(path, &token, sms("first", "1")).await.1, first);
    let mut second = sms("second", "2");
    second["receipt_url"] = json!(town.partner_url);
    town.bearer(path, &token, second).await;
    assert_eq!(town.callbacks(1).await[0]["status"], "delivered");
    for to in ["%2B84901234567", "+84901234567"] {
        let (_, list) = town.get(&format!("/sms?to={to}")).await;
        let texts: Vec<_> = list.as_array().unwrap().iter().map(|sms| sms["text"].as_str().unwrap()).collect();
        assert_eq!(texts, ["second", "first"]);
    }
    assert_eq!(town.get("/sms?to=%2B84900000000").await.1, json!([]));
    let bad = json!({ "to": "0901234567", "text": "x", "reference": "3" });
    assert_eq!(town.bearer(path, &token, bad).await.0, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn push_messages_speak_fcm() {
    let town = Town::start().await;
    let path = format!("/gateways/fcm/v1/projects/{}/messages:send", town.config.push.project);
    let token = town.config.push.token.expose().to_owned();
    let push = |to: &str| {
        json!({ "message": {
            "token": to,
            "data": { "kind": "test" },
            "android": { "priority": "HIGH", "data": { "kind": "test", "title": "Chào", "body": "Huế" } },
            "apns": { "payload": { "aps": { "alert": { "title": "Chào", "body": "Huế" } } } },
        }})
    };
    let (status, sent) = town.bearer(&path, &token, push("phone-1")).await;
    assert_eq!(status, StatusCode::OK);
    assert!(sent["name"].as_str().unwrap().starts_with("projects/"));
    let (_, list) = town.get("/push?token=phone-1").await;
    assert_eq!(
        list[0]["data"],
        json!({ "kind": "test", "title": "Chào", "body": "Huế" }),
        "as an app on Android gets it"
    );
    assert_eq!((&list[0]["priority"], &list[0]["alert"]["body"]), (&json!("HIGH"), &json!("Huế")));
    let long = "x".repeat(2_100);
    for (field, wrong) in [
        ("data", json!({ "from": "us" })),
        ("data", json!({ "gcm.x": "y" })),
        ("data", json!({ "count": 1 })),
        ("data", json!({ "body": "x".repeat(4_100) })),
        ("android", json!({ "priority": "SOON" })),
        ("android", json!({ "data": { "google.a": "b" } })),
        ("apns", json!({ "payload": { "aps": { "alert": { "title": long, "body": long } } } })),
    ] {
        let mut message = push("phone-1");
        message["message"][field] = wrong;
        let (status, refused) = town.bearer(&path, &token, message.clone()).await;
        assert_eq!(
            (status, &refused["error"]["status"]),
            (StatusCode::BAD_REQUEST, &json!("INVALID_ARGUMENT")),
            "{message}"
        );
    }

    let (status, dead) = town.bearer(&path, &token, push("dead-1")).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(dead["error"]["details"][0]["errorCode"], "UNREGISTERED");
    let (status, foreign) = town.bearer(&path, "wrong", push("phone-1")).await;
    assert_eq!((status, &foreign["error"]["status"]), (StatusCode::UNAUTHORIZED, &json!("UNAUTHENTICATED")));
    town.post("/push/faults", json!({ "error_rate": 1.0, "times": 1 })).await;
    let (status, failed) = town.bearer(&path, &token, push("phone-1")).await;
    assert_eq!((status, &failed["error"]["status"]), (StatusCode::INTERNAL_SERVER_ERROR, &json!("INTERNAL")));
    assert_eq!(town.get("/push?token=phone-1").await.1.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn the_index_lists_what_there_is() {
    let town = Town::start().await;
    let (_, index) = town.get("/").await;
    assert_eq!(index["bank_accounts"]["without_money"], sandbox::POOR_ACCOUNT);
    let html = town.client.get(&town.url).header("accept", "text/html").send().await.unwrap().text().await.unwrap();
    assert!(html.contains("/bank/v1/collections"));
    assert_eq!(town.get("/healthz").await.0, StatusCode::OK);
}

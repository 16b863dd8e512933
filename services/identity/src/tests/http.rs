//! The public routes, as a client sees them.

use axum::body::Body;
use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::device::DeviceId;
use crate::testing::{Stage, config};

pub(super) struct Answer {
    pub(super) status: StatusCode,
    etag: Option<String>,
    cache: String,
    content_type: String,
    retry_after: Option<String>,
    pub(super) body: Value,
}

impl Answer {
    pub(super) fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    pub(super) fn text(&self, field: &str) -> String {
        self.body[field].as_str().unwrap_or_default().to_owned()
    }
}

pub(super) struct Call<'a> {
    stage: &'a Stage,
    builder: http::request::Builder,
}

impl Stage {
    pub(super) fn call(&self, method: Method, path: &str) -> Call<'_> {
        Call { stage: self, builder: Request::builder().method(method).uri(path).header(header::ACCEPT_LANGUAGE, "en") }
    }
}

impl Call<'_> {
    pub(super) fn token(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub(super) fn key(self, key: &str) -> Self {
        self.header("idempotency-key", key)
    }

    fn header(mut self, name: &str, value: &str) -> Self {
        self.builder = self.builder.header(name, value);
        self
    }

    pub(super) async fn json(self, body: Value) -> Answer {
        self.header("content-type", "application/json").send(body.to_string()).await
    }

    pub(super) async fn empty(self) -> Answer {
        self.send(String::new()).await
    }

    async fn send(self, body: impl Into<Body>) -> Answer {
        let request = self.builder.body(body.into()).expect("a request");
        let response = self.stage.router.clone().oneshot(request).await.expect("an answer");
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (status, etag, retry_after) = (response.status(), header(header::ETAG), header(header::RETRY_AFTER));
        let (cache, content_type) =
            (header(header::CACHE_CONTROL).unwrap_or_default(), header(header::CONTENT_TYPE).unwrap_or_default());
        let bytes = response.into_body().collect().await.expect("a body").to_bytes();
        let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).expect("JSON") };
        Answer { status, etag, cache, content_type, retry_after, body }
    }
}

async fn sign_in(stage: &Stage, phone: &str, device: DeviceId) -> Value {
    let asked = stage
        .call(Method::POST, "/identity/v1/otp")
        .json(json!({ "phone": phone, "purpose": "sign-in", "device_id": device }))
        .await;
    assert_eq!((asked.status, asked.cache.as_str()), (StatusCode::ACCEPTED, "no-store"));
    let challenge = asked.text("challenge_id");
    let taken = stage.identity.take_code(challenge.parse().expect("a UUID")).await.expect("waits");
    let body = json!({ "challenge_id": challenge, "code": taken.code.expose(), "device": { "id": device, "name": "Máy của An" } });
    let opened = stage.call(Method::POST, "/identity/v1/sessions").json(body).await;
    assert_eq!((opened.status, opened.cache.as_str()), (StatusCode::CREATED, "no-store"));
    opened.body
}

#[tokio::test]
async fn a_citizen_signs_in_sets_a_pin_and_signs_out() {
    let stage = Stage::new().await;
    let device = DeviceId::generate();
    let session = sign_in(&stage, "0912 345 678", device).await;
    assert_eq!((&session["expires_in"], &session["token_type"]), (&json!(600), &json!("Bearer")));
    let user = &session["user"];
    assert_eq!(
        (&user["phone_masked"], &user["tier"], &user["language"], &user["new"]),
        (&json!("+84******678"), &json!(0), &json!("en"), &json!(true))
    );
    let token = session["access_token"].as_str().expect("a token");

    let me = stage.call(Method::GET, "/identity/v1/me").token(token).empty().await;
    assert_eq!((me.status, me.etag.as_deref(), &me.body["pin_set"]), (StatusCode::OK, Some("\"1\""), &json!(false)));

    let set = stage.call(Method::PUT, "/identity/v1/me/pin").token(token).json(json!({ "pin": "502917" })).await;
    assert_eq!(set.status, StatusCode::OK, "{}", set.body);

    let refreshed = stage
        .call(Method::POST, "/identity/v1/sessions/refresh")
        .json(json!({ "refresh_token": session["refresh_token"] }))
        .await;
    assert_eq!((refreshed.status, refreshed.cache.as_str()), (StatusCode::OK, "no-store"));
    let token = refreshed.text("access_token");

    let devices = stage.call(Method::GET, "/identity/v1/me/devices").token(&token).empty().await;
    assert_eq!((&devices.body["items"][0]["current"], &devices.body["next_cursor"]), (&json!(true), &Value::Null));

    let out = stage.call(Method::DELETE, "/identity/v1/sessions/current").token(&token).empty().await;
    assert_eq!(out.status, StatusCode::NO_CONTENT);
    let refused = stage.call(Method::GET, "/identity/v1/me").token(&token).empty().await;
    assert_eq!((refused.status, refused.text("reason")), (StatusCode::UNAUTHORIZED, "revoked".to_owned()));
}

#[tokio::test]
async fn wrong_codes_say_how_many_tries_are_left() {
    let stage = Stage::new().await;
    let asked = stage.ask("0912345678", DeviceId::generate()).await.expect("sent");
    let code = stage.identity.take_code(asked.id).await.expect("waits").code;
    let answer = |code: String| {
        let body = json!({ "challenge_id": asked.id, "code": code, "device": { "name": "x" } });
        stage.call(Method::POST, "/identity/v1/sessions").json(body)
    };
    let wrong = crate::testing::wrong(&code).expose().to_owned();
    let refused = answer(wrong).await;
    assert_eq!((refused.status.as_u16(), refused.code(), &refused.body["tries_left"]), (422, "otp-wrong", &json!(4)));
    assert_eq!(refused.content_type, "application/problem+json");
    assert_eq!(answer(code.expose().to_owned()).await.status, StatusCode::CREATED, "the device's id may be left out");
    let used = answer(code.expose().to_owned()).await;
    assert_eq!((used.status.as_u16(), used.code()), (409, "otp-used"));
}

#[tokio::test]
async fn a_profile_is_edited_by_who_has_read_it() {
    let stage = Stage::new().await;
    let session = sign_in(&stage, "0912345678", DeviceId::generate()).await;
    let token = session["access_token"].as_str().expect("a token");
    let patch = |body: Value, seen: &str| {
        stage.call(Method::PATCH, "/identity/v1/me").token(token).header("if-match", seen).json(body)
    };
    let named = patch(json!({ "display_name": " Nguyễn  Thị Hương " }), "\"1\"").await;
    assert_eq!(
        (named.status, named.text("display_name"), named.etag.as_deref()),
        (StatusCode::OK, "Nguyễn Thị Hương".to_owned(), Some("\"2\""))
    );
    let stale = patch(json!({ "language": "vi" }), "\"1\"").await;
    assert_eq!((stale.status.as_u16(), stale.code()), (412, "precondition-failed"));
    let changed = patch(json!({ "language": "vi" }), "\"2\"").await;
    assert_eq!(
        (&changed.body["language"], changed.text("display_name")),
        (&json!("vi"), "Nguyễn Thị Hương".to_owned())
    );
    let cleared = stage.call(Method::PATCH, "/identity/v1/me").token(token).json(json!({ "display_name": null })).await;
    assert_eq!((&cleared.body["display_name"], cleared.etag.as_deref()), (&Value::Null, Some("\"4\"")));
    let unchanged = stage.call(Method::PATCH, "/identity/v1/me").token(token).json(json!({})).await;
    assert_eq!(unchanged.etag.as_deref(), Some("\"4\""));
    for bad in
        [json!({ "tier": 2 }), json!({ "language": "fr" }), json!({ "display_name": "" }), json!({ "display_name": 7 })]
    {
        assert_eq!(patch(bad.clone(), "*").await.status.as_u16(), 422, "{bad}");
    }
}

#[tokio::test]
async fn bad_input_is_refused_with_a_code_and_a_sentence() {
    let stage = Stage::new().await;
    let device = DeviceId::generate();
    let good = json!({ "phone": "0912345678", "purpose": "sign-in", "device_id": device });
    let with = |field: &str, value: Value| {
        let mut body = good.clone();
        body[field] = value;
        body
    };
    for (body, status, code) in [
        (with("phone", json!("nonsense")), 422, "phone-invalid"),
        (with("phone", json!("02343822222")), 422, "phone-not-mobile"),
        (with("phone", json!("+12024561111")), 422, "phone-not-served"),
        (with("phone", json!("9".repeat(10_000))), 422, "phone-invalid"),
        (with("phone", json!(912_345_678)), 422, "invalid-body"),
        (with("purpose", json!("other")), 422, "invalid-body"),
        (with("device_id", json!("x")), 422, "invalid-body"),
        (with("more", json!(1)), 422, "invalid-body"),
        (json!({}), 422, "invalid-body"),
        (json!([]), 422, "invalid-body"),
    ] {
        let refused = stage.call(Method::POST, "/identity/v1/otp").json(body).await;
        assert_eq!((refused.status.as_u16(), refused.code()), (status, code), "{}", refused.body);
        assert!(!refused.text("detail").is_empty());
    }
    let post = |body: Vec<u8>| {
        stage.call(Method::POST, "/identity/v1/otp").header("content-type", "application/json").send(body)
    };
    assert_eq!(post(b"{\"phone\":\"\xff\"}".to_vec()).await.code(), "malformed-json");
    assert_eq!(post(b"{".to_vec()).await.code(), "malformed-json");
    assert_eq!(post(vec![b' '; 100_000]).await.status.as_u16(), 413);
    assert_eq!(stage.call(Method::POST, "/identity/v1/otp").send("{}").await.status.as_u16(), 415);
    let refused = stage.call(Method::POST, "/identity/v1/sessions/refresh").json(json!({ "refresh_token": "x" })).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (401, "refresh-token-invalid"));
    let session = json!({ "challenge_id": device, "code": "123456", "device": { "name": "x" } });
    assert_eq!(stage.call(Method::POST, "/identity/v1/sessions").json(session.clone()).await.code(), "otp-unknown");
    for (field, value) in [
        ("code", json!("12345a")),
        ("device", json!({ "name": " " })),
        ("device", json!({ "name": "x", "public_key": "x" })),
    ] {
        let mut body = session.clone();
        body[field] = value;
        assert_eq!(
            stage.call(Method::POST, "/identity/v1/sessions").json(body).await.code(),
            "invalid-body",
            "{field}"
        );
    }
    assert_eq!(stage.count("challenge").await, 0);
}

#[tokio::test]
async fn whoever_must_wait_is_told_how_long() {
    let mut config = config();
    config.lifetimes.otp_resend_seconds = 60;
    let stage = Stage::with(config).await;
    let body = json!({ "phone": "0912345678", "purpose": "sign-in", "device_id": DeviceId::generate() });
    let ask = || stage.call(Method::POST, "/identity/v1/otp").json(body.clone());
    let asked = ask().await;
    assert_eq!((asked.status, &asked.body["resend_after"]), (StatusCode::ACCEPTED, &json!(60)));
    let soon = ask().await;
    assert_eq!((soon.status.as_u16(), soon.code()), (429, "otp-too-soon"));
    assert_eq!(soon.retry_after.as_deref(), soon.body["retry_after"].as_u64().map(|wait| wait.to_string()).as_deref());
    stage.redis.kill().await;
    let other = json!({ "phone": "0987654321", "purpose": "sign-in", "device_id": DeviceId::generate() });
    let away = stage.call(Method::POST, "/identity/v1/otp").json(other).await;
    assert_eq!(
        (away.status.as_u16(), away.code(), away.retry_after.as_deref()),
        (503, "sign-in-unavailable", Some("30"))
    );
    assert!(!away.body.to_string().contains("refused"), "the cause is ours alone: {}", away.body);
}

#[tokio::test]
async fn nobody_without_a_token_gets_at_a_citizen() {
    let stage = Stage::new().await;
    let device = DeviceId::generate();
    let session = sign_in(&stage, "0912345678", device).await;
    let removal = format!("/identity/v1/me/devices/{device}");
    let routes = [
        (Method::GET, "/identity/v1/me"),
        (Method::PATCH, "/identity/v1/me"),
        (Method::PUT, "/identity/v1/me/pin"),
        (Method::GET, "/identity/v1/me/devices"),
        (Method::DELETE, removal.as_str()),
        (Method::DELETE, "/identity/v1/sessions/current"),
    ];
    for (method, path) in routes {
        for token in [None, Some("x"), session["refresh_token"].as_str()] {
            let call = stage.call(method.clone(), path);
            let call = if let Some(token) = token { call.token(token) } else { call };
            let refused = call.json(json!({})).await;
            assert_eq!((refused.status.as_u16(), refused.code()), (401, "unauthenticated"), "{method} {path}");
        }
    }
    let other = sign_in(&stage, "0987654321", DeviceId::generate()).await;
    let token = other["access_token"].as_str().expect("a token");
    let missing = stage.call(Method::DELETE, &removal).token(token).empty().await;
    assert_eq!(
        (missing.status.as_u16(), missing.code()),
        (404, "not-found"),
        "another citizen's device does not exist"
    );
    let missing = stage.call(Method::DELETE, "/identity/v1/me/devices/no-uuid").token(token).empty().await;
    assert_eq!(missing.status.as_u16(), 404);
}

#[tokio::test]
async fn pins_are_refused_in_plain_words() {
    let stage = Stage::new().await;
    let session = sign_in(&stage, "0912345678", DeviceId::generate()).await;
    let token = session["access_token"].as_str().expect("a token");
    let put = |body: Value| stage.call(Method::PUT, "/identity/v1/me/pin").token(token).json(body);
    for (body, code) in [
        (json!({ "pin": "123456" }), "pin-weak"),
        (json!({ "pin": "12345" }), "pin-malformed"),
        (json!({ "pin": "502917", "current_pin": "1" }), "pin-malformed"),
        (json!({ "pin": "502917", "current_pin": "111111" }), "pin-not-set"),
        (json!({ "pin": 502_917 }), "invalid-body"),
        (
            json!({ "pin": "502917", "current_pin": "111111", "reset": { "challenge_id": DeviceId::generate(), "code": "111111" } }),
            "invalid-body",
        ),
        (
            json!({ "pin": "502917", "reset": { "challenge_id": DeviceId::generate(), "code": "111111" } }),
            "otp-unknown",
        ),
    ] {
        let refused = put(body).await;
        assert_eq!(refused.code(), code, "{}", refused.body);
        assert!(!refused.body.to_string().contains("502917"), "a PIN is never echoed");
    }
    assert_eq!(put(json!({ "pin": "502917" })).await.status, StatusCode::OK);
    assert_eq!(put(json!({ "pin": "271828" })).await.code(), "pin-proof-required");
    for _ in 0..3 {
        let wrong = put(json!({ "pin": "271828", "current_pin": "483920" })).await;
        assert_eq!((wrong.status.as_u16(), wrong.code()), (403, "pin-wrong"));
    }
    let delayed = put(json!({ "pin": "271828", "current_pin": "502917" })).await;
    assert_eq!(
        (delayed.status.as_u16(), delayed.code(), delayed.retry_after.as_deref()),
        (429, "pin-delayed", Some("30"))
    );
}

#[tokio::test]
async fn the_key_set_is_public_and_may_be_cached() {
    let stage = Stage::new().await;
    let jwks = stage.call(Method::GET, "/.well-known/jwks.json").empty().await;
    assert_eq!((jwks.status, jwks.cache.as_str()), (StatusCode::OK, "public, max-age=300"));
    let keys = jwks.body["keys"].as_array().expect("a list");
    let of = |kind: &str, algorithm: &str| {
        keys.iter().filter(|key| key["kty"] == kind && key["alg"] == algorithm && key.get("d").is_none()).count()
    };
    assert_eq!((of("OKP", "EdDSA"), of("RSA", "RS256"), keys.len()), (2, 2, 4), "of each one that signs and the next");
}

#[tokio::test]
async fn counters_name_nobody() {
    let stage = Stage::new().await;
    sign_in(&stage, "0912345678", DeviceId::generate()).await;
    stage.call(Method::POST, "/identity/v1/sessions/refresh").json(json!({ "refresh_token": "x" })).await;
    let text = stage.context.metrics.encode();
    for head in [
        r#"otp_sent_total{purpose="sign-in","#,
        r#"sessions_issued_total{citizen="new","#,
        r#"refreshes_total{outcome="invalid","#,
    ] {
        let sample = text.lines().find(|line| line.starts_with(&format!("trangtien_identity_{head}")));
        assert!(sample.is_some_and(|line| line.ends_with("} 1")), "{head}\n{text}");
    }
    assert!(!text.contains("912345678"));
}

#[tokio::test]
async fn every_route_is_described_with_its_answers() {
    let stage = Stage::new().await;
    // Who may call what is written in one place; every route of identity stands there.
    let ours = ["/identity/", "/.well-known/", "/oauth2/"];
    let rows = include_str!("../../../../docs/authorisation.csv").lines().skip(1);
    let rows =
        rows.filter_map(|row| row.split_once(',').and_then(|(method, rest)| Some((method, rest.split_once(',')?))));
    let written: Vec<(String, &str)> = rows
        .filter(|(_, (path, _))| ours.iter().any(|prefix| path.starts_with(prefix)))
        .map(|(method, (path, who))| {
            (format!("{} {path}", method.to_lowercase()), who.split(',').next().unwrap_or_default())
        })
        .collect();
    let (_, api) = crate::http::router(stage.identity.clone()).split_for_parts();
    let api = serde_json::to_value(&api).expect("JSON");
    let paths = api["paths"].as_object().expect("paths");
    let mut operations: Vec<String> = Vec::new();
    for (path, item) in paths {
        for (method, operation) in item.as_object().expect("operations") {
            operations.push(format!("{method} {path}"));
            assert!(operation["summary"].is_string(), "{method} {path}");
            assert!(operation["responses"].as_object().is_some_and(|responses| !responses.is_empty()));
            if let Some((_, anonymous)) = written.iter().find(|(row, _)| *row == format!("{method} {path}"))
                && path.starts_with("/identity/")
            {
                assert_eq!(operation["security"].is_array(), *anonymous != "yes", "{method} {path}");
            }
        }
    }
    operations.sort();
    let mut rows: Vec<String> = written.into_iter().map(|(row, _)| row).collect();
    rows.sort();
    assert_eq!(operations, rows, "docs/authorisation.csv has each of them and no other");
}

//! The HTTP layers from outside: bad input becomes a problem with a stable code, and everything has a limit.

use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use axum::routing::{get, post};
use axum::{Extension, Router};
use http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use platform::auth::{KeySource, Principal, PublicKeys, Revocations, Verifier};
use platform::clock::Clock;
use platform::http::{HttpSettings, IdempotentJson, Json, ServeSettings};
use platform::problem::Problem;
use platform::task::Shutdown;
use serde::Deserialize;
use serde_json::Value;
use tower::ServiceExt as _;

struct NoKeys;

#[async_trait]
impl KeySource for NoKeys {
    async fn keys(&self) -> Result<PublicKeys, Box<dyn std::error::Error + Send + Sync>> {
        Err("none".into())
    }
    async fn revocations(&self, _: i64) -> Result<Revocations, Box<dyn std::error::Error + Send + Sync>> {
        Err("none".into())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    count: u32,
}

async fn order(Json(order): Json<Order>) -> String {
    order.count.to_string()
}

async fn create(request: IdempotentJson<Order>) -> String {
    format!("{}:{}:{}", request.key, request.body.count, request.fingerprint[0])
}

#[expect(clippy::panic, reason = "the panic is what is tested")]
async fn panics() -> String {
    panic!("on purpose")
}

fn router() -> Router {
    let routes = Router::new()
        .route("/order", post(order))
        .route("/create", post(create))
        .route("/panics", get(panics))
        .route("/slow", get(|| async { std::future::pending::<()>().await }))
        .route("/mine", get(|_: Principal| async { "mine" }))
        .layer(Extension(()));
    let (verifier, _task) = Verifier::new(NoKeys, Clock::system());
    platform::http::finish(routes, HttpSettings { max_body_bytes: 1_024, deadline_ms: 200 }, verifier, Shutdown::new())
}

fn post_json(path: &str, body: impl Into<Body>) -> Request<Body> {
    let builder = Request::post(path).header(header::CONTENT_TYPE, "application/json");
    builder.body(body.into()).expect("valid request")
}

async fn problem(request: Request<Body>) -> (u16, String, Value) {
    let response: Response<Body> = router().oneshot(request).await.expect("infallible");
    let status = response.status();
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json", "{status}");
    assert!(response.headers().contains_key("x-request-id"));
    let bytes = response.into_body().collect().await.expect("body").to_bytes();
    let body: Value = serde_json::from_slice(&bytes).expect("JSON");
    for member in ["type", "title", "status", "detail", "code", "trace_id"] {
        assert!(body.get(member).is_some(), "{member} is missing in {body}");
    }
    (status.as_u16(), body["code"].as_str().expect("text").to_owned(), body)
}

#[tokio::test]
async fn bad_bodies_get_stable_codes() {
    let cases: Vec<(Vec<u8>, u16, &str)> = vec![
        (b"{".to_vec(), 400, "malformed-json"),
        (b"".to_vec(), 400, "malformed-json"),
        (b"{\"count\":1} x".to_vec(), 400, "malformed-json"),
        (b"{\"count\":\"\xff\"}".to_vec(), 400, "malformed-json"),
        (b"{\"count\":-1}".to_vec(), 422, "invalid-body"),
        (b"{\"count\":1,\"more\":2}".to_vec(), 422, "invalid-body"),
        (b"{\"count\":99999999999999999999}".to_vec(), 422, "invalid-body"),
        (b"{}".to_vec(), 422, "invalid-body"),
        (b"[]".to_vec(), 422, "invalid-body"),
        (b" [1]".to_vec(), 422, "invalid-body"),
        (vec![b' '; 2_000], 413, "body-too-large"),
    ];
    for (body, status, code) in cases {
        let shown = String::from_utf8_lossy(&body).into_owned();
        let (got_status, got_code, _) = problem(post_json("/order", body)).await;
        assert_eq!((got_status, got_code.as_str()), (status, code), "{shown:.40}");
    }
    let (status, code, _) = problem(Request::post("/order").body(Body::from("{}")).expect("valid")).await;
    assert_eq!((status, code.as_str()), (415, "unsupported-media-type"));
}

#[tokio::test]
async fn the_language_follows_the_client() {
    let request = |language: &str| {
        Request::get("/nowhere").header(header::ACCEPT_LANGUAGE, language).body(Body::empty()).expect("valid request")
    };
    assert_eq!(problem(request("en-GB")).await.2["title"], "Not found");
    assert_eq!(problem(request("vi")).await.2["title"], "Không tìm thấy");
}

#[tokio::test]
async fn a_panic_and_a_slow_handler_are_answered() {
    let get = |path: &str| Request::get(path).body(Body::empty()).expect("valid request");
    assert_eq!(problem(get("/panics")).await.0, 500);
    let (status, code, _) = problem(get("/slow")).await;
    assert_eq!((status, code.as_str()), (503, "timeout"));
    let (status, code, _) = problem(Request::delete("/order").body(Body::empty()).expect("valid")).await;
    assert_eq!((status, code.as_str()), (405, "method-not-allowed"));
}

#[tokio::test]
async fn a_route_of_somebody_needs_a_token() {
    let get = |value: Option<&str>| {
        let builder = Request::get("/mine");
        let builder = match value {
            Some(value) => builder.header(header::AUTHORIZATION, value),
            None => builder,
        };
        builder.body(Body::empty()).expect("valid request")
    };
    assert_eq!(problem(get(None)).await.1, "unauthenticated");
    assert_eq!(problem(get(Some("Basic eDp5"))).await.1, "unauthenticated");
    assert_eq!(problem(get(Some("Bearer nonsense"))).await.1, "unauthenticated");
}

#[tokio::test]
async fn idempotency_keys_are_checked_before_the_work() {
    let with = |key: Option<&str>| {
        let mut request = post_json("/create", "{\"count\":1}");
        if let Some(key) = key {
            request.headers_mut().insert("idempotency-key", key.parse().expect("valid header"));
        }
        request
    };
    assert_eq!(problem(with(None)).await.1, "idempotency-key-missing");
    assert_eq!(problem(with(Some(""))).await.1, "invalid-header");
    assert_eq!(problem(with(Some("has space"))).await.1, "invalid-header");
    assert_eq!(problem(with(Some(&"k".repeat(256)))).await.1, "invalid-header");
    let quoted = router().oneshot(with(Some("\"k-1\""))).await.expect("infallible");
    assert_eq!(quoted.status(), StatusCode::OK);
    let text = quoted.into_body().collect().await.expect("body").to_bytes();
    assert!(text.starts_with(b"k-1:1:"), "{text:?}");
}

#[tokio::test]
async fn the_server_drains_what_it_accepted() {
    let started = std::sync::Arc::new(tokio::sync::Notify::new());
    let release = std::sync::Arc::new(tokio::sync::Notify::new());
    let (handler_started, handler_release) = (started.clone(), release.clone());
    let router = Router::new().route(
        "/",
        get(move || async move {
            handler_started.notify_one();
            handler_release.notified().await;
            Ok::<_, Problem>("done")
        }),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address: SocketAddr = listener.local_addr().expect("bound");
    let shutdown = Shutdown::new();
    let server = tokio::spawn(platform::http::serve(listener, router, ServeSettings::default(), shutdown.clone()));
    let client = tokio::spawn(async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut stream = tokio::net::TcpStream::connect(address).await.expect("connects");
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sends");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("reads");
        String::from_utf8(answer).expect("UTF-8")
    });
    started.notified().await;
    shutdown.begin();
    release.notify_one();
    let answer = tokio::time::timeout(Duration::from_secs(10), client).await.expect("answered").expect("no panic");
    assert!(answer.ends_with("done"), "{answer}");
    tokio::time::timeout(Duration::from_secs(10), server).await.expect("ends").expect("no panic");
}

//! What a token opens: the app's everything, a page's what its router says, and a client's own nothing of a person's.

use axum::body::Body;
use axum::routing::get;
use axum::{Extension, Router};
use http::{Request, StatusCode, header};
use http_body_util::BodyExt as _;
use platform::auth::{Acting, Claims, LocalIssuer, OpenTo, Party, Principal, TOKEN_TYPE, Verifier};
use platform::clock::Clock;
use platform::http::HttpSettings;
use platform::task::Shutdown;
use serde_json::Value;
use tower::ServiceExt as _;
use uuid::Uuid;

struct Stage {
    issuer: LocalIssuer,
    router: Router,
    shutdown: Shutdown,
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}

fn stage() -> Stage {
    let (clock, shutdown) = (Clock::test(), Shutdown::new());
    let issuer = LocalIssuer::new(clock.clone());
    let (verifier, task) = Verifier::new(issuer.clone(), clock);
    tokio::spawn(task.run(shutdown.clone()));
    let wall = Router::new().route("/wall", get(|_: Principal| async {})).layer(Extension(OpenTo::PAGES));
    let routes = Router::new()
        .route("/mine", get(|_: Principal| async {}))
        .route("/pay", get(|_: Party| async {}))
        .route("/open", get(|caller: Option<Principal>| async move { caller.is_some().to_string() }))
        .merge(wall);
    let router = platform::http::finish(routes, HttpSettings::default(), verifier, shutdown.clone());
    Stage { issuer, router, shutdown }
}

impl Stage {
    fn token(&self, scope: &str) -> String {
        let claims = Claims {
            client_id: "somebody".to_owned(),
            scope: scope.to_owned(),
            roles: vec!["ioc.operator".to_owned()],
            ..self.issuer.claims(Uuid::now_v7(), Uuid::now_v7(), 600)
        };
        self.issuer.sign(TOKEN_TYPE, &claims)
    }

    /// Status, the challenge and the code of an answer.
    async fn ask(&self, path: &str, token: &str) -> (StatusCode, String, Value) {
        let request = Request::get(path).header(header::AUTHORIZATION, format!("Bearer {token}"));
        let answer = self.router.clone().oneshot(request.body(Body::empty()).expect("a request")).await;
        let answer = answer.expect("an answer");
        let challenge = answer.headers().get(header::WWW_AUTHENTICATE).and_then(|value| value.to_str().ok());
        let (status, challenge) = (answer.status(), challenge.unwrap_or_default().to_owned());
        let body = answer.into_body().collect().await.expect("a body").to_bytes();
        (status, challenge, serde_json::from_slice(&body).unwrap_or_default())
    }
}

#[tokio::test]
async fn a_pages_token_opens_what_is_open_to_pages_and_nothing_else() {
    let stage = stage();
    for path in ["/mine", "/pay", "/open", "/wall"] {
        let (status, ..) = stage.ask(path, &stage.token("app")).await;
        assert_eq!(status, StatusCode::OK, "{path}: the app opens everything");
    }
    for scope in ["openid", "openid profile phone", "", "application", "browser"] {
        for path in ["/mine", "/pay", "/open"] {
            let (status, challenge, body) = stage.ask(path, &stage.token(scope)).await;
            assert_eq!(
                (status, &body["code"]),
                (StatusCode::FORBIDDEN, &"insufficient-scope".into()),
                "{path} {scope}"
            );
            assert_eq!(challenge, r#"Bearer error="insufficient_scope", scope="app""#);
            assert_eq!(body["scope"], "app");
        }
        let (status, challenge, _) = stage.ask("/wall", &stage.token(scope)).await;
        if scope.starts_with("openid") {
            assert_eq!(status, StatusCode::OK, "{scope}");
        } else {
            assert_eq!(
                (status, challenge.ends_with(r#"scope="app openid""#)),
                (StatusCode::FORBIDDEN, true),
                "{scope}"
            );
        }
    }
}

#[tokio::test]
async fn who_acts_for_another_opens_what_asks_for_a_party_whatever_the_scope() {
    let stage = stage();
    let acting = Acting { actor: Uuid::now_v7(), delegation: Uuid::now_v7() };
    let token = stage.issuer.acting_token(Uuid::now_v7(), Uuid::now_v7(), 600, acting);
    assert_eq!(stage.ask("/pay", &token).await.0, StatusCode::OK);
    assert_eq!(stage.ask("/mine", &token).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(stage.ask("/pay", "none").await.0, StatusCode::UNAUTHORIZED);
}

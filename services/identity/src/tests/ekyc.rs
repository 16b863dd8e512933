//! Citizen numbers: asked, verified, refused, taken; a verifier that is away.

use chrono::TimeDelta;
use http::{Method, StatusCode};
use platform::config::Secret;
use platform::job::Runner;
use platform::task::Shutdown;
use proto::identity::v1::TierChanged;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::SCHEMA;
use crate::config::{Config, EkycConfig, VneidConfig};
use crate::device::DeviceId;
use crate::ekyc::{EkycJob, JOB};
use crate::testing::{Stage, config, eventually};
use crate::tests::http::Answer;

const PATH: &str = "/identity/v1/me/ekyc";
pub(super) const HUONG: (&str, &str) = ("046199012345", "Nguyễn Thị Hương");

/// A city with a verifier, whose jobs run.
pub(super) struct Scene {
    pub(super) stage: Stage,
    pub(super) sandbox: String,
    shutdown: Shutdown,
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}

impl Scene {
    pub(super) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// With a configuration that the test has changed.
    pub(super) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let sandbox = format!("http://{}", listener.local_addr().expect("it is bound"));
        let outside = sandbox::Config::generate();
        let mut config = config();
        config.ekyc = Some(EkycConfig {
            url: format!("{sandbox}/gateways/ekyc/v1/verifications").parse().expect("a URL"),
            token: Secret::new(outside.ekyc.token.expose().to_owned()),
        });
        config.vneid = Some(VneidConfig {
            issuer: format!("{sandbox}/vneid").parse().expect("a URL"),
            client_id: outside.vneid.client_id.clone(),
            client_secret: Secret::new(outside.vneid.client_secret.expose().to_owned()),
            redirect_uri: "https://hue.example.org/vneid".parse().expect("a URL"),
            page_redirect_uri: Some("https://hue.example.org/oauth2/vneid".parse().expect("a URL")),
        });
        change(&mut config);
        let stage = Stage::with(config).await;
        let shutdown = Shutdown::new();
        tokio::spawn(sandbox::serve(listener, outside, stage.clock.clone(), shutdown.clone()));
        let jobs = Runner::new(&stage.context, SCHEMA).on(JOB, EkycJob { identity: stage.identity.clone() });
        tokio::spawn(jobs.into_task().run(shutdown.clone()));
        Self { stage, sandbox, shutdown }
    }

    pub(super) async fn steer(&self, path: &str, body: Value) {
        let answer = reqwest::Client::new().post(format!("{}{path}", self.sandbox)).json(&body).send().await;
        assert!(answer.expect("the sandbox answers").status().is_success());
    }

    pub(super) async fn token(&self, phone: &str) -> String {
        self.stage.sign_in(phone, DeviceId::generate()).await.tokens.access
    }

    pub(super) async fn ask(&self, token: &str, key: &str, (number, name): (&str, &str)) -> Answer {
        let body =
            json!({ "citizen_number": number, "full_name": name, "date_of_birth": "1999-03-26", "sex": "female" });
        self.stage.call(Method::POST, PATH).token(token).key(key).json(body).await
    }

    pub(super) async fn show(&self, token: &str) -> Value {
        self.stage.call(Method::GET, PATH).token(token).empty().await.body
    }

    /// Asks, and waits for the verdict: state and reason.
    async fn asked(&self, token: &str, who: (&str, &str)) -> (String, Value) {
        let asked = self.ask(token, &Uuid::now_v7().to_string(), who).await;
        assert_eq!(asked.status, StatusCode::ACCEPTED, "{}", asked.body);
        eventually("it is decided", async || self.show(token).await["request"]["state"] != "pending").await;
        let request = self.show(token).await["request"].clone();
        (request["state"].as_str().expect("a state").to_owned(), request["reason"].clone())
    }
}

fn verdict(answer: &Answer) -> (u16, &str) {
    (answer.status.as_u16(), answer.code())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_citizen_proves_a_number_and_rises_to_tier_1() {
    let scene = Scene::new().await;
    let token = scene.token("0912345678").await;
    assert_eq!(scene.show(&token).await, json!({ "tier": 0, "proved": null, "request": null, "vneid_linked": false }));
    assert_eq!(scene.asked(&token, HUONG).await, ("verified".to_owned(), Value::Null));
    let shown = scene.show(&token).await;
    assert_eq!((&shown["tier"], &shown["proved"]["source"]), (&json!(1), &json!("ekyc")));
    assert_eq!(shown["proved"]["citizen_number_masked"], "046******345");
    assert_eq!(shown["proved"]["full_name"], "Nguyễn Thị Hương");
    let me = scene.stage.call(Method::GET, "/identity/v1/me").token(&token).empty().await;
    assert_eq!(me.body["tier"], 1);
    let told: Vec<i32> = scene.stage.events::<TierChanged>().await.iter().map(|event| event.tier).collect();
    assert_eq!(told, [1]);
    assert_eq!(verdict(&scene.ask(&token, "again", HUONG).await), (409, "ekyc-done"));
    // Nothing in the database says the number or the name.
    assert_eq!(scene.stage.count("ekyc WHERE claim IS NOT NULL").await, 0);
    let stored: Vec<Vec<u8>> = sqlx::query_scalar("SELECT number || full_name || digest FROM identity.citizen_number")
        .fetch_all(&scene.stage.admin())
        .await
        .expect("a query");
    assert!(!String::from_utf8_lossy(&stored[0]).contains("046199"));
    for act in ["ekyc.ask", "ekyc.decide", "tier.change"] {
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM identity.audit WHERE action = $1")
            .bind(act)
            .fetch_one(&scene.stage.admin())
            .await
            .expect("a query");
        assert_eq!(count, 1, "{act}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_number_has_one_account() {
    let scene = Scene::new().await;
    let (one, two) = (scene.token("0912345678").await, scene.token("0987654321").await);
    // Both at once: whoever comes second is refused.
    let answers = tokio::join!(scene.asked(&one, HUONG), scene.asked(&two, HUONG));
    let mut answers = [answers.0, answers.1];
    answers.sort_by_key(|(state, _)| state.clone());
    assert_eq!(answers, [("refused".to_owned(), json!("number-taken")), ("verified".to_owned(), Value::Null)]);
    assert_eq!(scene.stage.count("citizen_number").await, 1);
    assert_eq!(scene.stage.count("citizen WHERE tier = 1").await, 1);
    assert_eq!(scene.stage.events::<TierChanged>().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_verifier_denies_proves_nothing() {
    let scene = Scene::new().await;
    let token = scene.token("0912345678").await;
    scene
        .steer(
            "/ekyc/people",
            json!({ "citizen_number": HUONG.0, "full_name": "Lê Thị Mai", "date_of_birth": "1999-03-26" }),
        )
        .await;
    assert_eq!(scene.asked(&token, HUONG).await, ("refused".to_owned(), json!("mismatch")));
    scene.steer("/ekyc/people", json!({ "citizen_number": "046199054321" })).await;
    assert_eq!(scene.asked(&token, ("046199054321", HUONG.1)).await, ("refused".to_owned(), json!("number-unknown")));
    assert_eq!(scene.show(&token).await["tier"], 0);
    // Five in a day.
    for _ in 0..3 {
        scene.asked(&token, HUONG).await;
    }
    assert_eq!(verdict(&scene.ask(&token, "sixth", HUONG).await), (429, "ekyc-too-many"));
}

#[tokio::test]
async fn who_one_is_is_read_by_one_connection() {
    let stage = Stage::new().await;
    let citizen = stage.sign_in("0912345678", DeviceId::generate()).await.citizen.id;
    let pool = &stage.identity.pool;
    let mut held = Vec::new();
    for _ in 1..pool.options().get_max_connections() {
        held.push(pool.acquire().await.expect("a connection"));
    }
    let read = tokio::time::timeout(std::time::Duration::from_secs(60), stage.identity.ekyc_of(citizen)).await;
    assert!(read.expect("in time").is_ok(), "it waits for no second one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verifier_that_is_away_is_asked_again() {
    let scene = Scene::new().await;
    let token = scene.token("0912345678").await;
    scene.steer("/ekyc/faults", json!({ "error_rate": 1.0, "times": 2 })).await;
    let asked = scene.ask(&token, "once", HUONG).await;
    assert_eq!(asked.status, StatusCode::ACCEPTED);
    assert_eq!(scene.ask(&token, "once", HUONG).await.body, asked.body, "one key, one request");
    assert_eq!(verdict(&scene.ask(&token, "other", HUONG).await), (409, "ekyc-pending"));
    let other = scene.ask(&token, "once", ("046199012346", HUONG.1)).await;
    assert_eq!(verdict(&other), (422, "idempotency-key-reused"));
    eventually("it is verified", async || {
        scene.stage.clock.advance(TimeDelta::seconds(1));
        scene.stage.count("ekyc WHERE state = 'verified'").await == 1
    })
    .await;
    assert_eq!(scene.stage.count("ekyc").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_is_checked_before_anybody_is_asked() {
    let scene = Scene::new().await;
    let token = scene.token("0912345678").await;
    for (number, reason) in [
        ("046199", "form"),
        ("003199012345", "province"),
        ("046199000000", "serial"),
        ("046198012345", "year-of-birth"),
        ("046399012345", "year-of-birth"),
        ("046099012345", "sex"),
    ] {
        let refused = scene.ask(&token, "bad", (number, HUONG.1)).await;
        assert_eq!(
            (verdict(&refused), &refused.body["reason"]),
            ((422, "citizen-number-invalid"), &json!(reason)),
            "{number}"
        );
        assert!(!refused.body.to_string().contains(number));
    }
    assert_eq!(verdict(&scene.ask(&token, "name", (HUONG.0, " ")).await), (422, "invalid-body"));
    assert_eq!(scene.stage.count("ekyc").await, 0);
    let bare = Stage::new().await;
    let token = bare.sign_in("0912345678", DeviceId::generate()).await.tokens.access;
    let body = json!({ "citizen_number": HUONG.0, "full_name": HUONG.1, "date_of_birth": "1999-03-26" });
    let refused = bare.call(Method::POST, PATH).token(&token).key("k").json(body).await;
    assert_eq!(verdict(&refused), (503, "ekyc-unavailable"));
}

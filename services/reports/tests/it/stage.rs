//! One city with its own database and folder for photos, and short ways to act in it.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use platform::auth::{LocalIssuer, Verifier};
use platform::clock::Clock;
use platform::config::Secret;
use platform::db::PlatformTables;
use platform::embedded::scratch::{self, TestDatabase, TestFolder};
use platform::http::HttpSettings;
use platform::metrics::Metrics;
use platform::person::PersonConfig;
use platform::redis::RedisLink;
use platform::service::Context;
use platform::task::Shutdown;
use reports::config::PhotosConfig;
use reports::{Config, Deps, SCHEMA};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::task::JoinSet;
use tower::ServiceExt as _;
use uuid::Uuid;

const CITY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/city/hue");
/// The longest wait for something to become true.
const PATIENCE: Duration = Duration::from_secs(40);
/// A place in ward 19789, whose roads agency is [`ROADS`].
pub(crate) const PLACE: (f64, f64) = (16.454228, 107.583011);
pub(crate) const ROADS: &str = "KTHT-19789";
pub(crate) const POLICE: &str = "CA-19789";

/// A running city.
pub(crate) struct Stage {
    pub(crate) clock: Clock,
    pub(crate) context: Context,
    pub(crate) ioc: Uuid,
    pub(crate) supervisor: Uuid,
    pub(crate) roads: Uuid,
    pub(crate) police: Uuid,
    issuer: LocalIssuer,
    database: TestDatabase,
    router: Router,
    pub(crate) config: Config,
    _files: Option<TestFolder>,
    running: JoinSet<()>,
    /// What answers wait for.
    _answering: JoinSet<()>,
}

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: http::HeaderMap,
    pub(crate) bytes: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or(Value::Null)
    }

    /// The body, if the answer has this status.
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", String::from_utf8_lossy(&self.bytes));
        self.json()
    }

    /// The stable code, if the answer has this status.
    pub(crate) fn refused(&self, status: u16) -> String {
        self.expect(status)["code"].as_str().expect("a problem has a code").to_owned()
    }
}

impl Stage {
    /// A city whose photos are in a folder.
    pub(crate) async fn new() -> Self {
        let files = TestFolder::new("report-photos").expect("a folder");
        let photos = PhotosConfig { folder: files.path().to_owned(), ..PhotosConfig::default() };
        let mut stage = Self::keeping_photos(photos).await;
        stage._files = Some(files);
        stage
    }

    /// A city whose photos are kept there.
    pub(crate) async fn keeping_photos(photos: PhotosConfig) -> Self {
        let database =
            scratch::database(&[(SCHEMA, &reports::MIGRATOR, PlatformTables::Wanted)]).await.expect("PostgreSQL");
        let clock = Clock::test();
        let issuer = LocalIssuer::new(clock.clone());
        let (verifier, keys) = Verifier::new(issuer.clone(), clock.clone());
        let context = Context {
            pool: database.pool(SCHEMA),
            redis: RedisLink::try_new(&Secret::new("redis://127.0.0.1:1/")).expect("a URL"),
            clock: clock.clone(),
            metrics: Metrics::new("reports", "one"),
            verifier: verifier.clone(),
            city: Arc::new(CITY.into()),
            public_url: "http://localhost:8080".parse().expect("a URL"),
            instance: "one".to_owned(),
        };
        let config = Config { photos, persons: persons(), ..Config::default() };
        let service =
            reports::build(config.clone(), Deps { context: context.clone(), identity: platform::rpc::unreachable() })
                .await
                .expect("the city is sound");
        let (shutdown, mut running, mut answering) = (Shutdown::new(), JoinSet::new(), JoinSet::new());
        for task in service.tasks.into_iter().chain([keys]) {
            let shutdown = shutdown.clone();
            let answers = ["looks-at-callers", "looks-at-reports", "new-photos", "new-reports", "steps-of-reports"]
                .contains(&task.name());
            let tasks = if answers { &mut answering } else { &mut running };
            tasks.spawn(async move {
                task.run(shutdown).await.ok();
            });
        }
        eventually("keys are known", async || verifier.is_ready()).await;
        let (router, _) = service.http.split_for_parts();
        let router = platform::http::finish(router, HttpSettings::default(), verifier, shutdown.clone());
        let [ioc, supervisor, roads, police] = [(); 4].map(|()| Uuid::now_v7());
        Self {
            clock,
            context,
            ioc,
            supervisor,
            roads,
            police,
            issuer,
            database,
            router,
            config,
            _files: None,
            running,
            _answering: answering,
        }
    }

    /// Ends what this process does beside answering.
    pub(crate) async fn rests(&mut self) {
        self.running.shutdown().await;
    }

    /// Sees and may do everything.
    pub(crate) fn admin(&self) -> PgPool {
        self.database.admin_pool()
    }

    /// The token of somebody, with the role that they hold here.
    pub(crate) fn token(&self, user: Uuid) -> String {
        let role = match user {
            user if user == self.ioc => "ioc.operator".to_owned(),
            user if user == self.supervisor => "ioc.lead".to_owned(),
            user if user == self.roads => format!("agency.officer:{ROADS}"),
            user if user == self.police => format!("agency.officer:{POLICE}"),
            _ => return self.issuer.token(user, user, 600),
        };
        self.token_of_roles(user, &[&role])
    }

    /// The token of somebody who holds roles of the city.
    pub(crate) fn token_of_roles(&self, user: Uuid, roles: &[&str]) -> String {
        self.issuer.officer_token(user, user, 600, roles)
    }

    pub(crate) async fn call(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.expect("a router always answers");
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.expect("the body ends").to_bytes().to_vec();
        Answer { status: parts.status, headers: parts.headers, bytes }
    }

    /// A GET, by somebody or by nobody.
    pub(crate) async fn get(&self, user: Option<Uuid>, path: &str) -> Answer {
        let mut request = Request::get(path).header("accept-language", "en");
        if let Some(user) = user {
            request = request.header("authorization", format!("Bearer {}", self.token(user)));
        }
        self.call(request.body(Body::empty()).expect("a request")).await
    }

    /// A POST with a fresh key.
    pub(crate) async fn post(&self, user: Uuid, path: &str, body: &Value) -> Answer {
        self.post_with_key(user, path, body, &Uuid::now_v7().to_string()).await
    }

    pub(crate) async fn post_with_key(&self, user: Uuid, path: &str, body: &Value, key: &str) -> Answer {
        let request = Request::post(path)
            .header("authorization", format!("Bearer {}", self.token(user)))
            .header("content-type", "application/json")
            .header("accept-language", "en")
            .header("idempotency-key", key);
        self.call(request.body(Body::from(body.to_string())).expect("a request")).await
    }

    /// Sends a photo.
    pub(crate) async fn photo(&self, user: Uuid, report: &str, bytes: Vec<u8>) -> Answer {
        self.photo_with_key(user, report, bytes, &Uuid::now_v7().to_string()).await
    }

    pub(crate) async fn photo_with_key(&self, user: Uuid, report: &str, bytes: Vec<u8>, key: &str) -> Answer {
        let request = Request::post(format!("/reports/v1/reports/{report}/photos"))
            .header("authorization", format!("Bearer {}", self.token(user)))
            .header("content-type", "image/jpeg")
            .header("idempotency-key", key);
        self.call(request.body(Body::from(bytes)).expect("a request")).await
    }

    /// A report of a broken road by a citizen.
    pub(crate) async fn report(&self, citizen: Uuid) -> String {
        let filed = self.post(citizen, "/reports/v1/reports", &road("Ổ gà sâu trước cổng trường")).await.expect(201);
        filed["id"].as_str().expect("an id").to_owned()
    }

    /// A report of the instant lane.
    pub(crate) async fn urgent(&self, citizen: Uuid) -> String {
        let body = json!({"category": "TH", "text": "Nước lên nhanh", "attributes": {"kind": "flood"},
            "position": {"lat": PLACE.0, "lon": PLACE.1}});
        let filed = self.post(citizen, "/reports/v1/reports", &body).await.expect(201);
        filed["id"].as_str().expect("an id").to_owned()
    }

    /// What an officer does to a report at its present version.
    pub(crate) async fn act(&self, officer: Uuid, report: &str, action: Value) -> Answer {
        let mut body = action;
        body["version"] = self.version(report).await.into();
        self.post(officer, &format!("/reports/v1/reports/{report}/transitions"), &body).await
    }

    /// What the reporter does to a report at its present version.
    pub(crate) async fn say(&self, citizen: Uuid, report: &str, what: &str, body: Value) -> Answer {
        let mut body = body;
        body["version"] = self.version(report).await.into();
        self.post(citizen, &format!("/reports/v1/reports/{report}/{what}"), &body).await
    }

    pub(crate) async fn version(&self, report: &str) -> i64 {
        self.get(Some(self.ioc), &format!("/reports/v1/reports/{report}")).await.expect(200)["version"]
            .as_i64()
            .expect("a number")
    }

    pub(crate) async fn state(&self, report: &str) -> String {
        let view = self.get(Some(self.ioc), &format!("/reports/v1/reports/{report}")).await.expect(200);
        view["state"].as_str().expect("a state").to_owned()
    }

    /// Brings a report to where the agency works on it.
    pub(crate) async fn in_progress(&self, report: &str) {
        if self.state(report).await == "received" {
            self.act(self.ioc, report, json!({"action": "claim"})).await.expect(201);
        }
        let distribute = json!({"action": "distribute", "lead_agency": ROADS, "co_agencies": [POLICE]});
        self.act(self.ioc, report, distribute).await.expect(201);
        self.act(self.roads, report, json!({"action": "accept"})).await.expect(201);
    }

    /// Brings a report to its published result.
    pub(crate) async fn published(&self, report: &str) {
        self.in_progress(report).await;
        self.photo(self.roads, report, jpeg(64, 48)).await.expect(201);
        self.act(self.roads, report, json!({"action": "submit-result", "text": "Đã vá mặt đường"})).await.expect(201);
        self.act(self.ioc, report, json!({"action": "approve"})).await.expect(201);
    }

    /// What a process of the role is given.
    pub(crate) fn deps(&self) -> Deps {
        Deps { context: self.context.clone(), identity: platform::rpc::unreachable() }
    }

    /// How many rows a table has under a condition.
    pub(crate) async fn count(&self, from: &str) -> i64 {
        let sql = format!("SELECT count(*) FROM {from}");
        sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(&self.admin()).await.expect("a query")
    }
}

/// What seals the keys of citizens.
pub(crate) fn persons() -> PersonConfig {
    PersonConfig { encryption: Secret::new("7c".repeat(32)), ..PersonConfig::default() }
}

/// The body of a report of a broken road.
pub(crate) fn road(text: &str) -> Value {
    json!({"category": "HT", "text": text, "attributes": {"damage": "pothole", "depth_cm": 30},
        "position": {"lat": PLACE.0, "lon": PLACE.1}})
}

/// A photo.
pub(crate) fn jpeg(width: u32, height: u32) -> Vec<u8> {
    let pixels =
        image::RgbImage::from_fn(width, height, |x, y| image::Rgb([x.to_le_bytes()[0], y.to_le_bytes()[0], 7]));
    let mut bytes = std::io::Cursor::new(Vec::new());
    pixels.write_to(&mut bytes, image::ImageFormat::Jpeg).expect("it can be written");
    bytes.into_inner()
}

/// Waits until a condition holds.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(waited.await.is_ok(), "in time: {what}");
}

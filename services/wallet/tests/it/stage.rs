//! One city with its own database and bank, and any number of wallet replicas; short ways to act in it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use platform::auth::{LocalIssuer, Verifier};
use platform::clock::Clock;
use platform::config::Secret;
use platform::db::PlatformTables;
use platform::embedded;
use platform::embedded::scratch::{self, TestDatabase, TestRedis};
use platform::http::HttpSettings;
use platform::metrics::Metrics;
use platform::person::PersonConfig;
use platform::redis::RedisLink;
use platform::service::Context;
use platform::task::Shutdown;
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tonic::service::Routes;
use tower::ServiceExt as _;
use uuid::Uuid;
use wallet::config::{CheckpointConfig, PartnerConfig};
use wallet::{Config, Deps};

use crate::biller::{BILLER, Biller};

/// The bank that is connected.
pub(crate) const BANK: &str = "VCB";
/// A city's folder with its real rules.
const CITY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/city/hue");
/// The longest wait for something to become true.
const PATIENCE: Duration = Duration::from_secs(40);

/// A city under test.
pub(crate) struct Stage {
    pub(crate) clock: Clock,
    pub(crate) issuer: LocalIssuer,
    pub(crate) bank: Bank,
    pub(crate) biller: Biller,
    pub(crate) redis: Option<TestRedis>,
    pub(crate) callback_secret: Secret,
    database: TestDatabase,
    port: u16,
    timeout_ms: u64,
}

/// The sandbox bank.
pub(crate) struct Bank {
    url: String,
    config: sandbox::BankConfig,
    shutdown: Shutdown,
}

/// One running wallet process.
pub(crate) struct Replica {
    pub(crate) router: Router,
    pub(crate) grpc: Routes,
    pub(crate) context: Context,
    running: JoinSet<()>,
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
        serde_json::from_slice(&self.bytes).unwrap_or_else(|_| panic_with(self))
    }

    pub(crate) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    /// The body, if the answer has this status.
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", String::from_utf8_lossy(&self.bytes));
        self.json()
    }
}

fn panic_with(answer: &Answer) -> Value {
    assert!(answer.bytes.is_empty(), "not JSON: {} {}", answer.status, String::from_utf8_lossy(&answer.bytes));
    Value::Null
}

/// The outside world: a bank and a biller.
async fn outside(clock: &Clock) -> (Bank, Biller) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let mut config = sandbox::Config::generate();
    config.billers = sandbox::Billers::load(CITY.as_ref()).expect("the city's billers are sound");
    let shutdown = Shutdown::new();
    let (bank, biller) = (config.bank.clone(), config.biller.clone());
    tokio::spawn(sandbox::serve(listener, config, clock.clone(), shutdown.clone()));
    (Bank { url: url.clone(), config: bank, shutdown }, Biller { url, config: biller })
}

impl Bank {
    /// Another bank, elsewhere, takes its place for wallets that start from now on.
    pub(crate) fn move_to(&mut self, url: String) {
        self.url = url;
    }

    /// What goes wrong from now on.
    pub(crate) async fn fault(&self, fault: Value) {
        let answer = reqwest::Client::new()
            .post(format!("{}/bank/faults", self.url))
            .json(&fault)
            .send()
            .await
            .expect("the sandbox answers");
        assert!(answer.status().is_success(), "{:?}", answer.text().await);
    }

    /// Nothing goes wrong from now on.
    pub(crate) async fn heal(&self) {
        reqwest::Client::new().delete(format!("{}/bank/faults", self.url)).send().await.expect("the sandbox answers");
    }

    /// What the bank has collected, by request id: status and amount.
    pub(crate) async fn collected(&self) -> BTreeMap<String, (String, i64)> {
        let answer: Value =
            reqwest::get(format!("{}/bank/statement", self.url)).await.expect("answers").json().await.expect("JSON");
        let items = answer["items"].as_array().expect("a list").iter();
        items
            .map(|item| {
                let amount = item["amount"]["amount"].as_str().expect("a string").parse().expect("a number");
                let text = |name: &str| item[name].as_str().expect("a string").to_owned();
                (text("request_id"), (text("status"), amount))
            })
            .collect()
    }
}

impl Stage {
    /// A city whose Redis is away.
    pub(crate) async fn new() -> Self {
        Self::with(None, 800).await
    }

    /// A city with Redis.
    pub(crate) async fn with_redis() -> Self {
        Self::with(Some(scratch::redis().await.expect("Redis is installed")), 800).await
    }

    async fn with(redis: Option<TestRedis>, timeout_ms: u64) -> Self {
        let parts = [
            (ledger::SCHEMA, &ledger::MIGRATOR, PlatformTables::NotWanted),
            (wallet::SCHEMA, &wallet::MIGRATOR, PlatformTables::Wanted),
        ];
        let database = scratch::database(&parts).await.expect("PostgreSQL is installed");
        let clock = Clock::test();
        // The wallet listens there, and again after it was killed; nothing that asks for any port gets this one.
        let port = embedded::free_port().expect("a port is free");
        let (bank, biller) = outside(&clock).await;
        let callback_secret = bank.config.secret.clone();
        Self {
            issuer: LocalIssuer::new(clock.clone()),
            clock,
            bank,
            biller,
            redis,
            callback_secret,
            database,
            port,
            timeout_ms,
        }
    }

    /// A wallet process that the bank can reach.
    pub(crate) async fn start(&self) -> Replica {
        let mut replica = self.replica("one").await;
        let listener = TcpListener::bind(("127.0.0.1", self.port)).await.expect("the port is still free");
        let router = replica.router.clone();
        replica.running.spawn(async move {
            axum::serve(listener, router).await.ok();
        });
        replica
    }

    /// A wallet process that the bank does not call back.
    pub(crate) async fn replica(&self, instance: &str) -> Replica {
        self.replica_with(instance, self.config()).await
    }

    /// A wallet process with settings of its own.
    pub(crate) async fn replica_with(&self, instance: &str, config: Config) -> Replica {
        self.replica_asking(instance, config, platform::rpc::unreachable()).await
    }

    /// A wallet process that asks this identity who has a number.
    pub(crate) async fn replica_asking(
        &self,
        instance: &str,
        config: Config,
        identity: platform::rpc::Channel,
    ) -> Replica {
        let mut running = JoinSet::new();
        let shutdown = Shutdown::new();
        let (verifier, keys) = Verifier::new(self.issuer.clone(), self.clock.clone());
        let redis_url = self.redis.as_ref().map_or_else(|| "redis://127.0.0.1:1/".to_owned(), |redis| redis.url());
        let context = Context {
            pool: self.database.pool(wallet::SCHEMA),
            redis: RedisLink::try_new(&Secret::new(redis_url)).expect("a URL"),
            clock: self.clock.clone(),
            metrics: Metrics::new("wallet", instance),
            verifier: verifier.clone(),
            city: Arc::new(CITY.into()),
            public_url: "http://localhost:8080".parse().expect("a URL"),
            instance: instance.to_owned(),
        };
        let deps = Deps { context: context.clone(), identity };
        let service = wallet::build(config, deps).await.expect("the configuration is valid");
        for task in service.tasks.into_iter().chain([keys]) {
            let shutdown = shutdown.clone();
            running.spawn(async move {
                task.run(shutdown).await.ok();
            });
        }
        eventually("keys are known", async || verifier.is_ready()).await;
        let (router, _) = service.http.split_for_parts();
        let router = platform::http::finish(router, HttpSettings::default(), verifier, shutdown.clone());
        Replica { router, grpc: service.grpc.expect("the wallet has gRPC"), context, running }
    }

    /// The settings of this city's wallets.
    pub(crate) fn config(&self) -> Config {
        let bank = PartnerConfig {
            url: self.bank.url.parse().expect("a URL"),
            partner: self.bank.config.partner.clone(),
            secret: self.bank.config.partner_secret.clone(),
            callback_secret: self.bank.config.secret.clone(),
        };
        Config {
            callback_base_url: Some(format!("http://127.0.0.1:{}", self.port).parse().expect("a URL")),
            banks: BTreeMap::from([(BANK.to_owned(), bank)]),
            billers: BTreeMap::from([(BILLER.to_owned(), self.biller.settings())]),
            biller_timeout_ms: self.timeout_ms,
            bank_timeout_ms: self.timeout_ms,
            first_status_query_ms: 300,
            last_status_query_ms: 1_000,
            checkpoint: CheckpointConfig { key: Secret::new("5a".repeat(32)), ..CheckpointConfig::default() },
            persons: PersonConfig { encryption: Secret::new("7c".repeat(32)), ..PersonConfig::default() },
            ..Config::default()
        }
    }

    /// Sees and may do everything.
    pub(crate) fn admin(&self) -> PgPool {
        self.database.admin_pool()
    }

    /// A citizen of a tier, on a device that they have used for long.
    pub(crate) async fn citizen(&self, tier: i16) -> Uuid {
        let user = Uuid::now_v7();
        self.bind_device(user, "2020-01-01T00:00:00Z".parse().expect("a time")).await;
        sqlx::query("INSERT INTO wallet.citizen (user_id, tier, updated_at) VALUES ($1, $2, now())")
            .bind(user)
            .bind(tier)
            .execute(&self.admin())
            .await
            .expect("a row");
        user
    }

    /// Says since when the citizen uses the device of their session.
    pub(crate) async fn bind_device(&self, user: Uuid, bound_at: chrono::DateTime<chrono::Utc>) {
        sqlx::query(
            "INSERT INTO wallet.device (user_id, device_id, session_id, bound_at, updated_at) VALUES ($1, $1, $1, $2, $2)
             ON CONFLICT ON CONSTRAINT device_pk DO UPDATE SET bound_at = excluded.bound_at",
        )
        .bind(user)
        .bind(bound_at)
        .execute(&self.admin())
        .await
        .expect("a row");
    }

    pub(crate) fn token(&self, user: Uuid) -> String {
        self.issuer.token(user, user, 600)
    }

    /// How many rows a table has under a condition.
    pub(crate) async fn count(&self, from: &str) -> i64 {
        let sql = format!("SELECT count(*) FROM {from}");
        sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(&self.admin()).await.expect("a query")
    }

    /// Whoever held a job is known to be dead.
    pub(crate) async fn leases_pass(&self) {
        let passed =
            "UPDATE wallet.job SET lease_until = clock_timestamp() - interval '1 second' WHERE state = 'running'";
        sqlx::query(passed).execute(&self.admin()).await.expect("an update");
    }

    /// Names and payloads of the wallet's own events, in order.
    pub(crate) async fn events(&self) -> Vec<(String, Vec<u8>)> {
        sqlx::query_as("SELECT kind, data FROM wallet.outbox ORDER BY arrival")
            .fetch_all(&self.admin())
            .await
            .expect("a query")
    }

    /// Checks what must hold at the end of every test: balances add up to zero, and the books agree with the wallet's rows.
    pub(crate) async fn audit(&self) {
        let sum: i64 = sqlx::query_scalar("SELECT coalesce(sum(posted), 0)::bigint FROM ledger.account")
            .fetch_one(&self.admin())
            .await
            .expect("a query");
        assert_eq!(sum, 0, "money is conserved");
        assert_eq!(self.count("ledger.account WHERE held <> 0").await, 0, "nothing is held");
        let unexplained = "ledger.transfer t WHERE NOT EXISTS (SELECT 1 FROM wallet.payment p WHERE p.id = t.id AND p.sequence = t.sequence AND p.amount = t.amount)
            AND NOT EXISTS (SELECT 1 FROM wallet.top_up u WHERE u.transfer_id = t.id AND u.state = 'completed' AND u.amount = t.amount)
            AND NOT EXISTS (SELECT 1 FROM wallet.bill_payment b WHERE b.transfer_id = t.id AND b.state = 'paid' AND b.amount = t.amount)
            AND NOT EXISTS (SELECT 1 FROM wallet.refund r WHERE r.id = t.id AND r.sequence = t.sequence AND r.amount = t.amount)
            AND NOT EXISTS (SELECT 1 FROM wallet.merchant m WHERE m.payout_id = t.id AND m.id = t.reference)";
        assert_eq!(self.count(unexplained).await, 0, "every transfer is explained");
        let transfers = self.count("ledger.transfer").await;
        let rows = self.count("wallet.refund").await
            + self.count("wallet.payment").await
            + self.count("wallet.merchant WHERE payout_id IS NOT NULL").await
            + self.count("wallet.bill_payment WHERE state = 'paid'").await
            + self.count("wallet.top_up WHERE state = 'completed'").await;
        assert_eq!(transfers, rows, "every payment and completed top-up has its transfer");
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.bank.shutdown.begin();
    }
}

impl Replica {
    /// Dies at once, in the middle of whatever it does.
    pub(crate) async fn kill(mut self) {
        self.running.shutdown().await;
        self.context.pool.close().await;
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Response<Body> {
        self.router.clone().oneshot(request).await.expect("a router always answers")
    }

    pub(crate) async fn call(&self, request: Request<Body>) -> Answer {
        let (parts, body) = self.send(request).await.into_parts();
        let bytes = body.collect().await.expect("the body ends").to_bytes().to_vec();
        Answer { status: parts.status, headers: parts.headers, bytes }
    }

    pub(crate) async fn get(&self, token: &str, path: &str) -> Answer {
        let request = Request::get(path).header("authorization", format!("Bearer {token}"));
        self.call(request.body(Body::empty()).expect("a request")).await
    }

    /// A GET without a token.
    pub(crate) async fn open_get(&self, path: &str) -> Answer {
        self.call(Request::get(path).body(Body::empty()).expect("a request")).await
    }

    pub(crate) async fn delete(&self, token: &str, path: &str) -> Answer {
        let request = Request::delete(path).header("authorization", format!("Bearer {token}"));
        self.call(request.body(Body::empty()).expect("a request")).await
    }

    /// A POST with a fresh key.
    pub(crate) async fn post(&self, token: &str, path: &str, body: &Value) -> Answer {
        self.post_with_key(token, path, body, &Uuid::now_v7().to_string()).await
    }

    pub(crate) async fn post_with_key(&self, token: &str, path: &str, body: &Value, key: &str) -> Answer {
        self.post_bytes(token, path, body.to_string().into_bytes(), key).await
    }

    pub(crate) async fn post_bytes(&self, token: &str, path: &str, body: Vec<u8>, key: &str) -> Answer {
        let request = Request::post(path)
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .header("accept-language", "en")
            .header("idempotency-key", key);
        self.call(request.body(Body::from(body)).expect("a request")).await
    }

    /// Asks for a top-up and says its id.
    pub(crate) async fn top_up(&self, token: &str, account: &str, amount: i64) -> String {
        let body = json!({"bank_code": BANK, "account": account, "amount": dong(amount)});
        text(&self.post(token, "/wallet/v1/top-ups", &body).await.expect(202), "id")
    }

    pub(crate) async fn top_up_state(&self, token: &str, id: &str) -> Value {
        self.get(token, &format!("/wallet/v1/top-ups/{id}")).await.expect(200)
    }

    /// Waits until a top-up has come to a state.
    pub(crate) async fn reaches(&self, token: &str, id: &str, state: &str) {
        eventually(&format!("top-up is {state}"), async || self.top_up_state(token, id).await["state"] == state).await;
    }

    /// What a counter of the wallet stands at, under one label.
    pub(crate) fn counted(&self, counter: &str, label: &str) -> i64 {
        let (name, label) = (format!("trangtien_wallet_{counter}{{"), format!("\"{label}\""));
        let text = self.context.metrics.encode();
        let mut lines = text.lines().filter(|line| line.starts_with(&name) && line.contains(&label));
        let value = lines.next().and_then(|line| line.rsplit(' ').next()).map(str::parse);
        value.map_or(0, |value| value.expect("a counter is a whole number"))
    }

    pub(crate) async fn balance(&self, token: &str) -> i64 {
        let view = self.get(token, "/wallet/v1/wallet").await.expect(200);
        assert_eq!(view["balance"], view["available"]);
        view["balance"]["amount"].as_str().expect("a string").parse().expect("a number")
    }

    /// A citizen with money from the bank.
    pub(crate) async fn funded(&self, stage: &Stage, amount: i64) -> String {
        let token = stage.token(stage.citizen(1).await);
        let id = self.top_up(&token, sandbox::RICH_ACCOUNTS[0], amount).await;
        self.reaches(&token, &id, "completed").await;
        token
    }

    /// A merchant with a store and a till.
    pub(crate) async fn shop(&self, stage: &Stage) -> Shop {
        let token = stage.token(stage.citizen(0).await);
        let merchant = text(
            &self
                .post(&token, "/wallet/v1/merchants", &json!({"name": "Bún bò Mệ Kéo", "category": "5814"}))
                .await
                .expect(201),
            "id",
        );
        let path = format!("/wallet/v1/merchants/{merchant}");
        let store =
            text(&self.post(&token, &format!("{path}/stores"), &json!({"name": "Bạch Đằng"})).await.expect(201), "id");
        let till =
            self.post(&token, &format!("{path}/stores/{store}/tills"), &json!({"name": "Quầy 1"})).await.expect(201);
        let payload = till["qr"]["payload"].as_str().expect("a payload").to_owned();
        Shop { token, merchant, store, till: text(&till, "id"), payload }
    }
}

/// A merchant, as its owner holds it.
pub(crate) struct Shop {
    pub(crate) token: String,
    pub(crate) merchant: String,
    pub(crate) store: String,
    pub(crate) till: String,
    pub(crate) payload: String,
}

impl Shop {
    /// Something below the merchant's own path.
    pub(crate) fn path(&self, rest: &str) -> String {
        format!("/wallet/v1/merchants/{}{rest}", self.merchant)
    }
}

/// Money on the wire.
pub(crate) fn dong(amount: i64) -> Value {
    json!({"amount": amount.to_string(), "currency": "VND"})
}

/// A text field.
pub(crate) fn text(value: &Value, name: &str) -> String {
    value[name].as_str().expect("a text field").to_owned()
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

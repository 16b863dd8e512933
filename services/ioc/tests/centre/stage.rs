//! A centre as it runs in production: real PostgreSQL and Redis, real HTTP, a wallet that answers from a list.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use axum::Extension;
use chrono::{DateTime, Utc};
use ioc::overview::Overview;
use ioc::role::{RoleHealth, RoleMetrics, RoleStatus};
use platform::auth::{LocalIssuer, Verifier};
use platform::clock::Clock;
use platform::config::Secret;
use platform::embedded::scratch::{self, TestDatabase, TestFolder, TestRedis};
use platform::events::Event;
use platform::http::{HttpSettings, ServeSettings};
use platform::metrics::Metrics;
use platform::redis::RedisLink;
use platform::rpc::{CallMetrics, CallSettings, InboundLayer};
use platform::service::Context;
use platform::task::{Shutdown, Tasks};
use prost::Name;
use proto::money::v1::Money;
use proto::wallet::v1::wallet_service_server::{WalletService, WalletServiceServer};
use proto::wallet::v1::{GetTotalsRequest, GetTotalsResponse, KindTotal, PaymentCompleted, TopUpCompleted};
use tonic::{Request, Response, Status};
use uuid::Uuid;

/// A wall that anyone may see: most tests are about what it shows.
pub(crate) fn open() -> ioc::Config {
    ioc::Config { public_wall: true, ..ioc::Config::default() }
}

/// Waits until something holds.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < LIMIT, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// No wait of a test is longer.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// What all centres of a test share.
pub(crate) struct Stage {
    pub(crate) database: TestDatabase,
    pub(crate) redis: TestRedis,
    pub(crate) clock: Clock,
    pub(crate) wallet: Wallet,
    pub(crate) issuer: LocalIssuer,
    city: TestFolder,
}

/// One process of the role.
pub(crate) struct Centre {
    pub(crate) url: String,
    /// The same routes on the internal listener.
    pub(crate) internal_url: String,
    pub(crate) metrics: Metrics,
    shutdown: Shutdown,
    tasks: Option<Tasks>,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        let database = scratch::database(&[(ioc::SCHEMA, &ioc::MIGRATOR)]).await.expect("PostgreSQL is installed");
        let redis = scratch::redis().await.expect("Redis is installed");
        let city = TestFolder::new("city").expect("a folder");
        let text = "# Origin: this test.\nname = { vi = \"Huế\", en = \"Hue\" }\ntime_zone = \"Asia/Ho_Chi_Minh\"\ncurrency = \"VND\"\n";
        std::fs::write(city.path().join("city.toml"), text).expect("written");
        let hue = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/city/hue");
        for file in
            ["wards.csv", "agencies.csv", "wards.topojson", "flood-levels.csv", "flood-wards.csv", "rivers.geojson"]
        {
            std::fs::copy(hue.join(file), city.path().join(file)).expect("copied");
        }
        let clock = Clock::test();
        let issuer = LocalIssuer::new(clock.clone());
        Self { database, redis, clock, wallet: Wallet::default(), issuer, city }
    }

    /// Starts a centre with its HTTP server.
    pub(crate) async fn centre(&self, instance: &str, config: ioc::Config) -> Centre {
        self.try_centre(instance, config).await.expect("built")
    }

    /// The same, if it can be built.
    pub(crate) async fn try_centre(&self, instance: &str, config: ioc::Config) -> Result<Centre, ioc::BuildError> {
        let metrics = Metrics::new("ioc", instance);
        let (verifier, keys) = Verifier::new(self.issuer.clone(), self.clock.clone());
        let context = Context {
            pool: self.database.pool(ioc::SCHEMA),
            redis: RedisLink::try_new(&Secret::new(self.redis.url())).expect("a URL"),
            clock: self.clock.clone(),
            metrics: metrics.clone(),
            verifier: verifier.clone(),
            city: Arc::new(PathBuf::from(self.city.path())),
            public_url: "http://localhost:8080".parse().expect("a URL"),
            instance: instance.to_owned(),
        };
        let routes = tonic::service::Routes::new(WalletServiceServer::new(self.wallet.clone()));
        let (inbound, calls) = (InboundLayer::new(&metrics), CallMetrics::new(&metrics));
        let wallet = platform::rpc::in_process("ioc", routes, inbound, &calls, CallSettings::default());
        let roles = Arc::new(OwnRole(metrics.clone()));
        let service = ioc::build(config, ioc::Deps { context, wallet, roles }).await?;
        let shutdown = Shutdown::new();
        let tasks = Tasks::start(service.tasks.into_iter().chain([keys]).collect(), &shutdown);
        let (router, _) = service.http.split_for_parts();
        let router = platform::http::finish(router, HttpSettings::default(), verifier, shutdown.clone());
        let internal_url = serve(router.clone().layer(Extension(platform::http::Internal)), &shutdown).await;
        let url = serve(router, &shutdown).await;
        Ok(Centre { url, internal_url, metrics, shutdown, tasks: Some(tasks) })
    }

    /// Adds an entry to the wallet's books and its event to the journal's stream.
    pub(crate) async fn pay(&self, subject: Uuid, amount: i64) -> i64 {
        let money = Some(Money { minor_units: amount, currency: "VND".to_owned() });
        let message = PaymentCompleted {
            merchant_name: "Bún bò Mệ Kéo".to_owned(),
            amount: money,
            ..PaymentCompleted::default()
        };
        let position = self.wallet.post("payment", amount);
        self.publish("journal", position, subject, &message).await;
        position
    }

    /// The same for a top-up.
    pub(crate) async fn top_up(&self, subject: Uuid, amount: i64) -> i64 {
        let money = Some(Money { minor_units: amount, currency: "VND".to_owned() });
        let position = self.wallet.post("top-up", amount);
        self.publish("journal", position, subject, &TopUpCompleted { amount: money, ..TopUpCompleted::default() })
            .await;
        position
    }

    /// Adds an event to a stream, as a relay does.
    pub(crate) async fn publish<M: prost::Message + Name>(
        &self,
        stream: &str,
        position: i64,
        subject: Uuid,
        message: &M,
    ) {
        let event = Event {
            source: stream.to_owned(),
            position,
            kind: M::full_name(),
            time: self.clock.now(),
            data: message.encode_to_vec().into(),
            ..about(subject)
        };
        let key = format!("trangtien:{{{stream}}}:{}", event.partition());
        let mut connection = self.link().manager().expect("a link");
        let added: Result<String, _> = redis::cmd("XADD")
            .arg(key)
            .arg(format!("{position}-0"))
            .arg(&[("id", event.id.to_string()), ("source", event.source), ("type", event.kind)])
            .arg(&[("subject", subject.to_string()), ("time", event.time.to_rfc3339()), ("traceparent", String::new())])
            .arg("data")
            .arg(&event.data[..])
            .query_async(&mut connection)
            .await;
        added.expect("added");
    }

    /// Takes everything out of a stream, as the relay does with what is too old.
    pub(crate) async fn trim(&self, stream: &str) {
        let mut connection = self.link().manager().expect("a link");
        for partition in 0..platform::events::PARTITIONS {
            let key = format!("trangtien:{{{stream}}}:{partition}");
            let trimmed: Result<i64, _> =
                redis::cmd("XTRIM").arg(key).arg("MAXLEN").arg(0).query_async(&mut connection).await;
            trimmed.expect("trimmed");
        }
    }

    /// Makes Redis deliver everything of a stream again, as after a lost acknowledgement.
    pub(crate) async fn deliver_again(&self, stream: &str) {
        let mut connection = self.link().manager().expect("a link");
        for partition in 0..platform::events::PARTITIONS {
            let set: Result<(), _> = redis::cmd("XGROUP")
                .arg("SETID")
                .arg(format!("trangtien:{{{stream}}}:{partition}"))
                .arg("ioc")
                .arg("0")
                .query_async(&mut connection)
                .await;
            set.expect("the group is there");
        }
    }

    fn link(&self) -> RedisLink {
        RedisLink::try_new(&Secret::new(self.redis.url())).expect("a URL")
    }
}

impl Centre {
    pub(crate) async fn overview(&self) -> Overview {
        let answer = reqwest::get(format!("{}/ioc/v1/overview", self.url)).await.expect("answered");
        assert_eq!(answer.status(), 200);
        answer.json().await.expect("an overview")
    }

    /// Waits until the overview is as wanted.
    pub(crate) async fn overview_when(&self, what: &str, wanted: impl Fn(&Overview) -> bool) -> Overview {
        let began = Instant::now();
        loop {
            let overview = self.overview().await;
            if wanted(&overview) {
                return overview;
            }
            assert!(began.elapsed() < LIMIT, "in vain: {what}: {overview:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn stop(mut self) {
        self.shutdown.begin();
        if let Some(tasks) = self.tasks.take() {
            tasks.finish(LIMIT).await;
        }
    }
}

impl Drop for Centre {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}

/// The partition of all events about somebody or something.
pub(crate) fn partition(subject: Uuid) -> usize {
    about(subject).partition()
}

/// An event that says nothing.
fn about(subject: Uuid) -> Event {
    Event {
        id: platform::id::new(),
        source: String::new(),
        position: 0,
        kind: String::new(),
        subject,
        time: DateTime::UNIX_EPOCH,
        traceparent: None,
        data: Vec::new().into(),
    }
}

/// Serves a router on a free port of loopback.
pub(crate) async fn serve(router: axum::Router, shutdown: &Shutdown) -> String {
    let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    tokio::spawn(platform::http::serve(listener, router, ServeSettings::default(), shutdown.clone()));
    url
}

/// The wallet's books: kinds and amounts, positions from 1.
#[derive(Clone, Default)]
pub(crate) struct Wallet(Arc<Mutex<Vec<(&'static str, i64)>>>, Arc<AtomicBool>);

impl Wallet {
    pub(crate) fn post(&self, kind: &'static str, amount: i64) -> i64 {
        let mut entries = self.0.lock().expect("not poisoned");
        entries.push((kind, amount));
        i64::try_from(entries.len()).expect("few")
    }

    /// Answers nobody any more, or again.
    pub(crate) fn go_away(&self, is_away: bool) {
        self.1.store(is_away, Ordering::SeqCst);
    }

    /// Changes the past.
    pub(crate) fn forge(&self, position: usize, amount: i64) {
        self.0.lock().expect("not poisoned")[position - 1].1 = amount;
    }
}

#[async_trait]
impl WalletService for Wallet {
    async fn get_totals(&self, request: Request<GetTotalsRequest>) -> Result<Response<GetTotalsResponse>, Status> {
        platform::rpc::require_peer(&request, &["ioc"])?;
        if self.1.load(Ordering::SeqCst) {
            return Err(Status::unavailable("the wallet is away"));
        }
        let entries = self.0.lock().expect("not poisoned");
        let newest = i64::try_from(entries.len()).expect("few");
        let position = if request.get_ref().position == 0 { newest } else { request.get_ref().position };
        let included = &entries[..usize::try_from(position).expect("positive")];
        let total = |kind: &'static str| {
            let amounts: Vec<i64> = included.iter().filter(|entry| entry.0 == kind).map(|entry| entry.1).collect();
            let amount = Some(Money { minor_units: amounts.iter().sum(), currency: "VND".to_owned() });
            KindTotal { kind: kind.to_owned(), count: amounts.len() as i64, amount }
        };
        let totals = ["payment", "top-up", "bill", "fee", "refund", "payout"]
            .map(total)
            .into_iter()
            .filter(|total| total.count > 0)
            .collect();
        Ok(Response::new(GetTotalsResponse { position, totals }))
    }
}

/// The centre's own role, as the program tells it.
struct OwnRole(Metrics);

#[async_trait]
impl RoleStatus for OwnRole {
    async fn status(&self) -> Vec<RoleHealth> {
        let (service, instance) = (self.0.service().to_owned(), self.0.instance().to_owned());
        vec![RoleHealth { service, instance, up: true, ready: true, detail: None }]
    }

    async fn metrics(&self) -> Vec<RoleMetrics> {
        let (service, instance) = (self.0.service().to_owned(), self.0.instance().to_owned());
        vec![RoleMetrics { service, instance, exposition: Ok(self.0.encode()) }]
    }
}

/// One server-sent event.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) event: String,
    pub(crate) id: Option<String>,
    pub(crate) body: serde_json::Value,
    pub(crate) at: Instant,
}

/// Reads a wall's stream.
pub(crate) struct Wall {
    answer: reqwest::Response,
    pending: Vec<u8>,
}

impl Wall {
    pub(crate) async fn open(url: &str, last_id: Option<&str>) -> Self {
        let mut request = reqwest::Client::new().get(format!("{url}/ioc/v1/stream"));
        if let Some(id) = last_id {
            request = request.header("last-event-id", id);
        }
        Self::of(request).await
    }

    /// The answer to a request for the stream.
    pub(crate) async fn of(request: reqwest::RequestBuilder) -> Self {
        let answer = request.send().await.expect("answered");
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Self { answer, pending: Vec::new() }
    }

    /// The next event; `None` when the stream ends.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        let next = async {
            loop {
                // A chunk may end in the midst of a letter; a block does not.
                if let Some(end) = self.pending.windows(2).position(|two| two == b"\n\n") {
                    let block: Vec<u8> = self.pending.drain(..end + 2).collect();
                    return Some(read(std::str::from_utf8(&block).expect("blocks are whole")));
                }
                self.pending.extend_from_slice(&self.answer.chunk().await.ok().flatten()?);
            }
        };
        tokio::time::timeout(LIMIT, next).await.expect("an event in time")
    }

    /// The next event of a kind.
    pub(crate) async fn next_of(&mut self, event: &str) -> Message {
        loop {
            let message = self.next().await.expect("the stream goes on");
            if message.event == event {
                return message;
            }
        }
    }
}

fn read(block: &str) -> Message {
    let field = |name: &str| {
        let prefix = format!("{name}: ");
        block.lines().find_map(|line| line.strip_prefix(&prefix)).map(ToOwned::to_owned)
    };
    Message {
        event: field("event").expect("a name"),
        id: field("id"),
        body: serde_json::from_str(&field("data").expect("a body")).expect("JSON"),
        at: Instant::now(),
    }
}

/// The minute of a moment, as the wall names it.
pub(crate) fn minute(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%dT%H:%M:00Z").to_string()
}

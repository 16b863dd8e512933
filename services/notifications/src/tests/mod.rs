//! The whole role on a private PostgreSQL, against a sandbox over HTTP and an identity over gRPC.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may break off")]

mod alarm;
mod alert;
mod citizen;
mod courtesy;
mod dependent;
mod erasure;
mod escalation;
mod fan_out;
mod flow;
mod identity;
mod intake;
mod ladder;
mod lanes;
mod news;
mod person;
mod push_token;
mod receipt;
mod send;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use platform::auth::{LocalIssuer, Verifier};
use platform::clock::Clock;
use platform::config::Secret;
use platform::embedded::scratch::{self, TestDatabase};
use platform::events::{Event, Handler as _};
use platform::http::{HttpSettings, finish};
use platform::metrics::Metrics;
use platform::person::{PersonConfig, PersonKeys};
use platform::redis::RedisLink;
use platform::rpc::{CallMetrics, CallSettings, InboundLayer, in_process};
use platform::service::Context;
use platform::task::{Shutdown, Tasks};
use serde_json::Value;
use sqlx::PgPool;
use tokio::net::TcpListener;
use uuid::Uuid;

use self::identity::FakeIdentity;
use crate::event::Writer;
use crate::message::Draft;
use crate::meter::Meter;
use crate::{Config, Deps, MIGRATOR, PushConfig, SCHEMA, SmsConfig};

/// Seconds that a citizen's token lives.
const TOKEN_LIFE_S: i64 = 600;
/// The zone of the city's hours.
const ZONE: chrono_tz::Tz = chrono_tz::Asia::Ho_Chi_Minh;
/// How long a condition may take to come true.
const PATIENCE: Duration = Duration::from_secs(30);

/// The outside of the role: database, sandbox, identity. Roles come and go on top of it.
struct Town {
    database: TestDatabase,
    pool: PgPool,
    clock: Clock,
    sandbox_url: String,
    config: Config,
    identity: FakeIdentity,
    issuer: LocalIssuer,
    redis_url: String,
    client: reqwest::Client,
    shutdown: Shutdown,
}

/// One running instance of the role.
struct Role {
    url: String,
    context: Context,
    description: Value,
    shutdown: Shutdown,
    tasks: Option<Tasks>,
}

impl Drop for Town {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}

impl Town {
    /// A town without Redis: events are handed over by [`Town::happen`].
    async fn start() -> Self {
        Self::with_redis("redis://127.0.0.1:1/").await
    }

    async fn with_redis(redis_url: &str) -> Self {
        let database = scratch::database(&[(SCHEMA, &MIGRATOR)]).await.unwrap();
        let (clock, shutdown) = (Clock::test(), Shutdown::new());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let sandbox_url = format!("http://{}", listener.local_addr().unwrap());
        let outside = sandbox::Config::generate();
        tokio::spawn(sandbox::serve(listener, outside.clone(), clock.clone(), shutdown.clone()));
        let config = Config {
            sms: Some(SmsConfig {
                url: format!("{sandbox_url}/gateways/sms/v1/messages").parse().unwrap(),
                token: Secret::new(outside.sms.token.expose()),
                timeout_ms: 1_000,
                receipts: None,
            }),
            push: Some(PushConfig {
                url: format!("{sandbox_url}/gateways/fcm").parse().unwrap(),
                project: outside.push.project,
                token: Some(Secret::new(outside.push.token.expose())),
                service_account: None,
                timeout_ms: 1_000,
            }),
            persons: PersonConfig { encryption: Secret::new("7c".repeat(32)), ..PersonConfig::default() },
            ..Config::default()
        };
        Self {
            pool: database.pool(SCHEMA),
            database,
            identity: FakeIdentity::new(clock.clone()),
            issuer: LocalIssuer::new(clock.clone()),
            clock,
            sandbox_url,
            config,
            redis_url: redis_url.to_owned(),
            client: reqwest::Client::new(),
            shutdown,
        }
    }

    /// Starts an instance of the role.
    async fn role(&self) -> Role {
        let metrics = Metrics::new("notifications", "test");
        let (verifier, keys) = Verifier::new(self.issuer.clone(), self.clock.clone());
        let context = Context {
            pool: self.database.pool(SCHEMA),
            redis: RedisLink::try_new(&Secret::new(&self.redis_url)).unwrap(),
            clock: self.clock.clone(),
            metrics: metrics.clone(),
            verifier: verifier.clone(),
            city: Arc::new(crate::city::tests::folder()),
            public_url: "http://localhost:1".parse().unwrap(),
            instance: Uuid::new_v4().to_string(),
        };
        let inbound = InboundLayer::new(&Metrics::new("identity", "test"));
        let calls = CallMetrics::new(&metrics);
        let identity = in_process("notifications", self.identity.routes(), inbound, &calls, CallSettings::default());
        let service = crate::build(self.config.clone(), Deps { context: context.clone(), identity }).await.unwrap();
        let shutdown = Shutdown::new();
        let mut tasks = service.tasks;
        tasks.push(keys);
        let tasks = Some(Tasks::start(tasks, &shutdown));
        let (router, description) = service.http.split_for_parts();
        let description = serde_json::to_value(description).unwrap();
        let router = finish(router, HttpSettings::default(), verifier.clone(), shutdown.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let token = shutdown.token().clone();
        tokio::spawn(
            async move { axum::serve(listener, router).with_graceful_shutdown(token.cancelled_owned()).await },
        );
        until(async || verifier.is_ready().then_some(())).await;
        Role { url, context, description, shutdown, tasks }
    }

    /// Brings about the effect of events, as the consumer does.
    async fn happen(&self, events: &[Event]) {
        let writer = Writer {
            clock: self.clock.clone(),
            zone: ZONE,
            meter: Meter::new(&Metrics::new("notifications", "writer")),
        };
        let mut transaction = self.pool.begin().await.unwrap();
        writer.handle(&mut transaction, events).await.unwrap();
        transaction.commit().await.unwrap();
    }

    /// Makes messages directly, for lanes that no event of today uses.
    async fn enqueue(&self, drafts: &[Draft]) {
        let mut transaction = self.pool.begin().await.unwrap();
        crate::message::enqueue(&mut transaction, drafts, (self.clock.now(), ZONE)).await.unwrap();
        transaction.commit().await.unwrap();
    }

    /// The keys of citizens.
    fn persons(&self) -> PersonKeys {
        PersonKeys::try_new(SCHEMA, &self.config.persons).unwrap()
    }

    /// Registers a device as its citizen would.
    async fn device(&self, user: Uuid, token: &str) {
        let device = crate::device::NewDevice::try_new(token.to_owned(), "Phone".to_owned()).unwrap();
        let mut transaction = self.pool.begin().await.unwrap();
        let owner = crate::device::Owner { user, session: platform::id::new() };
        crate::device::register(&mut transaction, &self.persons(), owner, &device, self.clock.now()).await.unwrap();
        transaction.commit().await.unwrap();
    }

    /// What the sandbox received, newest first.
    async fn received(&self, path: &str) -> Vec<Value> {
        let response = self.client.get(format!("{}{path}", self.sandbox_url)).send().await.unwrap();
        response.json().await.unwrap()
    }

    async fn fault(&self, party: &str, fault: Value) {
        let request = self.client.post(format!("{}/{party}/faults", self.sandbox_url)).json(&fault);
        assert!(request.send().await.unwrap().status().is_success());
    }

    async fn no_fault(&self, party: &str) {
        let request = self.client.delete(format!("{}/{party}/faults", self.sandbox_url));
        assert!(request.send().await.unwrap().status().is_success());
    }

    /// State and reason of a recipient's message on a channel.
    async fn message(&self, recipient: Uuid, channel: &str) -> (String, Option<String>) {
        sqlx::query_as("SELECT state, reason FROM notifications.message WHERE recipient = $1 AND channel = $2")
            .bind(recipient)
            .bind(channel)
            .fetch_one(&self.pool)
            .await
            .unwrap()
    }

    /// Waits until a recipient's message on a channel has ended, and gives how.
    async fn settled(&self, recipient: Uuid, channel: &str) -> (String, Option<String>) {
        until(async || Some(self.message(recipient, channel).await).filter(|(state, _)| state != "waiting")).await
    }

    async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.database.admin_pool()).await.unwrap()
    }

    fn later(&self, by: TimeDelta) {
        self.clock.advance(by);
    }
}

impl Role {
    /// Stops as a process does on SIGTERM.
    async fn stop(mut self) {
        self.shutdown.begin();
        self.tasks.take().unwrap().finish(PATIENCE).await;
    }

    fn metric(&self, sample: &str) -> Option<String> {
        let text = self.context.metrics.encode();
        let line = text.lines().find(|line| {
            let mut parts = sample.split_whitespace();
            line.starts_with("trangtien_notifications_") && parts.all(|part| line.contains(part))
        })?;
        line.rsplit(' ').next().map(str::to_owned)
    }
}

/// Waits until `condition` gives something.
async fn until<T>(condition: impl AsyncFn() -> Option<T>) -> T {
    tokio::time::timeout(PATIENCE, async {
        loop {
            if let Some(found) = condition().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("the condition comes true in time")
}

//! What the tests play on: a database with a sending and a receiving schema, Redis, and processes that can be killed.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use platform::auth::{KeySource, PublicKeys, Revocations, Verifier};
use platform::clock::Clock;
use platform::config::Secret;
use platform::db::Schema;
use platform::embedded::scratch::{self, TestDatabase};
use platform::events::{Consumer, ConsumerSettings, Event, HandleError, Handler};
use platform::metrics::Metrics;
use platform::outbox::{NewEvent, Relay, RelaySettings, append};
use platform::redis::RedisLink;
use platform::service::Context;
use platform::task::{Shutdown, Task};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{PgConnection, PgPool, SqlSafeStr as _};
use tokio::task::JoinHandle;
use uuid::Uuid;

pub(crate) const SENDER: Schema = Schema::new("sender");
pub(crate) const RECEIVER: Schema = Schema::new("receiver");
pub(crate) const STREAM: &str = "sender";

/// The longest that anything may take; a test that needs it has failed.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

const SENDER_TABLES: &str = "
    CREATE TABLE sender.counter (subject uuid PRIMARY KEY, sequence bigint NOT NULL);
    GRANT SELECT, INSERT, UPDATE ON sender.counter TO trangtien_sender;";

// No constraint hides a doubled effect.
const RECEIVER_TABLES: &str = "
    CREATE TABLE receiver.effect (
        ordinal bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, event_id uuid NOT NULL, subject uuid NOT NULL, sequence bigint NOT NULL);
    GRANT SELECT, INSERT ON receiver.effect TO trangtien_receiver;
    CREATE TABLE receiver.once (id integer PRIMARY KEY);
    GRANT SELECT, INSERT ON receiver.once TO trangtien_receiver;";

static SENDER_MIGRATOR: LazyLock<Migrator> = LazyLock::new(|| migrator(SENDER, SENDER_TABLES));
static RECEIVER_MIGRATOR: LazyLock<Migrator> = LazyLock::new(|| migrator(RECEIVER, RECEIVER_TABLES));

fn migrator(schema: Schema, sql: &'static str) -> Migrator {
    let tables = Migration::new(1, "tables".into(), MigrationType::Simple, sql.into_sql_str(), false);
    let mut migrator = Migrator::with_migrations(vec![tables]);
    migrator.dangerous_set_table_name(format!("{schema}._sqlx_migrations"));
    migrator
}

/// A database and the way to Redis.
pub(crate) struct Stage {
    pub(crate) database: TestDatabase,
    pub(crate) clock: Clock,
    redis_url: String,
}

impl Stage {
    pub(crate) async fn new(redis_url: String) -> Self {
        let parts = [(SENDER, &*SENDER_MIGRATOR), (RECEIVER, &*RECEIVER_MIGRATOR)];
        let database = scratch::database(&parts).await.expect("PostgreSQL is installed");
        Self { database, clock: Clock::test(), redis_url }
    }

    /// What a process called `instance` gets for the role of `schema`.
    pub(crate) fn context(&self, schema: Schema, instance: &str) -> Context {
        let (verifier, _) = Verifier::new(NoKeys, self.clock.clone());
        Context {
            pool: self.database.pool(schema),
            redis: RedisLink::try_new(&Secret::new(self.redis_url.clone())).expect("a URL"),
            clock: self.clock.clone(),
            metrics: Metrics::new(schema.name(), instance),
            verifier,
            city: Arc::default(),
            public_url: "http://localhost:8080".parse().expect("a URL"),
            instance: instance.to_owned(),
        }
    }

    pub(crate) fn relay(&self, instance: &str) -> Process {
        let settings = RelaySettings {
            upkeep: Duration::from_millis(200),
            poll: Duration::from_millis(200),
            ..RelaySettings::default()
        };
        self.relay_with(instance, settings)
    }

    pub(crate) fn relay_with(&self, instance: &str, settings: RelaySettings) -> Process {
        let context = self.context(SENDER, instance);
        let relay = Relay::of_outbox(&context, SENDER, STREAM).settings(settings);
        Process::start(context, relay.into_task())
    }

    pub(crate) fn consumer(&self, instance: &str, handler: Arc<dyn Handler>) -> Process {
        self.consumer_with(instance, handler, quick())
    }

    pub(crate) fn consumer_with(
        &self,
        instance: &str,
        handler: Arc<dyn Handler>,
        settings: ConsumerSettings,
    ) -> Process {
        let context = self.context(RECEIVER, instance);
        let consumer = Consumer::with_settings(&context, RECEIVER, STREAM, handler, settings);
        Process::start(context, consumer.into_task())
    }

    /// Appends `count` events of one subject, in one transaction, numbered on.
    pub(crate) async fn send(&self, subject: Uuid, count: i64) {
        send(&self.database.pool(SENDER), subject, count).await;
    }

    pub(crate) async fn effects(&self) -> Vec<Effect> {
        sqlx::query_as("SELECT subject, sequence FROM receiver.effect ORDER BY ordinal")
            .fetch_all(&self.database.admin_pool())
            .await
            .expect("a query")
    }

    pub(crate) async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.database.admin_pool()).await.expect("a query")
    }

    pub(crate) async fn execute(&self, sql: &'static str) {
        sqlx::raw_sql(sql).execute(&self.database.admin_pool()).await.expect("a statement");
    }

    /// Waits until exactly so many effects are there.
    pub(crate) async fn await_effects(&self, count: i64) {
        let pool = self.database.admin_pool();
        until("the effects are there", async || {
            let found: i64 =
                sqlx::query_scalar("SELECT count(*) FROM receiver.effect").fetch_one(&pool).await.expect("a query");
            assert!(found <= count, "{found} effects of {count} events");
            found == count
        })
        .await;
    }

    /// Every event that was sent has exactly one effect, and each subject's are in order.
    pub(crate) async fn assert_exactly_once_in_order(&self) {
        let lost = "SELECT count(*) FROM sender.outbox WHERE event_id NOT IN (SELECT event_id FROM receiver.effect)";
        assert_eq!(self.count(lost).await, 0, "events without effect");
        assert_eq!(
            self.count("SELECT count(*) - count(DISTINCT event_id) FROM receiver.effect").await,
            0,
            "doubled effects"
        );
        assert_eq!(self.count("SELECT count(*) FROM receiver.dead_event").await, 0, "dead events");
        let mut last: HashMap<Uuid, i64> = HashMap::new();
        for effect in self.effects().await {
            let before = last.insert(effect.subject, effect.sequence).unwrap_or(0);
            assert_eq!(effect.sequence, before + 1, "the order of subject {} is broken", effect.subject);
        }
    }
}

/// Settings that find out about dead processes quickly.
pub(crate) fn quick() -> ConsumerSettings {
    let mut settings = ConsumerSettings { lease: Duration::from_millis(1_500), ..ConsumerSettings::default() };
    settings.patience.first = Duration::from_millis(20);
    settings
}

/// Appends events of one subject; the subject's own counter numbers them under its row's lock.
pub(crate) async fn send(pool: &PgPool, subject: Uuid, count: i64) {
    let mut transaction = pool.begin().await.expect("the database answers");
    append_numbered(&mut transaction, subject, count).await;
    transaction.commit().await.expect("committed");
}

pub(crate) async fn append_numbered(connection: &mut PgConnection, subject: Uuid, count: i64) {
    let last: i64 = sqlx::query_scalar(
        "INSERT INTO sender.counter (subject, sequence) VALUES ($1, $2)
         ON CONFLICT (subject) DO UPDATE SET sequence = counter.sequence + $2 RETURNING sequence",
    )
    .bind(subject)
    .bind(count)
    .fetch_one(&mut *connection)
    .await
    .expect("numbered");
    let events: Vec<NewEvent> =
        (last - count + 1..=last).map(|sequence| NewEvent::new(subject, &numbered(sequence))).collect();
    append(connection, SENDER, chrono::Utc::now(), &events).await.expect("appended");
}

pub(crate) fn numbered(sequence: i64) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: sequence, nanos: 0 }
}

pub(crate) fn sequence(event: &Event) -> i64 {
    event.decode::<prost_types::Timestamp>().expect("of this kind").expect("well formed").seconds
}

#[derive(Debug, sqlx::FromRow)]
pub(crate) struct Effect {
    pub(crate) subject: Uuid,
    pub(crate) sequence: i64,
}

/// A handler that writes each event down, unless `verdict` objects.
pub(crate) struct Writer<F>(pub(crate) F);

#[async_trait]
impl<F: Fn(&Event) -> Result<(), HandleError> + Send + Sync + 'static> Handler for Writer<F> {
    async fn handle(&self, transaction: &mut PgConnection, events: &[Event]) -> Result<(), HandleError> {
        events.iter().try_for_each(&self.0)?;
        write(transaction, events).await
    }
}

pub(crate) fn writer() -> Arc<dyn Handler> {
    Arc::new(Writer(|_: &Event| Ok(())))
}

pub(crate) async fn write(transaction: &mut PgConnection, events: &[Event]) -> Result<(), HandleError> {
    let ids: Vec<Uuid> = events.iter().map(|event| event.id).collect();
    let subjects: Vec<Uuid> = events.iter().map(|event| event.subject).collect();
    let sequences: Vec<i64> = events.iter().map(sequence).collect();
    sqlx::query(
        "INSERT INTO receiver.effect (event_id, subject, sequence)
         SELECT event_id, subject, sequence FROM unnest($1::uuid[], $2::uuid[], $3::bigint[])
             WITH ORDINALITY AS event (event_id, subject, sequence, ordinal) ORDER BY ordinal",
    )
    .bind(ids)
    .bind(subjects)
    .bind(sequences)
    .execute(transaction)
    .await?;
    Ok(())
}

/// A task of a role in a process of its own: with its own pool and connections, to be stopped or killed.
pub(crate) struct Process {
    pub(crate) context: Context,
    shutdown: Shutdown,
    running: Mutex<Option<JoinHandle<()>>>,
}

impl Process {
    pub(crate) fn start(context: Context, task: Task) -> Self {
        let shutdown = Shutdown::new();
        let running = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { task.run(shutdown).await.expect("the task ends well") }
        });
        Self { context, shutdown, running: Mutex::new(Some(running)) }
    }

    /// Ends it where it stands, as SIGKILL would.
    pub(crate) async fn kill(&self) {
        let running = self.running.lock().expect("not poisoned").take().expect("it runs");
        running.abort();
        assert!(running.await.is_err_and(|error| error.is_cancelled()), "it was running");
        self.context.pool.close().await;
    }

    /// Lets it end by itself.
    pub(crate) async fn stop(&self) {
        self.shutdown.begin();
        let running = self.running.lock().expect("not poisoned").take().expect("it runs");
        tokio::time::timeout(LIMIT, running).await.expect("it stops in time").expect("it does not panic");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(running) = self.running.lock().expect("not poisoned").take() {
            running.abort();
        }
    }
}

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

/// Waits until a condition holds.
pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !condition().await {
        assert!(began.elapsed() < LIMIT, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

//! PostgreSQL: schemas, roles, pools, migrations.
//!
//! Each service has one schema and two roles: an owner that only migrations use, and a runtime login that owns nothing.
//! Platform's own tables (outbox, jobs, idempotency keys) are made in every service's schema before the service's.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool, Postgres, SqlSafeStr as _, Transaction};

use crate::config::Secret;

/// A connection that was used so short a while ago is handed out without asking whether it still answers: asking costs a round trip.
/// It was asked when it came back, after its last statement.
const TRUSTED_FOR: Duration = Duration::from_millis(500);
/// A statement that waits longer than this for the pool fails as `unavailable`.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// A runtime statement that runs longer than this is cancelled by the server.
const STATEMENT_TIMEOUT: &str = "15s";
/// A migration waits at most this long for a lock, so that it never queues all traffic behind itself.
const MIGRATION_LOCK_TIMEOUT: &str = "5s";

/// Platform's own tables, in order; `{schema}` stands for the schema's name.
const PLATFORM_MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "outbox", include_str!("../migrations/0001_outbox.sql")),
    (2, "event", include_str!("../migrations/0002_event.sql")),
    (3, "job", include_str!("../migrations/0003_job.sql")),
    (4, "idempotency", include_str!("../migrations/0004_idempotency.sql")),
    (5, "person", include_str!("../migrations/0005_person.sql")),
    (6, "fused", include_str!("../migrations/0006_fused.sql")),
    (7, "together", include_str!("../migrations/0007_together.sql")),
];

/// A schema of the city's database, named in code only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Schema(&'static str);

impl Schema {
    /// Names a schema; only lower-case letters, so that it is safe inside a statement.
    ///
    /// # Panics
    /// At compile time when used in a constant, for any other character.
    pub const fn new(name: &'static str) -> Self {
        let bytes = name.as_bytes();
        assert!(!bytes.is_empty() && bytes.len() <= 32, "a schema's name has 1 to 32 letters");
        let mut index = 0;
        while index < bytes.len() {
            assert!(bytes[index].is_ascii_lowercase(), "a schema's name has lower-case letters only");
            index += 1;
        }
        Self(name)
    }

    /// The schema's name.
    pub const fn name(self) -> &'static str {
        self.0
    }

    /// The login that services use; it owns nothing.
    pub fn runtime_role(self) -> String {
        format!("trangtien_{}", self.0)
    }

    /// The login that migrations use; it owns the schema.
    pub fn owner_role(self) -> String {
        format!("trangtien_{}_owner", self.0)
    }

    /// Puts the schema's name into a statement written with `{schema}`.
    pub fn sql(self, template: &str) -> String {
        template.replace("{schema}", self.0)
    }
}

impl std::fmt::Display for Schema {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.0)
    }
}

/// How one service reaches its database.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DatabaseSettings {
    /// `postgres://` URL of the runtime role.
    pub url: Secret,
    /// `postgres://` URL of the schema's owner; only `trangtien migrate` needs it.
    pub owner_url: Secret,
    /// The most connections of the pool.
    pub max_connections: u32,
}

impl Default for DatabaseSettings {
    fn default() -> Self {
        Self { url: Secret::default(), owner_url: Secret::default(), max_connections: 10 }
    }
}

/// Opens a lazily connecting pool for a runtime role; the process starts also while the database is away.
///
/// # Errors
/// When the URL can't be parsed.
pub fn pool(settings: &DatabaseSettings, application: &str) -> Result<PgPool, sqlx::Error> {
    let options: PgConnectOptions = settings.url.expose().parse()?;
    let options = options
        .application_name(application)
        .options([("statement_timeout", STATEMENT_TIMEOUT), ("idle_in_transaction_session_timeout", "30s")]);
    Ok(PgPoolOptions::new()
        .max_connections(settings.max_connections)
        .min_connections(0)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(Duration::from_secs(300))
        .test_before_acquire(false)
        .before_acquire(|connection, met| {
            Box::pin(async move {
                if met.idle_for > TRUSTED_FOR {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .connect_lazy_with(options))
}

/// How long a statement that writes for many waits for a lock before it writes for nobody.
const SHARED_LOCK_TIMEOUT: &str = "50ms";

/// Connections of their own beside a service's pool, for tasks that each read for many requests in one statement.
///
/// Such a statement is planned once and finds its rows by index, whatever the tables held then.
pub fn shared_readers(pool: &PgPool, connections: u32) -> PgPool {
    shared(pool, connections, PgConnectOptions::clone(&pool.connect_options()))
}

/// The same for tasks that write for many requests. A statement that waits for a lock longer than [`SHARED_LOCK_TIMEOUT`] fails with a
/// passing error: a request whose row is held waits by itself.
pub fn shared_writers(pool: &PgPool, connections: u32) -> PgPool {
    let options = PgConnectOptions::clone(&pool.connect_options());
    shared(pool, connections, options.options([("lock_timeout", SHARED_LOCK_TIMEOUT)]))
}

fn shared(pool: &PgPool, connections: u32, options: PgConnectOptions) -> PgPool {
    let options = options.options([
        ("plan_cache_mode", "force_generic_plan"),
        ("enable_seqscan", "off"),
        ("enable_hashjoin", "off"),
        ("enable_mergejoin", "off"),
        ("jit", "off"),
    ]);
    pool.options().clone().max_connections(connections).connect_lazy_with(options)
}

/// Begins a transaction. To be used in place of `pool.begin()`, which must not be dropped half way.
///
/// sqlx 0.9.0 counts a transaction as begun only after the answer to BEGIN: a caller that goes away in between (a client
/// hangs up, a deadline passes) would leave the connection in the pool with the transaction open.
/// Here BEGIN is always awaited; a caller that went away then drops a whole transaction, which rolls back.
///
/// # Errors
/// What the database answered.
pub async fn begin(pool: &PgPool) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    begin_by(pool, "BEGIN").await
}

/// Begins a transaction that sees one moment and writes nothing; as safe against being dropped as [`begin`].
///
/// # Errors
/// What the database answered.
pub async fn begin_read_only(pool: &PgPool) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    begin_by(pool, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await
}

async fn begin_by(pool: &PgPool, statement: &'static str) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    let pool = pool.clone();
    tokio::spawn(async move { pool.begin_with(statement).await }).await.unwrap_or(Err(sqlx::Error::WorkerCrashed))
}

/// Makes roles and schemas that are missing, as a superuser or a role that may create both. Safe to repeat.
///
/// `password` gives the password of a role; it is set each time, so that a rotated one takes effect.
///
/// # Errors
/// What the database answered.
pub async fn bootstrap(
    admin: &mut PgConnection,
    schemas: &[Schema],
    password: impl Fn(&str) -> String,
) -> Result<(), sqlx::Error> {
    let database: String = sqlx::query_scalar("SELECT current_database()").fetch_one(&mut *admin).await?;
    execute(admin, format!("REVOKE CREATE, TEMPORARY ON DATABASE {} FROM PUBLIC", quote_name(&database))).await?;
    for schema in schemas {
        for role in [schema.owner_role(), schema.runtime_role()] {
            create_role(admin, &role, &password(&role)).await?;
        }
        let (owner, database) = (schema.owner_role(), quote_name(&database));
        execute(admin, format!("GRANT CONNECT, CREATE ON DATABASE {database} TO {owner}")).await?;
        execute(admin, format!("GRANT CONNECT ON DATABASE {database} TO {}", schema.runtime_role())).await?;
        execute(admin, format!("GRANT {owner} TO CURRENT_USER")).await?;
        execute(admin, format!("CREATE SCHEMA IF NOT EXISTS {schema} AUTHORIZATION {owner}")).await?;
    }
    Ok(())
}

async fn create_role(admin: &mut PgConnection, role: &str, password: &str) -> Result<(), sqlx::Error> {
    let exists: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = $1)")
        .bind(role)
        .fetch_one(&mut *admin)
        .await?;
    let verb = if exists { "ALTER" } else { "CREATE" };
    execute(
        admin,
        format!("{verb} ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD {}", quote_text(password)),
    )
    .await
}

/// Brings one schema up to date as its owner: platform's tables first, then the service's.
///
/// # Errors
/// When a migration fails or was changed after it had been applied.
pub async fn migrate(
    owner: &mut PgConnection,
    schema: Schema,
    migrator: &Migrator,
    platform_tables: PlatformTables,
) -> Result<(), sqlx::Error> {
    execute(owner, format!("SET lock_timeout = '{MIGRATION_LOCK_TIMEOUT}'")).await?;
    if platform_tables == PlatformTables::Wanted {
        platform_migrator(schema).run(&mut *owner).await.map_err(|source| sqlx::Error::Migrate(Box::new(source)))?;
    }
    migrator.run(&mut *owner).await.map_err(|source| sqlx::Error::Migrate(Box::new(source)))?;
    execute(owner, "RESET lock_timeout".to_owned()).await
}

/// Whether a schema gets platform's own tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlatformTables {
    /// A service's schema.
    Wanted,
    /// A library's schema (the ledger's).
    NotWanted,
}

/// The migrations of platform's own tables in `schema`.
pub fn platform_migrator(schema: Schema) -> Migrator {
    let migrations = PLATFORM_MIGRATIONS
        .iter()
        .map(|(version, name, sql)| {
            let sql = AssertSqlSafe(schema.sql(sql)).into_sql_str();
            Migration::new(*version, Cow::Borrowed(name), MigrationType::Simple, sql, false)
        })
        .collect();
    let mut migrator = Migrator::with_migrations(migrations);
    migrator.dangerous_set_table_name(format!("{schema}._platform_migration"));
    migrator
}

/// Connects once, outside any pool.
///
/// # Errors
/// What the database answered.
pub async fn connect(url: &Secret) -> Result<PgConnection, sqlx::Error> {
    PgConnection::connect(url.expose()).await
}

/// The name of the constraint that a statement violated, if that is why it failed.
pub fn violated(error: &sqlx::Error) -> Option<&str> {
    error.as_database_error().and_then(|error| error.constraint())
}

/// SQLSTATE classes of passing failures: connection, rollback, resources, operator intervention.
const PASSING_CLASSES: [&str; 4] = ["08", "40", "53", "57P"];
/// SQLSTATE codes of passing failures: lock timeout, cancelled, idle in a transaction for too long, read-only after a failover.
const PASSING_CODES: [&str; 4] = ["55P03", "57014", "25P03", "25006"];

/// Whether an error means that the database can't be reached or is restarting, so that the same call may succeed later.
pub fn is_passing(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Tls(_) => true,
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            PASSING_CLASSES.iter().any(|class| code.starts_with(class)) || PASSING_CODES.contains(&code.as_ref())
        }),
        _ => false,
    }
}

async fn execute(connection: &mut PgConnection, sql: String) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await.map(|_| ())
}

fn quote_name(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn quote_text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use std::future::{Future, poll_fn};
    use std::pin::pin;
    use std::task::Poll;

    use super::*;
    use crate::embedded::scratch;

    const SCHEMA: Schema = Schema::new("begun");
    /// More polls than any beginning of a transaction takes.
    const MAX_POLLS: usize = 12;

    /// Polls a future that often and drops it, wherever it then is.
    async fn drop_after<F: Future>(polls: usize, future: F) {
        let mut future = pin!(future);
        let mut left = polls;
        poll_fn(|context| {
            left -= 1;
            let polled = future.as_mut().poll(context).map(|_| ());
            if left == 0 { Poll::Ready(()) } else { polled }
        })
        .await;
    }

    /// Whether the pool's only connection stands inside a transaction, which then sees one and the same moment for ever.
    async fn is_inside(pool: &PgPool) -> bool {
        let moment = || sqlx::query_scalar::<_, String>("SELECT now()::text").fetch_one(pool);
        moment().await.expect("a moment") == moment().await.expect("a moment")
    }

    #[tokio::test]
    async fn a_caller_that_goes_away_leaves_no_transaction_behind() {
        let mut migrator = Migrator::with_migrations(Vec::new());
        migrator.dangerous_set_table_name("begun._sqlx_migrations");
        let database = scratch::database(&[(SCHEMA, &*Box::leak(Box::new(migrator)))]).await.expect("a server");
        let one = PgPoolOptions::new().max_connections(1);
        let pool = one.connect(&database.url(SCHEMA)).await.expect("a connection");
        for polls in 1..=MAX_POLLS {
            drop_after(polls, begin(&pool)).await;
            assert!(!is_inside(&pool).await, "dropped after {polls} polls");
            drop_after(polls, begin_read_only(&pool)).await;
            assert!(!is_inside(&pool).await, "dropped after {polls} polls");
        }
        let mut tx = begin_read_only(&pool).await.expect("begun");
        let write = sqlx::query("CREATE TABLE begun.never (id integer)").execute(&mut *tx).await;
        let refused = write.expect_err("nothing is written");
        assert_eq!(refused.as_database_error().and_then(|error| error.code()).as_deref(), Some("25006"));
    }
}

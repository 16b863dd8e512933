//! Databases and servers for tests.
//!
//! One PostgreSQL (fsync off) is shared by all test processes of a target folder: initialising one for each test would take seconds.
//! The first user starts it under a watchdog (`watchdog.sh`), which stops it when nobody has used it for [`IDLE_SECONDS`].
//! A test database is copied from a template that is kept, named by the checksums of its migrations.
//!
//! Locks, in this order: `start.lock` (exclusive, while a server is looked for or started), `users.lock` (shared, for the life of a test process;
//! exclusive for the watchdog while it stops the server), and PostgreSQL's advisory lock `TEMPLATE_LOCK` while a template is made.

mod server;

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use sqlx::{
    Connection, PgPool,
    migrate::Migrator,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::sync::OnceCell;

use self::server::{Server, execute, failed};
use super::{
    Error, cluster,
    postgres::{self, PostgresOptions},
    redis,
};
use crate::db::{PlatformTables, Schema};

/// How long the shared server waits for its next user.
pub const IDLE_SECONDS: u32 = 20;
/// The most connections of one pool of a test.
const MAX_POOL: u32 = 16;

static SERVER: OnceCell<Server> = OnceCell::const_new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// A schema of a test database: its name, the migrations of its service, and whether platform's own tables belong into it.
///
/// A pair means that they do.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    schema: Schema,
    migrator: &'static Migrator,
    platform_tables: PlatformTables,
}

impl From<(Schema, &'static Migrator)> for Part {
    fn from((schema, migrator): (Schema, &'static Migrator)) -> Self {
        Self { schema, migrator, platform_tables: PlatformTables::Wanted }
    }
}

impl From<(Schema, &'static Migrator, PlatformTables)> for Part {
    fn from((schema, migrator, platform_tables): (Schema, &'static Migrator, PlatformTables)) -> Self {
        Self { schema, migrator, platform_tables }
    }
}

/// A fresh database with these schemas, migrated in order, their roles and platform's tables. It is dropped with the value.
///
/// Roles of other schemas that the migrations grant something to are made as well.
///
/// # Errors
/// When PostgreSQL is not installed, does not start, or a migration fails.
pub async fn database<P: Into<Part> + Clone>(parts: &[P]) -> Result<TestDatabase, Error> {
    let parts: Vec<Part> = parts.iter().cloned().map(Into::into).collect();
    let server = SERVER.get_or_try_init(Server::find_or_start).await?;
    let mut admin = server.connect("postgres").await?;
    let template = server.template(&mut admin, &parts).await?;
    let name = format!("test_{}_{}", std::process::id(), DATABASES.fetch_add(1, Ordering::Relaxed));
    execute(&mut admin, format!("CREATE DATABASE {name} TEMPLATE {template}")).await?;
    // Rights on a database are not copied with its template.
    execute(&mut admin, format!("REVOKE CREATE, TEMPORARY ON DATABASE {name} FROM PUBLIC")).await?;
    admin.close().await.map_err(failed("closing a connection"))?;
    Ok(TestDatabase { name, server })
}

/// A private Redis without persistence, in a folder of its own that is removed with it.
///
/// # Errors
/// When neither Redis nor Valkey is installed, or it does not start.
pub async fn redis() -> Result<TestRedis, Error> {
    let folder = TestFolder::new("redis")?;
    let server = redis::Redis::start(folder.path(), redis::RedisOptions::scratch()).await?;
    Ok(TestRedis { server, _folder: folder })
}

/// A private PostgreSQL of the test's own, to be killed and restarted, in a folder that is removed with it. It takes a second or two to make.
///
/// # Errors
/// When PostgreSQL is not installed or does not start.
pub async fn postgres() -> Result<TestPostgres, Error> {
    let folder = TestFolder::new("postgres")?;
    let server = postgres::Postgres::start(folder.path(), PostgresOptions::scratch()).await?;
    Ok(TestPostgres { server, _folder: folder })
}

/// A database on the shared scratch server.
#[derive(Debug)]
pub struct TestDatabase {
    name: String,
    server: &'static Server,
}

impl TestDatabase {
    /// The database's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A pool as the schema's runtime role, as the service has it in production.
    #[must_use]
    pub fn pool(&self, schema: Schema) -> PgPool {
        self.pool_as(&schema.runtime_role())
    }

    /// A pool as any role that the migrations made or granted something to.
    #[must_use]
    pub fn pool_as(&self, role: &str) -> PgPool {
        lazy_pool(self.server.options(role, &self.server.password(role)).database(&self.name))
    }

    /// A pool as the superuser: to look at everything and to break what no service may.
    #[must_use]
    pub fn admin_pool(&self) -> PgPool {
        lazy_pool(self.server.superuser().database(&self.name))
    }

    /// The URL of a schema's runtime role.
    #[must_use]
    pub fn url(&self, schema: Schema) -> String {
        let role = schema.runtime_role();
        cluster::url(self.server.port, &role, &self.server.password(&role), &self.name)
    }

    /// The URL of a schema's owner.
    #[must_use]
    pub fn owner_url(&self, schema: Schema) -> String {
        let role = schema.owner_role();
        cluster::url(self.server.port, &role, &self.server.password(&role), &self.name)
    }

    /// The URL of the superuser.
    #[must_use]
    pub fn admin_url(&self) -> String {
        self.server.cluster.superuser_url(self.server.port, &self.name)
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let (server, name) = (self.server, self.name.clone());
        // A thread with a runtime of its own, because this one may be ending; joined, because the process may end right after.
        let dropper = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let Ok(runtime) = runtime else { return };
            // A database that stays behind is dropped when the server is next started.
            runtime.block_on(async { server.drop_database(&name).await.ok() });
        });
        dropper.join().ok();
    }
}

/// A private Redis of one test.
#[derive(Debug)]
pub struct TestRedis {
    server: redis::Redis,
    _folder: TestFolder,
}

impl std::ops::Deref for TestRedis {
    type Target = redis::Redis;

    fn deref(&self) -> &redis::Redis {
        &self.server
    }
}

/// A private PostgreSQL of one test.
#[derive(Debug)]
pub struct TestPostgres {
    server: postgres::Postgres,
    _folder: TestFolder,
}

impl std::ops::Deref for TestPostgres {
    type Target = postgres::Postgres;

    fn deref(&self) -> &postgres::Postgres {
        &self.server
    }
}

/// A folder under the system's temporary folder that is removed with the value. Other accounts may pass through it.
#[derive(Debug)]
pub struct TestFolder(PathBuf);

impl TestFolder {
    /// Makes one whose name says what it is for.
    ///
    /// # Errors
    /// When the temporary folder is not writable.
    pub fn new(purpose: &str) -> Result<Self, Error> {
        let name = format!("trangtien-{purpose}-{}-{:08x}", std::process::id(), rand::random::<u32>());
        let path = std::env::temp_dir().join(name);
        super::account::make_folder(&path, 0o711)?;
        Ok(Self(path))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TestFolder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

fn lazy_pool(options: PgConnectOptions) -> PgPool {
    PgPoolOptions::new().max_connections(MAX_POOL).acquire_timeout(Duration::from_secs(20)).connect_lazy_with(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: Schema = Schema::new("scratch");

    fn no_migrations() -> &'static Migrator {
        let mut migrator = Migrator::with_migrations(Vec::new());
        migrator.dangerous_set_table_name("scratch._sqlx_migrations");
        Box::leak(Box::new(migrator))
    }

    #[tokio::test]
    async fn two_databases_share_a_template_and_nothing_else() {
        let first = database(&[(SCHEMA, no_migrations())]).await.expect("PostgreSQL is installed");
        let second = database(&[(SCHEMA, no_migrations())]).await.expect("PostgreSQL is installed");
        sqlx::query("CREATE TABLE scratch.only_here (id integer)")
            .execute(&first.admin_pool())
            .await
            .expect("the superuser may");
        let there: bool = sqlx::query_scalar("SELECT to_regclass('scratch.only_here') IS NOT NULL")
            .fetch_one(&second.admin_pool())
            .await
            .expect("a query");
        assert!(!there);
        let runtime = first.pool(SCHEMA);
        let refused = sqlx::query("CREATE TABLE scratch.mine (id integer)").execute(&runtime).await;
        assert!(refused.is_err(), "a runtime role owns nothing");
    }

    #[tokio::test]
    async fn a_killed_redis_comes_back_on_its_port() {
        let redis = redis().await.expect("Redis is installed");
        let port = redis.port();
        redis.kill().await;
        redis.restart().await.expect("it starts again");
        assert_eq!(redis.port(), port);
        assert_eq!(redis.ended().await, None);
    }

    #[tokio::test]
    async fn a_killed_postgres_keeps_what_was_committed() {
        let server = postgres().await.expect("PostgreSQL is installed");
        let pool = PgPool::connect_lazy(&server.superuser_url("postgres")).expect("a URL");
        sqlx::query("CREATE TABLE kept (id integer)").execute(&pool).await.expect("a statement");
        server.kill().await;
        server.restart().await.expect("it recovers");
        let pool = PgPool::connect_lazy(&server.superuser_url("postgres")).expect("a URL");
        let there: bool =
            sqlx::query_scalar("SELECT to_regclass('kept') IS NOT NULL").fetch_one(&pool).await.expect("a query");
        assert!(there);
    }

    #[tokio::test]
    async fn a_folder_in_use_is_refused() {
        let folder = TestFolder::new("in-use").expect("a folder");
        let _first =
            redis::Redis::start(folder.path(), redis::RedisOptions::scratch()).await.expect("Redis is installed");
        let second = redis::Redis::start(folder.path(), redis::RedisOptions::scratch()).await;
        assert!(matches!(second, Err(Error::InUse(_))), "{second:?}");
    }
}

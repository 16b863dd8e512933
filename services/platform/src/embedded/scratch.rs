//! Databases and servers for tests.
//!
//! One PostgreSQL (fsync off) is shared by all test processes of a target folder: initialising one for each test would take seconds.
//! The first user starts it under a watchdog (`watchdog.sh`), which stops it when nobody has used it for [`IDLE_SECONDS`].
//! A test database is copied from a template that is kept, named by the checksums of its migrations.
//!
//! Locks, in this order: `start.lock` (exclusive, while a server is looked for or started), `users.lock` (shared, for the life of a test process;
//! exclusive for the watchdog while it stops the server), and PostgreSQL's advisory lock [`TEMPLATE_LOCK`] while a template is made.

use std::{
    collections::BTreeSet,
    fs::{File, OpenOptions},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};
use sqlx::{
    AssertSqlSafe, Connection, PgConnection, PgPool,
    migrate::Migrator,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::sync::OnceCell;

use super::{
    Error, find, port,
    postgres::{self, Cluster, Durability, PostgresOptions},
    process, redis,
    scram::verifier,
};
use crate::db::{self, PlatformTables, Schema};

/// How long the shared server waits for its next user.
pub const IDLE_SECONDS: u32 = 20;
/// The most connections of one pool of a test.
const MAX_POOL: u32 = 16;
const TEMPLATE_LOCK: i64 = 0x7472_616e_6774_6965;
/// The newest templates that are kept when the server starts.
const MAX_TEMPLATES: i64 = 12;
const START_LIMIT: Duration = Duration::from_secs(60);
const MAX_START_ATTEMPTS: u32 = 5;
const POLL: Duration = Duration::from_millis(5);
/// How long the end of a test waits for its database to go.
const DROP_WAIT: Duration = Duration::from_millis(15);
const WATCHDOG: &str = include_str!("watchdog.sh");

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
        postgres::url(self.server.port, &role, &self.server.password(&role), &self.name)
    }

    /// The URL of a schema's owner.
    #[must_use]
    pub fn owner_url(&self, schema: Schema) -> String {
        let role = schema.owner_role();
        postgres::url(self.server.port, &role, &self.server.password(&role), &self.name)
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

/// The shared server, as one test process sees it.
#[derive(Debug)]
struct Server {
    cluster: Cluster,
    port: u16,
    /// The shared lock that keeps the watchdog from stopping the server.
    _user: File,
}

impl Server {
    async fn find_or_start() -> Result<Self, Error> {
        let (server, started) = tokio::task::spawn_blocking(Self::find_or_start_blocking)
            .await
            .expect("finding the server does not panic")?;
        if started {
            server.clean().await?;
        }
        Ok(server)
    }

    /// Answers also whether the server was started just now.
    fn find_or_start_blocking() -> Result<(Self, bool), Error> {
        let cluster = Cluster::find(&folder())?;
        let start = open_lock(&cluster.dir.join("start.lock"))?;
        start.lock().map_err(Error::io("cannot lock", &cluster.dir))?;
        let users = cluster.place.join("users.lock");
        let user = open_lock(&users)?;
        // Waits while a watchdog stops the server.
        user.lock_shared().map_err(Error::io("cannot lock", &users))?;
        let cluster = cluster.initialise(Durability::Scratch)?;
        if let Some(port) = cluster.ready_port() {
            return Ok((Self { cluster, port, _user: user }, false));
        }
        let port = start_watched(&cluster, &users)?;
        Ok((Self { cluster, port, _user: user }, true))
    }

    /// Drops what killed tests left behind and templates of long ago.
    async fn clean(&self) -> Result<(), Error> {
        let mut admin = self.connect("postgres").await?;
        let old: Vec<String> = sqlx::query_scalar(
            "SELECT datname::text FROM pg_catalog.pg_database WHERE starts_with(datname, 'test_') OR starts_with(datname, 'building_') \
             UNION ALL (SELECT datname::text FROM pg_catalog.pg_database WHERE starts_with(datname, 'template_') ORDER BY oid DESC OFFSET $1)",
        )
        .bind(MAX_TEMPLATES)
        .fetch_all(&mut admin)
        .await
        .map_err(failed("listing old test databases"))?;
        for name in old {
            execute(&mut admin, format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await?;
        }
        Ok(())
    }

    async fn drop_database(&self, name: &str) -> Result<(), Error> {
        let mut admin = self.connect("postgres").await?;
        // The server goes on when nobody waits for the answer, which takes 100 ms when a pool was still open.
        let drop = execute(&mut admin, format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
        tokio::time::timeout(DROP_WAIT, drop).await.unwrap_or(Ok(()))
    }

    /// The name of the template for these parts, which is made when it is not there.
    async fn template(&self, admin: &mut PgConnection, parts: &[Part]) -> Result<String, Error> {
        let name = format!("template_{}", checksum(parts));
        if exists(admin, &name).await? {
            return Ok(name);
        }
        sqlx::query("SELECT pg_advisory_lock($1)")
            .bind(TEMPLATE_LOCK)
            .execute(&mut *admin)
            .await
            .map_err(failed("locking templates"))?;
        if !exists(admin, &name).await? {
            let building = format!("building_{}", std::process::id());
            execute(admin, format!("DROP DATABASE IF EXISTS {building} WITH (FORCE)")).await?;
            execute(admin, format!("CREATE DATABASE {building} TEMPLATE template0")).await?;
            self.build(&building, parts).await?;
            execute(admin, format!("ALTER DATABASE {building} RENAME TO {name}")).await?;
        }
        sqlx::query("SELECT pg_advisory_unlock($1)")
            .bind(TEMPLATE_LOCK)
            .execute(&mut *admin)
            .await
            .map_err(failed("unlocking templates"))?;
        Ok(name)
    }

    async fn build(&self, database: &str, parts: &[Part]) -> Result<(), Error> {
        let mut admin = self.connect(database).await?;
        for role in granted_roles(parts) {
            let create = format!(
                "DO $$ BEGIN CREATE ROLE {role} LOGIN PASSWORD '{}'; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
                verifier(&self.password(&role))
            );
            execute(&mut admin, create).await?;
        }
        let schemas: Vec<Schema> = parts.iter().map(|part| part.schema).collect();
        db::bootstrap(&mut admin, &schemas, |role| verifier(&self.password(role)))
            .await
            .map_err(failed("making roles and schemas"))?;
        for part in parts {
            let role = part.schema.owner_role();
            let options = self.options(&role, &self.password(&role)).database(database);
            let mut owner =
                PgConnection::connect_with(&options).await.map_err(failed("connecting as a schema's owner"))?;
            db::migrate(&mut owner, part.schema, part.migrator, part.platform_tables)
                .await
                .map_err(failed(&format!("migrating the schema {}", part.schema)))?;
            owner.close().await.map_err(failed("closing a connection"))?;
        }
        admin.close().await.map_err(failed("closing a connection"))
    }

    async fn connect(&self, database: &str) -> Result<PgConnection, Error> {
        PgConnection::connect_with(&self.superuser().database(database))
            .await
            .map_err(failed("connecting to the scratch server"))
    }

    fn superuser(&self) -> PgConnectOptions {
        self.options("postgres", &self.cluster.secret)
    }

    fn options(&self, role: &str, password: &str) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(self.port).username(role).password(password)
    }

    /// Every process derives the same password for a role.
    fn password(&self, role: &str) -> String {
        hex::encode(&Sha256::digest(format!("{}:{role}", self.cluster.secret))[..20])
    }
}

/// The shared server's folder: inside cargo's target folder, else in the system's temporary one.
fn folder() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    let target = program.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file());
    match target {
        Some(target) => target.join("scratch-server-2"),
        None => std::env::temp_dir().join(format!("trangtien-scratch-server-2-{}", nix::unistd::Uid::effective())),
    }
}

/// Readable by the watchdog's account; a lock needs no more.
fn open_lock(path: &Path) -> Result<File, Error> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o644)
        .open(path)
        .map_err(Error::io("cannot open", path))
}

/// Starts the server under its watchdog and answers the port once it is ready.
fn start_watched(cluster: &Cluster, users: &Path) -> Result<u16, Error> {
    cluster.stop_orphan()?;
    let mut attempt = 1;
    loop {
        let port = port::free().ok_or_else(postgres::no_free_port)?;
        match start_watched_on(cluster, users, port) {
            Ok(()) => return Ok(port),
            Err(error) if attempt == MAX_START_ATTEMPTS => return Err(error),
            Err(_) => attempt += 1,
        }
    }
}

fn start_watched_on(cluster: &Cluster, users: &Path, port: u16) -> Result<(), Error> {
    let log = cluster.log();
    let log_file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .open(&log)
        .map_err(Error::io("cannot open", &log))?;
    let log_again = log_file.try_clone().map_err(Error::io("cannot open", &log))?;
    let mut command = Command::new("sh");
    command.args(["-c", WATCHDOG, "watchdog"]).arg(users).arg(IDLE_SECONDS.to_string());
    if let Some(setpriv) = find::on_path("setpriv") {
        command.arg(setpriv).args(["--pdeathsig", "SIGINT", "--"]);
    }
    command.arg(cluster.programs.join("postgres")).args(PostgresOptions::scratch().arguments(&cluster.data(), port));
    command.current_dir(&cluster.place).stdin(Stdio::null()).stdout(log_file).stderr(log_again);
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    process::plain_environment(&mut command);
    process::run_as(&mut command, cluster.account.as_ref());
    let mut watchdog = command.spawn().map_err(Error::io("cannot run", Path::new("sh")))?;
    let end = Instant::now() + START_LIMIT;
    while cluster.ready_port() != Some(port) {
        let ended = watchdog.try_wait().map_err(Error::io("cannot wait for", Path::new("sh")))?;
        let reason = match ended {
            Some(status) => status.to_string(),
            None if Instant::now() < end => {
                std::thread::sleep(POLL);
                continue;
            }
            None => format!("not ready within {} s", START_LIMIT.as_secs()),
        };
        return Err(Error::DidNotStart { program: "the scratch PostgreSQL", reason, log: process::log_end(&log) });
    }
    Ok(())
}

/// Names a template: all that it is made from goes in.
fn checksum(parts: &[Part]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.schema.name());
        let platform = (part.platform_tables == PlatformTables::Wanted).then(|| db::platform_migrator(part.schema));
        for migration in platform.iter().flat_map(|migrator| migrator.iter()).chain(part.migrator.iter()) {
            hash.update(migration.version.to_be_bytes());
            hash.update(&*migration.checksum);
        }
    }
    hex::encode(&hash.finalize()[..12])
}

/// Every `trangtien_…` role that the migrations name.
fn granted_roles(parts: &[Part]) -> BTreeSet<String> {
    let mut roles = BTreeSet::new();
    for migration in parts.iter().flat_map(|part| part.migrator.iter()) {
        let words = migration.sql.as_str().split(|c: char| !(c.is_ascii_lowercase() || c == '_'));
        roles.extend(words.filter(|word| word.starts_with("trangtien_")).map(str::to_owned));
    }
    roles
}

async fn exists(admin: &mut PgConnection, name: &str) -> Result<bool, Error> {
    sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_database WHERE datname = $1)")
        .bind(name)
        .fetch_one(admin)
        .await
        .map_err(failed("looking for a template"))
}

async fn execute(admin: &mut PgConnection, sql: String) -> Result<(), Error> {
    // Not the whole statement: some set a password.
    let what = sql.split_whitespace().take(3).collect::<Vec<_>>().join(" ");
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(admin).await.map(|_| ()).map_err(failed(&what))
}

fn lazy_pool(options: PgConnectOptions) -> PgPool {
    PgPoolOptions::new().max_connections(MAX_POOL).acquire_timeout(Duration::from_secs(20)).connect_lazy_with(options)
}

fn failed(what: &str) -> impl FnOnce(sqlx::Error) -> Error {
    let what = what.to_owned();
    move |source| Error::Database { what, source: Box::new(source) }
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

//! The scratch server that all test processes of a target folder share: found or started, its templates, its end.

use std::{
    collections::BTreeSet,
    fs::{File, OpenOptions},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};
use sqlx::{AssertSqlSafe, Connection, PgConnection, postgres::PgConnectOptions};

use super::{IDLE_SECONDS, Part};
use crate::db::{self, PlatformTables, Schema};
use crate::embedded::{
    Error,
    cluster::Cluster,
    find, port,
    postgres::{self, Durability, PostgresOptions},
    process,
    scram::verifier,
};

const TEMPLATE_LOCK: i64 = 0x7472_616e_6774_6965;
/// The newest templates that are kept when the server starts.
const MAX_TEMPLATES: i64 = 12;
const START_LIMIT: Duration = Duration::from_secs(60);
const MAX_START_ATTEMPTS: u32 = 5;
const POLL: Duration = Duration::from_millis(5);
/// How long the end of a test waits for its database to go.
const DROP_WAIT: Duration = Duration::from_millis(15);
const WATCHDOG: &str = include_str!("../watchdog.sh");

/// The shared server, as one test process sees it.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) cluster: Cluster,
    pub(super) port: u16,
    /// The shared lock that keeps the watchdog from stopping the server.
    _user: File,
}

impl Server {
    pub(super) async fn find_or_start() -> Result<Self, Error> {
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

    pub(super) async fn drop_database(&self, name: &str) -> Result<(), Error> {
        let mut admin = self.connect("postgres").await?;
        // The server goes on when nobody waits for the answer, which takes 100 ms when a pool was still open.
        let drop = execute(&mut admin, format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
        tokio::time::timeout(DROP_WAIT, drop).await.unwrap_or(Ok(()))
    }

    /// The name of the template for these parts, which is made when it is not there.
    pub(super) async fn template(&self, admin: &mut PgConnection, parts: &[Part]) -> Result<String, Error> {
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

    pub(super) async fn connect(&self, database: &str) -> Result<PgConnection, Error> {
        PgConnection::connect_with(&self.superuser().database(database))
            .await
            .map_err(failed("connecting to the scratch server"))
    }

    pub(super) fn superuser(&self) -> PgConnectOptions {
        self.options("postgres", &self.cluster.secret)
    }

    pub(super) fn options(&self, role: &str, password: &str) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(self.port).username(role).password(password)
    }

    /// Every process derives the same password for a role.
    pub(super) fn password(&self, role: &str) -> String {
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

pub(super) async fn execute(admin: &mut PgConnection, sql: String) -> Result<(), Error> {
    // Not the whole statement: some set a password.
    let what = sql.split_whitespace().take(3).collect::<Vec<_>>().join(" ");
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(admin).await.map(|_| ()).map_err(failed(&what))
}

pub(super) fn failed(what: &str) -> impl FnOnce(sqlx::Error) -> Error {
    let what = what.to_owned();
    move |source| Error::Database { what, source: Box::new(source) }
}

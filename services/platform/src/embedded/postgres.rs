//! A private PostgreSQL server in a folder.
//!
//! Layout of the folder asked for: `lock`, `superuser.secret` (0600), `postgres.log`; and of the place its account can reach
//! (the same folder unless root started us, see `account`): `data/`.
//! The server is ready when its own `postmaster.pid` says so in its eighth line, as `pg_ctl` reads it.

use std::{
    fs::File,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use tokio::sync::Mutex;

use super::{
    Error,
    account::{self, Account},
    find, port,
    process::{self, Child, Environment, Launch},
    scram, secret_file,
};

/// The superuser of a private server.
const SUPERUSER: &str = "postgres";
const PROGRAM: &str = "PostgreSQL";
/// How long a start may take, crash recovery included.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How long a fast shutdown may take before an immediate one is ordered.
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// How many ports are tried when somebody takes the one we picked.
const MAX_START_ATTEMPTS: u32 = 5;
const POLL: Duration = Duration::from_millis(5);

/// Whether what is committed must survive a loss of power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// fsync on: for people's data and for honest measurements.
    Durable,
    /// fsync off: for tests. A killed server still keeps what was committed; a machine that loses power does not.
    Scratch,
}

/// How to run a private PostgreSQL.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// Whether commits are forced to disk.
    pub durability: Durability,
    /// The most connections at one time.
    pub max_connections: u16,
    /// Further settings, as `name=value`, which win over ours.
    pub settings: Vec<String>,
}

impl PostgresOptions {
    /// For `trangtien up` and measurements.
    #[must_use]
    pub fn durable() -> Self {
        Self { durability: Durability::Durable, max_connections: 200, settings: Vec::new() }
    }

    /// For tests.
    #[must_use]
    pub fn scratch() -> Self {
        Self { durability: Durability::Scratch, max_connections: 400, settings: Vec::new() }
    }

    pub(super) fn arguments(&self, data: &Path, port: u16) -> Vec<String> {
        let mut settings = vec![
            "listen_addresses=127.0.0.1".to_owned(),
            format!("port={port}"),
            "unix_socket_directories=".to_owned(),
            format!("max_connections={}", self.max_connections),
            "shared_buffers=128MB".to_owned(),
            "logging_collector=off".to_owned(),
            "log_destination=stderr".to_owned(),
            "jit=off".to_owned(),
        ];
        if self.durability == Durability::Scratch {
            let scratch = [
                "fsync=off",
                "full_page_writes=off",
                "autovacuum=off",
                "wal_level=minimal",
                "max_wal_senders=0",
                "checkpoint_timeout=1h",
                "max_wal_size=4GB",
            ];
            settings.extend(scratch.map(str::to_owned));
        }
        let mut arguments = vec!["-D".to_owned(), data.display().to_string()];
        for setting in settings.iter().chain(&self.settings) {
            arguments.extend(["-c".to_owned(), setting.clone()]);
        }
        arguments
    }
}

/// A private PostgreSQL server. Dropping it stops it; [`Postgres::stop`] does so without blocking the thread.
#[derive(Debug)]
pub struct Postgres {
    cluster: Cluster,
    options: PostgresOptions,
    port: u16,
    child: Mutex<Option<Child>>,
    _lock: File,
}

impl Postgres {
    /// Starts a server in `dir`, which is made and initialised when it is new. Recovers from a crash and from a server left by an earlier run.
    ///
    /// # Errors
    /// See [`Error`]: not installed, in use, of another version, does not start.
    pub async fn start(dir: &Path, options: PostgresOptions) -> Result<Self, Error> {
        let cluster = Cluster::find(dir)?;
        let lock = super::lock_folder(&cluster.dir)?;
        let cluster = prepare(cluster, options.durability).await?;
        let (child, port) = start_on_free_port(&cluster, &options).await?;
        Ok(Self { cluster, options, port, child: Mutex::new(Some(child)), _lock: lock })
    }

    /// Removes all that a server keeps in `dir` and in the place its account can reach.
    ///
    /// # Errors
    /// [`Error::InUse`] while a server runs there.
    pub fn remove(dir: &Path) -> Result<(), Error> {
        if !dir.exists() {
            return Ok(());
        }
        let account = account::for_postgres()?;
        let place = account::place(dir, account.as_ref())?;
        let dir = dir.canonicalize().map_err(Error::io("cannot resolve", dir))?;
        let _lock = super::lock_folder(&dir)?;
        std::fs::remove_dir_all(&dir).map_err(Error::io("cannot remove", &dir))?;
        if place.exists() {
            std::fs::remove_dir_all(&place).map_err(Error::io("cannot remove", &place))?;
        }
        Ok(())
    }

    /// The port on 127.0.0.1. It stays the same through [`Postgres::restart`] and [`Postgres::kill`].
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL for a role of this server. Neither the password nor the names may need escaping.
    #[must_use]
    pub fn url(&self, user: &str, password: &str, database: &str) -> String {
        url(self.port, user, password, database)
    }

    /// The URL for the superuser.
    #[must_use]
    pub fn superuser_url(&self, database: &str) -> String {
        url(self.port, SUPERUSER, &self.cluster.secret, database)
    }

    /// Where the server writes its log.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.cluster.log()
    }

    /// Stops the server: a fast shutdown, which ends connections and writes everything out. Fine when it is stopped already.
    ///
    /// # Errors
    /// [`Error::DidNotStop`] when even an immediate shutdown did not end it.
    pub async fn stop(&self) -> Result<(), Error> {
        let mut slot = self.child.lock().await;
        let Some(child) = slot.as_ref() else { return Ok(()) };
        for signal in [Signal::SIGINT, Signal::SIGQUIT] {
            child.signal(signal);
            if child.ended_within(STOP_LIMIT).await {
                *slot = None;
                return Ok(());
            }
        }
        Err(Error::DidNotStop { program: PROGRAM, seconds: 2 * STOP_LIMIT.as_secs() })
    }

    /// Ends the server with SIGKILL, as a crash would. [`Postgres::restart`] brings it back.
    pub async fn kill(&self) {
        let mut slot = self.child.lock().await;
        if let Some(child) = slot.as_ref() {
            child.signal(Signal::SIGKILL);
            child.ended_within(STOP_LIMIT).await;
        }
        *slot = None;
    }

    /// Stops the server if it runs, and starts it on the same port.
    ///
    /// # Errors
    /// As [`Postgres::start`] and [`Postgres::stop`].
    pub async fn restart(&self) -> Result<(), Error> {
        self.stop().await?;
        let mut slot = self.child.lock().await;
        *slot = Some(start_on(&self.cluster, &self.options, self.port).await.map_err(StartFailure::into_error)?);
        Ok(())
    }

    /// How the server ended, when it ended without being asked to.
    pub async fn ended(&self) -> Option<String> {
        self.child.lock().await.as_ref().and_then(Child::exit)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let Some(child) = self.child.get_mut().take() else { return };
        child.signal(Signal::SIGINT);
        if !child.block_until_ended(Duration::from_secs(5)) {
            child.signal(Signal::SIGQUIT);
            child.block_until_ended(Duration::from_secs(5));
        }
    }
}

/// A folder with the data of a server, and who may run it.
#[derive(Clone, Debug)]
pub(super) struct Cluster {
    /// `lock`, `superuser.secret` and the log lie here.
    pub(super) dir: PathBuf,
    /// `data` lies here.
    pub(super) place: PathBuf,
    pub(super) account: Option<Account>,
    pub(super) programs: PathBuf,
    pub(super) secret: String,
}

impl Cluster {
    /// Makes the folders; the secret is still empty.
    pub(super) fn find(dir: &Path) -> Result<Self, Error> {
        let account = account::for_postgres()?;
        let place = account::place(dir, account.as_ref())?;
        let dir = dir.canonicalize().map_err(Error::io("cannot resolve", dir))?;
        let programs = programs_for(&place.join("data"))?;
        Ok(Self { dir, place, account, programs, secret: String::new() })
    }

    pub(super) fn data(&self) -> PathBuf {
        self.place.join("data")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.dir.join("postgres.log")
    }

    pub(super) fn superuser_url(&self, port: u16, database: &str) -> String {
        url(port, SUPERUSER, &self.secret, database)
    }

    fn pid_file(&self) -> PathBuf {
        self.data().join("postmaster.pid")
    }

    /// Reads the secret of an existing cluster or makes the cluster. The caller holds the folder's lock. Blocks for a second or two when it is new.
    pub(super) fn initialise(mut self, durability: Durability) -> Result<Self, Error> {
        let secret_path = self.dir.join("superuser.secret");
        let finished = self.place.join("data.made-for");
        let owner = self.dir.display().to_string();
        let made = std::fs::read_to_string(&finished).is_ok_and(|text| text == owner);
        if made && self.data().join("PG_VERSION").is_file() {
            if secret_path.is_file() {
                self.secret = secret_file(&secret_path)?;
                return Ok(self);
            }
            if self.place == self.dir {
                return Err(Error::SecretMissing(secret_path));
            }
            // The folder asked for was removed and made anew: its data elsewhere goes with it, but one copy is kept.
            self.set_aside()?;
        }
        if self.data().exists() {
            // An earlier initdb did not finish.
            std::fs::remove_dir_all(self.data()).map_err(Error::io("cannot remove", &self.data()))?;
        }
        self.secret = secret_file(&secret_path)?;
        self.run_initdb(durability)?;
        std::fs::write(&finished, owner).map_err(Error::io("cannot write", &finished))?;
        Ok(self)
    }

    fn set_aside(&self) -> Result<(), Error> {
        let aside = self.place.join("data.replaced");
        if aside.exists() {
            std::fs::remove_dir_all(&aside).map_err(Error::io("cannot remove", &aside))?;
        }
        tracing::warn!(from = %self.data().display(), to = %aside.display(), "its folder was removed; the database is set aside");
        std::fs::rename(self.data(), &aside).map_err(Error::io("cannot rename", &self.data()))
    }

    fn run_initdb(&self, durability: Durability) -> Result<(), Error> {
        let data = self.data();
        account::make_folder(&data, 0o700)?;
        account::give(&data, self.account.as_ref())?;
        let password_file = self.place.join("initdb.secret");
        // Tools that people open a lasting database with may insist on the usual strength; tests connect all the time.
        let password = match durability {
            Durability::Durable => self.secret.clone(),
            Durability::Scratch => scram::verifier(&self.secret),
        };
        write_private(&password_file, &password)?;
        account::give(&password_file, self.account.as_ref())?;
        let mut command = Command::new(self.programs.join("initdb"));
        command
            .args(["--encoding=UTF8", "--locale=C", "--auth=scram-sha-256", "--username", SUPERUSER, "--pgdata"])
            .arg(&data)
            .arg("--pwfile")
            .arg(&password_file)
            .args((durability == Durability::Scratch).then_some("--no-sync"))
            .stdin(Stdio::null())
            .current_dir(&self.place);
        process::plain_environment(&mut command);
        process::run_as(&mut command, self.account.as_ref());
        let output = command.output().map_err(Error::io("cannot run", &self.programs.join("initdb")));
        std::fs::remove_file(&password_file).map_err(Error::io("cannot remove", &password_file))?;
        let output = output?;
        if output.status.success() {
            return Ok(());
        }
        let log = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        Err(Error::DidNotStart { program: PROGRAM, reason: "initdb failed".to_owned(), log })
    }

    /// Stops what a killed run of ours left running, and removes a pid file that no server stands behind.
    pub(super) fn stop_orphan(&self) -> Result<(), Error> {
        let Some(status) = Status::read(&self.pid_file()) else { return Ok(()) };
        process::stop_orphan(PROGRAM, status.pid, &self.data())?;
        if self.pid_file().exists() {
            std::fs::remove_file(self.pid_file()).map_err(Error::io("cannot remove", &self.pid_file()))?;
        }
        Ok(())
    }

    /// The port of the server that runs in this folder and answers, if one does.
    pub(super) fn ready_port(&self) -> Option<u16> {
        let status = Status::read(&self.pid_file())?;
        let alive = process::works_in(nix::unistd::Pid::from_raw(status.pid), &self.data());
        (status.ready && alive).then_some(status.port)
    }
}

/// Makes the cluster when it is new and stops what an earlier run left behind.
async fn prepare(cluster: Cluster, durability: Durability) -> Result<Cluster, Error> {
    let prepare = move || {
        let cluster = cluster.initialise(durability)?;
        cluster.stop_orphan()?;
        Ok(cluster)
    };
    tokio::task::spawn_blocking(prepare).await.expect("preparing a cluster does not panic")
}

pub(super) fn url(port: u16, user: &str, password: &str, database: &str) -> String {
    format!("postgres://{user}:{password}@127.0.0.1:{port}/{database}")
}

fn programs_for(data: &Path) -> Result<PathBuf, Error> {
    let made_by = std::fs::read_to_string(data.join("PG_VERSION")).ok().and_then(|text| text.trim().parse().ok());
    match made_by {
        Some(made_by) => {
            find::postgres_folder_of(made_by).ok_or_else(|| Error::OtherVersion { folder: data.to_owned(), made_by })
        }
        None => find::postgres_folder(),
    }
}

fn write_private(path: &Path, text: &str) -> Result<(), Error> {
    use std::io::Write;
    if path.exists() {
        std::fs::remove_file(path).map_err(Error::io("cannot remove", path))?;
    }
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(Error::io("cannot create", path))?;
    file.write_all(text.as_bytes()).map_err(Error::io("cannot write", path))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
        .map_err(Error::io("cannot set the mode of", path))
}

async fn start_on_free_port(cluster: &Cluster, options: &PostgresOptions) -> Result<(Child, u16), Error> {
    let mut attempt = 1;
    loop {
        let port = port::free().ok_or_else(no_free_port)?;
        match start_on(cluster, options, port).await {
            Ok(child) => return Ok((child, port)),
            Err(StartFailure::PortTaken(_)) if attempt < MAX_START_ATTEMPTS => attempt += 1,
            Err(failure) => return Err(failure.into_error()),
        }
    }
}

pub(super) fn no_free_port() -> Error {
    Error::DidNotStart { program: PROGRAM, reason: "no free port was found".to_owned(), log: String::new() }
}

enum StartFailure {
    PortTaken(Error),
    Other(Error),
}

impl StartFailure {
    fn into_error(self) -> Error {
        match self {
            StartFailure::PortTaken(error) | StartFailure::Other(error) => error,
        }
    }
}

/// Starts the server on this port and waits until it is ready.
/// A server that was just killed leaves processes behind that end within moments; until then PostgreSQL refuses to start and is asked again.
async fn start_on(cluster: &Cluster, options: &PostgresOptions, port: u16) -> Result<Child, StartFailure> {
    let end = Instant::now() + START_LIMIT;
    loop {
        let log = cluster.log();
        let log_from = log.metadata().map_or(0, |meta| meta.len());
        let launch = Launch {
            program: cluster.programs.join("postgres"),
            args: options.arguments(&cluster.data(), port),
            dir: &cluster.place,
            log: &log,
            environment: Environment::Plain,
            on_our_death: Signal::SIGINT,
        };
        let child = Child::start_as(launch, cluster.account.as_ref()).map_err(StartFailure::Other)?;
        let Err(reason) = until_ready(cluster, &child, end).await else { return Ok(child) };
        let said = said_since(&log, log_from);
        let error = Error::DidNotStart { program: PROGRAM, reason, log: process::log_end(&log) };
        if said.contains("could not bind") {
            return Err(StartFailure::PortTaken(error));
        }
        let remains = said.contains("pre-existing shared memory block")
            || said.contains("lock file \"postmaster.pid\" already exists");
        if !remains || Instant::now() >= end {
            return Err(StartFailure::Other(error));
        }
        tokio::time::sleep(20 * POLL).await;
    }
}

fn said_since(log: &Path, from: u64) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    let from = usize::try_from(from).unwrap_or(usize::MAX).min(bytes.len());
    String::from_utf8_lossy(&bytes[from..]).into_owned()
}

async fn until_ready(cluster: &Cluster, child: &Child, end: Instant) -> Result<(), String> {
    loop {
        if let Some(how) = child.exit() {
            return Err(how);
        }
        // A killed server leaves its file behind: it counts only when it names our child.
        if Status::read(&cluster.pid_file()).is_some_and(|status| status.ready && child.pid() == Some(status.pid)) {
            return Ok(());
        }
        if Instant::now() >= end {
            child.signal(Signal::SIGQUIT);
            return Err(format!("not ready within {} s", START_LIMIT.as_secs()));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// What `postmaster.pid` says: pid, data folder, start time, port, socket folder, address, shared memory key, status.
#[derive(Debug, PartialEq, Eq)]
struct Status {
    pid: i32,
    port: u16,
    ready: bool,
}

impl Status {
    fn read(path: &Path) -> Option<Self> {
        Self::parse(&std::fs::read_to_string(path).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let lines: Vec<&str> = text.lines().collect();
        Some(Self {
            pid: lines.first()?.trim().parse().ok()?,
            port: lines.get(3).and_then(|line| line.trim().parse().ok()).unwrap_or(0),
            ready: lines.get(7).is_some_and(|line| line.trim() == "ready"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pid_file_says_when_the_server_is_ready() {
        let ready = "4711\n/data\n1700000000\n15432\n\n127.0.0.1\n  1234 5\nready   \n";
        assert_eq!(Status::parse(ready), Some(Status { pid: 4711, port: 15432, ready: true }));
        let starting = ready.replace("ready   ", "starting");
        assert_eq!(Status::parse(&starting), Some(Status { pid: 4711, port: 15432, ready: false }));
        assert_eq!(Status::parse(""), None);
    }
}

//! A private PostgreSQL server in a folder: start, stop, crash and restart.
//!
//! The server is ready when its own `postmaster.pid` says so in its eighth line, as `pg_ctl` reads it.

use std::{
    fs::{self, File},
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use tokio::sync::Mutex;

use super::{
    Error, account,
    cluster::{Cluster, PROGRAM, SUPERUSER, Status, url},
    port,
    process::{self, Child, Environment, Launch},
};

/// How long a start may take, crash recovery included.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How long a fast shutdown may take before an immediate one is ordered.
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// How many ports are tried when somebody takes the one we picked.
const MAX_START_ATTEMPTS: u32 = 5;
const POLL: Duration = Duration::from_millis(5);
/// How much memory of its own a durable server takes for pages.
const BUFFERS_MB: RangeInclusive<u64> = 128..=2_048;

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
            "logging_collector=off".to_owned(),
            "log_destination=stderr".to_owned(),
            "jit=off".to_owned(),
        ];
        if self.durability == Durability::Durable {
            settings.push(format!("shared_buffers={}MB", buffers_mb()));
            // Fewer checkpoints under load: each makes the next change of every page a copy of the page.
            settings.extend(["max_wal_size=2GB", "checkpoint_timeout=15min"].map(str::to_owned));
        } else {
            let scratch = [
                "shared_buffers=128MB",
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

/// A sixteenth of the machine's memory, within [`BUFFERS_MB`]; the least when it can't be told.
fn buffers_mb() -> u64 {
    let told = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = told.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kb = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok()).unwrap_or(0);
    (kb / 1024 / 16).clamp(*BUFFERS_MB.start(), *BUFFERS_MB.end())
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
        fs::remove_dir_all(&dir).map_err(Error::io("cannot remove", &dir))?;
        if place.exists() {
            fs::remove_dir_all(&place).map_err(Error::io("cannot remove", &place))?;
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

/// Makes the cluster when it is new and stops what an earlier run left behind.
async fn prepare(cluster: Cluster, durability: Durability) -> Result<Cluster, Error> {
    let prepare = move || {
        let cluster = cluster.initialise(durability)?;
        cluster.stop_orphan()?;
        Ok(cluster)
    };
    tokio::task::spawn_blocking(prepare).await.expect("preparing a cluster does not panic")
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
    let bytes = fs::read(log).unwrap_or_default();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::scratch::TestFolder;

    #[tokio::test]
    async fn a_server_left_by_an_earlier_run_is_stopped_first() {
        let folder = TestFolder::new("orphan").expect("a folder");
        let mut left =
            Postgres::start(folder.path(), PostgresOptions::scratch()).await.expect("PostgreSQL is installed");
        // As when its owner was killed: the lock is free, the server runs.
        left._lock = File::open("/dev/null").expect("it is there");
        let next = Postgres::start(folder.path(), PostgresOptions::scratch()).await.expect("it takes over");
        assert!(left.ended().await.is_some(), "two servers never share a folder");
        assert_eq!(next.ended().await, None);
        next.stop().await.expect("it stops");
    }
}

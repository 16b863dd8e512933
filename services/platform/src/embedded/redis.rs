//! A private Redis or Valkey server in a folder.
//!
//! Layout: `lock`, `redis.secret` (0600), `redis.conf` (0600, written at each start), `redis.log`, `redis.pid`, and the data in `data/`.
//! It runs as we do. It is ready when it answers PING after AUTH.

use std::{
    fs::File,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Mutex,
};

use super::{
    Error, account, find, port,
    process::{self, Child, Environment, Launch},
    secret_file,
};

const PROGRAM: &str = "Redis";
const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(20);
const MAX_START_ATTEMPTS: u32 = 5;
const POLL: Duration = Duration::from_millis(5);

/// What of the data a Redis keeps on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// Nothing: a restart begins empty.
    Nothing,
    /// A snapshot (RDB) when it stops and once a minute.
    Snapshot,
    /// The append-only file, synced once a second.
    AppendOnly,
}

/// How to run a private Redis.
#[derive(Clone, Debug)]
pub struct RedisOptions {
    /// What is kept on disk.
    pub persistence: Persistence,
    /// The most memory it may take, in megabytes. Past it writes are refused; nothing is evicted.
    pub max_memory_mb: u32,
}

impl RedisOptions {
    /// For `trangtien up` and measurements.
    #[must_use]
    pub fn durable() -> Self {
        Self { persistence: Persistence::AppendOnly, max_memory_mb: 512 }
    }

    /// For tests.
    #[must_use]
    pub fn scratch() -> Self {
        Self { persistence: Persistence::Nothing, max_memory_mb: 256 }
    }
}

/// A private Redis server. Dropping it stops it; [`Redis::stop`] does so without blocking the thread.
#[derive(Debug)]
pub struct Redis {
    folder: Folder,
    options: RedisOptions,
    port: u16,
    child: Mutex<Option<Child>>,
    _lock: File,
}

#[derive(Debug)]
struct Folder {
    dir: PathBuf,
    program: PathBuf,
    secret: String,
}

impl Folder {
    fn log(&self) -> PathBuf {
        self.dir.join("redis.log")
    }

    fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    fn pid_file(&self) -> PathBuf {
        self.dir.join("redis.pid")
    }
}

impl Redis {
    /// Starts a server in `dir`, which is made when it is new. Stops a server left there by an earlier run first.
    ///
    /// # Errors
    /// See [`Error`]: not installed, in use, does not start.
    pub async fn start(dir: &Path, options: RedisOptions) -> Result<Self, Error> {
        let program = find::redis_program()?;
        account::make_folder(dir, 0o700)?;
        let dir = dir.canonicalize().map_err(Error::io("cannot resolve", dir))?;
        let lock = super::lock_folder(&dir)?;
        let secret = secret_file(&dir.join("redis.secret"))?;
        let folder = Folder { dir, program, secret };
        account::make_folder(&folder.data(), 0o700)?;
        let folder = tokio::task::spawn_blocking(move || stop_orphan(&folder).map(|()| folder))
            .await
            .expect("stopping an orphan does not panic")?;
        let (child, port) = start_on_free_port(&folder, &options).await?;
        Ok(Self { folder, options, port, child: Mutex::new(Some(child)), _lock: lock })
    }

    /// The port on 127.0.0.1. It stays the same through [`Redis::restart`] and [`Redis::kill`].
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL, with the generated password.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://:{}@127.0.0.1:{}/0", self.folder.secret, self.port)
    }

    /// Where the server writes its log.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.folder.log()
    }

    /// Stops the server, saving what its options say. Fine when it is stopped already.
    ///
    /// # Errors
    /// [`Error::DidNotStop`] when it did not end.
    pub async fn stop(&self) -> Result<(), Error> {
        let mut slot = self.child.lock().await;
        let Some(child) = slot.as_ref() else { return Ok(()) };
        for signal in [Signal::SIGTERM, Signal::SIGKILL] {
            child.signal(signal);
            if child.ended_within(STOP_LIMIT).await {
                *slot = None;
                return Ok(());
            }
        }
        Err(Error::DidNotStop { program: PROGRAM, seconds: 2 * STOP_LIMIT.as_secs() })
    }

    /// Ends the server with SIGKILL, as a crash would. [`Redis::restart`] brings it back.
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
    /// As [`Redis::start`] and [`Redis::stop`].
    pub async fn restart(&self) -> Result<(), Error> {
        self.stop().await?;
        let mut slot = self.child.lock().await;
        *slot = Some(start_on(&self.folder, &self.options, self.port).await?);
        Ok(())
    }

    /// Ends the server with SIGKILL and removes all its data; it stays stopped until [`Redis::restart`].
    ///
    /// # Errors
    /// When the data cannot be removed.
    pub async fn kill_and_wipe(&self) -> Result<(), Error> {
        self.kill().await;
        let data = self.folder.data();
        std::fs::remove_dir_all(&data).map_err(Error::io("cannot remove", &data))?;
        account::make_folder(&data, 0o700)
    }

    /// How the server ended, when it ended without being asked to.
    pub async fn ended(&self) -> Option<String> {
        self.child.lock().await.as_ref().and_then(Child::exit)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let Some(child) = self.child.get_mut().take() else { return };
        child.signal(Signal::SIGTERM);
        if !child.block_until_ended(Duration::from_secs(5)) {
            child.signal(Signal::SIGKILL);
            child.block_until_ended(Duration::from_secs(5));
        }
    }
}

fn stop_orphan(folder: &Folder) -> Result<(), Error> {
    let pid = std::fs::read_to_string(folder.pid_file()).ok().and_then(|text| text.trim().parse().ok());
    if let Some(pid) = pid {
        process::stop_orphan(PROGRAM, pid, &folder.data())?;
    }
    Ok(())
}

async fn start_on_free_port(folder: &Folder, options: &RedisOptions) -> Result<(Child, u16), Error> {
    let mut attempt = 1;
    loop {
        let port = port::free().ok_or_else(|| did_not_start(folder, "no free port was found".to_owned()))?;
        match start_on(folder, options, port).await {
            Ok(child) => return Ok((child, port)),
            Err(Error::DidNotStart { log, .. })
                if log.contains("Address already in use") && attempt < MAX_START_ATTEMPTS =>
            {
                attempt += 1
            }
            Err(error) => return Err(error),
        }
    }
}

async fn start_on(folder: &Folder, options: &RedisOptions, port: u16) -> Result<Child, Error> {
    let configuration = folder.dir.join("redis.conf");
    write_configuration(&configuration, &settings(folder, options, port))?;
    let child = Child::start(Launch {
        program: folder.program.clone(),
        args: vec![configuration.display().to_string()],
        dir: &folder.data(),
        log: &folder.log(),
        environment: Environment::Plain,
        on_our_death: Signal::SIGTERM,
    })?;
    let end = Instant::now() + START_LIMIT;
    loop {
        if let Some(how) = child.exit() {
            return Err(did_not_start(folder, how));
        }
        if answers(port, &folder.secret).await && child.exit().is_none() {
            return Ok(child);
        }
        if Instant::now() >= end {
            child.signal(Signal::SIGKILL);
            return Err(did_not_start(folder, format!("not ready within {} s", START_LIMIT.as_secs())));
        }
        tokio::time::sleep(POLL).await;
    }
}

fn did_not_start(folder: &Folder, reason: String) -> Error {
    Error::DidNotStart { program: PROGRAM, reason, log: process::log_end(&folder.log()) }
}

fn settings(folder: &Folder, options: &RedisOptions, port: u16) -> String {
    let persistence = match options.persistence {
        Persistence::Nothing => "save \"\"\nappendonly no\n",
        Persistence::Snapshot => "save 60 1\nappendonly no\n",
        Persistence::AppendOnly => "save \"\"\nappendonly yes\nappendfsync everysec\n",
    };
    format!(
        "bind 127.0.0.1\nport {port}\nprotected-mode yes\nrequirepass {secret}\ndaemonize no\nsupervised no\nloglevel notice\nlogfile \"\"\n\
         dir {data:?}\npidfile {pid:?}\nmaxmemory {memory}mb\nmaxmemory-policy noeviction\n{persistence}",
        secret = folder.secret,
        data = folder.data(),
        pid = folder.pid_file(),
        memory = options.max_memory_mb,
    )
}

/// The file holds the password, so that it shows on no command line.
fn write_configuration(path: &Path, text: &str) -> Result<(), Error> {
    use std::io::Write;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .map_err(Error::io("cannot create", path))?;
    file.write_all(text.as_bytes()).map_err(Error::io("cannot write", path))
}

/// Whether a server on this port takes our password and says PONG; a server still loading its data does not.
async fn answers(port: u16, secret: &str) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(format!("AUTH {secret}\r\nPING\r\n").as_bytes()).await?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\n") || answer.iter().filter(|byte| **byte == b'\n').count() < 2 {
            if stream.read_buf(&mut answer).await? == 0 {
                break;
            }
        }
        Ok::<_, std::io::Error>(answer == b"+OK\r\n+PONG\r\n")
    };
    matches!(tokio::time::timeout(Duration::from_secs(1), ask).await, Ok(Ok(true)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::scratch::TestFolder;

    #[tokio::test]
    async fn a_server_left_by_an_earlier_run_is_stopped_first() {
        let folder = TestFolder::new("orphan").expect("a folder");
        let mut left = Redis::start(folder.path(), RedisOptions::scratch()).await.expect("Redis is installed");
        left._lock = File::open("/dev/null").expect("it is there");
        let next = Redis::start(folder.path(), RedisOptions::scratch()).await.expect("it takes over");
        assert!(left.ended().await.is_some(), "two servers never share a folder");
        assert_eq!(next.ended().await, None);
    }

    #[tokio::test]
    async fn a_wiped_server_comes_back_empty() {
        let folder = TestFolder::new("wiped").expect("a folder");
        let server = Redis::start(folder.path(), RedisOptions::durable()).await.expect("Redis is installed");
        let client = ::redis::Client::open(server.url()).expect("a URL");
        let mut connection = client.get_multiplexed_async_connection().await.expect("it answers");
        let set: String = ::redis::cmd("SET").arg("key").arg("value").query_async(&mut connection).await.expect("set");
        assert_eq!(set, "OK");
        server.kill_and_wipe().await.expect("wiped");
        server.restart().await.expect("it starts again");
        let mut connection = client.get_multiplexed_async_connection().await.expect("it answers");
        let keys: u64 = ::redis::cmd("DBSIZE").query_async(&mut connection).await.expect("a number");
        assert_eq!(keys, 0);
    }
}

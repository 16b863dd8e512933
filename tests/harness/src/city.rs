//! A running city of a test: the real program in processes of its own, over private servers, behind fault proxies.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use chrono::{DateTime, TimeDelta, Utc};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use platform::embedded::scratch::TestFolder;
use platform::embedded::{Postgres, PostgresOptions, Redis, RedisOptions};
use serde::Deserialize;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::process::{Child, Command};
use tokio::sync::Mutex;
use url::Url;

use crate::client::{Citizen, Visitor};
use crate::patience::eventually;
use crate::proxy::FaultProxy;
use crate::sse::EventFeed;
use crate::{teardown, template};

/// How long a city may take to start.
const START_LIMIT: Duration = Duration::from_secs(90);
/// How long it may take to stop.
const STOP_LIMIT: Duration = Duration::from_secs(45);
const POLL: Duration = Duration::from_millis(20);
/// How many roles a city has.
const ROLES: usize = 5;
/// The database that every server has.
pub(crate) const DATABASE: &str = "postgres";

/// How the roles are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// All roles in one process.
    AllInOne,
    /// One process per role, mutual TLS between them.
    Split,
}

/// What the program says about itself in `run.json`.
#[derive(Clone, Debug, Deserialize)]
struct RunInfo {
    http: Url,
    sandbox: Url,
}

/// A private city. End it with [`City::finish`]; a dropped one is killed.
#[derive(Debug)]
pub struct City {
    pub(crate) folder: TestFolder,
    pub(crate) postgres: Postgres,
    pub(crate) redis: Redis,
    database_proxy: FaultProxy,
    redis_proxy: FaultProxy,
    admin: PgPool,
    program: Mutex<Child>,
    run: RunInfo,
    offset_ms: Mutex<i64>,
}

impl City {
    /// Starts a city with all roles in one process.
    ///
    /// # Errors
    /// What kept it from starting, with the end of its log.
    pub async fn all_in_one() -> Result<Self> {
        Self::start(Shape::AllInOne).await
    }

    /// Starts a city with one process per role.
    ///
    /// # Errors
    /// What kept it from starting, with the end of its log.
    pub async fn split() -> Result<Self> {
        Self::start(Shape::Split).await
    }

    /// Starts a city.
    ///
    /// # Errors
    /// What kept it from starting, with the end of its log.
    pub async fn start(shape: Shape) -> Result<Self> {
        Self::start_with(shape, &[]).await
    }

    /// Starts a city with further settings, as `TRANGTIEN_…` variables.
    ///
    /// # Errors
    /// What kept it from starting, with the end of its log.
    pub async fn start_with(shape: Shape, settings: &[(&str, &str)]) -> Result<Self> {
        let folder = TestFolder::new("city")?;
        let (postgres_dir, redis_dir) = (folder.path().join("postgres"), folder.path().join("redis"));
        let postgres = async {
            template::lay_into(&postgres_dir).await?;
            Ok::<_, anyhow::Error>(Postgres::start(&postgres_dir, PostgresOptions::scratch()).await?)
        };
        let redis = async { Ok(Redis::start(&redis_dir, RedisOptions::scratch()).await?) };
        let (postgres, redis) = tokio::try_join!(postgres, redis)?;
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let database_proxy = FaultProxy::start(local(postgres.port())).await?;
        let redis_proxy = FaultProxy::start(local(redis.port())).await?;
        let options = PgPoolOptions::new().max_connections(4);
        let admin = options.connect_lazy(&postgres.superuser_url(DATABASE))?;
        let urls = Urls {
            database: through(&postgres.superuser_url(DATABASE), database_proxy.address())?,
            redis: through(&redis.url(), redis_proxy.address())?,
        };
        let mut program = launch((&folder, shape), &urls, settings)?;
        let run = announced(&mut program, folder.path()).await?;
        Ok(Self {
            folder,
            postgres,
            redis,
            database_proxy,
            redis_proxy,
            admin,
            program: Mutex::new(program),
            run,
            offset_ms: Mutex::new(0),
        })
    }

    /// Somebody who is not signed in.
    ///
    /// # Errors
    /// When no HTTP client can be built.
    pub fn visitor(&self) -> Result<Visitor> {
        Visitor::new(self.run.http.clone(), self.run.sandbox.clone())
    }

    /// What `trangtien up` keeps: `--data-dir`.
    pub fn data_folder(&self) -> PathBuf {
        data_folder(self.folder.path())
    }

    /// The city's origin.
    pub fn url(&self) -> &Url {
        &self.run.http
    }

    /// The code of the bank that the sandbox plays.
    pub fn bank(&self) -> &'static str {
        trangtien::up::settings::SANDBOX_BANK
    }

    /// Everything that the program and its roles have logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(log_file(self.folder.path())).unwrap_or_default() + &role_logs(self.folder.path())
    }

    /// The database as its administrator, past the proxy.
    pub fn admin(&self) -> PgPool {
        self.admin.clone()
    }

    /// Opens a stream of server-sent events as a citizen.
    ///
    /// # Errors
    /// When the stream is refused.
    pub async fn events(&self, citizen: &Citizen, path: &str) -> Result<EventFeed> {
        EventFeed::open(self.run.http.join(path)?, Some(&citizen.token)).await
    }

    /// Moves the clock of every process of the city forward.
    ///
    /// # Errors
    /// When the clock's file can't be written.
    pub async fn advance(&self, by: TimeDelta) -> Result<()> {
        let mut offset = self.offset_ms.lock().await;
        *offset += by.num_milliseconds();
        let (path, new) = (clock_file(self.folder.path()), self.folder.path().join("clock.new"));
        std::fs::write(&new, offset.to_string())?;
        std::fs::rename(&new, &path)?;
        let expected = (Utc::now() + TimeDelta::milliseconds(*offset)).timestamp() - 5;
        let visitor = self.visitor()?;
        eventually("every role's clock to move", || async {
            let metrics = visitor.get("/ioc/v1/metrics").await?.body;
            let text = metrics.as_str().context("text")?;
            let times = text.lines().filter(|line| line.starts_with("trangtien_") && line.contains("_time_seconds{"));
            let times: Vec<f64> = times.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
            let moved = times.iter().filter(|time| **time >= expected as f64).count();
            Ok((moved == ROLES && times.len() == ROLES).then_some(()))
        })
        .await
    }

    /// The city's time.
    async fn now(&self) -> DateTime<Utc> {
        Utc::now() + TimeDelta::milliseconds(*self.offset_ms.lock().await)
    }

    /// Waits until everything that moves by itself has arrived: events, jobs, top-ups.
    ///
    /// # Errors
    /// Names what still waits.
    pub async fn drained(&self) -> Result<()> {
        teardown::drained(&self.admin, self.now().await).await
    }

    /// What the samples of a role's metric add up to.
    ///
    /// # Errors
    /// When the role's metrics can't be read.
    pub async fn counted(&self, role: &str, metric: &str) -> Result<f64> {
        let text = self.visitor()?.get(&format!("/{role}/metrics")).await?.expect(200)?;
        let sample = format!("trangtien_{role}_{metric}{{");
        let samples = text.as_str().context("text")?.lines().filter(|line| line.starts_with(&sample));
        Ok(samples.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }

    /// What stands between the city and PostgreSQL.
    pub fn database_proxy(&self) -> &FaultProxy {
        &self.database_proxy
    }

    /// What stands between the city and Redis.
    pub fn redis_proxy(&self) -> &FaultProxy {
        &self.redis_proxy
    }

    /// Asserts that nothing is left over, and stops everything.
    ///
    /// # Errors
    /// Names what is left over, or what did not stop.
    pub async fn finish(self) -> Result<()> {
        let settled = teardown::assert_settled(&self.admin, self.now().await).await;
        self.admin.close().await;
        let stopped = stop(&mut *self.program.lock().await).await;
        let log = self.log();
        self.redis.stop().await?;
        self.postgres.stop().await?;
        let panicked = log.contains("panicked");
        let told = || format!("--- log ---\n{}", last_lines(&log));
        settled.with_context(told)?;
        stopped.with_context(told)?;
        ensure!(!panicked, "something panicked\n{}", told());
        Ok(())
    }
}

struct Urls {
    database: String,
    redis: String,
}

fn launch((folder, shape): (&TestFolder, Shape), urls: &Urls, settings: &[(&str, &str)]) -> Result<Child> {
    let log = std::fs::File::create(log_file(folder.path()))?;
    let clock = clock_file(folder.path());
    std::fs::write(&clock, "0")?;
    let mut command = Command::new(program()?);
    command
        .arg("up")
        .arg("--data-dir")
        .arg(data_folder(folder.path()))
        .arg("--city")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/city/hue"))
        .args(["--http", "localhost:0", "--database-url", &urls.database, "--redis-url", &urls.redis])
        .env("TRANGTIEN_CLOCK_FILE", clock)
        // Tests look at the figures of the wall as anybody; the journey of its sign-in closes it.
        .env("TRANGTIEN_IOC__PUBLIC_WALL", "true")
        .envs(settings.iter().copied())
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(true);
    if shape == Shape::Split {
        command.arg("--split");
    }
    command.spawn().context("cannot start the program")
}

/// The program that was built beside the tests.
///
/// # Errors
/// When it is not there.
pub fn program() -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    let found = here.ancestors().skip(1).take(3).map(|folder| folder.join("trangtien")).find(|path| path.is_file());
    found.context("the program is not built; run: cargo build -p trangtien")
}

async fn announced(program: &mut Child, folder: &Path) -> Result<RunInfo> {
    let path = data_folder(folder).join("run.json");
    let deadline = Instant::now() + START_LIMIT;
    loop {
        if let Ok(text) = std::fs::read_to_string(&path) {
            return serde_json::from_str(&text).context("run.json");
        }
        let ended = program.try_wait()?;
        if ended.is_some() || Instant::now() > deadline {
            let log = std::fs::read_to_string(log_file(folder)).unwrap_or_default();
            bail!("the city did not start ({ended:?}):\n{}{}", last_lines(&log), last_lines(&role_logs(folder)));
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn stop(program: &mut Child) -> Result<()> {
    let pid = program.id().context("the program has ended before it was asked to")?;
    kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGTERM)?;
    let ended = tokio::time::timeout(STOP_LIMIT, program.wait()).await.context("the program did not stop")??;
    ensure!(ended.success(), "the program ended with {ended}");
    Ok(())
}

/// A server's URL, leading through a proxy.
fn through(url: &str, proxy: SocketAddr) -> Result<String> {
    let mut url: Url = url.parse()?;
    url.set_host(Some(&proxy.ip().to_string()))?;
    url.set_port(Some(proxy.port())).map_err(|()| anyhow::anyhow!("the URL takes no port"))?;
    Ok(url.to_string())
}

pub(crate) fn data_folder(folder: &Path) -> PathBuf {
    folder.join("data")
}

fn log_file(folder: &Path) -> PathBuf {
    folder.join("log")
}

fn clock_file(folder: &Path) -> PathBuf {
    folder.join("clock")
}

fn role_logs(folder: &Path) -> String {
    let logs = std::fs::read_dir(data_folder(folder).join("log")).into_iter().flatten().flatten();
    logs.filter_map(|entry| std::fs::read_to_string(entry.path()).ok()).collect()
}

fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(120)..].join("\n")
}

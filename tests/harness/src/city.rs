//! A running city of a test: the real program in processes of its own, over private servers, behind fault proxies.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use chrono::{DateTime, NaiveTime, TimeDelta, Utc};
use platform::embedded::scratch::TestFolder;
use platform::embedded::{Postgres, PostgresOptions, Redis, RedisOptions};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::process::Child;
use tokio::sync::Mutex;
use trangtien::up::sandbox::Sandbox;
use url::Url;

use crate::client::{Citizen, Visitor};
pub use crate::launch::program;
use crate::launch::{
    Launch, RunInfo, announced, begin_clock, data_folder, last_lines, log, outside_of, set_clock, stop,
};
use crate::patience::eventually;
use crate::proxy::FaultProxy;
use crate::sse::EventFeed;
use crate::{teardown, template};

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

/// A private city. End it with [`City::finish`]; a dropped one is killed.
#[derive(Debug)]
pub struct City {
    pub(crate) folder: TestFolder,
    pub(crate) postgres: Postgres,
    pub(crate) redis: Redis,
    database_proxy: FaultProxy,
    redis_proxy: FaultProxy,
    admin: PgPool,
    launch: Launch,
    program: Mutex<Child>,
    /// The outside world of a city that can be killed.
    outside: Option<Sandbox>,
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
        Self::start_in(TestFolder::new("city")?, (shape, settings), (None, None)).await
    }

    /// Starts a city with all roles in one process, which can be killed: its outside world lives in the test's process, and goes on meanwhile.
    ///
    /// # Errors
    /// What kept it from starting, with the end of its log.
    pub async fn mortal() -> Result<Self> {
        Self::outlived(None).await
    }

    /// Starts a city like [`City::mortal`], with so many journeys of demo traffic a second. Its clock begins at an hour that is as busy
    /// as the day's mean, whenever the test runs.
    ///
    /// # Errors
    /// What kept it from starting, with the end of its log.
    pub async fn with_traffic(per_second: u32) -> Result<Self> {
        Self::outlived(Some(per_second)).await
    }

    async fn outlived(traffic: Option<u32>) -> Result<Self> {
        let folder = TestFolder::new("city")?;
        if traffic.is_some() {
            set_clock(folder.path(), until_mean_hour(Utc::now()))?;
        }
        let outside = outside_of(folder.path()).await?;
        Self::start_in(folder, (Shape::AllInOne, &[]), (Some(outside), traffic)).await
    }

    async fn start_in(
        folder: TestFolder,
        (shape, settings): (Shape, &[(&str, &str)]),
        (outside, traffic): (Option<Sandbox>, Option<u32>),
    ) -> Result<Self> {
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
        let mut launch = Launch {
            shape,
            database: through(&postgres.superuser_url(DATABASE), database_proxy.address())?,
            redis: through(&redis.url(), redis_proxy.address())?,
            http: "localhost:0".to_owned(),
            sandbox_port: outside.as_ref().map(Sandbox::port),
            traffic,
            settings: settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        };
        let offset_ms = begin_clock(folder.path())?;
        let mut program = launch.start(&folder)?;
        let run = announced(&mut program, folder.path()).await?;
        let port = run.http.port().context("the city's port")?;
        // Whoever is started again is found where it was.
        launch.http = format!("localhost:{port}");
        Ok(Self {
            folder,
            postgres,
            redis,
            database_proxy,
            redis_proxy,
            admin,
            launch,
            program: Mutex::new(program),
            outside,
            run,
            offset_ms: Mutex::new(offset_ms),
        })
    }

    /// Kills the program without warning and starts it again, on the same servers and the same port.
    ///
    /// # Errors
    /// When the city is not [`City::mortal`], or does not come back.
    pub async fn kill_program(&self) -> Result<()> {
        ensure!(self.outside.is_some(), "the outside world would end with the program");
        let mut program = self.program.lock().await;
        program.kill().await?;
        *program = self.launch.start(&self.folder)?;
        announced(&mut program, self.folder.path()).await.map(|_| ())
    }

    /// Asks the program to stop, as Ctrl-C does, and starts it again without demo traffic.
    ///
    /// # Errors
    /// When it does not stop in order, or does not come back.
    pub async fn without_traffic(mut self) -> Result<Self> {
        self.launch.traffic = None;
        let mut program = self.program.lock().await;
        stop(&mut program).await?;
        *program = self.launch.start(&self.folder)?;
        announced(&mut program, self.folder.path()).await?;
        drop(program);
        Ok(self)
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
        log(self.folder.path())
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
        set_clock(self.folder.path(), *offset)?;
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
        if let Some(outside) = self.outside {
            outside.stop().await;
        }
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

/// A server's URL, leading through a proxy.
fn through(url: &str, proxy: SocketAddr) -> Result<String> {
    let mut url: Url = url.parse()?;
    url.set_host(Some(&proxy.ip().to_string()))?;
    url.set_port(Some(proxy.port())).map_err(|()| anyhow::anyhow!("the URL takes no port"))?;
    Ok(url.to_string())
}

/// Milliseconds until the next 14:30 of the city, which is 07:30 UTC, when about as much happens as on the day's mean.
fn until_mean_hour(now: DateTime<Utc>) -> i64 {
    const MEAN_HOUR: NaiveTime = NaiveTime::from_hms_opt(7, 30, 0).expect("a time of day");
    (MEAN_HOUR - now.time()).num_milliseconds().rem_euclid(TimeDelta::days(1).num_milliseconds())
}

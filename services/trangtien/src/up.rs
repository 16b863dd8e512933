//! `trangtien up`: a whole city on this machine, for a laptop, a demonstration and the tests.
//!
//! Order: data folder → public port → servers → migrations → sandbox → roles → ready → `run.json`.
//! It is undone in reverse when the process is asked to stop.

mod roles;
pub mod sandbox;
pub mod settings;
pub mod traffic;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use platform::clock::Clock;
use platform::config::Secret;
use platform::db;
use platform::embedded::scram_verifier;
use platform::task::Shutdown;
use tokio::task::JoinHandle;

use self::roles::Roles;
use self::sandbox::Sandbox;
use crate::admin::{self, Why};
use crate::config::Config;
use crate::embedded::{self, Existing, Servers};
use crate::folder::{Folder, RunInfo};
use crate::listen::{self, Bound};
use crate::migrate;
use crate::progress::Progress;
use crate::role::Role;
use crate::split::Processes;
use crate::stop::Stop;

/// Where the city listens when nothing else was asked for.
const DEFAULT_HTTP: &str = "localhost:8080";
/// How often servers and roles are looked after while running.
const LOOK_AFTER: Duration = Duration::from_millis(500);

/// What `trangtien up` is asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// The data folder.
    pub data_dir: PathBuf,
    /// The city's folder.
    pub city: PathBuf,
    /// `host:port`, when one was asked for.
    pub http: Option<String>,
    /// One process or one per role.
    pub shape: Shape,
    /// Servers that exist.
    pub existing: Existing,
    /// Where an outside world listens on this machine already, with the credentials of the data folder.
    pub sandbox_port: Option<u16>,
    /// Journeys of demo traffic a second.
    pub traffic: Option<u32>,
}

/// How a city is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// All roles in this process.
    AllInOne,
    /// One process per role, mutual TLS between them.
    Split,
    /// Only these roles, in this process: what they cost without the others can be measured. Events of theirs wait for who is away.
    Part(&'static [Role]),
}

/// A running city.
#[derive(Debug)]
pub struct City {
    folder: Folder,
    info: RunInfo,
    servers: Servers,
    sandbox: Sandbox,
    roles: Roles,
}

/// Runs a city until the process is asked to stop.
///
/// # Errors
/// What kept it from starting, or from going on.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let (progress, mut stop) = (Progress::start(), Stop::new()?);
    let folder = Folder::open(&options.data_dir)?;
    let clock = Config::load(None)?.clock();
    let city = tokio::select! {
        city = City::start(folder, &options, clock.clone(), &progress) => city?,
        () = stop.asked() => bail!("stopped while starting"),
    };
    progress.step(format!("Ready: {}", city.info.http));
    progress.say(city.welcome());
    let traffic = Shutdown::new();
    let making =
        options.traffic.map(|per_second| city.make_traffic(per_second, (&options, clock), &traffic)).transpose()?;
    let ended = tokio::select! {
        () = stop.asked() => Ok(()),
        error = city.look_after(&progress) => Err(error),
    };
    progress.say("");
    progress.step("Stopping (a second Ctrl-C stops at once)");
    stop.next_ends_at_once();
    traffic.begin();
    if let Some(making) = making {
        making.await.ok();
    }
    city.stop().await?;
    progress.step("Stopped; the data stays");
    ended
}

impl City {
    /// Starts everything and waits until it is ready.
    ///
    /// # Errors
    /// Names what is missing or does not start.
    pub async fn start(folder: Folder, options: &Options, clock: Clock, progress: &Progress) -> anyhow::Result<Self> {
        progress.step(format!("Data folder {}", folder.path().display()));
        let public = bind(options)?;
        let servers = Servers::start(&folder, options.existing.clone()).await?;
        progress.step(servers.place());
        let started = start_on((&folder, &servers), options, (clock, public), progress).await;
        let (info, sandbox, roles) = match started {
            Ok(started) => started,
            Err(error) => {
                servers.stop().await.ok();
                return Err(error);
            }
        };
        let city = Self { folder, info, servers, sandbox, roles };
        match city.announce(progress).await {
            Ok(()) => Ok(city),
            Err(error) => {
                city.stop().await.ok();
                Err(error)
            }
        }
    }

    async fn announce(&self, progress: &Progress) -> anyhow::Result<()> {
        self.roles.until_ready().await?;
        progress.step(self.roles.describe());
        self.folder.announce(&self.info)
    }

    /// Where everything runs.
    #[must_use]
    pub fn info(&self) -> &RunInfo {
        &self.info
    }

    /// The servers under it.
    #[must_use]
    pub fn servers(&self) -> &Servers {
        &self.servers
    }

    /// The processes of its roles, when they have their own.
    #[must_use]
    pub fn processes(&self) -> Option<&Processes> {
        match &self.roles {
            Roles::Here(..) => None,
            Roles::Apart { processes, .. } => Some(processes),
        }
    }

    /// Starts again what ends by itself, with a warning. Ends only with an error.
    pub async fn look_after(&self, progress: &Progress) -> anyhow::Error {
        loop {
            match self.revive().await {
                Ok(said) => said.into_iter().for_each(|what| progress.warn(what)),
                Err(error) => return error,
            }
            tokio::time::sleep(LOOK_AFTER).await;
        }
    }

    /// Starts again what ended by itself, once, and says what that was.
    ///
    /// # Errors
    /// When something does not come back.
    pub async fn revive(&self) -> anyhow::Result<Vec<String>> {
        let mut said = self.servers.revive().await?;
        if let Roles::Apart { processes, .. } = &self.roles {
            said.extend(processes.revive().await?);
        }
        Ok(said)
    }

    /// Lets people live until the shutdown begins: so many journeys a second are the day's mean.
    ///
    /// # Errors
    /// When the city has no usable URL or time zone.
    pub fn make_traffic(
        &self,
        per_second: u32,
        (options, clock): (&Options, Clock),
        shutdown: &Shutdown,
    ) -> anyhow::Result<JoinHandle<()>> {
        let town = traffic::Town {
            url: self.info.http.parse()?,
            sandbox: self.info.sandbox.parse()?,
            city: options.city.clone(),
            zone: traffic::zone(&options.city)?,
            data_dir: options.data_dir.clone(),
            clock,
        };
        Ok(tokio::spawn(traffic::run(town, per_second, shutdown.clone())))
    }

    /// Stops everything in order; the data stays.
    ///
    /// # Errors
    /// When a server does not stop, or `run.json` can't be removed. Everything else was stopped nevertheless.
    pub async fn stop(self) -> anyhow::Result<()> {
        let forgotten = self.folder.forget_run();
        self.roles.stop().await;
        self.sandbox.stop().await;
        self.servers.stop().await.and(forgotten)
    }

    fn welcome(&self) -> String {
        let RunInfo { http, sandbox, .. } = &self.info;
        format!(
            "\n  start page   {http}/\n  wall         {http}/ioc\n  API          {http}/docs\n  sandbox      {sandbox}/\n\n\
             The wall asks you to sign in: type any mobile number of the country, and read the code at {sandbox}/sms.\n\
             It then tells you the command that makes you an operator.\n\n\
             Try: trangtien walkthrough --url {http}\nStop with Ctrl-C.\n"
        )
    }
}

/// Everything that stands on running servers.
async fn start_on(
    (folder, servers): (&Folder, &Servers),
    options: &Options,
    (clock, public): (Clock, Bound),
    progress: &Progress,
) -> anyhow::Result<(RunInfo, Sandbox, Roles)> {
    let city = options.city.canonicalize();
    let city =
        city.with_context(|| format!("there is no city in {}; --city names its folder", options.city.display()))?;
    let mut secrets = folder.secrets()?;
    secrets.sandbox.billers = ::sandbox::Billers::load(&city)?;
    let verifiers =
        secrets.database.iter().map(|(role, password)| (role.clone(), Secret::new(scram_verifier(password.expose()))));
    migrate::bootstrap(servers.database_url(), &verifiers.collect()).await?;
    let databases = embedded::databases(servers.database_url(), &secrets.database)?;
    migrate::migrate(&databases).await.with_context(|| {
        format!("the data in {} does not fit this program; --fresh starts without it", folder.path().display())
    })?;
    progress.step("Schemas are up to date");
    let sandbox = match options.sandbox_port {
        Some(port) => Sandbox::listening_on(port),
        None => Sandbox::start(&secrets, clock.clone()).await?,
    };
    progress.step(format!("Sandbox (bank, billers, SMS, push) on {}", sandbox.url()));
    let mut config = settings::of_city(&public, &secrets, &sandbox)?;
    config.city.clone_from(&city);
    config.redis_url = servers.redis_url().clone();
    config.database = databases;
    config.reports.photos.folder =
        std::path::absolute(folder.files(Role::Reports.name())).context("the data folder's path")?;
    let pool = db::pool(config.database.of(Role::Identity), "trangtien up").context("the database URL is not valid")?;
    admin::ensure_wall(&config, &pool, &Why::starting()).await?;
    pool.close().await;
    let info = RunInfo {
        http: public.url(),
        database_url: servers.database_url().expose().to_owned(),
        redis_url: servers.redis_url().expose().to_owned(),
        pid: std::process::id(),
        sandbox: sandbox.url(),
        city,
    };
    let roles = Roles::start((folder, options.shape), config, clock, public).await?;
    Ok((info, sandbox, roles))
}

fn bind(options: &Options) -> anyhow::Result<Bound> {
    match &options.http {
        Some(asked) => listen::bind(asked),
        None => listen::bind_next_free(DEFAULT_HTTP),
    }
}

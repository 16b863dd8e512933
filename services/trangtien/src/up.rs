//! `trangtien up`: a whole city on this machine, for a laptop, a demonstration and the tests.
//!
//! Order: data folder → public port → servers → migrations → sandbox → roles → ready → `run.json`.
//! It is undone in reverse when the process is asked to stop.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use platform::clock::Clock;
use platform::config::Secret;
use platform::embedded::generate_secret;
use platform::task::Shutdown;
use tokio::task::JoinHandle;
use url::Url;

use crate::config::Config;
use crate::embedded::{self, Existing, Servers};
use crate::folder::{Folder, RunInfo, Secrets};
use crate::gateway::Gateway;
use crate::http::{Front as _, Readiness};
use crate::listen::{self, Bound};
use crate::migrate;
use crate::progress::Progress;
use crate::role::Role;
use crate::run::{self, Running};
use crate::split::Processes;
use crate::stop::Stop;

/// Where the city listens when nothing else was asked for.
const DEFAULT_HTTP: &str = "localhost:8080";
/// How long roles may take to get ready.
const READY_LIMIT: Duration = Duration::from_secs(60);
/// How often readiness is asked for while starting.
const READY_POLL: Duration = Duration::from_millis(20);
/// How often servers and roles are looked after while running.
const LOOK_AFTER: Duration = Duration::from_millis(500);
/// The bank of the city's list that the sandbox plays.
pub const SANDBOX_BANK: &str = "VCB";

/// How long the sandbox's gateways may take to answer.
const GATEWAY_TIMEOUT_MS: u64 = 3_000;

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
}

/// How a city is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// All roles in this process.
    AllInOne,
    /// One process per role, mutual TLS between them.
    Split,
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

#[derive(Debug)]
enum Roles {
    Here(Running),
    Apart { processes: Processes, gateway: Gateway, shutdown: Shutdown, listeners: Vec<JoinHandle<()>> },
}

#[derive(Debug)]
struct Sandbox {
    port: u16,
    shutdown: Shutdown,
    task: JoinHandle<std::io::Result<()>>,
}

/// Runs a city until the process is asked to stop.
///
/// # Errors
/// What kept it from starting, or from going on.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let (progress, mut stop) = (Progress::start(), Stop::new()?);
    let folder = Folder::open(&options.data_dir)?;
    let city = tokio::select! {
        city = City::start(folder, &options, Clock::system(), &progress) => city?,
        () = stop.asked() => bail!("stopped while starting"),
    };
    progress.step(format!("Ready: {}", city.info.http));
    println!("{}", city.welcome());
    let ended = tokio::select! {
        () = stop.asked() => Ok(()),
        error = city.look_after(&progress) => Err(error),
    };
    println!();
    progress.step("Stopping (a second Ctrl-C stops at once)");
    stop.next_ends_at_once();
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
        let city = options.city.canonicalize();
        let city = city.with_context(|| format!("there is no city in {}", options.city.display()))?;
        let public = bind(options)?;
        let secrets = folder.secrets()?;
        let servers = Servers::start(&folder, options.existing.clone()).await?;
        progress.step(servers.place());
        migrate::bootstrap(servers.database_url(), &secrets.database).await?;
        let databases = embedded::databases(servers.database_url(), &secrets.database)?;
        migrate::migrate(&databases).await?;
        progress.step("Schemas are up to date");
        let sandbox = Sandbox::start(&secrets, clock.clone()).await?;
        progress.step(format!("Sandbox (bank, SMS, push) on {}", sandbox.url()));
        let mut config = settings(&public, &secrets, &sandbox)?;
        config.city = city;
        config.redis_url = servers.redis_url().clone();
        config.database = databases;
        let info = RunInfo {
            http: public.url(),
            database_url: servers.database_url().expose().to_owned(),
            redis_url: servers.redis_url().expose().to_owned(),
            pid: std::process::id(),
            sandbox: sandbox.url(),
        };
        let roles = Roles::start((&folder, options.shape), config, clock, public).await?;
        roles.until_ready().await?;
        progress.step(roles.describe());
        folder.announce(&info)?;
        Ok(Self { folder, info, servers, sandbox, roles })
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
            Roles::Here(_) => None,
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

    /// Stops everything in order; the data stays.
    ///
    /// # Errors
    /// When a server does not stop.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.folder.forget_run()?;
        self.roles.stop().await;
        self.sandbox.stop().await;
        self.servers.stop().await
    }

    fn welcome(&self) -> String {
        let RunInfo { http, sandbox, .. } = &self.info;
        format!(
            "\n  start page   {http}/\n  wall         {http}/ioc\n  API          {http}/docs\n  sandbox      {sandbox}/\n\n\
             Try: trangtien walkthrough --url {http}\nStop with Ctrl-C.\n"
        )
    }
}

fn bind(options: &Options) -> anyhow::Result<Bound> {
    match &options.http {
        Some(asked) => listen::bind(asked),
        None => listen::bind_next_free(DEFAULT_HTTP),
    }
}

/// The settings of a city on this machine: the environment's, with what is private to this run.
fn settings(public: &Bound, secrets: &Secrets, sandbox: &Sandbox) -> anyhow::Result<Config> {
    let mut config = Config::load(None)?;
    config.public_url = public.url().parse().context("the listener's URL")?;
    config.http.readiness_off_ms = 0;
    config.app.sandbox = Some(sandbox.url().parse().context("the sandbox's URL")?);
    config.identity.keys = secrets.identity.clone();
    let outside = |path: &str| -> anyhow::Result<Url> {
        format!("http://127.0.0.1:{}{path}", sandbox.port).parse().context("a URL of the sandbox")
    };
    let bank = &secrets.sandbox.bank;
    config.wallet.banks.insert(
        SANDBOX_BANK.to_owned(),
        wallet::config::BankConfig {
            url: outside("/")?,
            partner: bank.partner.clone(),
            secret: bank.partner_secret.clone(),
            callback_secret: bank.secret.clone(),
        },
    );
    let (sms, push) = (&secrets.sandbox.sms, &secrets.sandbox.push);
    config.notifications.sms = Some(notifications::SmsConfig {
        url: outside("/gateways/sms/v1/messages")?,
        token: sms.token.clone(),
        timeout_ms: GATEWAY_TIMEOUT_MS,
    });
    config.notifications.push = Some(notifications::PushConfig {
        url: outside("/gateways/fcm/")?,
        project: push.project.clone(),
        token: push.token.clone(),
        timeout_ms: GATEWAY_TIMEOUT_MS,
    });
    config.ioc.public_wall = true;
    Ok(config)
}

/// Settings that suffice to build every role without any server, to describe its API.
///
/// # Errors
/// When the environment's settings are not valid.
pub fn for_description() -> anyhow::Result<Config> {
    let mut config = Config::load(None)?;
    let secret = || Secret::new(format!("{}{}", generate_secret(), generate_secret()));
    config.identity.keys.otp_hmac = secret();
    config.identity.keys.phone_hmac = secret();
    config.identity.keys.encryption = secret();
    config.identity.keys.pin_pepper = secret();
    config.redis_url = Secret::new("redis://127.0.0.1:1");
    config.database = embedded::databases(&Secret::new("postgres://nobody@127.0.0.1:1/none"), &BTreeMap::new())?;
    Ok(config)
}

impl Sandbox {
    async fn start(secrets: &Secrets, clock: Clock) -> anyhow::Result<Self> {
        let listener =
            tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.context("cannot listen for the sandbox")?;
        let port = listener.local_addr().context("the sandbox's address")?.port();
        let shutdown = Shutdown::new();
        let task = tokio::spawn(sandbox::serve(listener, secrets.sandbox.clone(), clock, shutdown.clone()));
        Ok(Self { port, shutdown, task })
    }

    fn url(&self) -> String {
        format!("http://localhost:{}", self.port)
    }

    async fn stop(self) {
        self.shutdown.begin();
        self.task.await.ok();
    }
}

impl Roles {
    async fn start(
        (folder, shape): (&Folder, Shape),
        config: Config,
        clock: Clock,
        public: Bound,
    ) -> anyhow::Result<Self> {
        if shape == Shape::AllInOne {
            return Ok(Roles::Here(run::start(config, &BTreeSet::from(Role::ALL), clock, public).await?));
        }
        let processes = Processes::start(folder, &config).await?;
        let shutdown = Shutdown::new();
        let gateway =
            Gateway::new(processes.http_ports(), config.public_url.clone(), config.app.clone(), shutdown.clone());
        let mut listeners = Vec::new();
        for listener in public.into_listeners().context("cannot serve the public listener")? {
            let serving = platform::http::serve(listener, gateway.router(), config.http.server, shutdown.clone());
            listeners.push(tokio::spawn(serving));
        }
        Ok(Roles::Apart { processes, gateway, shutdown, listeners })
    }

    async fn readiness(&self) -> Readiness {
        match self {
            Roles::Here(running) => running.readiness().await,
            Roles::Apart { gateway, .. } => gateway.readiness().await,
        }
    }

    async fn until_ready(&self) -> anyhow::Result<()> {
        let end = Instant::now() + READY_LIMIT;
        loop {
            let readiness = self.readiness().await;
            if readiness.all() {
                return Ok(());
            }
            if let Roles::Apart { processes, .. } = self
                && let Some(said) = processes.revive().await?.first()
            {
                bail!("{said}");
            }
            if Instant::now() >= end {
                bail!("not ready within {} s: {}", READY_LIMIT.as_secs(), serde_json::to_string(&readiness)?);
            }
            tokio::time::sleep(READY_POLL).await;
        }
    }

    fn describe(&self) -> String {
        let names = Role::ALL.map(Role::name).join(", ");
        match self {
            Roles::Here(_) => format!("Roles {names} in this process"),
            Roles::Apart { .. } => format!("Roles {names}, one process each, mutual TLS between them"),
        }
    }

    async fn stop(self) {
        match self {
            Roles::Here(running) => running.stop().await,
            Roles::Apart { processes, shutdown, listeners, .. } => {
                shutdown.begin();
                futures::future::join_all(listeners).await;
                processes.stop().await;
            }
        }
    }
}

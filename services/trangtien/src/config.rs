//! Every setting of the program, in one place.
//!
//! A TOML file, then `TRANGTIEN_…` variables over it; a variable's name is the key's path joined by `__`:
//! `TRANGTIEN_DATABASE__WALLET__URL`. Unknown keys are refused in both. Secrets may be `{ file = "/path" }`.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use platform::{
    clock::Clock,
    config::Secret,
    db::DatabaseSettings,
    http::{HttpSettings, ServeSettings},
    rpc::TlsSettings,
    telemetry::TelemetrySettings,
};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::role::Role;

/// The settings of one process.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The origin that clients see.
    pub public_url: Url,
    /// The city's folder.
    pub city: PathBuf,
    /// The name of this process, unique among those that run now; `host:pid` when empty.
    pub instance: String,
    /// A file with milliseconds to add to the machine's time, read again all the time; for tests that move the clock.
    pub clock_file: Option<PathBuf>,
    /// `redis://` URL.
    pub redis_url: Secret,
    /// The public listener.
    pub http: HttpConfig,
    /// A second listener that also answers `/metrics`; give it an address of the internal network.
    pub internal: InternalConfig,
    /// The listener for other roles.
    pub grpc: GrpcConfig,
    /// Certificates for calls between processes.
    pub tls: TlsSettings,
    /// Where the roles that other processes run listen for gRPC: `identity = "10.0.0.5:9090"`.
    pub peers: BTreeMap<Role, String>,
    /// How each role reaches its database.
    pub database: Databases,
    /// Logs and traces.
    pub telemetry: TelemetrySettings,
    /// What apps are told.
    pub app: AppConfig,
    /// Settings of the identity role.
    pub identity: identity::Config,
    /// Settings of the wallet role.
    pub wallet: wallet::Config,
    /// Settings of the reports role.
    pub reports: reports::Config,
    /// Settings of the notifications role.
    pub notifications: notifications::Config,
    /// Settings of the ioc role.
    pub ioc: ioc::Config,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            public_url: Url::parse("http://localhost:8080").expect("a constant URL"),
            city: PathBuf::from("deploy/city/hue"),
            instance: String::new(),
            clock_file: None,
            redis_url: Secret::default(),
            http: HttpConfig::default(),
            internal: InternalConfig::default(),
            grpc: GrpcConfig::default(),
            tls: TlsSettings::default(),
            peers: BTreeMap::new(),
            database: Databases::default(),
            telemetry: TelemetrySettings::default(),
            app: AppConfig::default(),
            identity: identity::Config::default(),
            wallet: wallet::Config::default(),
            reports: reports::Config::default(),
            notifications: notifications::Config::default(),
            ioc: ioc::Config::default(),
        }
    }
}

/// The public listener.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// `host:port`; `localhost` means both 127.0.0.1 and [::1].
    pub listen: String,
    /// How long the process keeps serving after it said that it is not ready any more, so that load balancers notice; milliseconds.
    pub readiness_off_ms: u64,
    /// Limits of one request.
    pub limits: HttpSettings,
    /// Limits of the server.
    pub server: ServeSettings,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listen: "localhost:8080".to_owned(),
            readiness_off_ms: 3_000,
            limits: HttpSettings::default(),
            server: ServeSettings::default(),
        }
    }
}

/// The internal listener.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InternalConfig {
    /// `address:port`; none = `/metrics` answers on loopback only.
    pub listen: Option<SocketAddr>,
}

/// The gRPC listener.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GrpcConfig {
    /// `address:port`; none = no other process calls the roles of this one.
    pub listen: Option<SocketAddr>,
}

/// What apps are told at `/app/v1/configuration`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AppConfig {
    /// The oldest version of the app on each platform that may go on without an update.
    pub minimum_version: BTreeMap<String, String>,
    /// Where the sandbox answers, in a city that has one: it shows the messages that were sent.
    pub sandbox: Option<Url>,
}

impl Default for AppConfig {
    fn default() -> Self {
        let platforms = ["android", "ios"].map(|platform| (platform.to_owned(), "1.0.0".to_owned()));
        Self { minimum_version: BTreeMap::from(platforms), sandbox: None }
    }
}

/// How each role reaches its database: one server for all, or one for each.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Databases {
    /// May create roles and schemas; only `trangtien migrate` uses it, and only when it is set.
    pub admin_url: Secret,
    /// The identity role's.
    pub identity: DatabaseSettings,
    /// The ledger's schema, which lies in the wallet's database: only its owner's URL is used.
    pub ledger: DatabaseSettings,
    /// The wallet role's.
    pub wallet: DatabaseSettings,
    /// The reports role's.
    pub reports: DatabaseSettings,
    /// The notifications role's.
    pub notifications: DatabaseSettings,
    /// The ioc role's.
    pub ioc: DatabaseSettings,
}

impl Databases {
    /// A role's settings.
    #[must_use]
    pub fn of(&self, role: Role) -> &DatabaseSettings {
        match role {
            Role::Identity => &self.identity,
            Role::Wallet => &self.wallet,
            Role::Reports => &self.reports,
            Role::Notifications => &self.notifications,
            Role::Ioc => &self.ioc,
        }
    }

    /// The settings for a schema: a role's, or the ledger's.
    #[must_use]
    pub fn of_schema(&self, schema: &str) -> &DatabaseSettings {
        Role::ALL.into_iter().find(|role| role.name() == schema).map_or(&self.ledger, |role| self.of(role))
    }

    /// The same, to be set.
    pub fn of_schema_mut(&mut self, schema: &str) -> &mut DatabaseSettings {
        match schema {
            "identity" => &mut self.identity,
            "wallet" => &mut self.wallet,
            "reports" => &mut self.reports,
            "notifications" => &mut self.notifications,
            "ioc" => &mut self.ioc,
            _ => &mut self.ledger,
        }
    }
}

impl Config {
    /// Reads the file, if given, and the environment.
    ///
    /// # Errors
    /// Names the key, what was expected, and where it came from.
    pub fn load(file: Option<&Path>) -> anyhow::Result<Self> {
        platform::config::load(file).context("the configuration is not valid")
    }

    /// Logs of `trangtien up`: warnings only, unless a filter was asked for, because its terminal shows progress.
    #[must_use]
    pub fn telemetry_of_up(&self) -> TelemetrySettings {
        let mut settings = self.telemetry.clone();
        if settings.log == TelemetrySettings::default().log {
            settings.log = "warn,sqlx=error".to_owned();
        }
        settings
    }

    /// What keeps a process from playing these roles, each as a sentence with the key that mends it.
    #[must_use]
    pub fn faults(&self, roles: &BTreeSet<Role>) -> Vec<String> {
        let mut faults = Vec::new();
        if self.redis_url.is_empty() {
            faults.push("`redis_url` is not set".to_owned());
        }
        if !self.city.is_dir() {
            faults.push(format!("`city`: there is no folder {}", self.city.display()));
        }
        for role in roles {
            if self.database.of(*role).url.is_empty() {
                faults.push(format!("`database.{role}.url` is not set"));
            }
        }
        let needs_tls = self.grpc.listen.is_some() || !self.peers.is_empty();
        for (name, path) in [("ca", &self.tls.ca), ("certificate", &self.tls.certificate), ("key", &self.tls.key)] {
            if needs_tls && !path.is_file() {
                faults.push(format!(
                    "`tls.{name}`: there is no file {:?}, and calls between processes need one (`trangtien cert issue` makes them)",
                    path.display().to_string()
                ));
            }
        }
        for role in roles {
            for needed in needed_by(*role) {
                if !roles.contains(needed) && !self.peers.contains_key(needed) {
                    faults.push(format!("{role} calls {needed}: run that role here too, or set `peers.{needed}`"));
                }
            }
        }
        faults
    }

    /// The machine's time, or that of the file that tests write. Must be called inside the runtime.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock_file.clone().map_or_else(Clock::system, Clock::following)
    }

    /// The process's name.
    #[must_use]
    pub fn instance_name(&self) -> String {
        if self.instance.is_empty() {
            let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
            let host = Some(host.trim()).filter(|host| !host.is_empty()).unwrap_or("localhost");
            format!("{host}:{}", std::process::id())
        } else {
            self.instance.clone()
        }
    }
}

/// The roles that a role calls by gRPC.
#[must_use]
pub fn needed_by(role: Role) -> &'static [Role] {
    match role {
        Role::Identity => &[],
        Role::Wallet | Role::Reports | Role::Notifications => &[Role::Identity],
        Role::Ioc => &[Role::Identity, Role::Wallet],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said_by_key() {
        let faults = Config::default().faults(&BTreeSet::from([Role::Wallet]));
        let all = faults.join("\n");
        for key in ["redis_url", "database.wallet.url", "peers.identity"] {
            assert!(all.contains(key), "{all}");
        }
    }

    #[test]
    fn a_written_configuration_reads_back() {
        let mut config = Config::default();
        config.peers.insert(Role::Identity, "127.0.0.1:9000".to_owned());
        let text = toml::to_string(&config).expect("every setting can be written");
        let back: Config = toml::from_str(&text).expect("and read");
        assert_eq!(back.peers, config.peers);
    }

    #[test]
    fn calls_are_acyclic() {
        for role in Role::ALL {
            assert!(needed_by(role).iter().all(|needed| *needed < role), "{role} calls only what is built before it");
        }
    }
}

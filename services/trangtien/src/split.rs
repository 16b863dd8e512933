//! One process per role: certificates, a configuration file each, `trangtien serve ROLE`, and a supervisor that never restarts in silence.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::sys::signal::Signal;
use platform::embedded::{Child, Environment, Launch, free_port, log_end};
use tokio::sync::Mutex;

use crate::cert;
use crate::config::Config;
use crate::folder::{Folder, write_private};
use crate::listen::TAKEN;
use crate::role::Role;

/// How long a role may take to stop when asked.
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// How much of what a role logged is looked at when it ended.
const MAX_SAID_BYTES: u64 = 4_000;
/// How many ports are looked at.
const MAX_PORT_TRIES: usize = 1_000;
/// A role that ends this often …
const MAX_RESTARTS: usize = 5;
/// … within this time is not started again.
const RESTART_WINDOW: Duration = Duration::from_secs(60);

/// The processes of a split city.
#[derive(Debug)]
pub struct Processes {
    program: PathBuf,
    folder: PathBuf,
    roles: BTreeMap<Role, Mutex<Process>>,
    http_ports: BTreeMap<Role, u16>,
}

#[derive(Debug)]
struct Process {
    configuration: PathBuf,
    log: PathBuf,
    /// Where the log of the running child begins.
    log_from: u64,
    child: Option<Child>,
    restarts: VecDeque<Instant>,
}

impl Processes {
    /// Writes certificates and configurations and starts every role.
    ///
    /// # Errors
    /// When a file can't be written or a process can't be started.
    pub async fn start(folder: &Folder, config: &Config) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find our own program")?;
        let (http_ports, grpc_ports) = free_ports()?;
        for name in ["roles", "log"] {
            std::fs::create_dir_all(folder.join(name)).with_context(|| format!("cannot create {name}"))?;
        }
        let mut roles = BTreeMap::new();
        for role in Role::ALL {
            let mut own = config.clone();
            own.tls = cert::issue(&folder.join("pki"), &[role])?;
            own.instance = format!("{role}:{}", http_ports[&role]);
            own.http.listen = format!("127.0.0.1:{}", http_ports[&role]);
            own.grpc.listen = Some(([127, 0, 0, 1], grpc_ports[&role]).into());
            own.peers = grpc_ports.iter().map(|(role, port)| (*role, format!("127.0.0.1:{port}"))).collect();
            own.peers.remove(&role);
            own.identity.trusted_proxies = 1;
            own.ioc.peers = ioc_peers(role, &http_ports)?;
            let configuration = folder.join("roles").join(format!("{role}.toml"));
            write_private(&configuration, &toml::to_string(&own)?)?;
            let log = folder.join("log").join(format!("{role}.log"));
            let process = Process { configuration, log, log_from: 0, child: None, restarts: VecDeque::new() };
            roles.insert(role, Mutex::new(process));
        }
        let processes = Self { program, folder: folder.path().to_owned(), roles, http_ports };
        for role in Role::ALL {
            processes.spawn(role).await?;
        }
        Ok(processes)
    }

    /// Where each role listens for HTTP.
    #[must_use]
    pub fn http_ports(&self) -> &BTreeMap<Role, u16> {
        &self.http_ports
    }

    /// The pid of a role, while it runs.
    pub async fn pid(&self, role: Role) -> Option<i32> {
        self.roles[&role].lock().await.child.as_ref().and_then(Child::pid)
    }

    /// Starts roles again that ended by themselves, and says so.
    ///
    /// # Errors
    /// When a role ends again and again.
    pub async fn revive(&self) -> anyhow::Result<Vec<String>> {
        let mut said = Vec::new();
        for (role, process) in &self.roles {
            let mut process = process.lock().await;
            let Some(how) = process.child.as_ref().and_then(Child::exit) else { continue };
            let now = Instant::now();
            process.restarts.retain(|at| now.duration_since(*at) < RESTART_WINDOW);
            anyhow::ensure!(
                process.restarts.len() < MAX_RESTARTS,
                "{role} ended {MAX_RESTARTS} times within {} s, last with {how}. The end of its log:\n{}",
                RESTART_WINDOW.as_secs(),
                log_end(&process.log)
            );
            process.restarts.push_back(now);
            said.push(format!("{role} ended ({how}); starting it again. Its log: {}", process.log.display()));
            self.launch(*role, &mut process)?;
        }
        Ok(said)
    }

    /// The first role that has ended and was not started again.
    pub async fn ended(&self) -> Option<Ended> {
        for (role, process) in &self.roles {
            let process = process.lock().await;
            if let Some(how) = process.child.as_ref().and_then(Child::exit) {
                let said = said_since(&process.log, process.log_from);
                return Some(Ended { role: *role, how, port_taken: says_port_taken(&said), said });
            }
        }
        None
    }

    /// Stops all roles at once and waits; one that does not stop is killed.
    pub async fn stop(&self) {
        let stopping = self.roles.iter().map(|(role, process)| async move {
            let mut process = process.lock().await;
            let Some(child) = process.child.take() else { return };
            child.signal(Signal::SIGTERM);
            if !child.ended_within(STOP_LIMIT).await {
                eprintln!("{role} did not stop within {} s and is killed", STOP_LIMIT.as_secs());
                child.signal(Signal::SIGKILL);
                child.ended_within(STOP_LIMIT).await;
            }
        });
        futures::future::join_all(stopping).await;
    }

    async fn spawn(&self, role: Role) -> anyhow::Result<()> {
        let mut process = self.roles[&role].lock().await;
        self.launch(role, &mut process)
    }

    fn launch(&self, role: Role, process: &mut Process) -> anyhow::Result<()> {
        process.log_from = process.log.metadata().map_or(0, |log| log.len());
        let arguments = ["serve", role.name(), "--config", path_text(&process.configuration)?];
        let child = Child::start(Launch {
            program: self.program.clone(),
            args: arguments.map(str::to_owned).to_vec(),
            dir: &self.folder,
            log: &process.log,
            environment: Environment::WithoutSettings,
            // Not SIGTERM: the kernel may send it more than once, and a second SIGTERM means at once.
            on_our_death: Signal::SIGHUP,
        })
        .with_context(|| format!("cannot start the role {role}"))?;
        process.child = Some(child);
        Ok(())
    }
}

/// A role that ended by itself.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Which.
    pub role: Role,
    /// How.
    pub how: String,
    /// Somebody took its port between our look and its bind.
    pub port_taken: bool,
    /// What it had logged.
    pub said: String,
}

impl std::fmt::Display for Ended {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { role, how, said, .. } = self;
        write!(formatter, "{role} ended ({how}). The end of its log:\n{said}")
    }
}

/// The end of what a child wrote into its log, which is begun anew when it is long.
fn said_since(log: &Path, from: u64) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        let start = if from <= length { from } else { 0 };
        file.seek(SeekFrom::Start(start.max(length.saturating_sub(MAX_SAID_BYTES))))?;
        let mut said = Vec::new();
        file.read_to_end(&mut said)?;
        Ok(String::from_utf8_lossy(&said).trim().to_owned())
    };
    read().unwrap_or_default()
}

/// Whether a role's log says that it could not have its port, for HTTP or for gRPC.
fn says_port_taken(said: &str) -> bool {
    said.contains(TAKEN) || said.contains("Address already in use")
}

/// The other roles, for the operations centre.
fn ioc_peers(own: Role, http_ports: &BTreeMap<Role, u16>) -> anyhow::Result<Vec<ioc::peers::Peer>> {
    let others = http_ports.iter().filter(|(role, _)| **role != own);
    others
        .map(|(role, port)| {
            let url = format!("http://127.0.0.1:{port}").parse().context("a local URL")?;
            Ok(ioc::peers::Peer { services: vec![role.name().to_owned()], url, discover: ioc::peers::Discover::Static })
        })
        .collect()
}

fn path_text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}

/// Two ports for each role, for HTTP and gRPC, all different.
fn free_ports() -> anyhow::Result<(BTreeMap<Role, u16>, BTreeMap<Role, u16>)> {
    let mut ports = BTreeSet::new();
    for port in std::iter::from_fn(free_port).take(MAX_PORT_TRIES) {
        ports.insert(port);
        if ports.len() == 2 * Role::ALL.len() {
            let mut free = ports.into_iter();
            let http = Role::ALL.into_iter().zip(&mut free).collect();
            return Ok((http, Role::ALL.into_iter().zip(&mut free).collect()));
        }
    }
    anyhow::bail!("no free ports were found")
}

#[cfg(test)]
mod tests {
    use platform::embedded::scratch::TestFolder;

    use super::*;

    #[test]
    fn a_port_that_was_taken_in_between_is_known_by_what_the_role_says() {
        let holder = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = holder.local_addr().expect("it is bound");
        let http = crate::listen::bind(&address.to_string()).expect_err("it is taken");
        assert!(says_port_taken(&format!("error: {http:#}")), "{http:#}");
        let grpc = std::net::TcpListener::bind(address).expect_err("it is taken");
        assert!(says_port_taken(&grpc.to_string()), "{grpc}");
        assert!(!says_port_taken("the database does not answer"));
    }

    #[test]
    fn an_earlier_run_is_not_read_from_the_log() {
        let folder = TestFolder::new("split").expect("a folder");
        let log = folder.path().join("role.log");
        std::fs::write(&log, "port 1 is taken by another program\n").expect("writable");
        let from = log.metadata().expect("it is there").len();
        std::fs::write(&log, "port 1 is taken by another program\nno database\n").expect("writable");
        assert_eq!(said_since(&log, from), "no database");
    }
}

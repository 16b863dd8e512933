//! The real program as a process of its own: how it is started, where it says that it runs, how it is stopped.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use platform::clock::Clock;
use platform::embedded::scratch::TestFolder;
use serde::Deserialize;
use tokio::process::{Child, Command};
use trangtien::folder::Folder;
use trangtien::up::sandbox::{self, Sandbox};
use url::Url;

use crate::city::Shape;

/// How long a city may take to start.
const START_LIMIT: Duration = Duration::from_secs(90);
/// How long it may take to stop.
const STOP_LIMIT: Duration = Duration::from_secs(45);
const POLL: Duration = Duration::from_millis(20);

/// What the program says about itself in `run.json`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct RunInfo {
    pub(crate) http: Url,
    pub(crate) sandbox: Url,
    pid: u32,
}

/// How the program is started, each time.
#[derive(Debug)]
pub(crate) struct Launch {
    pub(crate) shape: Shape,
    pub(crate) database: String,
    pub(crate) redis: String,
    /// Where it listens: `host:port`.
    pub(crate) http: String,
    /// Where an outside world listens that is not the program's own.
    pub(crate) sandbox_port: Option<u16>,
    /// Journeys of demo traffic a second.
    pub(crate) traffic: Option<u32>,
    /// Further settings, as variables.
    pub(crate) settings: Vec<(String, String)>,
}

impl Launch {
    /// Starts it; the log goes on where it ended.
    pub(crate) fn start(&self, folder: &TestFolder) -> Result<Child> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log_file(folder.path()))?;
        let mut command = Command::new(program()?);
        command
            .arg("up")
            .arg("--data-dir")
            .arg(data_folder(folder.path()))
            .arg("--city")
            .arg(city_folder())
            .args(["--http", &self.http, "--database-url", &self.database, "--redis-url", &self.redis])
            .env("TRANGTIEN_CLOCK_FILE", clock_file(folder.path()))
            // Tests look at the figures of the wall as anybody; the journey of its sign-in closes it.
            .env("TRANGTIEN_IOC__PUBLIC_WALL", "true")
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true);
        if self.shape == Shape::Split {
            command.arg("--split");
        }
        if let Some(port) = self.sandbox_port {
            command.args(["--sandbox-port", &port.to_string()]);
        }
        if let Some(per_second) = self.traffic {
            command.args(["--traffic", &per_second.to_string()]);
        }
        command.spawn().context("cannot start the program")
    }
}

/// The outside world of a city that is to be started in this folder.
pub(crate) async fn outside_of(folder: &Path) -> Result<Sandbox> {
    let data = Folder::open(&data_folder(folder))?;
    begin_clock(folder)?;
    sandbox::apart(&data, &city_folder(), Clock::following(clock_file(folder))).await
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

/// Waits until this very process says where it runs.
pub(crate) async fn announced(program: &mut Child, folder: &Path) -> Result<RunInfo> {
    let path = data_folder(folder).join("run.json");
    let deadline = Instant::now() + START_LIMIT;
    loop {
        if let Ok(text) = std::fs::read_to_string(&path) {
            let run: RunInfo = serde_json::from_str(&text).context("run.json")?;
            // One that was killed has left its own.
            if program.id() == Some(run.pid) {
                return Ok(run);
            }
        }
        let ended = program.try_wait()?;
        if ended.is_some() || Instant::now() > deadline {
            bail!("the city did not start ({ended:?}):\n{}", last_lines(&log(folder)));
        }
        tokio::time::sleep(POLL).await;
    }
}

pub(crate) async fn stop(program: &mut Child) -> Result<()> {
    let pid = program.id().context("the program has ended before it was asked to")?;
    kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGTERM)?;
    let ended = tokio::time::timeout(STOP_LIMIT, program.wait()).await.context("the program did not stop")??;
    ensure!(ended.success(), "the program ended with {ended}");
    Ok(())
}

fn city_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/city/hue")
}

pub(crate) fn data_folder(folder: &Path) -> PathBuf {
    folder.join("data")
}

fn log_file(folder: &Path) -> PathBuf {
    folder.join("log")
}

/// How far the city's clock is ahead of the machine's, in milliseconds: nothing, unless it was set before.
pub(crate) fn begin_clock(folder: &Path) -> Result<i64> {
    if !clock_file(folder).exists() {
        set_clock(folder, 0)?;
    }
    Ok(std::fs::read_to_string(clock_file(folder))?.parse()?)
}

/// Sets the city's clock so many milliseconds ahead of the machine's.
pub(crate) fn set_clock(folder: &Path, offset_ms: i64) -> Result<()> {
    let new = folder.join("clock.new");
    std::fs::write(&new, offset_ms.to_string())?;
    std::fs::rename(&new, clock_file(folder))?;
    Ok(())
}

pub(crate) fn clock_file(folder: &Path) -> PathBuf {
    folder.join("clock")
}

/// Everything that the program and its roles have logged.
pub(crate) fn log(folder: &Path) -> String {
    let roles = std::fs::read_dir(data_folder(folder).join("log")).into_iter().flatten().flatten();
    let own = std::fs::read_to_string(log_file(folder)).unwrap_or_default();
    roles.filter_map(|entry| std::fs::read_to_string(entry.path()).ok()).fold(own, |log, role| log + &role)
}

pub(crate) fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(120)..].join("\n")
}

//! One server process: started, signalled, waited for.
//!
//! Each child has a keeper thread that starts it and waits for its end. The thread lives as long as the child,
//! because the kernel's parent-death signal is sent when the *thread* that started a child ends.
//! The child's pid is signalled under a lock that the keeper takes before it reaps, so a reused pid is never hit.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Seek, SeekFrom},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, kill},
        wait::{Id, WaitPidFlag, waitid},
    },
    unistd::Pid,
};
use tokio::sync::watch;

use super::{Error, account::Account, find};

/// How much of a log is shown when a server does not start.
const MAX_LOG_SHOWN_BYTES: u64 = 2_000;
/// A log longer than this is begun anew at the next start.
const MAX_LOG_BYTES: u64 = 10 * 1024 * 1024;
/// How long an orphan of ours may take to stop when asked, and again when told.
const ORPHAN_STOP: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);

/// What to start and how.
#[derive(Debug)]
pub struct Launch<'a> {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// The working folder.
    pub dir: &'a Path,
    /// Where standard output and error are appended.
    pub log: &'a Path,
    /// What the child sees of our environment.
    pub environment: Environment,
    /// Sent by the kernel when we are gone.
    pub on_our_death: Signal,
}

/// What a child sees of our environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Environment {
    /// Only `PATH`: settings of the caller's own servers (`PGPORT`, …) must not leak in.
    Plain,
    /// All but the program's own settings (`TRANGTIEN_…`): the child has them in its file already.
    WithoutSettings,
}

/// A running, or ended, child.
#[derive(Debug)]
pub struct Child {
    pid: Arc<Mutex<Option<Pid>>>,
    exit: watch::Receiver<Option<String>>,
}

impl Child {
    /// Starts the program in a process group of its own, so that a Ctrl-C in the terminal reaches us and not it.
    ///
    /// # Errors
    /// When the program or its log can't be opened.
    pub fn start(launch: Launch<'_>) -> Result<Self, Error> {
        Self::start_as(launch, None)
    }

    /// The same, under another account.
    pub(super) fn start_as(launch: Launch<'_>, account: Option<&Account>) -> Result<Self, Error> {
        let path = launch.program.clone();
        let command = command(launch, account)?;
        let (started, wait_started) = mpsc::channel();
        let (exited, exit) = watch::channel(None);
        let pid = Arc::new(Mutex::new(None));
        let keeper_pid = Arc::clone(&pid);
        std::thread::Builder::new()
            .name("server-keeper".to_owned())
            .spawn(move || keep(command, &keeper_pid, &started, &exited))
            .map_err(Error::io("cannot start a thread for", &path))?;
        wait_started.recv().expect("the keeper thread always reports").map_err(Error::io("cannot run", &path))?;
        Ok(Self { pid, exit })
    }

    /// The process's id while it lives.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        self.pid.lock().unwrap_or_else(PoisonError::into_inner).map(Pid::as_raw)
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn exit(&self) -> Option<String> {
        self.exit.borrow().clone()
    }

    /// Sends a signal; nothing happens when the child has ended.
    pub fn signal(&self, signal: Signal) {
        let pid = self.pid.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pid) = *pid {
            // It can only fail because the child is ending, which is what every caller waits for next.
            kill(pid, signal).ok();
        }
    }

    /// Waits for the end; false when it has not come in time.
    pub async fn ended_within(&self, limit: Duration) -> bool {
        let mut exit = self.exit.clone();
        let ended = tokio::time::timeout(limit, exit.wait_for(Option::is_some)).await;
        matches!(ended, Ok(Ok(_)))
    }

    /// The same for places that cannot await, such as `drop`.
    pub(super) fn block_until_ended(&self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        while self.exit().is_none() {
            if Instant::now() >= end {
                return false;
            }
            std::thread::sleep(POLL);
        }
        true
    }
}

fn keep(
    mut command: Command,
    slot: &Mutex<Option<Pid>>,
    started: &mpsc::Sender<std::io::Result<()>>,
    exited: &watch::Sender<Option<String>>,
) {
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            started.send(Err(error)).ok();
            return;
        }
    };
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid fits in an i32"));
    *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(pid);
    started.send(Ok(())).ok();
    while waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) == Err(Errno::EINTR) {}
    let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
    *slot = None;
    let how = child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
    drop(slot);
    exited.send_replace(Some(how));
}

fn command(launch: Launch<'_>, account: Option<&Account>) -> Result<Command, Error> {
    let log = open_log(launch.log)?;
    let log_again = log.try_clone().map_err(Error::io("cannot open", launch.log))?;
    let mut command = match find::on_path("setpriv") {
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", launch.on_our_death.as_str(), "--"]).arg(&launch.program);
            command
        }
        None => Command::new(&launch.program),
    };
    command
        .args(&launch.args)
        .current_dir(launch.dir)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(log_again)
        .process_group(0);
    if launch.environment == Environment::WithoutSettings {
        let settings = std::env::vars_os().map(|(name, _)| name);
        settings.filter(|name| name.as_encoded_bytes().starts_with(b"TRANGTIEN_")).for_each(|name| {
            command.env_remove(name);
        });
    }
    if launch.environment == Environment::Plain {
        plain_environment(&mut command);
    }
    run_as(&mut command, account);
    Ok(command)
}

/// Leaves only what a server needs.
pub(super) fn plain_environment(command: &mut Command) {
    command.env_clear().env("LC_ALL", "C");
    for name in ["PATH", "LD_LIBRARY_PATH"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
}

/// Gives up root for the account; the standard library drops the supplementary groups with it.
pub(super) fn run_as(command: &mut Command, account: Option<&Account>) {
    if let Some(account) = account {
        command.uid(account.uid).gid(account.gid);
    }
}

fn open_log(path: &Path) -> Result<File, Error> {
    let too_long = path.metadata().is_ok_and(|meta| meta.len() > MAX_LOG_BYTES);
    if too_long {
        std::fs::remove_file(path).map_err(Error::io("cannot remove", path))?;
    }
    OpenOptions::new().create(true).append(true).open(path).map_err(Error::io("cannot open", path))
}

/// The end of a log, for an error message.
#[must_use]
pub fn log_end(path: &Path) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(MAX_LOG_SHOWN_BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
    };
    read().unwrap_or_default()
}

/// Stops what an earlier run of ours left behind in `dir`, of which the caller holds the lock.
///
/// Blocks until it is gone. `pid` comes from the server's own pid file. A process is touched only if it names `dir` on its command line or works in it.
pub(super) fn stop_orphan(program: &'static str, pid: i32, dir: &Path) -> Result<(), Error> {
    let pid = Pid::from_raw(pid);
    for signal in [Signal::SIGINT, Signal::SIGKILL] {
        if !works_in(pid, dir) {
            return Ok(());
        }
        tracing::warn!(
            program,
            pid = pid.as_raw(),
            signal = signal.as_str(),
            "stopping a server left by an earlier run"
        );
        kill(pid, signal).ok();
        let end = Instant::now() + ORPHAN_STOP;
        while works_in(pid, dir) && Instant::now() < end {
            std::thread::sleep(POLL);
        }
    }
    if works_in(pid, dir) { Err(Error::DidNotStop { program, seconds: 2 * ORPHAN_STOP.as_secs() }) } else { Ok(()) }
}

/// Whether the process lives and its command line or working folder names `dir`.
pub(super) fn works_in(pid: Pid, dir: &Path) -> bool {
    if pid.as_raw() <= 1 || kill(pid, None) == Err(Errno::ESRCH) {
        return false;
    }
    let process = PathBuf::from(format!("/proc/{pid}"));
    if !process.is_dir() {
        // No /proc on this system: the pid file in our locked folder is all there is to go by.
        return !Path::new("/proc/self").exists();
    }
    let wanted = dir.as_os_str().as_encoded_bytes();
    let named = std::fs::read(process.join("cmdline"))
        .is_ok_and(|line| line.split(|byte| *byte == 0).any(|word| word == wanted));
    named || std::fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd == dir)
}

//! The data folder of `trangtien up`: what lies where, the lock, the secrets.
//!
//! ```text
//! .trangtien/
//!   .trangtien-data   says that the folder is ours; the first to come and the last to go
//!   lock            held while `trangtien up` runs; its content is the pid
//!   secrets.toml    generated once, 0600: passwords of database roles, identity's keys, credentials of the sandbox
//!   run.json        while everything runs: where
//!   postgres/ redis/   the private servers
//!   pki/ roles/ log/   of `--split`: certificates, one configuration and one log per role
//! ```
//!
//! Invariant: a folder that holds something and does not say that it is ours is not used and nothing in it is removed.
//! Invariant: nothing but these names is ever removed, whatever else lies there.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use platform::config::Secret;
use platform::embedded::{Postgres, generate_secret};
use serde::{Deserialize, Serialize};

use crate::migrate::{self, Passwords};

const MARKER: &str = ".trangtien-data";
const MARKER_TEXT: &str = "`trangtien up` keeps its data in this folder; `trangtien up --remove` removes it.\n";
/// What may lie in an empty folder: our marker by another start at this moment, what a new file system brings.
const NOBODYS: [&str; 2] = [MARKER, "lost+found"];
const LOCK: &str = "lock";
const RUN: &str = "run.json";
const SECRETS: &str = "secrets.toml";
/// What the program of the demo traffic signs in with.
pub const TRAFFIC: &str = "traffic.json";
const POSTGRES: &str = "postgres";
const FOLDERS: [&str; 5] = ["redis", "pki", "roles", "log", FILES];
const FILES: &str = "files";

/// An opened data folder; the lock is held as long as it lives.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    _lock: File,
}

/// What `run.json` says while everything runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunInfo {
    /// The origin that clients see.
    pub http: String,
    /// The database, as its administrator.
    pub database_url: String,
    /// Redis.
    pub redis_url: String,
    /// The process to stop.
    pub pid: u32,
    /// The outside world.
    pub sandbox: String,
    /// The city's folder, wherever a command is called from.
    pub city: PathBuf,
}

/// What is generated once and kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Secrets {
    /// Signs the ledger's checkpoints.
    #[serde(default)]
    pub checkpoint: Secret,
    /// Passwords of the database's roles.
    pub database: Passwords,
    /// Identity's keys.
    pub identity: identity::config::Keys,
    /// What seals the keys of persons, of each role that keeps some.
    #[serde(default)]
    pub persons: Persons,
    /// What the gauges of exercises sign in with.
    #[serde(default)]
    pub sensors: Secret,
    /// What the wall is at the OpenID provider.
    #[serde(default)]
    pub wall: Option<ioc::config::SignInConfig>,
    /// Credentials shared with the sandbox.
    pub sandbox: sandbox::Config,
}

/// What seals the keys of persons: a secret for each role that keeps something of them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Persons {
    /// The wallet's.
    pub wallet: Secret,
    /// Field reports'.
    pub reports: Secret,
    /// Notifications'.
    pub notifications: Secret,
}

impl Persons {
    /// Generates those that are missing.
    fn complete(&mut self) {
        for secret in [&mut self.wallet, &mut self.reports, &mut self.notifications] {
            if secret.is_empty() {
                *secret = long_secret();
            }
        }
    }
}

impl Folder {
    /// Makes the folder when it is new and locks it.
    ///
    /// # Errors
    /// When it holds other things than ours, or another `trangtien up` uses it.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        // Others may pass through: a server of another account may keep its data below.
        let made = fs::DirBuilder::new().recursive(true).mode(0o711).create(path);
        made.with_context(|| format!("cannot create {}", path.display()))?;
        let path = path.canonicalize().with_context(|| format!("cannot open {}", path.display()))?;
        make_ours(&path)?;
        let lock_path = path.join(LOCK);
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .with_context(|| format!("cannot open {}", lock_path.display()))?;
        if lock.try_lock().is_err() {
            let mut pid = String::new();
            lock.read_to_string(&mut pid).ok();
            bail!(
                "{} is in use by another `trangtien up` (process {}); stop that one or give another --data-dir",
                path.display(),
                pid.trim()
            );
        }
        lock.set_len(0).and_then(|()| lock.rewind()).and_then(|()| write!(lock, "{}", std::process::id()))?;
        let folder = Self { path, _lock: lock };
        folder.forget_run()?;
        Ok(folder)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Something in it.
    #[must_use]
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Where the private PostgreSQL lies.
    #[must_use]
    pub fn postgres(&self) -> PathBuf {
        self.join(POSTGRES)
    }

    /// Where the private Redis lies.
    #[must_use]
    pub fn redis(&self) -> PathBuf {
        self.join("redis")
    }

    /// Where a role keeps its files, such as the photos of reports.
    #[must_use]
    pub fn files(&self, role: &str) -> PathBuf {
        self.join(FILES).join(role)
    }

    /// Removes all data, of the servers too. The lock stays.
    ///
    /// # Errors
    /// When a server still runs there or a file can't be removed.
    pub fn clear(&self) -> anyhow::Result<()> {
        Postgres::remove(&self.postgres())?;
        for folder in FOLDERS.map(|name| self.join(name)) {
            if folder.exists() {
                fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
            }
        }
        for file in [SECRETS, TRAFFIC].map(|name| self.join(name)) {
            if file.exists() {
                fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))?;
            }
        }
        self.forget_run()
    }

    /// Removes all data and, when nothing else lies in it, the folder.
    ///
    /// # Errors
    /// As [`Folder::clear`].
    pub fn remove(self) -> anyhow::Result<()> {
        self.clear()?;
        for name in [LOCK, MARKER] {
            fs::remove_file(self.join(name)).with_context(|| format!("cannot remove {name}"))?;
        }
        // Somebody else's files may lie there.
        fs::remove_dir(&self.path).ok();
        Ok(())
    }

    /// Reads the secrets; generates those that are missing.
    ///
    /// # Errors
    /// When the file can't be read or written.
    pub fn secrets(&self) -> anyhow::Result<Secrets> {
        let path = self.join(SECRETS);
        let stored = fs::read_to_string(&path);
        let known = stored.as_ref().ok().cloned();
        let mut secrets = match stored {
            Ok(text) => toml::from_str(&text).with_context(|| format!("{} is damaged", path.display()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Secrets::generate(),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        if secrets.sensors.is_empty() {
            secrets.sensors = Secret::new(generate_secret());
        }
        secrets.wall.get_or_insert_with(wall);
        if secrets.checkpoint.is_empty() {
            secrets.checkpoint = signing_key();
        }
        secrets.persons.complete();
        for login in migrate::logins() {
            secrets.database.entry(login).or_insert_with(|| Secret::new(generate_secret()));
        }
        let text = toml::to_string(&secrets)?;
        if known.as_deref() != Some(text.as_str()) {
            self.replace(SECRETS, &text)?;
        }
        Ok(secrets)
    }

    /// Says where everything runs, in one step: a reader sees the whole file or none.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn announce(&self, run: &RunInfo) -> anyhow::Result<()> {
        self.replace(RUN, &format!("{}\n", serde_json::to_string_pretty(run)?))
    }

    /// Writes a file in one step: whatever happens meanwhile, there is the old one or the new one, whole.
    fn replace(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let (path, new) = (self.join(name), self.join(&format!("{name}.new")));
        write_private(&new, text)?;
        fs::rename(&new, &path).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Removes `run.json`.
    ///
    /// # Errors
    /// When it is there and can't be removed.
    pub fn forget_run(&self) -> anyhow::Result<()> {
        match fs::remove_file(self.join(RUN)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).context("cannot remove run.json"),
            _ => Ok(()),
        }
    }
}

fn wall() -> ioc::config::SignInConfig {
    ioc::config::SignInConfig { client_id: platform::id::new(), client_secret: long_secret() }
}

impl Secrets {
    fn generate() -> Self {
        // Identity's keys are at least 32 bytes and all different.
        let key = long_secret;
        Self {
            checkpoint: signing_key(),
            database: Passwords::new(),
            identity: identity::config::Keys {
                otp_hmac: key(),
                phone_hmac: key(),
                encryption: key(),
                retired_encryption: Vec::new(),
                pin_pepper: key(),
            },
            persons: Persons::default(),
            sensors: Secret::new(generate_secret()),
            wall: Some(wall()),
            sandbox: sandbox::Config::generate().with_service_account(),
        }
    }
}

/// The secrets of a city that runs in a folder, for a command beside it.
///
/// # Errors
/// When they can't be read.
pub fn secrets_of_running(data_dir: &Path) -> anyhow::Result<Secrets> {
    let path = data_dir.join(SECRETS);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("{} is damaged", path.display()))
}

/// Marks a folder that is empty as ours.
fn make_ours(path: &Path) -> anyhow::Result<()> {
    let marker = path.join(MARKER);
    if marker.is_file() {
        return Ok(());
    }
    let mut content = fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
    if content.any(|entry| entry.map_or(true, |entry| !NOBODYS.iter().any(|name| entry.file_name() == *name))) {
        bail!(
            "{} holds files and is no data folder of `trangtien up` ({MARKER} is missing); nothing was changed. \
             Give a new or an empty folder with --data-dir",
            path.display()
        );
    }
    fs::write(&marker, MARKER_TEXT).with_context(|| format!("cannot write {}", marker.display()))
}

/// A secret of more than 32 bytes.
fn long_secret() -> Secret {
    Secret::new(format!("{}{}", generate_secret(), generate_secret()))
}

/// An Ed25519 seed: 64 hexadecimal digits, as generated secrets are made of.
fn signing_key() -> Secret {
    let mut digits = generate_secret() + &generate_secret();
    digits.truncate(64);
    Secret::new(digits)
}

/// Writes a file that only we may read.
///
/// # Errors
/// When it can't be written.
pub fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot create {}", path.display()))?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    written.with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use platform::embedded::scratch::TestFolder;

    use super::*;

    #[test]
    fn a_folder_in_use_is_refused_by_name() {
        let place = TestFolder::new("folder").expect("a folder");
        let path = place.path().join("data");
        let first = Folder::open(&path).expect("new");
        let refused = Folder::open(&path).expect_err("in use").to_string();
        assert!(refused.contains(&std::process::id().to_string()), "{refused}");
        drop(first);
        Folder::open(&path).expect("free again");
    }

    #[test]
    fn a_folder_of_somebody_else_is_left_alone() {
        let place = TestFolder::new("folder").expect("a folder");
        let log = place.path().join("log");
        fs::create_dir(&log).expect("a folder as we would make one");
        let refused = Folder::open(place.path()).expect_err("not ours").to_string();
        assert!(refused.contains("nothing was changed") && refused.contains("--data-dir"), "{refused}");
        let left: Vec<_> = fs::read_dir(place.path()).expect("it is there").flatten().collect();
        assert!(left.len() == 1 && log.is_dir(), "not even a lock was made");
        let volume = place.path().join("volume");
        fs::create_dir_all(volume.join("lost+found")).expect("a new file system");
        Folder::open(&volume).expect("as good as empty");
    }

    #[test]
    fn secrets_are_generated_once_and_others_files_stay() {
        let place = TestFolder::new("folder").expect("a folder");
        let folder = Folder::open(&place.path().join("data")).expect("new");
        let first = folder.secrets().expect("generated");
        let second = folder.secrets().expect("read");
        assert_eq!(first.database, second.database);
        assert_eq!(first.identity.pin_pepper, second.identity.pin_pepper);
        assert_eq!(first.checkpoint, second.checkpoint);
        ledger::note::Signer::try_new(first.checkpoint.expose()).expect("a key that can sign");
        fs::write(folder.join("mine.txt"), "kept").expect("writable");
        let path = folder.path().to_owned();
        folder.remove().expect("removed");
        let left: Vec<_> = fs::read_dir(&path).expect("it is there").flatten().collect();
        assert!(left.len() == 1 && path.join("mine.txt").is_file(), "{left:?}");
    }
}

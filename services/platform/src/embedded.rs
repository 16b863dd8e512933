//! Private PostgreSQL and Redis servers, started and stopped with this process.
//!
//! `trangtien up`, the load scenarios and the tests run on them, so that no server has to be installed, configured or left running.
//!
//! Invariants:
//! - A server belongs to one folder, and that folder is locked while it runs: a second start there is refused ([`Error::InUse`]).
//! - Only servers of ours are ever signalled: a process is ours if its folder is one we hold the lock of and its command line or working folder names it.
//! - Servers listen on 127.0.0.1 alone, with generated passwords kept in files of mode 0600. There are no sockets in the file system.
//! - When this process dies without a word, the kernel asks its servers to stop (`setpriv --pdeathsig`); what still runs at the next start in the same folder is stopped first.
//! - Run by root, PostgreSQL runs under an unprivileged account with its data where that account can reach it.
//!
//! | module | what it holds |
//! | --- | --- |
//! | `account` | the account and the folder a server started by root may use |
//! | `find` | the programs, and what to install when they are missing |
//! | `process` | one child process: start, signals, exit, orphans |
//! | `port` | free ports |
//! | `postgres`, `cluster`, `scram` | PostgreSQL: the server, its data, what it keeps of a password |
//! | `redis` | Redis or Valkey |
//! | [`scratch`] | databases and servers for tests |

mod account;
mod cluster;
mod find;
mod port;
mod postgres;
mod process;
mod redis;
mod scram;
pub mod scratch;

use std::path::{Path, PathBuf};

pub use self::{
    find::{OLDEST_POSTGRES, postgres_folder, redis_program},
    port::free as free_port,
    postgres::{Durability, Postgres, PostgresOptions},
    process::{Child, Environment, Launch, log_end},
    redis::{Persistence, Redis, RedisOptions},
    scram::verifier as scram_verifier,
};

/// Why a private server could not be started, stopped or reached.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program is not installed; the text says how to install it.
    #[error("{program} was not found; {advice}")]
    Missing {
        /// What was looked for.
        program: &'static str,
        /// What to do about it.
        advice: String,
    },
    /// Another process runs a server in this folder.
    #[error("{} is in use by another running process", .0.display())]
    InUse(PathBuf),
    /// Root started us and no unprivileged account was found for PostgreSQL.
    #[error(
        "PostgreSQL does not run as root and no unprivileged account was found; run as an ordinary user, or create one: useradd --system --no-create-home postgres"
    )]
    NoAccount,
    /// The data was made by another major version of PostgreSQL.
    #[error(
        "{} was made by PostgreSQL {made_by}, which is not installed; install it (apt-get install postgresql-{made_by}) or start afresh without that data",
        .folder.display()
    )]
    OtherVersion {
        /// The data folder.
        folder: PathBuf,
        /// The major version that made it.
        made_by: u32,
    },
    /// The server's password file is gone while its data is there.
    #[error("{} is missing, so its database can't be opened; restore the file or start afresh without that data", .0.display())]
    SecretMissing(PathBuf),
    /// The server ended while it was starting, or did not get ready in time.
    #[error("{program} did not start: {reason}\n{log}")]
    DidNotStart {
        /// Which server.
        program: &'static str,
        /// What happened.
        reason: String,
        /// The end of its log.
        log: String,
    },
    /// The server did not stop in time.
    #[error("{program} did not stop within {seconds} s")]
    DidNotStop {
        /// Which server.
        program: &'static str,
        /// How long we waited.
        seconds: u64,
    },
    /// An input or output error on a file or process of a server.
    #[error("{what} {}", .path.display())]
    Io {
        /// What was being done.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A statement of the set-up failed.
    #[error("{what}")]
    Database {
        /// What was being done.
        what: String,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Error {
    fn io(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::Io { what, path, source }
    }
}

/// Random letters and digits that need no quoting in a URL, a shell or SQL: 160 bits.
#[must_use]
pub fn generate_secret() -> String {
    hex::encode(rand::random::<[u8; 20]>())
}

/// Reads the secret kept in `path`, or generates it there with mode 0600.
///
/// # Errors
/// When the file can be neither read nor written.
pub fn secret_file(path: &Path) -> Result<String, Error> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    match std::fs::read_to_string(path) {
        Ok(text) if !text.trim().is_empty() => return Ok(text.trim().to_owned()),
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(Error::io("cannot read", path)(error)),
    }
    let secret = generate_secret();
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .map_err(Error::io("cannot create", path))?;
    file.write_all(secret.as_bytes()).and_then(|()| file.sync_all()).map_err(Error::io("cannot write", path))?;
    Ok(secret)
}

/// Takes the lock of a server's folder for as long as the file is kept open.
fn lock_folder(dir: &Path) -> Result<std::fs::File, Error> {
    let path = dir.join("lock");
    let file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(Error::io("cannot open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(Error::InUse(dir.to_owned())),
        Err(std::fs::TryLockError::Error(source)) => Err(Error::io("cannot lock", &path)(source)),
    }
}

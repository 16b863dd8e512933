//! The data of a private PostgreSQL: where it lies, how it is made, what runs in it.
//!
//! Layout of the folder asked for: `lock`, `superuser.secret` (0600), `postgres.log`; and of the place its account can reach
//! (the same folder unless root started us, see `account`): `data/` and `data.made-for`, which names the folder asked for.

use std::{
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{
    Error,
    account::{self, Account},
    find,
    postgres::Durability,
    process, scram, secret_file,
};

/// The superuser of a private server.
pub(super) const SUPERUSER: &str = "postgres";
/// How the server is called in messages.
pub(super) const PROGRAM: &str = "PostgreSQL";

/// A folder with the data of a server, and who may run it.
#[derive(Clone, Debug)]
pub(super) struct Cluster {
    /// `lock`, `superuser.secret` and the log lie here.
    pub(super) dir: PathBuf,
    /// `data` lies here.
    pub(super) place: PathBuf,
    pub(super) account: Option<Account>,
    pub(super) programs: PathBuf,
    pub(super) secret: String,
}

impl Cluster {
    /// Makes the folders; the secret is still empty.
    pub(super) fn find(dir: &Path) -> Result<Self, Error> {
        let account = account::for_postgres()?;
        let place = account::place(dir, account.as_ref())?;
        let dir = dir.canonicalize().map_err(Error::io("cannot resolve", dir))?;
        let programs = programs_for(&place.join("data"))?;
        Ok(Self { dir, place, account, programs, secret: String::new() })
    }

    pub(super) fn data(&self) -> PathBuf {
        self.place.join("data")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.dir.join("postgres.log")
    }

    pub(super) fn superuser_url(&self, port: u16, database: &str) -> String {
        url(port, SUPERUSER, &self.secret, database)
    }

    pub(super) fn pid_file(&self) -> PathBuf {
        self.data().join("postmaster.pid")
    }

    /// Reads the secret of an existing cluster or makes the cluster. The caller holds the folder's lock. Blocks for a second or two when it is new.
    pub(super) fn initialise(mut self, durability: Durability) -> Result<Self, Error> {
        let secret_path = self.dir.join("superuser.secret");
        let finished = self.place.join("data.made-for");
        let owner = self.dir.display().to_string();
        let made = std::fs::read_to_string(&finished).is_ok_and(|text| text == owner);
        if made && self.data().join("PG_VERSION").is_file() {
            if secret_path.is_file() {
                self.secret = secret_file(&secret_path)?;
                return Ok(self);
            }
            if self.place == self.dir {
                return Err(Error::SecretMissing(secret_path));
            }
            // The folder asked for was removed and made anew: its data elsewhere goes with it, but one copy is kept.
            self.set_aside()?;
        }
        if self.data().exists() {
            // An earlier initdb did not finish.
            std::fs::remove_dir_all(self.data()).map_err(Error::io("cannot remove", &self.data()))?;
        }
        self.secret = secret_file(&secret_path)?;
        self.run_initdb(durability)?;
        std::fs::write(&finished, owner).map_err(Error::io("cannot write", &finished))?;
        Ok(self)
    }

    fn set_aside(&self) -> Result<(), Error> {
        let aside = self.place.join("data.replaced");
        if aside.exists() {
            std::fs::remove_dir_all(&aside).map_err(Error::io("cannot remove", &aside))?;
        }
        tracing::warn!(from = %self.data().display(), to = %aside.display(), "its folder was removed; the database is set aside");
        std::fs::rename(self.data(), &aside).map_err(Error::io("cannot rename", &self.data()))
    }

    fn run_initdb(&self, durability: Durability) -> Result<(), Error> {
        let data = self.data();
        account::make_folder(&data, 0o700)?;
        account::give(&data, self.account.as_ref())?;
        let password_file = self.place.join("initdb.secret");
        // Tools that people open a lasting database with may insist on the usual strength; tests connect all the time.
        let password = match durability {
            Durability::Durable => self.secret.clone(),
            Durability::Scratch => scram::verifier(&self.secret),
        };
        write_private(&password_file, &password)?;
        account::give(&password_file, self.account.as_ref())?;
        let mut command = Command::new(self.programs.join("initdb"));
        command
            .args(["--encoding=UTF8", "--locale=C", "--auth=scram-sha-256", "--username", SUPERUSER, "--pgdata"])
            .arg(&data)
            .arg("--pwfile")
            .arg(&password_file)
            .args((durability == Durability::Scratch).then_some("--no-sync"))
            .stdin(Stdio::null())
            .current_dir(&self.place);
        process::plain_environment(&mut command);
        process::run_as(&mut command, self.account.as_ref());
        let output = command.output().map_err(Error::io("cannot run", &self.programs.join("initdb")));
        std::fs::remove_file(&password_file).map_err(Error::io("cannot remove", &password_file))?;
        let output = output?;
        if output.status.success() {
            return Ok(());
        }
        let log = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        Err(Error::DidNotStart { program: PROGRAM, reason: "initdb failed".to_owned(), log })
    }

    /// Stops what a killed run of ours left running, and removes a pid file that no server stands behind.
    pub(super) fn stop_orphan(&self) -> Result<(), Error> {
        let Some(status) = Status::read(&self.pid_file()) else { return Ok(()) };
        process::stop_orphan(PROGRAM, status.pid, &self.data())?;
        if self.pid_file().exists() {
            std::fs::remove_file(self.pid_file()).map_err(Error::io("cannot remove", &self.pid_file()))?;
        }
        Ok(())
    }

    /// The port of the server that runs in this folder and answers, if one does.
    pub(super) fn ready_port(&self) -> Option<u16> {
        let status = Status::read(&self.pid_file())?;
        let alive = process::works_in(nix::unistd::Pid::from_raw(status.pid), &self.data());
        (status.ready && alive).then_some(status.port)
    }
}

pub(super) fn url(port: u16, user: &str, password: &str, database: &str) -> String {
    format!("postgres://{user}:{password}@127.0.0.1:{port}/{database}")
}

fn programs_for(data: &Path) -> Result<PathBuf, Error> {
    let made_by = std::fs::read_to_string(data.join("PG_VERSION")).ok().and_then(|text| text.trim().parse().ok());
    match made_by {
        Some(made_by) => {
            find::postgres_folder_of(made_by).ok_or_else(|| Error::OtherVersion { folder: data.to_owned(), made_by })
        }
        None => find::postgres_folder(),
    }
}

fn write_private(path: &Path, text: &str) -> Result<(), Error> {
    use std::io::Write;
    if path.exists() {
        std::fs::remove_file(path).map_err(Error::io("cannot remove", path))?;
    }
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(Error::io("cannot create", path))?;
    file.write_all(text.as_bytes()).map_err(Error::io("cannot write", path))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
        .map_err(Error::io("cannot set the mode of", path))
}

/// What `postmaster.pid` says: pid, data folder, start time, port, socket folder, address, shared memory key, status.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Status {
    pub(super) pid: i32,
    port: u16,
    pub(super) ready: bool,
}

impl Status {
    pub(super) fn read(path: &Path) -> Option<Self> {
        Self::parse(&std::fs::read_to_string(path).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let lines: Vec<&str> = text.lines().collect();
        Some(Self {
            pid: lines.first()?.trim().parse().ok()?,
            port: lines.get(3).and_then(|line| line.trim().parse().ok()).unwrap_or(0),
            ready: lines.get(7).is_some_and(|line| line.trim() == "ready"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pid_file_says_when_the_server_is_ready() {
        let ready = "4711\n/data\n1700000000\n15432\n\n127.0.0.1\n  1234 5\nready   \n";
        assert_eq!(Status::parse(ready), Some(Status { pid: 4711, port: 15432, ready: true }));
        let starting = ready.replace("ready   ", "starting");
        assert_eq!(Status::parse(&starting), Some(Status { pid: 4711, port: 15432, ready: false }));
        assert_eq!(Status::parse(""), None);
    }
}

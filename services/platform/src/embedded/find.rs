//! Where the servers' programs are, and what to install when they are not there.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use super::Error;

/// The oldest major version of PostgreSQL that the migrations run on.
pub const OLDEST_POSTGRES: u32 = 15;

const DEBIAN_FOLDER: &str = "/usr/lib/postgresql";

/// The folder with `postgres` and `initdb`: the newest of Debian's `/usr/lib/postgresql/*/bin` and of those on `PATH`.
///
/// # Errors
/// [`Error::Missing`] when there is none of at least version [`OLDEST_POSTGRES`].
pub fn postgres_folder() -> Result<PathBuf, Error> {
    postgres_folders().into_iter().max_by_key(|(version, _)| *version).map(|(_, folder)| folder).ok_or_else(|| {
        Error::Missing {
            program: "a PostgreSQL server of version 15 or later",
            advice: advice(
                "sudo apt-get install postgresql",
                "PostgreSQL 15 or later (the server programs initdb and postgres)",
            ),
        }
    })
}

/// The folder with the programs of exactly this major version, if installed.
pub(super) fn postgres_folder_of(version: u32) -> Option<PathBuf> {
    postgres_folders().into_iter().find(|(found, _)| *found == version).map(|(_, folder)| folder)
}

/// `redis-server` or `valkey-server`, whichever is on `PATH`.
///
/// # Errors
/// [`Error::Missing`] when neither is.
pub fn redis_program() -> Result<PathBuf, Error> {
    ["redis-server", "valkey-server"].iter().find_map(|name| on_path(name)).ok_or_else(|| Error::Missing {
        program: "a Redis or Valkey server",
        advice: advice("sudo apt-get install redis-server", "Redis 7 or Valkey 7 or later"),
    })
}

/// The first program of this name on `PATH`, also in the folders of administrators that an ordinary user's `PATH` may lack.
pub(super) fn on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
}

fn postgres_folders() -> Vec<(u32, PathBuf)> {
    let debian = std::fs::read_dir(DEBIAN_FOLDER).into_iter().flatten().flatten().map(|entry| entry.path().join("bin"));
    let path = env::var_os("PATH").unwrap_or_default();
    let mut found: Vec<(u32, PathBuf)> = Vec::new();
    for folder in debian.chain(env::split_paths(&path)) {
        if !folder.join("postgres").is_file() || !folder.join("initdb").is_file() {
            continue;
        }
        if let Some(version) = version_of(&folder).filter(|version| *version >= OLDEST_POSTGRES)
            && !found.iter().any(|(known, _)| *known == version)
        {
            found.push((version, folder));
        }
    }
    found
}

/// The major version: from Debian's folder name, else by asking the program.
fn version_of(folder: &Path) -> Option<u32> {
    let by_name = folder.parent().filter(|parent| parent.starts_with(DEBIAN_FOLDER)).and_then(Path::file_name);
    if let Some(version) = by_name.and_then(|name| name.to_str()).and_then(|name| name.parse().ok()) {
        return Some(version);
    }
    let output = Command::new(folder.join("postgres")).arg("--version").output().ok()?;
    major(&String::from_utf8_lossy(&output.stdout))
}

/// `postgres (PostgreSQL) 15.18 (Debian …)` → 15; also of `16beta2`.
fn major(text: &str) -> Option<u32> {
    let number = text.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

fn advice(apt: &str, elsewhere: &str) -> String {
    if on_path("apt-get").is_some() {
        format!("install it: {apt}")
    } else {
        format!("install {elsewhere} and put it on PATH")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_from_what_the_server_prints() {
        assert_eq!(major("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"), Some(15));
        assert_eq!(major("postgres (PostgreSQL) 18beta2"), Some(18));
        assert_eq!(major("nothing"), None);
    }
}

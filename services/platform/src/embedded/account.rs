//! Which account a server started by root runs under, and where its data can be.
//!
//! PostgreSQL refuses to run as root. Started by root it runs under Debian's `postgres` account, or another unprivileged one,
//! and its data must lie where that account can go: in the folder asked for when every folder above it lets that account through,
//! else in `/var/lib/trangtien/<hash of that folder>`.

use std::{
    env,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use nix::unistd::{Uid, User};
use sha2::{Digest, Sha256};

use super::Error;

const SHARED_FOLDER: &str = "/var/lib/trangtien";

/// An unprivileged account to run a server under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// The account for PostgreSQL: `None` when we are not root and it simply runs as we do.
pub(super) fn for_postgres() -> Result<Option<Account>, Error> {
    if !Uid::effective().is_root() {
        return Ok(None);
    }
    let caller = env::var("SUDO_USER").ok();
    ["postgres", "_postgres"]
        .into_iter()
        .chain(caller.as_deref())
        .chain(["nobody"])
        .find_map(|name| User::from_name(name).ok().flatten())
        .filter(|user| !user.uid.is_root())
        .map(|user| Some(Account { uid: user.uid.as_raw(), gid: user.gid.as_raw() }))
        .ok_or(Error::NoAccount)
}

/// Makes `dir` and answers the folder in which the server may keep its data: `dir` itself, or the shared place when the account cannot reach it.
pub(super) fn place(dir: &Path, account: Option<&Account>) -> Result<PathBuf, Error> {
    make_folder(dir, if account.is_some() { 0o711 } else { 0o700 })?;
    let dir = dir.canonicalize().map_err(Error::io("cannot resolve", dir))?;
    let Some(account) = account else { return Ok(dir) };
    if dir.ancestors().all(|folder| lets_through(folder, account)) {
        return Ok(dir);
    }
    let hash = hex::encode(&Sha256::digest(dir.as_os_str().as_encoded_bytes())[..8]);
    let shared = Path::new(SHARED_FOLDER);
    make_folder(shared, 0o755)?;
    let place = shared.join(hash);
    make_folder(&place, 0o711)?;
    Ok(place)
}

/// Makes a folder with all above it. Those that exist keep their mode.
pub(super) fn make_folder(dir: &Path, mode: u32) -> Result<(), Error> {
    if dir.is_dir() {
        return Ok(());
    }
    std::fs::DirBuilder::new().recursive(true).mode(mode).create(dir).map_err(Error::io("cannot create", dir))?;
    // The process's umask may have taken the right to pass through away.
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(mode))
        .map_err(Error::io("cannot set the mode of", dir))
}

/// Gives a file or folder to the account.
pub(super) fn give(path: &Path, account: Option<&Account>) -> Result<(), Error> {
    match account {
        Some(account) => std::os::unix::fs::chown(path, Some(account.uid), Some(account.gid))
            .map_err(Error::io("cannot change the owner of", path)),
        None => Ok(()),
    }
}

fn lets_through(folder: &Path, account: &Account) -> bool {
    let Ok(meta) = folder.metadata() else { return false };
    let execute = if meta.uid() == account.uid {
        0o100
    } else if meta.gid() == account.gid {
        0o010
    } else {
        0o001
    };
    meta.mode() & execute != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::scratch::TestFolder;

    #[test]
    fn a_private_folder_does_not_let_a_stranger_through() {
        let outer = TestFolder::new("account").expect("a folder");
        let folder = outer.path().join("private");
        make_folder(&folder, 0o700).expect("the folder is writable");
        let stranger = Account { uid: 4_242_424, gid: 4_242_424 };
        assert!(!lets_through(&folder, &stranger));
        let owner = folder.metadata().expect("it was just made").uid();
        assert!(lets_through(&folder, &Account { uid: owner, gid: 4_242_424 }));
    }
}

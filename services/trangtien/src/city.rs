//! `trangtien city check DIR`: whether a city's folder can be run, with file and line of every fault.

use std::path::Path;

use anyhow::{bail, ensure};
use platform::dataset::Fault;

/// Prints every fault that any role finds.
///
/// # Errors
/// When there is one.
pub fn check(dir: &Path) -> anyhow::Result<()> {
    ensure!(dir.is_dir(), "there is no folder {}", dir.display());
    let faults = faults(dir);
    if faults.is_empty() {
        println!("{}: no fault found", dir.display());
        return Ok(());
    }
    for fault in &faults {
        println!("{fault}");
    }
    match faults.len() {
        1 => bail!("1 fault"),
        count => bail!("{count} faults"),
    }
}

/// What all roles find, each fault once, by file and line.
fn faults(dir: &Path) -> Vec<Fault> {
    let checks = [
        identity::check_city,
        wallet::check_city,
        reports::check_city,
        notifications::check_city,
        ioc::check_city,
        sandbox::check_city,
    ];
    let mut faults: Vec<Fault> = checks.into_iter().flat_map(|check| check(dir)).collect();
    faults.sort_by(|one, other| (&one.file, one.line, &one.message).cmp(&(&other.file, other.line, &other.message)));
    faults.dedup_by(|one, other| (&one.file, one.line, &one.message) == (&other.file, other.line, &other.message));
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_citys_own_folder_has_no_fault() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/city/hue");
        assert_eq!(faults(&dir).iter().map(ToString::to_string).collect::<Vec<_>>(), Vec::<String>::new());
    }

    #[test]
    fn an_empty_folder_is_no_city() {
        let folder = platform::embedded::scratch::TestFolder::new("city").expect("a folder");
        assert!(check(folder.path()).is_err());
    }
}

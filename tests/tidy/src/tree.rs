//! The files of the checkout: everything that people write, nothing that tools make.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// Folders that hold what tools make.
const SKIPPED: [&str; 7] = [".git", ".svelte-kit", ".sqlx", "dist", "node_modules", "output", "target"];
/// Files that hold what tools make.
const GENERATED: [&str; 2] = ["Cargo.lock", "package-lock.json"];
/// The largest text file that rules look at, in bytes; data of a city may be larger.
const MAX_BYTES: u64 = 8 * 1024 * 1024;

/// One text file.
#[derive(Clone, Debug)]
pub struct File {
    /// Its path from the root of the checkout, with `/` between the parts.
    pub path: String,
    /// Its content.
    pub text: String,
}

impl File {
    /// Whether the path ends in this extension, given without the dot.
    pub fn is(&self, extension: &str) -> bool {
        self.path.rsplit_once('.').is_some_and(|(_, end)| end == extension)
    }
}

/// The root of the checkout.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every text file of the checkout, sorted by path; binary files are left out.
pub fn files(root: &Path) -> Result<Vec<File>> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
            let entry = entry?;
            let (kind, path) = (entry.file_type()?, entry.path());
            let name = entry.file_name().to_string_lossy().into_owned();
            if kind.is_dir() && !SKIPPED.contains(&name.as_str()) && !name.starts_with(".trangtien") {
                folders.push(path);
            } else if kind.is_file() && !GENERATED.contains(&name.as_str()) && entry.metadata()?.len() <= MAX_BYTES {
                let Ok(text) = String::from_utf8(fs::read(&path)?) else { continue };
                let path = path.strip_prefix(root)?.to_string_lossy().replace('\\', "/");
                files.push(File { path, text });
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

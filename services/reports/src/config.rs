//! The role's settings.

use std::path::PathBuf;

use platform::person::PersonConfig;
use serde::{Deserialize, Serialize};

/// Settings of the reports role.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The folder in which photos are kept; made when the first one is stored. All processes of the role share it.
    pub files: PathBuf,
    /// Photos that one process decodes at a time; each takes up to 144 MiB.
    pub photos_at_once: usize,
    /// What seals the keys of citizens.
    pub persons: PersonConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self { files: PathBuf::from("files/reports"), photos_at_once: 2, persons: PersonConfig::default() }
    }
}

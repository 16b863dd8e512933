//! Which database a command works on: the one of a configuration, or that of the city that runs in the data folder.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use platform::config::Secret;
use platform::db::{self, DatabaseSettings};
use sqlx::PgPool;

use crate::config::Config;
use crate::embedded;
use crate::folder::{self, RunInfo};
use crate::role::Role;

/// How a command finds its database.
#[derive(Clone, Debug, clap::Args)]
pub struct Place {
    /// Configuration file of the city; without it the city that runs in --data-dir.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Data folder of a running `trangtien up`.
    #[arg(long, value_name = "DIR", default_value = ".trangtien")]
    data_dir: PathBuf,
}

impl Place {
    /// The city that runs in a data folder.
    #[must_use]
    pub fn running_in(data_dir: &Path) -> Self {
        Self { config: None, data_dir: data_dir.to_owned() }
    }

    /// A pool for a role's schema: as the role when a configuration is given, else as the running city's administrator.
    ///
    /// # Errors
    /// When neither is there.
    pub fn pool(&self, role: Role) -> anyhow::Result<PgPool> {
        let settings = match &self.config {
            Some(file) => Config::load(Some(file))?.database.of(role).clone(),
            None => {
                let url = Secret::new(running(&self.data_dir)?.database_url);
                DatabaseSettings { url, ..DatabaseSettings::default() }
            }
        };
        anyhow::ensure!(!settings.url.is_empty(), "`database.{role}.url` is not set");
        db::pool(&settings, "trangtien command").context("the database URL is not valid")
    }

    /// The settings of the city: the file's, or what the running city has in its data folder.
    ///
    /// # Errors
    /// When the file can't be read, or no city runs there.
    pub fn config(&self) -> anyhow::Result<Config> {
        if let Some(file) = &self.config {
            return Config::load(Some(file));
        }
        let (run, secrets) = (running(&self.data_dir)?, folder::secrets_of_running(&self.data_dir)?);
        let mut config = Config::load(None)?;
        config.city = run.city;
        config.public_url = run.http.parse().context("the city's URL")?;
        config.redis_url = Secret::new(run.redis_url);
        config.database = embedded::databases(&Secret::new(run.database_url), &secrets.database)?;
        config.identity.keys = secrets.identity;
        config.ioc.sign_in = secrets.wall;
        Ok(config)
    }
}

/// What a running city says of itself.
///
/// # Errors
/// When none runs there.
pub fn running(data_dir: &Path) -> anyhow::Result<RunInfo> {
    let path = data_dir.join("run.json");
    let text = std::fs::read_to_string(&path).with_context(|| {
        format!(
            "no city runs in {} (there is no {}); start one with `trangtien up`",
            data_dir.display(),
            path.display()
        )
    })?;
    serde_json::from_str(&text).with_context(|| format!("{} is damaged", path.display()))
}

//! The command line: what can be asked for, and who does it.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use platform::config::Secret;
use platform::telemetry::{self, TelemetrySettings};
use url::Url;

use crate::config::Config;
use crate::embedded::Existing;
use crate::folder::Folder;
use crate::role::Role;
use crate::up::{self, Options, Shape};
use crate::{admin, cert, city, ledger, migrate, run, serve, walkthrough};

/// The backend of a city's app: identity, wallet, field reports, notifications, operations centre.
#[derive(Clone, Debug, Parser)]
#[command(name = "trangtien", version, disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Runs a whole city on this machine: private servers, sandbox, all roles.
    Up(Up),
    /// Serves roles in production.
    Serve {
        /// The roles of this process.
        #[arg(required = true, value_enum)]
        roles: Vec<Role>,
        /// Configuration file; `TRANGTIEN_…` variables go over it.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Brings every schema up to date.
    Migrate {
        /// Configuration file; `TRANGTIEN_…` variables go over it.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Looks at the configuration.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Looks at a city's folder.
    City {
        #[command(subcommand)]
        command: CityCommand,
    },
    /// The books, checked and exported.
    Ledger {
        #[command(subcommand)]
        command: ledger::Command,
    },
    /// What an operator does by hand.
    Admin {
        #[command(subcommand)]
        command: admin::Command,
    },
    /// Certificates for calls between processes.
    Cert {
        #[command(subcommand)]
        command: CertCommand,
    },
    /// Does the city's main job as its people would, over public HTTP, and prints each step with what came back.
    Walkthrough {
        /// The city's origin; without it the city that runs in --data-dir.
        #[arg(long)]
        url: Option<Url>,
        /// Data folder of a running `trangtien up`.
        #[arg(long, value_name = "DIR", default_value = ".trangtien")]
        data_dir: PathBuf,
        /// What is played.
        #[arg(long, value_enum, default_value = "day")]
        scenario: walkthrough::Scenario,
        /// How many seconds a day of the flood takes; 0 plays it as fast as the city answers.
        #[arg(long, value_name = "N", default_value = "60", value_parser = clap::value_parser!(u64).range(..=3_600))]
        day_seconds: u64,
    },
    /// Prints the description of the whole API (OpenAPI).
    Openapi,
}

#[derive(Clone, Debug, clap::Args)]
struct Up {
    /// Where everything is kept.
    #[arg(long, value_name = "DIR", default_value = ".trangtien")]
    data_dir: PathBuf,
    /// The city's folder.
    #[arg(long, value_name = "DIR", default_value = "deploy/city/hue")]
    city: PathBuf,
    /// Where to listen [default: localhost:8080, or the next free port]
    #[arg(long, value_name = "HOST:PORT")]
    http: Option<String>,
    /// One process per role, mutual TLS between them.
    #[arg(long)]
    split: bool,
    /// Removes the data folder's content first.
    #[arg(long)]
    fresh: bool,
    /// Removes the data folder and ends.
    #[arg(long, conflicts_with_all = ["fresh", "split", "http"])]
    remove: bool,
    /// Demo traffic: so many payments a second.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(up::traffic::MAX_RATE)))]
    traffic: Option<u32>,
    /// An existing database instead of a private server; the login must be able to create roles.
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,
    /// An existing Redis instead of a private server.
    #[arg(long, value_name = "URL")]
    redis_url: Option<String>,
    /// A sandbox that listens on this port of this machine already, with the credentials of the data folder: it outlives the city.
    #[arg(long, value_name = "PORT", hide = true)]
    sandbox_port: Option<u16>,
}

#[derive(Clone, Debug, Subcommand)]
enum ConfigCommand {
    /// Says whether a process could play these roles (all when none is named) with this configuration.
    Check {
        /// The roles of the process.
        #[arg(value_enum)]
        roles: Vec<Role>,
        /// Configuration file; `TRANGTIEN_…` variables go over it.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

#[derive(Clone, Debug, Subcommand)]
enum CityCommand {
    /// Names file and line of every fault.
    Check {
        /// The city's folder.
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },
}

#[derive(Clone, Debug, Subcommand)]
enum CertCommand {
    /// Issues a certificate for a process, by a development authority that is made when it is not there.
    Issue {
        /// The roles that the process plays.
        #[arg(required = true, value_enum)]
        roles: Vec<Role>,
        /// Where the authority and the certificates lie.
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
    },
}

impl Cli {
    /// Does what was asked for.
    ///
    /// # Errors
    /// Whatever went wrong, for the person at the terminal.
    pub async fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Up(options) => up(options).await,
            Command::Serve { roles, config } => serve::run(roles, config.as_deref()).await,
            Command::Migrate { config } => migrate::run(&Config::load(config.as_deref())?).await,
            Command::Config { command: ConfigCommand::Check { roles, config } } => {
                serve::check(roles, config.as_deref())
            }
            Command::City { command: CityCommand::Check { dir } } => city::check(&dir),
            Command::Ledger { command } => ledger::run(command).await,
            Command::Admin { command } => {
                let _telemetry = telemetry::init(&TelemetrySettings::default(), "admin")?;
                admin::run(command).await
            }
            Command::Cert { command: CertCommand::Issue { roles, dir } } => {
                let files = cert::issue(&dir, &roles)?;
                println!(
                    "ca = {:?}\ncertificate = {:?}\nkey = {:?}",
                    files.ca.display().to_string(),
                    files.certificate.display().to_string(),
                    files.key.display().to_string()
                );
                Ok(())
            }
            Command::Walkthrough { url, data_dir, scenario, day_seconds } => {
                let day = std::time::Duration::from_secs(day_seconds);
                walkthrough::run(url, &data_dir, (scenario, day)).await
            }
            Command::Openapi => {
                println!("{}", serde_json::to_string_pretty(&run::document(up::settings::for_description()?).await?)?);
                Ok(())
            }
        }
    }
}

/// An error and its causes in one line; a cause that the line before already told is left out.
#[must_use]
pub fn explain(error: &anyhow::Error) -> String {
    let mut told: Vec<String> = Vec::new();
    for cause in error.chain().map(ToString::to_string) {
        if !told.iter().any(|before| before.contains(&cause)) {
            told.push(cause);
        }
    }
    told.join(": ")
}

async fn up(asked: Up) -> anyhow::Result<()> {
    if asked.remove {
        return Folder::open(&asked.data_dir)?.remove();
    }
    if asked.fresh {
        Folder::open(&asked.data_dir)?.clear().context("cannot start afresh")?;
    }
    let _telemetry = telemetry::init(&Config::load(None)?.telemetry_of_up(), "up")?;
    up::run(Options {
        data_dir: asked.data_dir,
        city: asked.city,
        http: asked.http,
        shape: if asked.split { Shape::Split } else { Shape::AllInOne },
        existing: Existing {
            database_url: asked.database_url.map(Secret::new),
            redis_url: asked.redis_url.map(Secret::new),
        },
        sandbox_port: asked.sandbox_port,
        traffic: asked.traffic,
    })
    .await
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let error = anyhow::anyhow!("no route").context("cannot connect: no route").context("cannot start");
        assert_eq!(explain(&error), "cannot start: cannot connect: no route");
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}

//! `cargo run --release -p load -- SCENARIOS`: how fast it is, on this machine, beside something known.
//!
//! Each command starts its own private servers with the durability of production, prints a table and, with `--json FILE`, writes the same as rows.
//!
//! | module | what lives there |
//! | --- | --- |
//! | `ledger` | postings beside a row-lock function and a bare insert |
//! | `pay` | payments over HTTP beside the same request without effect |
//! | `reports` | field reports over HTTP from their submission to their rating |
//! | `ioc` | events from a service's outbox to open walls |
//! | `identity` | refreshing, introspection, the local check of tokens, PINs |
//! | `place` | which place of a list is picked |
//! | `report` | latencies, the table, the JSON rows, the machine |
//! | `stack` | private servers |
//! | `city`, `connection` | a whole city in this process; one connection to it |
//! | `relay`, `memory` | how far events are behind; how much memory was taken |
//! | `drive` | callers that ask again and again for a while |

#[cfg(feature = "city")]
mod city;
#[cfg(feature = "city")]
mod connection;
mod drive;
#[cfg(feature = "city")]
mod identity;
#[cfg(feature = "city")]
mod ioc;
mod ledger;
#[cfg(feature = "city")]
mod memory;
#[cfg(feature = "city")]
mod pay;
mod place;
#[cfg(feature = "city")]
mod relay;
mod report;
#[cfg(feature = "city")]
mod reports;
mod stack;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use mimalloc::MiMalloc;

/// As in the program itself.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Load scenarios against a private stack.
#[derive(Debug, Parser)]
#[command(name = "load")]
struct Command {
    #[command(subcommand)]
    scenarios: Scenarios,
}

#[derive(Debug, Subcommand)]
enum Scenarios {
    /// Postings to the ledger.
    Ledger {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        options: ledger::Options,
    },
    /// Payments over HTTP.
    #[cfg(feature = "city")]
    Pay {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        options: pay::Options,
    },
    /// Field reports over HTTP, from submission to rating.
    #[cfg(feature = "city")]
    Reports {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        options: reports::Options,
    },
    /// Events from a service's outbox to open walls.
    #[cfg(feature = "city")]
    Ioc {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        options: ioc::Options,
    },
    /// Refreshing, introspection, the local check of tokens, PINs.
    #[cfg(feature = "city")]
    Identity {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        options: identity::Options,
    },
}

/// What all scenarios take.
#[derive(Clone, Debug, Args)]
struct Common {
    /// Ends within a minute: fewer and shorter measurements.
    #[arg(long)]
    quick: bool,
    /// Writes the rows to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Command::parse().scenarios {
        Scenarios::Ledger { common, options } => {
            let report = ledger::run(common.quick, &options).await?;
            report.finish(common.json.as_deref())
        }
        #[cfg(feature = "city")]
        Scenarios::Pay { common, options } => pay::run(common.quick, &options).await?.finish(common.json.as_deref()),
        #[cfg(feature = "city")]
        Scenarios::Reports { common, options } => {
            reports::run(common.quick, &options).await?.finish(common.json.as_deref())
        }
        #[cfg(feature = "city")]
        Scenarios::Ioc { common, options } => ioc::run(common.quick, &options).await?.finish(common.json.as_deref()),
        #[cfg(feature = "city")]
        Scenarios::Identity { common, options } => {
            identity::run(common.quick, &options).await?.finish(common.json.as_deref())
        }
    }
}

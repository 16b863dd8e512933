//! `cargo run --release -p load -- SCENARIOS`: how fast it is, on this machine, beside something known.
//!
//! Each command starts its own private servers with the durability of production, prints a table and, with `--json FILE`, writes the same as rows.
//!
//! | module | what lives there |
//! | --- | --- |
//! | `ledger` | postings beside a row-lock function and a bare insert |
//! | `pay` | payments over HTTP beside the same request without effect |
//! | `place` | which place of a list is picked |
//! | `report` | latencies, the table, the JSON rows, the machine |
//! | `stack` | private servers |
//! | `drive` | callers that ask again and again for a while |

mod drive;
mod ledger;
#[cfg(feature = "pay")]
mod pay;
mod place;
mod report;
mod stack;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

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
    #[cfg(feature = "pay")]
    Pay {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        options: pay::Options,
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
        #[cfg(feature = "pay")]
        Scenarios::Pay { common, options } => {
            let measured = pay::run(common.quick, &options).await?;
            measured.report.finish(common.json.as_deref())?;
            measured.order
        }
    }
}

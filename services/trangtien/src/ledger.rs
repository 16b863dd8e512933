//! `trangtien ledger …`: the books, checked and exported. Reads only, in short transactions, while payments go on.

use std::os::fd::AsFd as _;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use chrono::FixedOffset;
use ledger::Currency;
use ledger::book::{self, export};
use ledger::checkpoint;
use ledger::limit::Calendar;
use ledger::verify::{self, Options};
use tokio::io::AsyncWriteExt as _;

use crate::database::Place;
use crate::receipt;
use crate::role::Role;

/// Works on the ledger.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// Recomputes every hash, chain and balance, and names the first block that does not hold. With --receipt checks one receipt, without any city.
    Verify {
        /// Which city.
        #[command(flatten)]
        place: Place,
        /// A receipt, as it was fetched.
        #[arg(long, value_name = "FILE", conflicts_with = "config")]
        receipt: Option<PathBuf>,
        /// The public key that the city publishes, from a source that you trust.
        #[arg(long, value_name = "PUBLIC", requires = "receipt")]
        key: Option<String>,
        /// The zone in whose days and months limits are counted: the city's.
        #[arg(long, default_value = "Asia/Ho_Chi_Minh", value_name = "ZONE")]
        zone: chrono_tz::Tz,
    },
    /// Totals by kind of account; debits equal credits.
    TrialBalance {
        /// Which city.
        #[command(flatten)]
        place: Place,
    },
    /// Writes the journal for other accounting tools.
    Export {
        /// Which city.
        #[command(flatten)]
        place: Place,
        /// The format.
        #[arg(long, value_enum)]
        format: Format,
        /// Where to write; standard output when not given.
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// The zone whose days are the dates of the books.
        #[arg(long, default_value = "+07:00", value_name = "OFFSET")]
        zone: FixedOffset,
    },
}

/// Formats of an export.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Format {
    /// hledger's journal format.
    Hledger,
    /// One line per transfer.
    Csv,
}

/// Does it.
///
/// # Errors
/// When the books do not hold or can't be read.
pub async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Verify { receipt: Some(file), key, .. } => receipt::check(&file, key.as_deref()).await,
        Command::Verify { place, zone, .. } => verify(&place, Calendar::new(zone)).await,
        Command::TrialBalance { place } => trial_balance(&place).await,
        Command::Export { place, format, output, zone } => {
            let format = match format {
                Format::Hledger => export::Format::Hledger,
                Format::Csv => export::Format::Csv,
            };
            export_to(&place, export::Export { format, zone }, output).await
        }
    }
}

async fn verify(place: &Place, calendar: Calendar) -> anyhow::Result<()> {
    let pool = place.pool(Role::Wallet)?;
    let report =
        verify::verify(&pool, Options { calendar, ..Options::default() }).await.context("the ledger can't be read")?;
    for shard in &report.shards {
        println!(
            "shard {}: {} blocks, {} transfers, {} accounts verified, up to {}",
            shard.shard,
            shard.blocks,
            shard.transfers,
            shard.accounts,
            shard.up_to.to_rfc3339()
        );
        for finding in &shard.findings {
            println!("  {finding}");
        }
    }
    if let Some(first) = report.first() {
        bail!("the ledger does not hold: {first}");
    }
    let signed = checkpoint::audit::verify(&pool).await.context("the checkpoints can't be read")?;
    println!("{} signed checkpoints verified", signed.checkpoints);
    if let Some(fault) = signed.fault {
        bail!("the ledger does not hold: {fault}");
    }
    println!("the ledger holds");
    Ok(())
}

async fn trial_balance(place: &Place) -> anyhow::Result<()> {
    let pool = place.pool(Role::Wallet)?;
    let balance = book::trial_balance(&pool).await.context("the ledger can't be read")?;
    println!("{:<32} {:>4} {:>10} {:>20} {:>20} {:>20}", "kind", "", "accounts", "debit", "credit", "held");
    for row in &balance.rows {
        println!(
            "{:<32} {:>4} {:>10} {:>20} {:>20} {:>20}",
            row.kind, row.currency, row.accounts, row.debit, row.credit, row.held
        );
    }
    for currency in Currency::ALL {
        let (debit, credit) = balance.sums(currency);
        println!("{:<32} {:>4} {:>10} {debit:>20} {credit:>20}", "total", currency, "");
    }
    if balance.is_balanced() { Ok(()) } else { bail!("debits and credits differ") }
}

async fn export_to(place: &Place, export: export::Export, output: Option<PathBuf>) -> anyhow::Result<()> {
    let pool = place.pool(Role::Wallet)?;
    let mut out = match &output {
        Some(path) => {
            tokio::fs::File::create(path).await.with_context(|| format!("cannot create {}", path.display()))?
        }
        None => {
            tokio::fs::File::from_std(std::io::stdout().as_fd().try_clone_to_owned().context("standard output")?.into())
        }
    };
    let written = export::write(&pool, export, &mut out).await?;
    out.flush().await.context("the export can't be written")?;
    eprintln!("{written} transfers");
    Ok(())
}

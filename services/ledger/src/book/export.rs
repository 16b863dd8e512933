//! The journal in formats that other accounting tools read, streamed page by page.
//!
//! Amounts keep the ledger's sign: what an account receives is above zero, what leaves it below; so that hledger's balances are the ledger's.

use chrono::FixedOffset;
use sqlx::PgPool;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use crate::journal::{self, JournalRow, MAX_ROWS};
use crate::sql::books;

/// The format of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// hledger's (and Ledger's) journal format, with a balance assertion on every posting.
    Hledger,
    /// One line per transfer, with a header line (RFC 4180).
    Csv,
}

/// What to export.
#[derive(Clone, Copy, Debug)]
pub struct Export {
    /// The format.
    pub format: Format,
    /// The zone whose days are the dates of the books.
    pub zone: FixedOffset,
}

/// Why an export stopped.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The database can't be read.
    #[error("the journal can't be read")]
    Database(#[from] sqlx::Error),
    /// The output can't be written.
    #[error("the export can't be written")]
    Output(#[from] std::io::Error),
}

/// Writes all transfers there are when it starts, shard by shard, oldest first. Gives how many there were.
///
/// # Errors
/// When the journal can't be read or the output can't be written.
pub async fn write(pool: &PgPool, export: Export, out: &mut (impl AsyncWrite + Unpin)) -> Result<u64, ExportError> {
    let mut written = 0;
    out.write_all(header(export.format).as_bytes()).await?;
    for shard in books::shards(pool).await? {
        let last = journal::last_sequence(pool, shard).await?;
        let mut after = 0;
        while after < last {
            let mut page = journal::read(pool, shard, after, MAX_ROWS).await?;
            page.retain(|row| row.sequence <= last);
            let Some(end) = page.last() else { break };
            after = end.sequence;
            let mut text = String::new();
            page.iter().for_each(|row| add(&mut text, row, export));
            out.write_all(text.as_bytes()).await?;
            written += page.len() as u64;
        }
    }
    out.flush().await?;
    Ok(written)
}

fn header(format: Format) -> &'static str {
    match format {
        Format::Hledger => {
            "; Exported by the ledger. Amounts are credits less debits.\ncommodity 1000. VND\ncommodity 1000.00 USD\n"
        }
        Format::Csv => {
            "sequence,posted_at,block,transfer,kind,debit_kind,debit_account,credit_kind,credit_account,amount,currency,debit_balance,credit_balance,reference\r\n"
        }
    }
}

fn add(text: &mut String, row: &JournalRow, export: Export) {
    let entry = match export.format {
        Format::Hledger => hledger(row, export.zone),
        Format::Csv => csv(row, export.zone),
    };
    text.push_str(&entry);
}

fn hledger(row: &JournalRow, zone: FixedOffset) -> String {
    let at = row.posted_at.with_timezone(&zone);
    let (debit, credit) = (&row.debit, &row.credit);
    format!(
        "\n{date} ({shard}/{sequence}) {kind}\n    ; transfer:{transfer}, reference:{reference}, block:{block}, posted:{posted}\n    \
         {debit_kind}:{debit_account}  -{amount} = {debit_balance}\n    {credit_kind}:{credit_account}  {amount} = {credit_balance}\n",
        date = at.format("%Y-%m-%d"),
        shard = row.shard,
        sequence = row.sequence,
        kind = row.kind_name,
        transfer = row.transfer,
        reference = row.reference,
        block = row.block,
        posted = at.to_rfc3339(),
        debit_kind = debit.kind_name,
        debit_account = debit.account,
        amount = row.amount,
        debit_balance = debit.balance,
        credit_kind = credit.kind_name,
        credit_account = credit.account,
        credit_balance = credit.balance,
    )
}

/// Every field is digits, letters and plain signs, so that none needs quotes.
fn csv(row: &JournalRow, zone: FixedOffset) -> String {
    let fields = [
        row.sequence.to_string(),
        row.posted_at.with_timezone(&zone).to_rfc3339(),
        row.block.to_string(),
        row.transfer.to_string(),
        row.kind_name.clone(),
        row.debit.kind_name.clone(),
        row.debit.account.to_string(),
        row.credit.kind_name.clone(),
        row.credit.account.to_string(),
        row.amount.amount().to_string(),
        row.amount.currency().to_string(),
        row.debit.balance.amount().to_string(),
        row.credit.balance.amount().to_string(),
        row.reference.to_string(),
    ];
    fields.join(",") + "\r\n"
}

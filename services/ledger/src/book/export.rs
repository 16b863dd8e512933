//! The journal in formats that other accounting tools read, streamed page by page.
//!
//! Amounts keep the ledger's sign: what an account receives is above zero, what leaves it below; so that hledger's balances are the ledger's.

use std::collections::HashMap;

use chrono::FixedOffset;
use sqlx::PgPool;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use crate::account::AccountId;
use crate::journal::{self, JournalRow, MAX_ROWS, Party, Side};
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
            let text = told(&page, &Names::of(pool, shard, &page).await?, export);
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

/// What accounts and transfers of a page are called.
struct Names {
    kinds: HashMap<i16, String>,
    parties: HashMap<AccountId, Party>,
}

impl Names {
    async fn of(pool: &PgPool, shard: i16, page: &[JournalRow]) -> Result<Self, sqlx::Error> {
        let mut accounts: Vec<AccountId> =
            page.iter().flat_map(|row| [row.debit.account, row.credit.account]).collect();
        accounts.sort_unstable();
        accounts.dedup();
        let kinds = books::transfer_kinds(pool, shard).await?.into_iter().collect();
        Ok(Self { kinds, parties: journal::parties(pool, &accounts).await? })
    }

    fn kind(&self, row: &JournalRow) -> &str {
        self.kinds.get(&row.kind).map_or("", String::as_str)
    }

    fn account(&self, side: &Side) -> &str {
        self.parties.get(&side.account).map_or("", |party| &party.kind_name)
    }
}

fn told(page: &[JournalRow], names: &Names, export: Export) -> String {
    let told = |row| match export.format {
        Format::Hledger => hledger(row, names, export.zone),
        Format::Csv => csv(row, names, export.zone),
    };
    page.iter().map(told).collect()
}

fn hledger(row: &JournalRow, names: &Names, zone: FixedOffset) -> String {
    let at = row.posted_at.with_timezone(&zone);
    let (debit, credit) = (&row.debit, &row.credit);
    format!(
        "\n{date} ({shard}/{sequence}) {kind}\n    ; transfer:{transfer}, reference:{reference}, block:{block}, posted:{posted}\n    \
         {debit_kind}:{debit_account}  -{amount} = {debit_balance}\n    {credit_kind}:{credit_account}  {amount} = {credit_balance}\n",
        date = at.format("%Y-%m-%d"),
        shard = row.shard,
        sequence = row.sequence,
        kind = names.kind(row),
        transfer = row.transfer,
        reference = row.reference,
        block = row.block,
        posted = at.to_rfc3339(),
        debit_kind = names.account(debit),
        debit_account = debit.account,
        amount = row.amount,
        debit_balance = debit.balance,
        credit_kind = names.account(credit),
        credit_account = credit.account,
        credit_balance = credit.balance,
    )
}

/// Every field is digits, letters and plain signs, so that none needs quotes.
fn csv(row: &JournalRow, names: &Names, zone: FixedOffset) -> String {
    let fields = [
        row.sequence.to_string(),
        row.posted_at.with_timezone(&zone).to_rfc3339(),
        row.block.to_string(),
        row.transfer.to_string(),
        names.kind(row).to_owned(),
        names.account(&row.debit).to_owned(),
        row.debit.account.to_string(),
        names.account(&row.credit).to_owned(),
        row.credit.account.to_string(),
        row.amount.amount().to_string(),
        row.amount.currency().to_string(),
        row.debit.balance.amount().to_string(),
        row.credit.balance.amount().to_string(),
        row.reference.to_string(),
    ];
    fields.join(",") + "\r\n"
}

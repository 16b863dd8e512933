//! Recomputes the books from history and names the first block that does not hold.
//!
//! What is recomputed: the leaf of every transfer and record, both roots and the hash of every block, the chain, gap-free sequences, both balances on every transfer, keys, refunds, and then every account's balance, holds, freeze, floor and usage.
//!
//! Memory is constant: history is read in windows of blocks, of which a few are under way at a time, and balances are kept for at most [`Options::accounts_per_pass`] accounts; past that, history is walked again for the next share of accounts.
//! Reading, hashing and following balances go on beside one another (see `window`).
//! Transactions are short: each window takes a few statements, each on its own. Posting goes on meanwhile: what is posted after the start is not verified, only taken into account.
//! It may run as the runtime role: it reads only.

mod balance;
mod chain;
mod record;
mod usage;
mod window;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgPool;
use uuid::Uuid;

use crate::limit::Calendar;
use crate::sql::{audit, books, row::Head};

/// The most findings of one shard; verification of the shard ends there.
const MAX_FINDINGS: usize = 100;

/// How to verify.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// For how many accounts balances are kept in memory at once (about 150 bytes each).
    pub accounts_per_pass: u32,
    /// Where days and months begin for limits: the one that postings were counted with.
    pub calendar: Calendar,
}

impl Default for Options {
    fn default() -> Self {
        Self { accounts_per_pass: 1_000_000, calendar: Calendar::default() }
    }
}

/// What verification found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// One per shard.
    pub shards: Vec<ShardReport>,
}

impl Report {
    /// Whether everything holds.
    pub fn holds(&self) -> bool {
        self.shards.iter().all(|shard| shard.findings.is_empty())
    }

    /// The first finding, in the order of shards and blocks.
    pub fn first(&self) -> Option<&Finding> {
        self.shards.iter().find_map(|shard| shard.findings.first())
    }
}

/// What verification found in one shard.
#[derive(Clone, Debug, Serialize)]
pub struct ShardReport {
    /// The shard.
    pub shard: i16,
    /// How many blocks were verified.
    pub blocks: i64,
    /// How many transfers were verified.
    pub transfers: i64,
    /// How many accounts were verified.
    pub accounts: i64,
    /// For how many of them what they spent was counted alone, because postings went on or something is wrong.
    pub recounted: i64,
    /// The time of the last verified block.
    pub up_to: DateTime<Utc>,
    /// What does not hold, first block first, then accounts.
    pub findings: Vec<Finding>,
}

/// One thing that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The shard.
    pub shard: i16,
    /// The block; for an account, the block of its last verified transfer or of none.
    pub block: Option<i64>,
    /// The account, where it is about one.
    pub account: Option<Uuid>,
    /// What does not hold.
    pub fault: Fault,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "shard {}", self.shard)?;
        if let Some(block) = self.block {
            write!(formatter, ", block {block}")?;
        }
        if let Some(account) = self.account {
            write!(formatter, ", account {account}")?;
        }
        write!(formatter, ": {}", self.fault)
    }
}

/// What does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Fault {
    /// A block is not there.
    #[error("the block is missing")]
    BlockMissing,
    /// A stored value means nothing.
    #[error("a stored value can't be read")]
    Unreadable,
    /// The stored hash is not that of the block's contents.
    #[error("the block's hash does not match its contents")]
    BlockHash,
    /// The hash of the block before is not what the block says.
    #[error("the block does not follow from the one before")]
    Chain,
    /// The block's sequences don't follow on, or its counts are impossible.
    #[error("the block's range of sequences does not follow on")]
    Range,
    /// The block's time is before an earlier block's.
    #[error("the block's time goes back")]
    Time,
    /// The transfers are not those that were sealed.
    #[error("the transfers are not those that were sealed")]
    Transfers,
    /// The other records are not those that were sealed.
    #[error("accounts, holds, kinds or requests are not those that were sealed")]
    Records,
    /// A balance on a transfer, or the place of the transfer before it, does not follow from what went before.
    #[error("a balance or the place before it on a transfer does not follow from what went before")]
    RunningBalance,
    /// The transfers of a request are not together.
    #[error("the transfers of a request are not together")]
    Request,
    /// A key has two outcomes.
    #[error("a key has two outcomes")]
    KeyTwice,
    /// A refund is not the way back of its payment, or refunds add up to more than was paid.
    #[error("a refund does not follow from its payment")]
    Refund,
    /// The shard's head is not the last block.
    #[error("the shard's head is not its last block")]
    Head,
    /// Rows belong to no block of the shard, or to a shard that is not there.
    #[error("rows belong to no block of any shard")]
    Stray,
    /// An account's balance is not what its transfers add up to.
    #[error("the account's balance is not what its transfers add up to")]
    Balance,
    /// Marks of an account's transfers are missing, too many or elsewhere.
    #[error("the marks of the account's transfers are not where they belong")]
    Marks,
    /// What an account holds or is promised is not what its open holds add up to.
    #[error("held or promised is not what open holds add up to")]
    Held,
    /// An account is not frozen or closed as its history says.
    #[error("the account is not frozen or closed as its history says")]
    AccountState,
    /// What an account spent in its day and month is not what its history adds up to.
    #[error("what the account spent in its day and month is not what its history adds up to")]
    Usage,
    /// An account is below its floor.
    #[error("the account is below its floor")]
    Floor,
    /// What keeps room beside an account says something.
    #[error("what keeps room beside the account is not what accounts are opened with")]
    Room,
    /// Transfers name an account that is not there.
    #[error("the account is missing")]
    AccountMissing,
}

/// Verifies every shard.
///
/// # Errors
/// When the database can't be read; what does not hold is no error but a finding.
pub async fn verify(pool: &PgPool, options: Options) -> Result<Report, sqlx::Error> {
    let mut shards = Vec::new();
    for shard in books::shards(pool).await? {
        shards.push(verify_shard(pool, shard, options).await?);
    }
    Ok(Report { shards })
}

async fn verify_shard(pool: &PgPool, shard: i16, options: Options) -> Result<ShardReport, sqlx::Error> {
    let mut connection = audit::connect(pool).await?;
    let (head, outside) = audit::head(&mut connection, shard).await?;
    let passes = passes(audit::accounts(&mut connection, shard).await?, options);
    let spending = audit::spending_kinds(&mut connection, shard).await?;
    drop(connection);
    let mut findings = Findings { shard, list: Vec::new() };
    if outside.beyond {
        findings.add(Some(head.block), Fault::Head);
    }
    if outside.stray {
        findings.add(None, Fault::Stray);
    }
    let (mut transfers, mut accounts) = (0, balance::Compared::default());
    for pass in 0..passes {
        let mut balances = balance::Balances::new((passes, pass), &spending, options.calendar);
        transfers = chain::walk(pool, shard, &head, &mut balances, &mut findings).await?;
        accounts.add(balances.compare(pool, &head, &mut findings).await?);
    }
    findings.list.sort_by_key(|finding| (finding.account.is_some(), finding.block.is_none(), finding.block));
    Ok(ShardReport {
        shard,
        blocks: head.block,
        transfers,
        accounts: accounts.all,
        recounted: accounts.recounted,
        up_to: head.posted_at,
        findings: findings.list,
    })
}

fn passes(accounts: i64, options: Options) -> u64 {
    let accounts = u64::try_from(accounts).unwrap_or(0);
    accounts.div_ceil(u64::from(options.accounts_per_pass.max(1))).max(1)
}

/// What was found so far in a shard.
struct Findings {
    shard: i16,
    list: Vec<Finding>,
}

impl Findings {
    fn add(&mut self, block: Option<i64>, fault: Fault) {
        self.push(Finding { shard: self.shard, block, account: None, fault });
    }

    fn add_account(&mut self, block: Option<i64>, account: Uuid, fault: Fault) {
        self.push(Finding { shard: self.shard, block, account: Some(account), fault });
    }

    fn push(&mut self, finding: Finding) {
        if !self.list.contains(&finding) && !self.full() {
            self.list.push(finding);
        }
    }

    /// Whether there is no point in going on.
    fn full(&self) -> bool {
        self.list.len() >= MAX_FINDINGS
    }
}

/// The end of what is verified.
type End = Head;

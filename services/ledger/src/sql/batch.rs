//! What a batch reads under the shard's lock.
//!
//! The connection belongs to the engine alone ([`SESSION`]), so that its plans always go by index and are made once.

use std::collections::HashMap;

use sqlx::{AssertSqlSafe, PgConnection};
use uuid::Uuid;

use super::row::{AccountRow, Head, HeadRow, HoldRow, class, currency, reject};
use crate::account::{Account, AccountId};
use crate::batch::MachineTime;
use crate::fold::Remembered;
use crate::hold::{Hold, HoldId};
use crate::kind::Stored;
use crate::money::{Currency, Money};
use crate::refund::{Paid, Role};
use crate::request::{Outcome, Posted};
use crate::transfer::{Fingerprint, RequestKey, TransferId};

/// Settings of the engine's connection.
///
/// Plans are made once, for batches of any size, and look up row by row, also while a table is small or its statistics are old:
/// the planner takes every array for a thousand elements, and would read half of all accounts to merge them with the two of one transfer.
/// A replica that hangs with the lock is cut off by the server.
pub(crate) const SESSION: &str = "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET jit = off; \
     SET enable_mergejoin = off; SET enable_hashjoin = off; \
     SET lock_timeout = '4s'; SET statement_timeout = '8s'; SET idle_in_transaction_session_timeout = '4s'";

/// Begins the batch's transaction and takes the shard's lock, in one round trip.
///
/// Statements of their own: what the batch reads afterwards has a snapshot taken once the lock is held.
/// The clock is looked at here too, because not all that is decided under the lock is written.
pub(crate) fn begin_and_lock(shard: i16, machine: MachineTime) -> AssertSqlSafe<String> {
    let (at, ahead_ms) = (machine.at.to_rfc3339(), machine.ahead_ms);
    AssertSqlSafe(format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT ledger.check_clock('{at}', {ahead_ms}); \
         SELECT 1 FROM ledger.shard WHERE shard = {shard} FOR UPDATE"
    ))
}

/// The head of the shard.
pub(crate) async fn head(connection: &mut PgConnection, shard: i16) -> Result<Head, sqlx::Error> {
    let row =
        sqlx::query_as!(HeadRow, "SELECT sequence, block, posted_at, hash FROM ledger.shard WHERE shard = $1", shard,)
            .fetch_one(connection)
            .await?;
    Ok(row.read()?)
}

/// The head of the shard and the accounts that are there of `ids`.
pub(crate) async fn accounts(
    tx: &mut PgConnection,
    shard: i16,
    ids: &[Uuid],
) -> Result<(Head, HashMap<AccountId, Account>), sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT s.sequence AS head_sequence, s.block AS head_block, s.posted_at AS head_posted_at, s.hash AS head_hash,
                  a.id AS "id?", a.owner AS "owner?", a.kind AS "kind?", a.currency AS "currency?", a.floor AS "floor?",
                  a.opened_block AS "opened_block?", a.opened_at AS "opened_at?", a.posted AS "posted?", a.held AS "held?",
                  a.promised AS "promised?", a.frozen AS "frozen?", a.closed AS "closed?", a.sequence AS "sequence?", a.transfers AS "transfers?", a.usage AS "usage?"
           FROM ledger.shard AS s
           LEFT JOIN ledger.account AS a ON a.shard = s.shard AND a.id = ANY($2)
           WHERE s.shard = $1"#,
        shard,
        ids,
    )
    .fetch_all(tx)
    .await?;
    let mut head = None;
    let mut accounts = HashMap::with_capacity(rows.len());
    for row in rows {
        if head.is_none() {
            let (sequence, block) = (row.head_sequence, row.head_block);
            let stored = HeadRow { sequence, block, posted_at: row.head_posted_at, hash: row.head_hash };
            head = Some(stored.read()?);
        }
        let account = (|| {
            Some(AccountRow {
                id: row.id?,
                owner: row.owner?,
                kind: row.kind?,
                currency: row.currency?,
                floor: row.floor,
                opened_block: row.opened_block?,
                opened_at: row.opened_at?,
                posted: row.posted?,
                held: row.held?,
                promised: row.promised?,
                frozen: row.frozen?,
                closed: row.closed?,
                sequence: row.sequence?,
                transfers: row.transfers?,
                usage: row.usage?,
            })
        })();
        if let Some(account) = account {
            let account = account.read()?;
            accounts.insert(account.id, account);
        }
    }
    Ok((head.ok_or(sqlx::Error::RowNotFound)?, accounts))
}

/// The holds that are there of `ids`.
pub(crate) async fn holds(tx: &mut PgConnection, ids: &[Uuid]) -> Result<HashMap<HoldId, Hold>, sqlx::Error> {
    let rows = sqlx::query_as!(
        HoldRow,
        "SELECT id, debit, credit, amount, currency, kind, class, reference, expires_at, opened_block, opened_at,
                confirming_block, confirming_at, ended_block, ended_at, ending, posted_amount, transfer
         FROM ledger.hold
         WHERE id = ANY($1)",
        ids,
    )
    .fetch_all(tx)
    .await?;
    let mut holds = HashMap::with_capacity(rows.len());
    for row in rows {
        let hold = row.read()?;
        holds.insert(hold.id, hold);
    }
    Ok(holds)
}

/// The transfers that are there of `ids`, with what was refunded of each.
pub(crate) async fn paid(
    connection: &mut PgConnection,
    ids: &[Uuid],
) -> Result<HashMap<TransferId, Paid>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT t.id, t.debit, t.credit, t.amount, t.currency, k.class AS "class?", COALESCE(h.opened_at, t.posted_at) AS "spent_at!",
                  COALESCE((SELECT SUM(r.amount) FROM ledger.refund AS r WHERE r.payment = t.id), 0)::bigint AS "refunded!",
                  EXISTS (SELECT 1 FROM ledger.refund AS r WHERE r.shard = t.shard AND r.sequence = t.sequence) AS "is_refund!"
           FROM ledger.transfer AS t
           JOIN ledger.transfer_kind AS k ON k.shard = t.shard AND k.code = t.kind
           LEFT JOIN ledger.hold AS h ON h.transfer = t.id
           WHERE t.id = ANY($1)"#,
        ids,
    )
    .fetch_all(connection)
    .await?;
    let mut paid = HashMap::with_capacity(rows.len());
    for row in rows {
        let id = TransferId::from(row.id);
        let role = if row.is_refund { Role::Refund } else { Role::Payment };
        let row = Paid {
            id,
            debit: row.debit.into(),
            credit: row.credit.into(),
            amount: row.amount,
            currency: currency(row.currency)?,
            class: class(row.class)?,
            spent_at: row.spent_at,
            refunded: row.refunded,
            role,
        };
        paid.insert(id, row);
    }
    Ok(paid)
}

/// What `keys` have been answered.
pub(crate) async fn past(
    connection: &mut PgConnection,
    keys: &[Uuid],
) -> Result<HashMap<RequestKey, Remembered>, sqlx::Error> {
    let rows = sqlx::query_as!(
        PastRow,
        r#"SELECT f.id AS "key!", f.fingerprint AS "fingerprint!", t.id AS "transfer?", t.sequence AS "sequence?",
                  t.block AS "block?", t.debit_balance AS "debit_balance?", t.credit_balance AS "credit_balance?",
                  t.currency AS "currency?", t.posted_at AS "posted_at?", NULL::text AS "reject?", NULL::uuid AS "subject?"
           FROM ledger.transfer AS f
           JOIN ledger.transfer AS t
             ON t.shard = f.shard AND t.sequence >= f.sequence AND t.sequence < f.sequence + f.request_size
           WHERE f.id = ANY($1) AND f.request_size > 0
           UNION ALL
           SELECT request_key, fingerprint, NULL, NULL, NULL, NULL, NULL, NULL, NULL, reject, subject
           FROM ledger.request
           WHERE request_key = ANY($1)"#,
        keys,
    )
    .fetch_all(connection)
    .await?;
    let mut remembered = HashMap::new();
    for row in rows {
        row.add_to(&mut remembered)?;
    }
    for remembered in remembered.values_mut() {
        if let Outcome::Posted(posted) = &mut remembered.outcome {
            posted.sort_unstable_by_key(|posted| posted.sequence);
        }
    }
    Ok(remembered)
}

/// A transfer of a remembered request, or a request without transfers.
struct PastRow {
    key: Uuid,
    fingerprint: i64,
    transfer: Option<Uuid>,
    sequence: Option<i64>,
    block: Option<i64>,
    debit_balance: Option<i64>,
    credit_balance: Option<i64>,
    currency: Option<i16>,
    posted_at: Option<chrono::DateTime<chrono::Utc>>,
    reject: Option<String>,
    subject: Option<Uuid>,
}

impl PastRow {
    fn posted(&self) -> Option<Posted> {
        let currency = Currency::from_numeric(self.currency?)?;
        Some(Posted {
            transfer: self.transfer?.into(),
            sequence: self.sequence?,
            block: self.block?,
            debit_balance: Money::from_minor(self.debit_balance?, currency),
            credit_balance: Money::from_minor(self.credit_balance?, currency),
            posted_at: self.posted_at?,
        })
    }

    fn add_to(&self, remembered: &mut HashMap<RequestKey, Remembered>) -> Result<(), sqlx::Error> {
        let outcome = match reject(self.reject.as_deref(), self.subject)? {
            Some(reject) => Outcome::Rejected(reject),
            None => Outcome::Posted(Vec::new()),
        };
        let fingerprint = Fingerprint(self.fingerprint);
        let remembered = remembered.entry(RequestKey(self.key)).or_insert(Remembered { fingerprint, outcome });
        if let (Outcome::Posted(list), Some(posted)) = (&mut remembered.outcome, self.posted()) {
            list.push(posted);
        }
        Ok(())
    }
}

/// The names and classes of the kinds that are there: accounts', then transfers'.
pub(crate) async fn kinds(tx: &mut PgConnection, shard: i16) -> Result<(Stored, Stored), sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT TRUE AS "of_account!", code AS "code!", name AS "name!", NULL::smallint AS class FROM ledger.account_kind WHERE shard = $1
           UNION ALL
           SELECT FALSE, code, name, class FROM ledger.transfer_kind WHERE shard = $1"#,
        shard,
    )
    .fetch_all(tx)
    .await?;
    let (mut accounts, mut transfers) = (HashMap::new(), HashMap::new());
    for row in rows {
        let names = if row.of_account { &mut accounts } else { &mut transfers };
        names.insert(row.code, (row.name, row.class));
    }
    Ok((accounts, transfers))
}

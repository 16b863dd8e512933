//! The audit: who did what, when, from where and why. Append-only, chained by hash, ids only.
//!
//! | module | what lives there |
//! | --- | --- |
//! | `entry` | what an act says of itself |
//! | `chain` | the form of a record, its hash and the walk along the chain (pure) |
//! | `refusal` | what was refused: the first of a kind at once, how many more and from where once an hour |
//! | `tries` | counting tries by place, bounded |
//! | `sql` | every statement of it |
//!
//! [`append`] takes two round trips, under the lock of the head, in the transaction of the act: without its entry no act
//! stands, and without the act no entry. The lock is held until that transaction ends; it comes before the outbox's.
//! Invariants: positions have no gap and follow the order of commits; a record is never changed; no record holds a number,
//! a name, an address, a code, a PIN or a token.

mod chain;
mod entry;
mod reason;
mod refusal;
mod sql;
mod tries;

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};

pub use self::chain::{Fault, Fields, Hash, NotATip, Record, Tip, Walk};
pub use self::entry::{Action, OperatorAct};
pub(crate) use self::entry::{Actor, Behest, Entry, Origin, Source};
pub use self::reason::{Reason, ReasonFault};
pub use self::sql::Filter;
pub(crate) use self::tries::Capped;
use crate::config::Keys;
use crate::vault::{KeyError, Vault};

/// Records read at a time.
pub const PAGE: i64 = 1_000;

/// Writes entries at the next positions of the chain, in the transaction of what they tell of.
pub(crate) async fn append(tx: &mut PgConnection, entries: &[Entry], now: DateTime<Utc>) -> Result<(), sqlx::Error> {
    append_fields(tx, entries.iter().map(Entry::fields).collect(), now).await
}

async fn append_fields(tx: &mut PgConnection, fields: Vec<Fields>, now: DateTime<Utc>) -> Result<(), sqlx::Error> {
    if fields.is_empty() {
        return Ok(());
    }
    let mut tip = sql::lock_tip(tx).await?;
    let trace = platform::trace::current_traceparent().and_then(|context| trace_id(&context));
    let mut records = Vec::with_capacity(fields.len());
    for fields in fields {
        let record = Record::following(&tip, fields, trace.clone(), now);
        tip = record.tip();
        records.push(record);
    }
    sql::insert(tx, &records, &tip).await
}

/// Writes what an operator does by hand, in a transaction of the caller's.
///
/// # Errors
/// What the database answered.
pub async fn append_operator_act(
    tx: &mut PgConnection,
    act: &OperatorAct,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    append(tx, &[act.entry()], now).await
}

/// The newest records that a filter lets through, newest first, at most `limit` (and never more than [`PAGE`]).
///
/// # Errors
/// What the database answered.
pub async fn search(pool: &PgPool, filter: &Filter, limit: i64) -> Result<Vec<Record>, sqlx::Error> {
    sql::newest(pool, filter, limit.clamp(1, PAGE)).await
}

/// Records after a position that a filter lets through, oldest first, at most [`PAGE`].
///
/// # Errors
/// What the database answered.
pub async fn page(pool: &PgPool, filter: &Filter, after: i64) -> Result<Vec<Record>, sqlx::Error> {
    sql::after(pool, filter, after, PAGE).await
}

/// What a record's place is for an app at a network address.
///
/// # Errors
/// When a secret is missing or weak.
pub fn address_digest(keys: &Keys, address: IpAddr) -> Result<String, KeyError> {
    Ok(Vault::try_new(keys)?.address_digest(address))
}

/// What [`verify`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every record follows from the one before, up to this tip.
    Holds(Tip),
    /// The first record that does not hold.
    Broken(Fault),
}

/// Recomputes the whole chain up to the head of this moment, in short reads, and compares with a tip that somebody kept.
///
/// # Errors
/// What the database answered.
pub async fn verify(pool: &PgPool, kept: Option<&Tip>) -> Result<Verdict, sqlx::Error> {
    // Read first: what is added meanwhile lies above it.
    let head = sql::tip(pool).await?;
    let mut walk = Walk::default();
    while walk.tip().position < head.position {
        let before = walk.tip().position;
        let records = sql::after(pool, &Filter::default(), before, PAGE).await?;
        for record in records.iter().take_while(|record| record.position <= head.position) {
            if let Err(fault) = walk.step(record) {
                return Ok(Verdict::Broken(fault));
            }
            if kept.is_some_and(|kept| kept.position == record.position && kept.hash != record.hash) {
                return Ok(Verdict::Broken(Fault::Rewritten { position: record.position }));
            }
        }
        if walk.tip().position == before {
            return Ok(Verdict::Broken(Fault::Missing { position: before + 1 }));
        }
    }
    if *walk.tip() != head {
        return Ok(Verdict::Broken(Fault::Head { position: head.position }));
    }
    // Cut off at the end, and the head with it: only who kept a later tip can tell.
    if kept.is_some_and(|kept| kept.position > head.position) {
        return Ok(Verdict::Broken(Fault::Missing { position: head.position + 1 }));
    }
    Ok(Verdict::Holds(head))
}

/// The trace's id in a `traceparent`.
fn trace_id(traceparent: &str) -> Option<String> {
    traceparent.split('-').nth(1).filter(|id| id.len() == 32).map(str::to_owned)
}

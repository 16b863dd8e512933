//! The double-entry ledger: exact money, moved once, provable afterwards.
//!
//! A library of its own: it knows nothing of bills, merchants or people. Callers give accounts, kinds and references their meaning.
//!
//! **Sign convention**: `balance = credits − debits`. A transfer *debits* the account that money leaves and *credits* the one it reaches. A customer's wallet has a balance of zero or more; the account that stands for the bank outside goes below zero as money comes in. The balances of a currency add up to zero.
//!
//! | module | what lives there |
//! | --- | --- |
//! | [`money`] | amounts and currencies |
//! | [`account`], [`transfer`], [`hold`], [`refund`] | the nouns and their pure rules |
//! | [`limit`] | what an account spent in its day and month, and how much it may; pure |
//! | [`request`] | what callers ask and what they are answered |
//! | [`fold`] | the decision: requests + read state → outcomes; pure |
//! | [`block`] | Merkle trees, the chain of blocks, inclusion proofs; pure |
//! | [`engine`] | the queue; [`Ledger`] is the way in |
//! | `lane` | the loop that makes batches of what waits |
//! | `memory` | what the loop remembers of the books between two batches |
//! | `batch` | one decided batch, sealed |
//! | `session` | reading and writing, with and without the lock |
//! | [`expiry`] | gives back what holds set aside whose time is over |
//! | [`rider`] | what callers write in the same transaction |
//! | [`journal`] | transfers as an event source |
//! | [`book`] | trial balance, statements, balances at a time, exports, proofs |
//! | [`checkpoint`], [`note`] | what is signed about the books each day |
//! | [`receipt`] | what a person keeps and checks without the database |
//! | [`verify`] | recomputes everything and names the first bad block |
//! | `sql` | every statement |
//!
//! Round trips of a batch that only moves money between accounts that are remembered: one (see `session`).
//! Lock order: the row of `ledger.shard` first, everything else after it.
//!
//! Invariants:
//! - No use case owns a transaction that posts: callers post requests, the engine commits batches.
//! - A key (caller, operation, idempotency key) has one outcome, whatever crashes and whoever asks; there is no other record of it.
//! - History is only added to. A wrong transfer is put right by another transfer.
//! - Correct with any number of engines on one shard: the shard's lock decides, never a process's memory.
//! - Absent: floats, timers, foreign names. The database's clock decides nothing; it only turns away a replica whose own is far ahead.

pub mod account;
mod batch;
pub mod block;
pub mod book;
pub mod checkpoint;
pub mod engine;
pub mod expiry;
pub mod fold;
pub mod hold;
pub mod journal;
mod kind;
mod lane;
pub mod limit;
mod memory;
mod meter;
pub mod money;
pub mod note;
pub mod receipt;
pub mod refund;
pub mod request;
pub mod rider;
mod session;
mod sql;
pub mod transfer;
pub mod verify;

pub use account::{Account, AccountId, AccountKind, AccountSpec, Balance, Floor, Freeze};
pub use engine::{Config, Engine, Ledger, PostError};
pub use hold::{HoldId, HoldPosting, HoldSpec};
pub use money::{Currency, Money, MoneyError, PositiveMoney};
pub use refund::{RefundSpec, UsedLimits};
pub use request::{Action, Answer, Invalid, Key, Outcome, Posted, Refusals, Reject, Request};
pub use rider::{NoRiders, Refusal, Ride, RiderError, Riders};
pub use transfer::{Posting, Transfer, TransferId, TransferKind};

/// The ledger's schema; its owner migrates, and the wallet's runtime role `trangtien_wallet` uses it.
pub const SCHEMA: platform::db::Schema = platform::db::Schema::new("ledger");

/// The ledger's migrations.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!();

//! Every statement of the ledger.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`row`] | rows as they are stored, and how they become values |
//! | [`batch`] | what a batch reads under the shard's lock |
//! | [`write`] | what a batch writes |
//! | [`audit`] | what verification reads, in short transactions by range |
//! | [`copy`] | the rows that verification reads by the million |
//! | [`books`] | what the journal, statements and exports read |
//! | [`checkpoint`] | what checkpoints read and write |
//!
//! Lock order: the shard's row first, always, in a statement of its own; accounts, holds and riders' rows after it.
//! READ COMMITTED: a statement that waited for a lock still sees its older snapshot, so that nothing is read in the statement that locks.

pub(crate) mod audit;
pub(crate) mod batch;
pub(crate) mod books;
pub(crate) mod checkpoint;
pub(crate) mod copy;
pub(crate) mod row;
pub(crate) mod write;

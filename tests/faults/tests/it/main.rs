//! Processes that post to one ledger, and are killed in the middle of it.

mod drill;
mod limit;
mod sigkill;

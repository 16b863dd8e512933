//! The ledger against a real PostgreSQL of its own.

#![allow(clippy::panic, reason = "a test fails by panicking")]

mod books;
mod checkpoint;
mod clock;
mod crash;
mod expiry;
mod faults;
mod fence;
mod hledger;
mod holds;
mod immutable;
mod limits;
mod memory;
mod outage;
mod overload;
mod posting;
mod proxy;
mod receipt;
mod refunds;
mod support;
mod upgrade;
mod verify;

//! The ledger against a real PostgreSQL of its own.

mod books;
mod faults;
mod holds;
mod immutable;
mod outage;
mod posting;
mod proxy;
mod support;
mod verify;

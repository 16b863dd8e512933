//! A private city for tests: servers, clock, faults, people, teardown.
//!
//! [`City::all_in_one`] and [`City::split`] run the real program on free ports over private servers;
//! [`City::finish`] asserts that nothing was left over: debits = credits, no hold, no top-up or job open, outboxes drained.

pub mod city;
pub mod client;
mod launch;
pub mod patience;
pub mod proxy;
pub mod sse;
mod teardown;
mod template;
mod trouble;

pub use city::{City, Shape};
pub use client::{Answer, Citizen, Shop, Visitor, money};
pub use patience::{definite, eventually};
pub use proxy::{Fault, FaultProxy};
pub use sse::EventFeed;

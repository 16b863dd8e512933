//! Mechanism shared by the services.
//!
//! This crate names no noun of the city and imports no service; code enters it on its second use.
//!
//! | module | what it gives |
//! | --- | --- |
//! | [`config`] | settings from a TOML file and `TRANGTIEN_…` variables; unknown keys are refused |
//! | [`db`] | schemas, roles, pools and migrations |
//! | [`problem`] | RFC 9457 problem details with stable codes, in Vietnamese and English; their mapping to gRPC |
//! | [`http`] | extractors, the layers around every route, the server loop |
//! | [`rpc`] | one channel type for calls inside a process and over mutual TLS |
//! | [`auth`] | access-token checks with a cache, revocations |
//! | [`idempotency`] | one answer per idempotency key, claimed in the transaction of the work |
//! | [`gather`] | questions that come at the same moment, answered by one statement |
//! | [`page`] | cursor pagination |
//! | [`outbox`] and [`events`] | events out of a transaction, over Redis Streams, into another, exactly once in effect |
//! | [`job`] | timers, retries and sagas: a due-table with leases and fencing |
//! | [`redis`] and [`retry`] | connections to Redis, which may be away; how often and with what pauses something is tried again |
//! | [`seal`] and [`person`] | values that a key protects; a key per person, so that all that is kept of one is gone with it |
//! | [`signature`] | who sent a call or a callback, by a secret that both sides know |
//! | [`telemetry`] and [`trace`] | logs, trace context, OTLP |
//! | [`metrics`] | one registry per role |
//! | [`task`] and [`service`] | what a role is made of, and how it stops |
//! | [`clock`] and [`id`] | time that tests can move; typed identifiers |
//! | [`dataset`] | CSV and TOML files whose faults name file and line |
//! | [`embedded`] | private PostgreSQL and Redis servers |

pub mod auth;
pub mod clock;
pub mod config;
pub mod dataset;
pub mod db;
pub mod embedded;
pub mod events;
pub mod gather;
pub mod http;
pub mod id;
pub mod idempotency;
pub mod job;
mod lease;
pub mod metrics;
pub mod outbox;
pub mod page;
pub mod person;
pub mod problem;
pub mod redis;
pub mod retry;
pub mod rpc;
pub mod seal;
pub mod service;
pub mod signature;
pub mod task;
pub mod telemetry;
pub mod trace;
mod wake;

//! Field reports from outside: over HTTP, on a private PostgreSQL. One program, so that it links once.

mod anonymity;
mod arrival;
mod bad_input;
mod bucket;
mod concurrency;
mod erasure;
mod journey;
mod key;
mod limit;
mod person;
mod photo;
mod queue;
mod s3;
mod stage;
mod together;
mod words;

//! The operations centre over its public side: HTTP, server-sent events, streams, the wallet's totals.

mod counting;
mod lag;
mod listing;
mod metrics;
mod pages;
mod provider;
mod reporting;
mod sensing;
mod signing;
mod stage;
mod walls;

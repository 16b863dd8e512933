//! Field reports: what citizens tell the city, where, and who must act.
//!
//! # Map
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`city`] | the city itself, its wards with their geometry, categories, working days, places: read from the city's folder and checked |
//! | `http` | routes: categories |
//!
//! The role answers `GET /reports/v1/categories`, health and metrics.
//! It reads the city's folder once, at start, and refuses to start when a fault is found in it.
//! It keeps no rows of its own yet: schema `reports` has platform's tables only.
//!
//! Invariant: the names axum and tonic appear in `http` and in this file only.

pub mod city;
pub mod clock;
mod http;
pub mod lifecycle;

use std::path::Path;
use std::sync::Arc;

use platform::dataset::{Fault, Faults};
use platform::db::Schema;
use platform::service::{Context, DatabaseReady, Service};
use serde::{Deserialize, Serialize};

use crate::city::City;

/// The role's schema.
pub const SCHEMA: Schema = Schema::new("reports");

/// The role's migrations.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!();

/// The role's settings: none so far.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {}

/// What the role is given.
#[derive(Clone, Debug)]
pub struct Deps {
    /// What every role is given.
    pub context: Context,
}

/// Why the role can't be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The city's folder has faults.
    #[error("the city's folder has faults:\n{0}")]
    City(#[from] Faults),
}

/// Reads the city and makes the role.
///
/// # Errors
/// Every fault of the city's folder that concerns field reports.
pub async fn build(_: Config, deps: Deps) -> Result<Service, BuildError> {
    let context = deps.context;
    let dir = Arc::clone(&context.city);
    let city = tokio::task::spawn_blocking(move || City::load(&dir))
        .await
        .expect("reading the city's folder does not panic")?;
    let entries = context.metrics.gauge("city_entries", "Entries read from the city's folder.", &["kind"]);
    for (kind, count) in [("ward", city.wards.len()), ("category", city.categories.len())] {
        entries.with_label_values(&[kind]).set(i64::try_from(count).unwrap_or(i64::MAX));
    }
    Ok(Service {
        http: http::router(Arc::new(city)),
        grpc: None,
        tasks: Vec::new(),
        ready: vec![Arc::new(DatabaseReady(context.pool))],
        metrics: context.metrics,
    })
}

/// Every fault of the files that field reports read from a city's folder, with file and line.
pub fn check_city(dir: &Path) -> Vec<Fault> {
    city::read(dir).1
}

//! `trangtien serve ROLE… --config FILE`: production. Only those roles, until the process is asked to stop.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::ensure;
use platform::telemetry;

use crate::config::Config;
use crate::listen;
use crate::role::Role;
use crate::run;
use crate::stop::Stop;

/// Serves the roles.
///
/// # Errors
/// What keeps them from starting.
pub async fn run(roles: Vec<Role>, file: Option<&Path>) -> anyhow::Result<()> {
    let roles: BTreeSet<Role> = roles.into_iter().collect();
    let config = Config::load(file)?;
    let _telemetry = telemetry::init(&config.telemetry, &config.instance_name())?;
    let mut stop = Stop::new()?;
    let public = listen::bind(&config.http.listen)?;
    let (url, names) = (public.url(), names(&roles));
    let clock = config.clock();
    let running = run::start(config, &roles, clock, public).await?;
    tracing::info!(roles = names, url, "serving");
    stop.asked().await;
    tracing::info!(roles = names, "stopping");
    stop.next_ends_at_once();
    running.stop().await;
    tracing::info!(roles = names, "stopped");
    Ok(())
}

/// `trangtien config check`: whether a process could play these roles with this configuration.
///
/// # Errors
/// What is wrong, one sentence a line.
pub fn check(roles: Vec<Role>, file: Option<&Path>) -> anyhow::Result<()> {
    let config = Config::load(file)?;
    let roles = if roles.is_empty() { BTreeSet::from(Role::ALL) } else { roles.into_iter().collect() };
    let faults = config.faults(&roles);
    ensure!(faults.is_empty(), "the configuration is not valid for {}:\n  {}", names(&roles), faults.join("\n  "));
    println!("the configuration is valid for {}", names(&roles));
    Ok(())
}

fn names(roles: &BTreeSet<Role>) -> String {
    roles.iter().map(|role| role.name()).collect::<Vec<_>>().join(", ")
}

//! The roles of a city of `trangtien up`: in this process, or in one each behind the gateway.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use platform::clock::Clock;
use platform::task::Shutdown;
use tokio::task::JoinHandle;

use super::Shape;
use crate::config::Config;
use crate::folder::Folder;
use crate::gateway::Gateway;
use crate::http::{Front as _, Readiness};
use crate::listen::Bound;
use crate::role::Role;
use crate::run::{self, Running};
use crate::split::Processes;

/// How long roles may take to get ready.
const READY_LIMIT: Duration = Duration::from_secs(60);
/// How often readiness is asked for while starting.
const READY_POLL: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(super) enum Roles {
    Here(Running),
    Apart { processes: Processes, gateway: Gateway, shutdown: Shutdown, listeners: Vec<JoinHandle<()>> },
}

impl Roles {
    pub(super) async fn start(
        (folder, shape): (&Folder, Shape),
        config: Config,
        clock: Clock,
        public: Bound,
    ) -> anyhow::Result<Self> {
        if shape == Shape::AllInOne {
            return Ok(Roles::Here(run::start(config, &BTreeSet::from(Role::ALL), clock, public).await?));
        }
        let processes = Processes::start(folder, &config).await?;
        let shutdown = Shutdown::new();
        let gateway = Gateway::new(processes.http_ports(), &config, shutdown.clone());
        let mut listeners = Vec::new();
        for listener in public.into_listeners().context("cannot serve the public listener")? {
            let serving = platform::http::serve(listener, gateway.router(), config.http.server, shutdown.clone());
            listeners.push(tokio::spawn(serving));
        }
        Ok(Roles::Apart { processes, gateway, shutdown, listeners })
    }

    async fn readiness(&self) -> Readiness {
        match self {
            Roles::Here(running) => running.readiness().await,
            Roles::Apart { gateway, .. } => gateway.readiness().await,
        }
    }

    pub(super) async fn until_ready(&self) -> anyhow::Result<()> {
        let end = Instant::now() + READY_LIMIT;
        loop {
            let readiness = self.readiness().await;
            if readiness.all() {
                return Ok(());
            }
            if let Roles::Apart { processes, .. } = self
                && let Some(said) = processes.revive().await?.first()
            {
                bail!("{said}");
            }
            if Instant::now() >= end {
                bail!("not ready within {} s: {}", READY_LIMIT.as_secs(), serde_json::to_string(&readiness)?);
            }
            tokio::time::sleep(READY_POLL).await;
        }
    }

    pub(super) fn describe(&self) -> String {
        let names = Role::ALL.map(Role::name).join(", ");
        match self {
            Roles::Here(_) => format!("Roles {names} in this process"),
            Roles::Apart { .. } => format!("Roles {names}, one process each, mutual TLS between them"),
        }
    }

    pub(super) async fn stop(self) {
        match self {
            Roles::Here(running) => running.stop().await,
            Roles::Apart { processes, shutdown, listeners, .. } => {
                shutdown.begin();
                futures::future::join_all(listeners).await;
                processes.stop().await;
            }
        }
    }
}

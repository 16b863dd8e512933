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
use crate::split::{Ended, Processes};

/// How long roles may take to get ready.
const READY_LIMIT: Duration = Duration::from_secs(60);
/// How often a split city is started with other ports when somebody took one.
const MAX_STARTS: usize = 5;
/// How often readiness is asked for while starting.
const READY_POLL: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(super) enum Roles {
    Here(Running, BTreeSet<Role>),
    Apart { processes: Processes, gateway: Gateway, shutdown: Shutdown, listeners: Vec<JoinHandle<()>> },
}

impl Roles {
    pub(super) async fn start(
        (folder, shape): (&Folder, Shape),
        config: Config,
        clock: Clock,
        public: Bound,
    ) -> anyhow::Result<Self> {
        let here = match shape {
            Shape::AllInOne => Some(BTreeSet::from(Role::ALL)),
            Shape::Part(roles) => Some(roles.iter().copied().collect()),
            Shape::Split => None,
        };
        if let Some(roles) = here {
            return Ok(Roles::Here(run::start(config, &roles, clock, public).await?, roles));
        }
        let shutdown = Shutdown::new();
        let (processes, gateway) = start_apart(folder, &config, &shutdown).await?;
        let mut listeners = Vec::new();
        for listener in public.into_listeners().context("cannot serve the public listener")? {
            let serving = platform::http::serve(listener, gateway.router(), config.http.server, shutdown.clone());
            listeners.push(tokio::spawn(serving));
        }
        Ok(Roles::Apart { processes, gateway, shutdown, listeners })
    }

    async fn readiness(&self) -> Readiness {
        match self {
            Roles::Here(running, _) => running.readiness().await,
            Roles::Apart { gateway, .. } => gateway.readiness().await,
        }
    }

    pub(super) async fn until_ready(&self) -> anyhow::Result<()> {
        let end = Instant::now() + READY_LIMIT;
        loop {
            let readiness = self.readiness().await;
            if readiness.all() {
                self.describe_early();
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

    /// Asks apart roles for the description of their API while all are there: it is kept for when one is not.
    fn describe_early(&self) {
        if let Roles::Apart { gateway, .. } = self {
            let gateway = gateway.clone();
            tokio::spawn(async move { gateway.document().await.is_ok() });
        }
    }

    pub(super) fn describe(&self) -> String {
        let names =
            |roles: &mut dyn Iterator<Item = &Role>| roles.map(|role| role.name()).collect::<Vec<_>>().join(", ");
        match self {
            Roles::Here(_, roles) => format!("Roles {} in this process", names(&mut roles.iter())),
            Roles::Apart { .. } => {
                format!("Roles {}, one process each, mutual TLS between them", names(&mut Role::ALL.iter()))
            }
        }
    }

    pub(super) async fn stop(self) {
        match self {
            Roles::Here(running, _) => running.stop().await,
            Roles::Apart { processes, shutdown, listeners, .. } => {
                shutdown.begin();
                futures::future::join_all(listeners).await;
                processes.stop().await;
            }
        }
    }
}

/// Starts every role in a process of its own and waits until each answers; with other ports when one was taken after we had looked.
async fn start_apart(folder: &Folder, config: &Config, shutdown: &Shutdown) -> anyhow::Result<(Processes, Gateway)> {
    let mut starts = 1;
    loop {
        let processes = Processes::start(folder, config).await?;
        let gateway = Gateway::new(processes.http_ports(), config, shutdown.clone());
        let Some(ended) = until_answering(&processes, &gateway).await else { return Ok((processes, gateway)) };
        processes.stop().await;
        if !ended.port_taken || starts == MAX_STARTS {
            bail!("{ended}");
        }
        starts += 1;
    }
}

/// Waits until every role answers, or until one has ended. How ready they are is asked later.
async fn until_answering(processes: &Processes, gateway: &Gateway) -> Option<Ended> {
    let end = Instant::now() + READY_LIMIT;
    while Instant::now() < end {
        if let Some(ended) = processes.ended().await {
            return Some(ended);
        }
        if gateway.all_answer().await {
            break;
        }
        tokio::time::sleep(READY_POLL).await;
    }
    None
}

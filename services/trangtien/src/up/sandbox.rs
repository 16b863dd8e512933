//! The outside world beside a city of `trangtien up`: its own, or one that listens already.

use std::path::Path;

use anyhow::Context as _;
use platform::clock::Clock;
use platform::task::Shutdown;
use tokio::task::JoinHandle;

use crate::folder::{Folder, Secrets};
use crate::listen;

/// A sandbox that listens on this machine.
#[derive(Debug)]
pub struct Sandbox {
    port: u16,
    own: Option<Own>,
}

/// One that ends with us.
#[derive(Debug)]
struct Own {
    shutdown: Shutdown,
    task: JoinHandle<std::io::Result<()>>,
}

/// Starts the outside world of a city that is to be started in this folder, with the credentials that lie there: it outlives the city.
///
/// # Errors
/// When the folder's secrets or the city's billers can't be read, or it can't listen.
pub async fn apart(folder: &Folder, city: &Path, clock: Clock) -> anyhow::Result<Sandbox> {
    let mut secrets = folder.secrets()?;
    secrets.sandbox.billers = ::sandbox::Billers::load(city)?;
    Sandbox::start(&secrets, clock).await
}

impl Sandbox {
    pub(super) async fn start(secrets: &Secrets, clock: Clock) -> anyhow::Result<Self> {
        let bound = listen::bind("localhost:0").context("cannot listen for the sandbox")?;
        let port = bound.port();
        let listeners = bound.into_listeners().context("cannot serve the sandbox")?;
        let shutdown = Shutdown::new();
        let task = tokio::spawn(::sandbox::serve_all(listeners, secrets.sandbox.clone(), clock, shutdown.clone()));
        Ok(Self { port, own: Some(Own { shutdown, task }) })
    }

    /// One that listens on this port already, and ends by itself.
    pub(super) fn listening_on(port: u16) -> Self {
        Self { port, own: None }
    }

    /// Where it answers to those who play with it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://localhost:{}", self.port)
    }

    /// Where the city reaches it.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Stops it, when it ends with us.
    pub async fn stop(self) {
        if let Some(Own { shutdown, task }) = self.own {
            shutdown.begin();
            task.await.ok();
        }
    }
}

//! The outside world beside a city of `trangtien up`.

use anyhow::Context as _;
use platform::clock::Clock;
use platform::task::Shutdown;
use tokio::task::JoinHandle;

use crate::folder::Secrets;
use crate::listen;

/// A running sandbox.
#[derive(Debug)]
pub(super) struct Sandbox {
    port: u16,
    shutdown: Shutdown,
    task: JoinHandle<std::io::Result<()>>,
}

impl Sandbox {
    pub(super) async fn start(secrets: &Secrets, clock: Clock) -> anyhow::Result<Self> {
        let bound = listen::bind("localhost:0").context("cannot listen for the sandbox")?;
        let port = bound.port();
        let listeners = bound.into_listeners().context("cannot serve the sandbox")?;
        let shutdown = Shutdown::new();
        let task = tokio::spawn(::sandbox::serve_all(listeners, secrets.sandbox.clone(), clock, shutdown.clone()));
        Ok(Self { port, shutdown, task })
    }

    /// Where it answers to those who play with it.
    pub(super) fn url(&self) -> String {
        format!("http://localhost:{}", self.port)
    }

    pub(super) async fn stop(self) {
        self.shutdown.begin();
        self.task.await.ok();
    }
}

impl Sandbox {
    /// Where the city reaches it.
    pub(super) fn port(&self) -> u16 {
        self.port
    }
}

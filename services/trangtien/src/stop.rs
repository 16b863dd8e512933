//! Being asked to stop: Ctrl-C, SIGTERM or a hang-up stops in order; Ctrl-C or SIGTERM again stops at once.

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a process that was told to stop twice exits with: 128 + SIGINT.
const AT_ONCE: i32 = 130;

/// Waits for signals. From its making on they no longer end the process by themselves.
#[derive(Debug)]
pub struct Stop {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Stop {
    /// Takes the signals over. Must be called inside the runtime.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn new() -> anyhow::Result<Self> {
        let take = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            interrupt: take(SignalKind::interrupt())?,
            terminate: take(SignalKind::terminate())?,
            hangup: take(SignalKind::hangup())?,
        })
    }

    /// Waits until the process is asked to stop.
    pub async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }

    /// From now on the next Ctrl-C or SIGTERM ends the process at once; children are told by the kernel.
    /// A hang-up does not: the kernel sends it more than once when a parent dies.
    pub fn next_ends_at_once(mut self) {
        tokio::spawn(async move {
            tokio::select! {
                _ = self.interrupt.recv() => {}
                _ = self.terminate.recv() => {}
            }
            eprintln!("stopped at once; the next start recovers");
            std::process::exit(AT_ONCE);
        });
    }
}

//! How a relay rests that has moved everything: it gathers, asks to be woken, looks once more, sleeps.
//!
//! Invariant: nobody sleeps who has not asked and then looked. What is written before the request is found by that look; what is written
//! after it wakes ([`Source::rest`]). Whoever is awake says so, that nobody wakes them for nothing ([`Source::wake`]).

use std::time::Duration;

use super::{Source, SourceError};
use crate::wake::Wake;

/// How long entries gather after some were moved: a busy outbox is read in batches, and one that was quiet at once.
/// Whoever consumes them has as many transactions as there are batches.
const GATHER: Duration = Duration::from_millis(25);

/// How a relay rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// It just began, or something was told of; whoever writes still believes that it sleeps.
    Woken,
    /// For a moment, after which there may be more to move.
    Gathering,
    /// It asked to be woken, and looks once more.
    Asked,
    /// Until it is woken; it looks by itself, too.
    Asleep,
}

impl Rest {
    /// How it rests after a look that moved so many entries, fewer than a batch.
    pub(super) async fn after(self, moved: usize, source: &dyn Source) -> Result<Self, SourceError> {
        match self {
            Self::Asked | Self::Asleep if moved == 0 => Ok(Self::Asleep),
            Self::Gathering if moved == 0 && source.rest().await? => Ok(Self::Asked),
            Self::Gathering => Ok(Self::Gathering),
            // Also when there was nothing: it was an entry of another stream, or one that was moved already. More may come soon.
            Self::Woken | Self::Asked | Self::Asleep => {
                source.wake().await?;
                Ok(Self::Gathering)
            }
        }
    }

    /// Waits as long as one rests so; how it rests then.
    pub(super) async fn wait(self, wake: &Wake, poll: Duration) -> Self {
        match self {
            Self::Gathering => tokio::time::sleep(GATHER).await,
            Self::Asleep => tokio::select! {
                () = wake.notified() => return Self::Woken,
                () = tokio::time::sleep(poll) => {}
            },
            Self::Woken | Self::Asked => {}
        }
        self
    }
}

//! Redis as the platform uses it: one shared connection for short commands, own connections for blocking reads.
//!
//! Redis may be away at any time, also when the process starts: nothing here connects before the first command.
//! Invariants: a short command is answered or fails within [`CONNECT_TIMEOUT`] + [`RESPONSE_TIMEOUT`];
//! a blocking read never shares a connection with anything else.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Client, RedisError};

use crate::config::Secret;

/// How long one attempt to connect may take.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the shared connection waits for an answer.
pub const RESPONSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The way to one Redis. Cheap to clone; clones share a connection.
#[derive(Clone)]
pub struct RedisLink {
    client: Client,
    shared: Arc<OnceLock<ConnectionManager>>,
}

impl RedisLink {
    /// Reads a `redis://` URL; connects to nothing yet.
    ///
    /// # Errors
    /// When the URL is malformed.
    pub fn try_new(url: &Secret) -> Result<Self, RedisError> {
        Ok(Self { client: Client::open(url.expose())?, shared: Arc::default() })
    }

    /// The shared connection, for commands that answer at once.
    ///
    /// It connects with its first command and again after a loss; while Redis is away each command fails quickly.
    /// Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When the connection's settings are refused.
    pub fn manager(&self) -> Result<ConnectionManager, RedisError> {
        if let Some(manager) = self.shared.get() {
            return Ok(manager.clone());
        }
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(RESPONSE_TIMEOUT))
            .set_number_of_retries(0);
        let manager = ConnectionManager::new_lazy_with_config(self.client.clone(), config)?;
        Ok(self.shared.get_or_init(|| manager).clone())
    }

    /// A connection of the caller's own that waits for answers without end, for blocking reads.
    ///
    /// Dropping it ends a read that still blocks in Redis.
    ///
    /// # Errors
    /// When Redis can't be reached.
    pub async fn dedicated(&self) -> Result<MultiplexedConnection, RedisError> {
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT_TIMEOUT)).set_response_timeout(None);
        self.client.get_multiplexed_async_connection_with_config(&config).await
    }
}

impl fmt::Debug for RedisLink {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.client.get_connection_info().addr().to_string();
        formatter.debug_struct("RedisLink").field("address", &address).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_link_is_made_without_redis_and_shows_no_password() {
        let link = RedisLink::try_new(&Secret::new("redis://:top-secret@127.0.0.1:1/")).expect("well formed");
        let mut manager = link.manager().expect("made lazily");
        let asked = std::time::Instant::now();
        let answer: Result<String, _> = redis::cmd("PING").query_async(&mut manager).await;
        assert!(answer.is_err());
        assert!(asked.elapsed() < CONNECT_TIMEOUT + RESPONSE_TIMEOUT);
        assert!(!format!("{link:?}").contains("top-secret"));
    }
}

//! The way to Redis, which may be away at any time.
//!
//! Connections are made when first used, so that a process starts without Redis.
//! Invariant: nothing is kept in Redis that can't be rebuilt from PostgreSQL.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Client, RedisError};
use tokio::sync::OnceCell;

use crate::config::Secret;

/// The longest time to make a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// The longest time to wait for an answer on the shared connection.
const RESPONSE_TIMEOUT: Duration = Duration::from_millis(500);

/// Opens connections to one Redis. Cheap to clone.
#[derive(Clone)]
pub struct RedisLink {
    client: Client,
    shared: Arc<OnceCell<ConnectionManager>>,
}

impl std::fmt::Debug for RedisLink {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("RedisLink")
    }
}

impl RedisLink {
    /// A link to the server at a `redis://` URL; nothing is connected yet.
    ///
    /// # Errors
    /// When the URL can't be parsed.
    pub fn new(url: &Secret) -> Result<Self, RedisError> {
        Ok(Self { client: Client::open(url.expose())?, shared: Arc::default() })
    }

    /// The shared connection, which reconnects by itself; for short commands.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn manager(&self) -> Result<ConnectionManager, RedisError> {
        let connect = || async {
            let config = ConnectionManagerConfig::new()
                .set_connection_timeout(Some(CONNECT_TIMEOUT))
                .set_response_timeout(Some(RESPONSE_TIMEOUT))
                .set_number_of_retries(0);
            ConnectionManager::new_with_config(self.client.clone(), config).await
        };
        self.shared.get_or_try_init(connect).await.cloned()
    }

    /// A connection of its own without a response timeout, for commands that block on the server.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn dedicated(&self) -> Result<MultiplexedConnection, RedisError> {
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT_TIMEOUT)).set_response_timeout(None);
        self.client.get_multiplexed_async_connection_with_config(&config).await
    }
}

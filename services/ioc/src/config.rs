//! Settings of the role, checked before anything starts.

use std::net::IpAddr;

use platform::config::Secret;
use serde::{Deserialize, Serialize};
use url::Url;
use uuid::Uuid;

use crate::network::Network;
use crate::peers::Peer;
pub use crate::sensor::client::{SensorClient, SensorClients};

/// Settings of the operations centre.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What the wall is at the city's OpenID provider; without it nobody signs in by browser.
    pub sign_in: Option<SignInConfig>,
    /// Where this process reaches the city's public HTTP from inside; the public URL when not given.
    pub city_url: Option<Url>,
    /// Whether anyone who reaches the port may see the wall (aggregates and the last payments without their payers).
    /// For demonstrations. The metrics stay internal.
    pub public_wall: bool,
    /// Networks whose addresses count as internal, for instance `10.42.0.0/16` for the pods that scrape. Loopback always does.
    pub internal_networks: Vec<Network>,
    /// Processes that are asked for health and metrics beside this one.
    pub peers: Vec<Peer>,
    /// The most walls that one process serves at a time.
    pub max_walls: usize,
    /// Who sends readings of sensors, by HTTP Basic, and of which stations.
    pub sensor_clients: SensorClients,
}

/// The wall as a client of the OpenID provider; `trangtien admin set-up-wall` registers it there.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignInConfig {
    /// A UUID of your choice.
    pub client_id: Uuid,
    /// At least 32 random bytes; it also seals what a browser keeps while it signs in.
    pub client_secret: Secret,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            sign_in: None,
            city_url: None,
            public_wall: false,
            internal_networks: Vec::new(),
            peers: Vec::new(),
            max_walls: 200,
            sensor_clients: SensorClients::default(),
        }
    }
}

impl Config {
    /// Whether an address may see what is internal.
    pub fn is_internal(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_loopback() || self.internal_networks.iter().any(|network| network.contains(address))
    }
}

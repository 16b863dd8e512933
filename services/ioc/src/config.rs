//! Settings of the role, checked before anything starts.

use std::net::IpAddr;

use platform::http::Machines;
use serde::{Deserialize, Serialize};

use crate::network::Network;
use crate::peers::Peer;

/// Settings of the operations centre.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Whether anyone who reaches the port may see the wall (aggregates and the last payments without their payers).
    /// For demonstrations. The metrics stay internal.
    pub public_wall: bool,
    /// Networks whose addresses count as internal, for instance `10.42.0.0/16` for the pods that scrape. Loopback always does.
    pub internal_networks: Vec<Network>,
    /// Processes that are asked for health and metrics beside this one.
    pub peers: Vec<Peer>,
    /// The most walls that one process serves at a time.
    pub max_walls: usize,
    /// Names and secrets of those who send readings of sensors, by HTTP Basic.
    pub sensor_clients: Machines,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            public_wall: false,
            internal_networks: Vec::new(),
            peers: Vec::new(),
            max_walls: 200,
            sensor_clients: Machines::default(),
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

//! How the centre asks the city's roles how they are: of this process through what the program gives it, of others over HTTP (`peers`).

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One role in one process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub struct RoleHealth {
    /// The role's name.
    #[schema(example = "wallet")]
    pub service: String,
    /// The process's name.
    pub instance: String,
    /// Whether the process answers.
    pub up: bool,
    /// Whether the role can serve.
    pub ready: bool,
    /// What is missing, in a few words, when it is not ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// What one role in one process says of its metrics.
#[derive(Clone, Debug)]
pub struct RoleMetrics {
    /// The role's name.
    pub service: String,
    /// The process's name.
    pub instance: String,
    /// The Prometheus text, or why there is none. Roles of one process may share a text: give it once and empty ones after.
    pub exposition: Result<String, String>,
}

/// Knows roles. Answers within a few seconds, also when a role does not.
#[async_trait]
pub trait RoleStatus: Send + Sync {
    /// The health of every role that is known, also of those that are down.
    async fn status(&self) -> Vec<RoleHealth>;
    /// The metrics of every role that is known.
    async fn metrics(&self) -> Vec<RoleMetrics>;
}

/// Several sources of roles, as one.
#[derive(Clone)]
pub(crate) struct Every(pub(crate) Vec<Arc<dyn RoleStatus>>);

#[async_trait]
impl RoleStatus for Every {
    async fn status(&self) -> Vec<RoleHealth> {
        futures::future::join_all(self.0.iter().map(|roles| roles.status())).await.into_iter().flatten().collect()
    }

    async fn metrics(&self) -> Vec<RoleMetrics> {
        futures::future::join_all(self.0.iter().map(|roles| roles.metrics())).await.into_iter().flatten().collect()
    }
}

//! What a role is made of, and what every role is given.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use sqlx::PgPool;
use url::Url;

use crate::auth::Verifier;
use crate::clock::Clock;
use crate::http::ApiRouter;
use crate::metrics::Metrics;
use crate::redis::RedisLink;
use crate::task::Task;

/// What every role is given by the program that runs it.
#[derive(Clone, Debug)]
pub struct Context {
    /// The role's database, as its runtime role.
    pub pool: PgPool,
    /// Redis, which may be away at any time.
    pub redis: RedisLink,
    /// Time.
    pub clock: Clock,
    /// The role's metrics.
    pub metrics: Metrics,
    /// Checks the tokens of callers; also ends streams whose session ended.
    pub verifier: Verifier,
    /// The city's folder.
    pub city: Arc<PathBuf>,
    /// The origin that clients see, for instance `http://localhost:8080`.
    pub public_url: Url,
    /// The name of this process, unique among those that run now.
    pub instance: String,
}

/// One role, ready to be served.
pub struct Service {
    /// Public routes and their description.
    pub http: ApiRouter,
    /// gRPC services for other roles.
    pub grpc: Option<tonic::service::Routes>,
    /// Background work.
    pub tasks: Vec<Task>,
    /// What must hold for the role to be ready, beside its tasks running and its database answering.
    pub ready: Vec<Arc<dyn ReadyCheck>>,
    /// The role's metrics.
    pub metrics: Metrics,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Service")
            .field("metrics", &self.metrics.service())
            .field("tasks", &self.tasks)
            .finish_non_exhaustive()
    }
}

/// One condition of readiness.
#[async_trait]
pub trait ReadyCheck: Send + Sync {
    /// A bounded name, for instance `database`.
    fn name(&self) -> &'static str;
    /// `Err` says in a few words what is missing; it is shown to operators.
    async fn check(&self) -> Result<(), String>;
}

/// The database answers.
#[derive(Clone, Debug)]
pub struct DatabaseReady(pub PgPool);

#[async_trait]
impl ReadyCheck for DatabaseReady {
    fn name(&self) -> &'static str {
        "database"
    }

    async fn check(&self) -> Result<(), String> {
        sqlx::query("SELECT 1")
            .execute(&self.0)
            .await
            .map(|_| ())
            .map_err(|_| "the database does not answer".to_owned())
    }
}

/// The issuer's keys are known, so that tokens can be checked.
#[derive(Clone, Debug)]
pub struct KeysReady(pub Verifier);

#[async_trait]
impl ReadyCheck for KeysReady {
    fn name(&self) -> &'static str {
        "keys"
    }

    async fn check(&self) -> Result<(), String> {
        if self.0.is_ready() { Ok(()) } else { Err("signing keys are not known yet".to_owned()) }
    }
}

//! What the common routes, and the operations centre, tell about this process.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use ioc::metrics::{Exposition, Family, READY, READY_HELP};
use ioc::role::{RoleHealth, RoleMetrics, RoleStatus};
use platform::metrics::Metrics;
use platform::problem::{Problem, UNAVAILABLE};
use platform::service::ReadyCheck;
use serde_json::Value;
use url::Url;

use crate::config::AppConfig;
use crate::http::{Front, OK, Readiness};
use crate::role::Role;

/// How long one check of readiness may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);
/// The same while metrics are read: whoever reads them waits little longer than [`CHECK_TIMEOUT`] for all of them.
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(1);

/// What each role's readiness rests on.
pub(super) type Checks = BTreeMap<Role, Vec<Arc<dyn ReadyCheck>>>;

/// What the common routes, and the operations centre, tell about this process.
pub(super) struct Shared {
    pub(super) stopping: AtomicBool,
    pub(super) instance: String,
    pub(super) metrics: BTreeMap<Role, Metrics>,
    pub(super) public_url: Url,
    pub(super) app: AppConfig,
    /// Set once all roles are built.
    pub(super) checks: OnceLock<Checks>,
    pub(super) document: OnceLock<Arc<Value>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Shared").field("roles", &self.metrics.keys()).finish_non_exhaustive()
    }
}

#[async_trait]
impl RoleStatus for Shared {
    async fn status(&self) -> Vec<RoleHealth> {
        let readiness = self.readiness().await;
        let health = |role: &Role| {
            let checks = readiness.roles.get(role).into_iter().flatten();
            let missing: Vec<String> =
                checks.filter(|(_, said)| *said != OK).map(|(name, said)| format!("{name}: {said}")).collect();
            RoleHealth {
                service: role.name().to_owned(),
                instance: self.instance.clone(),
                up: true,
                ready: readiness.of(*role),
                detail: (!missing.is_empty()).then(|| missing.join("; ")),
            }
        };
        self.metrics.keys().map(health).collect()
    }

    async fn metrics(&self) -> Vec<RoleMetrics> {
        let readiness = self.readiness_within(SCRAPE_TIMEOUT).await;
        let own = |(role, metrics): (&Role, &Metrics)| RoleMetrics {
            service: role.name().to_owned(),
            instance: self.instance.clone(),
            exposition: Ok(metrics.encode() + &self.tell_ready(&readiness, &[*role])),
        };
        self.metrics.iter().map(own).collect()
    }
}

#[async_trait]
impl Front for Shared {
    fn roles(&self) -> Vec<Role> {
        self.metrics.keys().copied().collect()
    }

    async fn readiness(&self) -> Readiness {
        self.readiness_within(CHECK_TIMEOUT).await
    }

    async fn document(&self) -> Result<Arc<Value>, Problem> {
        self.document.get().cloned().ok_or_else(|| Problem::new(UNAVAILABLE))
    }

    async fn metrics(&self, role: Option<Role>) -> Result<String, Problem> {
        let wanted: Vec<Role> =
            self.metrics.keys().copied().filter(|known| role.is_none_or(|role| role == *known)).collect();
        let text: String = wanted.iter().map(|role| self.metrics[role].encode()).collect();
        Ok(text + &self.tell_ready(&self.readiness_within(SCRAPE_TIMEOUT).await, &wanted))
    }

    fn public_url(&self) -> &Url {
        &self.public_url
    }

    fn app(&self) -> &AppConfig {
        &self.app
    }
}

impl Shared {
    /// What each role's readiness rests on; a check that takes longer does not hold.
    async fn readiness_within(&self, patience: Duration) -> Readiness {
        let checks = self.checks.get();
        let all =
            checks.into_iter().flatten().flat_map(|(role, checks)| checks.iter().map(move |check| (*role, check)));
        let asked = all.map(|(role, check)| async move {
            let said = tokio::time::timeout(patience, check.check()).await;
            let said = said.unwrap_or_else(|_| Err("no answer in time".to_owned()));
            (role, check.name().to_owned(), said.map_or_else(|missing| missing, |()| OK.to_owned()))
        });
        let mut readiness = Readiness { stopping: self.stopping.load(Ordering::SeqCst), ..Readiness::default() };
        for (role, name, said) in futures::future::join_all(asked).await {
            readiness.roles.entry(role).or_default().insert(name, said);
        }
        readiness
    }

    /// The readiness of some roles as their metrics tell it.
    fn tell_ready(&self, readiness: &Readiness, roles: &[Role]) -> String {
        let said = roles.iter().map(|role| ((role.name().to_owned(), self.instance.clone()), readiness.of(*role)));
        let families = BTreeMap::from([(READY.to_owned(), Family::fact(READY, READY_HELP, said))]);
        Exposition { families }.write()
    }
}

/// Every background task of the role still runs.
pub(super) struct TasksReady(pub(super) Arc<AtomicBool>);

#[async_trait]
impl ReadyCheck for TasksReady {
    fn name(&self) -> &'static str {
        "tasks"
    }

    async fn check(&self) -> Result<(), String> {
        if self.0.load(Ordering::SeqCst) { Ok(()) } else { Err("a background task has ended; see the log".to_owned()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Said(Result<(), String>);

    #[async_trait]
    impl ReadyCheck for Said {
        fn name(&self) -> &'static str {
            "database"
        }

        async fn check(&self) -> Result<(), String> {
            self.0.clone()
        }
    }

    #[tokio::test]
    async fn a_role_that_answers_and_can_not_serve_says_so_in_its_metrics() {
        let check = |said| vec![Arc::new(Said(said)) as Arc<dyn ReadyCheck>];
        let checks = [(Role::Wallet, check(Err("it is away".to_owned()))), (Role::Identity, check(Ok(())))];
        let shared = Shared {
            stopping: AtomicBool::new(false),
            instance: "one".to_owned(),
            metrics: checks.iter().map(|(role, _)| (*role, Metrics::new(role.name(), "one"))).collect(),
            public_url: "http://localhost:8080".parse().expect("a URL"),
            app: AppConfig::default(),
            checks: OnceLock::from(Checks::from(checks)),
            document: OnceLock::new(),
        };
        let line = |role: &str, ready: u8| format!("trangtien_ready{{instance=\"one\",service=\"{role}\"}} {ready}\n");
        let whole = Front::metrics(&shared, None).await.expect("text");
        assert!(whole.contains(&line("wallet", 0)) && whole.contains(&line("identity", 1)), "{whole}");
        ioc::metrics::parse(&whole).expect("a family stands there once");
        let one = Front::metrics(&shared, Some(Role::Identity)).await.expect("text");
        assert!(one.contains(&line("identity", 1)) && !one.contains("wallet"), "{one}");
        for role in RoleStatus::metrics(&shared).await {
            let ready = u8::from(role.service == "identity");
            assert!(role.exposition.expect("text").contains(&line(&role.service, ready)), "{}", role.service);
        }
    }
}

//! Wires the roles of one process: straight-line code, from settings to listeners.
//!
//! Order: pools and token check → roles in the order of [`Role::ALL`], each given channels to those before it → routes → listeners → tasks.
//! A channel leads to the role in this process when it is here, over mutual TLS to its peer when not.
//! Shutdown: readiness off → public listeners drain → the gRPC listener drains → tasks finish → pools close.

mod shared;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use axum::{Extension, Router};
use platform::auth::{GrpcKeySource, Verifier};
use platform::clock::Clock;
use platform::http::Internal;
use platform::metrics::Metrics;
use platform::redis::RedisLink;
use platform::rpc::{self, CallMetrics, CallSettings, Channel, InboundLayer};
use platform::service::{Context, DatabaseReady, KeysReady, Service};
use platform::task::{Shutdown, Task, Tasks};
use platform::{db, http as web};
use serde_json::Value;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tonic::service::Routes;

use self::shared::{Checks, Shared, TasksReady};
use crate::config::Config;
use crate::http::{self, Front as _, Readiness};
use crate::listen::Bound;
use crate::role::Role;

/// How long calls from other roles may take after shutdown began.
const GRPC_DRAIN: Duration = Duration::from_secs(5);
/// How long tasks may take to finish.
const TASKS_LIMIT: Duration = Duration::from_secs(15);
/// How long pools may take to close.
const POOLS_LIMIT: Duration = Duration::from_secs(2);

/// A running process: its roles answer.
#[derive(Debug)]
pub struct Running {
    shared: Arc<Shared>,
    http: Shutdown,
    grpc: Shutdown,
    work: Shutdown,
    servers: JoinSet<()>,
    grpc_servers: JoinSet<()>,
    tasks: Vec<Tasks>,
    pools: Vec<PgPool>,
    readiness_off: Duration,
}

/// Builds the roles and starts to serve them on the public sockets that the caller has bound. Must be called inside the runtime.
///
/// # Errors
/// What a role needs and does not have, as a sentence.
pub async fn start(config: Config, roles: &BTreeSet<Role>, clock: Clock, public: Bound) -> anyhow::Result<Running> {
    let faults = config.faults(roles);
    anyhow::ensure!(faults.is_empty(), "the configuration is not valid:\n  {}", faults.join("\n  "));
    assemble(config, roles, clock).await?.serve(public).await
}

/// The API of all roles, as a document. Nothing is served and no server is needed.
///
/// # Errors
/// When a role can't be built from the settings.
pub async fn document(config: Config) -> anyhow::Result<Value> {
    let mut node = assemble(config, &BTreeSet::from(Role::ALL), Clock::system()).await?;
    node.take_routes().map(|(_, document)| document)
}

/// What a role is given, for a command that works on it while it may be running elsewhere.
///
/// # Errors
/// When a URL of the settings is not valid.
pub fn context(config: Config, role: Role) -> anyhow::Result<Context> {
    Ok(Node::new(config, &BTreeSet::from([role]), Clock::system())?.context(role))
}

async fn assemble(config: Config, roles: &BTreeSet<Role>, clock: Clock) -> anyhow::Result<Node> {
    let mut node = Node::new(config, roles, clock)?;
    for role in roles {
        let service = build(&node, *role).await.with_context(|| format!("cannot build the role {role}"))?;
        node.add(*role, service);
    }
    Ok(node)
}

/// Builds one role; those that it calls were built before it or run elsewhere.
async fn build(node: &Node, role: Role) -> anyhow::Result<Service> {
    let (config, context) = (&node.config, node.context(role));
    Ok(match role {
        Role::Identity => identity::build(config.identity.clone(), identity::Deps { context }).await?,
        Role::Wallet => {
            let identity = node.channel(role, Role::Identity)?;
            wallet::build(config.wallet.clone(), wallet::Deps { context, identity }).await?
        }
        Role::Reports => {
            let identity = node.channel(role, Role::Identity)?;
            reports::build(config.reports.clone(), reports::Deps { context, identity }).await?
        }
        Role::Notifications => {
            let identity = node.channel(role, Role::Identity)?;
            notifications::build(config.notifications.clone(), notifications::Deps { context, identity }).await?
        }
        Role::Ioc => {
            let wallet = node.channel(role, Role::Wallet)?;
            let roles = node.shared.clone();
            ioc::build(config.ioc.clone(), ioc::Deps { context, wallet, roles }).await?
        }
    })
}

/// A process while it is put together.
struct Node {
    config: Config,
    clock: Clock,
    instance: String,
    redis: RedisLink,
    verifier: Verifier,
    metrics: BTreeMap<Role, Metrics>,
    pools: BTreeMap<Role, PgPool>,
    tasks: Vec<Task>,
    built: BTreeMap<Role, Service>,
    inbound: BTreeMap<Role, InboundLayer>,
    shared: Arc<Shared>,
}

impl Node {
    fn new(config: Config, roles: &BTreeSet<Role>, clock: Clock) -> anyhow::Result<Self> {
        let instance = config.instance_name();
        let metrics: BTreeMap<Role, Metrics> =
            roles.iter().map(|role| (*role, Metrics::new(role.name(), &instance))).collect();
        metrics.values().for_each(|metrics| metrics.export_time(clock.clone()));
        let mut pools = BTreeMap::new();
        for role in roles {
            let pool = db::pool(config.database.of(*role), &format!("trangtien {role}"))
                .with_context(|| format!("`database.{role}.url` is not a PostgreSQL URL"))?;
            pools.insert(*role, pool);
        }
        let redis = RedisLink::try_new(&config.redis_url).context("`redis_url` is not a Redis URL")?;
        let (verifier, task) = verifier(&config, &clock, &metrics, &pools)?;
        let shared = Arc::new(Shared {
            stopping: AtomicBool::new(false),
            instance: instance.clone(),
            checks: OnceLock::new(),
            metrics: metrics.clone(),
            document: OnceLock::new(),
            public_url: config.public_url.clone(),
            app: config.app.clone(),
        });
        Ok(Self {
            config,
            clock,
            instance,
            redis,
            verifier,
            metrics,
            pools,
            tasks: vec![task],
            built: BTreeMap::new(),
            inbound: BTreeMap::new(),
            shared,
        })
    }

    fn context(&self, role: Role) -> Context {
        Context {
            pool: self.pools[&role].clone(),
            redis: self.redis.clone(),
            clock: self.clock.clone(),
            metrics: self.metrics[&role].clone(),
            verifier: self.verifier.clone(),
            city: Arc::new(self.config.city.clone()),
            public_url: self.config.public_url.clone(),
            instance: self.instance.clone(),
        }
    }

    fn add(&mut self, role: Role, service: Service) {
        self.inbound.insert(role, InboundLayer::new(&self.metrics[&role]));
        self.built.insert(role, service);
    }

    /// How `caller` reaches `callee`.
    fn channel(&self, caller: Role, callee: Role) -> anyhow::Result<Channel> {
        let here = self.built.get(&callee).and_then(|service| service.grpc.clone());
        if let Some(routes) = here {
            let calls = CallMetrics::new(&self.metrics[&caller]);
            let inbound = self.inbound[&callee].clone();
            return Ok(rpc::in_process(caller.name(), routes, inbound, &calls, CallSettings::default()));
        }
        remote(&self.config, &self.metrics[&caller], callee)
    }

    /// Takes the roles' routes, measured, and the description of all.
    fn take_routes(&mut self) -> anyhow::Result<(Router, Value)> {
        let (mut router, mut document) = (Router::new(), http::describe(&self.config.public_url));
        for (role, service) in &mut self.built {
            let (routes, part) = std::mem::take(&mut service.http).split_for_parts();
            router = router.merge(web::instrument(routes, &service.metrics));
            let part = serde_json::to_value(part).with_context(|| format!("cannot describe the API of {role}"))?;
            http::merge(&mut document, &part);
        }
        http::describe_problems(&mut document);
        Ok((router, document))
    }

    /// Starts the roles' tasks and answers them with the checks of each role: its own, and those that every role has.
    fn start_tasks(&mut self, work: &Shutdown) -> (Vec<Tasks>, Checks) {
        let (mut running, mut all) = (vec![Tasks::start(std::mem::take(&mut self.tasks), work)], Checks::new());
        for (role, service) in &mut self.built {
            let tasks = Tasks::start(std::mem::take(&mut service.tasks), work);
            let mut checks = std::mem::take(&mut service.ready);
            checks.push(Arc::new(DatabaseReady(self.pools[role].clone())));
            checks.push(Arc::new(KeysReady(self.verifier.clone())));
            checks.push(Arc::new(TasksReady(tasks.health())));
            let mut known = BTreeSet::new();
            checks.retain(|check| known.insert(check.name()));
            all.insert(*role, checks);
            running.push(tasks);
        }
        (running, all)
    }

    async fn serve(mut self, public: Bound) -> anyhow::Result<Running> {
        let (http, grpc, work) = (Shutdown::new(), Shutdown::new(), Shutdown::new());
        let grpc_servers = self.serve_grpc(&grpc).await?;
        let (router, document) = self.take_routes()?;
        let (tasks, checks) = self.start_tasks(&work);
        self.shared.document.set(Arc::new(document)).expect("a process is served once");
        self.shared.checks.set(checks).ok().expect("a process is served once");
        let router = router.merge(http::routes(self.shared.clone()));
        let router = web::finish(router, self.config.http.limits, self.verifier.clone(), http.clone());
        let servers = self.serve_http(public, router, &http).await?;
        Ok(Running {
            shared: self.shared,
            http,
            grpc,
            work,
            servers,
            grpc_servers,
            tasks,
            pools: self.pools.into_values().collect(),
            readiness_off: Duration::from_millis(self.config.http.readiness_off_ms),
        })
    }

    async fn serve_http(&self, public: Bound, router: Router, shutdown: &Shutdown) -> anyhow::Result<JoinSet<()>> {
        let mut servers = JoinSet::new();
        let settings = self.config.http.server;
        for listener in public.into_listeners().context("cannot serve the public listener")? {
            servers.spawn(web::serve(listener, router.clone(), settings, shutdown.clone()));
        }
        if let Some(address) = self.config.internal.listen {
            let listener = TcpListener::bind(address)
                .await
                .with_context(|| format!("`internal.listen`: cannot listen on {address}"))?;
            servers.spawn(web::serve(listener, router.layer(Extension(Internal)), settings, shutdown.clone()));
        }
        Ok(servers)
    }

    async fn serve_grpc(&self, shutdown: &Shutdown) -> anyhow::Result<JoinSet<()>> {
        let mut servers = JoinSet::new();
        let Some(address) = self.config.grpc.listen else { return Ok(servers) };
        let Some(inbound) = self.inbound.values().next().cloned() else { return Ok(servers) };
        let mut routes = Routes::builder().routes();
        let (health, health_service) = tonic_health::server::health_reporter();
        health.set_service_status("", tonic_health::ServingStatus::Serving).await;
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::FILE_DESCRIPTOR_SET)
            .build_v1()
            .context("the contracts can't be described")?;
        routes = routes.add_service(health_service).add_service(reflection);
        let mut router = routes.into_axum_router();
        for service in self.built.values() {
            if let Some(more) = service.grpc.clone() {
                // Only one part may answer what nobody knows.
                router = router.merge(more.into_axum_router().reset_fallback());
            }
        }
        let listener =
            TcpListener::bind(address).await.with_context(|| format!("`grpc.listen`: cannot listen on {address}"))?;
        let (tls, shutdown) = (self.config.tls.clone(), shutdown.clone());
        servers.spawn(async move {
            if let Err(error) = rpc::serve(listener, Routes::from(router), inbound, &tls, shutdown).await {
                tracing::error!(%error, "the gRPC listener ended");
            }
        });
        Ok(servers)
    }
}

/// Keys come from identity's own tables when it is here, by gRPC when not.
fn verifier(
    config: &Config,
    clock: &Clock,
    metrics: &BTreeMap<Role, Metrics>,
    pools: &BTreeMap<Role, PgPool>,
) -> anyhow::Result<(Verifier, Task)> {
    if let Some(pool) = pools.get(&Role::Identity) {
        let issuer = config.identity.issuer_for(&config.public_url);
        let source = identity::DatabaseKeySource::new(pool.clone(), issuer, clock.clone());
        return Ok(Verifier::new(source, clock.clone()));
    }
    let metrics = metrics.values().next().context("at least one role is needed")?;
    Ok(Verifier::new(GrpcKeySource::new(remote(config, metrics, Role::Identity)?), clock.clone()))
}

fn remote(config: &Config, caller: &Metrics, callee: Role) -> anyhow::Result<Channel> {
    let address = config.peers.get(&callee).with_context(|| format!("`peers.{callee}` is not set"))?;
    rpc::connect(callee.name(), address, &config.tls, &CallMetrics::new(caller), CallSettings::default())
        .with_context(|| format!("cannot call {callee} at {address}"))
}

impl Running {
    /// What each role's readiness rests on.
    pub async fn readiness(&self) -> Readiness {
        self.shared.readiness().await
    }

    /// Stops in order: readiness off → listeners drain → tasks finish.
    pub async fn stop(mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        tokio::time::sleep(self.readiness_off).await;
        self.http.begin();
        while self.servers.join_next().await.is_some() {}
        self.grpc.begin();
        let drained = async { while self.grpc_servers.join_next().await.is_some() {} };
        // An open stream (health watch, reflection) would hold it for ever.
        if tokio::time::timeout(GRPC_DRAIN, drained).await.is_err() {
            self.grpc_servers.shutdown().await;
        }
        self.work.begin();
        let finishing = self.tasks.into_iter().map(|tasks| tasks.finish(TASKS_LIMIT));
        futures::future::join_all(finishing).await;
        let closing = self.pools.iter().map(PgPool::close);
        tokio::time::timeout(POOLS_LIMIT, futures::future::join_all(closing)).await.ok();
    }
}

//! What a process answers under its one origin beside its roles' own routes: health, metrics, the API's description, app configuration.
//!
//! The same routes stand in front of roles in this process (`run`) and of roles in other processes (`gateway`): see [`Front`].
//! Invariant: metrics answer on loopback and on the internal listener only.

mod document;
mod internal;
mod page;
mod stream;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use axum::extract::State;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::{StatusCode, header};
use platform::http::Path;
use platform::problem::{NOT_FOUND, Problem};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;

pub(crate) use document::{describe, merge};
pub use internal::Internal;
pub(crate) use internal::guard;
pub(crate) use stream::end_streams;

use crate::config::AppConfig;
use crate::role::Role;

/// The type of Prometheus's text exposition.
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";
/// How long an app may keep its configuration.
const CONFIGURATION_AGE: &str = "public, max-age=300";

/// What stands behind the common routes: roles in this process, or in others.
#[async_trait]
pub(crate) trait Front: Send + Sync + 'static {
    /// The roles that answer here.
    fn roles(&self) -> Vec<Role>;
    /// What each role's readiness rests on.
    async fn readiness(&self) -> Readiness;
    /// The API of all roles as one OpenAPI document.
    async fn document(&self) -> Result<Arc<Value>, Problem>;
    /// Prometheus exposition: of one role, or of all.
    async fn metrics(&self, role: Option<Role>) -> Result<String, Problem>;
    /// The origin that clients see.
    fn public_url(&self) -> &Url;
    /// What apps are told.
    fn app(&self) -> &AppConfig;
}

/// What each role's readiness rests on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// The process is stopping: nothing is ready any more.
    pub stopping: bool,
    /// Per role the name of each check with `ok` or what is missing.
    pub roles: BTreeMap<Role, BTreeMap<String, String>>,
}

/// What a check says when all is well.
pub const OK: &str = "ok";

impl Readiness {
    /// Whether everything is ready.
    #[must_use]
    pub fn all(&self) -> bool {
        !self.stopping && self.roles.values().all(|checks| checks.values().all(|check| check == OK))
    }

    /// Whether one role is ready.
    #[must_use]
    pub fn of(&self, role: Role) -> bool {
        !self.stopping && self.roles.get(&role).is_some_and(|checks| checks.values().all(|check| check == OK))
    }
}

type Shared = State<Arc<dyn Front>>;

/// The common routes.
pub(crate) fn routes(front: Arc<dyn Front>) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/{role}/healthz", get(role_healthz))
        .route("/{role}/readyz", get(role_readyz))
        .route("/{role}/metrics", get(role_metrics))
        .route("/openapi.json", get(openapi))
        .route("/docs", get(docs))
        .route("/docs/problems", get(problems))
        .route("/app/v1/configuration", get(configuration))
        .with_state(front)
}

async fn healthz() -> Json<Value> {
    Json(json!({ "status": OK }))
}

async fn readyz(State(front): Shared) -> Response {
    let readiness = front.readiness().await;
    let body = json!({ "ready": readiness.all(), "stopping": readiness.stopping, "roles": readiness.roles });
    (status_of(readiness.all()), Json(body)).into_response()
}

async fn role_healthz(State(front): Shared, Path(role): Path<Role>) -> Result<Json<Value>, Problem> {
    here(front.as_ref(), role)?;
    Ok(healthz().await)
}

async fn role_readyz(State(front): Shared, Path(role): Path<Role>) -> Result<Response, Problem> {
    here(front.as_ref(), role)?;
    let readiness = front.readiness().await;
    let body =
        json!({ "ready": readiness.of(role), "stopping": readiness.stopping, "checks": readiness.roles.get(&role) });
    Ok((status_of(readiness.of(role)), Json(body)).into_response())
}

fn status_of(ready: bool) -> StatusCode {
    if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

fn here(front: &dyn Front, role: Role) -> Result<(), Problem> {
    if front.roles().contains(&role) { Ok(()) } else { Err(Problem::new(NOT_FOUND)) }
}

async fn metrics(State(front): Shared) -> Result<Response, Problem> {
    front.metrics(None).await.map(exposition)
}

async fn role_metrics(State(front): Shared, Path(role): Path<Role>) -> Result<Response, Problem> {
    here(front.as_ref(), role)?;
    front.metrics(Some(role)).await.map(exposition)
}

fn exposition(text: String) -> Response {
    ([(header::CONTENT_TYPE, EXPOSITION)], text).into_response()
}

async fn openapi(State(front): Shared) -> Result<Response, Problem> {
    let document = front.document().await?;
    Ok(Json(document.as_ref()).into_response())
}

async fn docs(State(front): Shared) -> Result<Html<String>, Problem> {
    Ok(Html(page::api(front.document().await?.as_ref())))
}

async fn problems() -> Html<String> {
    Html(page::problems())
}

async fn configuration(State(front): Shared) -> Response {
    let features: BTreeMap<&str, bool> =
        Role::ALL.into_iter().map(|role| (role.name(), front.roles().contains(&role))).collect();
    let mut body = json!({
        "minimum_version": front.app().minimum_version,
        "features": features,
        "languages": ["vi", "en"],
        "issuer": front.public_url().as_str().trim_end_matches('/'),
    });
    if let Some(sandbox) = &front.app().sandbox {
        body["sandbox"] = json!(sandbox.as_str().trim_end_matches('/'));
    }
    ([(header::CACHE_CONTROL, CONFIGURATION_AGE)], Json(body)).into_response()
}

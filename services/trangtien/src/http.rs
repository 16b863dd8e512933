//! What a process answers under its one origin beside its roles' own routes: health, metrics, the API's description, app configuration.
//!
//! The same routes stand in front of roles in this process (`run`) and of roles in other processes (`gateway`): see [`Front`].
//! Invariant: metrics answer on loopback and on the internal listener only.

mod document;
mod page;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use axum::extract::State;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::{StatusCode, header};
use platform::http::{Language, Path};
use platform::problem::{NOT_FOUND, Problem};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;
use utoipa::ToSchema;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) use document::{describe, describe_problems, merge};

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

/// The process runs.
#[derive(Serialize, ToSchema)]
struct Health {
    /// `ok`.
    status: &'static str,
}

/// Whether everything is ready, and what that rests on.
#[derive(Serialize, ToSchema)]
struct ReadyBody {
    /// Whether all checks are fine and the process is not stopping.
    ready: bool,
    /// Whether the process is stopping.
    stopping: bool,
    /// By role: the name of each check with `ok` or what is missing.
    roles: BTreeMap<&'static str, BTreeMap<String, String>>,
}

/// What an app asks for when it starts.
#[derive(Serialize, ToSchema)]
struct Configuration {
    /// By platform: the oldest version of the app that may go on without an update.
    minimum_version: BTreeMap<String, String>,
    /// What this city offers.
    features: BTreeMap<&'static str, bool>,
    /// The languages of answers, by `Accept-Language`.
    languages: [&'static str; 2],
    /// The issuer of tokens.
    issuer: String,
    /// In a city for demonstrations: where the messages that it sends can be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    sandbox: Option<String>,
}

/// The common routes with their description.
fn described() -> OpenApiRouter<Arc<dyn Front>> {
    OpenApiRouter::new()
        .routes(routes!(healthz))
        .routes(routes!(readyz))
        .routes(routes!(metrics))
        .routes(routes!(role_healthz))
        .routes(routes!(role_readyz))
        .routes(routes!(role_metrics))
        .routes(routes!(configuration))
}

/// The description of the common routes.
pub(crate) fn common_document() -> OpenApi {
    described().into_openapi()
}

/// The common routes.
pub(crate) fn routes(front: Arc<dyn Front>) -> Router {
    let (router, _) = described().split_for_parts();
    router
        .route("/openapi.json", get(openapi))
        .route("/docs", get(docs))
        .route("/docs/problems", get(problems))
        .with_state(front)
}

/// Says that the process runs.
#[utoipa::path(get, path = "/healthz", tag = "city", responses((status = 200, description = "It runs.", body = Health)))]
async fn healthz() -> Json<Health> {
    Json(Health { status: OK })
}

/// Says whether all roles can serve, and what is missing.
#[utoipa::path(get, path = "/readyz", tag = "city", responses(
    (status = 200, description = "Everything is ready.", body = ReadyBody),
    (status = 503, description = "Something is missing, or the process is stopping.", body = ReadyBody),
))]
async fn readyz(State(front): Shared) -> Response {
    let readiness = front.readiness().await;
    answer(readiness.all(), readiness)
}

/// Says that the process of a role runs.
#[utoipa::path(get, path = "/{role}/healthz", tag = "city", params(("role" = String, Path, description = "The role.")), responses(
    (status = 200, description = "It runs.", body = Health),
    (status = 404, description = "`not-found`: this role is not here.", content_type = "application/problem+json"),
))]
async fn role_healthz(State(front): Shared, Path(role): Path<Role>) -> Result<Json<Health>, Problem> {
    here(front.as_ref(), role)?;
    Ok(healthz().await)
}

/// Says whether one role can serve, and what is missing.
#[utoipa::path(get, path = "/{role}/readyz", tag = "city", params(("role" = String, Path, description = "The role.")), responses(
    (status = 200, description = "The role is ready.", body = ReadyBody),
    (status = 404, description = "`not-found`: this role is not here.", content_type = "application/problem+json"),
    (status = 503, description = "Something is missing, or the process is stopping.", body = ReadyBody),
))]
async fn role_readyz(State(front): Shared, Path(role): Path<Role>) -> Result<Response, Problem> {
    here(front.as_ref(), role)?;
    let mut readiness = front.readiness().await;
    readiness.roles.retain(|known, _| *known == role);
    Ok(answer(readiness.of(role), readiness))
}

fn answer(ready: bool, readiness: Readiness) -> Response {
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let roles = readiness.roles.into_iter().map(|(role, checks)| (role.name(), checks)).collect();
    (status, Json(ReadyBody { ready, stopping: readiness.stopping, roles })).into_response()
}

fn here(front: &dyn Front, role: Role) -> Result<(), Problem> {
    if front.roles().contains(&role) { Ok(()) } else { Err(Problem::new(NOT_FOUND)) }
}

/// The metrics of all roles of the process, for Prometheus. On loopback and the internal listener only.
#[utoipa::path(get, path = "/metrics", tag = "city", responses(
    (status = 200, description = "Prometheus text, version 0.0.4.", body = String, content_type = "text/plain"),
    (status = 404, description = "`not-found`: the caller is outside.", content_type = "application/problem+json"),
))]
async fn metrics(State(front): Shared) -> Result<Response, Problem> {
    front.metrics(None).await.map(exposition)
}

/// The metrics of one role, for Prometheus. On loopback and the internal listener only.
#[utoipa::path(get, path = "/{role}/metrics", tag = "city", params(("role" = String, Path, description = "The role.")), responses(
    (status = 200, description = "Prometheus text, version 0.0.4.", body = String, content_type = "text/plain"),
    (status = 404, description = "`not-found`: the caller is outside, or this role is not here.", content_type = "application/problem+json"),
))]
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

/// What an app asks for when it starts: the oldest version that may go on, what the city offers, its languages.
#[utoipa::path(get, path = "/app/v1/configuration", tag = "city", responses(
    (status = 200, description = "May be kept for five minutes.", body = Configuration),
))]
async fn configuration(State(front): Shared) -> Response {
    let origin = |url: &Url| url.as_str().trim_end_matches('/').to_owned();
    let body = Configuration {
        minimum_version: front.app().minimum_version.clone(),
        features: Role::ALL.into_iter().map(|role| (role.name(), front.roles().contains(&role))).collect(),
        languages: [Language::Vi.tag(), Language::En.tag()],
        issuer: origin(front.public_url()),
        sandbox: front.app().sandbox.as_ref().map(origin),
    };
    ([(header::CACHE_CONTROL, CONFIGURATION_AGE)], Json(body)).into_response()
}

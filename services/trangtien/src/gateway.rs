//! The reverse proxy in front of roles that run in processes of their own (`trangtien up --split`).
//!
//! It routes by the first segment of the path ([`Role::of_segment`]) and streams bodies both ways, event streams included;
//! a body that does not say its length is gathered first, so that one that is too long never reaches a role. A route that takes
//! more than others says so itself (photos of reports).
//! Hop-by-hop headers (RFC 9110, section 7.6.1) end here; the client's address is appended to `X-Forwarded-For`,
//! whose earlier entries are dropped: this gateway is the edge, and nobody before it is trusted.
//! It holds no state and knows no token.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::response::{IntoResponse as _, Response};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use http_body::Body as _;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use ioc::metrics::{Part, merge as join, parse};
use platform::http::HttpSettings;
use platform::problem::{BODY_TOO_LARGE, INVALID_BODY, Problem, TIMEOUT, UNAVAILABLE};
use platform::task::Shutdown;
use platform::trace::TRACEPARENT;
use serde_json::Value;
use tokio::sync::OnceCell;
use url::Url;

use crate::config::{AppConfig, Config};
use crate::http::{Front, Readiness, describe, describe_problems, merge, routes};
use crate::role::Role;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// How much longer than a role's own deadline its answer may take to arrive.
const GRACE: Duration = Duration::from_secs(5);
/// How long a role may take to answer a question of the gateway itself.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest answer to such a question.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// The check that stands for a role's process when that does not answer.
const PROCESS: &str = "process";
/// What precedes the samples that say which roles answered.
const UP_HEAD: &str = "# HELP trangtien_up Whether the process of a role answers.\n# TYPE trangtien_up gauge\n";

/// Headers that concern one connection only.
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];
/// Headers in which proxies say whom they speak for.
const FORWARDING: [HeaderName; 5] =
    [header::FORWARDED, FORWARDED_FOR, FORWARDED_PROTO, FORWARDED_HOST, HeaderName::from_static("x-real-ip")];
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The way to every role. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Gateway(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    client: Client<HttpConnector, Body>,
    upstreams: BTreeMap<Role, Authority>,
    public_url: Url,
    app: AppConfig,
    limits: HttpSettings,
    shutdown: Shutdown,
    /// What the roles say of their API, once all have said it: it does not change while they run.
    document: OnceCell<Arc<Value>>,
}

impl Gateway {
    /// A gateway to roles that listen on these local ports.
    #[must_use]
    pub fn new(ports: &BTreeMap<Role, u16>, config: &Config, shutdown: Shutdown) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build(connector);
        let upstreams = ports
            .iter()
            .map(|(role, port)| (*role, format!("127.0.0.1:{port}").parse().expect("an address and a port")))
            .collect();
        Self(Arc::new(Inner {
            client,
            upstreams,
            public_url: config.public_url.clone(),
            app: config.app.clone(),
            limits: config.http.limits,
            shutdown,
            document: OnceCell::new(),
        }))
    }

    /// The gateway's routes: the common ones, and everything else to the role it belongs to.
    pub fn router(&self) -> Router {
        let router = routes(Arc::new(self.clone()))
            .fallback(proxy)
            .method_not_allowed_fallback(proxy)
            .with_state::<()>(())
            .layer(axum::Extension(self.clone()));
        platform::http::scoped(router, self.0.shutdown.clone())
    }

    async fn forward(&self, role: Role, request: Request) -> Response {
        let Some(authority) = self.0.upstreams.get(&role) else { return away(role, "it does not run here") };
        let mut request = match self.bounded(request).await {
            Ok(request) => request,
            Err(problem) => return problem.into_response(),
        };
        let client = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0);
        prepare(request.headers_mut(), client);
        let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        *request.uri_mut() = address(authority, path);
        *request.version_mut() = http::Version::HTTP_11;
        let within = Duration::from_millis(self.0.limits.deadline_ms) + GRACE;
        match tokio::time::timeout(within, self.0.client.request(request)).await {
            Ok(Ok(answer)) => {
                let mut answer = answer.map(Body::new);
                remove_hop_by_hop(answer.headers_mut());
                answer.into_response()
            }
            Ok(Err(error)) => away(role, error),
            Err(_) => away(role, "no answer in time"),
        }
    }

    /// The request with a body that is not too long. A role would refuse it and close the connection while the body is still coming:
    /// it is refused here, before any of it is sent.
    async fn bounded(&self, request: Request) -> Result<Request, Problem> {
        let most = body_limit(request.uri().path()).unwrap_or_default().max(self.0.limits.max_body_bytes);
        let size = request.body().size_hint();
        if usize::try_from(size.lower()).map_or(true, |size| size > most) {
            return Err(Problem::new(BODY_TOO_LARGE));
        }
        if size.exact().is_some() {
            return Ok(request);
        }
        let (parts, body) = request.into_parts();
        let within = Duration::from_millis(self.0.limits.deadline_ms);
        let gathered = tokio::time::timeout(within, Limited::new(body, most).collect()).await;
        match gathered.map_err(|_| Problem::new(TIMEOUT))? {
            Ok(body) => Ok(Request::from_parts(parts, Body::from(body.to_bytes()))),
            Err(error) if error.is::<LengthLimitError>() => Err(Problem::new(BODY_TOO_LARGE)),
            Err(error) => Err(Problem::new(INVALID_BODY).source(error)),
        }
    }

    /// Whether every role answers at all, ready or not.
    pub(crate) async fn all_answer(&self) -> bool {
        self.readiness().await.roles.values().all(|checks| !checks.contains_key(PROCESS))
    }

    /// Asks every role for its part of the description.
    async fn describe_all(&self) -> Result<Arc<Value>, Problem> {
        let mut document = describe(&self.0.public_url);
        for role in self.0.upstreams.keys() {
            let part = self.ask(*role, "/openapi.json").await?;
            let part = serde_json::from_slice(&part).map_err(|error| Problem::new(UNAVAILABLE).source(error))?;
            merge(&mut document, &part);
        }
        describe_problems(&mut document);
        Ok(Arc::new(document))
    }

    /// Asks a role's common route.
    async fn ask(&self, role: Role, path: &'static str) -> Result<Vec<u8>, Problem> {
        let authority = self.0.upstreams.get(&role).ok_or_else(|| Problem::new(UNAVAILABLE))?;
        let request = http::Request::get(address(authority, PathAndQuery::from_static(path)))
            .body(Body::empty())
            .expect("a request without headers");
        let exchange = async {
            let answer =
                self.0.client.request(request).await.map_err(|error| Problem::new(UNAVAILABLE).source(error))?;
            let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
            body.map(|body| body.to_bytes().to_vec()).map_err(|error| Problem::new(UNAVAILABLE).source(error))
        };
        tokio::time::timeout(ASK_TIMEOUT, exchange).await.unwrap_or_else(|_| Err(Problem::new(UNAVAILABLE)))
    }
}

/// What a route takes when it takes more than others; it says so itself.
fn body_limit(path: &str) -> Option<usize> {
    reports::body_limit(path)
}

async fn proxy(axum::Extension(gateway): axum::Extension<Gateway>, State(()): State<()>, request: Request) -> Response {
    let segment = request.uri().path().split('/').nth(1).unwrap_or_default();
    gateway.forward(Role::of_segment(segment), request).await
}

fn away(role: Role, reason: impl std::fmt::Display) -> Response {
    tracing::warn!(role = role.name(), %reason, "role does not answer");
    Problem::new(UNAVAILABLE).retry_after(1).into_response()
}

fn address(authority: &Authority, path: PathAndQuery) -> Uri {
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(authority.clone());
    parts.path_and_query = Some(path);
    Uri::from_parts(parts).expect("all three parts are there")
}

/// Makes a client's headers those of the next hop. `Host` stays, so that the role sees the origin that the client used.
///
/// A client on this machine that came through no other proxy is passed on as what it is: somebody on loopback.
fn prepare(headers: &mut HeaderMap, client: Option<SocketAddr>) {
    remove_hop_by_hop(headers);
    let proxied = FORWARDING.iter().any(|name| headers.contains_key(name));
    for name in &FORWARDING {
        headers.remove(name);
    }
    if let Some(value) = platform::trace::current_traceparent().and_then(|text| text.parse().ok()) {
        headers.insert(TRACEPARENT, value);
    }
    let local = client.is_some_and(|client| client.ip().to_canonical().is_loopback());
    if local && !proxied {
        return;
    }
    if let Some(value) = client.and_then(|client| client.ip().to_canonical().to_string().parse().ok()) {
        headers.insert(FORWARDED_FOR, value);
    }
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
    if let Some(host) = headers.get(header::HOST).cloned() {
        headers.insert(FORWARDED_HOST, host);
    }
}

/// Removes the headers of one connection, also those that `Connection` names.
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

#[async_trait]
impl Front for Gateway {
    fn roles(&self) -> Vec<Role> {
        self.0.upstreams.keys().copied().collect()
    }

    async fn readiness(&self) -> Readiness {
        let asked = self.0.upstreams.keys().map(|role| async {
            let answer = self.ask(*role, "/readyz").await;
            let said = answer.ok().and_then(|bytes| serde_json::from_slice::<Readiness>(&bytes).ok());
            (*role, said)
        });
        let mut readiness = Readiness { stopping: self.0.shutdown.is_cancelled(), ..Readiness::default() };
        for (role, said) in futures::future::join_all(asked).await {
            let checks = said.and_then(|mut said| said.roles.remove(&role));
            let away = || BTreeMap::from([(PROCESS.to_owned(), "does not answer".to_owned())]);
            readiness.roles.insert(role, checks.unwrap_or_else(away));
        }
        readiness
    }

    async fn document(&self) -> Result<Arc<Value>, Problem> {
        self.0.document.get_or_try_init(|| self.describe_all()).await.cloned()
    }

    /// All roles that answer, and which do: one that is away hides none of the others.
    async fn metrics(&self, role: Option<Role>) -> Result<String, Problem> {
        if let Some(role) = role {
            return self.ask(role, "/metrics").await.map(|text| String::from_utf8_lossy(&text).into_owned());
        }
        let asked = self.0.upstreams.keys().map(|role| async { (*role, self.ask(*role, "/metrics").await) });
        let mut text = String::from(UP_HEAD);
        let mut parts = Vec::new();
        for (role, said) in futures::future::join_all(asked).await {
            let said = said.ok().and_then(|said| match parse(&String::from_utf8_lossy(&said)) {
                Ok(said) => Some(said),
                Err(error) => {
                    tracing::warn!(%role, %error, "metrics of a role can't be read");
                    None
                }
            });
            text.push_str(&format!("trangtien_up{{service=\"{role}\"}} {}\n", u8::from(said.is_some())));
            let service = role.name().to_owned();
            parts.extend(said.map(|exposition| Part { instance: service.clone(), service, exposition }));
        }
        // What several roles tell, as whether they are ready, is one family.
        Ok(text + &join(parts).0.write())
    }

    fn public_url(&self) -> &Url {
        &self.0.public_url
    }

    fn app(&self) -> &AppConfig {
        &self.0.app
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_the_connection_and_claims_of_the_client_end_here() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Secret-Hop"),
            ("x-secret-hop", "1"),
            ("transfer-encoding", "chunked"),
            ("x-forwarded-for", "127.0.0.1"),
            ("forwarded", "for=127.0.0.1"),
            ("host", "localhost:8080"),
            ("accept", "text/event-stream"),
        ] {
            headers.append(name.parse::<HeaderName>().expect("a name"), value.parse().expect("a value"));
        }
        prepare(&mut headers, Some("203.0.113.9:4711".parse().expect("an address")));
        for gone in ["connection", "x-secret-hop", "transfer-encoding", "forwarded"] {
            assert!(!headers.contains_key(gone), "{gone}");
        }
        assert_eq!(headers["x-forwarded-for"], "203.0.113.9");
        assert_eq!(headers["x-forwarded-host"], "localhost:8080");
        assert_eq!(headers["accept"], "text/event-stream");
    }

    /// A gateway before a wallet that answers with the length of what it gets, and an identity that is away.
    async fn gateway() -> Gateway {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let role = Router::new()
            .route("/metrics", axum::routing::get(async || "wallet_samples 7\n"))
            .fallback(async |body: axum::body::Bytes| body.len().to_string());
        tokio::spawn(async move { axum::serve(listener, role).await });
        let away = platform::embedded::free_port().expect("a port is free");
        let ports = BTreeMap::from([(Role::Wallet, port), (Role::Identity, away)]);
        Gateway::new(&ports, &Config::default(), Shutdown::new())
    }

    async fn send(gateway: &Gateway, body: Body) -> (u16, String) {
        let request = http::Request::post("/wallet/v1/payments").body(body).expect("a request");
        let answer = gateway.forward(Role::Wallet, request).await;
        let status = answer.status().as_u16();
        let bytes = answer.into_body().collect().await.expect("it ends").to_bytes();
        (status, String::from_utf8_lossy(&bytes).into_owned())
    }

    /// A body that does not say how long it is.
    fn chunked(chunks: usize) -> Body {
        let chunk = axum::body::Bytes::from(vec![b'x'; 1024]);
        Body::from_stream(futures::stream::iter((0..chunks).map(move |_| Ok::<_, std::io::Error>(chunk.clone()))))
    }

    #[tokio::test]
    async fn a_body_that_is_too_long_is_refused_whether_it_says_its_length_or_not() {
        let gateway = gateway().await;
        let most = gateway.0.limits.max_body_bytes;
        assert_eq!(send(&gateway, Body::from(vec![b'x'; most])).await, (200, most.to_string()));
        assert_eq!(send(&gateway, chunked(most / 1024)).await, (200, most.to_string()));
        for long in [Body::from(vec![b'x'; most + 1]), chunked(most / 1024 + 1)] {
            let (status, problem) = send(&gateway, long).await;
            assert_eq!(status, 413, "{problem}");
            assert!(problem.contains(BODY_TOO_LARGE.code()), "{problem}");
        }
    }

    #[tokio::test]
    async fn a_photo_may_be_larger_than_other_bodies() {
        let gateway = gateway().await;
        let photo = "/reports/v1/reports/019e0000-0000-7000-8000-000000000000/photos";
        let most = body_limit(photo).expect("photos have a limit of their own");
        assert!(most > gateway.0.limits.max_body_bytes && body_limit("/wallet/v1/payments").is_none());
        for (length, refused) in [(most, false), (most + 1, true)] {
            let request = http::Request::post(photo).body(Body::from(vec![b'x'; length])).expect("a request");
            assert_eq!(gateway.bounded(request).await.is_err(), refused, "{length}");
        }
    }

    #[tokio::test]
    async fn a_role_that_is_away_hides_no_other_ones_metrics() {
        let gateway = gateway().await;
        let text = gateway.metrics(None).await.expect("those that answer");
        assert!(text.contains("wallet_samples{instance=\"wallet\",service=\"wallet\"} 7"), "{text}");
        for line in ["trangtien_up{service=\"wallet\"} 1", "trangtien_up{service=\"identity\"} 0"] {
            assert!(text.lines().any(|said| said == line), "{text}");
        }
        assert!(gateway.metrics(Some(Role::Identity)).await.is_err());
    }

    #[test]
    fn only_a_client_on_this_machine_itself_is_local() {
        let local = Some("127.0.0.1:4711".parse().expect("an address"));
        let mut direct = HeaderMap::new();
        prepare(&mut direct, local);
        assert!(!direct.contains_key(FORWARDED_FOR));
        let mut proxied = HeaderMap::from_iter([(FORWARDED_FOR, HeaderValue::from_static("203.0.113.9"))]);
        prepare(&mut proxied, local);
        assert!(proxied.contains_key(FORWARDED_FOR), "a role must see that somebody else speaks");
    }
}

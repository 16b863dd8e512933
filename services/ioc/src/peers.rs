//! Other processes of the city, asked over plain HTTP inside the network: `/readyz` for health, `/metrics` for metrics.
//!
//! A peer is one address, or a name that is resolved again each time, where every address is a process of its own.
//! Limits: [`TIMEOUT`] a request, [`MAX_INSTANCES`] processes a peer, [`MAX_BYTES`] an answer.
//! Invariant: a configured peer is always reported, as down when it does not answer or its name is unknown.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use reqwest::Client;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::error::BuildError;
use crate::metrics;
use crate::role::{RoleHealth, RoleMetrics, RoleStatus};

/// The longest that one peer may take to answer.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The most processes behind one name.
const MAX_INSTANCES: usize = 64;
/// The longest answer of a peer.
const MAX_BYTES: usize = 16 << 20;
/// How much of a peer's words is kept.
const MAX_DETAIL: usize = 200;

/// A process, or several behind one name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// The roles that run there.
    pub services: Vec<String>,
    /// Its internal HTTP address, for instance `http://wallet.city.internal:8080`.
    pub url: Url,
    /// Whether every address of the name is a process of its own.
    #[serde(default)]
    pub discover: Discover,
}

/// How processes are found behind a peer's URL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Discover {
    /// The URL is one process.
    #[default]
    Static,
    /// Each address that DNS gives for the URL's host is one; asked again each time.
    Dns,
}

/// Asks peers over HTTP.
#[derive(Debug)]
pub struct HttpPeers {
    client: Client,
    peers: Vec<Peer>,
    /// What processes call themselves in their metrics, by address and role, so that one that went down keeps its name.
    names: Mutex<BTreeMap<(String, String), String>>,
}

/// One process of a peer.
struct Process<'a> {
    peer: &'a Peer,
    /// Host and port, its name until it tells another.
    address: String,
    base: Url,
}

impl HttpPeers {
    /// Peers to be asked.
    ///
    /// # Errors
    /// When a peer has no role, or an address that can't be asked.
    pub fn new(peers: Vec<Peer>) -> Result<Self, BuildError> {
        for peer in &peers {
            check(peer).map_err(|reason| BuildError::Peer { url: peer.url.to_string(), reason: reason.to_owned() })?;
        }
        let client = Client::builder()
            .timeout(TIMEOUT)
            .connect_timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        Ok(Self { client, peers, names: Mutex::default() })
    }

    async fn processes(&self) -> Vec<Process<'_>> {
        join_all(self.peers.iter().map(find)).await.into_iter().flatten().collect()
    }

    async fn health(&self, process: Process<'_>) -> Vec<RoleHealth> {
        let answer = match self.client.get(with_path(&process.base, "/readyz")).send().await {
            Ok(answer) => {
                let status = answer.status();
                Ok((status.is_success(), read(answer).await.unwrap_or_else(|reason| reason)))
            }
            Err(error) => Err(reason(&error)),
        };
        let role = |service: &String| {
            let (up, ready, detail) = match &answer {
                Ok((ready, text)) => {
                    let (ready, detail) = of_role(service, *ready, text);
                    (true, ready, detail)
                }
                Err(reason) => (false, false, Some(reason.clone())),
            };
            RoleHealth { service: service.clone(), instance: self.name(&process.address, service), up, ready, detail }
        };
        process.peer.services.iter().map(role).collect()
    }

    /// The text stands with the first role of the process; further ones say only that they answer.
    async fn scrape(&self, process: Process<'_>) -> Vec<RoleMetrics> {
        let text = self.fetch(&process).await;
        if let Ok(text) = &text {
            self.learn_names(&process, text);
        }
        let role = |(index, service): (usize, &String)| RoleMetrics {
            service: service.clone(),
            instance: self.name(&process.address, service),
            exposition: if index == 0 { text.clone() } else { text.clone().map(|_| String::new()) },
        };
        process.peer.services.iter().enumerate().map(role).collect()
    }

    async fn fetch(&self, process: &Process<'_>) -> Result<String, String> {
        let answer =
            self.client.get(with_path(&process.base, "/metrics")).send().await.map_err(|error| reason(&error))?;
        if !answer.status().is_success() {
            return Err(format!("answered {}", answer.status()));
        }
        read(answer).await
    }

    fn name(&self, address: &str, service: &str) -> String {
        let names = self.names.lock().expect("nothing panics while it holds the names");
        names.get(&(address.to_owned(), service.to_owned())).cloned().unwrap_or_else(|| address.to_owned())
    }

    /// Remembers the `instance` that a process puts on the samples of each of its roles, when it is one and the same.
    fn learn_names(&self, process: &Process<'_>, text: &str) {
        let Ok(exposition) = metrics::parse(text) else { return };
        let mut said: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for series in exposition.families.values().flat_map(|family| family.samples.keys()) {
            if let (Some(service), Some(instance)) = (series.labels.get("service"), series.labels.get("instance")) {
                said.entry(service).or_default().insert(instance);
            }
        }
        let mut names = self.names.lock().expect("nothing panics while it holds the names");
        if names.len() > MAX_INSTANCES * self.peers.len() {
            names.clear();
        }
        for service in &process.peer.services {
            if let Some(instances) = said.get(service.as_str())
                && let (1, Some(instance)) = (instances.len(), instances.first())
            {
                names.insert((process.address.clone(), service.clone()), (*instance).to_owned());
            }
        }
    }
}

#[async_trait]
impl RoleStatus for HttpPeers {
    async fn status(&self) -> Vec<RoleHealth> {
        let processes = self.processes().await;
        join_all(processes.into_iter().map(|process| self.health(process))).await.into_iter().flatten().collect()
    }

    async fn metrics(&self) -> Vec<RoleMetrics> {
        let processes = self.processes().await;
        join_all(processes.into_iter().map(|process| self.scrape(process))).await.into_iter().flatten().collect()
    }
}

/// What our own processes say at `/readyz`.
#[derive(Deserialize)]
struct Readiness {
    stopping: bool,
    /// Per role the name of each check with `ok` or what is missing.
    roles: BTreeMap<String, BTreeMap<String, String>>,
}

/// Whether one role of a process is ready, and what is missing, from what the process says of all its roles.
fn of_role(service: &str, all_ready: bool, text: &str) -> (bool, Option<String>) {
    let said = serde_json::from_str::<Readiness>(text).ok();
    let Some((stopping, checks)) = said.and_then(|mut said| Some((said.stopping, said.roles.remove(service)?))) else {
        return (all_ready, (!all_ready).then(|| shorten(text)));
    };
    let missing: Vec<String> =
        checks.iter().filter(|(_, said)| *said != "ok").map(|(name, said)| format!("{name}: {said}")).collect();
    match (stopping, missing.is_empty()) {
        (true, _) => (false, Some("stopping".to_owned())),
        (false, true) => (true, None),
        (false, false) => (false, Some(shorten(&missing.join("; ")))),
    }
}

fn check(peer: &Peer) -> Result<(), &'static str> {
    if peer.services.is_empty() {
        return Err("it names no role");
    }
    if !matches!(peer.url.scheme(), "http" | "https") || peer.url.host_str().is_none() {
        return Err("it is not an http or https address");
    }
    if peer.discover == Discover::Dns && peer.url.scheme() != "http" {
        return Err("processes behind a name are asked by address, which https does not allow");
    }
    Ok(())
}

/// The processes of a peer; when its name can't be resolved, the name itself, which then shows as down.
async fn find(peer: &Peer) -> Vec<Process<'_>> {
    let host = peer.url.host_str().unwrap_or_default();
    let port = peer.url.port_or_known_default().unwrap_or_default();
    let whole = || Process { peer, address: format!("{host}:{port}"), base: peer.url.clone() };
    if peer.discover == Discover::Static {
        return vec![whole()];
    }
    let lookup = tokio::time::timeout(TIMEOUT, tokio::net::lookup_host((host.trim_matches(['[', ']']), port))).await;
    let found: BTreeSet<SocketAddr> = match lookup {
        Ok(Ok(addresses)) => addresses.take(MAX_INSTANCES).collect(),
        Ok(Err(_)) | Err(_) => BTreeSet::new(),
    };
    let processes: Vec<_> = found
        .into_iter()
        .filter_map(|address| {
            let mut base = peer.url.clone();
            base.set_ip_host(address.ip()).ok()?;
            Some(Process { peer, address: address.to_string(), base })
        })
        .collect();
    if processes.is_empty() { vec![whole()] } else { processes }
}

fn with_path(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
    url
}

async fn read(mut answer: reqwest::Response) -> Result<String, String> {
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| reason(&error))? {
        if bytes.len() + chunk.len() > MAX_BYTES {
            return Err(format!("more than {MAX_BYTES} bytes"));
        }
        bytes.extend_from_slice(&chunk);
    }
    String::from_utf8(bytes).map_err(|_| "not UTF-8".to_owned())
}

fn reason(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        "no answer in time".to_owned()
    } else if error.is_connect() {
        "cannot connect".to_owned()
    } else {
        "the answer broke off".to_owned()
    }
}

fn shorten(text: &str) -> String {
    text.chars().filter(|char| !char.is_control()).take(MAX_DETAIL).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_judged_by_its_own_checks() {
        let text = r#"{"ready":false,"stopping":false,"roles":{"wallet":{"database":"ok","redis":"it is away"},"identity":{"database":"ok"}}}"#;
        assert_eq!(of_role("wallet", false, text), (false, Some("redis: it is away".to_owned())));
        assert_eq!(of_role("identity", false, text), (true, None));
        assert_eq!(of_role("reports", false, "no\nJSON"), (false, Some("noJSON".to_owned())));
        assert_eq!(of_role("reports", true, "ok"), (true, None));
        let stopping = text.replace(r#""stopping":false"#, r#""stopping":true"#);
        assert_eq!(of_role("identity", false, &stopping), (false, Some("stopping".to_owned())));
    }
}

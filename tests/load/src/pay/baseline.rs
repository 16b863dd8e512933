//! The same request answered without any effect: the server loop, layers, token check, key, fingerprint and body of the wallet, and an answer of the same bytes.

use std::net::{Ipv4Addr, SocketAddr};

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http::{StatusCode, header};
use hyper::body::Bytes;
use ledger::money::PositiveMoney;
use platform::auth::{Principal, Verifier};
use platform::clock::Clock;
use platform::http::{HttpSettings, IdempotentJson, ServeSettings, finish, instrument, serve};
use platform::metrics::Metrics;
use platform::task::{Shutdown, Tasks};
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::caller::PATH;
use crate::city::Place;

/// How long its tasks may take to stop.
const STOP: std::time::Duration = std::time::Duration::from_secs(5);

/// A running server without a wallet.
pub(super) struct Baseline {
    /// Where it listens.
    pub(super) address: SocketAddr,
    shutdown: Shutdown,
    serving: JoinHandle<()>,
    tasks: Tasks,
}

impl Baseline {
    /// Starts it; every request gets `answer`.
    pub(super) async fn start(place: &Place, answer: Bytes) -> anyhow::Result<Self> {
        let (clock, shutdown) = (Clock::system(), Shutdown::new());
        let source = identity::DatabaseKeySource::new(place.admin.clone(), place.issuer.name.clone(), clock.clone());
        let (verifier, task) = Verifier::new(source, clock);
        let tasks = Tasks::start(vec![task], &shutdown);
        let router = Router::new().route(PATH, post(respond)).with_state(answer);
        let router = instrument(router, &Metrics::new("wallet", "baseline"));
        let router = finish(router, HttpSettings::default(), verifier, shutdown.clone());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let serving = tokio::spawn(serve(listener, router, ServeSettings::default(), shutdown.clone()));
        Ok(Self { address, shutdown, serving, tasks })
    }

    /// Stops it.
    pub(super) async fn stop(self) {
        self.shutdown.begin();
        self.serving.await.ok();
        self.tasks.finish(STOP).await;
    }
}

/// The body of a payment, as the wallet reads it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    qr_payload: Option<String>,
    till_id: Option<Uuid>,
    amount: Option<PositiveMoney>,
    note: Option<String>,
}

impl Order {
    fn is_complete(&self) -> bool {
        let payees = usize::from(self.qr_payload.is_some()) + usize::from(self.till_id.is_some());
        payees == 1 && self.amount.is_some() && self.note.as_ref().is_none_or(|note| !note.is_empty())
    }
}

async fn respond(State(answer): State<Bytes>, principal: Principal, request: IdempotentJson<Order>) -> Response {
    if !request.body.is_complete() {
        return StatusCode::UNPROCESSABLE_ENTITY.into_response();
    }
    let headers = [
        (header::CONTENT_TYPE, "application/json".to_owned()),
        (header::LOCATION, format!("{PATH}/{}", principal.subject)),
    ];
    (StatusCode::CREATED, headers, answer).into_response()
}

//! One keep-alive connection that pays, waits for the answer, and pays again.
//!
//! Invariant: every answer that says 201 is counted once, also those that are not measured, so that the books can be compared with it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use http::{Request, StatusCode, header};
use http_body_util::Full;
use hyper::body::Bytes;
use uuid::Uuid;

use super::people::People;
use super::workload::{Payer, Pick, Shape};
use crate::connection::Connection;

/// Where payments are made.
pub(super) const PATH: &str = "/wallet/v1/payments";
/// How long a caller rests after an error.
const PAUSE: Duration = Duration::from_millis(100);
/// What the wallet says to somebody without money.
const INSUFFICIENT: &str = "insufficient-funds";

/// What all callers were answered.
#[derive(Debug, Default)]
pub(super) struct Tally {
    paid: AtomicU64,
    refused: AtomicU64,
    errors: AtomicU64,
}

impl Tally {
    /// How many payments were made.
    pub(super) fn paid(&self) -> u64 {
        self.paid.load(Ordering::Relaxed)
    }

    /// How many the rules refused.
    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// How many were not answered: nobody but the books knows whether they were made.
    pub(super) fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }
}

/// One caller.
pub(super) struct Caller {
    connection: Connection,
    pick: Pick,
    people: Arc<People>,
    tally: Arc<Tally>,
}

impl Caller {
    /// Opens its connection.
    pub(super) async fn connect(
        number: usize,
        shape: Shape,
        server: SocketAddr,
        people: &Arc<People>,
        tally: &Arc<Tally>,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            connection: Connection::open(server).await?,
            pick: Pick::new(shape, number, people),
            people: people.clone(),
            tally: tally.clone(),
        })
    }

    /// Makes one payment.
    pub(super) async fn ask(mut self) -> (Self, anyhow::Result<()>) {
        let answer = self.pay().await;
        if answer.is_err() {
            self.tally.errors.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(PAUSE).await;
        }
        (self, answer)
    }

    async fn pay(&mut self) -> anyhow::Result<()> {
        let (payer, shop) = self.pick.pair();
        let request = self.request(payer, shop)?;
        let answer = self.connection.send(request).await?;
        match (payer, answer.status) {
            (Payer::Rich(_), StatusCode::CREATED) => {
                self.tally.paid.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            (Payer::Poor(_), StatusCode::UNPROCESSABLE_ENTITY) if answer.text().contains(INSUFFICIENT) => {
                self.tally.refused.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            _ => bail!("{}: {}", answer.status, answer.text()),
        }
    }

    fn request(&self, payer: Payer, shop: usize) -> anyhow::Result<Request<Full<Bytes>>> {
        let authorization = match payer {
            Payer::Rich(place) => &self.people.payers[place],
            Payer::Poor(place) => &self.people.poor[place],
        };
        let request = Request::post(PATH)
            .header(header::AUTHORIZATION, authorization)
            .header(header::CONTENT_TYPE, "application/json")
            .header("idempotency-key", Uuid::new_v4().to_string());
        request.body(Full::new(self.people.orders[shop].clone())).context("a request of constant parts")
    }
}

//! One keep-alive connection that pays, waits for the answer, and pays again.
//!
//! Invariant: every answer that says 201 is counted once, also those that are not measured, so that the books can be compared with it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use uuid::Uuid;

use super::people::People;
use super::workload::{Payer, Pick, Shape};

/// Where payments are made.
pub(super) const PATH: &str = "/wallet/v1/payments";
/// How long an answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
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
    server: SocketAddr,
    host: HeaderValue,
    /// None after it broke.
    connection: Option<SendRequest<Full<Bytes>>>,
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
            server,
            host: HeaderValue::from_str(&server.to_string())?,
            connection: Some(connect(server).await?),
            pick: Pick::new(shape, number, people),
            people: people.clone(),
            tally: tally.clone(),
        })
    }

    /// Makes one payment.
    pub(super) async fn ask(mut self) -> (Self, anyhow::Result<()>) {
        let answered = tokio::time::timeout(ANSWER_LIMIT, self.pay()).await;
        let answer = answered.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {ANSWER_LIMIT:?}")));
        if answer.is_err() {
            self.tally.errors.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(PAUSE).await;
        }
        (self, answer)
    }

    async fn pay(&mut self) -> anyhow::Result<()> {
        let (payer, shop) = self.pick.pair();
        let request = self.request(payer, shop)?;
        let mut connection = match self.connection.take() {
            Some(connection) if !connection.is_closed() => connection,
            _ => connect(self.server).await?,
        };
        connection.ready().await?;
        let response = connection.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        self.connection = Some(connection);
        match (payer, status) {
            (Payer::Rich(_), StatusCode::CREATED) => {
                self.tally.paid.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            (Payer::Poor(_), StatusCode::UNPROCESSABLE_ENTITY) if text(&body).contains(INSUFFICIENT) => {
                self.tally.refused.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            _ => bail!("{status}: {}", text(&body)),
        }
    }

    fn request(&self, payer: Payer, shop: usize) -> anyhow::Result<Request<Full<Bytes>>> {
        let authorization = match payer {
            Payer::Rich(place) => &self.people.payers[place],
            Payer::Poor(place) => &self.people.poor[place],
        };
        let request = Request::post(PATH)
            .header(header::HOST, &self.host)
            .header(header::AUTHORIZATION, authorization)
            .header(header::CONTENT_TYPE, "application/json")
            .header("idempotency-key", Uuid::new_v4().to_string());
        request.body(Full::new(self.people.orders[shop].clone())).context("a request of constant parts")
    }
}

async fn connect(server: SocketAddr) -> anyhow::Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the sender; what breaks it is seen there.
    tokio::spawn(connection);
    Ok(sender)
}

fn text(body: &Bytes) -> &str {
    std::str::from_utf8(body).unwrap_or("no text")
}

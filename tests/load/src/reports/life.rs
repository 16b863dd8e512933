//! One report from its submission to its rating, over one keep-alive connection.
//!
//! Invariant: every answer of success is counted once, also those that are not measured, so that the books can be compared with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::Full;
use hyper::body::Bytes;
use serde_json::{Value, json};
use uuid::Uuid;

use super::people::{AGENCY, People};
use crate::city::Place;
use crate::connection::Connection;

/// Where reports are sent.
const PATH: &str = "/reports/v1/reports";
/// The smallest evidence that a result may have.
const EVIDENCE: &[u8] = include_bytes!("../../../../services/trangtien/src/walkthrough/evidence.png");
/// Categories and places of the reports.
const CATEGORIES: [&str; 3] = ["TT", "TO", "MT"];
const POSITIONS: [(f64, f64); 3] = [(16.479_631, 107.574_292), (16.454_228, 107.583_011), (16.463_7, 107.590_9)];
/// How long a caller rests after an error.
const PAUSE: Duration = Duration::from_millis(100);

/// What all callers were answered.
#[derive(Debug, Default)]
pub(super) struct Tally {
    requests: AtomicU64,
    rated: AtomicU64,
    photos: AtomicU64,
    evidence: AtomicU64,
    errors: AtomicU64,
}

impl Tally {
    /// Requests of any kind that were answered with success.
    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Reports that came to their rating.
    pub(super) fn rated(&self) -> u64 {
        self.rated.load(Ordering::Relaxed)
    }

    /// Photos of citizens and of the agency.
    pub(super) fn photos(&self) -> (u64, u64) {
        (self.photos.load(Ordering::Relaxed), self.evidence.load(Ordering::Relaxed))
    }

    /// Reports that stopped on their way: nobody but the books knows where.
    pub(super) fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }
}

/// One caller, who plays everybody whom a report meets.
pub(super) struct Caller {
    connection: Connection,
    /// Which report of its own it is at.
    turn: usize,
    photo: Option<Bytes>,
    people: Arc<People>,
    tally: Arc<Tally>,
}

impl Caller {
    /// Opens its connection. Callers begin at different citizens.
    pub(super) async fn open(
        number: usize,
        photo: Option<Bytes>,
        place: &Place,
        people: &Arc<People>,
        tally: &Arc<Tally>,
    ) -> anyhow::Result<Self> {
        let connection = Connection::open(place.address).await?;
        let turn = number * people.citizens.len() / 97;
        Ok(Self { connection, turn, photo, people: people.clone(), tally: tally.clone() })
    }

    /// Takes one report through its life.
    pub(super) async fn live(mut self) -> (Self, anyhow::Result<()>) {
        self.turn += 1;
        let lived = self.report().await;
        if lived.is_err() {
            self.tally.errors.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(PAUSE).await;
        }
        (self, lived)
    }

    async fn report(&mut self) -> anyhow::Result<()> {
        let people = self.people.clone();
        let citizen = &people.citizens[self.turn % people.citizens.len()];
        let (lat, lon) = POSITIONS[self.turn % POSITIONS.len()];
        let body = json!({
            "category": CATEGORIES[self.turn / 3 % CATEGORIES.len()],
            "text": "Nắp cống vỡ trước cổng trường, xe máy dễ vấp ngã vào buổi tối",
            "position": {"lat": lat, "lon": lon},
        });
        let filed = self.post(citizen, PATH, &body).await.context("submit")?;
        let path = format!("{PATH}/{}", filed["id"].as_str().context("id")?);
        if let Some(photo) = self.photo.clone() {
            self.add(citizen, &path, photo).await.context("photo")?;
            self.tally.photos.fetch_add(1, Ordering::Relaxed);
        }
        let (supervisor, officer) = (&people.supervisor, &people.officer);
        let version = self.act(supervisor, &path, json!({"action": "claim", "version": filed["version"]})).await?;
        let give = json!({"action": "distribute", "lead_agency": AGENCY, "version": version});
        let version = self.act(supervisor, &path, give).await?;
        let version = self.act(officer, &path, json!({"action": "accept", "version": version})).await?;
        self.add(officer, &path, Bytes::from_static(EVIDENCE)).await.context("evidence")?;
        self.tally.evidence.fetch_add(1, Ordering::Relaxed);
        let result = json!({"action": "submit-result", "text": "Đã thay nắp cống", "version": version});
        let version = self.act(officer, &path, result).await?;
        let version = self.act(supervisor, &path, json!({"action": "approve", "version": version})).await?;
        let rating = json!({"version": version, "rating": "satisfied"});
        self.post(citizen, &format!("{path}/ratings"), &rating).await.context("rate")?;
        self.tally.rated.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Does something to the report; gives the version that it has then.
    async fn act(&mut self, who: &HeaderValue, path: &str, action: Value) -> anyhow::Result<Value> {
        let done = self.post(who, &format!("{path}/transitions"), &action).await;
        Ok(done.with_context(|| action["action"].to_string())?["version"].clone())
    }

    async fn post(&mut self, who: &HeaderValue, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.send(who, path, ("application/json", serde_json::to_vec(body)?.into())).await
    }

    async fn add(&mut self, who: &HeaderValue, path: &str, photo: Bytes) -> anyhow::Result<()> {
        self.send(who, &format!("{path}/photos"), ("application/octet-stream", photo)).await.map(|_| ())
    }

    async fn send(&mut self, who: &HeaderValue, path: &str, (kind, body): (&str, Bytes)) -> anyhow::Result<Value> {
        let request = Request::post(path)
            .header(header::AUTHORIZATION, who)
            .header(header::CONTENT_TYPE, kind)
            .header("idempotency-key", Uuid::now_v7().to_string())
            .body(Full::new(body))?;
        let answer = self.connection.send(request).await?.expect(StatusCode::CREATED)?;
        self.tally.requests.fetch_add(1, Ordering::Relaxed);
        Ok(answer)
    }
}

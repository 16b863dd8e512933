//! PINs that are checked at once, each on a connection of its own, while tokens are checked beside.
//!
//! Two of each citizen: a third one at the same time would look like guessing, and wait.

use std::time::{Duration, Instant};

use anyhow::bail;
use futures::future::{join_all, try_join_all};
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::Full;
use serde_json::json;
use tokio::sync::watch;
use uuid::Uuid;

use super::check::{Blocks, Checking, Checks, tokens};
use super::people::{PIN, People};
use crate::city::Place;
use crate::connection::Connection;
use crate::drive::{Seen, Spell};
use crate::report::Latencies;

/// Tokens that are checked beside.
const TOKENS: usize = 100;
/// How long the check rests between two rounds, as a role does between two requests.
const REST: Duration = Duration::from_millis(1);

/// What became of the PINs.
pub(super) struct Checked {
    pub(super) seen: Seen,
    /// Those that were asked to come again because too many came at once.
    pub(super) refused: u64,
}

/// Checks so many PINs at once; gives what became of them, and what checks of tokens cost meanwhile.
pub(super) async fn at_once(place: &Place, people: &People, count: usize) -> anyhow::Result<(Checked, Checks)> {
    let citizens = people.citizens.iter().cycle().take(count);
    let opening = citizens.map(|person| Asking::open(place, &person.citizen.token));
    let askings = try_join_all(opening).await?;
    let (done, ended) = watch::channel(false);
    let beside = tokio::spawn(check_beside(Checking::begin(place).await?, tokens(place, TOKENS)?, ended));
    let began = Instant::now();
    let answers = join_all(askings.into_iter().map(Asking::prove)).await;
    let elapsed = began.elapsed();
    done.send(true).ok();
    let mut checked = Checked { seen: Seen { latencies: Latencies::new(), errors: 0, elapsed }, refused: 0 };
    for answer in answers {
        match answer {
            Ok(Proof::Given(took)) => checked.seen.latencies.add(took),
            Ok(Proof::Busy) => checked.refused += 1,
            Err(error) => {
                eprintln!("no proof: {error:#}");
                checked.seen.errors += 1;
            }
        }
    }
    Ok((checked, beside.await??))
}

/// What checks of tokens cost at the same pace, without a PIN.
pub(super) async fn none(place: &Place, spell: Spell) -> anyhow::Result<Checks> {
    let (done, ended) = watch::channel(false);
    let checks = tokio::spawn(check_beside(Checking::begin(place).await?, tokens(place, TOKENS)?, ended));
    tokio::time::sleep(spell.measured).await;
    done.send(true).ok();
    checks.await?
}

async fn check_beside(checking: Checking, tokens: Vec<String>, ended: watch::Receiver<bool>) -> anyhow::Result<Checks> {
    for token in &tokens {
        checking.verifier.verify(token).await?;
    }
    let mut blocks = Blocks::new();
    while !*ended.borrow() {
        blocks.check(&checking.verifier, &tokens).await?;
        tokio::time::sleep(REST).await;
    }
    checking.end().await;
    Ok(blocks.checks())
}

/// What a citizen was answered.
enum Proof {
    Given(Duration),
    Busy,
}

/// A citizen who is about to prove a payment by PIN.
struct Asking {
    connection: Connection,
    authorization: HeaderValue,
}

impl Asking {
    async fn open(place: &Place, token: &str) -> anyhow::Result<Self> {
        let authorization = HeaderValue::from_str(&format!("Bearer {token}"))?;
        Ok(Self { connection: Connection::open(place.address).await?, authorization })
    }

    async fn prove(mut self) -> anyhow::Result<Proof> {
        let body = serde_json::to_vec(&json!({
            "method": "pin", "pin": PIN,
            "transaction": {
                "kind": "payment", "payee": Uuid::new_v4(), "amount": harness::money(6_000_000),
                "nonce": Uuid::new_v4(),
            },
        }))?;
        let request = Request::post("/identity/v1/step-ups")
            .header(header::AUTHORIZATION, &self.authorization)
            .header(header::CONTENT_TYPE, "application/json");
        let asked = Instant::now();
        let answer = self.connection.send(request.body(Full::new(body.into()))?).await?;
        match answer.status {
            StatusCode::OK | StatusCode::CREATED => Ok(Proof::Given(asked.elapsed())),
            StatusCode::SERVICE_UNAVAILABLE => Ok(Proof::Busy),
            other => bail!("{other}: {}", answer.text()),
        }
    }
}

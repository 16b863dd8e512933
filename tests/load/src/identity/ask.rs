//! Connections that refresh a session, or ask about tokens, again and again.
//!
//! Invariant: every answer of success is counted once, also those that are not measured.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::city::Place;
use crate::connection::Connection;

/// Tokens that one connection asks about.
const TOKENS: usize = 64;
/// One question of so many is about a token whose signature is forged.
const FORGED_EVERY: usize = 50;
/// How long a caller rests after an error.
const PAUSE: Duration = Duration::from_millis(100);

/// What all callers were answered.
#[derive(Debug, Default)]
pub(super) struct Tally {
    refreshed: AtomicU64,
    good: AtomicU64,
    forged: AtomicU64,
    errors: AtomicU64,
}

impl Tally {
    /// Sessions that got their next tokens.
    pub(super) fn refreshed(&self) -> u64 {
        self.refreshed.load(Ordering::Relaxed)
    }

    /// Tokens that were told good, and were.
    pub(super) fn good(&self) -> u64 {
        self.good.load(Ordering::Relaxed)
    }

    /// Forged tokens that were told bad.
    pub(super) fn forged(&self) -> u64 {
        self.forged.load(Ordering::Relaxed)
    }

    /// Refreshes that got no answer.
    pub(super) fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }
}

/// Refreshes one session.
pub(super) struct Refreshing {
    connection: Connection,
    newest: Arc<Mutex<String>>,
    tally: Arc<Tally>,
}

impl Refreshing {
    pub(super) async fn open(place: &Place, newest: &Arc<Mutex<String>>, tally: &Arc<Tally>) -> anyhow::Result<Self> {
        let connection = Connection::open(place.address).await?;
        Ok(Self { connection, newest: newest.clone(), tally: tally.clone() })
    }

    pub(super) async fn ask(mut self) -> (Self, anyhow::Result<()>) {
        let answer = self.refresh().await;
        if answer.is_err() {
            self.tally.errors.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(PAUSE).await;
        }
        (self, answer)
    }

    async fn refresh(&mut self) -> anyhow::Result<()> {
        let token = self.newest.lock().expect("nobody panics while holding it").clone();
        let body = serde_json::to_vec(&json!({ "refresh_token": token }))?;
        let request = Request::post("/identity/v1/sessions/refresh").header(header::CONTENT_TYPE, "application/json");
        let answer = self.connection.send(request.body(Full::new(body.into()))?).await?.expect(StatusCode::OK)?;
        let next = answer["refresh_token"].as_str().context("the next token")?;
        ensure!(next != token, "the token did not move on");
        next.clone_into(&mut self.newest.lock().expect("nobody panics while holding it"));
        self.tally.refreshed.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// Asks about tokens as a program that may.
pub(super) struct Introspecting {
    connection: Connection,
    program: HeaderValue,
    tokens: Vec<String>,
    turn: usize,
    tally: Arc<Tally>,
}

impl Introspecting {
    pub(super) async fn open(
        place: &Place,
        number: usize,
        program: &HeaderValue,
        tally: &Arc<Tally>,
    ) -> anyhow::Result<Self> {
        let tokens = place.citizens(TOKENS)?.into_iter().map(|citizen| citizen.token).collect();
        let connection = Connection::open(place.address).await?;
        Ok(Self { connection, program: program.clone(), tokens, turn: number, tally: tally.clone() })
    }

    pub(super) async fn ask(mut self) -> (Self, anyhow::Result<()>) {
        self.turn += 1;
        let answer = self.introspect().await;
        if answer.is_err() {
            tokio::time::sleep(PAUSE).await;
        }
        (self, answer)
    }

    async fn introspect(&mut self) -> anyhow::Result<()> {
        let (forge, token) = (self.turn.is_multiple_of(FORGED_EVERY), &self.tokens[self.turn % TOKENS]);
        let body = if forge { format!("token={}", forged(token)) } else { format!("token={token}") };
        let request = Request::post("/oauth2/introspect")
            .header(header::AUTHORIZATION, &self.program)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let answer = self.connection.send(request.body(Full::new(body.into()))?).await?.expect(StatusCode::OK)?;
        ensure!(
            answer["active"] == Value::Bool(!forge),
            "{}: {answer}",
            if forge { "a forged token" } else { "a good token" }
        );
        let counter = if forge { &self.tally.forged } else { &self.tally.good };
        counter.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// The token with another first character of its signature.
fn forged(token: &str) -> String {
    let (said, signature) = token.rsplit_once('.').unwrap_or((token, ""));
    let first = if signature.starts_with('A') { 'B' } else { 'A' };
    format!("{said}.{first}{}", signature.get(1..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::forged;

    #[test]
    fn a_forged_token_differs_in_its_signature_only() {
        assert_eq!(forged("a.b.AcD"), "a.b.BcD");
        assert_eq!(forged("a.b.xcD"), "a.b.AcD");
    }
}

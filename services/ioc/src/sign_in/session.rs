//! What stands behind the wall's cookie: the provider's tokens, sealed with a key that the cookie alone gives.
//!
//! Tokens are renewed ahead of their time. One process at a time does so, by a claim on the row with a lease; others go on with the
//! token at hand or wait. The lease outlasts a request to the provider and is shorter than the provider's grace for an answer that
//! was lost, so that after a crash the next process gets the same successor.
//! Invariant: a refresh token is sent by whoever holds the claim, and no session ends because the provider is away.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use platform::auth::{AuthError, Verifier};
use platform::clock::Clock;
use platform::config::Secret;
use platform::seal::{Digest, Place, Sealer, mac, mac_key};
use platform::task::Task;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use uuid::Uuid;

use super::pending::random_text;
use super::provider::{Provider, ProviderError, Tokens};
use crate::error::Error;
use crate::sql::session as sql;
use crate::upstream;

/// How long a session may last; the provider's own sign-in lasts no longer.
pub(crate) const LIFE_S: u32 = 12 * 3_600;
/// How long before its end an access token is renewed.
const AHEAD: TimeDelta = TimeDelta::seconds(60);
/// How long one process may take to renew.
const LEASE: Duration = Duration::from_secs(7);
/// How long a request waits for a process that renews.
const WAIT: Duration = Duration::from_secs(8);
/// How often it looks meanwhile.
const POLL: Duration = Duration::from_millis(100);
/// How often sessions that ran out are removed.
const PRUNE: Duration = Duration::from_secs(600);
const COOKIE_BYTES: usize = 32;
const SERVICE: &str = "ioc session";

const _: () = assert!(upstream::TIMEOUT.as_secs() < LEASE.as_secs(), "a lease outlasts a request to the provider");

/// What a cookie is good for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// This access token.
    Token(String),
    /// Nothing: the session has ended.
    Ended,
    /// Nothing at the moment: the provider is away.
    Away,
}

/// What a session holds.
#[derive(Serialize, Deserialize)]
struct Held {
    access: String,
    refresh: String,
    id_token: String,
}

impl From<Tokens> for Held {
    fn from(tokens: Tokens) -> Self {
        Self { access: tokens.access_token, refresh: tokens.refresh_token, id_token: tokens.id_token }
    }
}

/// A cookie, as the key to its row.
struct Key {
    digest: Digest,
    sealer: Sealer,
}

impl Key {
    fn of(cookie: &str) -> Option<Self> {
        URL_SAFE_NO_PAD.decode(cookie).ok().filter(|bytes| bytes.len() == COOKIE_BYTES)?;
        let secret = Secret::new(cookie);
        let digest = mac(&mac_key(SERVICE, &secret, "session row"), &[]);
        Some(Self { digest, sealer: Sealer::of_secret(SERVICE, &secret) })
    }

    fn seal(&self, held: &Held) -> Vec<u8> {
        self.sealer.seal(place(), &serde_json::to_vec(held).expect("tokens are plain data"))
    }

    fn open(&self, sealed: &[u8]) -> Option<Held> {
        serde_json::from_slice(&self.sealer.open(place(), sealed).ok()?).ok()
    }
}

/// The sessions of every replica.
#[derive(Clone)]
pub(crate) struct Sessions {
    pool: PgPool,
    clock: Clock,
    verifier: Verifier,
    provider: Arc<Provider>,
}

impl Sessions {
    pub(super) fn new(pool: PgPool, clock: Clock, verifier: Verifier, provider: Arc<Provider>) -> Self {
        Self { pool, clock, verifier, provider }
    }

    /// Begins a session; gives the value of its cookie.
    pub(super) async fn begin(&self, tokens: Tokens) -> Result<String, Error> {
        let cookie = random_text();
        let key = Key::of(&cookie).expect("a cookie of ours");
        let expires_at = self.clock.now() + TimeDelta::seconds(i64::from(LIFE_S));
        sql::insert(&self.pool, &key.digest, &key.seal(&tokens.into()), expires_at).await?;
        Ok(cookie)
    }

    /// Ends a session; gives the ID token that names it to the provider.
    pub(super) async fn end(&self, cookie: &str) -> Result<Option<String>, Error> {
        let Some(key) = Key::of(cookie) else { return Ok(None) };
        let row = sql::find(&self.pool, &key.digest, self.clock.now()).await?;
        sql::delete(&self.pool, &key.digest).await?;
        Ok(row.and_then(|row| key.open(&row.sealed)).map(|held| held.id_token))
    }

    /// Ends a session that another one takes the place of.
    pub(crate) async fn forget(&self, cookie: &str) -> Result<(), Error> {
        let Some(key) = Key::of(cookie) else { return Ok(()) };
        Ok(sql::delete(&self.pool, &key.digest).await?)
    }

    /// An access token of the session that a cookie stands for, renewed where it is time.
    pub(crate) async fn access(&self, cookie: &str) -> Result<Access, Error> {
        let Some(key) = Key::of(cookie).map(Arc::new) else { return Ok(Access::Ended) };
        let end = tokio::time::Instant::now() + WAIT;
        loop {
            let now = self.clock.now();
            let Some(row) = sql::find(&self.pool, &key.digest, now).await? else { return Ok(Access::Ended) };
            let Some(held) = key.open(&row.sealed) else { return Ok(Access::Ended) };
            let usable = match self.verifier.verify(&held.access).await {
                Ok(principal) if principal.expires_at - AHEAD > now => return Ok(Access::Token(held.access)),
                Ok(principal) => principal.expires_at > now,
                Err(AuthError::Expired | AuthError::Stale) => false,
                Err(AuthError::NoKeys) => return Ok(Access::Away),
                Err(AuthError::Revoked | AuthError::Invalid) => {
                    sql::delete(&self.pool, &key.digest).await?;
                    return Ok(Access::Ended);
                }
            };
            let claimed = sql::claim(&self.pool, (&key.digest, row.generation), (now, until(now))).await?;
            if claimed {
                return self.renew(key, (held, usable), row.generation).await;
            }
            if usable {
                return Ok(Access::Token(held.access));
            }
            if tokio::time::Instant::now() >= end {
                return Ok(Access::Away);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Renews in a task of its own: a browser that hangs up meanwhile does not lose the successor.
    async fn renew(&self, key: Arc<Key>, (held, usable): (Held, bool), generation: i32) -> Result<Access, Error> {
        let (sessions, old) = (self.clone(), usable.then(|| held.access.clone()));
        let renewing = tokio::spawn(async move { sessions.refresh(&key, held, generation).await });
        match renewing.await {
            Ok(Ok(Access::Away)) => Ok(old.map_or(Access::Away, Access::Token)),
            Ok(answer) => answer,
            // The task panicked or the process ends.
            Err(_) => Ok(Access::Away),
        }
    }

    async fn refresh(&self, key: &Key, held: Held, generation: i32) -> Result<Access, Error> {
        match self.provider.refresh(&held.refresh).await {
            Ok(tokens) => {
                let held = Held::from(tokens);
                sql::renew(&self.pool, (&key.digest, generation), &key.seal(&held)).await?;
                Ok(Access::Token(held.access))
            }
            Err(ProviderError::Refused) => {
                sql::delete(&self.pool, &key.digest).await?;
                Ok(Access::Ended)
            }
            Err(ProviderError::Away(reason)) => {
                tracing::warn!(reason, "a session of the wall can't be renewed now");
                sql::release(&self.pool, (&key.digest, generation)).await?;
                Ok(Access::Away)
            }
        }
    }

    /// The task that removes sessions which ran out.
    pub(crate) fn task(&self) -> Task {
        let sessions = self.clone();
        Task::new("sessions", |shutdown| async move {
            loop {
                if let Err(error) = sql::prune(&sessions.pool, sessions.clock.now()).await {
                    tracing::warn!(%error, "old sessions can't be removed");
                }
                tokio::select! {
                    () = shutdown.cancelled() => return Ok(()),
                    () = tokio::time::sleep(PRUNE) => {}
                }
            }
        })
    }
}

/// The column; the row is told by the key, which is its own.
fn place() -> Place {
    Place::new("session.sealed", Uuid::nil())
}

fn until(now: DateTime<Utc>) -> DateTime<Utc> {
    now + TimeDelta::from_std(LEASE).expect("a few seconds")
}

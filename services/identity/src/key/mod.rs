//! Keys that sign tokens: of each algorithm one that signs and one that is next.
//!
//! Which one signs access tokens is a setting (`access_token_algorithm`); both are published.
//! A key is published as `next` before it signs, signs while `active`, and stays published while `retired` until no token
//! of its can be alive; its public half is kept, unpublished, for as long as the longest session after that, because clients show
//! ID tokens as hints that have long expired; then it is removed. Rotation moves all of them one place on, in one transaction under one lock,
//! so that any number of replicas rotate once. A retired key's private half is destroyed at once.
//! Each replica signs with the ring it has read last ([`RELOAD`]); the overlap covers those that are behind.

mod algorithm;
mod source;
mod sql;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::EncodingKey;
use platform::problem::Code;
use platform::task::Task;
use sqlx::{PgConnection, PgPool};
use tracing::{info, warn};
use uuid::Uuid;

pub use self::algorithm::Algorithm;
use self::algorithm::NewKey;
pub use self::source::DatabaseKeySource;
use crate::audit::{self, Action, Behest, Entry};
use crate::config::Lifetimes;
use crate::error::Error;
use crate::vault::Place;
use crate::{Identity, vault};

/// How often a replica reads the ring again and looks whether a rotation is due.
const RELOAD: Duration = Duration::from_secs(5);
/// How long a key is published before it may sign, when nobody forces it: what clients may cache the JWKS for, and more.
const PUBLISHED_AHEAD: TimeDelta = TimeDelta::seconds(2 * JWKS_MAX_AGE_S);
/// How long clients may cache the JWKS, in seconds.
pub(crate) const JWKS_MAX_AGE_S: i64 = 300;
/// Replicas that are behind, and clocks that differ.
const OVERLAP: TimeDelta = TimeDelta::seconds(60);
/// Keys shown to operators.
const MAX_LISTED: i64 = 100;
const PRIVATE_KEY: &str = "signing_key.private_key";
/// The next keys are not in every key set that clients keep.
pub(crate) const NEXT_KEYS_NEW: Code = Code::new(
    "signing-keys-new",
    409,
    "Khóa ký tiếp theo vừa được công bố, hãy đợi mười phút hoặc dùng --force",
    "The next signing keys were published moments ago: wait ten minutes, or use --force",
);

/// The key that signs now.
pub(crate) struct Signer {
    /// Its id in tokens and in the JWKS.
    pub kid: String,
    pub key: EncodingKey,
    pub algorithm: Algorithm,
    activated_at: DateTime<Utc>,
}

/// Whether a rotation waits until the next key has been published for long enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// Only if the active key is old and the next one well known.
    WhenDue,
    /// If the next key is well known: an operator says so.
    Now,
    /// Whatever clients know: an operator says so, because a key is in wrong hands.
    Forced,
}

/// A signing key, as operators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyStatus {
    /// Its id in tokens and in the key set.
    pub kid: String,
    /// `EdDSA` or `RS256`.
    pub algorithm: String,
    /// `next`, `active` or `retired`; a retired one is in the key set until `remove_at`, and kept longer for hints.
    pub state: String,
    /// Since when it is in the key set.
    pub created_at: DateTime<Utc>,
    /// Since when it signs, or signed.
    pub activated_at: Option<DateTime<Utc>>,
    /// When it leaves the key set.
    pub remove_at: Option<DateTime<Utc>>,
}

/// The newest signing keys that are kept, at most 100.
///
/// # Errors
/// What the database answered.
pub async fn list_keys(pool: &PgPool) -> Result<Vec<KeyStatus>, sqlx::Error> {
    sql::list(pool, MAX_LISTED).await
}

/// A key as it is stored.
struct Row {
    kid: String,
    private_key: Option<Vec<u8>>,
    created_at: DateTime<Utc>,
    activated_at: Option<DateTime<Utc>>,
}

/// The ring of one replica: what signs now, of each algorithm.
#[derive(Default)]
pub(crate) struct Ring {
    edwards: ArcSwapOption<Signer>,
    rsa: ArcSwapOption<Signer>,
}

impl Ring {
    fn of(&self, algorithm: Algorithm) -> &ArcSwapOption<Signer> {
        match algorithm {
            Algorithm::EdDsa => &self.edwards,
            Algorithm::Rs256 => &self.rsa,
        }
    }
}

/// The public keys that verify tokens, as an RFC 7517 key set.
pub(crate) async fn jwks(pool: &PgPool, now: DateTime<Utc>) -> Result<serde_json::Value, sqlx::Error> {
    let published = sql::published(pool, now).await?;
    let jwk = |key: &sql::Published| Algorithm::stored(&key.algorithm)?.jwk(&key.kid, &key.public_key);
    let keys: Vec<serde_json::Value> = published.iter().filter_map(jwk).collect();
    Ok(serde_json::json!({ "keys": keys }))
}

/// The public key of an id, though it may have left the key set: for what proves nothing any more but says whom a client means.
pub(crate) async fn public_key(
    pool: &PgPool,
    kid: &str,
) -> Result<Option<(Algorithm, serde_json::Value)>, sqlx::Error> {
    let found = sql::find(pool, kid).await?;
    Ok(found.and_then(|key| {
        let algorithm = Algorithm::stored(&key.algorithm)?;
        Some((algorithm, algorithm.jwk(&key.kid, &key.public_key)?))
    }))
}

impl Identity {
    /// The key that signs access tokens now.
    pub(crate) async fn signer(&self) -> Result<Arc<Signer>, Error> {
        self.signer_of(self.config.access_token_algorithm).await
    }

    /// The key of an algorithm that signs now; read, and made if this city has none yet, when this replica has not done so.
    pub(crate) async fn signer_of(&self, algorithm: Algorithm) -> Result<Arc<Signer>, Error> {
        if let Some(signer) = self.ring.of(algorithm).load_full() {
            return Ok(signer);
        }
        self.reload_ring(algorithm).await
    }

    /// Reads what signs now again.
    async fn reload_ring(&self, algorithm: Algorithm) -> Result<Arc<Signer>, Error> {
        let found = sql::active(&mut *self.pool.acquire().await?, algorithm).await?;
        let active = match found {
            Some(row) => row,
            None => {
                self.make_first_keys(algorithm).await?;
                let made = sql::active(&mut *self.pool.acquire().await?, algorithm).await?;
                made.ok_or(Error::NoSigningKey)?
            }
        };
        let signer = Arc::new(self.open(algorithm, active)?);
        self.ring.of(algorithm).store(Some(signer.clone()));
        Ok(signer)
    }

    fn open(&self, algorithm: Algorithm, row: Row) -> Result<Signer, Error> {
        let sealed = row.private_key.ok_or(Error::NoSigningKey)?;
        let place = Place::new(PRIVATE_KEY, kid_uuid(&row.kid)?);
        let pkcs8 = self.vault.open(place, &sealed)?;
        Ok(Signer {
            kid: row.kid,
            key: algorithm.signing_key(&pkcs8)?,
            algorithm,
            activated_at: row.activated_at.unwrap_or(row.created_at),
        })
    }

    /// Makes the city's first keys of an algorithm unless another replica has. Tells whether this one did.
    pub(crate) async fn make_first_keys(&self, algorithm: Algorithm) -> Result<bool, Error> {
        // Computed before anything is locked.
        let (first, second) = (generate(algorithm).await?, generate(algorithm).await?);
        let now = self.now();
        let mut tx = platform::db::begin(&self.pool).await?;
        sql::lock(&mut tx).await?;
        if sql::active(&mut tx, algorithm).await?.is_some() {
            return Ok(false);
        }
        if sql::next(&mut tx, algorithm).await?.is_none() {
            self.publish(&mut tx, algorithm, &first, now).await?;
        }
        let kid = sql::activate_next(&mut tx, algorithm, now).await?;
        self.publish(&mut tx, algorithm, &second, now).await?;
        let behest = Behest::of_process(&self.instance, "first-start");
        audit::append(&mut tx, &[Entry::at(&behest, Action::KeyMake, kid)], now).await?;
        tx.commit().await?;
        info!(algorithm = algorithm.as_str(), "signing keys made");
        Ok(true)
    }

    /// Lets the next key of each algorithm that the city has sign, and publishes new next ones. Tells whether any did.
    pub(crate) async fn rotate_keys(&self, urgency: Urgency, behest: &Behest) -> Result<bool, Error> {
        self.signer().await?;
        let mut rotated = false;
        for algorithm in Algorithm::ALL {
            rotated |= self.rotate_key(algorithm, urgency, behest).await?;
        }
        Ok(rotated)
    }

    async fn rotate_key(&self, algorithm: Algorithm, urgency: Urgency, behest: &Behest) -> Result<bool, Error> {
        // Looked at without a lock first: most of the time nothing is due.
        if !self.may_rotate(&mut *self.pool.acquire().await?, algorithm, urgency).await? {
            return Ok(false);
        }
        let new = generate(algorithm).await?;
        let now = self.now();
        let mut tx = platform::db::begin(&self.pool).await?;
        sql::lock(&mut tx).await?;
        if !self.may_rotate(&mut tx, algorithm, urgency).await? {
            return Ok(false);
        }
        if sql::next(&mut tx, algorithm).await?.is_none() {
            self.publish(&mut tx, algorithm, &generate(algorithm).await?, now).await?;
        }
        let remove_at = now + Lifetimes::span(self.config.lifetimes.access_token_seconds) + OVERLAP;
        sql::retire_active(&mut tx, algorithm, now, remove_at).await?;
        let kid = sql::activate_next(&mut tx, algorithm, now).await?;
        self.publish(&mut tx, algorithm, &new, now).await?;
        audit::append(&mut tx, &[Entry::at(behest, Action::KeyRotate, &kid)], now).await?;
        tx.commit().await?;
        self.meter.key_rotation();
        self.reload_ring(algorithm).await?;
        info!(kid, algorithm = algorithm.as_str(), "signing key rotated");
        Ok(true)
    }

    async fn may_rotate(&self, conn: &mut PgConnection, algorithm: Algorithm, urgency: Urgency) -> Result<bool, Error> {
        let Some(active) = sql::active(&mut *conn, algorithm).await? else { return Ok(false) };
        let now = self.now();
        let age = now - active.activated_at.unwrap_or(active.created_at);
        // Clients have it when they may have read the key set for the last time before; and no key set was without the first pair.
        let is_known = |next: Row| now - next.created_at >= PUBLISHED_AHEAD || next.created_at <= active.created_at;
        let known = sql::next(conn, algorithm).await?.is_some_and(is_known);
        Ok(match urgency {
            Urgency::WhenDue => known && age >= Lifetimes::span(self.config.lifetimes.signing_key_seconds),
            Urgency::Now => known,
            Urgency::Forced => true,
        })
    }

    /// Publishes a key as the next one, its private half sealed.
    async fn publish(
        &self,
        tx: &mut PgConnection,
        algorithm: Algorithm,
        key: &NewKey,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        // Random, so that a key's id says nothing about it.
        let id = Uuid::from_bytes(vault::random());
        let kid = URL_SAFE_NO_PAD.encode(id.as_bytes());
        let private = self.vault.seal(Place::new(PRIVATE_KEY, id), &key.private);
        let sealed = NewKey { public: key.public.clone(), private };
        sql::insert_next(tx, algorithm, &kid, &sealed, now).await?;
        Ok(())
    }

    /// Keeps this replica's ring current, rotates when it is time, and removes keys that are over.
    pub(crate) fn key_task(self: &Arc<Self>) -> Task {
        let identity = self.clone();
        Task::new("signing-keys", |shutdown| async move {
            loop {
                if let Err(error) = identity.tend_keys().await {
                    warn!(%error, "cannot tend the signing keys");
                }
                tokio::select! {
                    () = tokio::time::sleep(RELOAD) => {}
                    () = shutdown.cancelled() => return Ok(()),
                }
            }
        })
    }

    pub(crate) async fn tend_keys(&self) -> Result<(), Error> {
        for algorithm in Algorithm::ALL {
            let signer = self.reload_ring(algorithm).await?;
            if self.now() - signer.activated_at >= Lifetimes::span(self.config.lifetimes.signing_key_seconds) {
                let behest = Behest::of_process(&self.instance, "due");
                self.rotate_key(algorithm, Urgency::WhenDue, &behest).await?;
            }
        }
        self.remove_keys().await
    }

    /// Removes retired keys that no token was signed with whose session may be alive.
    pub(crate) async fn remove_keys(&self) -> Result<(), Error> {
        let (now, lifetimes) = (self.now(), &self.config.lifetimes);
        let longest = lifetimes.session_seconds.max(lifetimes.browser_session_seconds);
        let mut tx = platform::db::begin(&self.pool).await?;
        let removed = sql::remove_over(&mut tx, now - Lifetimes::span(longest)).await?;
        let behest = Behest::of_process(&self.instance, "expired");
        let entries: Vec<Entry> = removed.iter().map(|kid| Entry::at(&behest, Action::KeyRemove, kid)).collect();
        audit::append(&mut tx, &entries, now).await?;
        tx.commit().await?;
        Ok(())
    }
}

/// Makes a key on a thread that may compute for a while.
async fn generate(algorithm: Algorithm) -> Result<NewKey, Error> {
    tokio::task::spawn_blocking(move || algorithm.generate()).await.map_err(|_| Error::NoSigningKey)?
}

fn kid_uuid(kid: &str) -> Result<Uuid, Error> {
    let bytes = URL_SAFE_NO_PAD.decode(kid).map_err(|_| Error::NoSigningKey)?;
    Uuid::from_slice(&bytes).map_err(|_| Error::NoSigningKey)
}

//! Keys that sign access tokens.
//!
//! A key is published as `next` before it signs, signs while `active`, and stays published while `retired` until no token
//! of its can be alive; then it is removed. Rotation moves all of them one place on, in one transaction under one lock,
//! so that any number of replicas rotate once. A retired key's private half is destroyed at once.
//! Each replica signs with the ring it has read last ([`RELOAD`]); the overlap covers those that are behind.

mod source;
mod sql;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::EncodingKey;
use platform::task::Task;
use sqlx::{PgConnection, PgPool};
use tracing::{info, warn};
use uuid::Uuid;

pub use self::source::DatabaseKeySource;
use crate::audit::{self, Action, Behest, Entry};
use crate::config::Lifetimes;
use crate::error::Error;
use crate::vault::{Place, Vault};
use crate::{Identity, vault};

/// How often a replica reads the ring again and looks whether a rotation is due.
const RELOAD: Duration = Duration::from_secs(5);
/// How long a key is published before it may sign, when nobody forces it: what clients may cache the JWKS for, and more.
const PUBLISHED_AHEAD: TimeDelta = TimeDelta::seconds(2 * JWKS_MAX_AGE_S);
/// How long clients may cache the JWKS, in seconds.
pub(crate) const JWKS_MAX_AGE_S: i64 = 300;
/// Replicas that are behind, and clocks that differ.
const OVERLAP: TimeDelta = TimeDelta::seconds(60);
const PRIVATE_KEY: &str = "signing_key.private_key";

/// The key that signs now.
pub(crate) struct Signer {
    /// Its id in tokens and in the JWKS.
    pub kid: String,
    pub key: EncodingKey,
    activated_at: DateTime<Utc>,
}

/// Whether a rotation waits until the next key has been published for long enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// Only if the active key is old and the next one well known.
    WhenDue,
    /// At once: an operator says so.
    Now,
}

/// A key as it is stored.
struct Row {
    kid: String,
    private_key: Option<Vec<u8>>,
    created_at: DateTime<Utc>,
    activated_at: Option<DateTime<Utc>>,
}

/// The ring of one replica.
#[derive(Default)]
pub(crate) struct Ring {
    signer: ArcSwapOption<Signer>,
}

/// The public keys that verify tokens, as an RFC 7517 key set.
pub(crate) async fn jwks(pool: &PgPool, now: DateTime<Utc>) -> Result<serde_json::Value, sqlx::Error> {
    let published = sql::published(pool, now).await?;
    let keys: Vec<serde_json::Value> = published
        .into_iter()
        .map(|(kid, public_key)| {
            serde_json::json!({
                "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA",
                "kid": kid, "x": URL_SAFE_NO_PAD.encode(public_key),
            })
        })
        .collect();
    Ok(serde_json::json!({ "keys": keys }))
}

impl Identity {
    /// The key that signs now; read, and made if this city has none yet, when this replica has not done so.
    pub(crate) async fn signer(&self) -> Result<Arc<Signer>, Error> {
        if let Some(signer) = self.ring.signer.load_full() {
            return Ok(signer);
        }
        self.reload_ring().await
    }

    /// Reads the ring again.
    pub(crate) async fn reload_ring(&self) -> Result<Arc<Signer>, Error> {
        let mut conn = self.pool.acquire().await?;
        let active = match sql::active(&mut conn).await? {
            Some(row) => row,
            None => {
                drop(conn);
                self.make_first_keys().await?;
                sql::active(&mut *self.pool.acquire().await?).await?.ok_or(Error::NoSigningKey)?
            }
        };
        let signer = Arc::new(self.open(active)?);
        self.ring.signer.store(Some(signer.clone()));
        Ok(signer)
    }

    fn open(&self, row: Row) -> Result<Signer, Error> {
        let sealed = row.private_key.ok_or(Error::NoSigningKey)?;
        let place = Place::new(PRIVATE_KEY, kid_uuid(&row.kid)?);
        let pkcs8 = self.vault.open(place, &sealed)?;
        Ok(Signer {
            kid: row.kid,
            key: EncodingKey::from_ed_der(&pkcs8),
            activated_at: row.activated_at.unwrap_or(row.created_at),
        })
    }

    /// Makes the city's first keys unless another replica has. Tells whether this one did.
    pub(crate) async fn make_first_keys(&self) -> Result<bool, Error> {
        let now = self.now();
        let mut tx = platform::db::begin(&self.pool).await?;
        sql::lock(&mut tx).await?;
        if sql::active(&mut tx).await?.is_some() {
            return Ok(false);
        }
        if sql::next(&mut tx).await?.is_none() {
            make_next(&mut tx, &self.vault, now).await?;
        }
        let kid = sql::activate_next(&mut tx, now).await?;
        make_next(&mut tx, &self.vault, now).await?;
        let behest = Behest::of_process(&self.instance, "first-start");
        audit::append(&mut tx, &[Entry::at(&behest, Action::KeyMake, kid)], now).await?;
        tx.commit().await?;
        info!("signing keys made");
        Ok(true)
    }

    /// Lets the next key sign and publishes a new next one. Tells whether it did.
    pub(crate) async fn rotate_keys(&self, urgency: Urgency, behest: &Behest) -> Result<bool, Error> {
        self.signer().await?;
        let now = self.now();
        let lifetimes = &self.config.lifetimes;
        let mut tx = platform::db::begin(&self.pool).await?;
        sql::lock(&mut tx).await?;
        let active = sql::active(&mut tx).await?.ok_or(Error::NoSigningKey)?;
        let age = now - active.activated_at.unwrap_or(active.created_at);
        let known = sql::next(&mut tx).await?.is_some_and(|next| now - next.created_at >= PUBLISHED_AHEAD);
        if urgency == Urgency::WhenDue && (age < Lifetimes::span(lifetimes.signing_key_seconds) || !known) {
            return Ok(false);
        }
        if sql::next(&mut tx).await?.is_none() {
            make_next(&mut tx, &self.vault, now).await?;
        }
        let remove_at = now + Lifetimes::span(lifetimes.access_token_seconds) + OVERLAP;
        sql::retire_active(&mut tx, now, remove_at).await?;
        let kid = sql::activate_next(&mut tx, now).await?;
        make_next(&mut tx, &self.vault, now).await?;
        audit::append(&mut tx, &[Entry::at(behest, Action::KeyRotate, kid)], now).await?;
        tx.commit().await?;
        self.meter.key_rotation();
        let signer = self.reload_ring().await?;
        info!(kid = signer.kid, "signing key rotated");
        Ok(true)
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

    async fn tend_keys(&self) -> Result<(), Error> {
        let signer = self.reload_ring().await?;
        let age = self.now() - signer.activated_at;
        if age >= Lifetimes::span(self.config.lifetimes.signing_key_seconds) {
            self.rotate_keys(Urgency::WhenDue, &Behest::of_process(&self.instance, "due")).await?;
        }
        self.remove_keys().await
    }

    /// Removes retired keys that no living token was signed with.
    pub(crate) async fn remove_keys(&self) -> Result<(), Error> {
        let now = self.now();
        let mut tx = platform::db::begin(&self.pool).await?;
        let removed = sql::remove_over(&mut tx, now).await?;
        let behest = Behest::of_process(&self.instance, "expired");
        let entries: Vec<Entry> = removed.iter().map(|kid| Entry::at(&behest, Action::KeyRemove, kid)).collect();
        audit::append(&mut tx, &entries, now).await?;
        tx.commit().await?;
        Ok(())
    }
}

async fn make_next(tx: &mut PgConnection, vault: &Vault, now: DateTime<Utc>) -> Result<(), Error> {
    let pair = Ed25519KeyPair::generate().map_err(|_| Error::NoSigningKey)?;
    let pkcs8 = pair.to_pkcs8().map_err(|_| Error::NoSigningKey)?;
    // Random, so that a key's id says nothing about it.
    let id = Uuid::from_bytes(vault::random());
    let kid = URL_SAFE_NO_PAD.encode(id.as_bytes());
    let sealed = vault.seal(Place::new(PRIVATE_KEY, id), pkcs8.as_ref());
    sql::insert_next(tx, &kid, pair.public_key().as_ref(), &sealed, now).await?;
    Ok(())
}

fn kid_uuid(kid: &str) -> Result<Uuid, Error> {
    let bytes = URL_SAFE_NO_PAD.decode(kid).map_err(|_| Error::NoSigningKey)?;
    Uuid::from_slice(&bytes).map_err(|_| Error::NoSigningKey)
}

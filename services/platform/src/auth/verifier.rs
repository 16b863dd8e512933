//! The token check: signature once, then a cache; time and revocation always.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use chrono::{DateTime, Utc};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Notify, watch};
use tracing::warn;
use uuid::Uuid;

use super::source::{KeySource, PublicKeys, Revoked};
use super::{Claims, LEEWAY_S, Principal, TOKEN_AUDIENCE, TOKEN_TYPE};
use crate::clock::Clock;
use crate::task::Task;

/// Tokens remembered as valid.
const CACHE_TOKENS: u64 = 100_000;
/// The longest token looked at, in bytes.
const MAX_TOKEN: usize = 4_096;
/// How often revocations are read.
const REVOCATION_INTERVAL: Duration = Duration::from_secs(1);
/// How often keys are read when no unknown key asks for it sooner.
const KEY_INTERVAL: Duration = Duration::from_secs(60);
/// The pause after the first failure to read keys; it doubles up to a second.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// How long a request waits for keys that its token needs.
const KEY_WAIT: Duration = Duration::from_millis(1_500);

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// Not a token of ours.
    #[error("token is not valid")]
    Invalid,
    /// Its time is over.
    #[error("token has expired")]
    Expired,
    /// Its session was ended.
    #[error("session is revoked")]
    Revoked,
    /// A role was taken from the person after it was issued.
    #[error("roles have changed")]
    Stale,
    /// The issuer's keys are not known yet.
    #[error("signing keys are not known yet")]
    NoKeys,
}

struct Keys {
    issuer: String,
    by_id: HashMap<String, (Algorithm, DecodingKey)>,
}

/// What is refused though it has not expired; with the Unix seconds after which it has.
#[derive(Default)]
struct Refused {
    sessions: HashMap<Uuid, i64>,
    /// By person: the least `role_epoch` of tokens that say what roles are left.
    roles: HashMap<Uuid, (u32, i64)>,
}

impl Refused {
    fn add(&mut self, what: Revoked, forget_at: i64) {
        match what {
            Revoked::Session(session) => {
                self.sessions.insert(session, forget_at);
            }
            Revoked::Roles { subject, epoch } => {
                let known = self.roles.entry(subject).or_insert((epoch, forget_at));
                *known = (known.0.max(epoch), known.1.max(forget_at));
            }
        }
    }

    fn check(&self, principal: &Principal) -> Result<(), AuthError> {
        if self.sessions.contains_key(&principal.session) {
            return Err(AuthError::Revoked);
        }
        let least = self.roles.get(&principal.subject).map_or(0, |(epoch, _)| *epoch);
        if principal.role_epoch < least { Err(AuthError::Stale) } else { Ok(()) }
    }
}

/// A token whose signature was checked.
struct Checked {
    principal: Principal,
    claims: Claims,
}

struct Inner {
    clock: Clock,
    source: Box<dyn KeySource>,
    keys: ArcSwapOption<Keys>,
    keys_read: watch::Sender<u64>,
    keys_wanted: Notify,
    cache: moka::sync::Cache<[u8; 32], Arc<Checked>>,
    refused: RwLock<Refused>,
    revoked_changed: watch::Sender<()>,
    /// Whether all revocations of the time before this process were read once.
    revoked_known: watch::Sender<bool>,
}

/// Checks access tokens. Cheap to clone; clones share keys, cache and revocations.
#[derive(Clone)]
pub struct Verifier(Arc<Inner>);

impl std::fmt::Debug for Verifier {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Verifier")
    }
}

impl Verifier {
    /// A verifier and the task that keeps its keys and revocations current.
    pub fn new(source: impl KeySource, clock: Clock) -> (Self, Task) {
        let verifier = Self(Arc::new(Inner {
            clock,
            source: Box::new(source),
            keys: ArcSwapOption::empty(),
            keys_read: watch::Sender::new(0),
            keys_wanted: Notify::new(),
            cache: moka::sync::Cache::new(CACHE_TOKENS),
            refused: RwLock::default(),
            revoked_changed: watch::Sender::new(()),
            revoked_known: watch::Sender::new(false),
        }));
        let task = verifier.clone();
        let task = Task::new("auth-keys", |shutdown| async move {
            tokio::select! {
                () = task.follow_keys() => {}
                () = task.follow_revocations() => {}
                () = shutdown.cancelled() => {}
            }
            Ok(())
        });
        (verifier, task)
    }

    /// Whether the issuer's keys are known.
    pub fn is_ready(&self) -> bool {
        self.0.keys.load().is_some()
    }

    /// Who issues tokens here, once that is known.
    #[must_use]
    pub fn issuer(&self) -> Option<String> {
        self.0.keys.load().as_ref().map(|keys| keys.issuer.clone())
    }

    /// Checks a token.
    ///
    /// # Errors
    /// Why it is refused.
    pub async fn verify(&self, token: &str) -> Result<Principal, AuthError> {
        Ok(self.check(token, TOKEN_AUDIENCE).await?.principal.clone())
    }

    /// Checks an access token that is meant for an audience of ours, and tells all that it says.
    ///
    /// # Errors
    /// Why it is refused.
    pub async fn verify_claims(&self, token: &str, audience: &str) -> Result<Claims, AuthError> {
        Ok(self.check(token, audience).await?.claims.clone())
    }

    async fn check(&self, token: &str, audience: &str) -> Result<Arc<Checked>, AuthError> {
        if token.len() > MAX_TOKEN {
            return Err(AuthError::Invalid);
        }
        let digest: [u8; 32] = Sha256::digest(token).into();
        let checked = match self.0.cache.get(&digest) {
            Some(checked) => checked,
            None => {
                let checked = Arc::new(self.check_signature(token, audience).await?);
                self.check_time(&checked.principal)?;
                self.0.cache.insert(digest, checked.clone());
                checked
            }
        };
        // The cache holds tokens of every audience.
        if checked.claims.aud != audience {
            return Err(AuthError::Invalid);
        }
        self.check_time(&checked.principal)?;
        self.check_refused(&checked.principal)?;
        Ok(checked)
    }

    /// Refuses tokens from now on, ahead of the next read.
    pub fn revoke(&self, what: Revoked, forget_at: i64) {
        self.0.refused.write().expect("no holder of the lock panics").add(what, forget_at);
        self.0.revoked_changed.send_replace(());
    }

    /// Waits until the principal's token expires or is refused; ends streams that outlive their session or their role.
    pub async fn ended(&self, principal: &Principal) {
        let mut changed = self.0.revoked_changed.subscribe();
        loop {
            if self.check_refused(principal).is_err() {
                return;
            }
            tokio::select! {
                () = self.0.clock.sleep_until(principal.expires_at) => return,
                _ = changed.changed() => {}
            }
        }
    }

    fn check_refused(&self, principal: &Principal) -> Result<(), AuthError> {
        self.0.refused.read().expect("no holder of the lock panics").check(principal)
    }

    /// Whether tokens of a session, or of something else that is revoked by its id, are refused.
    pub(super) fn is_revoked(&self, id: Uuid) -> bool {
        self.0.refused.read().expect("no holder of the lock panics").sessions.contains_key(&id)
    }

    fn check_time(&self, principal: &Principal) -> Result<(), AuthError> {
        let leeway = chrono::TimeDelta::seconds(LEEWAY_S);
        if principal.expires_at + leeway <= self.0.clock.now() { Err(AuthError::Expired) } else { Ok(()) }
    }

    async fn check_signature(&self, token: &str, audience: &str) -> Result<Checked, AuthError> {
        let claims: Claims = self.claims(token, TOKEN_TYPE, audience).await?;
        if claims.iat > self.now_s() + LEEWAY_S {
            return Err(AuthError::Invalid);
        }
        Ok(Checked { principal: principal_of(&claims)?, claims })
    }

    pub(super) fn now_s(&self) -> i64 {
        self.0.clock.now().timestamp()
    }

    /// The claims of a token of ours with this type and audience; its times are not looked at.
    pub(super) async fn claims<C: DeserializeOwned>(
        &self,
        token: &str,
        typ: &str,
        audience: &str,
    ) -> Result<C, AuthError> {
        if token.len() > MAX_TOKEN {
            return Err(AuthError::Invalid);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| AuthError::Invalid)?;
        if header.typ.as_deref().is_none_or(|found| !found.eq_ignore_ascii_case(typ)) {
            return Err(AuthError::Invalid);
        }
        let kid = header.kid.ok_or(AuthError::Invalid)?;
        let keys = self.keys_with(&kid).await?;
        let (algorithm, key) = keys.by_id.get(&kid).ok_or(AuthError::Invalid)?;
        if header.alg != *algorithm {
            return Err(AuthError::Invalid);
        }
        let mut validation = Validation::new(*algorithm);
        // Time is checked against our own clock, on every use and not only on the first.
        validation.validate_exp = false;
        validation.set_audience(&[audience]);
        validation.set_issuer(&[&keys.issuer]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        Ok(jsonwebtoken::decode(token, key, &validation).map_err(|_| AuthError::Invalid)?.claims)
    }

    /// The keys, read again (at most once a second) when they lack `kid`.
    async fn keys_with(&self, kid: &str) -> Result<Arc<Keys>, AuthError> {
        let mut read = self.0.keys_read.subscribe();
        let known = self.0.keys.load_full();
        if known.as_ref().is_some_and(|keys| keys.by_id.contains_key(kid)) {
            return known.ok_or(AuthError::NoKeys);
        }
        self.0.keys_wanted.notify_one();
        // Runs out when the source is away; then the keys at hand decide.
        let _ = tokio::time::timeout(KEY_WAIT, read.changed()).await;
        self.0.keys.load_full().ok_or(AuthError::NoKeys)
    }

    async fn follow_keys(&self) {
        // Without keys every token is refused: a process that has just started takes no token of a session that ended
        // before. Fails only if the sender is gone, which this value holds.
        let _ = self.0.revoked_known.subscribe().wait_for(|known| *known).await;
        let mut pause = FIRST_PAUSE;
        loop {
            match self.0.source.keys().await.and_then(|keys| parse_keys(&keys)) {
                Ok(keys) => {
                    self.0.keys.store(Some(Arc::new(keys)));
                    self.0.keys_read.send_modify(|reads| *reads += 1);
                    pause = FIRST_PAUSE;
                    tokio::time::sleep(REVOCATION_INTERVAL).await;
                    // Runs out in quiet times; an unknown key id asks sooner.
                    let _ = tokio::time::timeout(KEY_INTERVAL, self.0.keys_wanted.notified()).await;
                }
                Err(error) => {
                    // Once per outage, and not while everything starts.
                    if self.is_ready() && pause == FIRST_PAUSE {
                        warn!(%error, "cannot read signing keys");
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(REVOCATION_INTERVAL);
                }
            }
        }
    }

    async fn follow_revocations(&self) {
        let (mut position, mut away, mut pause) = (0, false, FIRST_PAUSE);
        loop {
            let found = self.0.source.revocations(position).await;
            let was_away = std::mem::replace(&mut away, found.is_err());
            match found {
                Ok(found) if !found.items.is_empty() => {
                    position = found.position;
                    for item in found.items {
                        self.revoke(item.what, item.forget_at);
                    }
                    continue;
                }
                Ok(_) => {
                    self.forget_revocations();
                    self.0.revoked_known.send_replace(true);
                    pause = REVOCATION_INTERVAL;
                }
                Err(error) => {
                    if self.is_ready() && !was_away {
                        warn!(%error, "cannot read revocations");
                    }
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(REVOCATION_INTERVAL);
        }
    }

    fn forget_revocations(&self) {
        let now = self.0.clock.now().timestamp() - LEEWAY_S;
        let mut refused = self.0.refused.write().expect("no holder of the lock panics");
        refused.sessions.retain(|_, forget_at| *forget_at >= now);
        refused.roles.retain(|_, (_, forget_at)| *forget_at >= now);
    }
}

fn parse_keys(keys: &PublicKeys) -> Result<Keys, Box<dyn std::error::Error + Send + Sync>> {
    let set: JwkSet = serde_json::from_str(&keys.jwks_json)?;
    let mut by_id = HashMap::new();
    for jwk in &set.keys {
        let algorithm = match jwk.common.key_algorithm {
            Some(jsonwebtoken::jwk::KeyAlgorithm::EdDSA) => Algorithm::EdDSA,
            Some(jsonwebtoken::jwk::KeyAlgorithm::RS256) => Algorithm::RS256,
            _ => continue,
        };
        if let Some(id) = &jwk.common.key_id {
            by_id.insert(id.clone(), (algorithm, DecodingKey::from_jwk(jwk)?));
        }
    }
    Ok(Keys { issuer: keys.issuer.clone(), by_id })
}

fn principal_of(claims: &Claims) -> Result<Principal, AuthError> {
    let time = |seconds| DateTime::<Utc>::from_timestamp(seconds, 0).ok_or(AuthError::Invalid);
    Ok(Principal {
        subject: claims.sub,
        session: claims.sid,
        client: claims.client_id.clone(),
        roles: claims.roles.clone(),
        role_epoch: claims.role_epoch,
        scopes: claims.scope.split_ascii_whitespace().map(str::to_owned).collect(),
        authenticated_at: time(claims.auth_time)?,
        expires_at: time(claims.exp)?,
        agency: claims.agency.clone(),
        is_client: claims.is_of_client(),
    })
}

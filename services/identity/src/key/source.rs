//! Keys and revocations for the token checks inside the identity role: straight from its own database.

use async_trait::async_trait;
use platform::auth::{KeySource, PublicKeys, Revocation, Revocations};
use platform::clock::Clock;
use sqlx::PgPool;

use crate::revocation;

/// The most revocations read at a time.
pub(crate) const REVOCATION_PAGE: i64 = 1_000;

/// Reads identity's tables; needs no secret, for public keys and revocations are none.
#[derive(Clone, Debug)]
pub struct DatabaseKeySource {
    pool: PgPool,
    issuer: String,
    clock: Clock,
}

impl DatabaseKeySource {
    /// `pool` is identity's own; `issuer` is [`Config::issuer_for`](crate::Config::issuer_for).
    pub fn new(pool: PgPool, issuer: String, clock: Clock) -> Self {
        Self { pool, issuer, clock }
    }
}

#[async_trait]
impl KeySource for DatabaseKeySource {
    async fn keys(&self) -> Result<PublicKeys, Box<dyn std::error::Error + Send + Sync>> {
        let jwks = super::jwks(&self.pool, self.clock.now()).await?;
        if jwks["keys"].as_array().is_none_or(Vec::is_empty) {
            return Err("no signing key was made yet".into());
        }
        Ok(PublicKeys { jwks_json: jwks.to_string(), issuer: self.issuer.clone() })
    }

    async fn revocations(&self, after: i64) -> Result<Revocations, Box<dyn std::error::Error + Send + Sync>> {
        let (listed, _) = revocation::list(&self.pool, after, REVOCATION_PAGE).await?;
        let position = listed.last().map_or(after, |last| last.position);
        let items =
            listed.into_iter().map(|one| Revocation { what: one.what, forget_at: one.forget_at.timestamp() }).collect();
        Ok(Revocations { items, position })
    }
}

//! Clients: programs that may ask for tokens, registered by admins.
//!
//! A client's own tokens and a citizen's are told apart by their subject. Each process keeps what it read of a client for
//! [`KEPT`], so that asking about a token takes no statement; a change is in force everywhere after that time.
//! Invariants: a secret is random, shown once and kept as a digest; the sector of a client never changes, else its citizens
//! would be strangers to it; who may register is decided by the database, not by a token.

mod own;
mod registry;
mod rule;
mod sql;

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use platform::http::Language;
use platform::typed_id;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use utoipa::ToSchema;
use uuid::Uuid;

pub use self::own::{OwnPage, set_up_page_as_operator};
pub(crate) use self::registry::Registered;
pub(crate) use self::rule::{Edit, NewClient};
use super::fault::Fault;
use super::scope::Scopes;
use crate::key::Algorithm;
use crate::{Identity, vault};

typed_id! {
    /// A program that may ask for tokens; `client_id` in requests.
    pub struct ClientId;
}

/// How long a process keeps what it read of a client.
const KEPT: Duration = Duration::from_secs(5);
/// The most clients kept.
const MAX_KEPT: u64 = 10_000;
/// Random bytes of a secret.
const SECRET_BYTES: usize = 32;

/// Whether a client can keep a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ClientAccess)]
pub(crate) enum Access {
    /// It runs on a server.
    Confidential,
    /// It runs in a browser or on a phone.
    Public,
}

impl Access {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Confidential => "confidential",
            Self::Public => "public",
        }
    }
}

/// How a client may come to tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Grant {
    /// By a code that a citizen's sign-in gives.
    AuthorizationCode,
    /// By the refresh token that came with them.
    RefreshToken,
    /// For itself.
    ClientCredentials,
}

impl Grant {
    pub(crate) const ALL: [Self; 3] = [Self::AuthorizationCode, Self::RefreshToken, Self::ClientCredentials];

    /// As requests and the database say it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::AuthorizationCode => "authorization_code",
            Self::RefreshToken => "refresh_token",
            Self::ClientCredentials => "client_credentials",
        }
    }
}

/// A client.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub id: ClientId,
    pub name_vi: String,
    pub name_en: String,
    pub access: Access,
    /// SHA-256 of its secret.
    pub secret_digest: Option<Vec<u8>>,
    pub grants: Vec<Grant>,
    pub scopes: Scopes,
    pub redirect_uris: Vec<String>,
    pub post_logout_redirect_uris: Vec<String>,
    /// Nothing for the city's own pages.
    pub sector: Option<String>,
    pub id_token_algorithm: Algorithm,
    pub agency: Option<String>,
    pub epoch: u32,
    pub version: i64,
    pub created_at: DateTime<Utc>,
    pub created_by: Option<Uuid>,
    pub disabled_at: Option<DateTime<Utc>>,
}

impl Client {
    /// What it is called.
    pub(crate) fn name(&self, language: Language) -> &str {
        match language {
            Language::Vi => &self.name_vi,
            Language::En => &self.name_en,
        }
    }

    /// Whether it is a page of the city's own, which sees citizens' ids and asks for no consent.
    pub(crate) fn is_first_party(&self) -> bool {
        self.sector.is_none()
    }

    /// Refuses a way to tokens that it does not have.
    pub(crate) fn require(&self, grant: Grant) -> Result<(), Fault> {
        use super::fault::FaultKind::UnauthorizedClient;
        if self.grants.contains(&grant) {
            return Ok(());
        }
        Err(Fault::new(UnauthorizedClient, "the client is not registered for this grant_type"))
    }
}

/// What a client says of itself at the token endpoint.
pub(crate) struct Credentials {
    pub id: String,
    pub secret: Option<String>,
}

/// What a process has read of clients.
pub(crate) struct Clients(moka::sync::Cache<Uuid, Arc<Client>>);

impl Default for Clients {
    fn default() -> Self {
        Self(moka::sync::Cache::builder().max_capacity(MAX_KEPT).time_to_live(KEPT).build())
    }
}

impl Clients {
    async fn find(&self, pool: &PgPool, id: ClientId) -> Result<Option<Arc<Client>>, sqlx::Error> {
        if let Some(client) = self.0.get(&id.uuid()) {
            return Ok(Some(client));
        }
        let Some(client) = sql::find(&mut *pool.acquire().await?, id).await?.map(Arc::new) else { return Ok(None) };
        self.0.insert(id.uuid(), client.clone());
        Ok(Some(client))
    }

    fn forget(&self, id: ClientId) {
        self.0.invalidate(&id.uuid());
    }
}

/// A new secret, and the digest that is kept of it.
fn new_secret() -> (String, Vec<u8>) {
    let secret = URL_SAFE_NO_PAD.encode(vault::random::<SECRET_BYTES>());
    let digest = sha256(secret.as_bytes()).to_vec();
    (secret, digest)
}

/// SHA-256.
pub(crate) fn sha256(bytes: &[u8]) -> vault::Digest {
    digest::digest(&digest::SHA256, bytes).as_ref().try_into().expect("SHA-256 has 32 bytes")
}

impl Identity {
    /// A client that is not disabled.
    pub(crate) async fn client(&self, id: &str) -> Result<Option<Arc<Client>>, sqlx::Error> {
        let Ok(id) = id.parse::<ClientId>() else { return Ok(None) };
        let client = self.clients.find(&self.pool, id).await?;
        Ok(client.filter(|client| client.disabled_at.is_none()))
    }

    /// The client that proves itself by its credentials; a public one by being known.
    pub(crate) async fn authenticate_client(&self, credentials: &Credentials) -> Result<Arc<Client>, super::Failure> {
        let client = self.client(&credentials.id).await?.ok_or(Fault::client())?;
        let proved = match (&client.secret_digest, &credentials.secret) {
            (Some(digest), Some(secret)) => vault::same(digest, &sha256(secret.as_bytes())),
            (None, None) => true,
            _ => false,
        };
        if proved { Ok(client) } else { Err(Fault::client().into()) }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A mini-app of somebody else's.
    pub(crate) fn client() -> Client {
        Client {
            id: ClientId::generate(),
            name_vi: "Vé tham quan".to_owned(),
            name_en: "Tickets".to_owned(),
            access: Access::Public,
            secret_digest: None,
            grants: vec![Grant::AuthorizationCode, Grant::RefreshToken],
            scopes: Scopes::parse("openid profile phone offline_access"),
            redirect_uris: vec!["https://app.example/cb".to_owned()],
            post_logout_redirect_uris: Vec::new(),
            sector: Some("app.example".to_owned()),
            id_token_algorithm: Algorithm::Rs256,
            agency: None,
            epoch: 0,
            version: 1,
            created_at: DateTime::UNIX_EPOCH,
            created_by: None,
            disabled_at: None,
        }
    }
}

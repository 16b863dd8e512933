//! The city's OpenID provider, asked over HTTP.
//!
//! What is believed of it: endpoints by discovery, from the issuer whose keys every process holds; tokens by their signatures.

use platform::config::Secret;
use serde::Deserialize;
use tokio::sync::RwLock;
use url::Url;

use crate::config::SignInConfig;
use crate::upstream::Upstream;

const DISCOVERY: &str = ".well-known/openid-configuration";
/// The word by which a provider says that a code or a refresh token is used up or dead.
const INVALID_GRANT: &str = "invalid_grant";

/// Where the provider does what.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Metadata {
    pub(super) authorization_endpoint: Url,
    token_endpoint: Url,
    pub(super) end_session_endpoint: Url,
}

/// What the provider gives.
#[derive(Clone, Deserialize)]
pub(crate) struct Tokens {
    pub(super) access_token: String,
    pub(super) refresh_token: String,
    pub(super) id_token: String,
}

/// Why it gives nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProviderError {
    /// It does not answer, or not in its right mind.
    #[error("the provider can't be asked: {0}")]
    Away(String),
    /// It refuses for good.
    #[error("the provider refuses")]
    Refused,
}

#[derive(Deserialize)]
struct Refused {
    error: String,
}

/// The provider, and who we are there.
pub(crate) struct Provider {
    upstream: Upstream,
    client_id: String,
    client_secret: Secret,
    /// As it was read last: a refresh need not read it again.
    known: RwLock<Option<Metadata>>,
}

impl Provider {
    pub(super) fn new(config: &SignInConfig, upstream: Upstream) -> Self {
        Self {
            upstream,
            client_id: config.client_id.to_string(),
            client_secret: config.client_secret.clone(),
            known: RwLock::default(),
        }
    }

    /// What the provider knows us by.
    pub(super) fn client_id(&self) -> String {
        self.client_id.clone()
    }

    /// Where it does what, read now: whoever is sent there finds it at home.
    pub(super) async fn metadata(&self) -> Result<Metadata, ProviderError> {
        let answer = self.upstream.get(DISCOVERY).await.map_err(ProviderError::Away)?;
        if answer.status != 200 {
            return Err(ProviderError::Away(format!("discovery answered {}", answer.status)));
        }
        let metadata: Metadata =
            serde_json::from_slice(&answer.body).map_err(|error| ProviderError::Away(error.to_string()))?;
        *self.known.write().await = Some(metadata.clone());
        Ok(metadata)
    }

    /// Exchanges a code.
    pub(super) async fn exchange(&self, code: &str, verifier: &str, callback: &Url) -> Result<Tokens, ProviderError> {
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("code_verifier", verifier),
            ("redirect_uri", callback.as_str()),
        ];
        self.ask(&form).await
    }

    /// Exchanges a refresh token for its successor.
    pub(super) async fn refresh(&self, token: &str) -> Result<Tokens, ProviderError> {
        self.ask(&[("grant_type", "refresh_token"), ("refresh_token", token)]).await
    }

    async fn ask(&self, form: &[(&str, &str)]) -> Result<Tokens, ProviderError> {
        let known = self.known.read().await.clone();
        let endpoint = match known {
            Some(metadata) => metadata.token_endpoint,
            None => self.metadata().await?.token_endpoint,
        };
        let own = (self.client_id.as_str(), self.client_secret.expose());
        let answer = self.upstream.post_form(&endpoint, form, own).await.map_err(ProviderError::Away)?;
        if answer.status == 200 {
            return serde_json::from_slice(&answer.body).map_err(|error| ProviderError::Away(error.to_string()));
        }
        let said = serde_json::from_slice::<Refused>(&answer.body).map(|refused| refused.error).unwrap_or_default();
        // Anything else (a client that is not known, a server that fails) may be mended while the session lives.
        if said == INVALID_GRANT {
            return Err(ProviderError::Refused);
        }
        Err(ProviderError::Away(format!("the token endpoint answered {} {said}", answer.status)))
    }
}

//! The provider: OpenID Connect, code flow with PKCE. A trait because it is an outside party; [`HttpProvider`] speaks to one over HTTP.
//!
//! Its ID token is believed only if its signature is by a key of the provider's own set, under an algorithm that the key names, and issuer,
//! audience, authorised party, nonce and time are right; times are those of our clock.
//! Whoever it vouches for has proved themself there during the visit (`max_age=0`, `auth_time`): a session that they had there before,
//! which anybody with their device may use, does not do.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use jsonwebtoken::jwk::{JwkSet, KeyAlgorithm};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use platform::config::Secret;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::Url;

use crate::config::VneidConfig;

/// How long one answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How far clocks may differ, in seconds.
const LEEWAY_S: i64 = 60;
/// What is asked for.
const SCOPE: &str = "openid profile citizen_number";

/// What ties a return to its visit.
pub(crate) struct Visit<'a> {
    pub state: &'a str,
    pub nonce: &'a str,
    /// Of PKCE, S256.
    pub challenge: &'a str,
    /// Where the provider sends the citizen back.
    pub redirect_uri: &'a Url,
}

/// What a citizen came back with, and what ties it to its visit.
pub(crate) struct Return<'a> {
    pub code: &'a str,
    /// Of PKCE.
    pub verifier: &'a str,
    pub nonce: &'a str,
    /// When the visit began.
    pub begun_at: DateTime<Utc>,
    /// That of the visit.
    pub redirect_uri: &'a Url,
}

/// Whom the provider vouches for.
pub(crate) struct Person {
    pub issuer: String,
    pub subject: String,
    pub citizen_number: String,
    pub full_name: String,
}

/// Why the provider did not vouch.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProviderError {
    /// It did not answer, or with an error of its own.
    #[error("the provider did not answer")]
    Away(#[from] reqwest::Error),
    /// It refuses the code.
    #[error("the provider refused the code with {0}")]
    Refused(u16),
    /// Its word is not to be believed.
    #[error("the ID token is not valid: {0}")]
    Token(&'static str),
}

/// Who vouches.
#[async_trait]
pub(crate) trait Provider: Send + Sync {
    /// Where the citizen goes.
    async fn authorize(&self, visit: &Visit<'_>) -> Result<Url, ProviderError>;
    /// Whom a code stands for.
    async fn exchange(&self, back: &Return<'_>, now: DateTime<Utc>) -> Result<Person, ProviderError>;
}

/// A provider over HTTP, found by discovery.
pub(crate) struct HttpProvider {
    client: reqwest::Client,
    settings: VneidConfig,
}

/// What is used of the discovery document (OpenID Connect Discovery, section 3).
#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    authorization_endpoint: Url,
    token_endpoint: Url,
    jwks_uri: Url,
}

#[derive(Deserialize)]
struct TokenAnswer {
    id_token: String,
}

#[derive(Deserialize)]
struct IdToken {
    sub: String,
    nonce: Option<String>,
    exp: i64,
    iat: i64,
    /// When they proved themself; there because it was asked for (OpenID Connect Core, sections 2 and 3.1.2.1).
    auth_time: Option<i64>,
    aud: Audience,
    azp: Option<String>,
    citizen_number: Option<String>,
    name: Option<String>,
}

/// For whom a token is: one name, or a list.
#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

impl IdToken {
    /// Whether the token was made for this client alone, or for it before others (OpenID Connect Core, section 3.1.3.7, 3 to 5).
    fn is_for(&self, client: &str) -> bool {
        let alone = match &self.aud {
            Audience::One(name) => name == client,
            Audience::Several(names) => names.len() == 1 && names[0] == client,
        };
        self.azp.as_deref().map_or(alone, |party| party == client)
    }
}

impl HttpProvider {
    /// Speaks to the configured provider.
    ///
    /// # Errors
    /// When no client can be made.
    pub(crate) fn try_new(settings: VneidConfig) -> Result<Self, reqwest::Error> {
        let redirects = reqwest::redirect::Policy::none();
        let client = reqwest::Client::builder().timeout(TIMEOUT).no_proxy().redirect(redirects).build()?;
        Ok(Self { client, settings })
    }

    fn issuer(&self) -> &str {
        self.settings.issuer.as_str().trim_end_matches('/')
    }

    fn secret(&self) -> &Secret {
        &self.settings.client_secret
    }

    async fn read<T: DeserializeOwned>(&self, url: &str) -> Result<T, ProviderError> {
        Ok(self.client.get(url).send().await?.error_for_status()?.json().await?)
    }

    async fn discover(&self) -> Result<Discovery, ProviderError> {
        let found: Discovery = self.read(&format!("{}/.well-known/openid-configuration", self.issuer())).await?;
        // OpenID Connect Discovery, section 4.3: else another provider answers in its name.
        if found.issuer.trim_end_matches('/') != self.issuer() {
            return Err(ProviderError::Token("the discovery document is another issuer's"));
        }
        Ok(found)
    }

    /// The claims of an ID token that is to be believed.
    async fn believe(&self, found: &Discovery, token: &str) -> Result<IdToken, ProviderError> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| ProviderError::Token("no JWT"))?;
        let keys: JwkSet = self.read(found.jwks_uri.as_str()).await?;
        let kid = header.kid.as_deref().ok_or(ProviderError::Token("no key id"))?;
        let key = keys.find(kid).ok_or(ProviderError::Token("an unknown key"))?;
        let algorithm = match key.common.key_algorithm {
            Some(KeyAlgorithm::RS256) => Algorithm::RS256,
            Some(KeyAlgorithm::ES256) => Algorithm::ES256,
            Some(KeyAlgorithm::EdDSA) => Algorithm::EdDSA,
            _ => return Err(ProviderError::Token("a key for another algorithm")),
        };
        if header.alg != algorithm {
            return Err(ProviderError::Token("an algorithm that is not the key's"));
        }
        let mut validation = Validation::new(algorithm);
        // Checked against our own clock.
        validation.validate_exp = false;
        validation.set_audience(&[&self.settings.client_id]);
        validation.set_issuer(&[&found.issuer]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        let key = DecodingKey::from_jwk(key).map_err(|_| ProviderError::Token("a broken key"))?;
        let decoded = jsonwebtoken::decode::<IdToken>(token, &key, &validation);
        Ok(decoded.map_err(|_| ProviderError::Token("wrong signature, issuer or audience"))?.claims)
    }
}

#[async_trait]
impl Provider for HttpProvider {
    async fn authorize(&self, visit: &Visit<'_>) -> Result<Url, ProviderError> {
        let mut url = self.discover().await?.authorization_endpoint;
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("redirect_uri", visit.redirect_uri.as_str())
            .append_pair("scope", SCOPE)
            .append_pair("state", visit.state)
            .append_pair("nonce", visit.nonce)
            .append_pair("code_challenge", visit.challenge)
            .append_pair("code_challenge_method", "S256")
            .append_pair("max_age", "0");
        Ok(url)
    }

    async fn exchange(&self, back: &Return<'_>, now: DateTime<Utc>) -> Result<Person, ProviderError> {
        let found = self.discover().await?;
        let form = [
            ("grant_type", "authorization_code"),
            ("code", back.code),
            ("redirect_uri", back.redirect_uri.as_str()),
            ("code_verifier", back.verifier),
        ];
        let request = self.client.post(found.token_endpoint.clone()).form(&form);
        let answer = request.basic_auth(&self.settings.client_id, Some(self.secret().expose())).send().await?;
        if answer.status().is_client_error() {
            return Err(ProviderError::Refused(answer.status().as_u16()));
        }
        let TokenAnswer { id_token } = answer.error_for_status()?.json().await?;
        let claims = self.believe(&found, &id_token).await?;
        if !claims.is_for(&self.settings.client_id) {
            return Err(ProviderError::Token("for another party"));
        }
        if claims.nonce.as_deref() != Some(back.nonce) {
            return Err(ProviderError::Token("another nonce"));
        }
        if claims.exp + LEEWAY_S <= now.timestamp() || claims.iat > now.timestamp() + LEEWAY_S {
            return Err(ProviderError::Token("another time"));
        }
        let visit = back.begun_at.timestamp() - LEEWAY_S..=now.timestamp() + LEEWAY_S;
        if !claims.auth_time.is_some_and(|proved_at| visit.contains(&proved_at)) {
            return Err(ProviderError::Token("nobody proved themself during the visit"));
        }
        let (Some(citizen_number), Some(full_name)) = (claims.citizen_number, claims.name) else {
            return Err(ProviderError::Token("no citizen number or name"));
        };
        Ok(Person { issuer: found.issuer, subject: claims.sub, citizen_number, full_name })
    }
}

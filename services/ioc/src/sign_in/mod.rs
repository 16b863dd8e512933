//! How an operator gets to the wall with a browser: by the city's own OpenID provider, of which the wall is a client that keeps
//! its tokens here and gives the browser a cookie (a backend for a frontend).
//!
//! | module | what it holds |
//! | --- | --- |
//! | `pending` | a sign-in under way, sealed into a short-lived cookie; where a browser may go afterwards. Pure |
//! | `provider` | the provider by HTTP: discovery, code, refresh, where to sign out |
//! | `session` | what stands behind the cookie, and how its tokens are renewed |
//!
//! Invariants: no token reaches a browser, but for the ID token that names a sign-out to the provider and opens nothing; a refresh
//! token is used by one process at a time, whatever many tabs and replicas do; the provider's absence ends no session.

pub(crate) mod pending;
pub(crate) mod provider;
pub(crate) mod session;

use std::sync::Arc;

use http::HeaderMap;
use platform::auth::{Principal, Verifier};
use platform::clock::Clock;
use platform::http::{Cookie, Language};
use platform::seal::{MIN_SECRET_BYTES, Sealer};
use sqlx::PgPool;
use url::Url;

use self::pending::Pending;
use self::provider::{Provider, ProviderError};
use self::session::Sessions;
use crate::config::SignInConfig;
use crate::error::{BuildError, Error};
use crate::upstream::Upstream;

const PENDING: &str = "trangtien-wall-sign-in";
const SESSION: &str = "trangtien-wall";

/// Where the provider sends browsers of the wall.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// With a code.
    pub callback: Url,
    /// Signed out.
    pub wall: Url,
}

/// Where the provider sends browsers of the wall of a city at this public URL.
#[must_use]
pub fn places(public_url: &Url) -> Places {
    let own = |path: &str| public_url.join(path).expect("a path of ours");
    Places { callback: own("ioc/callback"), wall: own("ioc") }
}

/// Why a browser that came back from the provider is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No sign-in of this browser is under way, or it took too long.
    NotUnderWay,
    /// The answer is to another request, or of another provider.
    Foreign,
    /// The provider, or the person there, did not go on.
    Declined,
    /// What the provider gave for the code is not what was asked for.
    NotBelieved,
    /// The provider does not answer.
    Away,
}

/// What the provider's answer says, each parameter if it came exactly once.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) state: Option<String>,
    pub(crate) iss: Option<String>,
    pub(crate) code: Option<String>,
    pub(crate) error: Option<String>,
}

/// Somebody who has signed in.
#[derive(Debug)]
pub(crate) struct Entered {
    /// The value of the session's cookie.
    pub(crate) cookie: String,
    /// Who.
    pub(crate) principal: Principal,
    /// Where they wanted to go.
    pub(crate) return_to: String,
    /// What they read.
    pub(crate) language: Language,
}

/// The wall as a client of the provider.
pub(crate) struct SignIn {
    pub(crate) provider: Arc<Provider>,
    pub(crate) sessions: Sessions,
    /// The browser's cookies.
    pub(crate) pending: Cookie,
    pub(crate) session: Cookie,
    sealer: Sealer,
    verifier: Verifier,
    clock: Clock,
    places: Places,
}

impl SignIn {
    /// The wall at a public URL.
    pub(crate) fn try_new(
        config: &SignInConfig,
        (pool, clock): (PgPool, Clock),
        verifier: Verifier,
        (public_url, upstream): (&Url, Upstream),
    ) -> Result<Self, BuildError> {
        if config.client_secret.expose().len() < MIN_SECRET_BYTES {
            return Err(BuildError::WeakSecret);
        }
        let provider = Arc::new(Provider::new(config, upstream));
        Ok(Self {
            sessions: Sessions::new(pool, clock.clone(), verifier.clone(), provider.clone()),
            provider,
            pending: Cookie::new(PENDING, public_url.as_str()),
            session: Cookie::new(SESSION, public_url.as_str()),
            sealer: Sealer::of_secret("ioc sign-in", &config.client_secret),
            verifier,
            clock,
            places: places(public_url),
        })
    }

    /// Begins a sign-in: what the browser keeps until it comes back, and where it goes.
    pub(crate) async fn begin(&self, return_to: &str, language: Language) -> Result<(String, Url), ProviderError> {
        let metadata = self.provider.metadata().await?;
        let pending = Pending::new(return_to, language, self.clock.now());
        let mut place = metadata.authorization_endpoint;
        place.query_pairs_mut().extend_pairs([
            ("response_type", "code"),
            ("client_id", &self.provider.client_id()),
            ("redirect_uri", self.places.callback.as_str()),
            ("scope", "openid"),
            ("state", &pending.state),
            ("nonce", &pending.nonce),
            ("code_challenge", &pending.challenge()),
            ("code_challenge_method", "S256"),
            ("ui_locales", language.tag()),
        ]);
        Ok((pending.seal(&self.sealer), place))
    }

    /// What this browser began a short while ago.
    pub(crate) fn under_way(&self, headers: &HeaderMap) -> Option<Pending> {
        Pending::open(self.pending.read(headers)?, &self.sealer, self.clock.now())
    }

    /// Lets a browser in that comes back with the provider's answer to what it began.
    pub(crate) async fn finish(&self, pending: Pending, answer: &Answer) -> Result<Result<Entered, Refusal>, Error> {
        if answer.state.as_deref() != Some(pending.state.as_str()) {
            return Ok(Err(Refusal::Foreign));
        }
        let Some(issuer) = self.verifier.issuer() else { return Ok(Err(Refusal::Away)) };
        if answer.iss.as_deref() != Some(issuer.as_str()) {
            return Ok(Err(Refusal::Foreign));
        }
        let code = match (&answer.code, &answer.error) {
            (Some(code), None) => code,
            _ => return Ok(Err(Refusal::Declined)),
        };
        let tokens = match self.provider.exchange(code, &pending.verifier, &self.places.callback).await {
            Ok(tokens) => tokens,
            Err(ProviderError::Refused) => return Ok(Err(Refusal::NotBelieved)),
            Err(ProviderError::Away(reason)) => {
                tracing::warn!(reason, "the OpenID provider can't be asked");
                return Ok(Err(Refusal::Away));
            }
        };
        let client = self.provider.client_id();
        let said = self.verifier.id_token(&tokens.id_token, &client, &pending.nonce).await;
        let principal = self.verifier.verify(&tokens.access_token).await;
        let (said, principal) = match (said, principal) {
            (Ok(said), Ok(principal)) => (said, principal),
            (said, principal) => {
                tracing::warn!(?said, ?principal, "the provider's tokens are refused");
                return Ok(Err(Refusal::NotBelieved));
            }
        };
        if (said.sub, said.sid) != (principal.subject, principal.session) || principal.client != client {
            return Ok(Err(Refusal::NotBelieved));
        }
        let cookie = self.sessions.begin(tokens).await?;
        Ok(Ok(Entered { cookie, principal, language: pending.language(), return_to: pending.return_to }))
    }

    /// Ends a session here; gives where the browser signs out at the provider, if that can be asked.
    pub(crate) async fn end(&self, cookie: &str) -> Result<Option<Url>, Error> {
        let id_token = self.sessions.end(cookie).await?;
        let Ok(metadata) = self.provider.metadata().await else { return Ok(None) };
        let mut place = metadata.end_session_endpoint;
        {
            let mut query = place.query_pairs_mut();
            query.append_pair("client_id", &self.provider.client_id());
            query.append_pair("post_logout_redirect_uri", self.places.wall.as_str());
            if let Some(hint) = &id_token {
                query.append_pair("id_token_hint", hint);
            }
        }
        Ok(Some(place))
    }
}

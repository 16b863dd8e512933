//! What a push gateway is shown: a token for good, or tokens that live about an hour, asked for as a service account (RFC 7523).
//!
//! FCM's HTTP v1 takes the latter only: a JWT that the account's key signs is exchanged for a token at the account's `token_uri`
//! (<https://developers.google.com/identity/protocols/oauth2/service-account>).
//!
//! Invariants:
//! - One caller at a time asks for a token; the others wait for its answer, good or bad, and so no longer than one deadline.
//! - A gateway that goes on refusing whatever it is shown has a token asked for once in [`AGAIN`], not for each message.
//! - A token is used until [`EARLY`] before its end; when no new one can be had then, until its end.

use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use platform::clock::Clock;
use platform::config::Secret;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Mutex;
use tracing::{debug, warn};
use url::Url;

use super::{GatewayError, read_answer};
use crate::config::PushConfig;

/// What a token is asked for.
const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";
/// The grant of RFC 7523, section 2.1.
const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// How long an assertion is good; token endpoints take no longer ones.
const ASSERTION_LIFE: TimeDelta = TimeDelta::hours(1);
/// How long before its end a token is replaced.
const EARLY: TimeDelta = TimeDelta::minutes(5);
/// How soon to ask again when no new token could be had and the old one still lives, or when the gateway refuses a new one.
const AGAIN: TimeDelta = TimeDelta::seconds(30);
/// How long nobody asks when no token could be had at all.
const PAUSE: TimeDelta = TimeDelta::seconds(1);
/// The longest life of a token that is believed, in seconds.
const MAX_LIFE_S: i64 = 86_400;

/// What a gateway is shown.
pub(super) enum Bearer {
    /// The same token always.
    Fixed(Secret),
    /// Tokens of a service account.
    Minted(Box<Minter>),
}

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BearerError {
    /// Neither a token nor an account, or both.
    #[error("either token or service_account must be set")]
    Choice,
    /// The account is not the JSON of a service account's key.
    #[error("service_account is not a service account's key file")]
    File(#[from] serde_json::Error),
    /// Its key is none.
    #[error("the private_key of service_account is not an RSA key in PEM")]
    Key(#[from] jsonwebtoken::errors::Error),
}

/// A service account's key file, as Google gives it; what is not needed is not looked at.
#[derive(Deserialize)]
struct Account {
    client_email: String,
    private_key_id: String,
    private_key: Secret,
    token_uri: Url,
}

/// Asks for tokens.
pub(super) struct Minter {
    client: reqwest::Client,
    email: String,
    header: Header,
    key: EncodingKey,
    token_uri: Url,
    clock: Clock,
    held: Mutex<Held>,
}

/// What the last asking came to.
#[derive(Default)]
struct Held {
    token: Option<Token>,
    /// Until when it is of no use to ask.
    ask_at: Option<DateTime<Utc>>,
}

struct Token {
    value: Secret,
    given_at: DateTime<Utc>,
    replace_at: DateTime<Utc>,
    ends_at: DateTime<Utc>,
}

#[derive(Deserialize)]
struct Answer {
    access_token: String,
    expires_in: i64,
}

impl Bearer {
    /// What is configured.
    pub(super) fn try_new(config: &PushConfig, client: reqwest::Client, clock: Clock) -> Result<Self, BearerError> {
        match (&config.token, &config.service_account) {
            (Some(token), None) => Ok(Self::Fixed(token.clone())),
            (None, Some(file)) => Ok(Self::Minted(Box::new(Minter::try_new(file, client, clock)?))),
            _ => Err(BearerError::Choice),
        }
    }

    /// What to show now.
    pub(super) async fn show(&self) -> Result<Secret, GatewayError> {
        match self {
            Self::Fixed(token) => Ok(token.clone()),
            Self::Minted(minter) => minter.token().await,
        }
    }

    /// Lets go of what the gateway refused, unless it is new; whether there may be something better to show.
    pub(super) async fn refused(&self, shown: &Secret) -> bool {
        match self {
            Self::Fixed(_) => false,
            Self::Minted(minter) => minter.refused(shown).await,
        }
    }
}

impl Minter {
    fn try_new(file: &Secret, client: reqwest::Client, clock: Clock) -> Result<Self, BearerError> {
        let account: Account = serde_json::from_str(file.expose())?;
        let key = EncodingKey::from_rsa_pem(account.private_key.expose().as_bytes())?;
        let mut header = Header::new(Algorithm::RS256);
        header.kid = Some(account.private_key_id);
        let (email, token_uri) = (account.client_email, account.token_uri);
        Ok(Self { client, email, header, key, token_uri, clock, held: Mutex::default() })
    }

    async fn token(&self) -> Result<Secret, GatewayError> {
        let mut held = self.held.lock().await;
        let now = self.clock.now();
        if let Some(token) = held.token.as_ref().filter(|token| now < token.replace_at) {
            return Ok(token.value.clone());
        }
        if held.ask_at.is_some_and(|ask_at| now < ask_at) {
            return Err(no_token());
        }
        match self.ask(now).await {
            Ok(token) => {
                debug!(ends_at = %token.ends_at, "push gateway gave a token");
                Ok(held.token.insert(token).value.clone())
            }
            Err(error) => {
                let now = self.clock.now();
                let Some(old) = held.token.as_mut().filter(|token| now < token.ends_at) else {
                    held.ask_at = Some(now + PAUSE);
                    return Err(error);
                };
                warn!(%error, ends_at = %old.ends_at, "no new token for the push gateway; the old one still lives");
                old.replace_at = now + AGAIN;
                Ok(old.value.clone())
            }
        }
    }

    async fn refused(&self, shown: &Secret) -> bool {
        let mut held = self.held.lock().await;
        match &held.token {
            Some(token) if token.value.expose() == shown.expose() => {
                if self.clock.now() < token.given_at + AGAIN {
                    return false;
                }
                held.token = None;
            }
            _ => {}
        }
        true
    }

    async fn ask(&self, now: DateTime<Utc>) -> Result<Token, GatewayError> {
        let claims = json!({
            "iss": self.email,
            "scope": SCOPE,
            "aud": self.token_uri,
            "iat": now.timestamp(),
            "exp": (now + ASSERTION_LIFE).timestamp(),
        });
        let assertion = jsonwebtoken::encode(&self.header, &claims, &self.key).map_err(|_| no_token())?;
        let form = [("grant_type", GRANT), ("assertion", assertion.as_str())];
        let request = self.client.post(self.token_uri.clone()).form(&form);
        let response = request.send().await.map_err(|error| GatewayError::of_transport(&error))?;
        if !response.status().is_success() {
            // Ours to repair, whatever it is; messages can go out afterwards.
            warn!(status = response.status().as_u16(), "push gateway gives no token");
            return Err(no_token());
        }
        let answer: Answer = read_answer(response).await.ok_or_else(no_token)?;
        let life = TimeDelta::seconds(answer.expires_in.clamp(0, MAX_LIFE_S));
        let replace_at = now + (life - EARLY).max(life / 2);
        Ok(Token { value: Secret::new(answer.access_token), given_at: now, replace_at, ends_at: now + life })
    }
}

fn no_token() -> GatewayError {
    GatewayError::Unavailable("token".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nobody listens where its tokens are.
    fn minter(clock: &Clock) -> Minter {
        let file = sandbox::Config::generate().with_service_account().push.account_file("http://127.0.0.1:1");
        Minter::try_new(&file.expect("an account"), reqwest::Client::new(), clock.clone()).expect("a key")
    }

    #[tokio::test]
    async fn a_new_token_that_is_refused_is_kept_for_a_while() {
        let clock = Clock::test();
        let minter = minter(&clock);
        let now = clock.now();
        let new = Token { value: Secret::new("new"), given_at: now, replace_at: now + EARLY, ends_at: now + EARLY * 2 };
        minter.held.lock().await.token = Some(new);
        assert!(!minter.refused(&Secret::new("new")).await, "another would be refused too");
        assert_eq!(minter.token().await.expect("it is kept").expose(), "new");
        assert!(minter.refused(&Secret::new("old")).await, "there is a newer one already");
        assert_eq!(minter.token().await.expect("it is kept").expose(), "new");
        clock.advance(AGAIN);
        assert!(minter.refused(&Secret::new("new")).await);
        assert!(minter.held.lock().await.token.is_none(), "the gateway may have taken it back");
    }

    #[tokio::test]
    async fn an_old_token_is_shown_to_its_end_while_no_new_one_can_be_had() {
        let clock = Clock::test();
        let minter = minter(&clock);
        let now = clock.now();
        let old = Token { value: Secret::new("old"), given_at: now, replace_at: now, ends_at: now + EARLY };
        minter.held.lock().await.token = Some(old);
        assert_eq!(minter.token().await.expect("it still lives").expose(), "old");
        let again = minter.held.lock().await.token.as_ref().map(|token| token.replace_at);
        assert!(again.is_some_and(|again| again >= now + AGAIN), "it is not asked for at each message");
        clock.advance(EARLY);
        assert!(minter.token().await.is_err(), "it has ended");
        assert!(minter.held.lock().await.ask_at.is_some(), "who waited for that answer does not ask again");
        minter.held.lock().await.ask_at = Some(clock.now() + AGAIN);
        assert_eq!(minter.token().await.expect_err("it was of no use a moment ago"), no_token());
    }
}

//! ID tokens (OpenID Connect Core, section 2) of the city's own provider, as a page of the city's own checks the one that it got.

use serde::Deserialize;
use uuid::Uuid;

use super::LEEWAY_S;
use super::verifier::{AuthError, Verifier};

/// The `typ` of the header.
const TYP: &str = "JWT";

/// What an ID token says.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct IdToken {
    /// Who signed in.
    pub sub: Uuid,
    /// The session of the client.
    pub sid: Uuid,
    /// The party that it was issued to, if there are several audiences.
    #[serde(default)]
    azp: Option<String>,
    exp: i64,
    iat: i64,
    #[serde(default)]
    nonce: Option<String>,
}

impl Verifier {
    /// Checks the ID token of a sign-in: signature, issuer, that it is meant for `client`, time, and the `nonce` of the request.
    ///
    /// # Errors
    /// Why it is refused; `NoKeys` when that can't be said yet.
    pub async fn id_token(&self, token: &str, client: &str, nonce: &str) -> Result<IdToken, AuthError> {
        let said: IdToken = self.claims(token, TYP, client).await?;
        let own = said.azp.as_deref().is_none_or(|party| party == client);
        if !own || said.nonce.as_deref() != Some(nonce) || said.iat > self.now_s() + LEEWAY_S {
            return Err(AuthError::Invalid);
        }
        if said.exp + LEEWAY_S <= self.now_s() { Err(AuthError::Expired) } else { Ok(said) }
    }
}

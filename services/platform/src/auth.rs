//! Who calls: access tokens (RFC 9068 `at+jwt`) checked locally, with a cache and revocations.
//!
//! Each process holds the issuer's public keys and the revoked sessions; both come from a [`KeySource`]
//! (identity by gRPC, or its own database inside identity) and are read again every second, so that a revocation
//! is in force everywhere within seconds, also while Redis is away.
//! A role that is taken from a person makes their older tokens stale: they are refused, and a refresh gives one that says what is left.
//! A token stands for a person ([`Principal`]) or for a client by itself ([`ClientPrincipal`], of `client_credentials`): its `sub` is then
//! its `client_id` (RFC 9068, section 2.2), and a route takes the one or the other.
//! A person's token opens what its scope says ([`OpenTo`]): that of the city's own app everything, that of a page of the city's own only the
//! routes that are open to pages. The audience tells tokens of other people's clients apart: no route takes them.
//! A person may also act for another ([`Party`]): such a token has an audience of its own, and only routes that ask for a party take it.
//! Invariant: a token is refused when its signature, type, issuer, audience or time is wrong, its session is revoked or its roles are stale;
//! when keys were never seen, or the revocations of the time before, the answer is `unavailable`, never "allowed".

mod acting;
mod id_token;
mod issuer;
mod principal;
mod scope;
mod source;
mod statement;
mod verifier;

pub use acting::{ACTING_AUDIENCE, Act, Acting, ActingClaims, Party};
pub use id_token::IdToken;
pub use issuer::LocalIssuer;
pub use principal::{ClientPrincipal, Principal};
pub use scope::{APP_SCOPE, OpenTo, PAGE_SCOPE};
pub use source::{GrpcKeySource, KeySource, PublicKeys, Revocation, Revocations, Revoked};
pub use statement::{STEP_UP, Statement, StatementKind};
pub use verifier::{AuthError, Verifier};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The audience that our access tokens carry.
pub const TOKEN_AUDIENCE: &str = "trangtien";
/// The `typ` of an access token's header (RFC 9068, section 2.1).
pub const TOKEN_TYPE: &str = "at+jwt";
/// How far the clocks of two machines may differ, in seconds.
pub const LEEWAY_S: i64 = 5;

/// The claims of an access token (RFC 9068, section 2.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Issuer.
    pub iss: String,
    /// The citizen, officer or client.
    pub sub: Uuid,
    /// Audience; [`TOKEN_AUDIENCE`].
    pub aud: String,
    /// The client that asked for the token.
    pub client_id: String,
    /// Unix seconds at which it expires.
    pub exp: i64,
    /// Unix seconds at which it was issued.
    pub iat: i64,
    /// The token's own id.
    pub jti: Uuid,
    /// The session.
    pub sid: Uuid,
    /// Unix seconds at which the person last proved who they are.
    pub auth_time: i64,
    /// Authentication context class.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub acr: String,
    /// Authentication methods (RFC 8176).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub amr: Vec<String>,
    /// Scopes, separated by spaces.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub scope: String,
    /// Roles, for instance `ioc.operator`; one of an agency as `agency.officer:CODE`, of one ward there as `agency.officer:CODE:WARD`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// How many roles had been taken from the person when it was issued: what tells a stale token.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub role_epoch: u32,
    /// Code of the agency that a client acts for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agency: Option<String>,
}

impl Claims {
    /// Whether the token stands for its client, not for a person.
    pub fn is_of_client(&self) -> bool {
        Uuid::parse_str(&self.client_id).is_ok_and(|client| client == self.sub)
    }
}

/// Whether a claim may be left out.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(epoch: &u32) -> bool {
    *epoch == 0
}

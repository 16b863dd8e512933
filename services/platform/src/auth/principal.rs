//! The caller of a request, as handlers see it.

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use chrono::{DateTime, Utc};
use http::header;
use http::request::Parts;
use uuid::Uuid;

use super::acting::Party;
use super::scope::OpenTo;
use super::verifier::{AuthError, Verifier};
use crate::problem::{FORBIDDEN, INTERNAL, Problem, UNAUTHENTICATED, UNAVAILABLE};

/// Who calls, proved by a valid access token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The citizen, officer or client.
    pub subject: Uuid,
    /// The session.
    pub session: Uuid,
    /// The client application.
    pub client: String,
    /// Roles, for instance `ioc.operator` or `agency.officer:HEPCO`.
    pub roles: Vec<String>,
    /// How many roles had been taken from the person when the token was issued.
    pub role_epoch: u32,
    /// Scopes.
    pub scopes: Vec<String>,
    /// When the person last proved who they are.
    pub authenticated_at: DateTime<Utc>,
    /// When the token expires.
    pub expires_at: DateTime<Utc>,
    /// Code of the agency that a client acts for; never a person's.
    pub agency: Option<String>,
    /// Whether it is a client by itself, not a person.
    pub is_client: bool,
}

/// A client that calls for itself, proved by an access token of `client_credentials`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientPrincipal {
    /// The client.
    pub client: Uuid,
    /// Code of the agency that it acts for.
    pub agency: Option<String>,
    /// Scopes that it was granted.
    pub scopes: Vec<String>,
}

impl ClientPrincipal {
    /// Refuses a client that was not granted a scope.
    ///
    /// # Errors
    /// `forbidden`, with the scope.
    pub fn require_scope(&self, scope: &str) -> Result<(), Problem> {
        if self.scopes.iter().any(|held| held == scope) {
            return Ok(());
        }
        Err(Problem::new(FORBIDDEN)
            .detail(format!("Ứng dụng chưa được cấp quyền {scope}."), format!("The client was not granted {scope}."))
            .with("scope", scope))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for ClientPrincipal {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let caller = caller(parts).await?.ok_or_else(|| Problem::new(UNAUTHENTICATED))?;
        if !caller.is_client {
            return Err(Problem::new(FORBIDDEN).detail(
                "Chỉ ứng dụng của cơ quan được gọi chức năng này.",
                "Only a client of an agency may do this, with a token of its own.",
            ));
        }
        Ok(Self { client: caller.subject, agency: caller.agency, scopes: caller.scopes })
    }
}

impl Principal {
    /// Whether the caller has a role, by its whole name: a role of an agency is not the role without one.
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|held| held == role)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Principal {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        <Self as OptionalFromRequestParts<S>>::from_request_parts(parts, state)
            .await?
            .ok_or_else(|| Problem::new(UNAUTHENTICATED))
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for Principal {
    type Rejection = Problem;

    /// `None` when no token came; a token that came and is not valid, or is a client's own, is refused all the same.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Problem> {
        let caller = caller(parts).await?;
        if let Some(caller) = &caller {
            admit(parts, caller)?;
        }
        Ok(caller)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Party {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let value = parts.headers.get(header::AUTHORIZATION).ok_or_else(|| Problem::new(UNAUTHENTICATED))?;
        let token = value.to_str().ok().and_then(bearer).ok_or_else(|| Problem::new(UNAUTHENTICATED))?;
        let verifier = verifier(parts)?;
        match verifier.verify(token).await {
            Ok(principal) => {
                admit(parts, &principal)?;
                Ok(Self::of(&principal))
            }
            // What an acting token opens is said by its audience.
            Err(AuthError::Invalid) => verifier.verify_acting(token).await.map_err(Problem::from),
            Err(error) => Err(error.into()),
        }
    }
}

/// Refuses a client by itself, and a person whose token does not open this route.
fn admit(parts: &Parts, caller: &Principal) -> Result<(), Problem> {
    if caller.is_client {
        return Err(people_only());
    }
    parts.extensions.get::<OpenTo>().copied().unwrap_or_default().admit(caller)
}

/// Whoever the request's token stands for.
async fn caller(parts: &Parts) -> Result<Option<Principal>, Problem> {
    let Some(value) = parts.headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let token = value.to_str().ok().and_then(bearer).ok_or_else(|| Problem::new(UNAUTHENTICATED))?;
    verifier(parts)?.verify(token).await.map(Some).map_err(Problem::from)
}

fn verifier(parts: &Parts) -> Result<&Verifier, Problem> {
    parts.extensions.get::<Verifier>().ok_or_else(|| Problem::new(INTERNAL).source("no verifier is installed"))
}

fn people_only() -> Problem {
    Problem::new(FORBIDDEN).detail(
        "Chức năng này dành cho người dùng đã đăng nhập.",
        "This is for people who signed in, not for a client by itself.",
    )
}

/// The token of `Bearer <token>` (RFC 6750, section 2.1).
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Expired => Self::new(UNAUTHENTICATED)
                .detail("Phiên đăng nhập đã hết hạn.", "The access token has expired.")
                .with("reason", "expired"),
            AuthError::Revoked => Self::new(UNAUTHENTICATED)
                .detail("Phiên đăng nhập đã bị thu hồi.", "The session was revoked.")
                .with("reason", "revoked"),
            AuthError::Stale => Self::new(UNAUTHENTICATED)
                .detail("Vai trò đã thay đổi, hãy làm mới phiên.", "Roles have changed, please refresh the session.")
                .with("reason", "roles-changed"),
            AuthError::Invalid => Self::new(UNAUTHENTICATED)
                .detail("Mã truy cập không hợp lệ.", "The access token is not valid.")
                .with("reason", "invalid"),
            AuthError::NoKeys => Self::new(UNAVAILABLE).retry_after(1),
        }
    }
}

//! Why an OAuth request is refused, in the words of RFC 6749, RFC 6750, RFC 7009 and OpenID Connect Core.

use crate::error::Error;

/// The kind of a refusal; `error` in answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultKind {
    InvalidRequest,
    InvalidClient,
    InvalidGrant,
    InvalidScope,
    InvalidToken,
    InsufficientScope,
    UnauthorizedClient,
    UnsupportedGrantType,
    UnsupportedResponseType,
    AccessDenied,
    LoginRequired,
    ConsentRequired,
    RequestNotSupported,
    RequestUriNotSupported,
    RegistrationNotSupported,
    ServerError,
    TemporarilyUnavailable,
}

impl FaultKind {
    /// As answers say it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::InvalidGrant => "invalid_grant",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidToken => "invalid_token",
            Self::InsufficientScope => "insufficient_scope",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::UnsupportedResponseType => "unsupported_response_type",
            Self::AccessDenied => "access_denied",
            Self::LoginRequired => "login_required",
            Self::ConsentRequired => "consent_required",
            Self::RequestNotSupported => "request_not_supported",
            Self::RequestUriNotSupported => "request_uri_not_supported",
            Self::RegistrationNotSupported => "registration_not_supported",
            Self::ServerError => "server_error",
            Self::TemporarilyUnavailable => "temporarily_unavailable",
        }
    }
}

/// A refusal: its kind, and a sentence for the developer of the client in the characters that RFC 6749 allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {says}", .kind.as_str())]
pub(crate) struct Fault {
    pub kind: FaultKind,
    pub says: &'static str,
}

impl Fault {
    pub(crate) const fn new(kind: FaultKind, says: &'static str) -> Self {
        Self { kind, says }
    }

    /// `invalid_request`.
    pub(crate) const fn request(says: &'static str) -> Self {
        Self::new(FaultKind::InvalidRequest, says)
    }

    /// `invalid_client`: the same whatever is wrong with it.
    pub(crate) const fn client() -> Self {
        Self::new(FaultKind::InvalidClient, "the client is unknown, or did not prove that it is the one it says")
    }

    /// `invalid_grant`: the same whatever is wrong with it.
    pub(crate) const fn grant() -> Self {
        Self::new(FaultKind::InvalidGrant, "the code or token is not good, or belongs to another request")
    }
}

/// What an OAuth use case ends with when it does not succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The client is told.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The service could not do it.
    #[error(transparent)]
    Inner(#[from] Error),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Inner(error.into())
    }
}

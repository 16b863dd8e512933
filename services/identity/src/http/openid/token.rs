//! `POST /oauth2/token`

use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::super::App;
use super::super::address::ClientAddress;
use super::client_auth::credentials;
use super::{answer, form, refuse};
use crate::Identity;
use crate::openid::code::Exchange;
use crate::openid::token::Granted;
use crate::openid::{Failure, Fault, FaultKind};

/// Tokens (RFC 6749, section 5.1).
#[derive(Serialize, ToSchema)]
pub(in super::super) struct OAuthTokens {
    /// For `Authorization: Bearer`.
    access_token: String,
    /// Always `Bearer`.
    token_type: &'static str,
    /// Seconds until the access token expires.
    expires_in: u32,
    /// What the access token may be used for.
    scope: String,
    /// Good for one refresh.
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    /// Who signed in (OpenID Connect Core, section 2).
    #[serde(skip_serializing_if = "Option::is_none")]
    id_token: Option<String>,
}

impl From<Granted> for OAuthTokens {
    fn from(granted: Granted) -> Self {
        Self {
            access_token: granted.access,
            token_type: "Bearer",
            expires_in: granted.expires_in_s,
            scope: granted.scopes.to_string(),
            refresh_token: granted.refresh,
            id_token: granted.id_token,
        }
    }
}

/// Get tokens
///
/// `grant_type` is `authorization_code` (with `code`, `redirect_uri`, `code_verifier`), `refresh_token` (with `refresh_token`,
/// and `scope` to narrow) or `client_credentials` (with `scope`). Confidential clients prove themselves by
/// `client_secret_basic` or `client_secret_post`, public ones say their `client_id`.
/// A code is good once; when it comes again, what it gave ends. So is a refresh token, but for ten seconds of grace.
#[utoipa::path(
    post, path = "/oauth2/token", tag = "openid",
    request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "Tokens", body = OAuthTokens),
        (status = 400, description = "`invalid_request`, `invalid_grant`, `invalid_scope`, `unauthorized_client`, `unsupported_grant_type`", body = super::OAuthError),
        (status = 401, description = "`invalid_client`", body = super::OAuthError),
    )
)]
pub(in super::super) async fn give(
    State(identity): App,
    ClientAddress(address): ClientAddress,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    match granted(&identity, address, (&headers, &body)).await {
        Ok(granted) => answer(StatusCode::OK, OAuthTokens::from(granted)),
        Err(failure) => refuse(failure),
    }
}

async fn granted(
    identity: &Identity,
    address: Option<std::net::IpAddr>,
    (headers, body): (&HeaderMap, &Bytes),
) -> Result<Granted, Failure> {
    let params = form(headers, body)?;
    let client = identity.authenticate_client(&credentials(headers, &params)?).await?;
    match params.required("grant_type", "grant_type is missing")? {
        "authorization_code" => {
            let exchange = Exchange {
                code: params.required("code", "code is missing")?,
                redirect_uri: params.required("redirect_uri", "redirect_uri is missing")?,
                verifier: params.required("code_verifier", "code_verifier is missing")?,
                address,
            };
            identity.exchange_code(&client, &exchange).await
        }
        "refresh_token" => {
            let token = params.required("refresh_token", "refresh_token is missing")?;
            identity.refresh_for(&client, token, params.one("scope")?, address).await
        }
        "client_credentials" => identity.token_of_client(&client, params.one("scope")?).await,
        _ => Err(Fault::new(FaultKind::UnsupportedGrantType, "this grant_type is not supported").into()),
    }
}

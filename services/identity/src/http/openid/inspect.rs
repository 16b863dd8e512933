//! `POST /oauth2/introspect`, `POST /oauth2/revoke`, `GET` and `POST /oauth2/userinfo`

use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::Value;

use super::super::App;
use super::super::address::ClientAddress;
use super::client_auth::credentials;
use super::{OAuthError, answer, form, refuse};
use crate::Identity;
use crate::openid::client::Access;
use crate::openid::{Failure, Fault};

/// Ask about a token
///
/// RFC 7662, for confidential clients: of their own tokens, and with the scope `tokens:introspect` of all.
/// A token that is not good, or not theirs to know, is `{"active":false}`.
#[utoipa::path(
    post, path = "/oauth2/introspect", tag = "openid",
    request_body(content = String, content_type = "application/x-www-form-urlencoded", description = "`token`"),
    responses(
        (status = 200, description = "What it says", body = Value),
        (status = 400, description = "`invalid_request`", body = OAuthError),
        (status = 401, description = "`invalid_client`", body = OAuthError),
    )
)]
pub(in super::super) async fn introspect(State(identity): App, headers: HeaderMap, body: Bytes) -> Response {
    match introspected(&identity, &headers, &body).await {
        Ok(said) => answer(StatusCode::OK, said),
        Err(failure) => refuse(failure),
    }
}

async fn introspected(identity: &Identity, headers: &HeaderMap, body: &Bytes) -> Result<Value, Failure> {
    let params = form(headers, body)?;
    let client = identity.authenticate_client(&credentials(headers, &params)?).await?;
    if client.access == Access::Public {
        return Err(Fault::client().into());
    }
    Ok(identity.introspect(&client, params.required("token", "token is missing")?).await?)
}

/// Give a token back
///
/// RFC 7009: ends what an access or refresh token of the client belongs to; all services refuse its access tokens within
/// seconds. A token that is not good is answered like one that was.
#[utoipa::path(
    post, path = "/oauth2/revoke", tag = "openid",
    request_body(content = String, content_type = "application/x-www-form-urlencoded", description = "`token`"),
    responses(
        (status = 200, description = "It is not good any more"),
        (status = 400, description = "`invalid_request`; `invalid_grant`: it is another client's", body = OAuthError),
        (status = 401, description = "`invalid_client`", body = OAuthError),
    )
)]
pub(in super::super) async fn revoke(
    State(identity): App,
    ClientAddress(address): ClientAddress,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let revoked = async {
        let params = form(&headers, &body)?;
        let client = identity.authenticate_client(&credentials(&headers, &params)?).await?;
        identity.revoke_token(&client, params.required("token", "token is missing")?, address).await
    };
    match revoked.await {
        Ok(()) => {
            let said = [(header::CACHE_CONTROL, "no-store"), (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*")];
            (StatusCode::OK, said).into_response()
        }
        Err(failure) => refuse(failure),
    }
}

/// Show who signed in
///
/// OpenID Connect Core, section 5.3: `sub`, and by scope `name` and `locale`, `phone_number`, `tier`.
#[utoipa::path(
    get, path = "/oauth2/userinfo", tag = "openid", security(("bearer" = [])),
    responses(
        (status = 200, description = "What the client may know", body = Value),
        (status = 401, description = "`invalid_token`", body = OAuthError),
        (status = 403, description = "`insufficient_scope`: it was not granted `openid`", body = OAuthError),
    )
)]
pub(in super::super) async fn userinfo(State(identity): App, headers: HeaderMap) -> Response {
    shown(&identity, &headers).await
}

/// Show who signed in, by POST
///
/// The same (OpenID Connect Core, section 5.3.1); the token comes in the header here too.
#[utoipa::path(
    post, path = "/oauth2/userinfo", tag = "openid", security(("bearer" = [])),
    responses(
        (status = 200, description = "What the client may know", body = Value),
        (status = 401, description = "`invalid_token`", body = OAuthError),
        (status = 403, description = "`insufficient_scope`: it was not granted `openid`", body = OAuthError),
    )
)]
pub(in super::super) async fn userinfo_by_post(State(identity): App, headers: HeaderMap) -> Response {
    shown(&identity, &headers).await
}

async fn shown(identity: &Identity, headers: &HeaderMap) -> Response {
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token =
        value.and_then(|value| value.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let Some((_, token)) = token else {
        // RFC 6750, section 3.1: who brought nothing is told no fault.
        let error = OAuthError { error: "invalid_token", error_description: "an access token is needed".to_owned() };
        let mut response = answer(StatusCode::UNAUTHORIZED, error);
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        return response;
    };
    match identity.userinfo(token.trim()).await {
        Ok(said) => answer(StatusCode::OK, said),
        Err(failure) => refuse(failure),
    }
}

//! `GET /.well-known/openid-configuration`, `GET /.well-known/oauth-authorization-server`: one document at both places.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};
use platform::http::Json;
use serde_json::json;

use super::super::App;
use crate::Identity;
use crate::openid::authorise::ACR_VALUES;
use crate::openid::client::Grant;
use crate::openid::scope::Scope;

/// How long clients may keep it, in seconds.
const MAX_AGE: HeaderValue = HeaderValue::from_static("public, max-age=300");

/// Show what the OpenID provider offers
///
/// OpenID Connect Discovery 1.0.
#[utoipa::path(
    get, path = "/.well-known/openid-configuration", tag = "openid",
    responses((status = 200, description = "The provider's metadata", body = serde_json::Value))
)]
pub(in super::super) async fn show(State(identity): App) -> Response {
    document(&identity)
}

/// Show what the authorisation server offers
///
/// RFC 8414: the same document, where clients of OAuth look for it.
#[utoipa::path(
    get, path = "/.well-known/oauth-authorization-server", tag = "openid",
    responses((status = 200, description = "The server's metadata", body = serde_json::Value))
)]
pub(in super::super) async fn show_to_oauth(State(identity): App) -> Response {
    document(&identity)
}

fn document(identity: &Identity) -> Response {
    let issuer = &identity.issuer;
    let at = |path: &str| format!("{issuer}{path}");
    let secret = ["client_secret_basic", "client_secret_post"];
    let document = json!({
        "issuer": issuer,
        "authorization_endpoint": at("/oauth2/authorize"),
        "token_endpoint": at("/oauth2/token"),
        "introspection_endpoint": at("/oauth2/introspect"),
        "revocation_endpoint": at("/oauth2/revoke"),
        "userinfo_endpoint": at("/oauth2/userinfo"),
        "end_session_endpoint": at("/oauth2/end-session"),
        "jwks_uri": at("/.well-known/jwks.json"),
        "service_documentation": at("/docs"),
        "scopes_supported": Scope::ALL.map(Scope::as_str),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": Grant::ALL.map(Grant::as_str),
        "subject_types_supported": ["pairwise", "public"],
        "id_token_signing_alg_values_supported": ["RS256", "EdDSA"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
        "introspection_endpoint_auth_methods_supported": secret,
        "revocation_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
        "code_challenge_methods_supported": ["S256"],
        "acr_values_supported": ACR_VALUES,
        "prompt_values_supported": ["none", "login", "consent", "select_account"],
        "claims_supported": [
            "sub", "iss", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "at_hash", "sid",
            "name", "locale", "phone_number", "phone_number_verified", "tier",
        ],
        "ui_locales_supported": ["vi", "en"],
        "authorization_response_iss_parameter_supported": true,
        "claims_parameter_supported": false,
        "request_parameter_supported": false,
        "request_uri_parameter_supported": false,
        "require_request_uri_registration": false,
    });
    let mut response = Json(document).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, MAX_AGE);
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

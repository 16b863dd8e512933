//! `GET /.well-known/jwks.json`

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};
use platform::http::Json;
use platform::problem::Problem;

use super::App;
use crate::key::{self, Algorithm, JWKS_MAX_AGE_S};

/// Show the keys that verify access tokens
///
/// An RFC 7517 key set. Keys appear well before they sign and stay until no token of theirs can be alive.
#[utoipa::path(
    get, path = "/.well-known/jwks.json", tag = "identity",
    responses((status = 200, description = "The key set", body = serde_json::Value))
)]
pub(super) async fn jwks(State(identity): App) -> Result<Response, Problem> {
    // A client may keep what it sees for minutes: none sees a set without the keys of every algorithm.
    for algorithm in Algorithm::ALL {
        identity.signer_of(algorithm).await?;
    }
    let mut response = Json(key::jwks(&identity.pool, identity.now()).await?).into_response();
    let age = format!("public, max-age={JWKS_MAX_AGE_S}");
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_str(&age).expect("ASCII is a header value"));
    // Pages of other origins verify tokens too.
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    Ok(response)
}

//! Routes of the OpenID provider, with the requests, answers and errors of their standards.
//!
//! `authorize`, `sign-in` and `end-session` are pages for people in a browser; the others are for programs.
//! Anybody may call them; who a program is, is said by its credentials, and who a person is, by the browser's cookie.

mod authorize;
mod client_auth;
mod cookie;
mod discovery;
mod end_session;
mod inspect;
mod page;
mod sign_in;
mod text;
mod token;
mod vneid;

use std::sync::Arc;

use axum::body::Bytes;
use axum::response::{IntoResponse, Response};
use axum::routing::options;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use platform::http::{ApiRouter, Json};
use platform::problem::Problem;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::Identity;
use crate::openid::params::Params;
use crate::openid::{Failure, Fault, FaultKind};

/// Form bodies.
const FORM: &str = "application/x-www-form-urlencoded";

/// What programs in pages of other origins may send, and how long they may remember that, in seconds.
const PREFLIGHT: [(HeaderName, &str); 4] = [
    (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST"),
    (header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type"),
    (header::ACCESS_CONTROL_MAX_AGE, "86400"),
];

/// The provider's routes and their description.
pub(super) fn router() -> ApiRouter<Arc<Identity>> {
    ApiRouter::<Arc<Identity>>::new()
        .routes(routes!(discovery::show))
        .routes(routes!(discovery::show_to_oauth))
        .routes(routes!(authorize::by_query, authorize::by_form))
        .routes(routes!(sign_in::step))
        .routes(routes!(vneid::come_back))
        .routes(routes!(token::give))
        .routes(routes!(inspect::introspect))
        .routes(routes!(inspect::revoke))
        .routes(routes!(inspect::userinfo, inspect::userinfo_by_post))
        .routes(routes!(end_session::by_query, end_session::by_form))
        .route("/oauth2/token", options(preflight))
        .route("/oauth2/revoke", options(preflight))
        .route("/oauth2/userinfo", options(preflight))
}

/// Lets public clients that are pages of other origins call (Fetch, section 3.2): no cookie counts at these endpoints.
async fn preflight() -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    response.headers_mut().extend(PREFLIGHT.map(|(name, value)| (name, HeaderValue::from_static(value))));
    response
}

/// A refusal in the words of OAuth.
#[derive(Serialize, ToSchema)]
pub(super) struct OAuthError {
    /// The kind, for instance `invalid_grant`.
    error: &'static str,
    /// For the developer of the client.
    error_description: String,
}

/// A JSON answer that nobody may keep.
fn answer<T: Serialize>(status: StatusCode, body: T) -> Response {
    let mut response = (status, Json(body)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

/// How a request of a program ends when it does not succeed.
fn refuse(failure: Failure) -> Response {
    match failure {
        Failure::Fault(fault) => {
            let status = match fault.kind {
                FaultKind::InvalidClient | FaultKind::InvalidToken => StatusCode::UNAUTHORIZED,
                FaultKind::InsufficientScope => StatusCode::FORBIDDEN,
                _ => StatusCode::BAD_REQUEST,
            };
            let error = fault.kind.as_str();
            let mut response = answer(status, OAuthError { error, error_description: fault.says.to_owned() });
            let challenge = match fault.kind {
                FaultKind::InvalidClient => Some("Basic realm=\"trangtien\", charset=\"UTF-8\"".to_owned()),
                FaultKind::InvalidToken | FaultKind::InsufficientScope => Some(format!("Bearer error=\"{error}\"")),
                _ => None,
            };
            if let Some(challenge) = challenge {
                let value = HeaderValue::from_str(&challenge).expect("words in quotes are a header value");
                response.headers_mut().insert(header::WWW_AUTHENTICATE, value);
            }
            response
        }
        Failure::Inner(error) => {
            // Logged as any problem is; a client of OAuth reads its own words.
            let problem = Problem::from(error).into_response();
            let status = problem.status();
            let kind = if status == StatusCode::SERVICE_UNAVAILABLE {
                FaultKind::TemporarilyUnavailable
            } else {
                FaultKind::ServerError
            };
            let says = "the provider could not do it now".to_owned();
            let mut response = answer(status, OAuthError { error: kind.as_str(), error_description: says });
            if let Some(wait) = problem.headers().get(header::RETRY_AFTER) {
                response.headers_mut().insert(header::RETRY_AFTER, wait.clone());
            }
            response
        }
    }
}

/// The parameters of a form.
fn form(headers: &HeaderMap, body: &Bytes) -> Result<Params, Fault> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(FORM) {
        Params::parse(body)
    } else {
        Err(Fault::request("the body must be application/x-www-form-urlencoded"))
    }
}

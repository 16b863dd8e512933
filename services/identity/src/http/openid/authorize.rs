//! `GET` and `POST /oauth2/authorize`

use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use platform::http::Language;

use super::super::App;
use super::super::address::ClientAddress;
use super::cookie::Browser;
use super::page;
use super::sign_in::{self, Visit};
use super::{form, refuse};
use crate::openid::authorise::Word;
use crate::openid::params::Params;
use crate::openid::request;
use crate::openid::ticket::Ticket;

/// The path of the endpoint.
const PATH: &str = "/oauth2/authorize";
/// The longest query that is looked at, in bytes.
pub(super) const MAX_QUERY: usize = 8_192;

/// Ask a citizen for a code
///
/// A page for people in a browser (RFC 6749, OpenID Connect Core): sign-in by one-time code, consent, and back to
/// `redirect_uri` with `code`, `state` and `iss` (RFC 9207), or `error`. PKCE by `S256` is needed of every client.
/// Unknown parameters are ignored. A request of an unknown client or to a redirect URI that is not the client's to the letter
/// is answered by a page, never by a redirect; of a public client's `http` URI on `127.0.0.1` or `[::1]` the port may be any.
#[utoipa::path(
    get, path = "/oauth2/authorize", tag = "openid",
    params(
        ("client_id" = Option<String>, Query, description = "The client; needed"),
        ("redirect_uri" = Option<String>, Query, description = "One of the client's, to the letter but for a loopback port; needed"),
        ("response_type" = Option<String>, Query, description = "`code`; needed"),
        ("scope" = Option<String>, Query, description = "`openid profile phone tier offline_access`: unknown ones are ignored"),
        ("code_challenge" = Option<String>, Query, description = "base64url of the SHA-256 of the verifier; needed"),
        ("code_challenge_method" = Option<String>, Query, description = "`S256`; needed"),
        ("state" = Option<String>, Query, description = "Comes back as it is"),
        ("nonce" = Option<String>, Query, description = "Stands in the ID token"),
        ("prompt" = Option<String>, Query, description = "`none`, or any of `login consent select_account`"),
        ("max_age" = Option<String>, Query, description = "Seconds since the sign-in, at most"),
        ("acr_values" = Option<String>, Query, description = "Wishes, the dearest first: the page offers VNeID first, also to who is signed in otherwise; the ID token says what was reached"),
        ("ui_locales" = Option<String>, Query, description = "`vi` or `en`"),
        ("id_token_hint" = Option<String>, Query, description = "An earlier ID token of the client, which may have expired: whom it means. Nobody else gets a code (`login_required`); what is no such token is `invalid_request`"),
        ("login_hint" = Option<String>, Query, description = "A telephone number to begin with"),
    ),
    responses(
        (status = 200, description = "A page that asks for a number, a code or a consent", content_type = "text/html"),
        (status = 303, description = "Back to the client"),
        (status = 400, description = "A page: the client or its redirect URI is not known", content_type = "text/html"),
    )
)]
pub(in super::super) async fn by_query(
    State(identity): App,
    ClientAddress(address): ClientAddress,
    language: Language,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let query = query.unwrap_or_default();
    if query.len() > MAX_QUERY {
        return page::refused("request", language);
    }
    let wanted = Params::parse(query.as_bytes()).ok().and_then(|params| request::language(&params));
    let language = wanted.unwrap_or(language);
    let browser = match Browser::of(&identity, &headers).await {
        Ok(browser) => browser,
        Err(error) => return page::broken(error, language),
    };
    let ticket = Ticket {
        query,
        device: browser.device,
        begun_at: identity.now(),
        language: language.tag().to_owned(),
        sent: None,
    };
    let visit = Visit { identity, browser, ticket, address };
    sign_in::proceed(visit, Word::Unsaid).await
}

/// Ask a citizen for a code, by a form
///
/// The same with the parameters in the body; the browser is sent on to the same request by `GET`, with which its cookie comes.
#[utoipa::path(
    post, path = "/oauth2/authorize", tag = "openid",
    request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 303, description = "To the same request by `GET`"),
        (status = 400, description = "`invalid_request`", body = super::OAuthError),
    )
)]
pub(in super::super) async fn by_form(headers: HeaderMap, body: Bytes) -> Response {
    if let Err(fault) = form(&headers, &body) {
        return refuse(fault.into());
    }
    by_get(PATH, &body)
}

/// Sends the browser on to the same request by GET: cookies don't come with forms of other sites.
pub(super) fn by_get(path: &str, body: &Bytes) -> Response {
    if body.len() > MAX_QUERY {
        return refuse(crate::openid::Fault::request("the request is too long").into());
    }
    let place = std::str::from_utf8(body).ok().and_then(|query| HeaderValue::from_str(&format!("{path}?{query}")).ok());
    match place {
        Some(place) => (StatusCode::SEE_OTHER, [(header::LOCATION, place)]).into_response(),
        None => refuse(crate::openid::Fault::request("the form is not encoded").into()),
    }
}

//! `GET` and `POST /oauth2/end-session`: a client lets its citizen sign out (OpenID Connect RP-Initiated Logout 1.0).
//!
//! Whom an ID token of the client names is signed out at once, if it was made in this browser; else the page asks first, for anybody
//! can link here. A form of another site brings no cookie: it is sent on to the same request by GET, with which the cookie comes.
//! The browser goes back only to a URI that was registered by the client to the letter.

use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::HeaderMap;
use platform::http::Language;

use super::super::App;
use super::super::address::ClientAddress;
use super::authorize::{MAX_QUERY, by_get};
use super::cookie::Browser;
use super::sign_in::{Visit, leave};
use super::{OAuthError, form, page, refuse};
use crate::Identity;
use crate::audit::Origin;
use crate::error::Error;
use crate::openid::id_token::Hint;
use crate::openid::params::{Params, with_params};
use crate::openid::request;
use crate::openid::ticket::Ticket;

/// The path of the endpoint.
const PATH: &str = "/oauth2/end-session";

/// Sign out
///
/// A page for people in a browser. With an `id_token_hint` that was made in this browser the citizen is signed out of it, and of
/// what clients got there without `offline_access`; without one they are asked first.
#[utoipa::path(
    get, path = "/oauth2/end-session", tag = "openid",
    params(
        ("id_token_hint" = Option<String>, Query, description = "An ID token of the client, which may have expired"),
        ("client_id" = Option<String>, Query, description = "The client, if no hint says it"),
        ("post_logout_redirect_uri" = Option<String>, Query, description = "One of the client's, to the letter"),
        ("state" = Option<String>, Query, description = "Comes back as it is"),
        ("ui_locales" = Option<String>, Query, description = "`vi` or `en`"),
    ),
    responses(
        (status = 200, description = "A page that asks, or says that it was done", content_type = "text/html"),
        (status = 303, description = "Back to the client"),
        (status = 400, description = "A page: the client or its URI is not known", content_type = "text/html"),
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
    end(Visit { identity, browser, ticket, address }, Asked::No).await
}

/// Sign out, by a form
///
/// The same with the parameters in the body: the browser is sent on to the same request by `GET`, with which its cookie comes.
/// Also what the page's own form sends.
#[utoipa::path(
    post, path = "/oauth2/end-session", tag = "openid",
    request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "A page that says that it was done", content_type = "text/html"),
        (status = 303, description = "To the same request by `GET`; back to the client"),
        (status = 400, description = "A page: the form is not of this browser, or too old; `invalid_request` when it is no form", content((String = "text/html"), (OAuthError = "application/json"))),
    )
)]
pub(in super::super) async fn by_form(
    State(identity): App,
    ClientAddress(address): ClientAddress,
    language: Language,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let params = match form(&headers, &body) {
        Ok(params) => params,
        Err(fault) => return refuse(fault.into()),
    };
    let sealed = match params.one("ticket") {
        Ok(Some(sealed)) => sealed,
        Ok(None) => return by_get(PATH, &body),
        Err(fault) => return refuse(fault.into()),
    };
    let browser = match Browser::of(&identity, &headers).await {
        Ok(browser) => browser,
        Err(error) => return page::broken(error, language),
    };
    match Ticket::open(sealed, browser.device, &identity.vault, identity.now()) {
        Some(ticket) => end(Visit { identity, browser, ticket, address }, Asked::Yes).await,
        None => page::refused("form", language),
    }
}

/// Whether the citizen was asked and said yes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    No,
    Yes,
}

async fn end(mut visit: Visit, asked: Asked) -> Response {
    let language = visit.ticket.language();
    let parsed = match Params::parse(visit.ticket.query.as_bytes()) {
        Ok(params) => params,
        Err(_) => return page::refused("request", language),
    };
    let language = request::language(&parsed).unwrap_or(language);
    let wish = match Wish::read(&visit.identity, &parsed).await {
        Ok(Ok(wish)) => wish,
        Ok(Err(why)) => return page::refused(why, language),
        Err(error) => return page::broken(error, language),
    };
    match visit.sign_out(&wish, asked).await {
        Err(error) => page::broken(error, language),
        Ok(Outcome::Ask) => {
            let sealed = visit.ticket.seal(&visit.identity.vault);
            let mut response = page::sign_out(Some(&sealed), language, wish.back.as_deref());
            visit.browser.keep(response.headers_mut());
            response
        }
        Ok(Outcome::Done) => {
            let mut response = match &wish.back {
                Some(place) => leave(place),
                None => page::sign_out(None, language, None),
            };
            visit.browser.keep(response.headers_mut());
            response
        }
    }
}

/// What a client wants, checked.
struct Wish {
    hint: Option<Hint>,
    /// Where the browser goes then, with the `state`.
    back: Option<String>,
}

impl Wish {
    /// Reads a request; `Err` says why it can't be answered.
    async fn read(identity: &Identity, params: &Params) -> Result<Result<Self, &'static str>, Error> {
        let hint = match params.one("id_token_hint") {
            Ok(Some(text)) => identity.hint(text).await?,
            _ => None,
        };
        let named = params.one("client_id").ok().flatten();
        if let (Some(hint), Some(named)) = (&hint, named)
            && hint.aud != named
        {
            return Ok(Err("client"));
        }
        let id = hint.as_ref().map(|hint| hint.aud.as_str()).or(named);
        let client = match id {
            Some(id) => identity.client(id).await?,
            None => None,
        };
        if named.is_some() && client.is_none() {
            return Ok(Err("client"));
        }
        let back = match params.one("post_logout_redirect_uri") {
            Ok(Some(uri)) => {
                let uris =
                    client.as_ref().map(|client| client.post_logout_redirect_uris.as_slice()).unwrap_or_default();
                if !uris.iter().any(|own| own == uri) {
                    return Ok(Err("redirect"));
                }
                let state: Vec<(&str, &str)> =
                    request::state(params).map(|state| ("state", state)).into_iter().collect();
                Some(if state.is_empty() { uri.to_owned() } else { with_params(uri, &state) })
            }
            _ => None,
        };
        Ok(Ok(Self { hint, back }))
    }
}

enum Outcome {
    Ask,
    Done,
}

impl Visit {
    async fn sign_out(&mut self, wish: &Wish, asked: Asked) -> Result<Outcome, Error> {
        let origin = Origin { address: self.address, session: None, device: Some(self.browser.device) };
        let Some(session) = self.browser.session.clone() else { return Ok(Outcome::Done) };
        let meant = match &wish.hint {
            Some(hint) => self.identity.is_meant(hint, &session).await?,
            None => false,
        };
        if !meant && asked == Asked::No {
            return Ok(Outcome::Ask);
        }
        self.identity.sign_out_browser(&session, origin).await?;
        self.browser.sign_out();
        Ok(Outcome::Done)
    }
}

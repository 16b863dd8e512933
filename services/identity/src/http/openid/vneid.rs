//! `GET /oauth2/vneid`: a browser comes back from VNeID to the hosted pages.
//!
//! It is known by its cookie alone, which comes along because the browser goes there itself (SameSite=Lax). The page that it left for
//! VNeID goes on by the ticket that the visit kept, so that nothing of it stands in a URL.

use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::HeaderMap;
use platform::http::Language;

use super::super::App;
use super::super::address::ClientAddress;
use super::authorize::MAX_QUERY;
use super::cookie::Browser;
use super::page;
use super::sign_in::Visit;
use crate::error::Error;
use crate::openid::params::Params;
use crate::openid::ticket::Ticket;
use crate::vneid::sign_in::Comer;

/// Come back from VNeID
///
/// For browsers that went there from the hosted sign-in page; of no use to programs. Who is not linked, or whom VNeID does not vouch
/// for, may go on by phone.
#[utoipa::path(
    get, path = "/oauth2/vneid", tag = "openid",
    params(
        ("state" = Option<String>, Query, description = "Of the visit"),
        ("code" = Option<String>, Query, description = "For whom VNeID vouches"),
        ("error" = Option<String>, Query, description = "Why it does not"),
    ),
    responses(
        (status = 200, description = "The next page", content_type = "text/html"),
        (status = 303, description = "Back to the client"),
        (status = 400, description = "A page: no visit of this browser", content_type = "text/html"),
        (status = 403, description = "The sign-in page again, with what is wrong", content_type = "text/html"),
        (status = 503, description = "The sign-in page again: VNeID does not answer", content_type = "text/html"),
    )
)]
pub(in super::super) async fn come_back(
    State(identity): App,
    ClientAddress(address): ClientAddress,
    language: Language,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let query = query.filter(|query| query.len() <= MAX_QUERY).unwrap_or_default();
    let Ok(params) = Params::parse(query.as_bytes()) else { return page::refused("form", language) };
    let Ok(Some(state)) = params.one("state") else { return page::refused("form", language) };
    let browser = match Browser::of(&identity, &headers).await {
        Ok(browser) if browser.is_known => browser,
        Ok(_) => return page::refused("form", language),
        Err(error) => return page::broken(error, language),
    };
    let taken = match identity.take_vneid_sign_in(browser.device, state, Comer::Browser).await {
        Ok(taken) => taken,
        Err(Error::VneidStateUnknown) => return page::refused("form", language),
        Err(error) => return page::broken(error, language),
    };
    let sealed = taken.ticket.as_deref().unwrap_or_default();
    let Some(ticket) = Ticket::open(sealed, browser.device, &identity.vault, identity.now()) else {
        return page::refused("form", language);
    };
    let visit = Visit { identity, browser, ticket, address };
    match params.one("code") {
        Ok(Some(code)) => visit.finish_vneid(&taken, code).await,
        _ => visit.ask_number(Some((Error::VneidRefused, String::new()))).await,
    }
}

//! The operators' way to the wall by browser: to the OpenID provider, back, and out again; and who is signed in.

mod page;
mod text;

use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use platform::auth::Principal;
use platform::http::{Json, Language};
use platform::problem::Problem;
use serde::Serialize;
use url::form_urlencoded;
use utoipa::ToSchema;
use uuid::Uuid;

use self::page::Face;
use super::door::Door;
use super::guard::may_watch;
use super::overview::FRESH;
use crate::error::Error;
use crate::sign_in::pending::{LIFE_S as PENDING_LIFE_S, WALL};
use crate::sign_in::provider::ProviderError;
use crate::sign_in::session::LIFE_S;
use crate::sign_in::{Answer, Refusal};

/// The longest query that is looked at, in bytes.
const MAX_QUERY: usize = 8_192;

/// Sign in to the wall
///
/// For people in a browser: goes to the city's OpenID provider, and comes back to `return_to`.
#[utoipa::path(
    get,
    operation_id = "signInToWall",
    path = "/ioc/sign-in",
    tag = "ioc",
    params(
        ("return_to" = Option<String>, Query, description = "`/ioc`, with a query if you like, or a path below `/ioc/v1/`; anything else means `/ioc`"),
        ("ui_locales" = Option<String>, Query, description = "`vi` or `en`"),
    ),
    responses(
        (status = 303, description = "To the provider"),
        (status = 503, description = "A page: nobody can sign in at the moment", content_type = "text/html"),
    )
)]
pub(super) async fn begin(State(door): State<Door>, language: Language, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let language = once(&query, "ui_locales").map_or(language, |tag| Language::from_tag(&tag));
    let Some(sign_in) = &door.sign_in else { return page::show(Face::NotSetUp, language) };
    match sign_in.begin(&once(&query, "return_to").unwrap_or_default(), language).await {
        Ok((kept, place)) => {
            let mut response = leave(place.as_str());
            response.headers_mut().append(header::SET_COOKIE, sign_in.pending.keep(&kept, PENDING_LIFE_S));
            response
        }
        Err(error) => {
            if let ProviderError::Away(reason) = error {
                tracing::warn!(reason, "the OpenID provider can't be asked");
            }
            page::show(Face::Refused(Refusal::Away), language)
        }
    }
}

/// Come back from the provider
///
/// Where the OpenID provider sends a browser; of no use to programs.
#[utoipa::path(
    get,
    operation_id = "returnToWall",
    path = "/ioc/callback",
    tag = "ioc",
    params(
        ("state" = Option<String>, Query, description = "What the wall gave the provider"),
        ("iss" = Option<String>, Query, description = "The provider"),
        ("code" = Option<String>, Query, description = "Good once"),
        ("error" = Option<String>, Query, description = "Why there is no code"),
    ),
    responses(
        (status = 303, description = "To the wall, with its cookie"),
        (status = 400, description = "A page: the sign-in can't go on", content_type = "text/html"),
        (status = 403, description = "A page: the account has no role at the operations centre", content_type = "text/html"),
        (status = 503, description = "A page: the provider does not answer", content_type = "text/html"),
    )
)]
pub(super) async fn callback(
    State(door): State<Door>,
    language: Language,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let Some(sign_in) = &door.sign_in else { return page::show(Face::NotSetUp, language) };
    let Some(pending) = sign_in.under_way(&headers) else {
        return page::show(Face::Refused(Refusal::NotUnderWay), language);
    };
    let (language, query) = (pending.language(), query.unwrap_or_default());
    let param = |name: &str| once(&query, name);
    let answer = Answer { state: param("state"), iss: param("iss"), code: param("code"), error: param("error") };
    let entered = match sign_in.finish(pending, &answer).await {
        Ok(Ok(entered)) => entered,
        // It is still under way: somebody else's answer ends nothing.
        Ok(Err(Refusal::Foreign)) => return page::show(Face::Refused(Refusal::Foreign), language),
        Ok(Err(refusal)) => {
            let mut response = page::show(Face::Refused(refusal), language);
            response.headers_mut().append(header::SET_COOKIE, sign_in.pending.forget());
            return response;
        }
        Err(error) => return Problem::from(error).into_response(),
    };
    if let Some(former) = sign_in.session.read(&headers)
        && let Err(error) = sign_in.sessions.forget(former).await
    {
        return Problem::from(error).into_response();
    }
    let mut response = if may_watch(&entered.principal) {
        leave(&entered.return_to)
    } else {
        page::show(Face::NoRole(entered.principal.subject), entered.language)
    };
    for cookie in [sign_in.pending.forget(), sign_in.session.keep(&entered.cookie, LIFE_S)] {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

/// Sign out of the wall
///
/// What the wall's own form sends: ends the session here, then at the provider.
#[utoipa::path(
    post,
    operation_id = "signOutOfWall",
    path = "/ioc/sign-out",
    tag = "ioc",
    responses(
        (status = 303, description = "To the provider, and from there back to the wall"),
        (status = 403, description = "`cross-site-request`: no page of the wall's own sent it", content_type = "application/problem+json"),
        (status = 503, description = "A page: signed out here, but the provider does not answer", content_type = "text/html"),
    )
)]
pub(super) async fn sign_out(State(door): State<Door>, language: Language, headers: HeaderMap) -> Response {
    let Some((sign_in, cookie)) = door.sign_in.as_ref().and_then(|own| Some((own, own.session.read(&headers)?))) else {
        return leave(WALL);
    };
    if !door.is_own(&headers) {
        return Problem::from(Error::CrossSite).into_response();
    }
    let mut response = match sign_in.end(cookie).await {
        Ok(Some(place)) => leave(place.as_str()),
        Ok(None) => page::show(Face::SignedOutHere, language),
        Err(error) => return Problem::from(error).into_response(),
    };
    response.headers_mut().append(header::SET_COOKIE, sign_in.session.forget());
    response
}

/// Who looks at the wall.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Viewer {
    /// Nothing for somebody who has not signed in.
    user_id: Option<Uuid>,
    /// Their roles.
    roles: Vec<String>,
    /// Whether these let them see the wall where it is not public.
    may_watch: bool,
}

/// Who looks at the wall, by its cookie or by an access token.
#[utoipa::path(
    get,
    operation_id = "getViewer",
    path = "/ioc/v1/session",
    tag = "ioc",
    responses(
        (status = 200, description = "The viewer; without `user_id` when nobody is signed in", body = Viewer),
        (status = 503, description = "`sign-in-away`: the provider does not answer", content_type = "application/problem+json"),
    )
)]
pub(super) async fn session(principal: Option<Principal>) -> impl IntoResponse {
    let may_watch = principal.as_ref().is_some_and(may_watch);
    let (user_id, roles) = principal.map(|principal| (principal.subject, principal.roles)).unzip();
    (FRESH, Json(Viewer { user_id, roles: roles.unwrap_or_default(), may_watch }))
}

/// The value of a parameter that stands in a query exactly once.
fn once(query: &str, name: &str) -> Option<String> {
    if query.len() > MAX_QUERY {
        return None;
    }
    let mut values = form_urlencoded::parse(query.as_bytes()).filter(|(own, _)| own == name);
    let value = values.next()?.1.into_owned();
    values.next().is_none().then_some(value)
}

fn leave(place: &str) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    let headers = response.headers_mut();
    // A place of ours is ASCII: own ones were checked, the provider's are URLs.
    headers.insert(header::LOCATION, HeaderValue::from_str(place).unwrap_or(HeaderValue::from_static(WALL)));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_that_comes_twice_is_none() {
        assert_eq!(once("a=1&b=%2Fioc", "b").as_deref(), Some("/ioc"));
        assert_eq!(once("code=1&code=2", "code"), None);
        assert_eq!(once("", "code"), None);
        assert_eq!(once(&"a=1&".repeat(MAX_QUERY), "a"), None);
    }
}

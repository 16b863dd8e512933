//! The wall's cookie at the door: a request that comes with it goes on with the access token of its session, so that everything
//! behind sees one kind of caller. A request that brings a token of its own is not touched.
//!
//! Invariant: a request that changes something passes by the cookie only if a page of our own sent it (Fetch Metadata, else `Origin`).

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use platform::problem::Problem;
use url::{Url, form_urlencoded};

use crate::error::Error;
use crate::sign_in::SignIn;
use crate::sign_in::session::Access;

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SAME_ORIGIN: &str = "same-origin";

/// The way in by the provider, where one is set up.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) sign_in: Option<Arc<SignIn>>,
    /// The city's own, as browsers name it.
    origin: String,
}

impl Door {
    pub(crate) fn new(sign_in: Option<Arc<SignIn>>, public_url: &Url) -> Self {
        Self { sign_in, origin: public_url.origin().ascii_serialization() }
    }

    /// Whether a page of our own sent a request.
    pub(super) fn is_own(&self, headers: &HeaderMap) -> bool {
        let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        match text(&FETCH_SITE) {
            Some(site) => site == SAME_ORIGIN,
            None => text(&header::ORIGIN).is_some_and(|origin| origin == self.origin),
        }
    }
}

/// Lets the holder of the cookie through as whom its session stands for.
pub(super) async fn by_cookie(State(door): State<Door>, mut request: Request, next: Next) -> Response {
    let Some(sign_in) = &door.sign_in else { return next.run(request).await };
    let headers = request.headers();
    let cookie = match sign_in.session.read(headers) {
        Some(cookie) if !headers.contains_key(header::AUTHORIZATION) => cookie.to_owned(),
        _ => return shown_in(request, next).await,
    };
    if !request.method().is_safe() && !door.is_own(headers) {
        return Problem::from(Error::CrossSite).into_response();
    }
    match sign_in.sessions.access(&cookie).await {
        Ok(Access::Token(token)) => match HeaderValue::from_str(&format!("Bearer {token}")) {
            Ok(value) => {
                request.headers_mut().insert(header::AUTHORIZATION, value);
                next.run(request).await
            }
            Err(_) => Problem::from(Error::SignInAway).into_response(),
        },
        Ok(Access::Ended) => {
            let mut answer = shown_in(request, next).await;
            answer.headers_mut().append(header::SET_COOKIE, sign_in.session.forget());
            answer
        }
        Ok(Access::Away) => Problem::from(Error::SignInAway).into_response(),
        Err(error) => Problem::from(error).into_response(),
    }
}

/// Answers somebody who is not signed in; a browser that was led to a page is shown the way in, and comes back to it.
async fn shown_in(request: Request, next: Next) -> Response {
    let led =
        request.method() == Method::GET && request.headers().get(&FETCH_MODE).is_some_and(|mode| mode == "navigate");
    let place = led.then(|| request.uri().path_and_query().map(ToString::to_string)).flatten();
    let answer = next.run(request).await;
    match place {
        Some(place) if answer.status() == StatusCode::UNAUTHORIZED => {
            let query: String =
                form_urlencoded::Serializer::new(String::new()).append_pair("return_to", &place).finish();
            Redirect::to(&format!("/ioc/sign-in?{query}")).into_response()
        }
        _ => answer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_own(pairs: &[(HeaderName, &'static str)]) -> bool {
        let pairs = pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
        let door = Door::new(None, &"https://hue.example/".parse().expect("a URL"));
        door.is_own(&pairs.collect())
    }

    #[test]
    fn a_page_of_our_own_is_told_from_any_other() {
        assert!(is_own(&[(FETCH_SITE, "same-origin")]));
        assert!(is_own(&[(header::ORIGIN, "https://hue.example")]));
        for site in ["cross-site", "same-site", "none", ""] {
            assert!(!is_own(&[(FETCH_SITE, site)]), "{site}");
            assert!(!is_own(&[(FETCH_SITE, site), (header::ORIGIN, "https://hue.example")]), "{site}");
        }
        for origin in ["http://hue.example", "https://hue.example:8443", "https://evil.example", "null", ""] {
            assert!(!is_own(&[(header::ORIGIN, origin)]), "{origin}");
        }
        assert!(!is_own(&[]), "who says nothing is nobody's page");
    }
}

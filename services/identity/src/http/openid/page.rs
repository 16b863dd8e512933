//! How the hosted pages look: one template, one style, no script, nothing from elsewhere; the policy holds them to it.
//!
//! Every field has a label, every fault is announced and tied to its field, and the order of the keyboard is that of the page.

use std::sync::LazyLock;

use aws_lc_rs::digest;
use axum::response::{Html, IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue, StatusCode, header};
use minijinja::Environment;
use minijinja::value::Serde;
use platform::http::Language;
use platform::problem::Problem;
use serde::Serialize;
use url::Url;

use super::text::{self, Text};
use crate::error::Error;
use crate::openid::authorise::Page;
use crate::openid::scope::Scopes;

const STYLE: &str = include_str!("page.css");
const TEMPLATE: &str = "page.html";

static PAGES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut pages = Environment::new();
    pages.add_template(TEMPLATE, include_str!("page.html")).expect("a template of ours is valid");
    pages
});

/// What the policy lets a page look like: this style to the letter.
static STYLE_HASH: LazyLock<String> =
    LazyLock::new(|| STANDARD.encode(digest::digest(&digest::SHA256, STYLE.as_bytes()).as_ref()));

/// Which page it is.
pub(super) enum Face {
    /// Asks for a number, or offers VNeID.
    Phone { value: Option<String>, vneid: bool },
    /// Asks for the code that was sent.
    Code { phone: String },
    /// Asks what the client may know.
    Consent { phone: String, scopes: Scopes },
}

/// What went wrong, as the page says it.
pub(super) struct Notice {
    status: StatusCode,
    says: String,
}

impl Notice {
    pub(super) fn of(error: Error, language: Language) -> Self {
        let problem = Problem::from(error);
        let says = problem.body(language)["detail"].as_str().unwrap_or_default().to_owned();
        // Logs what caused it, if anything did.
        let status = problem.into_response().status();
        Self { status, says }
    }
}

#[derive(Default, Serialize)]
struct View<'a> {
    page: &'static str,
    lang: &'static str,
    text: Option<&'static Text>,
    style: &'static str,
    action: &'a str,
    client: &'a str,
    agency: Option<&'a str>,
    ticket: &'a str,
    phone: &'a str,
    host: Option<String>,
    vneid: bool,
    vneid_first: bool,
    scopes: Vec<&'static str>,
    fault: Option<&'a str>,
}

/// A page of a sign-in.
pub(super) fn show(
    asked: &Page,
    face: &Face,
    (ticket, language): (&str, Language),
    notice: Option<Notice>,
) -> Response {
    let (status, fault) = match &notice {
        Some(notice) => (notice.status, Some(notice.says.as_str())),
        None => (StatusCode::OK, None),
    };
    let (page, phone, scopes) = match face {
        Face::Phone { value, .. } => ("phone", value.as_deref().unwrap_or_default(), None),
        Face::Code { phone } => ("code", phone.as_str(), None),
        Face::Consent { phone, scopes } => ("consent", phone.as_str(), Some(scopes)),
    };
    let view = View {
        page,
        client: asked.client.name(language),
        agency: asked.client.agency.as_deref(),
        ticket,
        phone,
        host: place(&asked.redirect_uri).1,
        vneid: matches!(face, Face::Phone { vneid: true, .. }),
        vneid_first: matches!(face, Face::Phone { vneid: true, .. }) && asked.prefers_vneid,
        scopes: scopes.into_iter().flat_map(Scopes::iter).map(|scope| text::scope(scope, language)).collect(),
        fault,
        action: "/oauth2/sign-in",
        ..frame(language)
    };
    finish(status, &view, &place(&asked.redirect_uri).0)
}

/// A page that asks whether to sign out, or says that it was done; `back` is where the browser may go then.
pub(super) fn sign_out(ticket: Option<&str>, language: Language, back: Option<&str>) -> Response {
    let page = if ticket.is_some() { "sign-out" } else { "signed-out" };
    let view = View { page, ticket: ticket.unwrap_or_default(), action: "/oauth2/end-session", ..frame(language) };
    finish(StatusCode::OK, &view, &back.map(|uri| place(uri).0).unwrap_or_default())
}

/// A page that sends the browser on to VNeID by itself, and has a link for who stays.
///
/// No redirect: the policy of the page before, whose form asks for this, would not let the browser follow it to a place that is
/// found out only now.
pub(super) fn onward(url: &str, language: Language) -> Response {
    let view = View { page: "onward", action: url, ..frame(language) };
    finish(StatusCode::OK, &view, "")
}

/// A page that says why nothing can go on.
pub(super) fn refused(why: &'static str, language: Language) -> Response {
    let view = View { page: "refused", fault: Some(text::refusal(why, language)), ..frame(language) };
    finish(StatusCode::BAD_REQUEST, &view, "")
}

/// A page that says that something broke.
pub(super) fn broken(error: Error, language: Language) -> Response {
    let notice = Notice::of(error, language);
    let view = View { page: "refused", fault: Some(&notice.says), ..frame(language) };
    finish(notice.status, &view, "")
}

fn frame<'a>(language: Language) -> View<'a> {
    View { lang: language.tag(), text: Some(text::of(language)), style: STYLE, ..View::default() }
}

/// Where the browser may go after a form, as a source of the policy, and the host that people know.
///
/// A policy has no way to write an IPv6 address (Content Security Policy Level 3, section 2.3.1): the scheme stands for it.
fn place(uri: &str) -> (String, Option<String>) {
    match Url::parse(uri) {
        Ok(uri) if matches!(uri.host(), Some(url::Host::Ipv6(_))) => {
            (format!("{}:", uri.scheme()), uri.host_str().map(str::to_owned))
        }
        Ok(uri) if matches!(uri.scheme(), "http" | "https") => {
            (uri.origin().ascii_serialization(), uri.host_str().map(str::to_owned))
        }
        Ok(uri) => (format!("{}:", uri.scheme()), None),
        Err(_) => (String::new(), None),
    }
}

fn finish(status: StatusCode, view: &View<'_>, place: &str) -> Response {
    let template = PAGES.get_template(TEMPLATE).expect("added above");
    let body = template.render(Serde(view)).expect("a template of ours renders");
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; img-src 'self'; form-action 'self' {place}; base-uri 'none'; frame-ancestors 'none'",
        *STYLE_HASH
    );
    let mut response = (status, Html(body)).into_response();
    let headers = response.headers_mut();
    let policy = HeaderValue::from_str(&policy).expect("hosts and schemes are a header value");
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_LANGUAGE, view.lang),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_names_an_origin_or_a_scheme() {
        assert_eq!(place("https://a.example:8443/cb?x").0, "https://a.example:8443");
        assert_eq!(place("http://127.0.0.1:3000/cb").0, "http://127.0.0.1:3000");
        assert_eq!(place("http://[::1]:3000/cb"), ("http:".to_owned(), Some("[::1]".to_owned())));
        for uri in ["vn.hue.app:/cb", "vn.hue.app://callback"] {
            assert_eq!(place(uri), ("vn.hue.app:".to_owned(), None), "{uri}");
        }
    }
}

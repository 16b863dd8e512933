//! The pages of a sign-in that does not end at the wall: plain HTML, no script, one style by its hash.

use std::sync::LazyLock;

use aws_lc_rs::digest;
use axum::response::{Html, IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue, StatusCode, header};
use minijinja::Environment;
use minijinja::value::Serde;
use platform::http::Language;
use serde::Serialize;
use uuid::Uuid;

use super::text::{self, Text};
use crate::sign_in::Refusal;

const STYLE: &str = include_str!("page.css");
const TEMPLATE: &str = "page.html";
/// When a page that says "later" may be asked for again, in seconds.
const LATER: HeaderValue = HeaderValue::from_static("5");

static PAGES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut pages = Environment::new();
    pages.add_template(TEMPLATE, include_str!("page.html")).expect("a template of ours is valid");
    pages
});

/// The provider may be of another origin, where a form that signs out ends: forms may go anywhere that we send them.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = STANDARD.encode(digest::digest(&digest::SHA256, STYLE.as_bytes()).as_ref());
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'"
    );
    HeaderValue::from_str(&policy).expect("words and base64 are a header value")
});

/// Which page it is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Face {
    /// A sign-in that can't go on.
    Refused(Refusal),
    /// Somebody without a role at the centre.
    NoRole(Uuid),
    /// Signed out here, not at the provider.
    SignedOutHere,
    /// The wall is no client of the provider.
    NotSetUp,
}

impl Face {
    fn status(self) -> StatusCode {
        match self {
            Self::Refused(Refusal::Away) | Self::SignedOutHere | Self::NotSetUp => StatusCode::SERVICE_UNAVAILABLE,
            Self::Refused(_) => StatusCode::BAD_REQUEST,
            Self::NoRole(_) => StatusCode::FORBIDDEN,
        }
    }
}

#[derive(Serialize)]
struct View {
    lang: &'static str,
    style: &'static str,
    text: &'static Text,
    title: &'static str,
    says: &'static str,
    /// Who has no role.
    account: Option<String>,
    /// Whether to try once more makes sense.
    again: bool,
}

/// A page.
pub(super) fn show(face: Face, language: Language) -> Response {
    let text = text::of(language);
    let (title, says) = text.of_face(face);
    let account = match face {
        Face::NoRole(account) => Some(account.to_string()),
        _ => None,
    };
    let again = !matches!(face, Face::NotSetUp);
    let view = View { lang: language.tag(), style: STYLE, text, title, says, account, again };
    let template = PAGES.get_template(TEMPLATE).expect("added above");
    let body = template.render(Serde(&view)).expect("a template of ours renders");
    let mut response = (face.status(), Html(body)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY.clone());
    if face.status() == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, LATER);
    }
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_LANGUAGE, view.lang),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

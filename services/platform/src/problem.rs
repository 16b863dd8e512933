//! RFC 9457 problem details with stable codes, in Vietnamese and English, and their way through gRPC.
//!
//! A service's error enum says which [`Code`] it is; the code is mapped once to an HTTP status and a gRPC status.
//! Invariant: a problem's source is logged here, once, and never shown to the client.

use std::borrow::Cow;
use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::{Map, Value};
use tracing::{error, warn};

use crate::http::Language;
use crate::trace;

mod codes;
mod status;

pub use codes::*;

/// Where a problem's documentation stands, relative to the origin.
const TYPE_BASE: &str = "/docs/problems#";

/// A stable kind of failure. Clients branch on `code`; people read the title.
#[derive(Clone, Copy, Debug)]
pub struct Code {
    code: &'static str,
    status: u16,
    title_vi: &'static str,
    title_en: &'static str,
}

impl Code {
    /// Declares a code: lower-case words joined by hyphens, an HTTP status, and its title in both languages.
    pub const fn new(code: &'static str, status: u16, title_vi: &'static str, title_en: &'static str) -> Self {
        assert!(status >= 400 && status < 600, "a problem's status is 4xx or 5xx");
        Self { code, status, title_vi, title_en }
    }

    /// The stable text.
    pub const fn code(&self) -> &'static str {
        self.code
    }

    /// The HTTP status.
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// The title in a language.
    pub const fn title(&self, language: Language) -> &'static str {
        match language {
            Language::Vi => self.title_vi,
            Language::En => self.title_en,
        }
    }
}

impl PartialEq for Code {
    fn eq(&self, other: &Self) -> bool {
        self.code == other.code
    }
}

impl Eq for Code {}

type Source = Arc<dyn std::error::Error + Send + Sync>;

/// One failure of one request.
#[derive(Clone, Debug)]
pub struct Problem {
    inner: Box<Inner>,
}

#[derive(Clone, Debug)]
struct Inner {
    code: Cow<'static, str>,
    status: u16,
    title: [Cow<'static, str>; 2],
    detail: Option<[String; 2]>,
    members: Map<String, Value>,
    retry_after_s: Option<u64>,
    source: Option<Source>,
}

impl Problem {
    /// A problem of a kind.
    pub fn new(code: Code) -> Self {
        Self {
            inner: Box::new(Inner {
                code: code.code.into(),
                status: code.status,
                title: [code.title_vi.into(), code.title_en.into()],
                detail: None,
                members: Map::new(),
                retry_after_s: None,
                source: None,
            }),
        }
    }

    /// Says what happened this time, in Vietnamese and English.
    #[must_use]
    pub fn detail(mut self, vi: impl Into<String>, en: impl Into<String>) -> Self {
        self.inner.detail = Some([vi.into(), en.into()]);
        self
    }

    /// Adds a member to the body, for programs.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Serialize) -> Self {
        self.inner.members.insert(name.to_owned(), serde_json::to_value(value).unwrap_or(Value::Null));
        self
    }

    /// Says after how many seconds to try again (`Retry-After`).
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.inner.retry_after_s = Some(seconds);
        self
    }

    /// Keeps what caused it; logged once, never shown.
    #[must_use]
    pub fn source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.inner.source = Some(Source::from(source.into()));
        self
    }

    /// The stable code.
    pub fn code(&self) -> &str {
        &self.inner.code
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.inner.status
    }

    /// The body (`application/problem+json`) in a language.
    pub fn body(&self, language: Language) -> Value {
        let index = match language {
            Language::Vi => 0,
            Language::En => 1,
        };
        let mut body = self.inner.members.clone();
        body.insert("type".to_owned(), format!("{TYPE_BASE}{}", self.inner.code).into());
        body.insert("title".to_owned(), self.inner.title[index].as_ref().into());
        body.insert("status".to_owned(), self.inner.status.into());
        body.insert("code".to_owned(), self.inner.code.as_ref().into());
        let detail = self
            .inner
            .detail
            .as_ref()
            .map_or_else(|| self.inner.title[index].to_string(), |detail| detail[index].clone());
        body.insert("detail".to_owned(), detail.into());
        if let Some(context) = trace::current() {
            body.insert("trace_id".to_owned(), context.trace_id().into());
        }
        Value::Object(body)
    }

    fn log(&self) {
        let Some(source) = &self.inner.source else { return };
        let causes = chain(source.as_ref());
        if self.inner.status >= 500 && self.inner.status != 503 {
            error!(code = self.code(), error = causes, "request failed");
        } else {
            warn!(code = self.code(), error = causes, "request refused");
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

impl std::fmt::Display for Problem {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} ({})", self.inner.title[1], self.inner.code)
    }
}

impl std::error::Error for Problem {}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        self.log();
        let language = Language::current();
        let status = StatusCode::from_u16(self.inner.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self.body(language)).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CONTENT_LANGUAGE, HeaderValue::from_static(language.tag()));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.inner.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.inner.status == 401 {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.inner.code == INSUFFICIENT_SCOPE.code {
            let scope = self.inner.members.get("scope").and_then(Value::as_str).unwrap_or_default();
            let says = format!(r#"Bearer error="insufficient_scope", scope="{scope}""#);
            headers.extend(HeaderValue::try_from(says).ok().map(|says| (header::WWW_AUTHENTICATE, says)));
        }
        response
    }
}

impl From<sqlx::Error> for Problem {
    /// A database that is away is `unavailable`; anything else is our fault.
    fn from(error: sqlx::Error) -> Self {
        if crate::db::is_passing(&error) {
            Self::new(UNAVAILABLE).retry_after(1).source(error)
        } else {
            Self::new(INTERNAL).source(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_speaks_both_languages() {
        let problem = Problem::new(NOT_FOUND).detail("Không có.", "None.").with("id", "x");
        let body = problem.body(Language::Vi);
        assert_eq!(body["title"], NOT_FOUND.title(Language::Vi));
        assert_eq!(body["detail"], "Không có.");
        assert_eq!(problem.body(Language::En)["detail"], "None.");
        assert_eq!(body["id"], "x");
        assert_eq!(body["code"], "not-found");
    }

    #[test]
    fn a_problem_survives_grpc() {
        let problem = Problem::new(NOT_FOUND).detail("Không có.", "None.").with("id", "x").retry_after(3);
        let back = Problem::from_status(&tonic::Status::from(problem.clone()));
        assert_eq!(back.code(), problem.code());
        assert_eq!(back.status(), 404);
        assert_eq!(back.body(Language::Vi), problem.body(Language::Vi));
        assert_eq!(back.inner.retry_after_s, Some(3));
    }

    #[test]
    fn a_foreign_status_becomes_a_problem_of_its_class() {
        assert_eq!(Problem::from_status(&tonic::Status::unavailable("x")).code(), "unavailable");
        assert_eq!(Problem::from_status(&tonic::Status::internal("x")).code(), "internal");
    }
}

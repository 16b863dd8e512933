//! The language of an answer: Vietnamese unless the client prefers English.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use http::request::Parts;
use http::{HeaderMap, header};

tokio::task_local! {
    pub(super) static LANGUAGE: Language;
}

/// The most members of an `Accept-Language` that are looked at.
const MAX_MEMBERS: usize = 16;

/// A language that the product speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Language {
    /// Vietnamese.
    #[default]
    Vi,
    /// English.
    En,
}

impl Language {
    /// The BCP 47 tag.
    pub const fn tag(self) -> &'static str {
        match self {
            Self::Vi => "vi",
            Self::En => "en",
        }
    }

    /// The language of a stored tag; Vietnamese for any other.
    pub fn from_tag(tag: &str) -> Self {
        if tag.get(..2).is_some_and(|primary| primary.eq_ignore_ascii_case("en")) { Self::En } else { Self::Vi }
    }

    /// The language of the request in progress; Vietnamese outside one.
    pub fn current() -> Self {
        LANGUAGE.try_with(|language| *language).unwrap_or_default()
    }

    /// Reads `Accept-Language` (RFC 9110, section 12.5.4): the known language with the highest weight.
    pub fn from_headers(headers: &HeaderMap) -> Self {
        let Some(value) = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()) else {
            return Self::default();
        };
        let mut best = (0.0_f32, Self::default());
        for member in value.split(',').take(MAX_MEMBERS) {
            let mut parts = member.trim().split(';');
            let language = match parts.next().unwrap_or_default().trim().get(..2) {
                Some(tag) if tag.eq_ignore_ascii_case("vi") => Self::Vi,
                Some(tag) if tag.eq_ignore_ascii_case("en") => Self::En,
                _ => continue,
            };
            let weight = parts.find_map(|part| part.trim().strip_prefix("q=")?.parse().ok()).unwrap_or(1.0);
            if weight > best.0 {
                best = (weight, language);
            }
        }
        best.1
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Language {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::from_headers(&parts.headers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heaviest_known_language_wins() {
        for (value, expected) in [
            ("en", Language::En),
            ("en-US,en;q=0.9,vi;q=0.8", Language::En),
            ("vi-VN,vi;q=0.9,en;q=0.8", Language::Vi),
            ("fr;q=1, en;q=0.3, vi;q=0.5", Language::Vi),
            ("de", Language::Vi),
            ("en;q=0", Language::Vi),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT_LANGUAGE, value.parse().expect("valid header"))]);
            assert_eq!(Language::from_headers(&headers), expected, "{value}");
        }
    }
}

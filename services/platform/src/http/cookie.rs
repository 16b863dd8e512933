//! Cookies of the pages: no script reads them, forms of other sites don't bring them.
//!
//! Names carry the `__Host-` prefix wherever the city is served by HTTPS; on plain HTTP (a laptop) browsers would refuse that
//! prefix, so the bare names stand.

use http::{HeaderMap, HeaderValue, header};

/// The most cookies of a request that are looked at.
const MAX_COOKIES: usize = 64;

/// A cookie of the city's origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cookie {
    bare: &'static str,
    secure: bool,
}

impl Cookie {
    /// The cookie with a bare name at an origin (`https://hue.example`).
    #[must_use]
    pub fn new(bare: &'static str, origin: &str) -> Self {
        Self { bare, secure: origin.starts_with("https:") }
    }

    fn name(self) -> String {
        let prefix = if self.secure { "__Host-" } else { "" };
        format!("{prefix}{}", self.bare)
    }

    /// A `Set-Cookie` that keeps a value (base64url) for so many seconds.
    #[must_use]
    pub fn keep(self, value: &str, life_s: u32) -> HeaderValue {
        let only_by_tls = if self.secure { "; Secure" } else { "" };
        let text = format!("{}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={life_s}{only_by_tls}", self.name());
        HeaderValue::from_str(&text).expect("base64url is a header value")
    }

    /// A `Set-Cookie` that makes the browser forget it.
    #[must_use]
    pub fn forget(self) -> HeaderValue {
        self.keep("", 0)
    }

    /// Its value in a request.
    #[must_use]
    pub fn read(self, headers: &HeaderMap) -> Option<&str> {
        let name = self.name();
        let values = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut pairs =
            values.flat_map(|value| value.split(';')).take(MAX_COOKIES).filter_map(|pair| pair.split_once('='));
        pairs.find(|(own, _)| own.trim() == name).map(|(_, value)| value.trim())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_read_by_their_whole_name() {
        let value = HeaderValue::from_static("x=1; trangtien-session=a; trangtien-sessions=b");
        let headers = HeaderMap::from_iter([(header::COOKIE, value)]);
        let read = |origin| Cookie::new("trangtien-session", origin).read(&headers);
        assert_eq!(read("http://localhost:8080"), Some("a"));
        assert_eq!(read("https://hue.example"), None);
    }

    #[test]
    fn a_cookie_by_tls_has_the_prefix_that_binds_it_to_its_host() {
        let text = |origin| Cookie::new("s", origin).keep("v", 60).to_str().expect("ASCII").to_owned();
        assert_eq!(text("https://hue.example"), "__Host-s=v; Path=/; HttpOnly; SameSite=Lax; Max-Age=60; Secure");
        assert_eq!(text("http://localhost:8080"), "s=v; Path=/; HttpOnly; SameSite=Lax; Max-Age=60");
    }
}

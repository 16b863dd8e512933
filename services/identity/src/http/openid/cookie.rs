//! The two cookies of the hosted pages: which browser it is, and who signed in there.
//!
//! Neither is readable by scripts or sent by other sites' forms. Their names carry the `__Host-` prefix wherever the city is
//! served by HTTPS; on plain HTTP (a laptop) browsers would refuse that prefix, so the bare names stand.
//! The browser's cookie is random; what is stored of it is the device that its digest names, so that nobody can pass for it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue, header};
use uuid::Uuid;

use crate::device::DeviceId;
use crate::openid::client::sha256;
use crate::session::Session;
use crate::{Identity, vault};

const BROWSER: &str = "trangtien-browser";
const SESSION: &str = "trangtien-session";
/// How long a browser is known: a year.
const BROWSER_LIFE_S: u32 = 31_536_000;
const BROWSER_BYTES: usize = 32;
/// The most cookies of a request that are looked at.
const MAX_COOKIES: usize = 64;

/// The browser of a request, who is signed in there, and what it is to keep.
pub(super) struct Browser {
    pub device: DeviceId,
    pub session: Option<Session>,
    /// Whether it is known already.
    pub is_known: bool,
    set: Vec<HeaderValue>,
    secure: bool,
}

impl Browser {
    /// Reads a request's cookies; a browser that has none gets one.
    pub(super) async fn of(identity: &Identity, headers: &HeaderMap) -> Result<Self, crate::error::Error> {
        let secure = identity.issuer.starts_with("https:");
        let known = read(headers, &name(BROWSER, secure)).and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
        let known = known.filter(|bytes| bytes.len() == BROWSER_BYTES);
        let mut set = Vec::new();
        let is_known = known.is_some();
        let bytes = known.unwrap_or_else(|| {
            let bytes = vault::random::<BROWSER_BYTES>();
            set.push(cookie((BROWSER, secure), &URL_SAFE_NO_PAD.encode(bytes), BROWSER_LIFE_S));
            bytes.to_vec()
        });
        let device = device_of(&bytes);
        let session = match read(headers, &name(SESSION, secure)) {
            Some(text) => identity.browser_session(text).await?,
            None => None,
        };
        let session = session.filter(|session| session.device == device);
        Ok(Self { device, session, is_known, set, secure })
    }

    /// Keeps a sign-in.
    pub(super) fn sign_in(&mut self, token: &str, life_s: u32) {
        self.set.push(cookie((SESSION, self.secure), token, life_s));
    }

    /// Forgets a sign-in.
    pub(super) fn sign_out(&mut self) {
        self.set.push(cookie((SESSION, self.secure), "", 0));
        self.session = None;
    }

    /// Tells the browser what to keep.
    pub(super) fn keep(self, headers: &mut HeaderMap) {
        for value in self.set {
            headers.append(header::SET_COOKIE, value);
        }
    }
}

/// The device that a browser's cookie stands for, as a UUID of version 8.
fn device_of(bytes: &[u8]) -> DeviceId {
    let digest = sha256(&[b"browser".as_slice(), bytes].concat());
    let mut short = [0; 16];
    short.copy_from_slice(&digest[..16]);
    let id: Uuid = uuid::Builder::from_custom_bytes(short).into_uuid();
    id.into()
}

fn name(bare: &str, secure: bool) -> String {
    if secure { format!("__Host-{bare}") } else { bare.to_owned() }
}

fn cookie((bare, secure): (&str, bool), value: &str, life_s: u32) -> HeaderValue {
    let only_by_tls = if secure { "; Secure" } else { "" };
    let text = format!("{}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={life_s}{only_by_tls}", name(bare, secure));
    HeaderValue::from_str(&text).expect("base64url is a header value")
}

fn read<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let values = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = values.flat_map(|value| value.split(';')).take(MAX_COOKIES).filter_map(|pair| pair.split_once('='));
    pairs.find(|(own, _)| own.trim() == name).map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_read_by_their_whole_name() {
        let value = HeaderValue::from_static("x=1; trangtien-session=a; trangtien-sessions=b");
        let headers = HeaderMap::from_iter([(header::COOKIE, value)]);
        assert_eq!(read(&headers, "trangtien-session"), Some("a"));
        assert_eq!(read(&headers, "__Host-trangtien-session"), None);
    }

    #[test]
    fn a_cookie_by_tls_has_the_prefix_that_binds_it_to_its_host() {
        let text = |secure| cookie((SESSION, secure), "v", 60).to_str().expect("ASCII").to_owned();
        assert_eq!(text(true), "__Host-trangtien-session=v; Path=/; HttpOnly; SameSite=Lax; Max-Age=60; Secure");
        assert_eq!(text(false), "trangtien-session=v; Path=/; HttpOnly; SameSite=Lax; Max-Age=60");
    }
}

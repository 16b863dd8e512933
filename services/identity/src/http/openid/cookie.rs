//! The two cookies of the hosted pages: which browser it is, and who signed in there.
//!
//! What both have in common is `platform::http::Cookie`.
//! The browser's cookie is random; what is stored of it is the device that its digest names, so that nobody can pass for it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue, header};
use platform::http::Cookie;
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

/// The browser of a request, who is signed in there, and what it is to keep.
pub(super) struct Browser {
    pub device: DeviceId,
    pub session: Option<Session>,
    /// Whether it is known already.
    pub is_known: bool,
    set: Vec<HeaderValue>,
    kept: Cookie,
}

impl Browser {
    /// Reads a request's cookies; a browser that has none gets one.
    pub(super) async fn of(identity: &Identity, headers: &HeaderMap) -> Result<Self, crate::error::Error> {
        let (own, kept) = (Cookie::new(BROWSER, &identity.issuer), Cookie::new(SESSION, &identity.issuer));
        let known = own.read(headers).and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
        let known = known.filter(|bytes| bytes.len() == BROWSER_BYTES);
        let mut set = Vec::new();
        let is_known = known.is_some();
        let bytes = known.unwrap_or_else(|| {
            let bytes = vault::random::<BROWSER_BYTES>();
            set.push(own.keep(&URL_SAFE_NO_PAD.encode(bytes), BROWSER_LIFE_S));
            bytes.to_vec()
        });
        let device = device_of(&bytes);
        let session = match kept.read(headers) {
            Some(text) => identity.browser_session(text).await?,
            None => None,
        };
        let session = session.filter(|session| session.device == device);
        Ok(Self { device, session, is_known, set, kept })
    }

    /// Keeps a sign-in.
    pub(super) fn sign_in(&mut self, token: &str, life_s: u32) {
        self.set.push(self.kept.keep(token, life_s));
    }

    /// Forgets a sign-in.
    pub(super) fn sign_out(&mut self) {
        self.set.push(self.kept.forget());
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

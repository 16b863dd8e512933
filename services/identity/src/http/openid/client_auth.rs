//! How a program says which client it is (RFC 6749, section 2.3.1): by `Authorization: Basic`, or by `client_id` and
//! `client_secret` in the form; a public client by its `client_id` alone.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, header};

use crate::openid::client::Credentials;
use crate::openid::params::Params;
use crate::openid::{Fault, FaultKind};

/// The credentials of a request: one kind of them only.
pub(super) fn credentials(headers: &HeaderMap, params: &Params) -> Result<Credentials, Fault> {
    if params.one("client_assertion")?.is_some() {
        return Err(Fault::new(FaultKind::InvalidClient, "client assertions are not supported"));
    }
    let named = params.one("client_id")?;
    let secret = params.one("client_secret")?;
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        let id = named.ok_or(Fault::client())?.to_owned();
        return Ok(Credentials { id, secret: secret.map(str::to_owned) });
    };
    if secret.is_some() {
        return Err(Fault::request("the client says who it is in more than one way"));
    }
    let basic = value.to_str().ok().and_then(basic).ok_or(Fault::client())?;
    if named.is_some_and(|named| named != basic.id) {
        return Err(Fault::request("client_id is not the client of the Authorization header"));
    }
    Ok(basic)
}

/// `Basic` credentials, each half form-encoded.
fn basic(value: &str) -> Option<Credentials> {
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = text.split_once(':')?;
    let decode = |half: &str| {
        // One nameless value: what a form would hold.
        let half = format!("={half}");
        url::form_urlencoded::parse(half.as_bytes()).next().map(|(_, value)| value.into_owned()).unwrap_or_default()
    };
    Some(Credentials { id: decode(id), secret: Some(decode(secret)).filter(|secret| !secret.is_empty()) })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(authorization: Option<&str>, form: &str) -> Result<(String, Option<String>), Fault> {
        let value = |text: &str| HeaderValue::from_str(text).expect("a header value");
        let headers = HeaderMap::from_iter(authorization.map(|text| (header::AUTHORIZATION, value(text))));
        let found = credentials(&headers, &Params::parse(form.as_bytes())?)?;
        Ok((found.id, found.secret))
    }

    #[test]
    fn one_way_at_a_time() {
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        let is = |id: &str, secret: Option<&str>| Ok((id.to_owned(), secret.map(str::to_owned)));
        assert_eq!(read(Some(&basic("a%2Bb:c+d")), ""), is("a+b", Some("c d")));
        assert_eq!(read(Some(&basic("a:b")), "client_id=a"), is("a", Some("b")));
        assert_eq!(read(Some(&basic("a:")), ""), is("a", None));
        assert_eq!(read(None, "client_id=a&client_secret=b"), is("a", Some("b")));
        assert_eq!(read(None, "client_id=a"), is("a", None));
        let kind = |authorization: Option<&str>, form| read(authorization, form).expect_err("refused").kind;
        assert_eq!(kind(Some(&basic("a:b")), "client_secret=b"), FaultKind::InvalidRequest);
        assert_eq!(kind(Some(&basic("a:b")), "client_id=c"), FaultKind::InvalidRequest);
        assert_eq!(kind(Some("Bearer x"), "client_id=a"), FaultKind::InvalidClient);
        assert_eq!(kind(Some(&basic("ab")), ""), FaultKind::InvalidClient);
        assert_eq!(kind(None, ""), FaultKind::InvalidClient);
        assert_eq!(kind(None, "client_id=a&client_assertion=x"), FaultKind::InvalidClient);
    }
}

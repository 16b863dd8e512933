//! What a client may be. Pure.

use url::Url;

use super::{Access, Grant};
use crate::error::Error;
use crate::key::Algorithm;
use crate::openid::scope::{Scope, Scopes};

/// The longest name, in characters. The database's CHECK says the same.
const MAX_NAME: usize = 80;
/// The most URIs of a kind. The database's CHECK says the same.
const MAX_URIS: usize = 10;
/// The longest URI, in bytes.
const MAX_URI: usize = 1_000;
/// The longest code of an agency. The database's CHECK says the same.
const MAX_AGENCY: usize = 24;

/// A client to be registered.
#[derive(Clone, Debug)]
pub(crate) struct NewClient {
    pub name_vi: String,
    pub name_en: String,
    pub access: Access,
    pub grants: Vec<Grant>,
    pub scopes: Scopes,
    pub redirect_uris: Vec<String>,
    pub post_logout_redirect_uris: Vec<String>,
    pub is_first_party: bool,
    pub id_token_algorithm: Algorithm,
    pub agency: Option<String>,
}

/// What may change of a client; `None` leaves it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Edit {
    pub name_vi: Option<String>,
    pub name_en: Option<String>,
    pub scopes: Option<Scopes>,
    pub redirect_uris: Option<Vec<String>>,
    pub post_logout_redirect_uris: Option<Vec<String>>,
}

const fn fault(field: &'static str, vi: &'static str, en: &'static str) -> Error {
    Error::Field { field, vi, en }
}

/// Checks a client of an issuer and gives it its form: names trimmed, each grant once.
pub(crate) fn check(mut new: NewClient, issuer: &str) -> Result<NewClient, Error> {
    new.name_vi = name(&new.name_vi)?;
    new.name_en = name(&new.name_en)?;
    new.grants = Grant::ALL.into_iter().filter(|grant| new.grants.contains(grant)).collect();
    let by_code = new.grants.contains(&Grant::AuthorizationCode);
    let for_itself = new.grants.contains(&Grant::ClientCredentials);
    if !by_code && !for_itself {
        return Err(fault(
            "grant_types",
            "Cần authorization_code hoặc client_credentials.",
            "authorization_code or client_credentials is needed.",
        ));
    }
    if for_itself && new.access == Access::Public {
        return Err(fault(
            "grant_types",
            "Ứng dụng công khai không giữ được bí mật nên không có client_credentials.",
            "A public client keeps no secret, so it has no client_credentials.",
        ));
    }
    if by_code == new.redirect_uris.is_empty() {
        return Err(fault(
            "redirect_uris",
            "authorization_code cần địa chỉ quay về, và chỉ nó cần.",
            "authorization_code needs redirect URIs, and nothing else does.",
        ));
    }
    check_scopes(&new.scopes, (by_code, for_itself), new.agency.is_some())?;
    check_uris("redirect_uris", &new.redirect_uris)?;
    if new.is_first_party && !new.redirect_uris.iter().all(|uri| is_place_of_its_own(uri, issuer)) {
        return Err(fault(
            "redirect_uris",
            "Trang của thành phố quay về địa chỉ https, hoặc về chính địa chỉ của thành phố.",
            "The city's own pages are at https, or at the city's own origin.",
        ));
    }
    check_uris("post_logout_redirect_uris", &new.post_logout_redirect_uris)?;
    if new.agency.as_ref().is_some_and(|code| !is_agency(code)) {
        return Err(fault(
            "agency",
            "Mã cơ quan gồm chữ in hoa, chữ số và gạch nối.",
            "The code of an agency has capital letters, digits and hyphens.",
        ));
    }
    Ok(new)
}

/// What a client becomes by an edit, checked.
pub(crate) fn edited(client: &super::Client, edit: Edit, issuer: &str) -> Result<NewClient, Error> {
    let new = NewClient {
        name_vi: edit.name_vi.unwrap_or_else(|| client.name_vi.clone()),
        name_en: edit.name_en.unwrap_or_else(|| client.name_en.clone()),
        access: client.access,
        grants: client.grants.clone(),
        scopes: edit.scopes.unwrap_or_else(|| client.scopes.clone()),
        redirect_uris: edit.redirect_uris.unwrap_or_else(|| client.redirect_uris.clone()),
        post_logout_redirect_uris: edit
            .post_logout_redirect_uris
            .unwrap_or_else(|| client.post_logout_redirect_uris.clone()),
        is_first_party: client.is_first_party(),
        id_token_algorithm: client.id_token_algorithm,
        agency: client.agency.clone(),
    };
    check(new, issuer)
}

/// Within which the citizens of a client have one subject: the host of its redirect URIs if they share one by HTTPS (OpenID
/// Connect Core, section 8.1), else the client alone: nobody owns `localhost` or a scheme.
pub(crate) fn sector(new: &NewClient, id: super::ClientId) -> Option<String> {
    if new.is_first_party {
        return None;
    }
    let owned = |uri: Url| (uri.scheme() == "https").then(|| uri.host_str().map(str::to_owned)).flatten();
    let hosts = new.redirect_uris.iter().map(|uri| owned(Url::parse(uri).ok()?));
    let mut hosts: Vec<Option<String>> = hosts.collect();
    hosts.dedup();
    match hosts.as_slice() {
        [Some(host)] => Some(host.clone()),
        _ => Some(id.to_string()),
    }
}

fn name(text: &str) -> Result<String, Error> {
    let name = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if name.is_empty() || name.chars().count() > MAX_NAME || name.chars().any(char::is_control) {
        return Err(fault("name", "Tên dài từ 1 đến 80 ký tự.", "A name has 1 to 80 characters."));
    }
    Ok(name)
}

fn check_scopes(scopes: &Scopes, (by_code, for_itself): (bool, bool), of_agency: bool) -> Result<(), Error> {
    if by_code == scopes.of_citizen().is_empty() || for_itself == scopes.of_client().is_empty() {
        return Err(fault(
            "scopes",
            "authorization_code cần quyền của người dân, client_credentials cần quyền của ứng dụng; không thừa quyền nào.",
            "authorization_code needs scopes of citizens, client_credentials scopes of clients; none is left over.",
        ));
    }
    if scopes.has(Scope::FeesWrite) && !of_agency {
        return Err(fault("agency", "fees:write cần mã cơ quan.", "fees:write needs the code of an agency."));
    }
    Ok(())
}

fn check_uris(field: &'static str, uris: &[String]) -> Result<(), Error> {
    if uris.len() > MAX_URIS {
        return Err(fault(field, "Có nhiều nhất 10 địa chỉ.", "There are at most 10 URIs."));
    }
    if uris.iter().all(|uri| is_redirect_uri(uri)) {
        return Ok(());
    }
    Err(fault(
        field,
        "Địa chỉ phải là https, http trên localhost, hoặc tên miền đảo ngược như vn.hue.app:/x; không có # hay mật khẩu.",
        "A URI is https, http on localhost, or of a scheme like vn.hue.app:/x, without fragment or password.",
    ))
}

/// Whether answers may go to a URI (RFC 9700, section 2.1; RFC 8252, section 7).
fn is_redirect_uri(text: &str) -> bool {
    let printable = text.len() <= MAX_URI && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    let Ok(uri) = Url::parse(text) else { return false };
    let bare = uri.fragment().is_none() && uri.username().is_empty() && uri.password().is_none();
    let place = match uri.scheme() {
        "https" => uri.host_str().is_some_and(is_name),
        "http" => matches!(uri.host_str(), Some("localhost" | "127.0.0.1" | "[::1]")),
        scheme => scheme.contains('.'),
    };
    printable && bare && place
}

/// Whether nobody but the city can be at a URI: any program of a machine can take a loopback port or a scheme (RFC 8252, section 8.6).
fn is_place_of_its_own(text: &str, issuer: &str) -> bool {
    let (Ok(uri), Ok(issuer)) = (Url::parse(text), Url::parse(issuer)) else { return false };
    uri.scheme() == "https" || (uri.scheme() == "http" && uri.origin() == issuer.origin())
}

/// Whether a host has the characters of names and IPv4 addresses only; others mean something in the policy of the pages.
fn is_name(host: &str) -> bool {
    host.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-'))
}

fn is_agency(code: &str) -> bool {
    (1..=MAX_AGENCY).contains(&code.len())
        && code.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new() -> NewClient {
        NewClient {
            name_vi: " Vé  tham quan ".to_owned(),
            name_en: "Tickets".to_owned(),
            access: Access::Public,
            grants: vec![Grant::RefreshToken, Grant::AuthorizationCode, Grant::AuthorizationCode],
            scopes: Scopes::parse("openid"),
            redirect_uris: vec!["https://app.example/cb".to_owned()],
            post_logout_redirect_uris: Vec::new(),
            is_first_party: false,
            id_token_algorithm: Algorithm::Rs256,
            agency: None,
        }
    }

    const ISSUER: &str = "http://localhost:8080";

    fn field_at_fault(new: NewClient) -> &'static str {
        match check(new, ISSUER) {
            Err(Error::Field { field, .. }) => field,
            _ => "",
        }
    }

    #[test]
    fn a_client_gets_its_form() {
        let checked = check(new(), ISSUER).expect("good");
        assert_eq!((checked.name_vi.as_str(), checked.grants.len()), ("Vé tham quan", 2));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let itself = NewClient {
            access: Access::Confidential,
            grants: vec![Grant::ClientCredentials],
            scopes: Scopes::parse("fees:write"),
            redirect_uris: Vec::new(),
            agency: Some("UBND".to_owned()),
            ..new()
        };
        assert_eq!(field_at_fault(itself.clone()), "");
        assert_eq!(field_at_fault(NewClient { access: Access::Public, ..itself.clone() }), "grant_types");
        assert_eq!(field_at_fault(NewClient { agency: None, ..itself.clone() }), "agency");
        assert_eq!(field_at_fault(NewClient { agency: Some("ubnd".to_owned()), ..itself.clone() }), "agency");
        assert_eq!(field_at_fault(NewClient { scopes: Scopes::parse("fees:write openid"), ..itself }), "scopes");
        assert_eq!(field_at_fault(NewClient { grants: vec![Grant::RefreshToken], ..new() }), "grant_types");
        assert_eq!(field_at_fault(NewClient { redirect_uris: Vec::new(), ..new() }), "redirect_uris");
        assert_eq!(field_at_fault(NewClient { scopes: Scopes::default(), ..new() }), "scopes");
        assert_eq!(field_at_fault(NewClient { name_en: "x".repeat(81), ..new() }), "name");
    }

    #[test]
    fn answers_go_to_safe_places_only() {
        for good in ["https://a.example/cb?x=1", "http://localhost:8080/cb", "http://127.0.0.1/cb", "vn.hue.app:/cb"] {
            assert!(is_redirect_uri(good), "{good}");
        }
        for bad in [
            "http://a.example/cb",
            "https://a.example/cb#x",
            "https://u:p@a.example/",
            "javascript:alert(1)",
            "data:text/html,x",
            "/cb",
            "https://a.example/a b",
            "https://a.example\\@b.example/",
            "https://a.example;script-src/cb",
            "https://*.example/cb",
        ] {
            assert!(!is_redirect_uri(bad), "{bad}");
        }
    }

    #[test]
    fn the_citys_own_pages_are_where_nobody_else_can_be() {
        let own = |uri: &str| {
            let redirect_uris = vec!["https://wall.example/cb".to_owned(), uri.to_owned()];
            field_at_fault(NewClient { is_first_party: true, redirect_uris, ..new() })
        };
        assert_eq!((own("https://hue.example/cb"), own("http://localhost:8080/wall/cb")), ("", ""));
        for shared in ["http://localhost:3000/cb", "http://127.0.0.1:8080/cb", "http://localhost/cb", "vn.hue.app:/cb"]
        {
            assert_eq!(own(shared), "redirect_uris", "{shared}");
        }
    }

    #[test]
    fn a_sector_is_the_common_host_or_the_client() {
        let id = super::super::ClientId::generate();
        let of = |uris: &[&str]| {
            sector(&NewClient { redirect_uris: uris.iter().map(|uri| (*uri).to_owned()).collect(), ..new() }, id)
        };
        assert_eq!(of(&["https://a.example/1", "https://a.example/2"]).as_deref(), Some("a.example"));
        assert_eq!(of(&["https://a.example/1", "https://b.example/2"]), Some(id.to_string()));
        for shared in ["vn.hue.app:/cb", "vn.hue.app://callback", "http://localhost:3000/cb", "http://127.0.0.1/cb"] {
            assert_eq!(of(&[shared]), Some(id.to_string()), "{shared}");
        }
        assert_eq!(of(&["https://a.example/1", "http://localhost/1"]), Some(id.to_string()));
        assert_eq!(sector(&NewClient { is_first_party: true, ..new() }, id), None);
    }
}

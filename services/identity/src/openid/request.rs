//! What a client asks at the authorisation endpoint, checked (RFC 6749, section 4.1.1; RFC 7636; OpenID Connect Core, section 3.1.2.1). Pure.
//!
//! Client and redirect URI are checked first and apart: only when both are right is any other fault told to the client.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use platform::http::Language;

use super::authorise::ACR_VALUES;
use super::client::{Access, Client, Grant};
use super::fault::{Fault, FaultKind};
use super::params::Params;
use super::scope::Scopes;
use crate::session::ACR_VNEID;
use crate::vault::DIGEST_BYTES;

/// Where a program on the citizen's own machine waits: literals only, a name could lead elsewhere.
const LOOPBACK: [&str; 2] = ["http://127.0.0.1", "http://[::1]"];
/// The longest `state` and `nonce`, in bytes.
const MAX_TEXT: usize = 2_048;

/// What to ask the citizen though it may be known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Prompt {
    /// Ask nothing at all.
    pub none: bool,
    /// Who they are (`login`, `select_account`).
    pub login: bool,
    /// What the client may know.
    pub consent: bool,
}

/// A request whose client and redirect URI are right.
#[derive(Clone, Debug)]
pub(crate) struct AuthorisationRequest {
    pub redirect_uri: String,
    pub scopes: Scopes,
    pub nonce: Option<String>,
    pub challenge: [u8; DIGEST_BYTES],
    pub prompt: Prompt,
    pub max_age_s: Option<u32>,
    /// How the client wishes its citizen to have signed in, the dearest first.
    pub acr_values: Vec<String>,
    pub id_token_hint: Option<String>,
}

impl AuthorisationRequest {
    /// Whether the client wishes for VNeID before all that a sign-in here reaches.
    pub(crate) fn prefers_vneid(&self) -> bool {
        self.acr_values.iter().find(|acr| ACR_VALUES.contains(&acr.as_str())).is_some_and(|acr| acr == ACR_VNEID)
    }

    /// Whether another sign-in could give what the client wishes, and this one did not.
    pub(crate) fn wishes_more_than(&self, acr: &str) -> bool {
        let named = |one: &str| self.acr_values.iter().any(|acr| acr == one);
        named(ACR_VNEID) && !named(acr)
    }
}

/// The redirect URI, if it is one of the client's: to the letter, but for the port of a program on the citizen's own machine, which the
/// system gives it when it starts (RFC 8252, section 7.3; RFC 9700, section 4.1.3).
pub(crate) fn redirect_uri<'a>(params: &'a Params, client: &Client) -> Option<&'a str> {
    let uri = params.one("redirect_uri").ok().flatten()?;
    let same = |own: &String| own == uri || (client.access == Access::Public && are_one_loopback(own, uri));
    client.redirect_uris.iter().any(same).then_some(uri)
}

/// Whether two URIs are of one loopback address and differ in the port at most.
fn are_one_loopback(one: &str, other: &str) -> bool {
    LOOPBACK.iter().any(|place| {
        let rest = |uri: &str| uri.strip_prefix(place).and_then(without_port).map(str::to_owned);
        rest(one).is_some_and(|one| rest(other) == Some(one))
    })
}

/// What follows the port, or where one could be; nothing where something else follows.
fn without_port(rest: &str) -> Option<&str> {
    let Some(port) = rest.strip_prefix(':') else {
        return (rest.is_empty() || rest.starts_with(['/', '?'])).then_some(rest);
    };
    let digits = port.bytes().take_while(u8::is_ascii_digit).count();
    let (port, rest) = port.split_at(digits);
    let is_port = !port.starts_with('0') && port.parse::<u16>().is_ok();
    (is_port && (rest.is_empty() || rest.starts_with(['/', '?']))).then_some(rest)
}

/// The language that the client prefers for its citizen.
pub(crate) fn language(params: &Params) -> Option<Language> {
    let wanted = params.one("ui_locales").ok().flatten()?;
    wanted.split_ascii_whitespace().find_map(|tag| match tag.get(..2)?.to_ascii_lowercase().as_str() {
        "vi" => Some(Language::Vi),
        "en" => Some(Language::En),
        _ => None,
    })
}

/// Checks the rest of a request to the redirect URI.
pub(crate) fn check(params: &Params, client: &Client, redirect_uri: &str) -> Result<AuthorisationRequest, Fault> {
    if params.one("request")?.is_some() {
        return Err(Fault::new(FaultKind::RequestNotSupported, "request objects are not supported"));
    }
    if params.one("request_uri")?.is_some() {
        return Err(Fault::new(FaultKind::RequestUriNotSupported, "request_uri is not supported"));
    }
    if params.one("registration")?.is_some() {
        return Err(Fault::new(FaultKind::RegistrationNotSupported, "registration is not supported"));
    }
    if params.one("state")?.is_some_and(|state| state.len() > MAX_TEXT) {
        return Err(Fault::request("state is too long"));
    }
    if !client.grants.contains(&Grant::AuthorizationCode) {
        return Err(Fault::new(FaultKind::UnauthorizedClient, "the client may not ask for codes"));
    }
    if params.required("response_type", "response_type is missing")? != "code" {
        return Err(Fault::new(FaultKind::UnsupportedResponseType, "response_type must be code"));
    }
    if params.one("response_mode")?.is_some_and(|mode| mode != "query") {
        return Err(Fault::request("response_mode must be query"));
    }
    let scopes = Scopes::parse(params.one("scope")?.unwrap_or_default()).of_citizen().common(&client.scopes);
    if scopes.is_empty() {
        return Err(Fault::new(FaultKind::InvalidScope, "no scope is asked for that the client may have"));
    }
    let nonce = params.one("nonce")?.map(str::to_owned);
    if nonce.as_ref().is_some_and(|nonce| nonce.len() > MAX_TEXT) {
        return Err(Fault::request("nonce is too long"));
    }
    if nonce.as_ref().is_some_and(|nonce| nonce.chars().any(char::is_control)) {
        return Err(Fault::request("nonce has control characters"));
    }
    let max_age_s = match params.one("max_age")? {
        Some(text) => Some(text.parse().map_err(|_| Fault::request("max_age must be a number of seconds"))?),
        None => None,
    };
    Ok(AuthorisationRequest {
        redirect_uri: redirect_uri.to_owned(),
        scopes,
        nonce,
        challenge: challenge(params)?,
        prompt: prompt(params.one("prompt")?.unwrap_or_default())?,
        max_age_s,
        acr_values: params.one("acr_values")?.unwrap_or_default().split_ascii_whitespace().map(str::to_owned).collect(),
        id_token_hint: params.one("id_token_hint")?.map(str::to_owned),
    })
}

/// The `state` that comes back with every answer.
pub(crate) fn state(params: &Params) -> Option<&str> {
    params.one("state").ok().flatten().filter(|state| state.len() <= MAX_TEXT)
}

fn challenge(params: &Params) -> Result<[u8; DIGEST_BYTES], Fault> {
    let text = params.required("code_challenge", "code_challenge is missing: PKCE is needed")?;
    if params.one("code_challenge_method")? != Some("S256") {
        return Err(Fault::request("code_challenge_method must be S256"));
    }
    let bytes = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or(Fault::request("code_challenge must be the base64url of a SHA-256 digest"))
}

fn prompt(text: &str) -> Result<Prompt, Fault> {
    let mut prompt = Prompt::default();
    let mut others = false;
    for word in text.split_ascii_whitespace() {
        match word {
            "none" => prompt.none = true,
            "login" | "select_account" => (prompt.login, others) = (true, true),
            "consent" => (prompt.consent, others) = (true, true),
            _ => return Err(Fault::request("prompt is not known")),
        }
    }
    if prompt.none && others { Err(Fault::request("prompt=none stands alone")) } else { Ok(prompt) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openid::client::tests::client;

    const GOOD: &str = "response_type=code&scope=openid+profile+email&state=s&nonce=n&max_age=60&prompt=login+consent\
        &code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256&acr_values=x&unknown=y";

    fn checked(query: &str) -> Result<AuthorisationRequest, Fault> {
        check(&Params::parse(query.as_bytes())?, &client(), "https://app.example/cb")
    }

    #[test]
    fn a_good_request_is_read() {
        let request = checked(GOOD).expect("good");
        assert_eq!((request.scopes.to_string().as_str(), request.nonce.as_deref()), ("openid profile", Some("n")));
        assert_eq!((request.max_age_s, request.prompt), (Some(60), Prompt { none: false, login: true, consent: true }));
        assert_eq!(request.challenge[..2], [0x13, 0xd3]);
        assert_eq!(request.acr_values, ["x"]);
        assert!(!request.prefers_vneid() && !request.wishes_more_than("urn:trangtien:acr:otp"));
    }

    #[test]
    fn each_fault_has_its_word() {
        let kind = |from: &str, to: &str| {
            assert!(GOOD.contains(from), "{from}");
            checked(&GOOD.replace(from, to)).expect_err(to).kind
        };
        for (from, to) in [
            ("code_challenge_method=S256", "code_challenge_method=plain"),
            ("&code_challenge_method=S256", ""),
            ("code_challenge=E9M", "other=E9M"),
            ("code_challenge=E9M", "code_challenge=E9"),
            ("max_age=60", "max_age=-1"),
            ("prompt=login+consent", "prompt=none+login"),
            ("prompt=login+consent", "prompt=guess"),
            ("response_type=code&", ""),
            ("unknown=y", "response_mode=fragment"),
            ("unknown=y", "state=again"),
            ("unknown=y", "scope=openid"),
        ] {
            assert_eq!(kind(from, to), FaultKind::InvalidRequest, "{to}");
        }
        let long = format!("state={}", "s".repeat(MAX_TEXT + 1));
        assert_eq!(kind("state=s", &long), FaultKind::InvalidRequest);
        assert_eq!(kind("nonce=n", "nonce=n%00"), FaultKind::InvalidRequest);
        assert_eq!(kind("response_type=code", "response_type=token"), FaultKind::UnsupportedResponseType);
        assert_eq!(kind("scope=openid+profile+email", "scope=fees:write"), FaultKind::InvalidScope);
        assert_eq!(kind("unknown=y", "request=eyJ"), FaultKind::RequestNotSupported);
        assert_eq!(kind("unknown=y", "request_uri=urn:x"), FaultKind::RequestUriNotSupported);
    }

    fn is_of(client: &Client, uri: &str) -> bool {
        let query = super::super::params::with_params("", &[("redirect_uri", uri)]);
        redirect_uri(&Params::parse(&query.as_bytes()[1..]).expect("a query"), client).is_some()
    }

    #[test]
    fn a_wish_for_vneid_is_one_among_others() {
        let of = |values: &str| checked(&GOOD.replace("acr_values=x", &format!("acr_values={values}"))).expect("good");
        let (code, vneid) = (crate::session::ACR_CODE, ACR_VNEID);
        let said = |values: &str| (of(values).prefers_vneid(), of(values).wishes_more_than(code));
        assert_eq!(said(vneid), (true, true));
        assert_eq!(said(&format!("gold+{vneid}+{code}")), (true, false));
        assert_eq!(said(&format!("{code}+{vneid}")), (false, false));
        assert_eq!(said("gold"), (false, false));
        assert!(!of(code).wishes_more_than(vneid), "what is more is never asked away");
    }

    #[test]
    fn a_program_on_the_citizens_machine_takes_the_port_that_it_gets() {
        let uris = ["http://127.0.0.1:3000/cb", "http://[::1]/cb?x=1", "http://localhost:3000/cb"];
        let client = Client { redirect_uris: uris.map(str::to_owned).to_vec(), ..client() };
        for good in [
            "http://127.0.0.1:3000/cb",
            "http://127.0.0.1:49152/cb",
            "http://127.0.0.1/cb",
            "http://[::1]:65535/cb?x=1",
            "http://localhost:3000/cb",
        ] {
            assert!(is_of(&client, good), "{good}");
        }
        for bad in [
            "http://127.0.0.1:49152/other",
            "http://127.0.0.1:49152",
            "http://127.0.0.1:/cb",
            "http://127.0.0.1:0/cb",
            "http://127.0.0.1:65536/cb",
            "http://127.0.0.1:1@evil.example/cb",
            "http://127.0.0.1.evil.example/cb",
            "http://127.0.0.1:49152/cb?x=1",
            "https://127.0.0.1:49152/cb",
            "http://[::1]:1/cb",
            "http://localhost:3001/cb",
        ] {
            assert!(!is_of(&client, bad), "{bad}");
        }
        let secret = Client { access: Access::Confidential, ..client };
        assert!(!is_of(&secret, "http://127.0.0.1:49152/cb") && is_of(&secret, "http://127.0.0.1:3000/cb"));
    }

    #[test]
    fn a_redirect_uri_is_the_clients_to_the_letter() {
        let client = client();
        let is = |uri: &str| is_of(&client, uri);
        assert!(is("https://app.example/cb"));
        for other in [
            "https://app.example/cb/",
            "https://app.example/cb?x=1",
            "https://APP.example/cb",
            "https://app.example/c",
            "https://app.example:443/cb",
            "https://app.example/%63b",
            "",
        ] {
            assert!(!is(other), "{other}");
        }
    }
}

//! Whether a request at the authorisation endpoint gets its code, or somebody must sign in or consent first.
//!
//! Every page of a sign-in ends here: the request is read again from the ticket and judged anew, so that no page can be left out.

use chrono::{DateTime, Utc};
use tracing::info;

use super::client::{Access, Client};
use super::code::Authorisation;
use super::fault::{Fault, FaultKind};
use super::params::{Params, with_params};
use super::request::{self, AuthorisationRequest};
use super::scope::{Scope, Scopes};
use super::ticket::Ticket;
use crate::Identity;
use crate::audit::Origin;
use crate::config::Lifetimes;
use crate::error::Error;
use crate::session::Session;

/// Authentication context classes that sign-ins reach.
pub(crate) const ACR_VALUES: [&str; 2] = [crate::session::ACR_CODE, crate::session::ACR_VNEID];

/// What happens next.
pub(crate) enum Step {
    /// The browser goes back to the client, with a code or a fault.
    Back(String),
    /// Somebody must sign in.
    SignIn(Page),
    /// Somebody must say what the client may know.
    Consent(Page, Scopes),
    /// The request can't be answered to a client: nobody knows it, or where it is.
    Refused(&'static str),
}

/// What a page says of the request.
pub(crate) struct Page {
    pub client: Client,
    /// Where the browser will go, for the policy that lets it.
    pub redirect_uri: String,
    /// What the client believes the telephone number to be.
    pub login_hint: Option<String>,
    /// Whether the client wishes for VNeID before all else, and this city is connected to it.
    pub prefers_vneid: bool,
}

/// A sign-in that a browser has: when it was, and how.
type SignedIn<'a> = (DateTime<Utc>, &'a str);

/// What the citizen says to a consent page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// Nothing yet.
    Unsaid,
    Agreed,
    Refused,
}

/// What is still needed.
#[derive(Debug, PartialEq, Eq)]
enum Need {
    Nothing,
    SignIn,
    Consent,
}

/// Decides what a request needs, begun at one time, in a browser where somebody signed in at another. Pure.
///
/// A way to sign in is a wish (OpenID Connect Core, section 3.1.2.1): it is offered once, and whatever came of it is told the client.
fn decide(
    request: &AuthorisationRequest,
    signed_in: Option<SignedIn<'_>>,
    consented: &Scopes,
    word: Word,
    begun_at: DateTime<Utc>,
) -> Result<Need, Fault> {
    let good = |(at, acr): &SignedIn<'_>| {
        let by_prompt = !request.prompt.login || *at >= begun_at;
        let by_wish = request.prompt.none || *at >= begun_at || !request.wishes_more_than(acr);
        by_prompt && by_wish && request.max_age_s.is_none_or(|age| *at + Lifetimes::span(age) >= begun_at)
    };
    if signed_in.filter(good).is_none() {
        if request.prompt.none {
            return Err(Fault::new(FaultKind::LoginRequired, "nobody is signed in, or not recently enough"));
        }
        return Ok(Need::SignIn);
    }
    if word == Word::Agreed || (request.scopes.within(consented) && !request.prompt.consent) {
        return Ok(Need::Nothing);
    }
    if request.prompt.none {
        return Err(Fault::new(FaultKind::ConsentRequired, "the citizen has not agreed to these scopes"));
    }
    Ok(Need::Consent)
}

impl Identity {
    /// Judges the request of a ticket in a browser whose session this is.
    pub(crate) async fn proceed(
        &self,
        ticket: &Ticket,
        browser: Option<&Session>,
        (word, origin): (Word, Origin),
    ) -> Result<Step, Error> {
        let Ok(params) = Params::parse(ticket.query.as_bytes()) else { return Ok(Step::Refused("request")) };
        let client = match params.one("client_id") {
            Ok(Some(id)) => self.client(id).await?,
            _ => None,
        };
        let Some(client) = client else { return Ok(Step::Refused("client")) };
        let Some(redirect_uri) = request::redirect_uri(&params, &client) else { return Ok(Step::Refused("redirect")) };
        let state = request::state(&params);
        let mut request = match request::check(&params, &client, redirect_uri) {
            Ok(request) => request,
            Err(fault) => return Ok(Step::Back(self.back(redirect_uri, state, &refusal(fault)))),
        };
        // Any program can be where such a client is (RFC 8252, section 8.6): the citizen says each time that it is the one they mean.
        request.prompt.consent |= client.access == Access::Public && !redirect_uri.starts_with("https:");
        if self.vneid_page_redirect().is_none() {
            request.acr_values.clear();
        }
        let browser = match self.hinted(browser, &request, (&client, ticket.begun_at)).await? {
            Ok(browser) => browser,
            Err(fault) => return Ok(Step::Back(self.back(redirect_uri, state, &refusal(fault)))),
        };
        let consented = match browser {
            Some(session) => self.consented(session.citizen, &client).await?,
            None => Scopes::default(),
        };
        let word = if client.is_first_party() { Word::Agreed } else { word };
        let prefers_vneid = request.prefers_vneid();
        let page = || Page {
            client: Client::clone(&client),
            redirect_uri: redirect_uri.to_owned(),
            login_hint: params.one("login_hint").ok().flatten().map(str::to_owned),
            prefers_vneid,
        };
        if word == Word::Refused {
            let fault = Fault::new(FaultKind::AccessDenied, "the citizen did not agree");
            return Ok(Step::Back(self.back(redirect_uri, state, &refusal(fault))));
        }
        let signed_in = browser.map(|session| (session.authenticated_at, session.acr.as_str()));
        match decide(&request, signed_in, &consented, word, ticket.begun_at) {
            Err(fault) => Ok(Step::Back(self.back(redirect_uri, state, &refusal(fault)))),
            Ok(Need::SignIn) => Ok(Step::SignIn(page())),
            Ok(Need::Consent) => Ok(Step::Consent(page(), request.scopes)),
            Ok(Need::Nothing) => {
                let session = browser.expect("nothing is needed only when somebody is signed in");
                let now = self.now();
                if !client.is_first_party() && !request.scopes.within(&consented) {
                    self.consent(session.citizen, &client, &request.scopes, (origin, now)).await?;
                }
                let given = self.authorisation(&client, request, session, now);
                let Some(code) = self.give_code(&given, now).await? else { return Ok(Step::SignIn(page())) };
                info!(client.id = %client.id, session.id = %session.id, "code given");
                Ok(Step::Back(self.back(redirect_uri, state, &[("code", &code)])))
            }
        }
    }

    /// The browser's session, unless the client means somebody else (OpenID Connect Core, section 3.1.2.1).
    ///
    /// Only whom the hint means gets a code. A hint that means nobody is a fault and not left out: the client would take whoever is
    /// there for whom it asked. When somebody else has signed in for this request, the client is told, and no page comes again.
    async fn hinted<'a>(
        &self,
        browser: Option<&'a Session>,
        request: &AuthorisationRequest,
        (client, begun_at): (&Client, DateTime<Utc>),
    ) -> Result<Result<Option<&'a Session>, Fault>, Error> {
        let Some(text) = &request.id_token_hint else { return Ok(Ok(browser)) };
        let hint = self.hint(text).await?.filter(|hint| hint.aud == client.id.to_string());
        let Some(hint) = hint else {
            return Ok(Err(Fault::request("id_token_hint is no ID token of this client that is remembered")));
        };
        let subject = |session: &&Session| self.subject(session.citizen, client.sector.as_deref());
        Ok(match browser {
            Some(session) if subject(&session) == hint.sub => Ok(browser),
            Some(session) if session.authenticated_at >= begun_at => {
                Err(Fault::new(FaultKind::LoginRequired, "somebody else than id_token_hint means has signed in"))
            }
            _ => Ok(None),
        })
    }

    fn authorisation(
        &self,
        client: &Client,
        request: AuthorisationRequest,
        session: &Session,
        now: DateTime<Utc>,
    ) -> Authorisation {
        let ends_at = if request.scopes.has(Scope::OfflineAccess) {
            now + Lifetimes::span(self.config.lifetimes.session_seconds)
        } else {
            session.expires_at
        };
        Authorisation {
            client: client.id,
            citizen: session.citizen,
            device: session.device,
            browser_session: session.id,
            redirect_uri: request.redirect_uri,
            scope: request.scopes.to_string(),
            nonce: request.nonce,
            challenge: request.challenge,
            acr: session.acr.clone(),
            amr: session.amr.clone(),
            authenticated_at: session.authenticated_at,
            ends_at,
        }
    }

    /// Where the browser goes with an answer: `state` as it came, `iss` by RFC 9207.
    fn back(&self, redirect_uri: &str, state: Option<&str>, answer: &[(&str, &str)]) -> String {
        let mut params = answer.to_vec();
        params.extend(state.map(|state| ("state", state)));
        params.push(("iss", &self.issuer));
        with_params(redirect_uri, &params)
    }
}

fn refusal(fault: Fault) -> [(&'static str, &'static str); 2] {
    [("error", fault.kind.as_str()), ("error_description", fault.says)]
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::super::request::Prompt;
    use super::*;

    fn request(prompt: Prompt, max_age_s: Option<u32>) -> AuthorisationRequest {
        AuthorisationRequest {
            redirect_uri: String::new(),
            scopes: Scopes::parse("openid phone"),
            nonce: None,
            challenge: [0; 32],
            prompt,
            max_age_s,
            acr_values: Vec::new(),
            id_token_hint: None,
        }
    }

    #[test]
    fn a_sign_in_is_asked_for_when_it_is_missing_or_old() {
        let begun = DateTime::UNIX_EPOCH + TimeDelta::hours(9);
        let ago = |seconds| Some(begun - TimeDelta::seconds(seconds));
        let all = Scopes::parse("openid phone profile");
        let need = |prompt: Prompt, max_age, at: Option<DateTime<Utc>>| {
            let signed_in = at.map(|at| (at, ACR_VALUES[0]));
            decide(&request(prompt, max_age), signed_in, &all, Word::Unsaid, begun).map_err(|fault| fault.kind)
        };
        let (plain, login) = (Prompt::default(), Prompt { login: true, ..Prompt::default() });
        let none = Prompt { none: true, ..Prompt::default() };
        assert_eq!(need(plain, None, None), Ok(Need::SignIn));
        assert_eq!(need(plain, None, ago(3_600)), Ok(Need::Nothing));
        assert_eq!(need(plain, Some(60), ago(60)), Ok(Need::Nothing));
        assert_eq!(need(plain, Some(60), ago(61)), Ok(Need::SignIn));
        assert_eq!(need(plain, Some(0), ago(1)), Ok(Need::SignIn));
        assert_eq!(need(plain, Some(0), ago(0)), Ok(Need::Nothing), "signed in since");
        assert_eq!(need(login, None, ago(1)), Ok(Need::SignIn));
        assert_eq!(need(login, None, ago(-1)), Ok(Need::Nothing), "signed in since");
        assert_eq!(need(none, None, None), Err(FaultKind::LoginRequired));
        assert_eq!(need(none, Some(60), ago(61)), Err(FaultKind::LoginRequired));
        assert_eq!(need(none, None, ago(1)), Ok(Need::Nothing));
    }

    #[test]
    fn a_wish_for_another_sign_in_is_offered_once_and_never_demanded() {
        let begun = DateTime::UNIX_EPOCH + TimeDelta::hours(9);
        let all = Scopes::parse("openid phone");
        let [code, vneid] = ACR_VALUES;
        let need = |none, wish: &str, at, acr| {
            let acr_values = vec![wish.to_owned()];
            let request = AuthorisationRequest { acr_values, ..request(Prompt { none, ..Prompt::default() }, None) };
            decide(&request, Some((at, acr)), &all, Word::Unsaid, begun).map_err(|fault| fault.kind)
        };
        let before = begun - TimeDelta::seconds(1);
        assert_eq!(need(false, vneid, before, code), Ok(Need::SignIn));
        assert_eq!(need(false, vneid, begun, code), Ok(Need::Nothing), "offered, and the citizen chose a code");
        assert_eq!(need(true, vneid, before, code), Ok(Need::Nothing), "no page may be shown");
        assert_eq!(need(false, vneid, before, vneid), Ok(Need::Nothing));
        assert_eq!(need(false, code, before, vneid), Ok(Need::Nothing));
        assert_eq!(need(false, "gold", before, code), Ok(Need::Nothing));
    }

    #[test]
    fn a_consent_is_asked_for_when_it_lacks_something_or_the_client_wishes() {
        let now = DateTime::UNIX_EPOCH;
        let need = |prompt, consented: &str, word| {
            decide(&request(prompt, None), Some((now, ACR_VALUES[0])), &Scopes::parse(consented), word, now)
                .map_err(|fault| fault.kind)
        };
        let (plain, asked) = (Prompt::default(), Prompt { consent: true, ..Prompt::default() });
        assert_eq!(need(plain, "openid", Word::Unsaid), Ok(Need::Consent));
        assert_eq!(need(plain, "openid phone", Word::Unsaid), Ok(Need::Nothing));
        assert_eq!(need(asked, "openid phone", Word::Unsaid), Ok(Need::Consent));
        assert_eq!(need(asked, "", Word::Agreed), Ok(Need::Nothing));
        let none = Prompt { none: true, ..Prompt::default() };
        assert_eq!(need(none, "openid", Word::Unsaid), Err(FaultKind::ConsentRequired));
    }
}

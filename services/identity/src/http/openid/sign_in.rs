//! `POST /oauth2/sign-in`: the forms of the hosted pages. Plain HTML: they work without any script.
//!
//! Each form carries the sealed ticket of its sign-in, bound to the browser's cookie; a form of another site has no such ticket.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use platform::http::Language;
use platform::problem::Problem;

use super::super::App;
use super::super::address::ClientAddress;
use super::cookie::Browser;
use super::page::{self, Face, Notice};
use super::{OAuthError, form, refuse};
use crate::Identity;
use crate::audit::Origin;
use crate::challenge::{Ask, Code, Purpose};
use crate::device::{Announcement, DeviceName};
use crate::error::Error;
use crate::openid::authorise::{Page, Step, Word};
use crate::openid::params::Params;
use crate::openid::ticket::{Sent, Ticket};
use crate::phone::Phone;
use crate::session::{Arrival, Opened, Opening, Seat};
use crate::vneid::sign_in::{Taken, Visitor};

/// A person at the hosted pages.
pub(super) struct Visit {
    pub identity: Arc<Identity>,
    pub browser: Browser,
    pub ticket: Ticket,
    pub address: Option<IpAddr>,
}

/// What a form asks for.
enum Action {
    /// To have a code sent to the number that was typed.
    Phone,
    /// To be let in by VNeID.
    Vneid,
    /// To have another code sent to the same number.
    Again,
    /// To be let in by the code that was typed.
    Code,
    /// To type another number.
    Other,
    /// To let the client know what it asks, or not.
    Say(Word),
    /// To read the page in another language.
    Speak(Language),
}

impl Action {
    fn of(params: &Params) -> Option<Self> {
        Some(match params.one("action").ok()?? {
            "phone" => Self::Phone,
            "vneid" => Self::Vneid,
            "again" => Self::Again,
            "code" => Self::Code,
            "other" => Self::Other,
            "allow" => Self::Say(Word::Agreed),
            "deny" => Self::Say(Word::Refused),
            "vi" => Self::Speak(Language::Vi),
            "en" => Self::Speak(Language::En),
            _ => return None,
        })
    }
}

/// Go on with a sign-in
///
/// What the forms of the hosted pages send; of no use to programs.
#[utoipa::path(
    post, path = "/oauth2/sign-in", tag = "openid",
    request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "The next page", content_type = "text/html"),
        (status = 303, description = "Back to the client"),
        (status = 400, description = "A page: the form is not of this browser, or too old; `invalid_request` when it is no form", content((String = "text/html"), (OAuthError = "application/json"))),
        (status = 403, description = "The page again: VNeID is not to be believed", content_type = "text/html"),
        (status = 422, description = "The page again, with what is wrong", content_type = "text/html"),
        (status = 429, description = "The page again: wait", content_type = "text/html"),
        (status = 503, description = "The page again: codes can't be sent, or VNeID not be visited, right now", content_type = "text/html"),
    )
)]
pub(in super::super) async fn step(
    State(identity): App,
    ClientAddress(address): ClientAddress,
    language: Language,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let params = match form(&headers, &body) {
        Ok(params) => params,
        Err(fault) => return refuse(fault.into()),
    };
    let browser = match Browser::of(&identity, &headers).await {
        Ok(browser) => browser,
        Err(error) => return page::broken(error, language),
    };
    let sealed = params.one("ticket").ok().flatten().filter(|_| browser.is_known).unwrap_or_default();
    let ticket = Ticket::open(sealed, browser.device, &identity.vault, identity.now());
    let (Some(ticket), Some(action)) = (ticket, Action::of(&params)) else {
        return page::refused("form", language);
    };
    let mut visit = Visit { identity, browser, ticket, address };
    match action {
        Action::Phone => visit.send(params.one("phone").ok().flatten().unwrap_or_default().to_owned()).await,
        Action::Vneid => visit.go_to_vneid().await,
        Action::Again => match visit.ticket.sent.clone() {
            Some(sent) => visit.send(sent.phone).await,
            None => proceed(visit, Word::Unsaid).await,
        },
        Action::Code => visit.enter(params.one("code").ok().flatten().unwrap_or_default()).await,
        Action::Other => {
            visit.ticket.sent = None;
            visit.ask_number(None).await
        }
        Action::Say(word) => proceed(visit, word).await,
        Action::Speak(language) => {
            language.tag().clone_into(&mut visit.ticket.language);
            if visit.ticket.sent.is_some() { visit.ask_code(None).await } else { proceed(visit, Word::Unsaid).await }
        }
    }
}

/// Judges the request and shows what comes next.
pub(super) async fn proceed(visit: Visit, word: Word) -> Response {
    let origin = visit.origin();
    let step = visit.identity.proceed(&visit.ticket, visit.browser.session.as_ref(), (word, origin)).await;
    match step {
        Err(error) => page::broken(error, visit.ticket.language()),
        Ok(Step::Refused(why)) => page::refused(why, visit.ticket.language()),
        Ok(Step::Back(place)) => visit.leave(&place),
        Ok(Step::SignIn(asked)) => {
            let face = visit.phone_face(asked.login_hint.clone());
            visit.show(&asked, face, None)
        }
        Ok(Step::Consent(asked, scopes)) => {
            let session = visit.browser.session.as_ref().expect("consent is asked of somebody who signed in");
            match visit.identity.citizen(session.citizen).await {
                Ok(citizen) => visit.show(&asked, Face::Consent { phone: citizen.phone_masked(), scopes }, None),
                Err(error) => page::broken(error, visit.ticket.language()),
            }
        }
    }
}

impl Visit {
    fn origin(&self) -> Origin {
        let session = self.browser.session.as_ref().map(|session| session.id);
        Origin { address: self.address, session, device: Some(self.browser.device) }
    }

    /// Sends a code to a number, and asks for it.
    async fn send(mut self, typed: String) -> Response {
        let phone: Phone = match self.identity.numbering.parse(&typed) {
            Ok(phone) => phone,
            Err(fault) => return self.ask_number(Some((Error::from(fault), typed))).await,
        };
        let ask = Ask {
            phone: phone.clone(),
            purpose: Purpose::SignIn,
            device: self.browser.device,
            language: self.ticket.language(),
            address: self.address,
        };
        match self.identity.ask_code(ask).await {
            Ok(asked) => {
                let (phone, masked) = (phone.e164().to_owned(), phone.masked());
                self.ticket.sent = Some(Sent { challenge: asked.id, phone, masked });
                self.ask_code(None).await
            }
            Err(error) if self.ticket.sent.is_some() => self.ask_code(Some(error)).await,
            Err(error) => self.ask_number(Some((error, typed))).await,
        }
    }

    /// Lets somebody in by a code.
    async fn enter(mut self, typed: &str) -> Response {
        let Some(sent) = self.ticket.sent.clone() else { return proceed(self, Word::Unsaid).await };
        let digits: String = typed.chars().filter(|character| !character.is_whitespace()).collect();
        let Some(code) = Code::parse(&digits) else {
            let fault = Error::Field {
                field: "code", vi: "Mã gồm đúng 6 chữ số.", en: "A code has exactly 6 digits."
            };
            return self.ask_code(Some(fault)).await;
        };
        let opening = Opening {
            seat: Seat::Browser,
            challenge: sent.challenge,
            code,
            device: Some(self.browser.device),
            device_name: self.device_name(),
            public_key: None,
            address: self.address,
        };
        match self.identity.open_session(opening).await {
            Ok(opened) => self.let_in(opened).await,
            Err(error @ (Error::CodeWrong { .. } | Error::AnswersCapped { .. })) => self.ask_code(Some(error)).await,
            Err(error @ (Error::CodeExhausted | Error::CodeExpired | Error::CodeUsed | Error::ChallengeUnknown)) => {
                self.ticket.sent = None;
                self.ask_number(Some((error, sent.phone))).await
            }
            Err(error) => page::broken(error, self.ticket.language()),
        }
    }

    /// Goes on with whoever has just signed in in this browser.
    async fn let_in(mut self, opened: Opened) -> Response {
        // Whoever was here before is signed out, as if they had done it themself.
        let origin = self.origin();
        let former = self.browser.session.take().filter(|former| former.citizen != opened.citizen.id);
        if let Some(former) = former
            && let Err(error) = self.identity.sign_out_browser(&former, origin).await
        {
            return page::broken(error, self.ticket.language());
        }
        let token = opened.tokens.refresh;
        self.browser.session = match self.identity.browser_session(&token).await {
            Ok(session) => session,
            Err(error) => return page::broken(error, self.ticket.language()),
        };
        self.browser.sign_in(&token, self.identity.config.lifetimes.browser_session_seconds);
        self.ticket.sent = None;
        proceed(self, Word::Unsaid).await
    }

    /// Sends the browser to VNeID.
    async fn go_to_vneid(self) -> Response {
        let ticket = self.ticket.seal(&self.identity.vault);
        let visitor = Visitor::Browser { ticket: &ticket };
        match self.identity.begin_vneid_sign_in(self.browser.device, visitor, self.address).await {
            Ok(begun) => {
                let mut response = page::onward(begun.url.as_str(), self.ticket.language());
                self.browser.keep(response.headers_mut());
                response
            }
            Err(error) => self.ask_number(Some((error, String::new()))).await,
        }
    }

    /// Lets somebody in who came back from VNeID.
    pub(super) async fn finish_vneid(self, taken: &Taken, code: &str) -> Response {
        let device = Announcement { id: self.browser.device, name: self.device_name(), public_key: None };
        let arrival = Arrival { seat: Seat::Browser, device, address: self.address };
        match self.identity.finish_vneid_sign_in(taken, code, &arrival).await {
            Ok(opened) => self.let_in(opened).await,
            Err(error) => self.ask_number(Some((error, String::new()))).await,
        }
    }

    /// What the browser is called among its citizen's devices.
    fn device_name(&self) -> DeviceName {
        let name = match self.ticket.language() {
            Language::Vi => "Trình duyệt web",
            Language::En => "Web browser",
        };
        DeviceName::parse(name).expect("a short name")
    }

    fn phone_face(&self, value: Option<String>) -> Face {
        Face::Phone { value, vneid: self.identity.vneid_page_redirect().is_some() }
    }

    /// Shows the page that asks for a number, with what was wrong with the last one.
    pub(super) async fn ask_number(self, fault: Option<(Error, String)>) -> Response {
        let (notice, value) = match fault {
            Some((error, typed)) => (Some(Notice::of(error, self.ticket.language())), Some(typed)),
            None => (None, None),
        };
        let face = self.phone_face(value);
        self.show_for_client(face, notice).await
    }

    /// Shows the page that asks for a code.
    async fn ask_code(self, fault: Option<Error>) -> Response {
        let notice = fault.map(|error| Notice::of(error, self.ticket.language()));
        let masked = self.ticket.sent.as_ref().map(|sent| sent.masked.clone()).unwrap_or_default();
        self.show_for_client(Face::Code { phone: masked }, notice).await
    }

    /// Shows a page that stands before the request is judged again.
    async fn show_for_client(self, face: Face, notice: Option<Notice>) -> Response {
        // As if nobody were signed in, so that the step tells the client and no more.
        match self.identity.proceed(&self.ticket, None, (Word::Unsaid, self.origin())).await {
            Ok(Step::SignIn(asked)) => self.show(&asked, face, notice),
            Ok(Step::Back(place)) => self.leave(&place),
            Ok(Step::Refused(why)) => page::refused(why, self.ticket.language()),
            Ok(Step::Consent(..)) => page::refused("form", self.ticket.language()),
            Err(error) => page::broken(error, self.ticket.language()),
        }
    }

    fn show(self, asked: &Page, face: Face, notice: Option<Notice>) -> Response {
        let ticket = self.ticket.seal(&self.identity.vault);
        let mut response = page::show(asked, &face, (&ticket, self.ticket.language()), notice);
        self.browser.keep(response.headers_mut());
        response
    }

    fn leave(self, place: &str) -> Response {
        let mut response = leave(place);
        self.browser.keep(response.headers_mut());
        response
    }
}

/// Sends the browser to a URI.
pub(super) fn leave(place: &str) -> Response {
    let Ok(place) = HeaderValue::from_str(place) else {
        return Problem::new(platform::problem::INTERNAL)
            .source("a URI of a client is no header value")
            .into_response();
    };
    let mut response = StatusCode::SEE_OTHER.into_response();
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, place);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

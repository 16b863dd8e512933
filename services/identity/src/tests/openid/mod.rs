//! The OpenID provider, as a browser and a client see it.

mod end;
mod endpoint;
mod page;
mod registry;
mod wish;

use std::collections::BTreeMap;

use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;
use url::Url;
use url::form_urlencoded::{Serializer, parse};
use uuid::Uuid;

use crate::device::DeviceId;
use crate::openid::client::sha256;
use crate::testing::Stage;

pub(super) const ISSUER: &str = "http://localhost:8080";
pub(super) const CALLBACK: &str = "https://tickets.example/cb";
/// RFC 7636, appendix B.
pub(super) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const PHONE: &str = "0912345678";

pub(super) struct Page {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
}

impl Page {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The parameters with which the browser goes back to the client.
    pub(super) fn back(&self) -> BTreeMap<String, String> {
        assert_eq!(self.status, StatusCode::SEE_OTHER, "{}", self.text);
        let place = Url::parse(self.header("location")).expect("a URI");
        assert!(self.header("location").starts_with(CALLBACK), "{place}");
        place.query_pairs().into_owned().collect()
    }

    pub(super) fn ticket(&self) -> String {
        let (_, rest) = self.text.split_once("name=\"ticket\" value=\"").expect("a form with a ticket");
        rest.split_once('"').expect("the end of the value").0.to_owned()
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("{} is no JSON", self.text))
    }

    pub(super) fn error(&self) -> (u16, String) {
        (self.status.as_u16(), self.json()["error"].as_str().unwrap_or_default().to_owned())
    }
}

/// A browser: keeps cookies, follows nothing.
#[derive(Default)]
pub(super) struct Browser {
    cookies: BTreeMap<String, String>,
}

impl Browser {
    pub(super) async fn get(&mut self, stage: &Stage, place: &str) -> Page {
        self.send(stage, Request::builder().method(Method::GET).uri(place), String::new()).await
    }

    pub(super) async fn post(&mut self, stage: &Stage, place: &str, fields: &[(&str, &str)]) -> Page {
        let request = Request::builder().method(Method::POST).uri(place);
        let request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        self.send(stage, request, encode(fields)).await
    }

    async fn send(&mut self, stage: &Stage, request: http::request::Builder, body: String) -> Page {
        let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = request.header(header::ACCEPT_LANGUAGE, "en").header(header::COOKIE, cookies.join("; "));
        let page = send(stage, request.body(body.into()).expect("a request")).await;
        for value in page.headers.get_all(header::SET_COOKIE) {
            let text = value.to_str().expect("ASCII");
            assert!(text.contains("; HttpOnly; SameSite=Lax"), "{text}");
            let (name, rest) = text.split_once('=').expect("a cookie");
            let value = rest.split(';').next().unwrap_or_default();
            if text.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        page
    }

    /// Asks for a code at the page and types it; what comes then.
    pub(super) async fn sign_in(&mut self, stage: &Stage, page: &Page, phone: &str) -> Page {
        let asked = self
            .post(stage, "/oauth2/sign-in", &[("ticket", &page.ticket()), ("action", "phone"), ("phone", phone)])
            .await;
        assert_eq!(asked.status, StatusCode::OK, "{}", asked.text);
        let code = stage.newest_code().await;
        self.post(stage, "/oauth2/sign-in", &[("ticket", &asked.ticket()), ("action", "code"), ("code", &code)]).await
    }

    /// Signs in, agrees, and gives the code.
    pub(super) async fn code(&mut self, stage: &Stage, place: &str) -> String {
        let page = self.get(stage, place).await;
        let page = self.sign_in(stage, &page, PHONE).await;
        let page = match page.status {
            StatusCode::OK => self.allow(stage, &page).await,
            _ => page,
        };
        page.back().remove("code").unwrap_or_else(|| panic!("no code in {}", page.header("location")))
    }

    pub(super) async fn allow(&mut self, stage: &Stage, page: &Page) -> Page {
        self.post(stage, "/oauth2/sign-in", &[("ticket", &page.ticket()), ("action", "allow")]).await
    }
}

/// A program without cookies.
pub(super) async fn send(stage: &Stage, request: Request<Body>) -> Page {
    let response = stage.router.clone().oneshot(request).await.expect("an answer");
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.expect("a body").to_bytes();
    Page { status: parts.status, headers: parts.headers, text: String::from_utf8(bytes.to_vec()).expect("UTF-8") }
}

pub(super) fn encode(fields: &[(&str, &str)]) -> String {
    Serializer::new(String::new()).extend_pairs(fields).finish()
}

/// Posts a form of a program.
pub(super) async fn program(stage: &Stage, place: &str, fields: &[(&str, &str)]) -> Page {
    let request = Request::builder().method(Method::POST).uri(place);
    let request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    send(stage, request.body(encode(fields).into()).expect("a request")).await
}

/// A request with a token.
pub(super) async fn with_token(stage: &Stage, method: Method, place: &str, token: &str) -> Page {
    let request = Request::builder().method(method).uri(place).header(header::AUTHORIZATION, format!("Bearer {token}"));
    send(stage, request.body(Body::empty()).expect("a request")).await
}

/// The claims of a token; its signature is not looked at.
pub(super) fn claims(token: &str) -> Value {
    let middle = token.split('.').nth(1).expect("three parts");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(middle).expect("base64url")).expect("JSON")
}

/// A registered client.
pub(super) struct App {
    pub(super) id: String,
    pub(super) secret: Option<String>,
}

impl App {
    /// Where a browser asks for a code, with parameters of the test's own in place of those of the same name.
    pub(super) fn ask(&self, changed: &[(&str, &str)]) -> String {
        let challenge = URL_SAFE_NO_PAD.encode(sha256(VERIFIER.as_bytes()));
        let usual = [
            ("client_id", self.id.as_str()),
            ("redirect_uri", CALLBACK),
            ("response_type", "code"),
            ("scope", "openid profile phone"),
            ("state", "xyz"),
            ("nonce", "n-0S6"),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        let kept = usual.iter().filter(|(name, _)| changed.iter().all(|(other, _)| other != name));
        let fields: Vec<(&str, &str)> = kept.chain(changed).copied().filter(|(_, value)| !value.is_empty()).collect();
        format!("/oauth2/authorize?{}", encode(&fields))
    }

    fn identified<'a>(&'a self, fields: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let secret = self.secret.as_deref().map(|secret| ("client_secret", secret));
        [("client_id", self.id.as_str())].into_iter().chain(secret).chain(fields.iter().copied()).collect()
    }

    pub(super) async fn post(&self, stage: &Stage, place: &str, fields: &[(&str, &str)]) -> Page {
        program(stage, place, &self.identified(fields)).await
    }

    pub(super) async fn exchange(&self, stage: &Stage, code: &str) -> Page {
        let fields = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", CALLBACK),
            ("code_verifier", VERIFIER),
        ];
        self.post(stage, "/oauth2/token", &fields).await
    }

    pub(super) async fn refresh(&self, stage: &Stage, token: &str) -> Page {
        let fields = [("grant_type", "refresh_token"), ("refresh_token", token)];
        self.post(stage, "/oauth2/token", &fields).await
    }

    pub(super) async fn introspect(&self, stage: &Stage, token: &str) -> Value {
        let answer = self.post(stage, "/oauth2/introspect", &[("token", token)]).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        answer.json()
    }
}

impl Stage {
    /// The code that was sent last.
    pub(super) async fn newest_code(&self) -> String {
        let id: Uuid = sqlx::query_scalar("SELECT id FROM identity.challenge ORDER BY id DESC LIMIT 1")
            .fetch_one(&self.admin())
            .await
            .expect("a challenge");
        self.identity.take_code(id.into()).await.expect("the code waits").code.expose().to_owned()
    }

    /// An access token of somebody with a role.
    pub(super) async fn officer(&self, role: &str) -> String {
        let opened = self.sign_in("0987654321", DeviceId::generate()).await;
        sqlx::query("INSERT INTO identity.role_grant (id, user_id, role, granted_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING")
            .bind(Uuid::now_v7())
            .bind(opened.citizen.id.uuid())
            .bind(role)
            .bind(self.identity.now())
            .execute(&self.admin())
            .await
            .expect("a role");
        opened.tokens.access
    }

    /// Registers a client as an admin; `changed` stands in place of what a mini-app has.
    pub(super) async fn register(&self, changed: Value) -> App {
        let admin = self.officer("admin").await;
        let made = self.try_register(&admin, changed, &Uuid::new_v4().to_string()).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
        let made = made.json();
        let text = |name: &str| made[name].as_str().map(str::to_owned);
        App { id: text("client_id").expect("an id"), secret: text("client_secret") }
    }

    pub(super) async fn try_register(&self, token: &str, changed: Value, key: &str) -> Page {
        let mut body = json!({
            "name": { "vi": "Vé tham quan", "en": "Tickets" },
            "access": "confidential",
            "grant_types": ["authorization_code", "refresh_token"],
            "scopes": ["openid", "profile", "phone", "offline_access"],
            "redirect_uris": [CALLBACK],
            "post_logout_redirect_uris": ["https://tickets.example/bye"],
        });
        for (name, value) in changed.as_object().expect("an object") {
            body[name] = value.clone();
        }
        let request = Request::builder().method(Method::POST).uri("/identity/v1/clients");
        let request = request.header(header::AUTHORIZATION, format!("Bearer {token}")).header("idempotency-key", key);
        let request = request.header(header::CONTENT_TYPE, "application/json");
        send(self, request.body(body.to_string().into()).expect("a request")).await
    }
}

/// Pairs of an encoded query.
pub(super) fn pairs(query: &str) -> BTreeMap<String, String> {
    parse(query.as_bytes()).into_owned().collect()
}

//! An OpenID provider for tests of the wall's side: gives what a test has it give, counts who asks, can go away.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::extract::{Form, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use platform::auth::{Claims, LocalIssuer, TOKEN_AUDIENCE, TOKEN_TYPE};
use platform::clock::Clock;
use platform::task::Shutdown;
use serde_json::{Value, json};
use uuid::Uuid;

/// What the provider calls itself: the issuer of the tests' tokens.
pub(crate) const ISSUER: &str = "http://localhost:8080";
/// How long its access tokens live, in seconds.
pub(crate) const TOKEN_LIFE_S: i64 = 600;

/// What the next sign-in gives.
#[derive(Clone)]
pub(crate) struct Person {
    pub(crate) user: Uuid,
    pub(crate) roles: Vec<&'static str>,
    /// What the ID token says in place of what is right.
    pub(crate) forged: Value,
}

struct Inner {
    issuer: LocalIssuer,
    clock: Clock,
    client: Uuid,
    away: AtomicBool,
    refreshes: AtomicUsize,
    person: Mutex<Person>,
    /// By code: the nonce of its request.
    codes: Mutex<BTreeMap<String, String>>,
    /// The refresh token that is good, with its session; nothing once it was replayed.
    refresh: Mutex<Option<(String, Uuid)>>,
}

/// The provider.
#[derive(Clone)]
pub(crate) struct Provider {
    inner: Arc<Inner>,
    pub(crate) url: String,
    _shutdown: Arc<Shutdown>,
}

impl Provider {
    pub(crate) async fn start(issuer: LocalIssuer, clock: Clock, client: Uuid) -> Self {
        let person = Person { user: platform::id::new(), roles: vec!["ioc.operator"], forged: json!({}) };
        let inner = Arc::new(Inner {
            issuer,
            clock,
            client,
            away: AtomicBool::new(false),
            refreshes: AtomicUsize::new(0),
            person: Mutex::new(person),
            codes: Mutex::default(),
            refresh: Mutex::default(),
        });
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/oauth2/token", post(token))
            .with_state(inner.clone());
        let shutdown = Shutdown::new();
        let url = crate::stage::serve(router, &shutdown).await;
        Self { inner, url, _shutdown: Arc::new(shutdown) }
    }

    /// Goes away, or comes back.
    pub(crate) fn be_away(&self, away: bool) {
        self.inner.away.store(away, Ordering::SeqCst);
    }

    /// How often tokens were renewed.
    pub(crate) fn refreshes(&self) -> usize {
        self.inner.refreshes.load(Ordering::SeqCst)
    }

    /// Changes who signs in.
    pub(crate) fn signs_in(&self, change: impl FnOnce(&mut Person)) {
        change(&mut self.inner.person.lock().expect("not poisoned"));
    }

    pub(crate) fn person(&self) -> Person {
        self.inner.person.lock().expect("not poisoned").clone()
    }

    /// Ends the family: the next refresh is refused.
    pub(crate) fn end_family(&self) {
        *self.inner.refresh.lock().expect("not poisoned") = None;
    }

    /// The session that the last tokens are of.
    pub(crate) fn session(&self) -> Option<Uuid> {
        self.inner.refresh.lock().expect("not poisoned").as_ref().map(|(_, session)| *session)
    }

    /// What a person who went to a place of ours comes back with.
    pub(crate) fn code_for(&self, nonce: &str) -> String {
        let code = Uuid::new_v4().to_string();
        self.inner.codes.lock().expect("not poisoned").insert(code.clone(), nonce.to_owned());
        code
    }
}

impl Inner {
    fn tokens(&self, nonce: Option<&str>, session: Uuid) -> Value {
        let (person, now) = (self.person.lock().expect("not poisoned").clone(), self.clock.now().timestamp());
        let access = Claims {
            iss: ISSUER.to_owned(),
            sub: person.user,
            aud: TOKEN_AUDIENCE.to_owned(),
            client_id: self.client.to_string(),
            exp: now + TOKEN_LIFE_S,
            iat: now,
            jti: platform::id::new(),
            sid: session,
            auth_time: now,
            acr: String::new(),
            amr: Vec::new(),
            scope: "openid".to_owned(),
            roles: person.roles.iter().map(|role| (*role).to_owned()).collect(),
            role_epoch: 0,
            agency: None,
        };
        let mut said = json!({
            "iss": ISSUER, "sub": person.user, "aud": self.client, "sid": session,
            "exp": now + TOKEN_LIFE_S, "iat": now, "nonce": nonce,
        });
        for (name, value) in person.forged.as_object().into_iter().flatten() {
            said[name] = value.clone();
        }
        let refresh = Uuid::new_v4().to_string();
        *self.refresh.lock().expect("not poisoned") = Some((refresh.clone(), session));
        json!({
            "access_token": self.issuer.sign(TOKEN_TYPE, &access),
            "token_type": "Bearer",
            "expires_in": TOKEN_LIFE_S,
            "refresh_token": refresh,
            "id_token": self.issuer.sign("JWT", &said),
        })
    }
}

fn refuse(error: &str) -> Response {
    (StatusCode::BAD_REQUEST, Json(json!({ "error": error }))).into_response()
}

async fn discovery(State(inner): State<Arc<Inner>>) -> Response {
    if inner.away.load(Ordering::SeqCst) {
        return StatusCode::BAD_GATEWAY.into_response();
    }
    Json(json!({
        "issuer": ISSUER,
        "authorization_endpoint": format!("{ISSUER}/oauth2/authorize"),
        "token_endpoint": format!("{ISSUER}/oauth2/token"),
        "end_session_endpoint": format!("{ISSUER}/oauth2/end-session"),
    }))
    .into_response()
}

async fn token(State(inner): State<Arc<Inner>>, Form(form): Form<BTreeMap<String, String>>) -> Response {
    if inner.away.load(Ordering::SeqCst) {
        return StatusCode::BAD_GATEWAY.into_response();
    }
    let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    if field("grant_type") == "authorization_code" {
        let nonce = inner.codes.lock().expect("not poisoned").remove(field("code"));
        return match nonce {
            Some(nonce) if field("code_verifier").len() == 43 => {
                Json(inner.tokens(Some(&nonce), platform::id::new())).into_response()
            }
            _ => refuse("invalid_grant"),
        };
    }
    inner.refreshes.fetch_add(1, Ordering::SeqCst);
    let known = inner.refresh.lock().expect("not poisoned").take();
    match known {
        Some((good, session)) if good == field("refresh_token") => Json(inner.tokens(None, session)).into_response(),
        // Whatever else: a replay, which ends the family.
        _ => refuse("invalid_grant"),
    }
}

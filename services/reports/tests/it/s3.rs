//! A store that speaks as much S3 as photos need, and checks signatures for real (AWS Signature Version 4, header form).

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use chrono::{NaiveDateTime, TimeDelta, Utc};
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, Method, StatusCode, Uri};
use platform::config::Secret;
use reports::config::S3Config;
use sha2::{Digest as _, Sha256};
use tokio::task::JoinHandle;

const BUCKET: &str = "photos";
const REGION: &str = "vn-1";
const KEY: &str = "AKHUE";
const SECRET: &str = "a secret of the city's";
/// How far the time of a request may be from now.
const SKEW: TimeDelta = TimeDelta::minutes(15);

/// What goes wrong with the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It fails before it stores anything.
    Fails,
    /// It stores, and its answer never comes.
    LosesAnswers,
    /// It takes the request and says nothing.
    Hangs,
    /// It knows the key, and the key may not write.
    Forbids,
}

#[derive(Default)]
struct Shelf {
    objects: HashMap<String, Bytes>,
    trouble: Option<Trouble>,
    /// Requests that came.
    asked: usize,
    /// Requests whose signature did not hold.
    forged: usize,
}

/// A running store.
pub(crate) struct S3 {
    shelf: Arc<Mutex<Shelf>>,
    address: std::net::SocketAddr,
    serving: JoinHandle<()>,
}

impl S3 {
    pub(crate) async fn start() -> Self {
        let shelf = Arc::<Mutex<Shelf>>::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let router = axum::Router::new().fallback(answer).with_state(shelf.clone());
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        Self { shelf, address, serving }
    }

    /// Settings that reach it.
    pub(crate) fn settings(&self) -> S3Config {
        S3Config {
            endpoint: format!("http://{}", self.address).parse().expect("a URL"),
            bucket: BUCKET.to_owned(),
            region: REGION.to_owned(),
            key: Secret::new(KEY),
            secret: Secret::new(SECRET),
        }
    }

    /// What goes wrong from now on.
    pub(crate) fn trouble(&self, trouble: Option<Trouble>) {
        self.shelf.lock().expect("not poisoned").trouble = trouble;
    }

    /// Names of what it keeps.
    pub(crate) fn names(&self) -> Vec<String> {
        self.shelf.lock().expect("not poisoned").objects.keys().cloned().collect()
    }

    /// Loses all that it keeps.
    pub(crate) fn lose_all(&self) {
        self.shelf.lock().expect("not poisoned").objects.clear();
    }

    /// How many requests came.
    pub(crate) fn asked(&self) -> usize {
        self.shelf.lock().expect("not poisoned").asked
    }

    /// How many requests came with a signature that did not hold.
    pub(crate) fn forged(&self) -> usize {
        self.shelf.lock().expect("not poisoned").forged
    }

    /// Goes away; nobody listens at its port any more.
    pub(crate) async fn go_away(&mut self) {
        self.serving.abort();
        (&mut self.serving).await.ok();
    }
}

async fn answer(
    State(shelf): State<Arc<Mutex<Shelf>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let trouble = {
        let mut shelf = shelf.lock().expect("not poisoned");
        shelf.asked += 1;
        shelf.trouble
    };
    if !is_signed(&method, &uri, &headers, &body) {
        shelf.lock().expect("not poisoned").forged += 1;
        return refused(StatusCode::FORBIDDEN, "SignatureDoesNotMatch");
    }
    let Some(name) = uri.path().strip_prefix(&format!("/{BUCKET}/")).map(str::to_owned) else {
        return refused(StatusCode::NOT_FOUND, "NoSuchBucket");
    };
    match trouble {
        Some(Trouble::Fails) => return refused(StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
        Some(Trouble::Forbids) => return refused(StatusCode::FORBIDDEN, "AccessDenied"),
        Some(Trouble::Hangs) => return std::future::pending().await,
        Some(Trouble::LosesAnswers) | None => {}
    }
    let answer = match method {
        Method::PUT => {
            shelf.lock().expect("not poisoned").objects.insert(name, body);
            (StatusCode::OK, [("etag", "\"1\"")]).into_response()
        }
        Method::DELETE => {
            shelf.lock().expect("not poisoned").objects.remove(&name);
            StatusCode::NO_CONTENT.into_response()
        }
        Method::GET => match shelf.lock().expect("not poisoned").objects.get(&name) {
            Some(found) => {
                let headers = [("etag", "\"1\""), ("last-modified", "Sat, 22 Nov 2025 05:00:00 GMT")];
                (StatusCode::OK, headers, found.clone()).into_response()
            }
            None => refused(StatusCode::NOT_FOUND, "NoSuchKey"),
        },
        _ => refused(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
    };
    if trouble == Some(Trouble::LosesAnswers) {
        return std::future::pending().await;
    }
    answer
}

fn refused(status: StatusCode, code: &str) -> Response {
    (status, format!("<Error><Code>{code}</Code><Message>{code}</Message></Error>")).into_response()
}

/// Whether the request was signed with the store's secret, about this body, a moment ago.
fn is_signed(method: &Method, uri: &Uri, headers: &HeaderMap, body: &Bytes) -> bool {
    signature_holds(method, uri, headers, body).unwrap_or(false)
}

fn signature_holds(method: &Method, uri: &Uri, headers: &HeaderMap, body: &Bytes) -> Option<bool> {
    let header = |name: &str| headers.get(name)?.to_str().ok();
    let said = header("authorization")?.strip_prefix("AWS4-HMAC-SHA256 ")?;
    let part = |name: &str| said.split(", ").find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='));
    let (credential, signed, signature) = (part("Credential")?, part("SignedHeaders")?, part("Signature")?);
    let (time, payload) = (header("x-amz-date")?, header("x-amz-content-sha256")?);
    let at = NaiveDateTime::parse_from_str(time, "%Y%m%dT%H%M%SZ").ok()?.and_utc();
    let day = time.get(..8)?;
    let scope = format!("{day}/{REGION}/s3/aws4_request");
    let covers = |name: &str| signed.split(';').any(|covered| covered == name);
    if (Utc::now() - at).abs() > SKEW
        || credential != format!("{KEY}/{scope}")
        || payload != hex::encode(Sha256::digest(body))
        || !["host", "x-amz-date", "x-amz-content-sha256"].into_iter().all(covers)
    {
        return Some(false);
    }
    let mut lines = String::new();
    for name in signed.split(';') {
        lines.push_str(&format!("{name}:{}\n", header(name)?.trim()));
    }
    let query = uri.query().unwrap_or_default();
    let request = format!("{method}\n{}\n{query}\n{lines}\n{signed}\n{payload}", uri.path());
    let digest = hex::encode(Sha256::digest(request));
    let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{digest}");
    let mut key = format!("AWS4{SECRET}").into_bytes();
    for part in [day, REGION, "s3", "aws4_request"] {
        key = hmac(&key, part);
    }
    Some(hex::encode(hmac(&key, &to_sign)) == signature)
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

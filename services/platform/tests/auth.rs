//! The token check from outside: what is accepted, and every way in which a token is refused.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use platform::auth::{AuthError, Claims, KeySource, Principal, PublicKeys, Revocation, Revocations, Revoked, Verifier};
use platform::clock::Clock;
use platform::task::Shutdown;
use uuid::Uuid;

const ISSUER: &str = "http://localhost:8080";
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Key ids with their PKCS #8 documents.
type SigningKeys = Vec<(String, Vec<u8>)>;

/// An issuer in memory.
#[derive(Clone)]
struct Issuer {
    keys: Arc<Mutex<SigningKeys>>,
    revoked: Arc<Mutex<Vec<Revocation>>>,
    reads: Arc<AtomicU32>,
    /// Whether revocations can't be read.
    silent: Arc<AtomicBool>,
    clock: Clock,
}

impl Issuer {
    fn new() -> Self {
        let issuer = Self {
            keys: Arc::default(),
            revoked: Arc::default(),
            reads: Arc::default(),
            silent: Arc::default(),
            clock: Clock::test(),
        };
        issuer.add_key("k1");
        issuer
    }

    fn add_key(&self, id: &str) {
        let pair = Ed25519KeyPair::generate().expect("keys can be made");
        let document = pair.to_pkcs8v1().expect("a new key has a document");
        self.keys.lock().expect("not poisoned").push((id.to_owned(), document.as_ref().to_vec()));
    }

    fn claims(&self) -> Claims {
        let now = self.clock.now().timestamp();
        Claims {
            iss: ISSUER.to_owned(),
            sub: Uuid::now_v7(),
            aud: "trangtien".to_owned(),
            client_id: "app".to_owned(),
            exp: now + 600,
            iat: now,
            jti: Uuid::now_v7(),
            sid: Uuid::now_v7(),
            auth_time: now,
            acr: String::new(),
            amr: vec!["otp".to_owned()],
            scope: "wallet".to_owned(),
            roles: Vec::new(),
            role_epoch: 0,
            agency: None,
        }
    }

    fn sign(&self, key: usize, change: impl FnOnce(&mut Header, &mut Claims)) -> String {
        let (id, document) = self.keys.lock().expect("not poisoned")[key].clone();
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some("at+jwt".to_owned());
        header.kid = Some(id);
        let mut claims = self.claims();
        change(&mut header, &mut claims);
        jsonwebtoken::encode(&header, &claims, &EncodingKey::from_ed_der(&document)).expect("signs")
    }
}

#[async_trait]
impl KeySource for Issuer {
    async fn keys(&self) -> Result<PublicKeys, BoxError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        let keys = self.keys.lock().expect("not poisoned");
        let keys: Vec<_> = keys
            .iter()
            .map(|(id, document)| {
                let pair = Ed25519KeyPair::from_pkcs8(document).expect("our own document");
                let x = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
                serde_json::json!({"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": id, "x": x})
            })
            .collect();
        Ok(PublicKeys { jwks_json: serde_json::json!({ "keys": keys }).to_string(), issuer: ISSUER.to_owned() })
    }

    async fn revocations(&self, after: i64) -> Result<Revocations, BoxError> {
        if self.silent.load(Ordering::SeqCst) {
            return Err("revocations can't be read".into());
        }
        let revoked = self.revoked.lock().expect("not poisoned");
        let seen = usize::try_from(after)?;
        Ok(Revocations { items: revoked[seen..].to_vec(), position: i64::try_from(revoked.len())? })
    }
}

async fn started() -> (Issuer, Verifier, Shutdown) {
    let issuer = Issuer::new();
    let (verifier, task) = Verifier::new(issuer.clone(), issuer.clock.clone());
    let shutdown = Shutdown::new();
    tokio::spawn(task.run(shutdown.clone()));
    eventually(|| verifier.is_ready()).await;
    (issuer, verifier, shutdown)
}

async fn eventually(mut holds: impl FnMut() -> bool) {
    tokio::time::timeout(Duration::from_secs(20), async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("holds in time");
}

#[tokio::test]
async fn a_good_token_names_its_bearer() {
    let (issuer, verifier, _shutdown) = started().await;
    let mut subject = Uuid::nil();
    let token = issuer.sign(0, |_, claims| subject = claims.sub);
    let principal = verifier.verify(&token).await.expect("accepted");
    assert_eq!((principal.subject, principal.client.as_str()), (subject, "app"));
    assert_eq!(principal.scopes, ["wallet"]);
}

#[tokio::test]
async fn a_process_that_starts_takes_no_token_before_it_knows_who_was_revoked() {
    let issuer = Issuer::new();
    issuer.silent.store(true, Ordering::SeqCst);
    let mut session = Uuid::nil();
    let ended = issuer.sign(0, |_, claims| session = claims.sid);
    let living = issuer.sign(0, |_, _| ());
    let forget_at = issuer.clock.now().timestamp() + 600;
    issuer.revoked.lock().expect("not poisoned").push(Revocation { what: Revoked::Session(session), forget_at });
    let (verifier, task) = Verifier::new(issuer.clone(), issuer.clock.clone());
    let shutdown = Shutdown::new();
    tokio::spawn(task.run(shutdown.clone()));
    assert_eq!(verifier.verify(&living).await, Err(AuthError::NoKeys));
    issuer.silent.store(false, Ordering::SeqCst);
    eventually(|| verifier.is_ready()).await;
    assert_eq!(verifier.verify(&ended).await, Err(AuthError::Revoked), "from the first moment on");
    verifier.verify(&living).await.expect("accepted");
    shutdown.begin();
}

#[tokio::test]
async fn every_wrong_token_is_refused() {
    let (issuer, verifier, _shutdown) = started().await;
    let good = issuer.sign(0, |_, _| ());
    let parts: Vec<&str> = good.split('.').collect();
    let none_header = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"at+jwt","kid":"k1"}"#);
    let mut confused = Header::new(Algorithm::HS256);
    confused.typ = Some("at+jwt".to_owned());
    confused.kid = Some("k1".to_owned());
    let public = Ed25519KeyPair::from_pkcs8(&issuer.keys.lock().expect("not poisoned")[0].1).expect("our own");
    let confused =
        jsonwebtoken::encode(&confused, &issuer.claims(), &EncodingKey::from_secret(public.public_key().as_ref()));
    let stranger = Issuer::new();
    let cases = [
        ("empty", String::new()),
        ("not a token", "a.b.c".to_owned()),
        ("alg none", format!("{none_header}.{}.", parts[1])),
        ("algorithm confusion", confused.expect("signs")),
        ("changed payload", format!("{}.{}A.{}", parts[0], parts[1], parts[2])),
        ("no signature", format!("{}.{}.", parts[0], parts[1])),
        ("another issuer's key", stranger.sign(0, |_, _| ())),
        ("ID token", issuer.sign(0, |header, _| header.typ = Some("JWT".to_owned()))),
        ("no type", issuer.sign(0, |header, _| header.typ = None)),
        ("unknown key", issuer.sign(0, |header, _| header.kid = Some("k9".to_owned()))),
        ("wrong audience", issuer.sign(0, |_, claims| claims.aud = "other".to_owned())),
        ("wrong issuer", issuer.sign(0, |_, claims| claims.iss = "http://evil".to_owned())),
        ("issued in the future", issuer.sign(0, |_, claims| claims.iat += 3_600)),
        ("too long", "x".repeat(5_000)),
    ];
    for (name, token) in cases {
        assert_eq!(verifier.verify(&token).await, Err(AuthError::Invalid), "{name}");
    }
    let expired = issuer.sign(0, |_, claims| claims.exp = claims.iat - 60);
    assert_eq!(verifier.verify(&expired).await, Err(AuthError::Expired));
}

#[tokio::test]
async fn a_cached_token_still_expires() {
    let (issuer, verifier, _shutdown) = started().await;
    let token = issuer.sign(0, |_, _| ());
    verifier.verify(&token).await.expect("accepted");
    issuer.clock.advance(TimeDelta::seconds(700));
    assert_eq!(verifier.verify(&token).await, Err(AuthError::Expired));
}

#[tokio::test]
async fn a_revoked_session_is_refused_and_its_streams_end() {
    let (issuer, verifier, _shutdown) = started().await;
    let token = issuer.sign(0, |_, _| ());
    let principal: Principal = verifier.verify(&token).await.expect("accepted");
    let stream = tokio::spawn({
        let (verifier, principal) = (verifier.clone(), principal.clone());
        async move { verifier.ended(&principal).await }
    });
    let forget_at = issuer.clock.now().timestamp() + 600;
    let what = Revoked::Session(principal.session);
    issuer.revoked.lock().expect("not poisoned").push(Revocation { what, forget_at });
    tokio::time::timeout(Duration::from_secs(5), stream).await.expect("ended within five seconds").expect("no panic");
    assert_eq!(verifier.verify(&token).await, Err(AuthError::Revoked));
}

#[tokio::test]
async fn a_role_that_is_taken_makes_older_tokens_stale_and_no_others() {
    let (issuer, verifier, _shutdown) = started().await;
    let (officer, session) = (Uuid::now_v7(), Uuid::now_v7());
    let token = |epoch| {
        issuer.sign(0, move |_, claims| {
            (claims.sub, claims.sid, claims.role_epoch) = (officer, session, epoch);
            claims.roles = vec!["ioc.lead".to_owned()];
        })
    };
    let (old, new, stranger) = (token(1), token(2), issuer.sign(0, |_, _| ()));
    let principal: Principal = verifier.verify(&old).await.expect("accepted");
    assert!(principal.has_role("ioc.lead") && !principal.has_role("ioc"));
    let stream = tokio::spawn({
        let verifier = verifier.clone();
        async move { verifier.ended(&principal).await }
    });
    let forget_at = issuer.clock.now().timestamp() + 600;
    // An older revocation that comes later takes nothing back.
    for epoch in [2, 1] {
        let what = Revoked::Roles { subject: officer, epoch };
        issuer.revoked.lock().expect("not poisoned").push(Revocation { what, forget_at });
    }
    tokio::time::timeout(Duration::from_secs(5), stream).await.expect("ended within five seconds").expect("no panic");
    assert_eq!(verifier.verify(&old).await, Err(AuthError::Stale));
    assert_eq!(verifier.verify(&token(0)).await, Err(AuthError::Stale));
    verifier.verify(&new).await.expect("it says what is left, in the same session");
    verifier.verify(&stranger).await.expect("nobody else is touched");
}

#[tokio::test]
async fn a_new_key_is_fetched_when_first_seen() {
    let (issuer, verifier, _shutdown) = started().await;
    issuer.add_key("k2");
    let token = issuer.sign(1, |_, _| ());
    tokio::time::timeout(Duration::from_secs(20), async {
        while verifier.verify(&token).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("the new key is learnt");
}

#[tokio::test]
async fn without_keys_nothing_is_allowed() {
    let issuer = Issuer::new();
    let (verifier, _task) = Verifier::new(issuer.clone(), issuer.clock.clone());
    assert_eq!(verifier.verify(&issuer.sign(0, |_, _| ())).await, Err(AuthError::NoKeys));
}

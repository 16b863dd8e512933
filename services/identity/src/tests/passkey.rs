//! Passkeys with an authenticator in software: registered, asked, answered, replayed, forged, removed.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::device::DeviceId;
use crate::pin::Proof;
use crate::pin::strength::Pin;
use crate::step_up::{Transaction, example};
use crate::testing::Stage;
use crate::tests::http::Answer;
use crate::tests::step_up::Phone;
use crate::vault;

/// What makes an authenticator another one.
type Forge = fn(&mut Authenticator);

const PHONE: &str = "0912345678";
const ORIGIN: &str = "http://localhost:8080";
/// Flags of authenticator data (Web Authentication, section 6.1).
const PRESENT: u8 = 0x01;
const VERIFIED: u8 = 0x04;
const ATTESTED: u8 = 0x40;

/// One credential in software.
pub(super) struct Authenticator {
    key: EcdsaKeyPair,
    id: [u8; 32],
    counter: u32,
    origin: &'static str,
    flags: u8,
}

impl Authenticator {
    fn new() -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).expect("a key");
        Self { key, id: vault::random(), counter: 0, origin: ORIGIN, flags: PRESENT | VERIFIED }
    }

    fn client_data(&self, kind: &str, options: &Value) -> Vec<u8> {
        let challenge = &options["challenge"];
        json!({ "type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": false })
            .to_string()
            .into_bytes()
    }

    fn data(&mut self, party: &str, flags: u8) -> Vec<u8> {
        self.counter += 1;
        let mut data = digest(&SHA256, party.as_bytes()).as_ref().to_vec();
        data.push(self.flags | flags);
        data.extend(self.counter.to_be_bytes());
        data
    }

    /// Answers options for a new passkey, with attestation `none`.
    fn create(&mut self, options: &Value) -> Value {
        let client = self.client_data("webauthn.create", options);
        let mut data = self.data(options["rp"]["id"].as_str().expect("a party"), ATTESTED);
        data.extend([0; 16]);
        data.extend([0, 32]);
        data.extend(self.id);
        let point = self.key.public_key().as_ref();
        // COSE: kty EC2, alg ES256, crv P-256, x, y.
        data.extend([0xa5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01, 0x21, 0x58, 0x20]);
        data.extend(&point[1..33]);
        data.extend([0x22, 0x58, 0x20]);
        data.extend(&point[33..]);
        let mut object = b"\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData\x58".to_vec();
        object.push(u8::try_from(data.len()).expect("short"));
        object.extend(data);
        self.answer(json!({ "clientDataJSON": text(&client), "attestationObject": text(&object) }))
    }

    /// Answers options for a proof.
    fn get(&mut self, options: &Value) -> Value {
        let client = self.client_data("webauthn.get", options);
        let data = self.data(options["rpId"].as_str().expect("a party"), 0);
        let signed = [&data, digest(&SHA256, &client).as_ref()].concat();
        let signature = self.key.sign(&SystemRandom::new(), &signed).expect("signs");
        self.answer(json!({
            "clientDataJSON": text(&client), "authenticatorData": text(&data), "signature": text(signature.as_ref()),
        }))
    }

    fn answer(&self, response: Value) -> Value {
        let id = text(&self.id);
        json!({ "id": id, "rawId": id, "type": "public-key", "clientExtensionResults": {}, "response": response })
    }
}

fn text(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn verdict(answer: &Answer) -> (u16, &str) {
    (answer.status.as_u16(), answer.code())
}

async fn post(stage: &Stage, token: &str, path: &str, body: Value) -> Answer {
    stage.call(Method::POST, path).token(token).json(body).await
}

/// Begins a registration; the options and the challenge.
pub(super) async fn begin(stage: &Stage, token: &str) -> (Value, Value) {
    let asked = post(stage, token, "/identity/v1/me/passkeys/challenges", json!({ "pin": "502917" })).await;
    assert_eq!(asked.status, StatusCode::CREATED, "{}", asked.body);
    (asked.body["public_key"].clone(), asked.body["challenge_id"].clone())
}

async fn finish(stage: &Stage, token: &str, challenge: &Value, credential: Value) -> Answer {
    let body = json!({ "challenge_id": challenge, "name": "Khóa của An", "credential": credential });
    post(stage, token, "/identity/v1/me/passkeys", body).await
}

pub(super) async fn registered(stage: &Stage, token: &str) -> Authenticator {
    let mut authenticator = Authenticator::new();
    let (options, challenge) = begin(stage, token).await;
    let answer = authenticator.create(&options);
    let kept = finish(stage, token, &challenge, answer).await;
    assert_eq!(kept.status, StatusCode::CREATED, "{}", kept.body);
    authenticator
}

async fn challenge(stage: &Stage, token: &str, transaction: &Transaction) -> (Value, Value) {
    let asked = post(stage, token, "/identity/v1/step-ups/challenges", json!({ "transaction": transaction })).await;
    assert_eq!(asked.status, StatusCode::CREATED, "{}", asked.body);
    (asked.body["public_key"].clone(), asked.body["challenge_id"].clone())
}

fn proof(challenge: &Value, credential: &Value) -> Value {
    json!({ "method": "passkey", "transaction": example(), "challenge_id": challenge, "credential": credential })
}

async fn prove(stage: &Stage, token: &str, body: Value) -> Answer {
    post(stage, token, "/identity/v1/step-ups", body).await
}

#[tokio::test]
async fn a_passkey_is_registered_listed_used_and_removed() {
    let stage = Stage::new().await;
    let token = Phone::new().sign_in(&stage, PHONE).await;
    let none = post(&stage, &token, "/identity/v1/step-ups/challenges", json!({ "transaction": example() })).await;
    assert_eq!(verdict(&none), (409, "passkey-missing"));
    let mut authenticator = registered(&stage, &token).await;
    let listed = stage.call(Method::GET, "/identity/v1/me/passkeys").token(&token).empty().await;
    let item = listed.body["items"][0].clone();
    assert_eq!((&item["name"], &item["last_used_at"]), (&json!("Khóa của An"), &Value::Null));
    let (options, asked) = challenge(&stage, &token, &example()).await;
    assert_eq!((&options["rpId"], &options["userVerification"]), (&json!("localhost"), &json!("required")));
    let answer = authenticator.get(&options);
    let proved = prove(&stage, &token, proof(&asked, &answer)).await;
    assert_eq!((proved.status, &proved.body["level"]), (StatusCode::CREATED, &json!("biometric")), "{}", proved.body);
    let again = prove(&stage, &token, proof(&asked, &answer)).await;
    assert_eq!(verdict(&again), (422, "passkey-challenge-unknown"), "an answer serves once");
    let listed = stage.call(Method::GET, "/identity/v1/me/passkeys").token(&token).empty().await;
    assert!(listed.body["items"][0]["last_used_at"].is_string());
    // Removed between question and answer, it proves nothing.
    let (options, asked) = challenge(&stage, &token, &example()).await;
    let path = format!("/identity/v1/me/passkeys/{}", item["id"].as_str().expect("an id"));
    let stranger = Phone::new().sign_in(&stage, "0987654321").await;
    let foreign = stage.call(Method::DELETE, &path).token(&stranger).empty().await;
    assert_eq!(verdict(&foreign), (404, "not-found"), "another citizen's is not there");
    let removed = stage.call(Method::DELETE, &path).token(&token).empty().await;
    assert_eq!(removed.status, StatusCode::NO_CONTENT);
    let late = prove(&stage, &token, proof(&asked, &authenticator.get(&options))).await;
    assert_eq!(verdict(&late), (403, "passkey-refused"));
    let acts = stage.count("audit WHERE action IN ('passkey.add', 'passkey.remove')").await;
    assert_eq!(acts, 2);
}

#[tokio::test]
async fn an_answer_proves_its_own_transaction_in_its_own_session() {
    let stage = Stage::new().await;
    let phone = Phone::new();
    let token = phone.sign_in(&stage, PHONE).await;
    let mut authenticator = registered(&stage, &token).await;
    let changes: [fn(&mut Transaction); 5] = [
        |it| it.kind = "bill".to_owned(),
        |it| it.payee.push('0'),
        |it| it.amount.amount.push('0'),
        |it| it.amount.currency = "USD".to_owned(),
        |it| it.nonce.push('0'),
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let mut other = example();
        change(&mut other);
        let (options, asked) = challenge(&stage, &token, &other).await;
        let answer = authenticator.get(&options);
        let refused = prove(&stage, &token, proof(&asked, &answer)).await;
        assert_eq!(verdict(&refused), (422, "passkey-challenge-unknown"), "change {index}");
    }
    let (options, asked) = challenge(&stage, &token, &example()).await;
    let elsewhere = Phone::new().sign_in(&stage, PHONE).await;
    let answer = authenticator.get(&options);
    let refused = prove(&stage, &elsewhere, proof(&asked, &answer)).await;
    assert_eq!(verdict(&refused), (422, "passkey-challenge-unknown"), "another session of the same citizen");
    stage.clock.advance(TimeDelta::minutes(5));
    let late = prove(&stage, &token, proof(&asked, &answer)).await;
    assert_eq!(verdict(&late), (422, "passkey-challenge-unknown"), "too late");
    stage.identity.prune().await.expect("prunes");
    assert_eq!(stage.count("passkey_challenge").await, 0);
}

#[tokio::test]
async fn an_answer_that_is_not_the_passkeys_is_refused() {
    let stage = Stage::new().await;
    let token = Phone::new().sign_in(&stage, PHONE).await;
    let genuine = registered(&stage, &token).await;
    let forgers: [(&str, Forge); 4] = [
        ("another key", |it| it.key = Authenticator::new().key),
        ("another credential", |it| it.id = vault::random()),
        ("another origin", |it| it.origin = "https://hue.example.org"),
        ("nobody verified", |it| it.flags = PRESENT),
    ];
    for (what, forge) in forgers {
        let mut forger = Authenticator { key: copy(&genuine), ..genuine_parts(&genuine) };
        forge(&mut forger);
        let (options, asked) = challenge(&stage, &token, &example()).await;
        let refused = prove(&stage, &token, proof(&asked, &forger.get(&options))).await;
        assert_eq!(verdict(&refused), (403, "passkey-refused"), "{what}");
    }
    // An answer to another challenge.
    let mut authenticator = genuine_parts(&genuine);
    let (first, _) = challenge(&stage, &token, &example()).await;
    let (_, second) = challenge(&stage, &token, &example()).await;
    let refused = prove(&stage, &token, proof(&second, &authenticator.get(&first))).await;
    assert_eq!(verdict(&refused), (403, "passkey-refused"));
    // A copy whose counter fell behind.
    let (options, asked) = challenge(&stage, &token, &example()).await;
    authenticator.counter = 9;
    let proved = prove(&stage, &token, proof(&asked, &authenticator.get(&options))).await;
    assert_eq!(proved.status, StatusCode::CREATED, "{}", proved.body);
    authenticator.counter = 3;
    let (options, asked) = challenge(&stage, &token, &example()).await;
    let refused = prove(&stage, &token, proof(&asked, &authenticator.get(&options))).await;
    assert_eq!(verdict(&refused), (403, "passkey-refused"), "a cloned authenticator");
    // Two copies that were asked at the same time.
    let (first, one) = challenge(&stage, &token, &example()).await;
    let (second, other) = challenge(&stage, &token, &example()).await;
    authenticator.counter = 20;
    let proved = prove(&stage, &token, proof(&one, &authenticator.get(&first))).await;
    assert_eq!(proved.status, StatusCode::CREATED, "{}", proved.body);
    authenticator.counter = 20;
    let refused = prove(&stage, &token, proof(&other, &authenticator.get(&second))).await;
    assert_eq!(verdict(&refused), (403, "passkey-refused"), "the same counter twice");
}

/// The same key again: keys of this library are not copied, so they are kept in PKCS #8.
fn copy(authenticator: &Authenticator) -> EcdsaKeyPair {
    let document = authenticator.key.to_pkcs8v1().expect("a document");
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, document.as_ref()).expect("the key again")
}

fn genuine_parts(genuine: &Authenticator) -> Authenticator {
    Authenticator { key: copy(genuine), id: genuine.id, counter: genuine.counter, origin: ORIGIN, flags: genuine.flags }
}

#[tokio::test]
async fn a_passkey_and_the_device_together_are_the_strongest_proof() {
    let stage = Stage::new().await;
    let phone = Phone::new();
    let token = phone.sign_in_and_confirm(&stage, PHONE).await;
    let mut authenticator = registered(&stage, &token).await;
    let caller = stage.principal(&token).await;
    let now = stage.clock.now().timestamp();
    let mut other = example();
    other.nonce.push('0');
    for (signed, expected) in [(example(), "signature"), (other, "")] {
        let (options, asked) = challenge(&stage, &token, &example()).await;
        let mut body = proof(&asked, &authenticator.get(&options));
        body["signature"] = json!(phone.sign(&caller, &signed, now));
        body["signed_at"] = json!(now);
        let answer = prove(&stage, &token, body).await;
        if expected.is_empty() {
            assert_eq!(verdict(&answer), (403, "device-signature-wrong"));
        } else {
            assert_eq!((answer.status, &answer.body["level"]), (StatusCode::CREATED, &json!(expected)));
        }
    }
}

#[tokio::test]
async fn registering_needs_a_fresh_session_and_the_pin() {
    let stage = Stage::new().await;
    let phone = Phone::new();
    let token = phone.sign_in(&stage, PHONE).await;
    let path = "/identity/v1/me/passkeys/challenges";
    assert_eq!(verdict(&post(&stage, &token, path, json!({})).await), (422, "pin-proof-required"));
    assert_eq!(verdict(&post(&stage, &token, path, json!({ "pin": "483920" })).await), (403, "pin-wrong"));
    let (options, asked) = begin(&stage, &token).await;
    let mut authenticator = Authenticator::new();
    authenticator.flags = PRESENT;
    let refused = finish(&stage, &token, &asked, authenticator.create(&options)).await;
    assert_eq!(verdict(&refused), (403, "passkey-refused"), "nobody was verified");
    let again = finish(&stage, &token, &asked, authenticator.create(&options)).await;
    assert_eq!(verdict(&again), (422, "passkey-challenge-unknown"), "a challenge is answered once");
    registered(&stage, &token).await;
    let (_, for_proof) = challenge(&stage, &token, &example()).await;
    let mixed = finish(&stage, &token, &for_proof, Authenticator::new().create(&options)).await;
    assert_eq!(verdict(&mixed), (422, "passkey-challenge-unknown"), "the challenge of a proof registers nothing");
    let stranger = Phone::new().sign_in(&stage, "0987654321").await;
    let (_, theirs) = begin(&stage, &stranger).await;
    let stolen = finish(&stage, &token, &theirs, Authenticator::new().create(&options)).await;
    assert_eq!(verdict(&stolen), (422, "passkey-challenge-unknown"));
    assert_eq!(stage.count("passkey").await, 1);
    let opened = stage.sign_in(PHONE, phone.id).await;
    stage.clock.advance(TimeDelta::seconds(900));
    let old = stage.identity.refresh(&opened.tokens.refresh, None).await.expect("refreshed").access;
    assert_eq!(verdict(&post(&stage, &old, path, json!({ "pin": "502917" })).await), (403, "session-not-fresh"));
    let there: uuid::Uuid =
        sqlx::query_scalar("SELECT id FROM identity.passkey").fetch_one(&stage.admin()).await.expect("a passkey");
    let remove = stage.call(Method::DELETE, &format!("/identity/v1/me/passkeys/{there}")).token(&old).empty().await;
    assert_eq!(verdict(&remove), (403, "session-not-fresh"), "nor is one removed");
    assert_eq!(stage.count("passkey").await, 1);
}

#[tokio::test]
async fn a_passkey_that_came_without_a_pin_proves_nothing_for_a_day() {
    let stage = Stage::new().await;
    let device = DeviceId::generate();
    let token = stage.sign_in(PHONE, device).await.tokens.access;
    let asked = post(&stage, &token, "/identity/v1/me/passkeys/challenges", json!({})).await;
    let mut authenticator = Authenticator::new();
    let answer = authenticator.create(&asked.body["public_key"]);
    assert_eq!(finish(&stage, &token, &asked.body["challenge_id"], answer).await.status, StatusCode::CREATED);
    let (options, asked) = challenge(&stage, &token, &example()).await;
    let refused = prove(&stage, &token, proof(&asked, &authenticator.get(&options))).await;
    assert_eq!(verdict(&refused), (403, "key-cooling"));
    stage.clock.advance(TimeDelta::days(1));
    let token = stage.sign_in(PHONE, device).await.tokens.access;
    let (options, asked) = challenge(&stage, &token, &example()).await;
    let proved = prove(&stage, &token, proof(&asked, &authenticator.get(&options))).await;
    assert_eq!(proved.status, StatusCode::CREATED, "{}", proved.body);
}

#[tokio::test]
async fn a_citizen_has_so_many_passkeys_and_challenges_at_most() {
    let stage = Stage::new().await;
    let device = DeviceId::generate();
    let token = stage.sign_in(PHONE, device).await.tokens.access;
    let path = "/identity/v1/me/passkeys/challenges";
    for _ in 0..8 {
        let asked = post(&stage, &token, path, json!({})).await;
        assert_eq!(asked.status, StatusCode::CREATED, "no PIN is set: {}", asked.body);
    }
    assert_eq!(stage.count("passkey_challenge").await, 5);
    for _ in 0..crate::passkey::MAX_PASSKEYS {
        let asked = post(&stage, &token, path, json!({})).await;
        let mut authenticator = Authenticator::new();
        let kept =
            finish(&stage, &token, &asked.body["challenge_id"], authenticator.create(&asked.body["public_key"])).await;
        assert_eq!(kept.status, StatusCode::CREATED, "{}", kept.body);
    }
    assert_eq!(verdict(&post(&stage, &token, path, json!({})).await), (409, "passkeys-too-many"));
    let caller = stage.principal(&token).await;
    stage
        .identity
        .set_pin(&caller, &Pin::parse("502917").expect("a PIN"), Proof::FreshSession, None)
        .await
        .expect("set");
    stage.clock.advance(TimeDelta::seconds(597));
    assert_eq!(verdict(&post(&stage, &token, path, json!({ "pin": "502917" })).await), (409, "passkeys-too-many"));
}

//! Proofs for one transaction: what each method checks, and what the token says.

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::TimeDelta;
use http::{Method, StatusCode};
use platform::auth::{AuthError, Principal, STEP_UP, Statement};
use proto::identity::v1::SessionStarted;
use serde_json::{Value, json};

use crate::challenge::Purpose;
use crate::device::DeviceId;
use crate::pin::Proof;
use crate::pin::strength::Pin;
use crate::step_up::{Transaction, example};
use crate::testing::{Stage, opening};
use crate::tests::http::Answer;

const PHONE: &str = "0912345678";
const PATH: &str = "/identity/v1/step-ups";

/// A citizen's phone with a key in its secure store.
pub(super) struct Phone {
    pub(super) id: DeviceId,
    key: Ed25519KeyPair,
}

impl Phone {
    pub(super) fn new() -> Self {
        Self { id: DeviceId::generate(), key: Ed25519KeyPair::generate().expect("a key") }
    }

    fn public_key(&self) -> Vec<u8> {
        let der: PublicKeyX509Der<'_> = self.key.public_key().as_der().expect("DER");
        der.as_ref().to_vec()
    }

    /// Signs in and sets a PIN the first time; gives the access token.
    pub(super) async fn sign_in(&self, stage: &Stage, number: &str) -> String {
        let (challenge, code) = stage.code(number, self.id, Purpose::SignIn).await;
        let mut opening = opening(challenge, code);
        opening.public_key = Some(self.public_key());
        let opened = stage.identity.open_session(opening).await.expect("a session");
        if opened.new_citizen {
            let caller = stage.principal(&opened.tokens.access).await;
            let pin = Pin::parse("502917").expect("six digits");
            stage.identity.set_pin(&caller, &pin, Proof::FreshSession, None).await.expect("set");
        }
        opened.tokens.access
    }

    /// Signs in, and types the PIN in a proof: the key proves from then on.
    pub(super) async fn sign_in_and_confirm(&self, stage: &Stage, number: &str) -> String {
        let token = self.sign_in(stage, number).await;
        let body = json!({ "method": "pin", "transaction": example(), "pin": "502917" });
        let proved = prove(stage, &token, body).await;
        assert_eq!(proved.status, StatusCode::CREATED, "{}", proved.body);
        token
    }

    pub(super) fn sign(&self, caller: &Principal, transaction: &Transaction, signed_at: i64) -> String {
        let digest = transaction.digest("http://localhost:8080", caller.subject, signed_at);
        STANDARD.encode(self.key.sign(&digest))
    }
}

async fn prove(stage: &Stage, token: &str, body: Value) -> Answer {
    stage.call(Method::POST, PATH).token(token).json(body).await
}

async fn by_device(stage: &Stage, phone: &Phone, token: &str, signed: &Transaction, signed_at: i64) -> Answer {
    let caller = stage.principal(token).await;
    let signature = phone.sign(&caller, signed, signed_at);
    let body = json!({ "method": "device", "transaction": example(), "signature": signature, "signed_at": signed_at });
    prove(stage, token, body).await
}

fn verdict(answer: &Answer) -> (u16, &str) {
    (answer.status.as_u16(), answer.code())
}

#[tokio::test]
async fn a_right_pin_gives_a_token_for_exactly_this_transaction() {
    let stage = Stage::new().await;
    let token = Phone::new().sign_in(&stage, PHONE).await;
    let body = |pin: &str| json!({ "method": "pin", "transaction": example(), "pin": pin });
    let wrong = prove(&stage, &token, body("483920")).await;
    assert_eq!(verdict(&wrong), (403, "pin-wrong"));
    let proved = prove(&stage, &token, body("502917")).await;
    assert_eq!((proved.status, &proved.body["level"]), (StatusCode::CREATED, &json!("pin")));
    assert_eq!(proved.body["expires_in"], 180);
    let caller = stage.principal(&token).await;
    let proof = proved.text("step_up_token");
    let statement: Statement<Value> =
        stage.context.verifier.statement(STEP_UP, &proof, (caller.subject, caller.session)).await.expect("a statement");
    assert_eq!(statement.says, json!({ "level": "pin", "transaction": example() }));
    assert_eq!((statement.sub, statement.sid), (caller.subject, caller.session));
    let misused = stage.call(Method::GET, "/identity/v1/me").token(&proof).empty().await;
    assert_eq!(verdict(&misused), (401, "unauthenticated"), "a proof is no access token");
    let other = Phone::new().sign_in(&stage, "0987654321").await;
    let other = stage.principal(&other).await;
    let stolen = stage.context.verifier.statement::<Value>(STEP_UP, &proof, (other.subject, other.session)).await;
    assert_eq!(stolen.err(), Some(AuthError::Invalid));
    assert_eq!(stage.count("audit WHERE action = 'step-up.prove' AND reason = 'pin'").await, 1);
}

#[tokio::test]
async fn wrong_pins_in_step_ups_count_as_everywhere() {
    let stage = Stage::new().await;
    let token = Phone::new().sign_in(&stage, PHONE).await;
    let body = |pin: &str| json!({ "method": "pin", "transaction": example(), "pin": pin });
    for _ in 0..3 {
        assert_eq!(verdict(&prove(&stage, &token, body("483920")).await), (403, "pin-wrong"));
    }
    let delayed = prove(&stage, &token, body("502917")).await;
    assert_eq!(verdict(&delayed), (429, "pin-delayed"), "also the right one waits");
}

#[tokio::test]
async fn a_pin_that_was_reset_proves_nothing_for_a_day() {
    let stage = Stage::new().await;
    let phone = Phone::new();
    let token = phone.sign_in_and_confirm(&stage, PHONE).await;
    let caller = stage.principal(&token).await;
    let (challenge, code) = stage.code(PHONE, phone.id, Purpose::PinReset).await;
    let pin = Pin::parse("271828").expect("six digits");
    stage.identity.set_pin(&caller, &pin, Proof::Code(challenge, code), None).await.expect("reset");
    let body = json!({ "method": "pin", "transaction": example(), "pin": "271828" });
    let refused = prove(&stage, &token, body.clone()).await;
    assert_eq!(verdict(&refused), (403, "pin-cooling"));
    assert!(refused.body["cooling_until"].is_string());
    let now = stage.clock.now().timestamp();
    assert_eq!(by_device(&stage, &phone, &token, &example(), now).await.status, StatusCode::CREATED, "the device may");
    stage.clock.advance(TimeDelta::days(1));
    let token = phone.sign_in(&stage, PHONE).await;
    assert_eq!(prove(&stage, &token, body).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn a_device_signs_for_one_transaction_and_no_other() {
    let stage = Stage::new().await;
    let phone = Phone::new();
    let token = phone.sign_in_and_confirm(&stage, PHONE).await;
    let now = stage.clock.now().timestamp();
    let proved = by_device(&stage, &phone, &token, &example(), now).await;
    assert_eq!((proved.status, &proved.body["level"]), (StatusCode::CREATED, &json!("pin")));
    let changes: [fn(&mut Transaction); 5] = [
        |it| it.kind = "bill".to_owned(),
        |it| it.payee.push('0'),
        |it| it.amount.amount.push('0'),
        |it| it.amount.currency = "USD".to_owned(),
        |it| it.nonce.push('0'),
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let mut signed = example();
        change(&mut signed);
        let refused = by_device(&stage, &phone, &token, &signed, now).await;
        assert_eq!(verdict(&refused), (403, "device-signature-wrong"), "change {index}");
    }
    let refused = by_device(&stage, &Phone::new(), &token, &example(), now).await;
    assert_eq!(verdict(&refused), (403, "device-signature-wrong"), "another key");
    for signed_at in [now - 301, now + 301, i64::MIN, i64::MAX] {
        let refused = by_device(&stage, &phone, &token, &example(), signed_at).await;
        assert_eq!(verdict(&refused), (403, "device-signature-stale"), "{signed_at}");
    }
    let bare = stage.sign_in(PHONE, DeviceId::generate()).await.tokens.access;
    let refused = by_device(&stage, &phone, &bare, &example(), now).await;
    assert_eq!(verdict(&refused), (409, "device-key-missing"), "another device of the same citizen");
}

#[tokio::test]
async fn a_request_has_the_fields_of_its_method_and_a_sound_transaction() {
    let stage = Stage::new().await;
    let token = Phone::new().sign_in(&stage, PHONE).await;
    let good = json!({ "method": "pin", "transaction": example(), "pin": "502917" });
    let changed = |field: &str, value: Value| {
        let mut body = good.clone();
        body[field] = value;
        body
    };
    let mut unsound = good.clone();
    unsound["transaction"]["amount"]["amount"] = json!("1.5");
    let mut numeric = good.clone();
    numeric["transaction"]["amount"]["amount"] = json!(150_000);
    for body in [
        json!({ "method": "pin", "transaction": example() }),
        json!({ "method": "device", "transaction": example() }),
        json!({ "method": "passkey", "transaction": example() }),
        changed("challenge_id", json!("0199d2a4-0000-7000-8000-000000000001")),
        json!({ "method": "pin", "pin": "502917" }),
        changed("method", json!("face")),
        changed("signature", json!("AAAA")),
        changed("signed_at", json!(1)),
        changed("more", json!(1)),
        unsound,
        numeric,
    ] {
        let refused = prove(&stage, &token, body.clone()).await;
        assert_eq!((refused.status.as_u16(), refused.code()), (422, "invalid-body"), "{body}");
        assert!(!refused.body.to_string().contains("502917"));
    }
    let anonymous = stage.call(Method::POST, PATH).json(good).await;
    assert_eq!(anonymous.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_device_with_another_key_is_a_new_one() {
    let stage = Stage::new().await;
    let phone = Phone::new();
    phone.sign_in(&stage, PHONE).await;
    phone.sign_in(&stage, PHONE).await;
    let impostor = Phone { id: phone.id, ..Phone::new() };
    impostor.sign_in(&stage, PHONE).await;
    let bare = DeviceId::generate();
    stage.sign_in(PHONE, bare).await;
    Phone { id: bare, ..Phone::new() }.sign_in(&stage, PHONE).await;
    let new: Vec<bool> = stage.events::<SessionStarted>().await.iter().map(|event| event.new_device).collect();
    assert_eq!(new, [true, false, true, true, true], "with another key, without one, with its first");
}

#[tokio::test]
async fn a_new_key_proves_nothing_for_a_day_unless_the_pin_is_typed_on_its_device() {
    let stage = Stage::new().await;
    let owner = Phone::new();
    owner.sign_in_and_confirm(&stage, PHONE).await;
    let proof = async |phone: &Phone, token: &str| {
        by_device(&stage, phone, token, &example(), stage.clock.now().timestamp()).await
    };
    // Who has the SIM signs in with keys of their own: on another device, on the owner's, on one that had no key.
    let bare = DeviceId::generate();
    stage.sign_in(PHONE, bare).await;
    for thief in [Phone::new(), Phone { id: owner.id, ..Phone::new() }, Phone { id: bare, ..Phone::new() }] {
        let token = thief.sign_in(&stage, PHONE).await;
        let refused = proof(&thief, &token).await;
        assert_eq!(verdict(&refused), (403, "key-cooling"));
        assert!(refused.body["cooling_until"].is_string());
        let wrong = json!({ "method": "pin", "transaction": example(), "pin": "483920" });
        assert_eq!(verdict(&prove(&stage, &token, wrong).await), (403, "pin-wrong"));
        assert_eq!(verdict(&proof(&thief, &token).await), (403, "key-cooling"), "a wrong PIN confirms nothing");
        let right = json!({ "method": "pin", "transaction": example(), "pin": "502917" });
        prove(&stage, &owner.sign_in_and_confirm(&stage, PHONE).await, right).await;
    }
    // The PIN on another device confirms nothing of this one; a day does.
    let slow = Phone::new();
    let token = slow.sign_in(&stage, PHONE).await;
    owner.sign_in_and_confirm(&stage, PHONE).await;
    assert_eq!(verdict(&proof(&slow, &token).await), (403, "key-cooling"));
    stage.clock.advance(TimeDelta::days(1));
    let token = slow.sign_in(&stage, PHONE).await;
    assert_eq!(proof(&slow, &token).await.status, StatusCode::CREATED, "the same key again is no new one");
}

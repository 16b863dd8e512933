//! What is refused stands in the audit: at once, without a number, and however often it is tried, twice in an hour.

use std::net::IpAddr;

use chrono::TimeDelta;
use futures::future::join_all;
use http::Method;
use serde_json::{Value, json};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::ekyc::Scene;
use super::otp::Statements;
use super::step_up::Phone;
use super::vneid_sign_in::STRANGER;
use crate::audit::{self, Filter, Record, Verdict, verify};
use crate::challenge::{Code, Purpose};
use crate::citizen::CitizenId;
use crate::config::Cap;
use crate::device::DeviceId;
use crate::error::Error;
use crate::session::Opening;
use crate::step_up::example;
use crate::testing::{Stage, config, opening, wrong};

const KNOWN: &str = "0912345678";
const UNKNOWN: &str = "0987654321";

fn address() -> Option<IpAddr> {
    Some("203.0.113.9".parse().expect("an address"))
}

async fn refusals(stage: &Stage) -> Vec<Record> {
    let records = audit::page(&stage.identity.pool, &Filter::default(), 0).await.expect("records");
    records.into_iter().filter(|record| record.fields.action.ends_with(".refuse")).collect()
}

fn what(records: &[Record]) -> Vec<(&str, &str)> {
    records.iter().map(|record| (record.fields.action.as_str(), record.fields.reason.as_str())).collect()
}

/// Answers a challenge as an app at an address does.
async fn answer(stage: &Stage, challenge: crate::ChallengeId, code: &Code) -> Option<Error> {
    let attempt = Opening { address: address(), ..opening(challenge, code.clone()) };
    stage.identity.open_session(attempt).await.err()
}

async fn holds(stage: &Stage) -> bool {
    matches!(verify(&stage.identity.pool, None).await.expect("a verdict"), Verdict::Holds(_))
}

#[tokio::test]
async fn a_refused_code_is_on_record_at_once_and_says_whose_only_where_there_is_an_account() {
    let stage = Stage::new().await;
    let citizen = stage.sign_in(KNOWN, DeviceId::generate()).await.citizen.id;
    let statements = Statements::default();
    let _guard = tracing_subscriber::registry().with(statements.clone()).set_default();
    let mut steps = Vec::new();
    for (number, whose) in [(KNOWN, Some(citizen.uuid())), (UNKNOWN, None)] {
        let device = DeviceId::generate();
        let (challenge, code) = stage.code(number, device, Purpose::SignIn).await;
        let before = refusals(&stage).await.len();
        for round in 0..7 {
            statements.take();
            let refused = answer(&stage, challenge, &wrong(&code)).await;
            assert!(matches!(refused, Some(Error::CodeWrong { .. } | Error::CodeExhausted)), "{round}: {refused:?}");
            steps.push(statements.take());
        }
        let records = refusals(&stage).await.split_off(before);
        assert_eq!(
            what(&records),
            [("sign-in.refuse", "otp-wrong"), ("sign-in.refuse", "otp-exhausted")],
            "transitions"
        );
        for record in records {
            let fields = record.fields;
            assert_eq!((fields.subject, fields.device_id), (whose, Some(device.uuid())));
            assert_eq!((fields.object, fields.actor_kind.as_str()), (challenge.to_string(), "service"));
            assert_eq!(fields.place, stage.identity.vault.address_digest(address().expect("one")));
        }
    }
    // Who has an account takes as many statements, and the same, as who has none.
    assert_eq!(steps[..7], steps[7..]);
    assert!(steps[0].len() > steps[1].len() && steps[1].len() > 3, "{steps:?}");
    let invented = answer(&stage, crate::ChallengeId::generate(), &Code::parse("123456").expect("a code")).await;
    assert!(matches!(invented, Some(Error::ChallengeUnknown)));
    assert_eq!(refusals(&stage).await.len(), 4, "whatever anybody can invent is not on record");
    assert!(holds(&stage).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn however_often_somebody_tries_the_chain_grows_by_two_records_in_an_hour() {
    let mut config = config();
    config.caps.answers = Cap { burst: 3, refill_seconds: 3_600 };
    let stage = Stage::with(config).await;
    let replicas = [stage.identity.clone(), stage.replica()];
    let (challenge, code) = stage.code(UNKNOWN, DeviceId::generate(), Purpose::SignIn).await;
    let tries = (0..60).map(|index| {
        let attempt = Opening { address: address(), ..opening(challenge, wrong(&code)) };
        replicas[index % 2].open_session(attempt)
    });
    assert!(join_all(tries).await.iter().all(Result::is_err));
    // A process hands over what it counted with the next one, a second later.
    stage.clock.advance(TimeDelta::seconds(1));
    for replica in &replicas {
        let attempt = Opening { address: address(), ..opening(challenge, wrong(&code)) };
        assert!(replica.open_session(attempt).await.is_err());
    }
    let mut first = refusals(&stage).await;
    first.sort_by(|one, other| one.fields.reason.cmp(&other.fields.reason));
    assert_eq!(what(&first), [("sign-in.refuse", "otp-tries-too-many"), ("sign-in.refuse", "otp-wrong")]);
    assert_eq!(stage.count("refusal WHERE count IN (3, 59) AND position > 0").await, 2, "each is counted");
    stage.identity.prune().await.expect("pruned");
    assert_eq!(refusals(&stage).await.len(), 2, "the hour is not over");
    stage.clock.advance(TimeDelta::hours(1));
    let (one, two) = tokio::join!(replicas[0].prune(), replicas[1].prune());
    one.and(two).expect("pruned");
    let mut told: Vec<Record> = refusals(&stage).await.split_off(2);
    told.sort_by(|one, other| one.fields.reason.cmp(&other.fields.reason));
    assert_eq!(
        what(&told),
        [
            ("sign-in.refuse", "otp-tries-too-many, 58 more within 60 minutes"),
            ("sign-in.refuse", "otp-wrong, 2 more within 60 minutes"),
        ]
    );
    assert_eq!(told[1].fields.object, challenge.to_string());
    assert_eq!((told[1].fields.channel.as_str(), stage.count("refusal").await), ("schedule", 0));
    assert!(holds(&stage).await);
}

/// Every route that takes a PIN, and a body that it would look at.
fn with_pin(stage: &Stage) -> Vec<(Method, &'static str, Value)> {
    let pin = "502918";
    let delegation = json!({
        "side": "dependent", "phone": UNKNOWN, "kinds": ["bill"], "until": stage.clock.now() + TimeDelta::days(30),
        "limits": {"transaction": 200_000, "day": 500_000, "month": 2_000_000}, "pin": pin,
    });
    vec![
        (Method::PUT, "/identity/v1/me/pin", json!({ "pin": "730164", "current_pin": pin })),
        (Method::POST, "/identity/v1/step-ups", json!({ "method": "pin", "transaction": example(), "pin": pin })),
        (Method::POST, "/identity/v1/me/passkeys/challenges", json!({ "pin": pin })),
        (Method::POST, "/identity/v1/me/vneid", json!({ "pin": pin })),
        (Method::POST, "/identity/v1/me/delegations", delegation),
        (Method::POST, "/identity/v1/me/closing", json!({ "pin": pin })),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_pin_is_on_record_wherever_it_is_typed() {
    let scene = Scene::new().await;
    let stage = &scene.stage;
    for (index, (method, path, body)) in with_pin(stage).into_iter().enumerate() {
        let phone = Phone::new();
        let token = phone.sign_in(stage, &format!("091234567{index}")).await;
        let caller = stage.principal(&token).await;
        let mut codes = Vec::new();
        for _ in 0..4 {
            let refused = stage.call(method.clone(), path).token(&token).key("one").json(body.clone()).await;
            codes.push(refused.code().to_owned());
        }
        assert_eq!(codes, ["pin-wrong", "pin-wrong", "pin-wrong", "pin-delayed"], "{path}");
        let filter = Filter { subject: Some(caller.subject), ..Filter::default() };
        let records = audit::page(&stage.identity.pool, &filter, 0).await.expect("records");
        let refused: Vec<&Record> = records.iter().filter(|record| record.fields.action == "pin.refuse").collect();
        let reasons: Vec<&str> = refused.iter().map(|record| record.fields.reason.as_str()).collect();
        assert_eq!(reasons, ["pin-wrong", "pin-delayed"], "{path}");
        assert!(refused.iter().all(|record| record.fields.session_id == Some(caller.session)), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_proof_and_a_refused_visit_are_on_record() {
    let scene = Scene::new().await;
    let stage = &scene.stage;
    let token = Phone::new().sign_in(stage, UNKNOWN).await;
    let body = json!({
        "method": "device", "transaction": example(), "signature": "AAAA", "signed_at": stage.clock.now().timestamp(),
    });
    let refused = stage.call(Method::POST, "/identity/v1/step-ups").token(&token).json(body).await;
    let code = refused.code().to_owned();
    assert!(["key-cooling", "device-signature-wrong"].contains(&code.as_str()), "{code}");
    let records = refusals(stage).await;
    assert_eq!(what(&records), [("proof.refuse", code.as_str())]);
    assert_eq!(records[0].fields.subject, Some(stage.principal(&token).await.subject));
    let device = scene.linked_citizen().await;
    for _ in 0..2 {
        let refused = scene.signed_in(device, STRANGER).await;
        assert_eq!(refused.code(), "vneid-not-linked");
    }
    let records = refusals(stage).await.split_off(1);
    assert_eq!(what(&records), [("sign-in.refuse", "vneid-not-linked")], "the second is counted");
    assert_eq!((records[0].fields.subject, records[0].fields.device_id), (None, Some(device.uuid())));
}

#[tokio::test]
async fn a_refusal_stands_when_its_record_cannot_be_written() {
    let stage = Stage::new().await;
    let token = Phone::new().sign_in(&stage, KNOWN).await;
    let citizen = CitizenId::from(stage.principal(&token).await.subject);
    let (challenge, code) = stage.code(UNKNOWN, DeviceId::generate(), Purpose::SignIn).await;
    sqlx::query("ALTER TABLE identity.refusal RENAME TO away").execute(&stage.admin()).await.expect("away");
    assert!(matches!(answer(&stage, challenge, &wrong(&code)).await, Some(Error::CodeWrong { left: 4 })));
    let body = json!({ "method": "pin", "transaction": example(), "pin": "502918" });
    let refused = stage.call(Method::POST, "/identity/v1/step-ups").token(&token).json(body).await;
    assert_eq!(refused.code(), "pin-wrong");
    assert_eq!(stage.count("challenge WHERE tries = 1").await, 1, "it was counted all the same");
    assert_eq!(stage.count("pin WHERE failures = 1").await, 1);
    assert!(refusals(&stage).await.is_empty() && stage.identity.citizen(citizen).await.is_ok());
}

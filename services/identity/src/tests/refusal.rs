//! What is refused stands in the audit: at once, without a number, and however often it is tried, twice in an hour.

use std::net::IpAddr;

use chrono::{DateTime, TimeDelta, Utc};
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
    host(9)
}

fn host(number: u8) -> Option<IpAddr> {
    Some(IpAddr::from([203, 0, 113, number]))
}

/// What a record's place is for that host.
fn here(stage: &Stage, number: u8) -> String {
    stage.identity.vault.address_digest(host(number).expect("one"))
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
    answer_from(stage, 9, (challenge, code)).await
}

async fn answer_from(stage: &Stage, number: u8, (challenge, code): (crate::ChallengeId, &Code)) -> Option<Error> {
    let attempt = Opening { address: host(number), ..opening(challenge, code.clone()) };
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
async fn however_often_somebody_tries_from_one_address_the_chain_grows_by_two_records_in_an_hour() {
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
    for record in &told {
        assert_eq!(record.fields.place, here(&stage, 9), "{record:?}");
        assert_eq!((record.fields.channel.as_str(), record.fields.actor_kind.as_str()), ("app", "service"));
    }
    assert_eq!(stage.count("refusal").await, 0);
    assert!(holds(&stage).await);
}

#[tokio::test]
async fn from_where_the_later_tries_came_is_on_record_for_a_bounded_number_of_addresses() {
    let stage = Stage::new().await;
    let citizen = stage.sign_in(KNOWN, DeviceId::generate()).await.citizen.id;
    let (challenge, code) = stage.code(KNOWN, DeviceId::generate(), Purpose::SignIn).await;
    for number in (0..20).flat_map(|number| [number, number]) {
        let refused = answer_from(&stage, number, (challenge, &wrong(&code))).await;
        assert!(matches!(refused, Some(Error::CodeWrong { .. } | Error::CodeExhausted)), "{number}: {refused:?}");
    }
    let first = refusals(&stage).await;
    assert_eq!(what(&first), [("sign-in.refuse", "otp-wrong"), ("sign-in.refuse", "otp-exhausted")]);
    assert_eq!((&first[0].fields.place, &first[1].fields.place), (&here(&stage, 0), &here(&stage, 2)));
    stage.clock.advance(TimeDelta::hours(1));
    stage.identity.prune().await.expect("pruned");
    let told = refusals(&stage).await.split_off(2);
    let said = |place: &str| -> Vec<&str> {
        told.iter().filter(|record| record.fields.place == place).map(|record| record.fields.reason.as_str()).collect()
    };
    assert_eq!(said(&here(&stage, 0)), ["otp-wrong, 1 more within 60 minutes"]);
    assert_eq!(said(&here(&stage, 1)), ["otp-wrong, 2 more within 60 minutes"]);
    assert_eq!(said(&here(&stage, 2)), ["otp-wrong, 1 more within 60 minutes"], "its other one is the first of a kind");
    for number in 3..19 {
        assert_eq!(said(&here(&stage, number)), ["otp-exhausted, 2 more within 60 minutes"], "{number}");
    }
    assert_eq!(said(&here(&stage, 19)), <[&str; 0]>::default(), "too many addresses: they count together");
    let rest = "otp-exhausted, 2 more from further addresses within 60 minutes";
    assert_eq!((said(&stage.identity.instance), told.len()), (vec![rest], 20));
    assert!(
        told.iter().all(|record| record.fields.subject == Some(citizen.uuid()) && record.fields.device_id.is_none())
    );
    // Whoever asks what came from an address finds it.
    let filter = Filter { place: Some(here(&stage, 7)), ..Filter::default() };
    let found = audit::page(&stage.identity.pool, &filter, 0).await.expect("records");
    assert_eq!(what(&found), [("sign-in.refuse", "otp-exhausted, 2 more within 60 minutes")]);
    assert!(holds(&stage).await);
}

#[tokio::test]
async fn tries_that_a_process_counts_by_itself_keep_their_addresses() {
    let mut config = config();
    config.caps.answers = Cap { burst: 1, refill_seconds: 36_000 };
    let stage = Stage::with(config).await;
    let (challenge, code) = stage.code(UNKNOWN, DeviceId::generate(), Purpose::SignIn).await;
    for number in [1, 2, 1, 2, 2, 2] {
        answer_from(&stage, number, (challenge, &wrong(&code))).await.expect("refused");
    }
    stage.clock.advance(TimeDelta::seconds(1));
    let refused = answer_from(&stage, 1, (challenge, &wrong(&code))).await;
    assert!(matches!(refused, Some(Error::AnswersCapped { .. })), "{refused:?}");
    stage.clock.advance(TimeDelta::hours(1));
    stage.identity.prune().await.expect("pruned");
    let records = refusals(&stage).await;
    let said = |number: u8| -> Vec<&str> {
        let there = records.iter().filter(|record| record.fields.place == here(&stage, number));
        let reasons = there.map(|record| record.fields.reason.as_str());
        reasons.filter(|reason| reason.starts_with("otp-tries-too-many")).collect()
    };
    assert_eq!(said(1), ["otp-tries-too-many", "otp-tries-too-many, 1 more within 60 minutes"]);
    assert_eq!(said(2), ["otp-tries-too-many, 3 more within 60 minutes"]);
}

#[tokio::test]
async fn only_what_is_refused_within_an_hour_of_the_first_counts_with_it() {
    let stage = Stage::new().await;
    let refuse = async || {
        let (challenge, code) = stage.code(UNKNOWN, DeviceId::generate(), Purpose::SignIn).await;
        assert!(matches!(answer(&stage, challenge, &wrong(&code)).await, Some(Error::CodeWrong { .. })));
        let began: Vec<(DateTime<Utc>, i64)> = sqlx::query_as("SELECT began_at, count FROM identity.refusal")
            .fetch_all(&stage.admin())
            .await
            .expect("what is counted");
        assert_eq!(began.len(), 1, "{began:?}");
        began[0]
    };
    let (begin, count) = refuse().await;
    assert_eq!(count, 1);
    stage.clock.advance(TimeDelta::minutes(59));
    assert_eq!(refuse().await, (begin, 2), "the last minute of the hour");
    assert_eq!(what(&refusals(&stage).await), [("sign-in.refuse", "otp-wrong")]);
    // Nobody has told of it yet; all the same the next one does not count as one within that hour.
    stage.clock.advance(TimeDelta::minutes(5));
    let (next, count) = refuse().await;
    assert!(count == 1 && next >= begin + TimeDelta::minutes(64), "{begin} {next} {count}");
    let reasons: Vec<String> = refusals(&stage).await.into_iter().map(|record| record.fields.reason).collect();
    assert_eq!(reasons, ["otp-wrong", "otp-wrong, 1 more within 60 minutes", "otp-wrong"]);
    // Nor does what a process of an earlier version counted and kept no place of get lost.
    sqlx::query("UPDATE identity.refusal SET count = count + 3").execute(&stage.admin()).await.expect("counted");
    stage.clock.advance(TimeDelta::hours(1));
    stage.identity.prune().await.expect("pruned");
    let last = refusals(&stage).await.pop().expect("one");
    assert_eq!(last.fields.reason, "otp-wrong, 3 more from further addresses within 60 minutes");
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
    let phone = Phone::new();
    let token = phone.sign_in_and_confirm(stage, UNKNOWN).await;
    let now = stage.clock.now().timestamp();
    let mut other = example();
    "another".clone_into(&mut other.payee);
    let signature = phone.sign(&stage.principal(&token).await, &other, now);
    let body = json!({ "method": "device", "transaction": example(), "signature": signature, "signed_at": now });
    let refused = stage.call(Method::POST, "/identity/v1/step-ups").token(&token).json(body.clone()).await;
    assert_eq!(refused.code(), "device-signature-wrong");
    // A device that nobody confirmed by PIN signs nothing yet.
    let stolen = Phone::new().sign_in(stage, UNKNOWN).await;
    let refused = stage.call(Method::POST, "/identity/v1/step-ups").token(&stolen).json(body).await;
    assert_eq!(refused.code(), "key-cooling");
    let records = refusals(stage).await;
    assert_eq!(what(&records), [("proof.refuse", "device-signature-wrong"), ("proof.refuse", "key-cooling")]);
    for (record, token) in records.iter().zip([&token, &stolen]) {
        let caller = stage.principal(token).await;
        assert_eq!((record.fields.subject, record.fields.session_id), (Some(caller.subject), Some(caller.session)));
    }
    let device = scene.linked_citizen().await;
    for _ in 0..2 {
        let refused = scene.signed_in(device, STRANGER).await;
        assert_eq!(refused.code(), "vneid-not-linked");
    }
    let records = refusals(stage).await.split_off(2);
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

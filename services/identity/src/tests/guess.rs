//! Guessing at two replicas at once: what is tried never exceeds its cap, also while Redis is away, and after it comes back.
//!
//! What is looked at counts, not what is asked: every guess that was judged says so in its refusal.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use chrono::TimeDelta;
use futures::future::join_all;
use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use platform::http::HttpSettings;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::openid::{App, Browser, CALLBACK, VERIFIER, encode};
use crate::challenge::{Code, Purpose};
use crate::citizen::CitizenId;
use crate::config::Cap;
use crate::device::DeviceId;
use crate::error::Error;
use crate::pin::Proof;
use crate::pin::strength::Pin;
use crate::session::Opening;
use crate::testing::{Stage, config, eventually, opening};
use crate::{Identity, http as routes};

const PHONE: &str = "0912345678";

/// The two processes of a city.
fn replicas(stage: &Stage) -> [Arc<Identity>; 2] {
    [stage.identity.clone(), stage.replica()]
}

fn pin(text: &str) -> Pin {
    Pin::parse(text).expect("six digits")
}

/// As many wrong codes, each another one.
fn wrong_codes(right: &Code, count: usize) -> Vec<Code> {
    let codes = (0..).map(|number| Code::parse(&format!("{number:06}")).expect("six digits"));
    codes.filter(|code| code.expose() != right.expose()).take(count).collect()
}

/// How many of the wrong PINs that both replicas are asked at once were looked at; none may be taken.
async fn pins_judged(replicas: &[Arc<Identity>; 2], citizen: CitizenId, count: usize) -> usize {
    let guesses: Vec<Pin> = (0..count).map(|number| pin(&format!("4839{number:02}"))).collect();
    let answers = guesses.iter().enumerate().map(|(index, guess)| replicas[index % 2].check_pin(citizen, guess));
    let mut judged = 0;
    for answer in join_all(answers).await {
        match answer.expect_err("it is wrong") {
            Error::PinWrong { .. } => judged += 1,
            Error::PinDelayed { .. } => {}
            error => panic!("{error}"),
        }
    }
    judged
}

/// How many of the wrong codes that both replicas are asked at once were looked at; none may be taken.
async fn codes_judged(replicas: &[Arc<Identity>; 2], guesses: Vec<Opening>) -> usize {
    let guesses = guesses.into_iter().enumerate();
    let answers = guesses.map(|(index, guess)| replicas[index % 2].open_session(guess));
    let mut judged = 0;
    for answer in join_all(answers).await {
        match answer.err().expect("it is wrong") {
            Error::CodeWrong { .. } => judged += 1,
            Error::CodeExhausted => {}
            error => panic!("{error}"),
        }
    }
    judged
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_stands_five_guesses_at_all_replicas_together() {
    let stage = Stage::new().await;
    let replicas = replicas(&stage);
    let (challenge, code) = stage.code(PHONE, DeviceId::generate(), Purpose::SignIn).await;
    let guesses = wrong_codes(&code, 40).into_iter().map(|guess| opening(challenge, guess)).collect();
    assert_eq!(codes_judged(&replicas, guesses).await, 5);
    for replica in &replicas {
        let late = replica.open_session(opening(challenge, code.clone())).await;
        assert!(matches!(late, Err(Error::CodeExhausted)), "the right one comes too late");
    }
    assert_eq!(stage.count("session").await + stage.count("citizen").await, 0);
    assert_eq!(stage.count("challenge WHERE tries = 5").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_right_code_among_guesses_begins_one_session_at_most() {
    let stage = Stage::new().await;
    let replicas = replicas(&stage);
    let (challenge, code) = stage.code(PHONE, DeviceId::generate(), Purpose::SignIn).await;
    let mut guesses = wrong_codes(&code, 4);
    guesses.extend(std::iter::repeat_n(code, 8));
    let answers = guesses.into_iter().enumerate().map(|(index, guess)| {
        let replica = replicas[index % 2].clone();
        async move { replica.open_session(opening(challenge, guess)).await }
    });
    let answers = join_all(answers).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1, "four slips leave it a try");
    let refused = |error: &Error| matches!(error, Error::CodeWrong { .. } | Error::CodeUsed);
    assert!(answers.iter().filter_map(|answer| answer.as_ref().err()).all(refused));
    assert_eq!(stage.count("session").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pin_stands_the_guesses_of_its_wait_at_all_replicas_together() {
    let stage = Stage::new().await;
    let replicas = replicas(&stage);
    let opened = stage.sign_in(PHONE, DeviceId::generate()).await;
    let caller = stage.principal(&opened.tokens.access).await;
    let citizen = CitizenId::from(caller.subject);
    stage.identity.set_pin(&caller, &pin("502917"), Proof::FreshSession, None).await.expect("set");
    assert_eq!(pins_judged(&replicas, citizen, 20).await, 3, "two slips, and the one that begins the wait");
    for wait_s in [30, 60, 120] {
        let right = replicas[1].check_pin(citizen, &pin("502917")).await;
        assert!(matches!(right, Err(Error::PinDelayed { .. })), "nor is the right one looked at");
        stage.clock.advance(TimeDelta::seconds(wait_s));
        assert_eq!(pins_judged(&replicas, citizen, 12).await, 1, "after {wait_s} s");
    }
    assert_eq!(stage.count("pin WHERE failures = 6").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_tried_is_known_without_redis_and_after_it_lost_everything() {
    let stage = Stage::new().await;
    let replicas = replicas(&stage);
    let device = DeviceId::generate();
    let opened = stage.sign_in(PHONE, device).await;
    let caller = stage.principal(&opened.tokens.access).await;
    let citizen = CitizenId::from(caller.subject);
    stage.identity.set_pin(&caller, &pin("502917"), Proof::FreshSession, None).await.expect("set");
    let (challenge, code) = stage.code(PHONE, device, Purpose::SignIn).await;
    let address: Option<IpAddr> = Some("203.0.113.9".parse().expect("an address"));
    let guesses = |from: usize, count: usize| -> Vec<Opening> {
        let codes = wrong_codes(&code, from + count).into_iter().skip(from);
        codes.map(|guess| Opening { address, ..opening(challenge, guess) }).collect()
    };
    assert_eq!(codes_judged(&replicas, guesses(0, 2)).await, 2);
    assert_eq!(pins_judged(&replicas, citizen, 2).await, 2);
    stage.redis.kill_and_wipe().await.expect("Redis is gone");
    assert_eq!(codes_judged(&replicas, guesses(2, 12)).await, 3, "three were left");
    assert_eq!(pins_judged(&replicas, citizen, 8).await, 1, "one was left");
    stage.redis.restart().await.expect("Redis comes back, empty");
    assert_eq!(codes_judged(&replicas, guesses(14, 6)).await, 0);
    assert_eq!(pins_judged(&replicas, citizen, 6).await, 0);
    let late = replicas[1].open_session(opening(challenge, code.clone())).await;
    assert!(matches!(late, Err(Error::CodeExhausted)));
}

/// A Redis that is stopped in order keeps what it counted; so the caps go on where they were.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_redis_gives_nobody_another_round() {
    let mut config = config();
    config.caps.number = Cap { burst: 5, refill_seconds: 3_600 };
    let stage = Stage::with(config).await;
    let replicas = replicas(&stage);
    let ask = |index: usize, phone: &str| {
        let (ask, replica) = (stage.ask_of(phone, DeviceId::generate(), Purpose::SignIn), replicas[index % 2].clone());
        async move { replica.ask_code(ask).await }
    };
    let before = join_all((0..3).map(|index| ask(index, PHONE))).await;
    assert!(before.iter().all(Result::is_ok));
    let mut connection = stage.context.redis.manager().expect("a connection");
    redis::cmd("SAVE").query_async::<()>(&mut connection).await.expect("written down");
    stage.redis.restart().await.expect("Redis comes back");
    for index in 0..2 {
        // Each replica finds its way back by another number.
        eventually("the caps can be kept again", async || ask(index, &format!("098765432{index}")).await.is_ok()).await;
    }
    let after = join_all((0..20).map(|index| ask(index, PHONE))).await;
    assert_eq!(after.iter().filter(|answer| answer.is_ok()).count(), 2, "two of five were left");
    let capped = |error: &Error| matches!(error, Error::CodeCapped { .. });
    assert!(after.iter().filter_map(|answer| answer.as_ref().err()).all(capped));
}

#[tokio::test(flavor = "multi_thread")]
async fn guessed_refresh_tokens_move_nothing_and_a_replay_at_all_replicas_is_one_end() {
    let stage = Stage::new().await;
    let replicas = replicas(&stage);
    let opened = stage.sign_in(PHONE, DeviceId::generate()).await;
    let first = opened.tokens.refresh;
    // One letter is another one, at every place of the token in turn.
    let forged: Vec<String> = (0..first.len())
        .map(|place| {
            let letter = if first.as_bytes()[place] == b'A' { "B" } else { "A" };
            format!("{}{letter}{}", &first[..place], &first[place + 1..])
        })
        .collect();
    let answers = forged.iter().enumerate().map(|(index, token)| replicas[index % 2].refresh(token, None));
    for (place, answer) in join_all(answers).await.into_iter().enumerate() {
        // The last letter of base64url may carry bits that nobody reads; then it is the same token.
        let same = place + 1 == first.len() && answer.is_ok();
        assert!(same || matches!(answer, Err(Error::RefreshInvalid)), "a guess at {place} was taken");
    }
    let next = stage.identity.refresh(&first, None).await.expect("the session lives").refresh;
    assert_ne!(next, first);
    stage.clock.advance(TimeDelta::seconds(11));
    let replays = (0..12).map(|index| replicas[index % 2].refresh(&first, None));
    let answers = join_all(replays).await;
    let replayed = answers.iter().filter(|answer| matches!(answer, Err(Error::RefreshReplayed))).count();
    assert_eq!(replayed, 1, "the first of them ends the session");
    assert!(answers.iter().all(Result::is_err));
    assert_eq!(stage.count("session WHERE end_reason = 'replayed'").await, 1);
    assert_eq!(stage.count("revocation").await, 1);
    assert!(matches!(replicas[1].refresh(&next, None).await, Err(Error::RefreshInvalid)));
}

/// Asks one replica to exchange a code; the status and what came.
async fn exchange(router: &Router, app: &App, code: &str, verifier: &str) -> (StatusCode, Value) {
    let secret = app.secret.as_deref().expect("a confidential client");
    let body = encode(&[
        ("client_id", &app.id),
        ("client_secret", secret),
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", CALLBACK),
        ("code_verifier", verifier),
    ]);
    let request = Request::builder().method(Method::POST).uri("/oauth2/token");
    let request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    let answer = router.clone().oneshot(request.body(Body::from(body)).expect("a request")).await.expect("an answer");
    let status = answer.status();
    let bytes = answer.into_body().collect().await.expect("a body").to_bytes();
    (status, serde_json::from_slice(&bytes).expect("JSON"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_of_a_client_is_exchanged_once_at_all_replicas_together_and_stands_one_verifier() {
    let stage = Stage::new().await;
    let (router, _) = routes::router(stage.replica()).split_for_parts();
    let router = platform::http::finish(
        router,
        HttpSettings::default(),
        stage.context.verifier.clone(),
        platform::task::Shutdown::new(),
    );
    let routers = [stage.router.clone(), router];
    let app = stage.register(json!({})).await;
    let mut browser = Browser::default();
    let code = browser.code(&stage, &app.ask(&[])).await;
    let answers = join_all((0..12).map(|index| exchange(&routers[index % 2], &app, &code, VERIFIER))).await;
    assert_eq!(answers.iter().filter(|(status, _)| *status == StatusCode::OK).count(), 1);
    let refused = |(status, body): &&(StatusCode, Value)| *status == 400 && body["error"] == "invalid_grant";
    assert_eq!(answers.iter().filter(refused).count(), 11);
    assert_eq!(stage.count("session WHERE end_reason = 'code-replayed'").await, 1, "what it gave has ended");

    // Whoever has a code and guesses its verifier has one try at all replicas, and ends it for its owner.
    let code = browser.get(&stage, &app.ask(&[])).await.back().remove("code").expect("a code");
    let guesses: Vec<String> = (0..12).map(|number| format!("{VERIFIER}{number}")).collect();
    let answers = guesses.iter().enumerate().map(|(index, guess)| exchange(&routers[index % 2], &app, &code, guess));
    assert!(join_all(answers).await.iter().all(|answer| refused(&answer)));
    assert!(refused(&&exchange(&routers[1], &app, &code, VERIFIER).await), "the right one comes too late");
    // Codes that nobody gave.
    let junk: Vec<String> = (0..12).map(|number| format!("{code}{number}")).collect();
    let answers = junk.iter().enumerate().map(|(index, code)| exchange(&routers[index % 2], &app, code, VERIFIER));
    assert!(join_all(answers).await.iter().all(|answer| refused(&answer)));
    assert_eq!(stage.count("session WHERE ended_at IS NULL AND client NOT IN ('app', 'browser')").await, 0);
}

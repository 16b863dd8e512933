//! Caps on codes and guesses, the breaker and the budget, across replicas and without Redis.

use std::net::IpAddr;

use chrono::TimeDelta;
use futures::future::join_all;
use platform::problem::Problem;

use crate::challenge::{ChallengeId, Purpose};
use crate::config::{Budget, Cap};
use crate::device::DeviceId;
use crate::error::Error;
use crate::session::Opening;
use crate::testing::{Stage, config, opening, wrong};

const PHONE: &str = "0912345678";

#[tokio::test]
async fn a_number_is_capped_across_devices_and_replicas_but_not_for_its_owner() {
    let mut config = config();
    config.caps.number = Cap { burst: 5, refill_seconds: 360 };
    let stage = Stage::with(config).await;
    let own_device = DeviceId::generate();
    stage.sign_in(PHONE, own_device).await;
    let replicas = [stage.identity.clone(), stage.replica(), stage.replica()];
    let asks = (0..30).map(|index| {
        let ask = stage.ask_of(PHONE, DeviceId::generate(), Purpose::SignIn);
        let replica = replicas[index % 3].clone();
        async move { replica.ask_code(ask).await }
    });
    let answers = join_all(asks).await;
    // The sign-in above took one of five.
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 4);
    assert!(
        answers.iter().flat_map(|answer| answer.as_ref().err()).all(|error| matches!(error, Error::CodeCapped { .. }))
    );
    stage.ask(PHONE, own_device).await.expect("the owner is not locked out");
    stage.ask("0987654321", DeviceId::generate()).await.expect("nor is anybody else");
    stage.clock.advance(TimeDelta::seconds(361));
    stage.ask(PHONE, DeviceId::generate()).await.expect("the bucket has room for one");
    assert!(stage.ask(PHONE, DeviceId::generate()).await.is_err());
}

#[tokio::test]
async fn devices_and_addresses_are_capped_and_a_refusal_costs_nothing() {
    let mut config = config();
    config.caps.device = Cap { burst: 3, refill_seconds: 100 };
    config.caps.address = Cap { burst: 4, refill_seconds: 100 };
    let stage = Stage::with(config).await;
    let ask = |phone: u32, device, address: &str| {
        let mut ask = stage.ask_of(&format!("09{phone:08}"), device, Purpose::SignIn);
        ask.address = Some(address.parse().expect("an address"));
        let identity = stage.identity.clone();
        async move { identity.ask_code(ask).await }
    };
    let device = DeviceId::generate();
    for phone in 0..3 {
        ask(10_000_000 + phone, device, "2001:db8::1").await.expect("within the cap");
    }
    for _ in 0..5 {
        let Err(Error::CodeCapped { retry_s }) = ask(10_000_009, device, "2001:db8::2").await else {
            panic!("the device is capped")
        };
        assert!((50..=100).contains(&retry_s), "{retry_s}");
    }
    // The refusals above took nothing from the network's bucket.
    ask(10_000_004, DeviceId::generate(), "2001:db8::ffff").await.expect("the fourth from this network");
    assert!(matches!(ask(10_000_005, DeviceId::generate(), "2001:db8::3").await, Err(Error::CodeCapped { .. })));
    ask(10_000_005, DeviceId::generate(), "2001:db8:0:1::3").await.expect("another network");
}

#[tokio::test]
async fn without_redis_nothing_is_sent_and_nothing_is_written() {
    let stage = Stage::new().await;
    let (challenge, code) = stage.code(PHONE, DeviceId::generate(), Purpose::SignIn).await;
    stage.redis.kill().await;
    assert!(matches!(stage.ask(PHONE, DeviceId::generate()).await, Err(Error::CapsAway(_))));
    assert_eq!(stage.count("challenge").await, 1);
    // A code that is out is good all the same.
    stage.identity.open_session(opening(challenge, code)).await.expect("a session");
    stage.redis.restart().await.expect("Redis comes back");
    stage.ask(PHONE, DeviceId::generate()).await.expect("sent again");
}

#[tokio::test]
async fn a_row_of_numbers_is_capped_across_replicas_but_not_for_known_devices() {
    let mut config = config();
    config.caps.prefix = Cap { burst: 5, refill_seconds: 600 };
    let stage = Stage::with(config).await;
    let own_device = DeviceId::generate();
    stage.sign_in(PHONE, own_device).await;
    let replicas = [stage.identity.clone(), stage.replica()];
    let asks = (0..20).map(|index| {
        let ask = stage.ask_of(&format!("091234{index:04}"), DeviceId::generate(), Purpose::SignIn);
        let replica = replicas[index % 2].clone();
        async move { replica.ask_code(ask).await }
    });
    let answers = join_all(asks).await;
    // The sign-in above took one of five.
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 4);
    stage.ask(PHONE, own_device).await.expect("a device that its citizen signed in on is not held back");
    stage.ask("0912350000", DeviceId::generate()).await.expect("nor is another row");
    stage.clock.advance(TimeDelta::seconds(601));
    stage.ask("0912349999", DeviceId::generate()).await.expect("there is room for one");
}

#[tokio::test]
async fn codes_that_nobody_answers_open_the_breaker_of_their_carrier() {
    let mut config = config();
    config.caps.unanswered = Cap { burst: 4, refill_seconds: 600 };
    let stage = Stage::with(config).await;
    let own_device = DeviceId::generate();
    for number in 0..12 {
        stage.sign_in(&format!("09123456{number:02}"), DeviceId::generate()).await;
    }
    stage.sign_in(PHONE, own_device).await;
    // Answered codes left nothing behind: four go unanswered, the fifth is not sent.
    for number in 0..4 {
        stage.ask(&format!("09187654{number:02}"), DeviceId::generate()).await.expect("sent");
    }
    let paused = stage.replica().ask_code(stage.ask_of("0911111111", DeviceId::generate(), Purpose::SignIn)).await;
    let Err(error @ Error::CodesPaused { retry_s }) = paused else { panic!("the breaker is open") };
    assert!((500..=600).contains(&retry_s), "{retry_s}");
    let problem = Problem::from(error);
    assert_eq!((problem.status(), problem.code()), (503, "otp-paused"));
    stage.ask(PHONE, own_device).await.expect("a known device of that carrier");
    stage.ask("0987654321", DeviceId::generate()).await.expect("another carrier");
    stage.clock.advance(TimeDelta::seconds(601));
    stage.ask("0911111111", DeviceId::generate()).await.expect("it closes by itself");
}

#[tokio::test]
async fn a_day_costs_no_more_than_its_budget_on_all_replicas() {
    let mut config = config();
    config.budget = Budget { daily_codes: 10, reserved_percent: 20 };
    let stage = Stage::with(config).await;
    let own_device = DeviceId::generate();
    stage.sign_in(PHONE, own_device).await;
    let replicas = [stage.identity.clone(), stage.replica()];
    let asks = (0..30).map(|index| {
        let ask = stage.ask_of(&format!("0987654{index:03}"), DeviceId::generate(), Purpose::SignIn);
        let replica = replicas[index % 2].clone();
        async move { replica.ask_code(ask).await }
    });
    let answers = join_all(asks).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 7, "eight for strangers, one was spent");
    assert!(
        answers.iter().flat_map(|answer| answer.as_ref().err()).all(|error| matches!(error, Error::CodesPaused { .. }))
    );
    for _ in 0..2 {
        stage.ask(PHONE, own_device).await.expect("a fifth is kept for known devices");
    }
    assert!(matches!(stage.ask(PHONE, own_device).await, Err(Error::CodesPaused { .. })), "and no more");
    assert_eq!(stage.count("challenge").await, 10);
    let text = stage.context.metrics.encode();
    assert!(
        text.lines()
            .any(|line| line.contains(r#"otp_day{"#) && line.contains(r#"of="budget""#) && line.ends_with(" 10"))
    );
    stage.clock.advance(TimeDelta::hours(23));
    assert!(stage.ask(PHONE, own_device).await.is_err(), "the day is not over");
    stage.clock.advance(TimeDelta::hours(2));
    stage.ask("0987654999", DeviceId::generate()).await.expect("another day");
}

#[tokio::test]
async fn guesses_from_one_address_are_capped_over_challenges_and_replicas() {
    let mut config = config();
    config.caps.answers = Cap { burst: 6, refill_seconds: 600 };
    let stage = Stage::with(config).await;
    let from = |opening: Opening, address: &str| {
        let address: Option<IpAddr> = Some(address.parse().expect("an address"));
        Opening { address, ..opening }
    };
    let mut codes = Vec::new();
    for number in 0..6 {
        codes.push(stage.code(&format!("091234567{number}"), DeviceId::generate(), Purpose::SignIn).await);
    }
    let replicas = [stage.identity.clone(), stage.replica()];
    let guesses = (0..18).map(|index| {
        let (challenge, code) = &codes[index % 6];
        let guess = from(opening(*challenge, wrong(code)), "203.0.113.9");
        let replica = replicas[index % 2].clone();
        async move { replica.open_session(guess).await }
    });
    let answers: Vec<_> = join_all(guesses).await.into_iter().map(|answer| answer.err().expect("wrong")).collect();
    assert_eq!(answers.iter().filter(|error| matches!(error, Error::CodeWrong { .. })).count(), 6);
    assert_eq!(answers.iter().filter(|error| matches!(error, Error::AnswersCapped { .. })).count(), 12);
    let (challenge, code) = &codes[0];
    let right = || opening(*challenge, code.clone());
    let here = stage.identity.open_session(from(right(), "203.0.113.9")).await;
    assert!(matches!(here, Err(Error::AnswersCapped { .. })), "the right code is not looked at either");
    stage.identity.open_session(from(right(), "203.0.113.10")).await.expect("another address");
}

#[tokio::test]
async fn answers_that_are_no_guesses_use_nothing_up() {
    let mut config = config();
    config.caps.answers = Cap { burst: 2, refill_seconds: 600 };
    let stage = Stage::with(config).await;
    for number in 0..6 {
        let (challenge, code) = stage.code(&format!("091234567{number}"), DeviceId::generate(), Purpose::SignIn).await;
        let address = Some("203.0.113.9".parse().expect("an address"));
        let right = || Opening { address, ..opening(challenge, code.clone()) };
        stage.identity.open_session(right()).await.expect("a session");
        assert!(matches!(stage.identity.open_session(right()).await, Err(Error::CodeUsed)));
        let unknown = Opening { challenge: ChallengeId::generate(), ..right() };
        assert!(matches!(stage.identity.open_session(unknown).await, Err(Error::ChallengeUnknown)));
    }
}

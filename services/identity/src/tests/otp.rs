//! One-time codes: same answers, caps, races, hand-out.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use chrono::TimeDelta;
use futures::future::join_all;
use proto::identity::v1::OtpRequested;
use tracing::field::Field;
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::challenge::Purpose;
use crate::device::DeviceId;
use crate::error::Error;
use crate::testing::{Stage, config, opening, wrong};

const PHONE: &str = "0912345678";

#[tokio::test]
async fn a_code_leaves_only_by_being_taken() {
    let stage = Stage::new().await;
    let asked = stage.ask(PHONE, DeviceId::generate()).await.expect("sent");
    let events = stage.events::<OtpRequested>().await;
    assert_eq!(events, [OtpRequested { challenge_id: asked.id.to_string() }]);
    let taken = stage.identity.take_code(asked.id).await.expect("waits");
    assert_eq!(taken.phone.e164(), "+84912345678");
    assert_eq!((taken.purpose, taken.expires_at), (Purpose::SignIn, asked.expires_at));
    // Neither number nor code stands anywhere in the database as it is.
    let dump: String = sqlx::query_scalar(
        "SELECT string_agg(t::text, ' ') FROM (SELECT c::text AS t FROM identity.challenge c UNION ALL SELECT s::text FROM identity.sending s UNION ALL SELECT o::text FROM identity.outbox o) AS all_rows",
    )
    .fetch_one(&stage.admin())
    .await
    .expect("a dump");
    let hex = |text: &str| text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    for secret in ["912345678", &hex("912345678"), &hex(taken.code.expose())] {
        assert!(!dump.contains(secret));
    }
}

/// The statements that run on this thread while it lives, without those of tasks in the background.
#[derive(Clone, Default)]
pub(super) struct Statements(Arc<Mutex<Vec<String>>>);

impl Statements {
    /// Those since the last time.
    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().expect("no holder panics"))
    }
}

impl<S: Subscriber> Layer<S> for Statements {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() == "sqlx::query" {
            event.record(&mut |field: &Field, value: &dyn Debug| {
                let text = format!("{value:?}");
                let of_a_task = text.contains("revocation") || text.contains("signing_key");
                if field.name() == "summary" && !of_a_task {
                    self.0.lock().expect("no holder panics").push(text);
                }
            });
        }
    }
}

#[tokio::test]
async fn known_and_unknown_numbers_get_the_same_by_the_same_steps() {
    let stage = Stage::new().await;
    stage.sign_in(PHONE, DeviceId::generate()).await;
    let statements = Statements::default();
    let _guard = tracing_subscriber::registry().with(statements.clone()).set_default();
    for purpose in [Purpose::SignIn, Purpose::PinReset] {
        let mut steps = Vec::new();
        for phone in [PHONE, "0987654321"] {
            let asked = stage.ask_for(phone, DeviceId::generate(), purpose).await.expect("sent");
            assert_eq!(asked.resend_after_s, stage.identity.config.lifetimes.otp_resend_seconds);
            assert!(asked.expires_at - stage.identity.now() > TimeDelta::seconds(200));
            steps.push(statements.take());
        }
        assert_eq!(steps[0], steps[1]);
        assert!(steps[0].len() >= 6, "{steps:?}");
    }
}

#[tokio::test]
async fn a_code_is_taken_once_and_again_for_a_minute() {
    let stage = Stage::new().await;
    let asked = stage.ask(PHONE, DeviceId::generate()).await.expect("sent");
    let first = stage.identity.take_code(asked.id).await.expect("waits");
    stage.clock.advance(TimeDelta::seconds(50));
    let again = stage.identity.take_code(asked.id).await.expect("the answer may have been lost");
    assert!(first.code == again.code);
    stage.clock.advance(TimeDelta::seconds(11));
    assert!(matches!(stage.identity.take_code(asked.id).await, Err(Error::NotFound)));
    let late = stage.ask(PHONE, DeviceId::generate()).await.expect("sent");
    stage.clock.advance(TimeDelta::seconds(300));
    assert!(matches!(stage.identity.take_code(late.id).await, Err(Error::NotFound)));
}

#[tokio::test]
async fn the_pause_binds_one_device_and_not_the_owner() {
    let mut config = config();
    config.lifetimes.otp_resend_seconds = 60;
    let stage = Stage::with(config).await;
    let device = DeviceId::generate();
    stage.ask(PHONE, device).await.expect("sent");
    let Err(Error::CodeTooSoon { retry_s }) = stage.ask("+84 912 345 678", device).await else {
        panic!("the same number")
    };
    assert!((58..=60).contains(&retry_s), "{retry_s}");
    stage.ask(PHONE, DeviceId::generate()).await.expect("another device");
    stage.ask("0987654321", device).await.expect("another number");
    stage.clock.advance(TimeDelta::seconds(60));
    stage.ask(PHONE, device).await.expect("the pause is over");
}

#[tokio::test]
async fn requests_at_the_same_time_send_one_code() {
    let mut config = config();
    config.lifetimes.otp_resend_seconds = 60;
    let stage = Stage::with(config).await;
    let device = DeviceId::generate();
    let answers = join_all((0..20).map(|_| stage.ask(PHONE, device))).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    assert!(
        answers.iter().flat_map(|answer| answer.as_ref().err()).all(|error| matches!(error, Error::CodeTooSoon { .. }))
    );
    assert_eq!(stage.count("challenge").await, 1);
    assert_eq!(stage.count("outbox").await, 1);
}

#[tokio::test]
async fn wrong_answers_at_the_same_time_are_all_counted() {
    let stage = Stage::new().await;
    let (challenge, code) = stage.code(PHONE, DeviceId::generate(), Purpose::SignIn).await;
    let answers = join_all((0..20).map(|_| stage.identity.open_session(opening(challenge, wrong(&code))))).await;
    let mut left: Vec<u8> = Vec::new();
    let mut exhausted = 0;
    for answer in answers {
        match answer.err().expect("wrong") {
            Error::CodeWrong { left: tries } => left.push(tries),
            Error::CodeExhausted => exhausted += 1,
            error => panic!("{error}"),
        }
    }
    left.sort_unstable();
    assert_eq!((left.as_slice(), exhausted), ([0, 1, 2, 3, 4].as_slice(), 15));
    let late = stage.identity.open_session(opening(challenge, code)).await;
    assert!(matches!(late, Err(Error::CodeExhausted)), "the right code comes too late");
    assert_eq!(stage.count("citizen").await, 0);
}

#[tokio::test]
async fn a_code_is_bound_to_device_purpose_and_time() {
    let stage = Stage::new().await;
    let (challenge, code) = stage.code(PHONE, DeviceId::generate(), Purpose::SignIn).await;
    let mut foreign = opening(challenge, code.clone());
    foreign.device = Some(DeviceId::generate());
    assert!(matches!(stage.identity.open_session(foreign).await, Err(Error::ChallengeUnknown)));
    let (reset, reset_code) = stage.code(PHONE, DeviceId::generate(), Purpose::PinReset).await;
    assert!(matches!(stage.identity.open_session(opening(reset, reset_code)).await, Err(Error::ChallengeUnknown)));
    stage.clock.advance(TimeDelta::seconds(300));
    assert!(matches!(stage.identity.open_session(opening(challenge, code)).await, Err(Error::CodeExpired)));
    assert_eq!(stage.count("citizen").await, 0);
}

//! The PIN: first, changed, reset, guessed.

use chrono::TimeDelta;
use futures::future::join_all;
use platform::auth::Principal;
use proto::identity::v1::PinChanged;

use crate::challenge::{ChallengeId, Purpose};
use crate::citizen::CitizenId;
use crate::config::Cap;
use crate::device::DeviceId;
use crate::error::Error;
use crate::pin::Proof;
use crate::pin::strength::Pin;
use crate::testing::{Stage, config, wrong};

const PHONE: &str = "0912345678";

fn pin(text: &str) -> Pin {
    Pin::parse(text).expect("six digits")
}

async fn signed_in(stage: &Stage, device: DeviceId) -> Principal {
    let opened = stage.sign_in(PHONE, device).await;
    stage.principal(&opened.tokens.access).await
}

#[tokio::test]
async fn the_first_pin_needs_a_fresh_session_and_the_next_the_current_one() {
    let stage = Stage::new().await;
    let device = DeviceId::generate();
    let stale = signed_in(&stage, device).await;
    stage.clock.advance(TimeDelta::seconds(900));
    let refused = stage.identity.set_pin(&stale, &pin("502917"), Proof::FreshSession, None).await;
    assert!(matches!(refused, Err(Error::NotFresh)));
    let caller = signed_in(&stage, device).await;
    let citizen = CitizenId::from(caller.subject);
    assert!(matches!(stage.identity.check_pin(citizen, &pin("502917")).await, Err(Error::PinNotSet)));
    let absent = stage.identity.set_pin(&caller, &pin("502917"), Proof::Current(pin("271828")), None).await;
    assert!(matches!(absent, Err(Error::PinNotSet)));
    stage.identity.set_pin(&caller, &pin("502917"), Proof::FreshSession, None).await.expect("set");
    assert!(stage.identity.citizen(citizen).await.expect("a citizen").pin_set);
    stage.identity.check_pin(citizen, &pin("502917")).await.expect("right");
    let unproved = stage.identity.set_pin(&caller, &pin("271828"), Proof::FreshSession, None).await;
    assert!(matches!(unproved, Err(Error::PinProofRequired)));
    let guessed = stage.identity.set_pin(&caller, &pin("271828"), Proof::Current(pin("483920")), None).await;
    assert!(matches!(guessed, Err(Error::PinWrong { .. })));
    stage.identity.set_pin(&caller, &pin("271828"), Proof::Current(pin("502917")), None).await.expect("changed");
    stage.identity.check_pin(citizen, &pin("271828")).await.expect("right");
    let hash: String =
        sqlx::query_scalar("SELECT hash FROM identity.pin").fetch_one(&stage.admin()).await.expect("one PIN");
    assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
}

#[tokio::test]
async fn guesses_at_the_same_time_are_all_counted() {
    let stage = Stage::new().await;
    let caller = signed_in(&stage, DeviceId::generate()).await;
    let citizen = CitizenId::from(caller.subject);
    stage.identity.set_pin(&caller, &pin("502917"), Proof::FreshSession, None).await.expect("set");
    let guesses: Vec<Pin> = (0..12).map(|number| pin(&format!("48392{}", number % 10))).collect();
    let answers = join_all(guesses.iter().map(|guess| stage.identity.check_pin(citizen, guess))).await;
    let wrong = answers.iter().filter(|answer| matches!(answer, Err(Error::PinWrong { .. }))).count();
    let delayed = answers.iter().filter(|answer| matches!(answer, Err(Error::PinDelayed { .. }))).count();
    assert_eq!((wrong, delayed), (3, 9), "the third starts the wait");
    assert!(
        matches!(stage.identity.check_pin(citizen, &pin("502917")).await, Err(Error::PinDelayed { .. })),
        "also for the right one"
    );
    stage.clock.advance(TimeDelta::seconds(30));
    stage.identity.check_pin(citizen, &pin("502917")).await.expect("right after the wait");
    assert!(
        matches!(stage.identity.check_pin(citizen, &pin("483920")).await, Err(Error::PinWrong { retry_at: None })),
        "and the count begins again"
    );
}

#[tokio::test]
async fn the_wait_grows_with_every_wrong_pin() {
    let stage = Stage::new().await;
    let caller = signed_in(&stage, DeviceId::generate()).await;
    let citizen = CitizenId::from(caller.subject);
    stage.identity.set_pin(&caller, &pin("502917"), Proof::FreshSession, None).await.expect("set");
    for expected_s in [0, 0, 30, 60, 120] {
        let now = stage.clock.now();
        let Err(Error::PinWrong { retry_at }) = stage.identity.check_pin(citizen, &pin("483920")).await else {
            panic!("wrong")
        };
        let wait = retry_at.map_or(TimeDelta::zero(), |retry_at| retry_at - now);
        assert_eq!(wait.num_seconds(), expected_s);
        stage.clock.advance(wait + TimeDelta::milliseconds(10));
    }
}

#[tokio::test]
async fn a_forgotten_pin_is_reset_by_a_code_to_the_own_number_and_cools_down() {
    let stage = Stage::new().await;
    let device = DeviceId::generate();
    let caller = signed_in(&stage, device).await;
    let citizen = CitizenId::from(caller.subject);
    stage.identity.set_pin(&caller, &pin("502917"), Proof::FreshSession, None).await.expect("set");
    for _ in 0..3 {
        assert!(stage.identity.check_pin(citizen, &pin("483920")).await.is_err());
    }
    let (challenge, code) = stage.code("0987654321", device, Purpose::PinReset).await;
    let foreign = stage.identity.set_pin(&caller, &pin("271828"), Proof::Code(challenge, code), None).await;
    assert!(matches!(foreign, Err(Error::ChallengeUnknown)), "a code to another number proves nothing");
    let (challenge, code) = stage.code(PHONE, DeviceId::generate(), Purpose::PinReset).await;
    let foreign = stage.identity.set_pin(&caller, &pin("271828"), Proof::Code(challenge, code), None).await;
    assert!(matches!(foreign, Err(Error::ChallengeUnknown)), "nor does one asked for on another device");
    let (challenge, code) = stage.code(PHONE, device, Purpose::PinReset).await;
    let mistyped = stage.identity.set_pin(&caller, &pin("271828"), Proof::Code(challenge, wrong(&code)), None).await;
    assert!(matches!(mistyped, Err(Error::CodeWrong { left: 4 })));
    let set = stage.identity.set_pin(&caller, &pin("271828"), Proof::Code(challenge, code), None).await.expect("reset");
    assert_eq!(set.cooling_until, Some(set.set_at + TimeDelta::days(1)));
    stage.identity.check_pin(citizen, &pin("271828")).await.expect("the wait is over too");
    let changed =
        stage.identity.set_pin(&caller, &pin("314159"), Proof::Current(pin("271828")), None).await.expect("changed");
    assert!(changed.cooling_until.is_some(), "a change does not end the cooling");
    let told = stage.events::<PinChanged>().await;
    assert_eq!(told.iter().map(|event| event.way.as_str()).collect::<Vec<_>>(), ["first", "reset", "changed"]);
    let cooling = set.cooling_until.map_or(0, |until| until.timestamp());
    assert_eq!(told.iter().map(|event| event.cooling_until).collect::<Vec<_>>(), [0, cooling, cooling]);
    assert!(
        told.iter().all(|event| event.user_id == citizen.to_string() && event.session_id == caller.session.to_string())
    );
}

#[tokio::test]
async fn invented_challenges_and_wrong_codes_cost_no_hash() {
    let stage = Stage::new().await;
    let device = DeviceId::generate();
    let caller = signed_in(&stage, device).await;
    stage.identity.set_pin(&caller, &pin("502917"), Proof::FreshSession, None).await.expect("set");
    let (challenge, code) = stage.code(PHONE, device, Purpose::PinReset).await;
    let (foreign, foreign_code) = stage.code("0987654321", device, Purpose::PinReset).await;
    // Nobody can hash while all places are taken.
    let places = stage.identity.config.pin_hashes_at_once;
    let taken = join_all((0..places).map(|_| stage.identity.hasher.place())).await;
    let new = pin("271828");
    let reset = |challenge, code| stage.identity.set_pin(&caller, &new, Proof::Code(challenge, code), None);
    assert!(matches!(reset(ChallengeId::generate(), code.clone()).await, Err(Error::ChallengeUnknown)));
    assert!(matches!(reset(foreign, foreign_code).await, Err(Error::ChallengeUnknown)));
    for left in (0..5).rev() {
        let mistyped = reset(challenge, wrong(&code)).await;
        assert!(matches!(mistyped, Err(Error::CodeWrong { left: counted }) if counted == left), "{mistyped:?}");
    }
    assert!(matches!(reset(challenge, code).await, Err(Error::CodeExhausted)));
    let (challenge, code) = stage.code(PHONE, device, Purpose::PinReset).await;
    stage.clock.advance(TimeDelta::seconds(300));
    assert!(matches!(reset(challenge, code).await, Err(Error::CodeExpired)));
    assert!(taken.iter().all(Result::is_ok));
}

#[tokio::test]
async fn a_citizen_sets_only_so_many_pins() {
    let mut config = config();
    config.caps.pin = Cap { burst: 2, refill_seconds: 60 };
    let stage = Stage::with(config).await;
    let device = DeviceId::generate();
    let caller = signed_in(&stage, device).await;
    let change = |from: &'static str, to: &'static str| {
        let (caller, identity) = (&caller, &stage.identity);
        async move { identity.set_pin(caller, &pin(to), Proof::Current(pin(from)), None).await }
    };
    stage.identity.set_pin(&caller, &pin("502917"), Proof::FreshSession, None).await.expect("the first");
    change("502917", "271828").await.expect("the second");
    assert!(matches!(change("271828", "314159").await, Err(Error::PinCapped { retry_s: 1..=60 })));
    let (challenge, code) = stage.code(PHONE, device, Purpose::PinReset).await;
    let reset = stage.identity.set_pin(&caller, &pin("314159"), Proof::Code(challenge, code.clone()), None).await;
    assert!(matches!(reset, Err(Error::PinCapped { .. })));
    stage.clock.advance(TimeDelta::seconds(60));
    let reset = stage.identity.set_pin(&caller, &pin("314159"), Proof::Code(challenge, code), None).await;
    reset.expect("the code is still good");
    let other = stage.sign_in("0987654321", DeviceId::generate()).await;
    let other = stage.principal(&other.tokens.access).await;
    stage.identity.set_pin(&other, &pin("502917"), Proof::FreshSession, None).await.expect("another citizen's");
}

#[tokio::test]
async fn guesses_at_codes_for_a_new_pin_are_capped_by_address() {
    let mut config = config();
    config.caps.answers = Cap { burst: 2, refill_seconds: 600 };
    let stage = Stage::with(config).await;
    let device = DeviceId::generate();
    let caller = signed_in(&stage, device).await;
    let reset = async |proof: (ChallengeId, crate::challenge::Code), address: &str| {
        let address = Some(address.parse().expect("an address"));
        stage.identity.set_pin(&caller, &pin("502917"), Proof::Code(proof.0, proof.1), address).await
    };
    let (here, there) = ("203.0.113.9", "203.0.113.10");
    for _ in 0..3 {
        let (challenge, code) = stage.code(PHONE, device, Purpose::PinReset).await;
        reset((challenge, code.clone()), here).await.expect("right, so no guess");
        assert!(matches!(reset((challenge, code.clone()), here).await, Err(Error::CodeUsed)));
        assert!(matches!(reset((ChallengeId::generate(), code), here).await, Err(Error::ChallengeUnknown)));
    }
    for _ in 0..2 {
        let (challenge, code) = stage.code(PHONE, device, Purpose::PinReset).await;
        assert!(matches!(reset((challenge, wrong(&code)), here).await, Err(Error::CodeWrong { .. })));
    }
    let (challenge, code) = stage.code(PHONE, device, Purpose::PinReset).await;
    let capped = reset((challenge, code.clone()), here).await;
    assert!(matches!(capped, Err(Error::AnswersCapped { .. })), "not looked at, though it is right: {capped:?}");
    reset((challenge, code), there).await.expect("another address");
}

#[tokio::test]
async fn many_checks_at_once_wait_their_turn_and_token_checks_do_not() {
    let stage = Stage::new().await;
    let mut citizens = Vec::new();
    for index in 0..8 {
        let opened = stage.sign_in(&format!("09100000{index:02}"), DeviceId::generate()).await;
        let caller = stage.principal(&opened.tokens.access).await;
        stage.identity.set_pin(&caller, &pin("502917"), Proof::FreshSession, None).await.expect("set");
        citizens.push((CitizenId::from(caller.subject), opened.tokens.access));
    }
    let identity = &stage.identity;
    let checks =
        join_all(citizens.iter().map(|(citizen, _)| async move { identity.check_pin(*citizen, &pin("502917")).await }));
    let tokens = async {
        for (_, token) in &citizens {
            stage.principal(token).await;
        }
        identity.hasher.in_use()
    };
    let (checked, in_use) = tokio::join!(checks, tokens);
    assert!(checked.iter().all(Result::is_ok));
    assert!(in_use <= identity.config.pin_hashes_at_once, "{in_use} hashes at once");
    assert_eq!(identity.hasher.in_use(), 0);
}

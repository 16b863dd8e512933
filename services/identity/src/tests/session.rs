//! Sessions: start, rotation, replay, end.

use std::collections::HashSet;

use chrono::TimeDelta;
use futures::future::join_all;
use platform::auth::{AuthError, Revoked};
use proto::identity::v1::{CitizenRegistered, SessionRevoked, SessionStarted};

use crate::audit::Origin;
use crate::challenge::Purpose;
use crate::device::DeviceId;
use crate::error::Error;
use crate::revocation;
use crate::testing::{Stage, opening};

const PHONE: &str = "0912345678";

#[tokio::test]
async fn the_first_sign_in_makes_the_citizen() {
    let stage = Stage::new().await;
    let (device, other_device) = (DeviceId::generate(), DeviceId::generate());
    let first = stage.sign_in(PHONE, device).await;
    let again = stage.sign_in("+84912345678", other_device).await;
    assert!(first.new_citizen && !again.new_citizen);
    assert_eq!(first.citizen.id, again.citizen.id);
    assert_eq!(first.citizen.phone_masked(), "+84******678");
    let user_id = first.citizen.id.to_string();
    let registered = CitizenRegistered { user_id: user_id.clone(), tier: 0, language: "vi".to_owned() };
    assert_eq!(stage.events::<CitizenRegistered>().await, [registered]);
    let started = stage.events::<SessionStarted>().await;
    assert_eq!(started.len(), 2);
    assert!(started.iter().all(|event| event.new_device && event.user_id == user_id));
    let principal = stage.principal(&first.tokens.access).await;
    assert_eq!(principal.subject, first.citizen.id.uuid());
    assert_eq!((principal.client.as_str(), principal.session.to_string()), ("app", started[0].session_id.clone()));
    assert_eq!((principal.expires_at - principal.authenticated_at).num_seconds(), 600);
}

#[tokio::test]
async fn a_code_starts_one_session_however_often_it_comes() {
    let stage = Stage::new().await;
    let (challenge, code) = stage.code(PHONE, DeviceId::generate(), Purpose::SignIn).await;
    let answers = join_all((0..10).map(|_| stage.identity.open_session(opening(challenge, code.clone())))).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    assert!(answers.iter().flat_map(|answer| answer.as_ref().err()).all(|error| matches!(error, Error::CodeUsed)));
    assert_eq!((stage.count("session").await, stage.count("citizen").await), (1, 1));
}

#[tokio::test]
async fn one_number_is_one_citizen_also_at_the_same_time() {
    let stage = Stage::new().await;
    let mut codes = Vec::new();
    for _ in 0..8 {
        codes.push(stage.code(PHONE, DeviceId::generate(), Purpose::SignIn).await);
    }
    let opened =
        join_all(codes.into_iter().map(|(challenge, code)| stage.identity.open_session(opening(challenge, code))))
            .await;
    let opened: Vec<_> = opened.into_iter().map(|opened| opened.expect("a session")).collect();
    assert_eq!(opened.iter().filter(|opened| opened.new_citizen).count(), 1);
    assert_eq!(opened.iter().map(|opened| opened.citizen.id).collect::<HashSet<_>>().len(), 1);
    assert_eq!((stage.count("citizen").await, stage.count("session").await), (1, 8));
    assert_eq!(stage.events::<CitizenRegistered>().await.len(), 1);
}

#[tokio::test]
async fn one_token_at_the_same_time_gets_one_successor() {
    let stage = Stage::new().await;
    let opened = stage.sign_in(PHONE, DeviceId::generate()).await;
    let (one, other) = (stage.identity.clone(), stage.replica());
    let refreshes = (0..20).map(|index| {
        if index % 2 == 0 {
            one.refresh(&opened.tokens.refresh, None)
        } else {
            other.refresh(&opened.tokens.refresh, None)
        }
    });
    let answers = join_all(refreshes).await;
    let successors: HashSet<String> = answers.into_iter().map(|answer| answer.expect("all get it").refresh).collect();
    assert_eq!(successors.len(), 1);
    assert!(!successors.contains(&opened.tokens.refresh));
    let generation: i32 = sqlx::query_scalar("SELECT generation FROM identity.session")
        .fetch_one(&stage.admin())
        .await
        .expect("one session");
    assert_eq!(generation, 1);
}

#[tokio::test]
async fn a_lost_answer_is_given_again_within_the_grace_only() {
    let stage = Stage::new().await;
    let opened = stage.sign_in(PHONE, DeviceId::generate()).await;
    let first = stage.identity.refresh(&opened.tokens.refresh, None).await.expect("rotates");
    stage.clock.advance(TimeDelta::seconds(9));
    let again = stage.identity.refresh(&opened.tokens.refresh, None).await.expect("the answer was lost");
    assert_eq!(first.refresh, again.refresh);
    stage.clock.advance(TimeDelta::seconds(2));
    assert!(matches!(stage.identity.refresh(&opened.tokens.refresh, None).await, Err(Error::RefreshReplayed)));
    assert!(
        matches!(stage.identity.refresh(&first.refresh, None).await, Err(Error::RefreshInvalid)),
        "the family is dead"
    );
}

#[tokio::test]
async fn a_replay_in_the_same_second_kills_that_family_only() {
    let stage = Stage::new().await;
    let victim = stage.sign_in(PHONE, DeviceId::generate()).await;
    let own_other = stage.sign_in(PHONE, DeviceId::generate()).await;
    let stranger = stage.sign_in("0987654321", DeviceId::generate()).await;
    let second = stage.identity.refresh(&victim.tokens.refresh, None).await.expect("rotates");
    let third = stage.identity.refresh(&second.refresh, None).await.expect("rotates");
    let replays = join_all((0..10).map(|_| stage.identity.refresh(&victim.tokens.refresh, None))).await;
    assert_eq!(replays.iter().filter(|answer| matches!(answer, Err(Error::RefreshReplayed))).count(), 1, "one kills");
    assert!(replays.iter().all(Result::is_err));
    assert!(matches!(stage.identity.refresh(&third.refresh, None).await, Err(Error::RefreshInvalid)));
    let session = stage.principal(&own_other.tokens.access).await.session;
    stage.identity.refresh(&own_other.tokens.refresh, None).await.expect("the citizen's other session lives");
    stage.identity.refresh(&stranger.tokens.refresh, None).await.expect("so does everybody else's");
    let revoked = stage.events::<SessionRevoked>().await;
    assert_eq!(revoked.len(), 1);
    assert_eq!((revoked[0].position, revoked[0].user_id.clone()), (1, victim.citizen.id.to_string()));
    assert_ne!(revoked[0].session_id, session.to_string());
    assert_eq!(
        stage.context.verifier.verify(&third.access).await,
        Err(AuthError::Revoked),
        "its access tokens are refused at once"
    );
    let (listed, position) = revocation::list(&stage.identity.pool, 0, 10).await.expect("a list");
    let ended = Revoked::Session(revoked[0].session_id.parse().expect("a UUID"));
    assert_eq!((listed.len(), position, listed[0].what), (1, 1, ended));
}

#[tokio::test]
async fn another_replica_learns_of_a_revocation_from_the_database() {
    let stage = Stage::new().await;
    let opened = stage.sign_in(PHONE, DeviceId::generate()).await;
    let replica = stage.replica();
    replica.verifier.verify(&opened.tokens.access).await.expect("valid there too");
    let principal = stage.principal(&opened.tokens.access).await;
    stage.identity.sign_out(opened.citizen.id, principal.session.into(), Origin::default()).await.expect("signed out");
    let known = async {
        while replica.verifier.verify(&opened.tokens.access).await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(5), known).await.expect("within five seconds");
}

#[tokio::test]
async fn a_session_ends_when_unused_and_at_its_end() {
    let stage = Stage::new().await;
    let idle = stage.sign_in(PHONE, DeviceId::generate()).await;
    stage.clock.advance(TimeDelta::days(30));
    assert!(matches!(stage.identity.refresh(&idle.tokens.refresh, None).await, Err(Error::RefreshInvalid)));
    let mut token = stage.sign_in(PHONE, DeviceId::generate()).await.tokens.refresh;
    let mut days = 0;
    while let Ok(tokens) = stage.identity.refresh(&token, None).await {
        token = tokens.refresh;
        stage.clock.advance(TimeDelta::days(29));
        days += 29;
    }
    assert_eq!(days, 203, "refreshed until 180 days were over");
}

#[tokio::test]
async fn signing_out_ends_one_session_and_may_be_repeated() {
    let stage = Stage::new().await;
    let here = stage.sign_in(PHONE, DeviceId::generate()).await;
    let there = stage.sign_in(PHONE, DeviceId::generate()).await;
    let stranger = stage.sign_in("0987654321", DeviceId::generate()).await;
    let session = stage.principal(&here.tokens.access).await.session.into();
    stage
        .identity
        .sign_out(stranger.citizen.id, session, Origin::default())
        .await
        .expect("another citizen's session is not touched");
    stage.identity.refresh(&here.tokens.refresh, None).await.expect("alive");
    for _ in 0..3 {
        stage.identity.sign_out(here.citizen.id, session, Origin::default()).await.expect("signed out");
    }
    assert!(matches!(stage.identity.refresh(&here.tokens.refresh, None).await, Err(Error::RefreshInvalid)));
    stage.identity.refresh(&there.tokens.refresh, None).await.expect("alive");
    assert_eq!(stage.events::<SessionRevoked>().await.len(), 1);
}

#[tokio::test]
async fn revocations_have_positions_without_gaps_in_the_order_of_commits() {
    let stage = Stage::new().await;
    let mut sessions = Vec::new();
    for index in 0..12 {
        let opened = stage.sign_in(&format!("09100000{index:02}"), DeviceId::generate()).await;
        sessions.push((opened.citizen.id, stage.principal(&opened.tokens.access).await.session.into()));
    }
    join_all(sessions.iter().map(|(citizen, session)| stage.identity.sign_out(*citizen, *session, Origin::default())))
        .await
        .into_iter()
        .for_each(|ended| ended.expect("signed out"));
    let positions: Vec<i64> = stage.events::<SessionRevoked>().await.iter().map(|event| event.position).collect();
    assert_eq!(positions, (1..=12).collect::<Vec<_>>(), "events are in the order of positions");
    let (page, head) = revocation::list(&stage.identity.pool, 5, 3).await.expect("a page");
    assert_eq!((page.iter().map(|one| one.position).collect::<Vec<_>>(), head), (vec![6, 7, 8], 12));
}

#[tokio::test]
async fn forged_and_foreign_tokens_touch_no_session() {
    let stage = Stage::new().await;
    let opened = stage.sign_in(PHONE, DeviceId::generate()).await;
    for forged in
        ["", "x", &opened.tokens.access, &opened.tokens.refresh[1..], &"A".repeat(opened.tokens.refresh.len())]
    {
        assert!(matches!(stage.identity.refresh(forged, None).await, Err(Error::RefreshInvalid)));
    }
    stage.identity.refresh(&opened.tokens.refresh, None).await.expect("alive");
    assert_eq!(stage.count("revocation").await, 0);
}

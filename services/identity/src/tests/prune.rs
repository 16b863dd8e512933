//! What is over goes, what is not stays.

use chrono::TimeDelta;

use crate::audit::Origin;
use crate::challenge::Purpose;
use crate::device::DeviceId;
use crate::error::Error;
use crate::testing::{Stage, opening};

const PHONE: &str = "0912345678";

#[tokio::test]
async fn codes_are_wiped_after_they_were_taken_and_challenges_go_later() {
    let stage = Stage::new().await;
    let (challenge, code) = stage.code(PHONE, DeviceId::generate(), Purpose::SignIn).await;
    stage.identity.prune().await.expect("pruned");
    assert_eq!(stage.count("challenge WHERE code IS NOT NULL").await, 1, "it may be asked for again");
    stage.clock.advance(TimeDelta::seconds(60));
    stage.identity.prune().await.expect("pruned");
    assert_eq!(stage.count("challenge WHERE code IS NOT NULL").await, 0);
    assert_eq!(stage.count("challenge WHERE phone IS NOT NULL").await, 1, "the citizen may still answer");
    stage.clock.advance(TimeDelta::seconds(240));
    stage.identity.prune().await.expect("pruned");
    assert_eq!(stage.count("challenge WHERE phone IS NOT NULL").await, 0);
    assert!(
        matches!(stage.identity.open_session(opening(challenge, code)).await, Err(Error::CodeExpired)),
        "a late answer is told so"
    );
    stage.clock.advance(TimeDelta::minutes(30));
    stage.identity.prune().await.expect("pruned");
    assert_eq!((stage.count("challenge").await, stage.count("sending").await), (0, 0));
}

#[tokio::test]
async fn sessions_and_revocations_go_when_no_token_of_theirs_is_alive() {
    let stage = Stage::new().await;
    let ended = stage.sign_in(PHONE, DeviceId::generate()).await;
    let living = stage.sign_in(PHONE, DeviceId::generate()).await;
    let session = stage.principal(&ended.tokens.access).await.session.into();
    stage.identity.sign_out(ended.citizen.id, session, Origin::default()).await.expect("signed out");
    stage.identity.prune().await.expect("pruned");
    assert_eq!((stage.count("session").await, stage.count("revocation").await), (2, 1));
    stage.clock.advance(TimeDelta::seconds(611));
    stage.identity.prune().await.expect("pruned");
    assert_eq!((stage.count("session").await, stage.count("revocation").await), (2, 0));
    stage.clock.advance(TimeDelta::days(1));
    stage.identity.prune().await.expect("pruned");
    assert_eq!(stage.count("session").await, 1);
    stage.identity.refresh(&living.tokens.refresh, None).await.expect("alive");
    stage.clock.advance(TimeDelta::days(32));
    stage.identity.prune().await.expect("pruned");
    assert_eq!(stage.count("session").await, 0, "unused for longer than it lives");
}

#[tokio::test]
async fn more_than_one_batch_goes_at_once() {
    let stage = Stage::new().await;
    let opened = stage.sign_in(PHONE, DeviceId::generate()).await;
    sqlx::query(
        "INSERT INTO identity.revocation (position, session_id, revoked_at, forget_at)
        SELECT n, gen_random_uuid(), now() - interval '2 hours', now() - interval '1 hour' FROM generate_series(1, 2500) AS n",
    )
    .execute(&stage.admin())
    .await
    .expect("filled");
    stage.identity.prune().await.expect("pruned");
    assert_eq!(stage.count("revocation").await, 0);
    stage.identity.refresh(&opened.tokens.refresh, None).await.expect("alive");
}

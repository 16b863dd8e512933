//! Signing keys: made once, rotated without a gap, removed when over.

use chrono::TimeDelta;
use futures::future::join_all;

use crate::audit::Behest;
use crate::device::DeviceId;
use crate::key::jwks;
use crate::testing::{Stage, config};
use crate::{Algorithm, Identity, Urgency};

const PHONE: &str = "0912345678";

fn behest() -> Behest {
    Behest::of_process("test", "due")
}

async fn published(identity: &Identity) -> usize {
    let jwks = jwks(&identity.pool, identity.clock.now()).await.expect("a key set");
    jwks["keys"].as_array().map_or(0, Vec::len)
}

#[tokio::test]
async fn replicas_that_start_together_make_one_pair() {
    let stage = Stage::new().await;
    sqlx::query("DELETE FROM identity.signing_key").execute(&stage.admin()).await.expect("none left");
    let replicas: Vec<_> = (0..6).map(|_| stage.replica()).collect();
    let signers = join_all(replicas.iter().map(|replica| replica.signer())).await;
    let kids: std::collections::HashSet<String> =
        signers.into_iter().map(|signer| signer.expect("a key").kid.clone()).collect();
    assert_eq!(kids.len(), 1);
    sqlx::query("DELETE FROM identity.signing_key").execute(&stage.admin()).await.expect("none left");
    let made = join_all(replicas.iter().map(|replica| replica.make_first_keys(Algorithm::EdDsa))).await;
    assert_eq!(made.into_iter().filter(|made| *made.as_ref().expect("looked")).count(), 1, "one replica says so");
    assert_eq!((stage.count("signing_key").await, published(&stage.identity).await), (2, 2));
}

#[tokio::test]
async fn tokens_outlive_a_rotation_and_keys_do_not_outlive_their_tokens() {
    let stage = Stage::new().await;
    let before = stage.sign_in(PHONE, DeviceId::generate()).await;
    let first_kid = stage.identity.signer().await.expect("a key").kid.clone();
    let next_kid: String = sqlx::query_scalar("SELECT kid FROM identity.signing_key WHERE state = 'next'")
        .fetch_one(&stage.admin())
        .await
        .expect("a next key");
    let behind = stage.replica();
    behind.signer().await.expect("a key");
    assert!(stage.identity.rotate_keys(Urgency::Now, &behest()).await.expect("rotated"));
    assert_eq!(stage.identity.signer().await.expect("a key").kid, next_kid, "the one that was published takes over");
    assert_eq!(published(&stage.identity).await, 3);
    let after = stage.sign_in(PHONE, DeviceId::generate()).await;
    let late =
        behind.refresh(&after.tokens.refresh, None).await.expect("a replica that is behind signs with the old key");
    for token in [&before.tokens.access, &after.tokens.access, &late.access] {
        stage.context.verifier.verify(token).await.expect("valid");
    }
    assert_eq!(jsonwebtoken::decode_header(&late.access).expect("a header").kid, Some(first_kid));
    let destroyed: bool =
        sqlx::query_scalar("SELECT private_key IS NULL FROM identity.signing_key WHERE state = 'retired'")
            .fetch_one(&stage.admin())
            .await
            .expect("one");
    assert!(destroyed);
    stage.clock.advance(TimeDelta::seconds(660));
    assert_eq!(published(&stage.identity).await, 2, "no token of it can be alive");
}

#[tokio::test]
async fn a_key_rotates_by_age_once_its_successor_is_well_known() {
    let mut config = config();
    config.lifetimes.signing_key_seconds = 3_600;
    let stage = Stage::with(config).await;
    assert!(!stage.identity.rotate_keys(Urgency::WhenDue, &behest()).await.expect("looked"), "too young");
    stage.clock.advance(TimeDelta::hours(1));
    let replicas = [stage.replica(), stage.replica(), stage.replica()];
    let behest = behest();
    let rotated = join_all(replicas.iter().map(|replica| replica.rotate_keys(Urgency::WhenDue, &behest))).await;
    assert_eq!(
        rotated.into_iter().filter(|rotated| *rotated.as_ref().expect("looked")).count(),
        1,
        "one replica rotates"
    );
}

#[tokio::test]
async fn a_key_that_clients_may_not_know_yet_takes_over_only_by_force() {
    let stage = Stage::new().await;
    let rotate = async |urgency| stage.identity.rotate_keys(urgency, &behest()).await.expect("looked");
    assert!(rotate(Urgency::Now).await, "the first two were published together");
    assert!(!rotate(Urgency::Now).await, "the next one is not in the key sets that clients keep");
    stage.clock.advance(TimeDelta::seconds(599));
    assert!(!rotate(Urgency::Now).await);
    stage.clock.advance(TimeDelta::seconds(1));
    assert!(rotate(Urgency::Now).await);
    assert!(rotate(Urgency::Forced).await);
    assert_eq!(stage.count("audit WHERE action = 'key.rotate'").await, 3);
}

#[tokio::test]
async fn keys_survive_a_restart_but_not_another_secret() {
    let stage = Stage::new().await;
    let kid = stage.identity.signer().await.expect("a key").kid.clone();
    assert_eq!(stage.replica().signer().await.expect("a key").kid, kid);
    let mut other = stage.identity.config.clone();
    other.keys.encryption = platform::config::Secret::new("another-0123456789abcdef0123456789abcdef");
    let mut context = stage.context.clone();
    context.metrics = platform::metrics::Metrics::new("identity", "other");
    let other = Identity::try_new(other, &context).expect("valid");
    assert!(other.signer().await.is_err(), "the private key does not open");
}

#[tokio::test]
async fn keys_of_both_algorithms_are_published_and_rotate() {
    let stage = Stage::new().await;
    stage.identity.tend_keys().await.expect("tended");
    let algorithms = async || {
        let jwks = jwks(&stage.identity.pool, stage.clock.now()).await.expect("a key set");
        let keys = jwks["keys"].as_array().expect("keys").clone();
        keys.iter().map(|key| format!("{} {}", key["kty"], key["alg"]).replace('"', "")).collect::<Vec<_>>()
    };
    assert_eq!(algorithms().await, ["OKP EdDSA", "OKP EdDSA", "RSA RS256", "RSA RS256"]);
    let token = stage.sign_in(PHONE, DeviceId::generate()).await.tokens.access;
    assert_eq!(jsonwebtoken::decode_header(&token).expect("a header").alg, jsonwebtoken::Algorithm::EdDSA);
    let before = stage.identity.signer_of(Algorithm::Rs256).await.expect("a key").kid.clone();
    assert!(stage.identity.rotate_keys(Urgency::Now, &behest()).await.expect("rotated"));
    assert_eq!(algorithms().await.len(), 6, "both overlap");
    assert_ne!(stage.identity.signer_of(Algorithm::Rs256).await.expect("a key").kid, before);
    stage.context.verifier.verify(&token).await.expect("valid over the rotation");
}

#[tokio::test]
async fn access_tokens_are_signed_with_rs256_where_that_is_asked_for() {
    let stage = Stage::with(crate::Config { access_token_algorithm: Algorithm::Rs256, ..config() }).await;
    let token = stage.sign_in(PHONE, DeviceId::generate()).await.tokens.access;
    let header = jsonwebtoken::decode_header(&token).expect("a header");
    assert_eq!((header.alg, header.typ.as_deref()), (jsonwebtoken::Algorithm::RS256, Some("at+jwt")));
    stage.context.verifier.verify(&token).await.expect("valid");
    assert!(stage.identity.rotate_keys(Urgency::Now, &behest()).await.expect("rotated"));
    let after = stage.sign_in(PHONE, DeviceId::generate()).await.tokens.access;
    for token in [token, after] {
        stage.context.verifier.verify(&token).await.expect("valid over the rotation");
    }
}

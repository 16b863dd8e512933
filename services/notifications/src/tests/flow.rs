//! Events through Redis, from the outbox of another service to a phone.

use platform::embedded::scratch;
use platform::outbox::{NewEvent, Relay, append};
use platform::task::Shutdown;
use proto::identity::v1::OtpRequested;

use super::{Town, until};
use crate::SCHEMA;
use crate::event::tests::payment_of;

#[tokio::test]
async fn events_of_other_services_become_messages() {
    let redis = scratch::redis().await.unwrap();
    let town = Town::with_redis(&redis.url()).await;
    let role = town.role().await;
    let shutdown = Shutdown::new();
    // Our own outbox stands in for those of identity and the journal; their relays are the same.
    let relays = ["identity", "journal"].map(|stream| Relay::of_outbox(&role.context, SCHEMA, stream).into_task());
    let relays = relays.map(|relay| tokio::spawn(relay.run(shutdown.clone())));
    let challenge = town.identity.challenge("+84901234567", "738261");
    let (payer, owner) = (platform::id::new(), platform::id::new());
    town.device(payer, "phone-1").await;
    let requested = NewEvent::new(challenge, &OtpRequested { challenge_id: challenge.to_string() }).stream("identity");
    let paid = NewEvent::new(payer, &payment_of(payer, owner)).stream("journal");
    let mut transaction = town.pool.begin().await.unwrap();
    append(&mut transaction, SCHEMA, town.clock.now(), &[requested, paid]).await.unwrap();
    transaction.commit().await.unwrap();
    until(async || (town.received("/sms").await.len() == 1).then_some(())).await;
    until(async || (town.received("/push?token=phone-1").await.len() == 1).then_some(())).await;
    until(async || (town.count("SELECT count(*) FROM notifications.inbox").await == 2).then_some(())).await;
    assert_eq!(role.metric("events_consumed_total stream=\"identity\"").as_deref(), Some("1"));
    shutdown.begin();
    futures::future::join_all(relays).await;
    role.stop().await;
}

//! Devices: one session each, remote sign-out, a maximum.

use chrono::TimeDelta;
use proto::identity::v1::{DeviceAdded, SessionRevoked, SessionStarted};

use crate::audit::Origin;
use crate::device::{DeviceId, MAX_DEVICES};
use crate::error::Error;
use crate::testing::Stage;

const PHONE: &str = "0912345678";

#[tokio::test]
async fn signing_in_again_on_a_device_ends_its_former_session() {
    let stage = Stage::new().await;
    let device = DeviceId::generate();
    let former = stage.sign_in(PHONE, device).await;
    let latter = stage.sign_in(PHONE, device).await;
    assert!(matches!(stage.identity.refresh(&former.tokens.refresh, None).await, Err(Error::RefreshInvalid)));
    stage.identity.refresh(&latter.tokens.refresh, None).await.expect("alive");
    let started = stage.events::<SessionStarted>().await;
    assert_eq!(started.iter().map(|event| event.new_device).collect::<Vec<_>>(), [true, false]);
    assert_eq!(stage.events::<SessionRevoked>().await.len(), 1);
    assert_eq!(stage.identity.devices(latter.citizen.id).await.expect("a list").len(), 1);
}

#[tokio::test]
async fn removing_a_device_signs_it_out_from_afar() {
    let stage = Stage::new().await;
    let (phone, tablet) = (DeviceId::generate(), DeviceId::generate());
    let here = stage.sign_in(PHONE, phone).await;
    let there = stage.sign_in(PHONE, tablet).await;
    let stranger = stage.sign_in("0987654321", DeviceId::generate()).await;
    assert!(matches!(
        stage.identity.remove_device(stranger.citizen.id, tablet, Origin::default()).await,
        Err(Error::NotFound)
    ));
    stage.identity.refresh(&there.tokens.refresh, None).await.expect("alive");
    stage.identity.remove_device(here.citizen.id, tablet, Origin::default()).await.expect("removed");
    assert!(matches!(stage.identity.refresh(&there.tokens.refresh, None).await, Err(Error::RefreshInvalid)));
    assert!(stage.context.verifier.verify(&there.tokens.access).await.is_err());
    assert!(matches!(
        stage.identity.remove_device(here.citizen.id, tablet, Origin::default()).await,
        Err(Error::NotFound)
    ));
    let left = stage.identity.devices(here.citizen.id).await.expect("a list");
    assert_eq!(left.iter().map(|device| device.id).collect::<Vec<_>>(), [phone]);
    assert!(stage.sign_in(PHONE, tablet).await.citizen.id == here.citizen.id);
    assert!(stage.events::<SessionStarted>().await.last().is_some_and(|event| event.new_device), "it is new again");
}

#[tokio::test]
async fn the_device_unused_for_longest_gives_way() {
    let stage = Stage::new().await;
    let first = stage.sign_in(PHONE, DeviceId::generate()).await;
    let mut last = DeviceId::generate();
    for _ in 0..MAX_DEVICES {
        stage.clock.advance(TimeDelta::seconds(1));
        last = DeviceId::generate();
        stage.sign_in(PHONE, last).await;
    }
    let devices = stage.identity.devices(first.citizen.id).await.expect("a list");
    assert_eq!(devices.len(), usize::try_from(MAX_DEVICES).expect("a small number"));
    assert_eq!(devices.first().map(|device| device.id), Some(last));
    assert!(matches!(stage.identity.refresh(&first.tokens.refresh, None).await, Err(Error::RefreshInvalid)));
    assert_eq!(stage.events::<SessionRevoked>().await.len(), 1);
}

#[tokio::test]
async fn a_device_that_is_added_is_told_of_and_a_known_one_is_not() {
    let stage = Stage::new().await;
    let (phone, tablet) = (DeviceId::generate(), DeviceId::generate());
    let first = stage.sign_in(PHONE, phone).await;
    stage.sign_in(PHONE, phone).await;
    stage.sign_in(PHONE, tablet).await;
    let added = stage.events::<DeviceAdded>().await;
    let told: Vec<_> = added.iter().map(|event| (event.device_id.clone(), event.first)).collect();
    assert_eq!(told, [(phone.to_string(), true), (tablet.to_string(), false)]);
    let started = stage.events::<SessionStarted>().await;
    assert_eq!((&added[1].session_id, &added[1].user_id), (&started[2].session_id, &first.citizen.id.to_string()));
}

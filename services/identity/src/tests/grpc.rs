//! What other roles may ask, and who may ask what.

use platform::metrics::Metrics;
use platform::rpc::{CallMetrics, CallSettings, Channel, InboundLayer, in_process};
use proto::auth::v1::key_service_client::KeyServiceClient;
use proto::auth::v1::{GetKeysRequest, ListRevocationsRequest};
use proto::identity::v1::identity_service_client::IdentityServiceClient;
use proto::identity::v1::{FindCitizenRequest, GetContactRequest, TakeOtpCodeRequest};
use tonic::Code;

use crate::audit::Origin;
use crate::citizen::{DisplayName, Edit};
use crate::device::DeviceId;
use crate::grpc;
use crate::testing::Stage;

const PHONE: &str = "0912345678";

pub(super) fn channel(stage: &Stage, caller: &'static str) -> Channel {
    let metrics = Metrics::new(caller, "test");
    let routes = grpc::routes(stage.identity.clone());
    in_process(caller, routes, InboundLayer::new(&metrics), &CallMetrics::new(&metrics), CallSettings::default())
}

#[tokio::test]
async fn notifications_alone_takes_a_code() {
    let stage = Stage::new().await;
    let challenge_id = stage.ask(PHONE, DeviceId::generate()).await.expect("sent").id.to_string();
    for caller in ["wallet", "reports", "ioc"] {
        let refused = IdentityServiceClient::new(channel(&stage, caller))
            .take_otp_code(TakeOtpCodeRequest { challenge_id: challenge_id.clone() })
            .await;
        assert_eq!(refused.expect_err("refused").code(), Code::PermissionDenied, "{caller}");
    }
    let mut client = IdentityServiceClient::new(channel(&stage, "notifications"));
    let taken = client.take_otp_code(TakeOtpCodeRequest { challenge_id }).await.expect("taken").into_inner();
    assert_eq!(
        (taken.phone.as_str(), taken.language.as_str(), taken.purpose.as_str()),
        ("+84912345678", "vi", "sign-in")
    );
    assert_eq!(taken.code.len(), 6);
    for unknown in ["", "no-uuid", "018f0000-0000-7000-8000-000000000000"] {
        let missing = client.take_otp_code(TakeOtpCodeRequest { challenge_id: unknown.to_owned() }).await;
        assert_eq!(missing.expect_err("nothing").code(), Code::NotFound, "{unknown}");
    }
}

#[tokio::test]
async fn a_contact_is_for_notifications_and_a_payee_for_the_wallet() {
    let stage = Stage::new().await;
    let citizen = stage.sign_in(PHONE, DeviceId::generate()).await.citizen;
    let (mut notifications, mut wallet) = (
        IdentityServiceClient::new(channel(&stage, "notifications")),
        IdentityServiceClient::new(channel(&stage, "wallet")),
    );
    let user_id = citizen.id.to_string();
    let contact = notifications
        .get_contact(GetContactRequest { user_id: user_id.clone() })
        .await
        .expect("a contact")
        .into_inner();
    assert_eq!((contact.phone.as_str(), contact.language.as_str()), ("+84912345678", "vi"));
    assert_eq!(
        wallet.get_contact(GetContactRequest { user_id: user_id.clone() }).await.expect_err("refused").code(),
        Code::PermissionDenied
    );
    let find = |phone: &str| FindCitizenRequest { phone: phone.to_owned() };
    assert_eq!(notifications.find_citizen(find(PHONE)).await.expect_err("refused").code(), Code::PermissionDenied);
    let found = wallet.find_citizen(find("+84912345678")).await.expect("found").into_inner();
    assert_eq!((found.user_id, found.masked_name), (user_id, String::new()));
    let name = DisplayName::parse("Nguyễn Thị Hương").expect("a name");
    stage
        .identity
        .edit_citizen(citizen.id, Edit { display_name: Some(Some(name)), language: None }, None, Origin::default())
        .await
        .expect("changed");
    assert_eq!(
        wallet.find_citizen(find("+84912345678")).await.expect("found").into_inner().masked_name,
        "N***** T** Hương"
    );
    assert_eq!(wallet.find_citizen(find("+84987654321")).await.expect_err("nobody").code(), Code::NotFound);
    assert_eq!(wallet.find_citizen(find("12")).await.expect_err("no number").code(), Code::InvalidArgument);
}

#[tokio::test]
async fn every_role_reads_keys_and_revocations() {
    let stage = Stage::new().await;
    let opened = stage.sign_in(PHONE, DeviceId::generate()).await;
    let session = stage.principal(&opened.tokens.access).await.session;
    let mut client = KeyServiceClient::new(channel(&stage, "reports"));
    let keys = client.get_keys(GetKeysRequest {}).await.expect("keys").into_inner();
    assert_eq!(keys.issuer, "http://localhost:8080");
    let kid = jsonwebtoken::decode_header(&opened.tokens.access).expect("a header").kid.expect("a kid");
    assert!(keys.jwks_json.contains(&kid) && !keys.jwks_json.contains("\"d\""));
    let none =
        client.list_revocations(ListRevocationsRequest { after_position: 0 }).await.expect("a list").into_inner();
    assert_eq!((none.revocations.len(), none.position), (0, 0));
    stage.identity.sign_out(opened.citizen.id, session.into(), Origin::default()).await.expect("signed out");
    let one = client.list_revocations(ListRevocationsRequest { after_position: 0 }).await.expect("a list").into_inner();
    assert_eq!((one.revocations.len(), one.position), (1, 1));
    assert_eq!(one.revocations[0].session_id, session.to_string());
    assert!(one.revocations[0].forget_at >= stage.clock.now().timestamp() + 600);
}

//! What other roles put on record for officers.

use platform::problem::Problem;
use platform::rpc::Peer;
use proto::identity::v1::RecordActRequest;
use proto::identity::v1::office_service_server::OfficeService as _;
use tonic::Request;
use uuid::Uuid;

use crate::audit::{self, Verdict};
use crate::grpc::office::Office;
use crate::testing::Stage;

fn act(action: &str, reason: &str) -> RecordActRequest {
    RecordActRequest {
        actor_id: Uuid::now_v7().to_string(),
        session_id: Uuid::now_v7().to_string(),
        action: action.to_owned(),
        object: "proposal".to_owned(),
        reason: reason.to_owned(),
    }
}

#[tokio::test]
async fn each_role_puts_its_own_acts_of_officers_on_record_and_no_other() {
    let stage = Stage::new().await;
    let office = Office::new(stage.identity.clone());
    let from = |peer: &str, act: RecordActRequest| {
        let mut request = Request::new(act);
        request.extensions_mut().insert(Peer::new([peer]));
        request
    };
    office.record_act(from("wallet", act("proposal.make", "statement 12"))).await.expect("recorded");
    office.record_act(from("notifications", act("news.publish", "news.publish"))).await.expect("recorded");
    for (peer, action, reason) in [
        ("notifications", "proposal.make", "statement 12"),
        ("wallet", "news.publish", "statement 12"),
        ("reports", "proposal.make", "statement 12"),
        ("wallet", "role.grant", "statement 12"),
        ("wallet", "proposal.make", ""),
    ] {
        assert!(office.record_act(from(peer, act(action, reason))).await.is_err(), "{peer} {action}");
    }
    let named = office.record_act(from("wallet", act("proposal.refuse", "asked by 0912345678"))).await;
    assert_eq!(Problem::from_status(&named.expect_err("it names somebody")).code(), "invalid-body");
    assert_eq!(stage.count("audit WHERE action = 'proposal.make' AND session_id IS NOT NULL").await, 1);
    assert_eq!(stage.count("audit WHERE action LIKE 'proposal.%'").await, 1);
    assert!(matches!(audit::verify(&stage.identity.pool, None).await.expect("read"), Verdict::Holds(_)));
}

//! What other roles put on record for officers, and whom they find.

use platform::problem::Problem;
use platform::rpc::Peer;
use proto::identity::v1::office_service_server::OfficeService as _;
use proto::identity::v1::officer_service_server::OfficerService as _;
use proto::identity::v1::{FindOfficersRequest, RecordActRequest};
use tonic::Request;
use uuid::Uuid;

use crate::audit::{self, Verdict};
use crate::grpc::office::Office;
use crate::grpc::officer::Officers;
use crate::testing::Stage;
use crate::tests::officer::officer;

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

#[tokio::test]
async fn who_acts_for_an_agency_is_found_by_its_roles_and_those_above_it() {
    let stage = Stage::new().await;
    let held = [
        ("0912345671", "agency.officer:TNDT"),
        ("0912345672", "agency.officer:TNDT:19753"),
        ("0912345673", "agency.head:HEPCO"),
        ("0912345674", "agency.officer:HUEWACO"),
        ("0912345675", "ioc.operator"),
        ("0912345676", "ioc.lead"),
        ("0912345677", "finance.officer"),
        ("0912345678", "agency.head:UBND-19753"),
    ];
    let mut people = Vec::new();
    for (phone, role) in held {
        people.push(officer(&stage, phone, role).await.to_string());
    }
    let officers = Officers::new(stage.identity.clone());
    let find = async |peer: &str, agency: &str, ward: &str| {
        let mut request = Request::new(FindOfficersRequest { agency: agency.to_owned(), ward_code: ward.to_owned() });
        request.extensions_mut().insert(Peer::new([peer]));
        let found = officers.find_officers(request).await?.into_inner().officers;
        let who = |id: &str| people.iter().position(|person| person == id).expect("one of them");
        Ok::<_, tonic::Status>(found.iter().map(|one| (who(&one.user_id), one.above)).collect::<Vec<_>>())
    };
    let found = async |agency, ward| find("notifications", agency, ward).await.expect("found");
    assert_eq!(found("TNDT", "19753").await, [(0, 0), (1, 0), (2, 1), (4, 0), (5, 0)]);
    assert_eq!(found("TNDT", "19774").await, [(0, 0), (2, 1), (4, 0), (5, 0)], "another ward");
    assert_eq!(found("KTHT-19753", "").await, [(4, 0), (5, 0), (7, 1)], "an agency of a ward lies in it");
    assert_eq!(found("", "19753").await, [(4, 0), (5, 0)], "the operations centre alone");
    for peer in ["wallet", "reports"] {
        assert!(find(peer, "TNDT", "").await.is_err(), "{peer} need not know");
    }
}

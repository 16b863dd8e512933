//! Payments that got stuck: ended by two officers, never by one, and by what they both saw.

use std::sync::{Arc, Mutex};

use chrono::TimeDelta;
use futures::future::join_all;
use platform::metrics::Metrics;
use platform::rpc::{CallMetrics, CallSettings, InboundLayer};
use proto::identity::v1::office_service_server::{OfficeService, OfficeServiceServer};
use proto::identity::v1::{RecordActRequest, RecordActResponse};
use serde_json::{Value, json};
use tonic::Status;
use tonic::service::Routes;
use uuid::Uuid;

use crate::biller::{BILLER, COST};
use crate::stage::{Answer, Replica, Stage, eventually, text};

const MONEY: i64 = 1_000_000;
const PROPOSALS: &str = "/wallet/v1/proposals";

/// Identity's audit, as far as the wallet writes it: what it was told.
#[derive(Clone, Default)]
struct Audit(Arc<Mutex<Vec<(String, String)>>>);

#[tonic::async_trait]
impl OfficeService for Audit {
    async fn record_act(
        &self,
        request: tonic::Request<RecordActRequest>,
    ) -> Result<tonic::Response<RecordActResponse>, Status> {
        let act = request.into_inner();
        if act.reason.contains("broken") {
            return Err(Status::unavailable("no audit"));
        }
        self.0.lock().expect("not poisoned").push((act.action, act.actor_id));
        Ok(tonic::Response::new(RecordActResponse {}))
    }
}

/// A city in which a payment of a bill hangs: the biller can't be reached any more.
struct Stuck {
    stage: Stage,
    wallet: Replica,
    audit: Audit,
    payer: Uuid,
    payment: String,
    officer: Uuid,
    approver: Uuid,
}

impl Stuck {
    async fn new() -> Self {
        let stage = Stage::new().await;
        let before = stage.start().await;
        let payer = before.rich(&stage, MONEY).await;
        let bill = before.bill(&stage, &stage.token(payer)).await;
        before.kill().await;
        let audit = Audit::default();
        let wallet = Self::replica(&stage, &audit, "stuck").await;
        let payment = wallet.pay_bill(&stage.token(payer), &bill).await;
        wallet.bill_reaches(&stage.token(payer), &payment, "unknown").await;
        Self { stage, wallet, audit, payer, payment, officer: Uuid::now_v7(), approver: Uuid::now_v7() }
    }

    async fn replica(stage: &Stage, audit: &Audit, instance: &str) -> Replica {
        let mut config = stage.config();
        config.billers.get_mut(BILLER).expect("it is connected").url = "http://127.0.0.1:1".parse().expect("a URL");
        let metrics = Metrics::new("identity", instance);
        let identity = platform::rpc::in_process(
            "wallet",
            Routes::new(OfficeServiceServer::new(audit.clone())),
            InboundLayer::new(&metrics),
            &CallMetrics::new(&metrics),
            CallSettings::default(),
        );
        stage.replica_asking(instance, config, identity).await
    }

    fn token(&self, user: Uuid, roles: &[&str]) -> String {
        self.stage.issuer.officer_token(user, user, 600, roles)
    }

    fn act(&self, verdict: &str) -> Value {
        json!({"act": {"kind": "bill-payment", "id": self.payment, "verdict": verdict}, "reason": "statement 2026-11-22"})
    }

    async fn propose(&self, body: &Value) -> Answer {
        self.wallet.post(&self.token(self.officer, &["finance.officer"]), PROPOSALS, body).await
    }

    async fn decide(&self, who: (Uuid, &[&str]), proposal: &Value, what: &str, body: Value) -> Answer {
        let path = format!("{PROPOSALS}/{}/{what}", text(proposal, "id"));
        self.wallet.post(&self.token(who.0, who.1), &path, &body).await
    }

    async fn reaches(&self, state: &str) {
        self.wallet.bill_reaches(&self.stage.token(self.payer), &self.payment, state).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_officers_end_what_is_stuck_and_one_can_not() {
    let city = Stuck::new().await;
    assert_eq!(city.propose(&city.act("succeeded")).await.code(), "not-stuck", "the biller may still answer");
    city.stage.clock.advance(TimeDelta::hours(2));
    let citizen = city.stage.token(city.payer);
    assert_eq!(city.wallet.post(&citizen, PROPOSALS, &city.act("failed")).await.code(), "forbidden");
    let both: &[&str] = &["finance.officer", "finance.approver"];
    let unknown = json!({"act": {"kind": "bill-payment", "id": Uuid::now_v7(), "verdict": "failed"}, "reason": "x"});
    assert_eq!(city.propose(&unknown).await.code(), "not-found");
    let strange =
        json!({"act": {"kind": "bill-payment", "id": city.payment, "verdict": "failed", "amount": 1}, "reason": "x"});
    assert_eq!(city.propose(&strange).await.code(), "invalid-body");
    let silent = json!({"act": city.act("failed")["act"], "reason": "broken"});
    assert_eq!(city.propose(&silent).await.status, 503, "without a record nothing is proposed");

    let proposal =
        city.wallet.post(&city.token(city.officer, both), PROPOSALS, &city.act("succeeded")).await.expect(201);
    assert_eq!((&proposal["state"], &proposal["amount"]["amount"]), (&json!("open"), &json!(COST.to_string())));
    assert_eq!(city.propose(&city.act("failed")).await.code(), "proposal-open");
    let digest = json!({"digest": proposal["digest"]});
    let other = json!({"digest": "00".repeat(32)});
    let approver = (city.approver, &["finance.approver"][..]);
    for (who, body, code) in [
        ((city.officer, both), &digest, "own-proposal"),
        ((city.approver, &["finance.officer"][..]), &digest, "forbidden"),
        ((city.approver, &["admin"][..]), &digest, "forbidden"),
        (approver, &other, "proposal-differs"),
        (approver, &json!({"digest": "x"}), "proposal-differs"),
    ] {
        assert_eq!(city.decide(who, &proposal, "approval", body.clone()).await.code(), code);
    }
    city.reaches("unknown").await;

    let approved = city.decide(approver, &proposal, "approval", digest.clone()).await.expect(200);
    assert_eq!(text(&approved, "decided_by"), city.approver.to_string());
    city.reaches("paid").await;
    let path = format!("{PROPOSALS}/{}", text(&proposal, "id"));
    let seen = async || city.wallet.get(&city.token(city.officer, both), &path).await.expect(200);
    eventually("it is written down as done", async || seen().await["state"] == "done").await;
    assert_eq!(seen().await["result"], "paid");
    assert_eq!(city.decide(approver, &proposal, "approval", digest).await.code(), "proposal-decided");
    let late = json!({"reason": "too late"});
    assert_eq!(city.decide(approver, &proposal, "refusal", late).await.code(), "proposal-decided");
    let told = city.audit.0.lock().expect("not poisoned").clone();
    let expected = [("proposal.make", city.officer), ("proposal.approve", city.approver)];
    assert_eq!(told, expected.map(|(action, who)| (action.to_owned(), who.to_string())));
    assert_eq!(city.wallet.funds(&city.stage.token(city.payer)).await, (MONEY - COST, MONEY - COST));
    city.stage.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proposal_is_decided_once_by_many_clicks_on_two_replicas() {
    let city = Stuck::new().await;
    city.stage.clock.advance(TimeDelta::hours(2));
    let taken_back = city.propose(&city.act("succeeded")).await.expect(201);
    let reason = json!({"reason": "wrong line"});
    let stranger = (Uuid::now_v7(), &["finance.officer"][..]);
    assert_eq!(city.decide(stranger, &taken_back, "refusal", reason.clone()).await.code(), "forbidden");
    city.decide((city.officer, &["finance.officer"]), &taken_back, "refusal", reason).await.expect(200);
    let late = city.propose(&city.act("succeeded")).await.expect(201);
    city.stage.clock.advance(TimeDelta::hours(73));
    let approve = |proposal: &Value| json!({"digest": proposal["digest"]});
    let approver = (city.approver, &["finance.approver"][..]);
    assert_eq!(city.decide(approver, &late, "approval", approve(&late)).await.code(), "proposal-expired");

    let proposal = city.propose(&city.act("failed")).await.expect(201);
    let other = Stuck::replica(&city.stage, &city.audit, "other").await;
    let path = format!("{PROPOSALS}/{}/approval", text(&proposal, "id"));
    let clicks = (0..8).map(|index| {
        let (wallet, approver) = (if index % 2 == 0 { &city.wallet } else { &other }, Uuid::now_v7());
        let (token, path, body) = (city.token(approver, &["finance.approver"]), &path, approve(&proposal));
        async move { wallet.post(&token, path, &body).await }
    });
    let answers = join_all(clicks).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1, "{answers:?}");
    assert!(answers.iter().all(|answer| answer.status == 200 || answer.code() == "proposal-decided"), "{answers:?}");
    city.reaches("failed").await;
    assert_eq!(city.wallet.funds(&city.stage.token(city.payer)).await, (MONEY, MONEY), "the money is back");
    for sql in [
        "UPDATE wallet.proposal SET content = '{}' WHERE state = 'done'",
        "UPDATE wallet.proposal SET decided_by = proposed_by WHERE state = 'refused'",
        "UPDATE wallet.proposal SET state = 'approved' WHERE state = 'expired'",
        "UPDATE wallet.proposal SET state = 'open', decided_by = NULL, decided_at = NULL WHERE state = 'refused'",
    ] {
        assert!(sqlx::query(sql).execute(&city.stage.admin()).await.is_err(), "{sql}");
    }
    city.stage.audit().await;
}

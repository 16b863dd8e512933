//! Fees of public services: issued by an agency's client, paid beside the bills, told to the agency.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::TimeDelta;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, Method, Request, StatusCode};
use ledger::receipt::{Proven, Receipt};
use platform::auth::{Claims, TOKEN_AUDIENCE, TOKEN_TYPE};
use platform::config::Secret;
use platform::metrics::Metrics;
use platform::rpc::{CallMetrics, CallSettings, InboundLayer};
use prost::Message as _;
use proto::identity::v1::identity_service_server::{IdentityService, IdentityServiceServer};
use proto::identity::v1::{
    FindCitizenRequest, FindCitizenResponse, GetContactRequest, GetContactResponse, TakeOtpCodeRequest,
    TakeOtpCodeResponse,
};
use proto::wallet::v1::FeeNoticeIssued;
use serde_json::{Value, json};
use sha2::Sha256;
use tonic::service::Routes;
use tonic::{Response, Status};
use uuid::Uuid;
use wallet::config::AgencyConfig;

use crate::biller::{amount, pay_path};
use crate::stage::{Answer, Replica, Stage, dong, eventually, text};

const AGENCY: &str = "PVHCC";
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const PHONE: &str = "+84912345678";
/// What the portal lists for procedure 1.000005, filed online.
const FEE: i64 = 120_000;
const NOTICES: &str = "/wallet/v1/fee-notices";

/// Identity, as far as the wallet asks it: one citizen has a number.
struct OneCitizen(Uuid);

#[tonic::async_trait]
impl IdentityService for OneCitizen {
    async fn take_otp_code(
        &self,
        _: tonic::Request<TakeOtpCodeRequest>,
    ) -> Result<Response<TakeOtpCodeResponse>, Status> {
        Err(Status::unimplemented("not asked here"))
    }

    async fn get_contact(&self, _: tonic::Request<GetContactRequest>) -> Result<Response<GetContactResponse>, Status> {
        Err(Status::unimplemented("not asked here"))
    }

    async fn find_citizen(
        &self,
        request: tonic::Request<FindCitizenRequest>,
    ) -> Result<Response<FindCitizenResponse>, Status> {
        if request.get_ref().phone != PHONE {
            return Err(platform::problem::Problem::new(platform::problem::NOT_FOUND).into());
        }
        Ok(Response::new(FindCitizenResponse { user_id: self.0.to_string(), masked_name: String::new() }))
    }
}

/// What an agency's endpoint heard.
#[derive(Clone, Default)]
struct Agency {
    heard: Arc<Mutex<Vec<(HeaderMap, Bytes)>>>,
    /// Answers to give before it takes anything.
    refusals: Arc<Mutex<Vec<StatusCode>>>,
}

impl Agency {
    async fn serve(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let url = format!("http://{}/events", listener.local_addr().expect("it is bound"));
        let agency = self.clone();
        let take = move |headers: HeaderMap, body: Bytes| async move {
            agency.heard.lock().expect("not poisoned").push((headers, body));
            agency.refusals.lock().expect("not poisoned").pop().unwrap_or(StatusCode::NO_CONTENT)
        };
        let router = axum::Router::new().route("/events", post(take));
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    fn heard(&self) -> Vec<(HeaderMap, Bytes)> {
        self.heard.lock().expect("not poisoned").clone()
    }
}

/// A city with an agency, a citizen with money, and their wallet.
struct Scene {
    stage: Stage,
    wallet: Replica,
    agency: Agency,
    citizen: String,
    user: Uuid,
}

impl Scene {
    async fn new() -> Self {
        let stage = Stage::new().await;
        let agency = Agency::default();
        let user = stage.citizen(1).await;
        let mut config = stage.config();
        let event_url = agency.serve().await.parse().expect("a URL");
        config.agencies =
            BTreeMap::from([(AGENCY.to_owned(), AgencyConfig { event_url, secret: Secret::new(SECRET) })]);
        let metrics = Metrics::new("test", "one");
        let identity = platform::rpc::in_process(
            "wallet",
            Routes::new(IdentityServiceServer::new(OneCitizen(user))),
            InboundLayer::new(&metrics),
            &CallMetrics::new(&metrics),
            CallSettings::default(),
        );
        let wallet = stage.replica_asking("one", config, identity).await;
        let citizen = stage.token(user);
        let id = wallet.top_up(&citizen, sandbox::RICH_ACCOUNTS[0], 1_000_000).await;
        wallet.reaches(&citizen, &id, "completed").await;
        Self { stage, wallet, agency, citizen, user }
    }

    /// A client's own token.
    fn client(&self, agency: Option<&str>, scope: &str) -> String {
        let (now, client) = (self.stage.clock.now().timestamp(), Uuid::from_u128(7));
        let claims = Claims {
            iss: "http://localhost:8080".to_owned(),
            sub: client,
            aud: TOKEN_AUDIENCE.to_owned(),
            client_id: client.to_string(),
            exp: now + 600,
            iat: now,
            jti: Uuid::now_v7(),
            sid: Uuid::now_v7(),
            auth_time: now,
            acr: String::new(),
            amr: Vec::new(),
            scope: scope.to_owned(),
            roles: Vec::new(),
            role_epoch: 0,
            agency: agency.map(str::to_owned),
        };
        self.stage.issuer.sign(TOKEN_TYPE, &claims)
    }

    fn notice(&self, reference: &str) -> Value {
        let due_on = (self.stage.clock.now() + TimeDelta::days(10)).date_naive();
        json!({
            "reference": reference, "procedure": "1.000005", "channel": "online", "amount": dong(FEE),
            "due_on": due_on, "payer": {"phone": PHONE},
        })
    }

    async fn issue(&self, body: &Value) -> Answer {
        self.wallet.post(&self.client(Some(AGENCY), "fees:write"), NOTICES, body).await
    }

    /// A notice as its agency sees it.
    async fn seen(&self, issued: &Value) -> Value {
        let place = format!("{NOTICES}/{}", text(issued, "id"));
        self.wallet.get(&self.client(Some(AGENCY), "fees:write"), &place).await.expect(200)
    }

    async fn withdraw(&self, id: &str) -> Answer {
        let request = Request::builder().method(Method::DELETE).uri(format!("{NOTICES}/{id}"));
        let token = self.client(Some(AGENCY), "fees:write");
        let request = request.header("authorization", format!("Bearer {token}"));
        self.wallet.call(request.body(Body::empty()).expect("a request")).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fee_is_noticed_paid_with_one_touch_proved_and_told() {
    let scene = Scene::new().await;
    scene.agency.refusals.lock().expect("not poisoned").push(StatusCode::BAD_GATEWAY);
    let issued = scene.issue(&scene.notice("H57-1")).await.expect(201);
    assert_eq!((&issued["state"], &issued["agency"], &issued["amount"]), (&json!("open"), &json!(AGENCY), &dong(FEE)));
    assert!(issued.get("payer").is_none() && !issued.to_string().contains(&scene.user.to_string()));
    let bill = scene.wallet.bills(&scene.citizen).await.remove(0);
    assert_eq!((&bill["id"], &bill["kind"], &bill["state"]), (&issued["id"], &json!("fee"), &json!("open")));
    assert_eq!(
        (&bill["biller_code"], &bill["biller_name"]),
        (&json!("agency:PVHCC"), &json!("Trung tâm Phục vụ hành chính công"))
    );
    assert!(text(&bill["details"], "procedure_name").len() > 5);
    let (kind, data) = scene.stage.events().await.remove(0);
    let told = FeeNoticeIssued::decode(data.as_slice()).expect("its form");
    assert_eq!((kind.as_str(), told.user_id), ("trangtien.wallet.v1.FeeNoticeIssued", scene.user.to_string()));
    assert_eq!(
        (told.agency_name_en.as_str(), told.procedure.as_str()),
        ("Public Administration Service Centre", "1.000005")
    );

    let id = scene.wallet.pay_bill(&scene.citizen, &bill).await;
    scene.wallet.bill_reaches(&scene.citizen, &id, "paid").await;
    assert_eq!(scene.wallet.funds(&scene.citizen).await, (1_000_000 - FEE, 1_000_000 - FEE));
    let payment = scene.wallet.bill_payment(&scene.citizen, &id).await;
    let transaction = text(&payment, "transaction_id");
    let line = scene.wallet.get(&scene.citizen, &format!("/wallet/v1/transactions/{transaction}")).await.expect(200);
    assert_eq!(line["counterparty"], "Trung tâm Phục vụ hành chính công");
    let receipt = scene.wallet.get(&scene.citizen, &format!("/wallet/v1/transactions/{transaction}/receipt")).await;
    let receipt = Receipt::from_json(&receipt.bytes).expect("in its one form");
    assert_eq!((receipt.prove(None), receipt.transfer.amount.minor()), (Ok(Proven::Block), FEE));

    // The agency refused the first message, and hears the same again.
    scene.stage.clock.advance(TimeDelta::minutes(10));
    eventually("the agency heard it twice", async || scene.agency.heard().len() >= 2).await;
    let heard = scene.agency.heard();
    let header = |headers: &HeaderMap, name: &str| headers[name].to_str().expect("ASCII").to_owned();
    assert_eq!(header(&heard[0].0, "webhook-id"), header(&heard[1].0, "webhook-id"), "one message");
    for (headers, body) in &heard {
        let key = STANDARD.decode(&SECRET["whsec_".len()..]).expect("base64");
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("any length");
        let (id, time) = (header(headers, "webhook-id"), header(headers, "webhook-timestamp"));
        mac.update(format!("{id}.{time}.").as_bytes());
        mac.update(body);
        let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
        assert_eq!(header(headers, "webhook-signature"), expected);
        let said: Value = serde_json::from_slice(body).expect("JSON");
        assert_eq!((&said["type"], &said["data"]["reference"]), (&json!("fee.paid"), &json!("H57-1")));
        assert_eq!((&said["data"]["transaction_id"], &said["data"]["amount"]), (&json!(transaction), &dong(FEE)));
        assert!(!said.to_string().contains(&scene.user.to_string()), "not who paid: {said}");
    }
    let seen = scene.seen(&issued).await;
    assert_eq!((&seen["state"], &seen["transaction_id"]), (&json!("paid"), &json!(transaction)));
    assert_eq!(scene.withdraw(&text(&issued, "id")).await.code(), "bill-paid");
    scene.stage.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_reference_is_one_notice() {
    let scene = Scene::new().await;
    let body = scene.notice("H57-2");
    let first = scene.issue(&body).await.expect(201);
    assert_eq!(scene.issue(&body).await.expect(201), first, "another key, the same notice");
    let mut other = body.clone();
    other["due_on"] = json!((scene.stage.clock.now() + TimeDelta::days(11)).date_naive());
    assert_eq!(scene.issue(&other).await.code(), "fee-reference-used");
    let both = futures::future::join_all((0..6).map(|_| async { scene.issue(&scene.notice("H57-3")).await })).await;
    let ids: std::collections::HashSet<String> = both.iter().map(|answer| text(&answer.expect(201), "id")).collect();
    assert_eq!((ids.len(), scene.stage.count("wallet.fee_notice").await), (1, 2));
    let token = scene.client(Some(AGENCY), "fees:write");
    let listed = scene.wallet.get(&token, &format!("{NOTICES}?reference=H57-2")).await.expect(200);
    assert_eq!(listed["items"], json!([first]));
    let page = scene.wallet.get(&token, &format!("{NOTICES}?limit=1")).await.expect(200);
    assert!(page["items"][0]["reference"] == "H57-3" && page["next_cursor"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_that_is_taken_back_is_not_paid() {
    let scene = Scene::new().await;
    let issued = scene.issue(&scene.notice("H57-4")).await.expect(201);
    let bill = scene.wallet.bills(&scene.citizen).await.remove(0);
    for _ in 0..2 {
        assert_eq!(scene.withdraw(&text(&issued, "id")).await.status, StatusCode::NO_CONTENT);
    }
    let refused = scene.wallet.post(&scene.citizen, &pay_path(&bill), &json!({"amount": bill["amount"]})).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (409, "bill-closed".to_owned()));
    let open = scene.wallet.get(&scene.citizen, "/wallet/v1/bills?state=open").await.expect(200);
    assert_eq!(open["items"], json!([]));
    assert_eq!(scene.seen(&issued).await["state"], "cancelled");
    assert_eq!(scene.wallet.funds(&scene.citizen).await, (1_000_000, 1_000_000));
    assert_eq!(scene.agency.heard().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_and_what_is_wrong_is_refused() {
    let scene = Scene::new().await;
    let body = scene.notice("H57-5");
    for token in [
        scene.citizen.clone(),
        scene.client(Some(AGENCY), "tokens:introspect"),
        scene.client(None, "fees:write"),
        scene.client(Some("NOBODY"), "fees:write"),
    ] {
        assert_eq!(scene.wallet.post(&token, NOTICES, &body).await.status, StatusCode::FORBIDDEN);
    }
    let client = scene.client(Some(AGENCY), "fees:write");
    assert_eq!(scene.wallet.get(&client, "/wallet/v1/bills").await.status, StatusCode::FORBIDDEN, "no citizen");
    for (field, value, code) in [
        ("procedure", json!("9.999999"), "procedure-unknown"),
        ("amount", dong(FEE + 1), "fee-not-listed"),
        ("channel", json!("counter"), "fee-not-listed"),
        ("due_on", json!("2020-01-01"), "fee-due-day"),
        ("payer", json!({"phone": "+84999999999"}), "payer-unknown"),
        ("reference", json!(""), "invalid-body"),
    ] {
        let mut wrong = body.clone();
        wrong[field] = value;
        let refused = scene.issue(&wrong).await;
        assert_eq!((refused.status.as_u16(), refused.code()), (422, code.to_owned()), "{field}");
    }
    let issued = scene.issue(&body).await.expect(201);
    let other = scene.client(Some("CVCX"), "fees:write");
    let place = format!("{NOTICES}/{}", text(&issued, "id"));
    assert_eq!(scene.wallet.get(&other, &place).await.status, StatusCode::NOT_FOUND, "another agency's");
    assert_eq!(scene.wallet.get(&other, NOTICES).await.expect(200)["items"], json!([]));
    let stranger = scene.stage.token(scene.stage.citizen(1).await);
    assert!(scene.wallet.bills(&stranger).await.is_empty());
    let bill = scene.wallet.bills(&scene.citizen).await.remove(0);
    let theirs = scene.wallet.post(&stranger, &pay_path(&bill), &json!({"amount": bill["amount"]})).await;
    assert_eq!(theirs.status, StatusCode::NOT_FOUND, "another citizen's");
    assert_eq!(amount(&bill["amount"]), FEE);
}

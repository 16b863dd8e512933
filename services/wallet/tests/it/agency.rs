//! An agency with a client of its own and an endpoint that hears of paid fees, and short ways to issue notices and judge what it heard.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::TimeDelta;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, Method, Request, StatusCode};
use platform::auth::{Claims, STEP_UP, TOKEN_TYPE};
use platform::config::Secret;
use platform::metrics::Metrics;
use platform::rpc::{CallMetrics, CallSettings, InboundLayer};
use proto::identity::v1::identity_service_server::{IdentityService, IdentityServiceServer};
use proto::identity::v1::{
    FindCitizenRequest, FindCitizenResponse, GetContactRequest, GetContactResponse, TakeOtpCodeRequest,
    TakeOtpCodeResponse,
};
use serde_json::{Value, json};
use sha2::Sha256;
use tonic::Status;
use tonic::service::Routes;
use uuid::Uuid;
use wallet::config::AgencyConfig;

use crate::stage::{Answer, Replica, Stage, dong, text};

/// The agency.
pub(crate) const AGENCY: &str = "PVHCC";
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const PHONE: &str = "+84912345678";
/// What the portal lists for procedure 1.000005, filed online.
pub(crate) const FEE: i64 = 120_000;
/// Where notices are issued.
pub(crate) const NOTICES: &str = "/wallet/v1/fee-notices";

/// Identity, as far as the wallet asks it: one citizen has a number.
struct OneCitizen(Uuid);

#[tonic::async_trait]
impl IdentityService for OneCitizen {
    async fn take_otp_code(
        &self,
        _: tonic::Request<TakeOtpCodeRequest>,
    ) -> Result<tonic::Response<TakeOtpCodeResponse>, Status> {
        Err(Status::unimplemented("not asked here"))
    }

    async fn get_contact(
        &self,
        _: tonic::Request<GetContactRequest>,
    ) -> Result<tonic::Response<GetContactResponse>, Status> {
        Err(Status::unimplemented("not asked here"))
    }

    async fn find_citizen(
        &self,
        request: tonic::Request<FindCitizenRequest>,
    ) -> Result<tonic::Response<FindCitizenResponse>, Status> {
        if request.get_ref().phone != PHONE {
            return Err(platform::problem::Problem::new(platform::problem::NOT_FOUND).into());
        }
        Ok(tonic::Response::new(FindCitizenResponse { user_id: self.0.to_string(), masked_name: String::new() }))
    }
}

/// What goes wrong at the agency's endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It takes nothing, and says so.
    Refuses,
    /// It takes nothing, and says nothing.
    Hangs,
    /// It takes the message, and its answer never comes.
    LosesAnswers,
}

/// A message that the endpoint heard.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Whether the agency acted on it.
    pub(crate) taken: bool,
}

impl Heard {
    fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().expect("ASCII")
    }

    /// The message's id, if its signature is right.
    pub(crate) fn proved_id(&self) -> String {
        let key = STANDARD.decode(&SECRET["whsec_".len()..]).expect("base64");
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("any length");
        let (id, time) = (self.header("webhook-id"), self.header("webhook-timestamp"));
        mac.update(format!("{id}.{time}.").as_bytes());
        mac.update(&self.body);
        let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
        assert_eq!(self.header("webhook-signature"), expected);
        id.to_owned()
    }

    /// What it says.
    pub(crate) fn said(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

/// An agency's endpoint.
#[derive(Clone, Default)]
pub(crate) struct Agency {
    heard: Arc<Mutex<Vec<Heard>>>,
    /// What goes wrong, and with how many messages more.
    trouble: Arc<Mutex<Option<(Trouble, usize)>>>,
}

impl Agency {
    async fn serve(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let url = format!("http://{}/events", listener.local_addr().expect("it is bound"));
        let agency = self.clone();
        let hear = move |headers: HeaderMap, body: Bytes| async move { agency.hear(headers, body).await };
        let router = axum::Router::new().route("/events", post(hear));
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    async fn hear(&self, headers: HeaderMap, body: Bytes) -> Response {
        let trouble = self.next_trouble();
        let taken = matches!(trouble, None | Some(Trouble::LosesAnswers));
        self.heard.lock().expect("not poisoned").push(Heard { headers, body, taken });
        match trouble {
            None => StatusCode::NO_CONTENT.into_response(),
            Some(Trouble::Refuses) => StatusCode::BAD_GATEWAY.into_response(),
            // Until the wallet hangs up.
            Some(Trouble::Hangs | Trouble::LosesAnswers) => std::future::pending().await,
        }
    }

    fn next_trouble(&self) -> Option<Trouble> {
        let mut trouble = self.trouble.lock().expect("not poisoned");
        let (what, left) = trouble.take()?;
        *trouble = left.checked_sub(1).filter(|left| *left > 0).map(|left| (what, left));
        Some(what)
    }

    /// The next so many messages meet a trouble; `None` for no trouble any more.
    pub(crate) fn trouble(&self, trouble: Option<Trouble>, messages: usize) {
        *self.trouble.lock().expect("not poisoned") = trouble.map(|trouble| (trouble, messages));
    }

    /// All that it heard, in order.
    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.heard.lock().expect("not poisoned").clone()
    }

    /// Whether it acted on a message about a notice.
    pub(crate) fn took(&self, reference: &str) -> bool {
        self.heard().iter().any(|heard| heard.taken && heard.said()["data"]["reference"] == reference)
    }
}

/// A city with an agency and a citizen who has a number.
pub(crate) struct Scene {
    pub(crate) stage: Stage,
    pub(crate) agency: Agency,
    pub(crate) user: Uuid,
    config: wallet::Config,
}

impl Scene {
    pub(crate) async fn new() -> Self {
        let stage = Stage::new().await;
        let agency = Agency::default();
        let user = stage.citizen(1).await;
        let mut config = stage.config();
        config.agency_timeout_ms = config.biller_timeout_ms;
        let event_url = agency.serve().await.parse().expect("a URL");
        config.agencies =
            BTreeMap::from([(AGENCY.to_owned(), AgencyConfig { event_url, secret: Secret::new(SECRET) })]);
        Self { stage, agency, user, config }
    }

    /// A wallet process.
    pub(crate) async fn start(&self) -> Replica {
        let metrics = Metrics::new("test", "one");
        let identity = platform::rpc::in_process(
            "wallet",
            Routes::new(IdentityServiceServer::new(OneCitizen(self.user))),
            InboundLayer::new(&metrics),
            &CallMetrics::new(&metrics),
            CallSettings::default(),
        );
        self.stage.replica_asking("one", self.config.clone(), identity).await
    }

    /// The citizen's token as of now.
    pub(crate) fn citizen(&self) -> String {
        self.stage.token(self.user)
    }

    /// The citizen's proof of a transaction.
    pub(crate) fn proof(&self, transaction: &Value) -> String {
        let says = json!({"level": "pin", "transaction": transaction});
        self.stage.issuer.statement(STEP_UP, (self.user, self.user), says)
    }

    /// Gives the citizen money.
    pub(crate) async fn fund(&self, wallet: &Replica, amount: i64) {
        let id = wallet.top_up(&self.citizen(), sandbox::RICH_ACCOUNTS[0], amount).await;
        wallet.reaches(&self.citizen(), &id, "completed").await;
    }

    /// A client's own token.
    pub(crate) fn client(&self, agency: Option<&str>, scope: &str) -> String {
        let client = Uuid::from_u128(7);
        let claims = Claims {
            client_id: client.to_string(),
            scope: scope.to_owned(),
            agency: agency.map(str::to_owned),
            ..self.stage.issuer.claims(client, Uuid::now_v7(), 600)
        };
        self.stage.issuer.sign(TOKEN_TYPE, &claims)
    }

    /// The agency's own token.
    pub(crate) fn clerk(&self) -> String {
        self.client(Some(AGENCY), "fees:write")
    }

    pub(crate) fn notice(&self, reference: &str) -> Value {
        let due_on = (self.stage.clock.now() + TimeDelta::days(10)).date_naive();
        json!({
            "reference": reference, "procedure": "1.000005", "channel": "online", "amount": dong(FEE),
            "due_on": due_on, "payer": {"phone": PHONE},
        })
    }

    pub(crate) async fn issue(&self, wallet: &Replica, body: &Value) -> Answer {
        wallet.post(&self.clerk(), NOTICES, body).await
    }

    /// Issues a notice and gives its bill.
    pub(crate) async fn bill(&self, wallet: &Replica, reference: &str) -> Value {
        self.issue(wallet, &self.notice(reference)).await.expect(201);
        let mut bills = wallet.bills(&self.citizen()).await;
        bills.retain(|bill| bill["reference"] == reference);
        bills.remove(0)
    }

    /// A notice as its agency sees it.
    pub(crate) async fn seen(&self, wallet: &Replica, issued: &Value) -> Value {
        wallet.get(&self.clerk(), &format!("{NOTICES}/{}", text(issued, "id"))).await.expect(200)
    }

    pub(crate) async fn withdraw(&self, wallet: &Replica, id: &str) -> Answer {
        let request = Request::builder().method(Method::DELETE).uri(format!("{NOTICES}/{id}"));
        let request = request.header("authorization", format!("Bearer {}", self.clerk()));
        wallet.call(request.body(Body::empty()).expect("a request")).await
    }
}

//! Guardians who pay for somebody: within limits, by their own proof, with nothing else of theirs opened.

use std::sync::{Arc, Mutex};

use axum::body::Body;
use chrono::{Datelike as _, FixedOffset, Months, TimeDelta};
use futures::future::join_all;
use http::Request;
use platform::auth::{Acting, STEP_UP};
use platform::metrics::Metrics;
use platform::problem::{NOT_FOUND, Problem};
use platform::rpc::{CallMetrics, CallSettings, InboundLayer};
use prost::Message as _;
use proto::identity::v1::delegation_service_server::{DelegationService, DelegationServiceServer};
use proto::identity::v1::{GetDelegationRequest, GetDelegationResponse};
use proto::wallet::v1::{BillPaid, PaymentCompleted};
use sandbox::RICH_ACCOUNTS;
use serde_json::{Value, json};
use tonic::Status;
use tonic::service::Routes;
use uuid::Uuid;

use crate::biller::{COST, pay_path};
use crate::relay::entries;
use crate::stage::{Answer, BANK, Replica, Shop, Stage, dong, eventually, text};

const PAY: &str = "/wallet/v1/payments";
const TOP_UPS: &str = "/wallet/v1/top-ups";
const MONEY: i64 = 10_000_000;
/// The city's clock.
const CITY: FixedOffset = FixedOffset::east_opt(7 * 3_600).expect("a zone");

/// Identity, as far as the wallet asks it who may act; nobody while there is nothing in it.
#[derive(Clone, Default)]
struct Allowed(Arc<Mutex<Option<(Acting, Uuid, GetDelegationResponse)>>>);

#[tonic::async_trait]
impl DelegationService for Allowed {
    async fn get_delegation(
        &self,
        request: tonic::Request<GetDelegationRequest>,
    ) -> Result<tonic::Response<GetDelegationResponse>, Status> {
        let asked = request.into_inner();
        let known = self.0.lock().expect("not poisoned").clone();
        let fits = known.filter(|(acting, dependent, _)| {
            (asked.delegation_id, asked.guardian_id, asked.dependent_id)
                == (acting.delegation.to_string(), acting.actor.to_string(), dependent.to_string())
        });
        let (_, _, terms) = fits.ok_or_else(|| Status::from(Problem::new(NOT_FOUND)))?;
        Ok(tonic::Response::new(terms))
    }
}

/// A child with ten million đồng, a guardian, a shop, and two wallet processes.
struct Family {
    stage: Stage,
    wallets: [Replica; 2],
    shop: Shop,
    allowed: Allowed,
    child: Uuid,
    guardian: Uuid,
    acting: Acting,
}

impl Family {
    async fn new(kinds: &[&str], limits: [i64; 3]) -> Self {
        Self::in_city(Stage::new().await, kinds, limits).await
    }

    async fn in_city(stage: Stage, kinds: &[&str], [transaction, day, month]: [i64; 3]) -> Self {
        let allowed = Allowed::default();
        let before = stage.start().await;
        let child = before.rich(&stage, MONEY).await;
        let shop = before.shop(&stage).await;
        before.kill().await;
        let guardian = stage.citizen(1).await;
        let acting = Acting { actor: guardian, delegation: Uuid::now_v7() };
        let terms = GetDelegationResponse {
            kinds: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
            transaction_maximum: transaction,
            day_maximum: day,
            month_maximum: month,
        };
        *allowed.0.lock().expect("not poisoned") = Some((acting, child, terms));
        let wallets = [Self::replica(&stage, &allowed, "one").await, Self::replica(&stage, &allowed, "two").await];
        Self { stage, wallets, shop, allowed, child, guardian, acting }
    }

    async fn replica(stage: &Stage, allowed: &Allowed, instance: &str) -> Replica {
        let metrics = Metrics::new("identity", instance);
        let identity = platform::rpc::in_process(
            "wallet",
            Routes::new(DelegationServiceServer::new(allowed.clone())),
            InboundLayer::new(&metrics),
            &CallMetrics::new(&metrics),
            CallSettings::default(),
        );
        stage.replica_asking(instance, stage.config(), identity).await
    }

    /// The guardian's token to act by; their session has their own id.
    fn token(&self) -> String {
        self.stage.issuer.acting_token(self.child, self.guardian, 600, self.acting)
    }

    fn order(&self, amount: i64) -> Value {
        json!({"till_id": self.shop.till, "amount": dong(amount)})
    }

    async fn pay(&self, amount: i64, key: &str) -> Answer {
        self.wallets[0].post_with_key(&self.token(), PAY, &self.order(amount), key).await
    }

    /// What identity says when somebody proves a transaction.
    fn proof(&self, who: Uuid, transaction: &Value) -> String {
        self.stage.issuer.statement(STEP_UP, (who, who), json!({"level": "pin", "transaction": transaction}))
    }

    /// Pays six million to the shop with a proof.
    async fn pay_with(&self, token: &str, key: &str, proof: String) -> Answer {
        let request = Request::post(PAY)
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .header("idempotency-key", key)
            .header("step-up-token", proof);
        let body = Body::from(self.order(6_000_000).to_string());
        self.wallets[1].call(request.body(body).expect("a request")).await
    }

    async fn left(&self) -> i64 {
        self.wallets[0].balance(&self.stage.token(self.child)).await
    }

    /// Lets time pass until noon of a day of the next month.
    fn next_month(&self, day: u32) {
        let now = self.stage.clock.now().with_timezone(&CITY);
        let first = now.date_naive().with_day(1).expect("a first day") + Months::new(1);
        let noon = first.with_day(day).and_then(|day| day.and_hms_opt(12, 0, 0)).expect("a time");
        self.stage.clock.advance(noon.and_local_timezone(CITY).single().expect("one noon") - now);
    }

    fn end(&self) {
        *self.allowed.0.lock().expect("not poisoned") = None;
    }
}

fn key() -> String {
    Uuid::now_v7().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guardian_pays_within_the_limits_and_everybody_concerned_sees_who_acted() {
    let family = Family::new(&["merchant"], [300_000, 500_000, 600_000]).await;
    let first = key();
    let paid = family.pay(300_000, &first).await.expect(201);
    assert_eq!(text(&paid, "acted_by"), family.guardian.to_string());
    assert_eq!(family.pay(300_000, &first).await.expect(201), paid, "one key, one payment");
    assert_eq!(family.left().await, MONEY - 300_000);
    let path = format!("{PAY}/{}", text(&paid, "id"));
    let wallet = &family.wallets[1];
    for (token, sees) in [
        (family.stage.token(family.child), json!(family.guardian)),
        (family.token(), json!(family.guardian)),
        (family.shop.token.clone(), Value::Null),
    ] {
        assert_eq!(wallet.get(&token, &path).await.expect(200)["acted_by"], sees);
    }
    let own = wallet.post(&family.stage.token(family.child), PAY, &family.order(1_000)).await.expect(201);
    assert_eq!(own["acted_by"], Value::Null);
    let own_path = format!("{PAY}/{}", text(&own, "id"));
    assert_eq!(wallet.get(&family.token(), &own_path).await.code(), "not-found", "the child's own payment");

    for (amount, period) in [(300_001, "transaction"), (200_001, "day")] {
        let over = family.pay(amount, &key()).await;
        assert_eq!((over.code().as_str(), over.json()["period"].clone()), ("delegation-limit", json!(period)));
    }
    family.stage.clock.advance(TimeDelta::days(1));
    family.pay(300_000, &key()).await.expect(201);
    family.stage.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_never_pass_a_limit_together_and_what_was_refused_does_not_count() {
    let family = Family::new(&["merchant"], [11_000_000, 11_000_000, 11_000_000]).await;
    for _ in 0..2 {
        assert_eq!(family.pay(11_000_000, &key()).await.code(), "step-up-required");
    }
    let counted = "wallet.delegated_spending WHERE released_at IS NULL";
    assert_eq!(family.stage.count(counted).await, 0, "what asks for a proof does not count before it comes");
    let payments = (0..8).map(|index| {
        let (wallet, token, order) = (&family.wallets[index % 2], family.token(), family.order(2_000_000));
        async move { wallet.post_with_key(&token, PAY, &order, &key()).await }
    });
    let answers = join_all(payments).await;
    let paid = answers.iter().filter(|answer| answer.status == 201).count();
    // Above five million a day the rules ask for a proof; nothing of that counts.
    assert_eq!(paid, 2, "{answers:?}");
    assert_eq!((family.stage.count(counted).await, family.left().await), (2, MONEY - 4_000_000));
    assert_eq!(family.stage.count("wallet.delegated_spending WHERE paid_at IS NOT NULL").await, 2, "and for good");

    let tight = Family::new(&["merchant"], [100_000, 300_000, 300_000]).await;
    let payments = (0..8).map(|index| {
        let (wallet, token, order) = (&tight.wallets[index % 2], tight.token(), tight.order(100_000));
        async move { wallet.post_with_key(&token, PAY, &order, &key()).await }
    });
    let answers = join_all(payments).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 3, "{answers:?}");
    assert!(answers.iter().all(|answer| answer.status == 201 || answer.code() == "delegation-limit"), "{answers:?}");
    assert_eq!(tight.left().await, MONEY - 300_000);
    tight.stage.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proof_is_the_guardians_own_and_the_end_counts_at_once() {
    let family = Family::new(&["merchant"], [6_000_000, 9_000_000, 9_000_000]).await;
    let key = key();
    let asked = family.pay(6_000_000, &key).await;
    assert_eq!(asked.code(), "step-up-required");
    let transaction = asked.json()["transaction"].clone();
    let named = format!("{}:{key}", family.acting.delegation);
    assert_eq!((&transaction["kind"], &transaction["nonce"]), (&json!("delegated-payment"), &json!(named)));
    let prove = |who: Uuid| family.proof(who, &transaction);
    let with = async |proof: String| family.pay_with(&family.token(), &key, proof).await;
    assert_eq!(with(prove(family.child)).await.code(), "step-up-invalid", "the child's proof is not the guardian's");
    let terms = family.allowed.0.lock().expect("not poisoned").clone();
    family.end();
    assert_eq!(
        with(prove(family.guardian)).await.code(),
        "delegation-ended",
        "it ended while the payment was on its way"
    );
    *family.allowed.0.lock().expect("not poisoned") = terms;
    let paid = with(prove(family.guardian)).await.expect(201);
    assert_eq!(family.left().await, MONEY - 6_000_000);
    family.end();
    assert_eq!(with(prove(family.guardian)).await.expect(201), paid, "what was answered is answered again");
    assert_eq!(family.pay(1_000, &self::key()).await.code(), "delegation-ended");

    family.stage.issuer.revoke(family.acting.delegation, 600);
    let verifier = &family.wallets[0].context.verifier;
    eventually("the token is refused", async || verifier.verify_acting(&family.token()).await.is_err()).await;
    assert_eq!(family.pay(1_000, &self::key()).await.code(), "unauthenticated");
    family.stage.audit().await;
}

/// A guardian with money of their own pays the same till the same amount under the same key out of both wallets.
#[tokio::test(flavor = "multi_thread")]
async fn a_proof_for_ones_own_money_moves_nobody_elses_and_the_other_way_round() {
    let family = Family::new(&["merchant"], [6_000_000, 9_000_000, 9_000_000]).await;
    let own = family.stage.token(family.guardian);
    let top_up = family.wallets[0].top_up(&own, RICH_ACCOUNTS[0], MONEY).await;
    family.wallets[0].reaches(&own, &top_up, "completed").await;
    let key = key();
    let delegated = format!("{}:{key}", family.acting.delegation);
    let asked = async |token: &str, key: &str| {
        let answer = family.wallets[0].post_with_key(token, PAY, &family.order(6_000_000), key).await;
        assert_eq!(answer.code(), "step-up-required");
        family.proof(family.guardian, &answer.json()["transaction"])
    };
    let for_own = asked(&own, &key).await;
    let for_child = asked(&family.token(), &key).await;
    let disguised = asked(&own, &delegated).await;
    let refused = async |token: &str, key: &str, proof: &str| {
        let answer = family.pay_with(token, key, proof.to_owned()).await;
        assert_eq!(
            (answer.code().as_str(), answer.json()["reason"].clone()),
            ("step-up-invalid", json!("other-transaction"))
        );
    };
    refused(&family.token(), &key, &for_own).await;
    refused(&family.token(), &key, &disguised).await;
    refused(&own, &key, &for_child).await;
    refused(&own, &delegated, &for_child).await;
    let counted = "wallet.delegated_spending WHERE released_at IS NULL";
    assert_eq!(family.stage.count(counted).await, 0, "what was refused does not count");

    family.pay_with(&own, &key, for_own).await.expect(201);
    refused(&family.token(), &key, &disguised).await;
    family.pay_with(&family.token(), &key, for_child).await.expect(201);
    assert_eq!(family.left().await, MONEY - 6_000_000);
    assert_eq!(family.wallets[0].balance(&own).await, MONEY - 6_000_000);
    family.stage.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guardian_sees_and_pays_bills_of_the_kinds_that_were_agreed_and_nothing_else() {
    let family = Family::new(&["bill"], [COST, COST, COST]).await;
    let wallet = family.stage.start().await;
    let own = family.stage.token(family.child);
    let bill = wallet.bill(&family.stage, &own).await;
    wallet.kill().await;
    let [wallet, _] = &family.wallets;
    let token = family.token();
    assert_eq!(wallet.bills(&token).await.len(), 1);
    assert_eq!(family.pay(1_000, &key()).await.code(), "delegation-kind");
    for path in
        ["/wallet/v1/wallet", "/wallet/v1/transactions", "/wallet/v1/merchants", "/wallet/v1/bill-subscriptions"]
    {
        assert_eq!(wallet.get(&token, path).await.code(), "unauthenticated", "{path}");
    }

    let id = wallet.pay_bill(&token, &bill).await;
    wallet.bill_reaches(&token, &id, "paid").await;
    let seen = wallet.bill_payment(&own, &id).await;
    assert_eq!(text(&seen, "acted_by"), family.guardian.to_string());
    assert_eq!(family.left().await, MONEY - COST);
    let again = wallet.post(&token, &pay_path(&bill), &json!({"amount": bill["amount"]})).await;
    assert_eq!(again.code(), "bill-paid");
    family.end();
    assert_eq!(wallet.get(&token, "/wallet/v1/bills").await.code(), "delegation-ended");
    family.stage.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guardian_brings_money_from_an_account_of_their_own_and_sees_that_alone() {
    let family = Family::new(&["merchant"], [1_000, 1_000, 1_000]).await;
    let [wallet, other] = &family.wallets;
    let (token, own) = (family.token(), family.stage.token(family.child));
    let body = json!({"bank_code": BANK, "account": RICH_ACCOUNTS[0], "amount": dong(50_000)});
    let first = key();
    let asked = wallet.post_with_key(&token, TOP_UPS, &body, &first).await.expect(202);
    let again = other.post_with_key(&token, TOP_UPS, &body, &first).await.expect(202);
    assert_eq!(again, asked, "one key, one top-up");
    let id = text(&asked, "id");
    let completed = async || wallet.top_up_state(&token, &id).await["state"] == "completed";
    eventually("the bank has paid", completed).await;
    assert_eq!(family.left().await, MONEY + 50_000, "the child's wallet, beside the limits of what is paid");
    for who in [&token, &own] {
        assert_eq!(text(&wallet.top_up_state(who, &id).await, "acted_by"), family.guardian.to_string());
    }
    let stranger = family.stage.token(family.stage.citizen(1).await);
    assert_eq!(wallet.get(&stranger, &format!("{TOP_UPS}/{id}")).await.code(), "not-found");
    let childs = wallet.top_up(&own, RICH_ACCOUNTS[0], 10_000).await;
    assert_eq!(wallet.get(&token, &format!("{TOP_UPS}/{childs}")).await.code(), "not-found", "the child's own");
    family.end();
    assert_eq!(wallet.post(&token, TOP_UPS, &body).await.code(), "delegation-ended");
    family.stage.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_month_has_its_limit_over_all_its_days_and_the_next_begins_anew() {
    let family = Family::new(&["merchant"], [300_000, 300_000, 500_000]).await;
    for (day, amount) in [(1, 300_000), (2, 150_000), (28, 50_000)] {
        if day == 1 {
            family.next_month(1);
        } else {
            family.stage.clock.advance(TimeDelta::days(if day == 2 { 1 } else { 26 }));
        }
        family.pay(amount, &key()).await.expect(201);
    }
    let over = family.pay(1, &key()).await;
    assert_eq!(
        (over.status.as_u16(), over.code().as_str(), over.json()["period"].clone(), over.json()["maximum"].clone()),
        (422, "delegation-limit", json!("month"), dong(500_000))
    );
    assert_eq!(family.left().await, MONEY - 500_000, "what is refused moves nothing");
    family.next_month(1);
    family.pay(300_000, &key()).await.expect(201);
    family.stage.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_receipts_and_events_say_who_acted() {
    let family = Family::in_city(Stage::with_redis().await, &["merchant", "bill"], [COST, MONEY, MONEY]).await;
    let before = family.stage.start().await;
    let bill = before.bill(&family.stage, &family.stage.token(family.child)).await;
    before.kill().await;
    let [wallet, _] = &family.wallets;
    let (child, guardian) = (family.stage.token(family.child), family.guardian.to_string());
    family.pay(40_000, &key()).await.expect(201);
    wallet.post(&child, PAY, &family.order(5_000)).await.expect(201);
    let id = wallet.pay_bill(&family.token(), &bill).await;
    wallet.bill_reaches(&family.token(), &id, "paid").await;

    let lines = wallet.get(&child, "/wallet/v1/transactions").await.expect(200);
    let lines = lines["items"].as_array().expect("a list");
    let acted: Vec<(String, Value)> = lines.iter().map(|line| (text(line, "kind"), line["acted_by"].clone())).collect();
    let by = |kind: &str, who: Value| (kind.to_owned(), who);
    assert_eq!(
        acted,
        [
            by("bill", json!(guardian)),
            by("payment", Value::Null),
            by("payment", json!(guardian)),
            by("top-up", Value::Null)
        ]
    );
    for (line, (_, who)) in lines.iter().zip(&acted) {
        let path = format!("/wallet/v1/transactions/{}", text(line, "id"));
        assert_eq!(wallet.get(&child, &path).await.expect(200)["acted_by"], *who);
        let receipt = wallet.get(&child, &format!("{path}/receipt")).await;
        assert_eq!(receipt.headers.get("acted-by").and_then(|value| value.to_str().ok()), who.as_str());
        assert_eq!(receipt.expect(200)["version"], 1, "the receipt itself is as before");
    }
    let shops =
        wallet.get(&family.shop.token, &format!("/wallet/v1/transactions/{}/receipt", text(&lines[2], "id"))).await;
    assert_eq!((shops.status.as_u16(), shops.headers.get("acted-by")), (200, None), "not the shop's to know");

    eventually("the journal is relayed", async || entries(wallet, "journal").await.len() == 4).await;
    let said: Vec<String> = entries(wallet, "journal")
        .await
        .into_values()
        .filter_map(|(kind, _, data)| match kind.rsplit('.').next() {
            Some("PaymentCompleted") => PaymentCompleted::decode(data.as_slice()).ok().map(|event| event.acted_by),
            Some("BillPaid") => BillPaid::decode(data.as_slice()).ok().map(|event| event.acted_by),
            _ => None,
        })
        .collect();
    assert_eq!(said, [guardian.clone(), String::new(), guardian]);
    family.stage.audit().await;
}

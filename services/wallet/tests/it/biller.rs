//! The sandbox's electricity biller, and short ways to have bills and pay them.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use wallet::config::PartnerConfig;

use crate::stage::{Answer, Replica, Stage, dong, eventually, text};

/// The biller that is connected.
pub(crate) const BILLER: &str = "PCHUE";
/// Another one, for tests that connect two.
pub(crate) const WATER: &str = "HUEWACO";

/// The sandbox biller.
pub(crate) struct Biller {
    pub(crate) url: String,
    pub(crate) config: sandbox::BillerConfig,
}

impl Biller {
    /// How wallets reach it.
    pub(crate) fn settings(&self) -> PartnerConfig {
        PartnerConfig {
            url: self.url.parse().expect("a URL"),
            partner: self.config.partner.clone(),
            secret: self.config.partner_secret.clone(),
            callback_secret: self.config.secret.clone(),
        }
    }

    fn at(&self, rest: &str) -> String {
        format!("{}/billers/{BILLER}/{rest}", self.url)
    }

    async fn post(&self, rest: &str, body: &Value) -> Value {
        self.post_to(self.at(rest), body).await
    }

    async fn post_to(&self, url: String, body: &Value) -> Value {
        let answer = reqwest::Client::new().post(url).json(body).send().await.expect("the sandbox answers");
        assert!(answer.status().is_success(), "{:?}", answer.text().await);
        answer.json().await.expect("JSON")
    }

    /// What goes wrong from now on.
    pub(crate) async fn fault(&self, fault: Value) {
        self.post("faults", &fault).await;
    }

    /// Nothing goes wrong from now on.
    pub(crate) async fn heal(&self) {
        reqwest::Client::new().delete(self.at("faults")).send().await.expect("the sandbox answers");
    }

    /// A customer with a bill for each reading; says the customer's code.
    pub(crate) async fn customer(&self, readings: &[(&str, u32)]) -> String {
        text(&self.post("customers", &json!({"readings": bodies(readings)})).await, "customer_code")
    }

    /// The same at the other biller, in cubic metres.
    pub(crate) async fn water_customer(&self, readings: &[(&str, u32)]) -> String {
        let url = format!("{}/billers/{WATER}/customers", self.url);
        text(&self.post_to(url, &json!({"readings": bodies(readings)})).await, "customer_code")
    }

    /// More readings of a customer.
    pub(crate) async fn read(&self, customer: &str, readings: &[(&str, u32)]) {
        self.post("customers", &json!({"customer_code": customer, "readings": bodies(readings)})).await;
    }

    /// What the biller has decided, by request id: status and amount.
    pub(crate) async fn decided(&self) -> BTreeMap<String, (String, i64)> {
        let answer: Value = reqwest::get(self.at("statement")).await.expect("answers").json().await.expect("JSON");
        let items = answer["items"].as_array().expect("a list").iter();
        items.map(|item| (text(item, "request_id"), (text(item, "status"), amount(&item["amount"])))).collect()
    }

    /// Somebody pays the bill elsewhere.
    pub(crate) async fn pay_elsewhere(&self, clock: &platform::clock::Clock, bill: &Value) {
        let path = format!("/billers/{BILLER}/v1/payments");
        let body = json!({
            "request_id": uuid::Uuid::now_v7(),
            "customer_code": bill["customer_code"],
            "reference": bill["reference"],
            "amount": bill["amount"],
            "callback_url": "http://127.0.0.1:1/",
        });
        let body = body.to_string().into_bytes();
        let timestamp = clock.now().timestamp();
        let secret = self.config.partner_secret.expose();
        let signature = sandbox::sign(secret, &http::Method::POST, &path, timestamp, &body);
        let request = reqwest::Client::new().post(format!("{}{path}", self.url)).body(body);
        let request = request
            .header("x-partner", &self.config.partner)
            .header("x-timestamp", timestamp)
            .header("x-signature", signature);
        let answer = request.send().await.expect("the sandbox answers");
        assert!(answer.status().is_success(), "{:?}", answer.text().await);
    }
}

fn bodies(readings: &[(&str, u32)]) -> Vec<Value> {
    readings.iter().map(|(read_on, usage)| json!({"read_on": read_on, "usage": usage})).collect()
}

/// The number in money on the wire.
pub(crate) fn amount(money: &Value) -> i64 {
    assert_eq!(money["currency"], "VND");
    money["amount"].as_str().expect("a string").parse().expect("a number")
}

impl Replica {
    /// A citizen with money from the bank, for tests that outlive a token.
    pub(crate) async fn rich(&self, stage: &Stage, amount: i64) -> uuid::Uuid {
        let user = stage.citizen(1).await;
        let token = stage.token(user);
        let id = self.top_up(&token, sandbox::RICH_ACCOUNTS[0], amount).await;
        self.reaches(&token, &id, "completed").await;
        user
    }

    /// Links a customer code and gives its bills, the latest due day first.
    pub(crate) async fn linked(&self, token: &str, customer: &str) -> Vec<Value> {
        self.linked_at(BILLER, token, customer).await
    }

    /// The same at a biller.
    pub(crate) async fn linked_at(&self, biller: &str, token: &str, customer: &str) -> Vec<Value> {
        let body = json!({"biller_code": biller, "customer_code": customer});
        self.link(token, &body, &uuid::Uuid::now_v7().to_string()).await.expect(201);
        let mut bills = self.bills(token).await;
        bills.retain(|bill| bill["customer_code"] == customer);
        bills
    }

    /// Links a customer code, and asks again as long as the biller is only slow.
    pub(crate) async fn link(&self, token: &str, body: &Value, key: &str) -> Answer {
        let mut last = None;
        eventually("the biller answers", async || {
            let answer = self.post_with_key(token, "/wallet/v1/bill-subscriptions", body, key).await;
            let answered = answer.status != 503;
            last = Some(answer);
            answered
        })
        .await;
        last.expect("it was asked once at least")
    }

    /// The citizen's bills.
    pub(crate) async fn bills(&self, token: &str) -> Vec<Value> {
        let list = self.get(token, "/wallet/v1/bills?limit=200").await.expect(200);
        list["items"].as_array().expect("a list").clone()
    }

    /// A bill of the customer's one reading of 250 kWh, as it stands in the citizen's list.
    pub(crate) async fn bill(&self, stage: &Stage, token: &str) -> Value {
        let customer = stage.biller.customer(&[("2025-11-01", 250)]).await;
        self.linked(token, &customer).await.remove(0)
    }

    /// Pays a bill and says the payment's id.
    pub(crate) async fn pay_bill(&self, token: &str, bill: &Value) -> String {
        let body = json!({"amount": bill["amount"]});
        text(&self.post(token, &pay_path(bill), &body).await.expect(202), "id")
    }

    pub(crate) async fn bill_payment(&self, token: &str, id: &str) -> Value {
        self.get(token, &format!("/wallet/v1/bill-payments/{id}")).await.expect(200)
    }

    /// Waits until a payment of a bill has come to a state.
    pub(crate) async fn bill_reaches(&self, token: &str, id: &str, state: &str) {
        let there = async || self.bill_payment(token, id).await["state"] == state;
        eventually(&format!("bill payment is {state}"), there).await;
    }

    /// Balance and what of it can be spent.
    pub(crate) async fn funds(&self, token: &str) -> (i64, i64) {
        let view = self.get(token, "/wallet/v1/wallet").await.expect(200);
        (amount(&view["balance"]), amount(&view["available"]))
    }
}

/// Where a bill is paid.
pub(crate) fn pay_path(bill: &Value) -> String {
    format!("/wallet/v1/bills/{}/payments", text(bill, "id"))
}

/// What 250 kWh cost.
pub(crate) const COST: i64 = 636_768;

/// Money on the wire that is not the bill's.
pub(crate) fn other_amount() -> Value {
    dong(COST - 1)
}

//! The sandbox's billers over a real listener: who may ask, what is remembered, what goes wrong when a test asks for it.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::time::Duration;

use http::{Method, StatusCode};
use platform::clock::Clock;
use platform::task::Shutdown;
use sandbox::{Billers, Config, PARTNER_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, sign};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use uuid::Uuid;

const BILLER: &str = "PCHUE";

struct Town {
    url: String,
    config: Config,
    clock: Clock,
    client: reqwest::Client,
    shutdown: Shutdown,
}

impl Drop for Town {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}

impl Town {
    async fn start() -> Self {
        let city = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/city/hue");
        let (mut config, clock, shutdown) = (Config::generate(), Clock::test(), Shutdown::new());
        config.billers = Billers::load(&city).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(sandbox::serve(listener, config.clone(), clock.clone(), shutdown.clone()));
        Self { url, config, clock, client: reqwest::Client::new(), shutdown }
    }

    async fn signed(&self, secret: &str, method: Method, path: &str, body: &Value) -> (StatusCode, Value) {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let timestamp = self.clock.now().timestamp();
        let signature = sign(secret, &method, path, timestamp, &body);
        let request = self
            .client
            .request(method, format!("{}{path}", self.url))
            .header(PARTNER_HEADER, &self.config.biller.partner)
            .header(TIMESTAMP_HEADER, timestamp)
            .header(SIGNATURE_HEADER, signature)
            .body(body);
        answer(request).await
    }

    /// As the partner.
    async fn ask(&self, method: Method, path: &str, body: &Value) -> (StatusCode, Value) {
        self.signed(self.config.biller.partner_secret.expose(), method, path, body).await
    }

    async fn unpaid(&self, customer: &str) -> (StatusCode, Value) {
        self.ask(Method::GET, &format!("/billers/{BILLER}/v1/customers/{customer}/bills"), &Value::Null).await
    }

    async fn pay(&self, request_id: Uuid, customer: &Value, amount: &Value) -> (StatusCode, Value) {
        let body = json!({
            "request_id": request_id,
            "customer_code": customer["customer_code"],
            "reference": customer["bills"][0]["reference"],
            "amount": amount,
            "callback_url": "http://127.0.0.1:1/back",
        });
        self.ask(Method::POST, &format!("/billers/{BILLER}/v1/payments"), &body).await
    }

    async fn post(&self, path: &str, body: Value) -> (StatusCode, Value) {
        answer(self.client.post(format!("{}/billers/{path}", self.url)).json(&body)).await
    }

    /// A customer with one bill.
    async fn customer(&self) -> Value {
        let readings = json!({"readings": [{"usage": 250, "read_on": "2025-11-01"}]});
        let (status, customer) = self.post(&format!("{BILLER}/customers"), readings).await;
        assert_eq!(status, StatusCode::CREATED, "{customer}");
        customer
    }
}

async fn answer(request: reqwest::RequestBuilder) -> (StatusCode, Value) {
    let answer = request.timeout(Duration::from_secs(10)).send().await.unwrap();
    (answer.status(), answer.json().await.unwrap_or_default())
}

#[tokio::test]
async fn a_reading_becomes_a_bill_that_is_paid_once() {
    let town = Town::start().await;
    let customer = town.customer().await;
    let code = customer["customer_code"].as_str().unwrap();
    let (_, unpaid) = town.unpaid(code).await;
    let amount = json!({"amount": "636768", "currency": "VND"});
    assert_eq!(unpaid["bills"][0]["amount"], amount);
    assert_eq!(unpaid["bills"][0]["details"]["vat"], json!({"amount": "47168", "currency": "VND"}));

    let (wrong, request_id) = (json!({"amount": "636767", "currency": "VND"}), Uuid::now_v7());
    let (status, refusal) = town.pay(Uuid::now_v7(), &customer, &wrong).await;
    assert_eq!((status.as_u16(), &refusal["code"]), (422, &json!("amount-mismatch")));
    let (status, paid) = town.pay(request_id, &customer, &amount).await;
    assert_eq!((status.as_u16(), &paid["status"], &paid["amount"]), (200, &json!("succeeded"), &amount));
    assert_eq!(town.pay(request_id, &customer, &amount).await.1, paid, "the same word again");
    let (status, refusal) = town.pay(request_id, &customer, &wrong).await;
    assert_eq!((status.as_u16(), &refusal["code"]), (422, &json!("request-id-reused")));
    let (_, refusal) = town.pay(Uuid::now_v7(), &customer, &amount).await;
    assert_eq!(refusal["code"], "bill-paid");
    assert_eq!(town.unpaid(code).await.1["bills"], json!([]));

    let path = format!("/billers/{BILLER}/v1/payments/{request_id}");
    assert_eq!(town.ask(Method::GET, &path, &Value::Null).await.1, paid);
    let path = format!("/billers/{BILLER}/v1/payments/{}", Uuid::now_v7());
    let (status, refusal) = town.ask(Method::GET, &path, &Value::Null).await;
    assert_eq!((status.as_u16(), &refusal["code"]), (404, &json!("not-found")));
    let (_, statement) = answer(town.client.get(format!("{}/billers/{BILLER}/statement", town.url))).await;
    let said: Vec<_> = statement["items"].as_array().unwrap().iter().map(|line| line["status"].clone()).collect();
    assert_eq!(said, ["failed", "succeeded", "failed"]);
}

#[tokio::test]
async fn only_the_partner_is_heard_and_only_at_billers_that_are_played() {
    let town = Town::start().await;
    let customer = town.customer().await;
    let code = customer["customer_code"].as_str().unwrap();
    let path = format!("/billers/{BILLER}/v1/customers/{code}/bills");
    assert_eq!(town.signed("guess", Method::GET, &path, &Value::Null).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(answer(town.client.get(format!("{}{path}", town.url))).await.0, StatusCode::UNAUTHORIZED);
    let (status, refusal) = town.unpaid("PC00000000000").await;
    assert_eq!((status.as_u16(), &refusal["code"]), (404, &json!("customer-unknown")));
    let elsewhere = "/billers/GAS/v1/customers/PC1/bills";
    assert_eq!(town.ask(Method::GET, elsewhere, &Value::Null).await.0, StatusCode::NOT_FOUND);
    for (body, status, code) in [
        (json!({}), 400, "invalid-body"),
        (json!({"readings": [{"usage": 0}]}), 422, "invalid-field"),
        (json!({"readings": [{"usage": 1, "read_on": "2020-01-01"}]}), 422, "invalid-field"),
        (json!({"customer_code": "HW12345678", "readings": []}), 422, "invalid-field"),
        (json!({"customer_code": code, "readings": [{"usage": 1, "read_on": "2025-11-30"}]}), 409, "month-known"),
        (json!({"readings": vec![json!({"usage": 1}); 61]}), 422, "invalid-field"),
    ] {
        let (got, refusal) = town.post(&format!("{BILLER}/customers"), body.clone()).await;
        assert_eq!((got.as_u16(), &refusal["code"]), (status, &json!(code)), "{body}");
    }
}

#[tokio::test]
async fn a_fault_is_one_billers() {
    let town = Town::start().await;
    let customer = town.customer().await;
    let code = customer["customer_code"].as_str().unwrap();
    let fault = json!({"error_rate": 1.0, "times": 2});
    assert_eq!(town.post("HUEWACO/faults", fault.clone()).await.0, StatusCode::OK);
    assert_eq!(town.unpaid(code).await.0, StatusCode::OK, "another biller's fault");
    assert_eq!(town.post(&format!("{BILLER}/faults"), fault).await.0, StatusCode::OK);
    assert_eq!(town.unpaid(code).await.0, StatusCode::INTERNAL_SERVER_ERROR);
    let amount = customer["bills"][0]["amount"].clone();
    assert_eq!(town.pay(Uuid::now_v7(), &customer, &amount).await.0, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(town.unpaid(code).await.1["bills"].as_array().unwrap().len(), 1, "it struck before the effect");
    assert_eq!(town.post("GAS/faults", json!({})).await.0, StatusCode::NOT_FOUND);
}

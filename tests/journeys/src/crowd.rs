//! Citizens who go to the bank, pay in a shop and pay their electricity, whatever dies meanwhile.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use harness::{Citizen, City, Shop, eventually, money};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::dice::Dice;

/// What a citizen brings at first, in đồng.
const FUNDS: u64 = 2_000_000;
/// What is brought later, each time.
const MORE: u64 = 50_000;
/// The months whose electricity is to be paid.
const MONTHS: [&str; 4] = ["2025-08-01", "2025-09-01", "2025-10-01", "2025-11-01"];

/// A citizen, with what they know of their own money.
#[derive(Debug)]
pub struct Payer {
    /// Who it is.
    pub citizen: Citizen,
    /// Their name.
    pub name: String,
    /// Their number with the biller.
    pub customer_code: String,
    account: String,
    phone_token: String,
    bills: Vec<Value>,
    balance: u64,
    payments: usize,
    top_ups: usize,
    /// The payments of bills, with what the citizen read of them in the end.
    settled: Vec<(String, String)>,
}

impl Payer {
    /// Signs a citizen in who has a name, a phone that takes push messages, money, and bills to pay.
    ///
    /// # Errors
    /// When a step does not hold.
    pub async fn arrive(city: &City, name: &str) -> Result<Self> {
        let citizen = city.visitor()?.sign_up().await?;
        let profile = citizen.visitor.request(reqwest::Method::PATCH, "/identity/v1/me")?.bearer_auth(&citizen.token);
        let profile = profile.json(&json!({ "display_name": name })).send().await?;
        ensure!(profile.status().is_success(), "the name: {}", profile.status());
        let phone_token = format!("phone-{}", Uuid::new_v4());
        let device = json!({"token": phone_token, "platform": "fcm", "name": "Điện thoại"});
        citizen.insist("/notifications/v1/devices", &device).await?.expect(201)?;
        let readings: Vec<Value> = MONTHS.iter().map(|day| json!({"usage": 40, "read_on": day})).collect();
        let customer = citizen.visitor.steer("/billers/PCHUE/customers", &json!({ "readings": readings })).await?;
        let customer_code = customer["customer_code"].as_str().context("customer_code")?.to_owned();
        let link = json!({"biller_code": "PCHUE", "customer_code": customer_code});
        citizen.insist("/wallet/v1/bill-subscriptions", &link).await?.expect(201)?;
        let account = citizen.bank_account(100 * FUNDS).await?;
        let (name, payments, top_ups) = (name.to_owned(), 0, 0);
        let (bills, settled) = (Vec::new(), Vec::new());
        let mut payer =
            Self { citizen, name, customer_code, account, phone_token, bills, balance: 0, payments, top_ups, settled };
        payer.fetch(city, FUNDS).await?;
        payer.bills = eventually("the bills", || async {
            let bills = payer.citizen.get("/wallet/v1/bills?state=open").await?.expect(200)?;
            let bills = bills["items"].as_array().cloned().context("items")?;
            Ok((bills.len() == MONTHS.len()).then_some(bills))
        })
        .await?;
        Ok(payer)
    }

    /// Everything that tells who this is, and that nobody else has to know.
    pub fn private(&self) -> Vec<String> {
        let parts = [&self.name, &self.account, &self.customer_code, &self.phone_token].map(String::clone);
        parts.into_iter().chain(self.citizen.private()).collect()
    }

    /// Pays in the shop, mostly; else goes to the bank or pays a bill.
    ///
    /// # Errors
    /// When what must succeed does not.
    pub async fn act(&mut self, city: &City, shop: &Shop, dice: &mut Dice) -> Result<()> {
        match dice.below(8) {
            0 => self.fetch(city, MORE).await,
            1 => self.pay_bill().await,
            _ => self.buy(shop, 1_000 * (1 + dice.below(20))).await,
        }
    }

    async fn buy(&mut self, shop: &Shop, price: u64) -> Result<()> {
        let key = Uuid::new_v4().to_string();
        let paid = eventually("the payment's answer", || async {
            let answer = self.citizen.pay(&shop.qr, price, &key).await?;
            Ok((!answer.may_pass()).then_some(answer))
        });
        paid.await?.expect(201)?;
        self.balance -= price;
        self.payments += 1;
        Ok(())
    }

    async fn fetch(&mut self, city: &City, amount: u64) -> Result<()> {
        let body = json!({"bank_code": city.bank(), "account": self.account, "amount": money(amount)});
        let asked = self.citizen.insist("/wallet/v1/top-ups", &body).await?.expect(202)?;
        let state = self.citizen.top_up_ended(asked["id"].as_str().context("id")?).await?;
        ensure!(state == "completed", "top-up ended as {state}");
        self.balance += amount;
        self.top_ups += 1;
        Ok(())
    }

    /// Pays the next bill, if there is one; charged is who reads that it is paid.
    async fn pay_bill(&mut self) -> Result<()> {
        let Some(bill) = self.bills.pop() else { return Ok(()) };
        let path = format!("/wallet/v1/bills/{}/payments", bill["id"].as_str().context("id")?);
        let asked = self.citizen.insist(&path, &json!({"amount": bill["amount"]})).await?.expect(202)?;
        let id = asked["id"].as_str().context("id")?.to_owned();
        let path = format!("/wallet/v1/bill-payments/{id}");
        let state = eventually("the payment of the bill to end", || async {
            let state = self.citizen.get(&path).await?.expect(200)?["state"].as_str().unwrap_or_default().to_owned();
            Ok(matches!(state.as_str(), "paid" | "failed").then_some(state))
        })
        .await?;
        if state == "paid" {
            self.balance -= bill["amount"]["amount"].as_str().context("amount")?.parse::<u64>()?;
        }
        self.settled.push((id, state));
        Ok(())
    }

    /// A bill was charged exactly when the biller has it as paid; and it was told.
    async fn bills_are_as_the_biller_has_them(&self) -> Result<()> {
        let statement = self.citizen.visitor.outside("/billers/PCHUE/statement").await?;
        let items = statement["items"].as_array().context("items")?;
        for (id, state) in &self.settled {
            let recorded = items.iter().any(|item| item["request_id"] == **id && item["status"] == "succeeded");
            ensure!(recorded == (state == "paid"), "bill payment {id} is {state}, recorded by the biller: {recorded}");
        }
        // Nothing but a fault that lasts for half an hour lets one fail.
        let paid = self.settled.iter().filter(|(_, state)| state == "paid").count();
        ensure!(2 * paid >= self.settled.len(), "{paid} of {} bills could be paid", self.settled.len());
        Ok(())
    }

    /// Charged is what was bought and no more, and each movement was told once. Nothing moves meanwhile.
    ///
    /// # Errors
    /// Names what differs.
    pub async fn all_is_right(&self, shop_name: &str) -> Result<()> {
        let (balance, expected) = (self.citizen.balance().await?, self.balance);
        ensure!(balance == expected, "a balance of {balance} should be {expected}");
        self.bills_are_as_the_biller_has_them().await?;
        let items = told_once(&self.citizen).await?;
        let paid = self.settled.iter().filter(|(_, state)| state == "paid").count();
        for (kind, expected) in
            [("payment-sent", self.payments), ("top-up-completed", self.top_ups), ("bill-paid", paid)]
        {
            let told = items.iter().filter(|item| item["kind"] == kind).count();
            ensure!(told == expected, "{told} messages {kind}, which happened {expected} times");
        }
        // A push that is sent again, after an answer that got lost, bears the same name; a phone shows it once.
        let pushes = self.citizen.visitor.outside(&format!("/push?token={}&limit=1000", self.phone_token)).await?;
        let pushes = pushes.as_array().or_else(|| pushes["items"].as_array()).context("pushes")?;
        let ours = pushes.iter().filter(|push| push.to_string().contains(shop_name));
        let shown: BTreeSet<String> = ours.map(|push| push["data"]["message_id"].to_string()).collect();
        ensure!(shown.len() == self.payments, "{} pushes about {} payments", shown.len(), self.payments);
        let sms = self.citizen.visitor.outside(&format!("/sms?to=%2B{}", &self.citizen.phone[1..])).await?;
        let sms = sms.as_array().or_else(|| sms["items"].as_array()).context("messages")?;
        // A gateway knows a message that is sent again by its reference.
        let codes: BTreeSet<&str> = sms.iter().filter_map(|message| message["reference"].as_str()).collect();
        ensure!(codes.len() == 1, "{} SMS for one code", codes.len());
        Ok(())
    }
}

/// Everything in somebody's inbox. Nothing stands there twice, but that a report may come to the same state again.
///
/// # Errors
/// Names what does.
pub async fn told_once(citizen: &Citizen) -> Result<Vec<Value>> {
    let inbox = citizen.get("/notifications/v1/inbox?limit=200").await?.expect(200)?;
    let items = inbox["items"].as_array().context("items")?.clone();
    ensure!(inbox["next_cursor"].is_null(), "more than a page of messages");
    let mut seen = BTreeSet::new();
    let of_report = |item: &&Value| item["kind"].as_str().is_some_and(|kind| kind.starts_with("report-"));
    for item in items.iter().filter(|item| !of_report(item)) {
        ensure!(seen.insert(format!("{} {}", item["kind"], item["data"])), "told twice: {item}");
    }
    Ok(items)
}

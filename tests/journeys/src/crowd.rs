//! Citizens who go to the bank, pay in a shop, get money back, and pay their electricity and fees, whatever dies meanwhile.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use harness::{Citizen, City, Shop, eventually, money};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::agency::{Agency, FEE};
use crate::dice::Dice;

/// What a citizen brings at first, in đồng.
const FUNDS: u64 = 2_000_000;
/// What is brought later, each time.
const MORE: u64 = 50_000;
/// The months whose electricity is to be paid.
const MONTHS: [&str; 4] = ["2025-08-01", "2025-09-01", "2025-10-01", "2025-11-01"];

/// What a citizen does in a part of the day, in some order.
#[derive(Clone, Copy, Debug)]
pub enum Act {
    /// Pays in the shop.
    Buy,
    /// Pays in the shop with a proof by PIN.
    BuyProved,
    /// Pays in the shop, which gives half of it back.
    BuyAndReturn,
    /// Goes to the bank.
    Fetch,
    /// Pays a bill.
    PayBill,
    /// Is asked for a fee by an agency and pays it.
    PayFee,
}

impl Act {
    /// Everything of a part of the day.
    pub const ALL: [Self; 8] = [
        Self::Buy,
        Self::Buy,
        Self::Buy,
        Self::BuyProved,
        Self::BuyAndReturn,
        Self::Fetch,
        Self::PayBill,
        Self::PayFee,
    ];
}

/// Whom a citizen deals with.
#[derive(Clone, Copy, Debug)]
pub struct Partners<'a> {
    /// The city.
    pub city: &'a City,
    /// Where they buy.
    pub shop: &'a Shop,
    /// Who owns the shop.
    pub seller: &'a Citizen,
    /// Who asks for fees.
    pub agency: &'a Agency,
}

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
    pin: String,
    proofs: Vec<String>,
    bills: Vec<Value>,
    balance: u64,
    payments: usize,
    refunds: usize,
    top_ups: usize,
    /// The payments of bills, with what the citizen read of them in the end.
    settled: Vec<(String, String)>,
    /// What the agency calls the fees that were paid.
    fees: Vec<String>,
}

impl Payer {
    /// Signs a citizen in who has a name, a PIN, a phone that takes push messages, money, and bills to pay.
    ///
    /// # Errors
    /// When a step does not hold.
    pub async fn arrive(city: &City, name: &str) -> Result<Self> {
        let citizen = city.visitor()?.sign_up().await?;
        let profile = citizen.visitor.request(reqwest::Method::PATCH, "/identity/v1/me")?.bearer_auth(&citizen.token);
        let profile = profile.json(&json!({ "display_name": name })).send().await?;
        ensure!(profile.status().is_success(), "the name: {}", profile.status());
        let pin = citizen.set_pin().await?;
        let phone_token = format!("phone-{}", Uuid::new_v4());
        let device = json!({"token": phone_token, "platform": "fcm", "name": "Điện thoại"});
        citizen.insist("/notifications/v1/devices", &device).await?.expect(201)?;
        let readings: Vec<Value> = MONTHS.iter().map(|day| json!({"usage": 40, "read_on": day})).collect();
        let customer = citizen.visitor.steer("/billers/PCHUE/customers", &json!({ "readings": readings })).await?;
        let customer_code = customer["customer_code"].as_str().context("customer_code")?.to_owned();
        let link = json!({"biller_code": "PCHUE", "customer_code": customer_code});
        citizen.insist("/wallet/v1/bill-subscriptions", &link).await?.expect(201)?;
        let account = citizen.bank_account(100 * FUNDS).await?;
        let mut payer = Self {
            citizen,
            name: name.to_owned(),
            customer_code,
            account,
            phone_token,
            pin,
            proofs: Vec::new(),
            bills: Vec::new(),
            balance: 0,
            payments: 0,
            refunds: 0,
            top_ups: 0,
            settled: Vec::new(),
            fees: Vec::new(),
        };
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
        parts.into_iter().chain(self.citizen.private()).chain(self.proofs.iter().cloned()).collect()
    }

    /// The code by which they signed in, and their PIN.
    pub fn codes(&self) -> [String; 2] {
        [self.citizen.code.clone(), self.pin.clone()]
    }

    /// Does one thing.
    ///
    /// # Errors
    /// When what must succeed does not.
    pub async fn act(&mut self, act: Act, with: Partners<'_>, dice: &mut Dice) -> Result<()> {
        let price = 1_000 * (1 + dice.below(20));
        match act {
            Act::Buy => self.buy(with.shop, price).await.map(|_| ()),
            Act::BuyProved => self.buy_proved(with.shop, price).await,
            Act::BuyAndReturn => self.buy_and_return((with.shop, with.seller), price).await,
            Act::Fetch => self.fetch(with.city, MORE).await,
            Act::PayBill => self.pay_bill().await,
            Act::PayFee => self.pay_fee(with.agency).await,
        }
    }

    /// Gives the payment's id.
    async fn buy(&mut self, shop: &Shop, price: u64) -> Result<String> {
        let key = Uuid::new_v4().to_string();
        let paid = eventually("the payment's answer", || async {
            let answer = self.citizen.pay(&shop.qr, price, &key).await?;
            Ok((!answer.may_pass()).then_some(answer))
        });
        let paid = paid.await?.expect(201)?;
        self.balance -= price;
        self.payments += 1;
        Ok(paid["id"].as_str().context("id")?.to_owned())
    }

    async fn buy_proved(&mut self, shop: &Shop, price: u64) -> Result<()> {
        let (key, order) = (Uuid::new_v4().to_string(), (shop.till.as_str(), price));
        let proof = self.citizen.prove(&self.pin, order, &key).await?;
        self.proofs.push(proof.clone());
        let paid = eventually("the payment's answer", || async {
            let answer = self.citizen.pay_proved(order, (&key, &proof)).await?;
            Ok((!answer.may_pass()).then_some(answer))
        });
        paid.await?.expect(201)?;
        self.balance -= price;
        self.payments += 1;
        Ok(())
    }

    async fn buy_and_return(&mut self, (shop, seller): (&Shop, &Citizen), price: u64) -> Result<()> {
        let payment = self.buy(shop, price).await?;
        let back = json!({"amount": money(price / 2), "reason": "Hết hàng"});
        seller.insist(&format!("/wallet/v1/payments/{payment}/refunds"), &back).await?.expect(201)?;
        self.balance += price / 2;
        self.refunds += 1;
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
        let (id, state) = self.settle(&bill).await?;
        if state == "paid" {
            self.balance -= bill["amount"]["amount"].as_str().context("amount")?.parse::<u64>()?;
        }
        self.settled.push((id, state));
        Ok(())
    }

    /// Pays a fee that an agency asks for at this moment: nobody outside has to confirm it, so that it is paid.
    async fn pay_fee(&mut self, agency: &Agency) -> Result<()> {
        let (reference, notice) = agency.ask(&self.citizen.phone).await?;
        let (id, state) = self.settle(&notice).await?;
        ensure!(state == "paid", "the payment {id} of a fee is {state}");
        self.balance -= FEE;
        self.fees.push(reference);
        Ok(())
    }

    /// Pays a bill or a notice and waits for the end; gives the payment's id and state.
    async fn settle(&self, bill: &Value) -> Result<(String, String)> {
        let path = format!("/wallet/v1/bills/{}/payments", bill["id"].as_str().context("id")?);
        let asked = self.citizen.insist(&path, &json!({"amount": bill["amount"]})).await?.expect(202)?;
        let id = asked["id"].as_str().context("id")?.to_owned();
        let path = format!("/wallet/v1/bill-payments/{id}");
        let state = eventually("the payment of the bill to end", || async {
            let state = self.citizen.get(&path).await?.expect(200)?["state"].as_str().unwrap_or_default().to_owned();
            Ok(matches!(state.as_str(), "paid" | "failed").then_some(state))
        });
        Ok((id, state.await?))
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
    pub async fn all_is_right(&self, (shop_name, agency): (&str, &Agency)) -> Result<()> {
        let (balance, expected) = (self.citizen.balance().await?, self.balance);
        ensure!(balance == expected, "a balance of {balance} should be {expected}");
        self.bills_are_as_the_biller_has_them().await?;
        agency.knows_as_paid(&self.fees).await?;
        let items = told_once(&self.citizen).await?;
        let paid = self.settled.iter().filter(|(_, state)| state == "paid").count();
        for (kind, expected) in [
            ("payment-sent", self.payments),
            ("payment-refunded", self.refunds),
            ("top-up-completed", self.top_ups),
            ("fee-notice", self.fees.len()),
            ("bill-paid", paid + self.fees.len()),
        ] {
            let told = items.iter().filter(|item| item["kind"] == kind).count();
            ensure!(told == expected, "{told} messages {kind}, which happened {expected} times");
        }
        // A push that is sent again, after an answer that got lost, bears the same name; a phone shows it once.
        let pushes = self.citizen.visitor.outside(&format!("/push?token={}&limit=1000", self.phone_token)).await?;
        let pushes = pushes.as_array().or_else(|| pushes["items"].as_array()).context("pushes")?;
        let ours = pushes.iter().filter(|push| push.to_string().contains(shop_name));
        let shown: BTreeSet<String> = ours.map(|push| push["data"]["message_id"].to_string()).collect();
        let expected = self.payments + self.refunds;
        ensure!(shown.len() == expected, "{} pushes about {expected} payments and refunds", shown.len());
        let sms = self.citizen.visitor.outside(&format!("/sms?to=%2B{}", &self.citizen.phone[1..])).await?;
        let sms = sms.as_array().or_else(|| sms["items"].as_array()).context("messages")?;
        // A gateway knows a message that is sent again by its reference. The new PIN is told by SMS where it was set before there was a phone for pushes.
        let of = |code: bool| -> BTreeSet<&str> {
            let messages = sms.iter().filter(|message| message.to_string().contains(&self.citizen.code) == code);
            messages.filter_map(|message| message["reference"].as_str()).collect()
        };
        let (codes, others) = (of(true).len(), of(false).len());
        ensure!(codes == 1 && others <= 1, "{codes} SMS with one code, and {others} of one new PIN");
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

//! Electricity bills: linked once, priced by the city's tariff, paid with one touch, also when the biller's answer gets lost.

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::person::{Person, eventually, items, money};
use super::script::Script;
use super::{dong, text};

/// What two readings cost by the tariff of May 2025 with 8% VAT, in đồng: 250 and 100 kWh.
const COSTS: [u64; 2] = [636_768, 217_836];

/// From the customer code to the receipts.
pub(super) async fn from_meter_to_receipt(script: &mut Script, person: &Person) -> anyhow::Result<()> {
    script.chapter("An electricity bill");
    let bills = script.step("the citizen links a customer code and sees the bills", linked(person)).await?;
    script
        .step(&format!("one touch pays {}", dong(COSTS[0])), async {
            let paid = pay(person, &bills[0], COSTS[0]).await?;
            Ok(((), vec![paid]))
        })
        .await?;
    script
        .step("the biller's answer gets lost: it is asked what it did, and charged once", async {
            let faults = format!("/billers/{}/faults", text(&bills[1], "/biller_code")?);
            let lost = json!({ "error_rate": 1.0, "error_after_effect": true, "drop_callback": true, "times": 1 });
            person.world.steer(&faults, &lost).await?;
            let paid = pay(person, &bills[1], COSTS[1]).await?;
            Ok(((), vec![paid]))
        })
        .await?;
    script
        .step("a bill that is paid is not paid again", async {
            let body = json!({ "amount": bills[0]["amount"] });
            let code = person.post(&path(&bills[0])?, &body).await?.refused()?;
            ensure!(code.contains("bill-paid"), "it said {code}");
            let open = person.get("/wallet/v1/bills?state=open").await?.expect(200)?;
            ensure!(items(&open).is_empty(), "no bill is left: {open}");
            Ok(((), vec![code]))
        })
        .await
}

/// A customer whose meter was read twice, linked; its bills, the latest first.
async fn linked(person: &Person) -> anyhow::Result<(Vec<Value>, Vec<String>)> {
    let billers = person.get("/wallet/v1/billers").await?.expect(200)?;
    let biller = items(&billers).iter().find(|biller| biller["kind"] == "electricity");
    let biller = biller.context("the city has no electricity biller")?;
    let code = text(biller, "/code")?;
    let readings =
        json!({ "readings": [{ "usage": 250, "read_on": "2025-11-01" }, { "usage": 100, "read_on": "2025-10-01" }] });
    let customer = person.world.steer(&format!("/billers/{code}/customers"), &readings).await?;
    let body = json!({ "biller_code": code, "customer_code": customer["customer_code"], "label": "Nhà" });
    person.post("/wallet/v1/bill-subscriptions", &body).await?.expect(201)?;
    let list = person.get("/wallet/v1/bills?state=open").await?.expect(200)?;
    let bills = items(&list).to_vec();
    ensure!(bills.len() == 2, "both bills stand in the list: {list}");
    for (bill, cost) in bills.iter().zip(COSTS) {
        ensure!(bill["amount"] == money(cost), "{} is not {cost}", bill["amount"]);
    }
    let line = |bill: &Value| {
        format!("{} {}: {} kWh, due {}", bill["biller_name"], bill["period"], bill["details"]["usage"], bill["due_on"])
    };
    let lines = bills.iter().map(line).collect();
    Ok((bills, lines))
}

/// Pays a bill; says what came of it.
pub(super) async fn pay(person: &Person, bill: &Value, cost: u64) -> anyhow::Result<String> {
    let before = person.balance().await?;
    let payment = settled(person, bill).await?;
    let after = person.balance().await?;
    ensure!(payment["state"] == "paid" && after + cost == before, "{payment}; from {before} to {after}");
    let transaction = text(&payment, "/transaction_id")?;
    let receipt = person.get(&format!("/wallet/v1/transactions/{transaction}/receipt")).await?.expect(200)?;
    ensure!(text(&receipt, "/transfer/id")? == transaction, "the receipt is of another: {receipt}");
    let reference = text(&payment, "/biller_reference")?;
    Ok(format!("paid; balance {}; the biller's reference {reference}; the receipt proves its block", dong(after)))
}

/// Pays a bill and waits for the payment's end.
pub(super) async fn settled(person: &Person, bill: &Value) -> anyhow::Result<Value> {
    let accepted = person.post(&path(bill)?, &json!({ "amount": bill["amount"] })).await?.expect(202)?;
    let seen = format!("/wallet/v1/bill-payments/{}", text(&accepted, "/id")?);
    eventually("the payment's end", || async {
        let payment = person.get(&seen).await?.expect(200)?;
        Ok(matches!(text(&payment, "/state")?, "paid" | "failed").then_some(payment))
    })
    .await
}

fn path(bill: &Value) -> anyhow::Result<String> {
    Ok(format!("/wallet/v1/bills/{}/payments", text(bill, "/id")?))
}

//! The journey: a citizen signs in by phone, tops up from a bank and pays a merchant by QR — in both shapes of the city.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use harness::{City, eventually, money};
use serde_json::{Value, json};
use uuid::Uuid;

#[tokio::test]
async fn the_journey_holds_in_one_process() -> Result<()> {
    journey(City::all_in_one().await?).await
}

#[tokio::test]
async fn the_journey_holds_with_one_process_per_role() -> Result<()> {
    journey(City::split().await?).await
}

async fn journey(city: City) -> Result<()> {
    let visitor = city.visitor()?;
    let bank = city.bank();
    let seller = visitor.sign_up().await?;
    let shop = seller.open_shop("Bún bò Mệ Kéo").await?;
    let buyer = visitor.sign_up().await?;
    buyer.put("/identity/v1/me/pin", &json!({"pin": "280731"})).await?.expect(200)?;

    let decoded = visitor.post("/wallet/v1/qr/decode", &json!({"payload": shop.qr})).await?.expect(200)?;
    ensure!(decoded.to_string().contains(&shop.till), "our own template names the till: {decoded}");

    let account = buyer.bank_account(1_000_000).await?;
    let top_up = buyer.request_top_up(bank, &account, 500_000).await?;
    ensure!(buyer.top_up_ended(&top_up).await? == "completed", "the bank has the money");
    ensure!(buyer.balance().await? == 500_000, "the top-up is the balance");
    let at_bank = visitor.outside(&format!("/bank/v1/accounts/{account}")).await?;
    ensure!(at_bank["balance"]["amount"] == "500000", "the bank account paid: {at_bank}");

    let mut feed = city.events(&seller, &format!("/wallet/v1/merchants/{}/stream", shop.merchant)).await?;
    let key = Uuid::new_v4().to_string();
    let paid = buyer.pay(&shop.qr, 45_000, &key).await?.expect(201)?;
    let again = buyer.pay(&shop.qr, 45_000, &key).await?.expect(201)?;
    ensure!(paid["id"] == again["id"], "the same key gives the same answer: {paid} {again}");
    let other = buyer.pay(&shop.qr, 46_000, &key).await?;
    ensure!((other.status.as_u16(), other.code()) == (422, "idempotency-key-reused"), "{other:?}");
    ensure!(buyer.balance().await? == 455_000, "paid once");

    let id = paid["id"].as_str().context("id")?.to_owned();
    let event = feed.next_containing(&id).await?;
    ensure!(event.contains("45000"), "the merchant's live feed tells the amount: {event}");
    let list = seller.get(&format!("/wallet/v1/merchants/{}/payments", shop.merchant)).await?.expect(200)?;
    ensure!(list["items"][0]["id"] == paid["id"], "the merchant sees it in the list: {list}");

    let message = eventually("the in-app message of the payment", || async {
        let inbox = buyer.get("/notifications/v1/inbox").await?.expect(200)?;
        Ok(inbox["items"]
            .as_array()
            .and_then(|items| items.iter().find(|item| item.to_string().contains("45.000")).cloned()))
    })
    .await?;
    ensure!(message["id"].is_string(), "{message}");

    metrics_agree_with_the_books(&city).await?;
    city.finish().await
}

/// The shared endpoint counts what the ledger holds, and every role is up.
async fn metrics_agree_with_the_books(city: &City) -> Result<()> {
    let visitor = city.visitor()?;
    let exposition = visitor.get("/ioc/v1/metrics").await?;
    let text = exposition.body.as_str().context("text")?.to_owned();
    for role in ["identity", "wallet", "reports", "notifications", "ioc"] {
        let line = text
            .lines()
            .find(|line| line.starts_with("trangtien_up{") && line.contains(&format!("service=\"{role}\"")));
        ensure!(line.is_some_and(|line| line.ends_with(" 1")), "{role} is up: {line:?}");
    }
    let total: (i64,) = sqlx::query_as("SELECT count(*) FROM ledger.transfer").fetch_one(&city.admin()).await?;
    let counted: f64 = text
        .lines()
        .filter(|line| line.starts_with("trangtien_wallet_transfers_total{") && line.contains("outcome=\"posted\""))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum();
    ensure!(total.0 > 0, "the books hold transfers");
    ensure!(counted == f64::from(i32::try_from(total.0)?), "metrics {counted} = books {}", total.0);
    prometheus_reads(&text)
}

/// Prometheus's own tool finds nothing to object to.
fn prometheus_reads(exposition: &str) -> Result<()> {
    let mut command = Command::new("promtool");
    let mut child = command
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("promtool is missing: Debian has it in the package `prometheus`, and tests/run installs it")?;
    child.stdin.take().context("it has an input")?.write_all(exposition.as_bytes())?;
    let ran = child.wait_with_output()?;
    let said = [ran.stdout, ran.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    ensure!(ran.status.success() && said.trim().is_empty(), "promtool check metrics: {said}");
    Ok(())
}

#[tokio::test]
async fn a_push_reaches_the_phone_that_asked_for_it() -> Result<()> {
    let city = City::all_in_one().await?;
    let visitor = city.visitor()?;
    let buyer = visitor.sign_up().await?;
    let token = format!("device-{}", Uuid::new_v4());
    let device = json!({"token": token, "platform": "fcm", "name": "test phone"});
    buyer.post("/notifications/v1/devices", &device).await?.expect(201)?;
    buyer.top_up(city.bank(), 100_000).await?;
    let push: Value = eventually("the push", || async {
        let list = visitor.outside(&format!("/push?token={token}")).await?;
        let items = list.as_array().cloned().or_else(|| list["items"].as_array().cloned()).unwrap_or_default();
        Ok(items.first().cloned())
    })
    .await?;
    ensure!(push.to_string().contains("100.000"), "{push}");
    city.finish().await
}

#[tokio::test]
async fn citizens_see_only_their_own() -> Result<()> {
    let city = City::all_in_one().await?;
    let visitor = city.visitor()?;
    let (owner, stranger) = (visitor.sign_up().await?, visitor.sign_up().await?);
    let shop = owner.open_shop("Chè Hẻm").await?;
    let account = owner.bank_account(100_000).await?;
    let top_up = owner.request_top_up(city.bank(), &account, 50_000).await?;
    for path in [
        format!("/wallet/v1/merchants/{}", shop.merchant),
        format!("/wallet/v1/merchants/{}/payments", shop.merchant),
        format!("/wallet/v1/merchants/{}/stream", shop.merchant),
        format!("/wallet/v1/top-ups/{top_up}"),
    ] {
        let answer = stranger.get(&path).await?;
        ensure!((answer.status.as_u16(), answer.code()) == (404, "not-found"), "{path}: {answer:?}");
        let anonymous = visitor.get(&path).await?;
        ensure!(anonymous.status.as_u16() == 401, "{path}: {anonymous:?}");
    }
    let poor = stranger.pay(&shop.qr, 1_000, "poor-1").await?;
    ensure!((poor.status.as_u16(), poor.code()) == (422, "insufficient-funds"), "{poor:?}");
    let body = json!({"till_id": Uuid::new_v4(), "amount": money(1_000)});
    let unknown = stranger.post("/wallet/v1/payments", &body).await?;
    ensure!(unknown.status.as_u16() == 404 || unknown.status.as_u16() == 422, "{unknown:?}");
    owner.top_up_ended(&top_up).await?;
    city.finish().await
}

//! The merchant: opens a shop, puts up a code, sees the money come in.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::person::items;
use super::script::Script;
use super::{PRICE, Person, TOP_UP, World, dong, money, text};

/// How long the live feed may take to show a payment.
const FEED_PATIENCE: Duration = Duration::from_secs(10);
/// The most of a feed that is read while waiting, in bytes.
const MAX_FEED: usize = 1024 * 1024;

/// A shop with one till.
#[derive(Clone, Debug)]
pub(super) struct Shop {
    pub(super) merchant: String,
    pub(super) till: String,
    /// What its code holds.
    pub(super) qr: String,
}

/// Signs the merchant's owner in.
pub(super) async fn owner(script: &mut Script, world: &World) -> anyhow::Result<Person> {
    script.chapter("A merchant");
    script
        .step("signs in the same way", async {
            let challenge = world.ask_for_code().await?;
            let (_, code) = world.read_sms(&challenge).await?;
            let (person, answer) = world.start_session(&challenge, &code).await?;
            Ok((person, vec![format!("201 user {}", answer["user"])]))
        })
        .await
}

/// Opens a merchant, a store and a till, and reads the till's code back.
pub(super) async fn open(script: &mut Script, owner: &Person) -> anyhow::Result<Shop> {
    let (merchant, till, qr_path) = script
        .step("opens a shop with a till", async {
            let merchant =
                owner.post("/wallet/v1/merchants", &json!({ "name": "Bún bò Mệ Kéo" })).await?.expect(201)?;
            let stores = format!("/wallet/v1/merchants/{}/stores", text(&merchant, "/id")?);
            let store = owner.post(&stores, &json!({ "name": "Chợ Đông Ba" })).await?.expect(201)?;
            let tills = format!("{stores}/{}/tills", text(&store, "/id")?);
            let till = owner.post(&tills, &json!({ "name": "Quầy 1" })).await?.expect(201)?;
            let qr_path = format!("{tills}/{}/qr.txt", text(&till, "/id")?);
            let lines = vec![format!("merchant {}, store {}, till {}", merchant["id"], store["id"], till["id"])];
            Ok(((text(&merchant, "/id")?.to_owned(), text(&till, "/id")?.to_owned(), qr_path), lines))
        })
        .await?;
    let qr = script
        .step("puts up the till's QR code", async {
            let answer = owner.request(Method::GET, &qr_path)?.send().await?.error_for_status()?;
            let qr = answer.text().await?.trim().to_owned();
            ensure!(qr.starts_with("000201"), "an EMVCo payload begins with its format: {qr}");
            Ok((qr.clone(), vec![qr]))
        })
        .await?;
    script
        .step("any app can read it", async {
            let decoded = owner.world.post("/wallet/v1/qr/decode", &json!({ "payload": qr })).await?.expect(200)?;
            ensure!(decoded["till_id"] == till.as_str(), "it names the till: {decoded}");
            Ok(((), vec![decoded.to_string()]))
        })
        .await?;
    Ok(Shop { merchant, till, qr })
}

/// The citizen pays by scanning; the merchant sees it live and in the list. Gives the payment's place in the journal.
pub(super) async fn pay(script: &mut Script, (buyer, seller): (&Person, &Person), shop: &Shop) -> anyhow::Result<i64> {
    script.chapter("A payment");
    let feed_path = format!("/wallet/v1/merchants/{}/stream", shop.merchant);
    let mut feed = seller.request(Method::GET, &feed_path)?.send().await?.error_for_status()?;
    let (body, key) = (json!({ "qr_payload": shop.qr, "amount": money(PRICE) }), Uuid::new_v4().to_string());
    let payment = script
        .step(&format!("the citizen scans and pays {}", dong(PRICE)), async {
            let payment = buyer.post_as("/wallet/v1/payments", &body, &key).await?.expect(201)?;
            let balance = buyer.balance().await?;
            ensure!(balance == TOP_UP - PRICE, "the balance is {balance}");
            Ok((payment.clone(), vec![format!("201 {payment}"), format!("balance {}", dong(balance))]))
        })
        .await?;
    script
        .step("a repeated request moves no money again", async {
            let again = buyer.post_as("/wallet/v1/payments", &body, &key).await?.expect(201)?;
            ensure!(again == payment, "the same answer: {again}");
            let other = json!({ "qr_payload": shop.qr, "amount": money(PRICE + 1) });
            let refused = buyer.post_as("/wallet/v1/payments", &other, &key).await?;
            ensure!(refused.status == 422, "another body under the same key: {refused:?}");
            ensure!(buyer.balance().await? == TOP_UP - PRICE, "paid once");
            Ok(((), vec!["201, the same payment".to_owned(), refused.refused()?]))
        })
        .await?;
    let id = text(&payment, "/id")?;
    script
        .step("the merchant sees it live", async {
            let event = tokio::time::timeout(FEED_PATIENCE, event_with(&mut feed, id));
            let event = event.await.context("the live feed did not show it in time")??;
            Ok(((), vec![event]))
        })
        .await?;
    script
        .step("and in the list", async {
            let path = format!("/wallet/v1/merchants/{}/payments", shop.merchant);
            let list = seller.get(&path).await?.expect(200)?;
            let first = items(&list).first().cloned().unwrap_or(Value::Null);
            ensure!(first["id"] == id, "the newest is this one: {list}");
            Ok(((), vec![first.to_string()]))
        })
        .await?;
    payment["sequence"].as_i64().context("a payment has its place in the journal")
}

/// Reads server-sent events until one names `id`.
async fn event_with(feed: &mut reqwest::Response, id: &str) -> anyhow::Result<String> {
    let mut seen = String::new();
    while let Some(chunk) = feed.chunk().await? {
        seen.push_str(&String::from_utf8_lossy(&chunk));
        let blocks = seen.rsplit_once("\n\n").map(|(whole, _)| whole).unwrap_or_default();
        if let Some(event) = blocks.split("\n\n").find(|block| block.contains(id)) {
            return Ok(event.trim().to_owned());
        }
        ensure!(seen.len() < MAX_FEED, "the feed shows other things only");
    }
    bail!("the feed ended")
}

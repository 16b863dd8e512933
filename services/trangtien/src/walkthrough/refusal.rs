//! Bad input: each is refused with a stable code and a sentence, and changes nothing.

use anyhow::ensure;
use reqwest::Method;
use serde_json::{Value, json};

use super::script::Script;
use super::shop::Shop;
use super::{Person, money};

/// Tries what must not work.
pub(super) async fn of_bad_input(
    script: &mut Script,
    (buyer, seller): (&Person, &Person),
    shop: &Shop,
) -> anyhow::Result<()> {
    script.chapter("What is refused");
    let before = buyer.balance().await?;
    let pay = |amount: Value| json!({ "till_id": shop.till, "amount": amount });
    let payments = [
        ("half a đồng", pay(json!({ "amount": "0.5", "currency": "VND" }))),
        ("less than nothing", pay(json!({ "amount": "-1000", "currency": "VND" }))),
        ("more than 64 bits", pay(json!({ "amount": "99999999999999999999", "currency": "VND" }))),
        ("more than there is", pay(money(before + 1))),
        ("an unknown field", json!({ "till_id": shop.till, "amount": money(1_000), "tip": 1 })),
        ("a damaged code", json!({ "qr_payload": damaged(&shop.qr), "amount": money(1_000) })),
    ];
    for (what, body) in payments {
        script
            .step(&format!("paying with {what}"), async {
                let refused = buyer.post("/wallet/v1/payments", &body).await?.refused()?;
                Ok(((), vec![refused]))
            })
            .await?;
    }
    script
        .step("a key that is missing, a token that is forged, another's shop", async {
            let keyless = buyer.request(Method::POST, "/wallet/v1/payments")?.json(&pay(money(1_000))).send().await?;
            ensure!(keyless.status() == 400, "without a key: {}", keyless.status());
            let forged =
                buyer.world.request(Method::GET, "/wallet/v1/wallet")?.bearer_auth("e30.e30.e30").send().await?;
            ensure!(forged.status() == 401, "forged: {}", forged.status());
            let foreign = buyer.get(&format!("/wallet/v1/merchants/{}", shop.merchant)).await?;
            ensure!(foreign.status == 404, "another's: {}", foreign.status);
            ensure!(seller.get(&format!("/wallet/v1/merchants/{}", shop.merchant)).await?.status == 200, "one's own");
            Ok(((), vec!["400, 401, 404".to_owned()]))
        })
        .await?;
    script
        .step("and nothing has moved", async {
            let after = buyer.balance().await?;
            ensure!(after == before, "the balance went from {before} to {after}");
            Ok(((), vec![format!("balance {}", super::dong(after))]))
        })
        .await
}

/// The same code with another last character of its checksum.
fn damaged(qr: &str) -> String {
    let last = if qr.ends_with('0') { '1' } else { '0' };
    let mut damaged: String = qr.chars().take(qr.chars().count().saturating_sub(1)).collect();
    damaged.push(last);
    damaged
}

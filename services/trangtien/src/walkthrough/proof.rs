//! The citizen proves who they are, and that it is them who pays.

use anyhow::ensure;
use serde_json::{Value, json};
use uuid::Uuid;

use super::script::Script;
use super::shop::Shop;
use super::{Person, dong, eventually, money, text};

/// What is paid with a proof, in đồng.
const PRICE: u64 = 1_000;

/// Proves a citizen number, then one payment by PIN, which serves for no other; gives the number.
pub(super) async fn of_person_and_payment(
    script: &mut Script,
    (buyer, pin): (&Person, &str),
    shop: &Shop,
) -> anyhow::Result<String> {
    script.chapter("Proofs");
    let number = script
        .step("the citizen proves their identity number", async {
            // Registered in Huế, born in 1999, a woman.
            let number = format!("046199{:06}", rand::random_range(1..1_000_000_u32));
            let claim =
                json!({ "citizen_number": number, "full_name": "Nguyễn Thị Hương", "date_of_birth": "1999-03-26" });
            buyer.post("/identity/v1/me/ekyc", &claim).await?.expect(202)?;
            let known = eventually("the wallet's higher limits", || async {
                let wallet = buyer.get("/wallet/v1/wallet").await?.expect(200)?;
                Ok((wallet["tier"]["level"] == 1).then_some(wallet))
            })
            .await?;
            let shown = buyer.get("/identity/v1/me/ekyc").await?.expect(200)?;
            ensure!(shown["proved"]["source"] == "ekyc", "it is proved: {shown}");
            let maximum = text(&known, "/tier/transaction_maximum/amount")?;
            Ok((number, vec![shown["proved"].to_string(), format!("one transaction may be {maximum} đồng now")]))
        })
        .await?;
    let key = Uuid::new_v4().to_string();
    let proof = script
        .step("proves one payment by PIN", async {
            let transaction = json!({ "kind": "payment", "payee": shop.till, "amount": money(PRICE), "nonce": key });
            let body = json!({ "method": "pin", "pin": pin, "transaction": transaction });
            let answer = buyer.post("/identity/v1/step-ups", &body).await?.expect(201)?;
            let proof = text(&answer, "/step_up_token")?.to_owned();
            Ok((proof, vec![format!("201 level {}, good for {} s", answer["level"], answer["expires_in"])]))
        })
        .await?;
    let order = |amount: u64| json!({ "till_id": shop.till, "amount": money(amount) });
    script
        .step("which serves for no other", async {
            let before = buyer.balance().await?;
            let more = buyer.post_proved("/wallet/v1/payments", &order(PRICE + 1), (&key, &proof)).await?;
            let other_key = Uuid::new_v4().to_string();
            let later = buyer.post_proved("/wallet/v1/payments", &order(PRICE), (&other_key, &proof)).await?;
            for answer in [&more, &later] {
                ensure!(answer.body["reason"] == "other-transaction", "refused for what it is: {answer:?}");
            }
            ensure!(buyer.balance().await? == before, "nothing moved");
            Ok(((), vec![more.refused()?, later.refused()?]))
        })
        .await?;
    script
        .step(&format!("and pays {} with it, once", dong(PRICE)), async {
            let before = buyer.balance().await?;
            let paid = buyer.post_proved("/wallet/v1/payments", &order(PRICE), (&key, &proof)).await?.expect(201)?;
            let again: Value =
                buyer.post_proved("/wallet/v1/payments", &order(PRICE), (&key, &proof)).await?.expect(201)?;
            ensure!(again == paid, "the same answer: {again}");
            ensure!(buyer.balance().await? == before - PRICE, "paid once");
            Ok(((), vec![format!("201 {paid}")]))
        })
        .await?;
    Ok(number)
}

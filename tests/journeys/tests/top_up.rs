//! Top-ups when the bank misbehaves: the citizen is credited exactly once, and exactly when the bank took the money.

use anyhow::{Result, ensure};
use harness::{Citizen, City, eventually};
use serde_json::{Value, json};

const AMOUNT: u64 = 120_000;

/// Tops up under a fault; gives the citizen and the bank account after the top-up ended.
async fn under(city: &City, fault: Value) -> Result<(Citizen, String, String)> {
    let visitor = city.visitor()?;
    let citizen = visitor.sign_up().await?;
    let account = citizen.bank_account(1_000_000).await?;
    visitor.steer("/bank/faults", &fault).await?;
    let id = citizen.request_top_up(city.bank(), &account, AMOUNT).await?;
    let state = citizen.top_up_ended(&id).await?;
    Ok((citizen, account, state))
}

/// What left the bank account is what stands in the wallet.
async fn agrees(city: &City, citizen: &Citizen, account: &str, expected: u64) -> Result<()> {
    let at_bank = city.visitor()?.outside(&format!("/bank/v1/accounts/{account}")).await?;
    let left: u64 = at_bank["balance"]["amount"].as_str().unwrap_or_default().parse()?;
    let balance = citizen.balance().await?;
    ensure!(balance == expected && 1_000_000 - left == expected, "wallet {balance}, taken {}", 1_000_000 - left);
    Ok(())
}

/// Waits until the wallet has answered so many callbacks of the bank.
async fn callbacks(city: &City, expected: f64) -> Result<()> {
    let what = format!("{expected} callbacks");
    let seen = eventually(&what, || async {
        let seen = city.counted("wallet", "bank_callbacks_total").await?;
        Ok((seen >= expected).then_some(seen))
    });
    let seen = seen.await?;
    ensure!(seen == expected, "{seen} callbacks instead of {expected}");
    Ok(())
}

#[tokio::test]
async fn a_doubled_callback_credits_once() -> Result<()> {
    let city = City::all_in_one().await?;
    let (citizen, account, state) = under(&city, json!({"duplicate": true})).await?;
    ensure!(state == "completed", "{state}");
    callbacks(&city, 2.0).await?;
    agrees(&city, &citizen, &account, AMOUNT).await?;
    city.finish().await
}

#[tokio::test]
async fn a_missing_callback_is_asked_for() -> Result<()> {
    let city = City::all_in_one().await?;
    let (citizen, account, state) = under(&city, json!({"drop_callback": true})).await?;
    ensure!(state == "completed", "{state}");
    agrees(&city, &citizen, &account, AMOUNT).await?;
    city.finish().await
}

#[tokio::test]
async fn a_late_callback_changes_nothing_more() -> Result<()> {
    let city = City::all_in_one().await?;
    let (citizen, account, state) = under(&city, json!({"callback_delay_ms": 4_000, "times": 1})).await?;
    ensure!(state == "completed", "{state}");
    ensure!(city.counted("wallet", "bank_callbacks_total").await? == 0.0, "the money was there before the callback");
    agrees(&city, &citizen, &account, AMOUNT).await?;
    callbacks(&city, 1.0).await?;
    agrees(&city, &citizen, &account, AMOUNT).await?;
    city.finish().await
}

#[tokio::test]
async fn an_answer_that_is_lost_after_the_effect_is_found() -> Result<()> {
    let city = City::all_in_one().await?;
    let fault = json!({"error_rate": 1.0, "error_after_effect": true, "drop_callback": true, "times": 1});
    let (citizen, account, state) = under(&city, fault).await?;
    ensure!(state == "completed", "{state}");
    agrees(&city, &citizen, &account, AMOUNT).await?;
    city.finish().await
}

#[tokio::test]
async fn an_empty_bank_account_fails_the_top_up() -> Result<()> {
    let city = City::all_in_one().await?;
    let citizen = city.visitor()?.sign_up().await?;
    let account = citizen.bank_account(1_000).await?;
    let id = citizen.request_top_up(city.bank(), &account, AMOUNT).await?;
    ensure!(citizen.top_up_ended(&id).await? == "failed", "the bank refuses");
    ensure!(citizen.balance().await? == 0, "nothing is credited");
    eventually("the message that it failed", || async {
        let inbox = citizen.get("/notifications/v1/inbox").await?.expect(200)?;
        Ok(inbox["items"].as_array().filter(|items| !items.is_empty()).map(|_| ()))
    })
    .await?;
    city.finish().await
}

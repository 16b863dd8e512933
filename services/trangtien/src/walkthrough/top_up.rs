//! Money from a bank account: as it should be, and with callbacks that come late, twice, or not at all.

use anyhow::ensure;
use serde_json::json;

use super::person::{Person, eventually, money};
use super::script::Script;
use super::{PRICE, TOP_UP, dong, text};
use crate::up::settings::SANDBOX_BANK;

/// What each top-up with a fault brings, in đồng.
const SMALL: u64 = 20_000;

/// Tops up a new wallet.
pub(super) async fn from_bank(script: &mut Script, person: &Person) -> anyhow::Result<()> {
    script.chapter("A top-up from the bank");
    let account = open_account(person).await?;
    let id = script
        .step(&format!("the citizen asks for {} from an account at {SANDBOX_BANK}", dong(TOP_UP)), async {
            let (id, answer) = ask(person, &account, TOP_UP).await?;
            Ok((id, vec![format!("202 {answer}")]))
        })
        .await?;
    script
        .step("the bank confirms, the money is there", async {
            let ended = until_ended(person, &id).await?;
            let (balance, at_bank) = (person.balance().await?, at_bank(person, &account).await?);
            ensure!(ended == "completed" && balance == TOP_UP, "it ended as {ended} with {balance}");
            ensure!(at_bank == TOP_UP, "the bank's account paid it: {at_bank} left of {}", 2 * TOP_UP);
            Ok(((), vec![format!("{ended}; balance {}; at the bank {} less", dong(balance), dong(TOP_UP))]))
        })
        .await
}

/// Each fault of the bank's callback ends with the money once.
pub(super) async fn with_faults(script: &mut Script, person: &Person) -> anyhow::Result<()> {
    script.chapter("When the bank's callback goes astray");
    let account = open_account(person).await?;
    let faults = [
        ("a doubled callback counts once", json!({ "duplicate": true, "times": 1 })),
        ("a late callback finds the top-up", json!({ "callback_delay_ms": 1_500, "times": 1 })),
        ("a missing callback is asked for", json!({ "drop_callback": true, "times": 1 })),
    ];
    for (number, (what, fault)) in (1..).zip(faults) {
        script
            .step(what, async {
                person.world.steer("/bank/faults", &fault).await?;
                let (id, _) = ask(person, &account, SMALL).await?;
                let ended = until_ended(person, &id).await?;
                let (balance, expected) = (person.balance().await?, TOP_UP - PRICE + number * SMALL);
                ensure!(
                    ended == "completed" && balance == expected,
                    "it ended as {ended} with {balance}, not {expected}"
                );
                Ok(((), vec![format!("{ended}; balance {}", dong(balance))]))
            })
            .await?;
    }
    Ok(())
}

/// Opens an account with money at the bank that the sandbox plays.
pub(super) async fn open_account(person: &Person) -> anyhow::Result<String> {
    let account = format!("{:010}", rand::random_range(0..10_000_000_000_u64));
    person.world.steer("/bank/v1/accounts", &json!({ "account": account, "balance": money(2 * TOP_UP) })).await?;
    Ok(account)
}

async fn at_bank(person: &Person, account: &str) -> anyhow::Result<u64> {
    let seen = person.world.outside(&format!("/bank/v1/accounts/{account}")).await?;
    Ok(text(&seen, "/balance/amount")?.parse()?)
}

/// Asks for money from an account there; gives the id of the top-up.
pub(super) async fn ask(person: &Person, account: &str, amount: u64) -> anyhow::Result<(String, serde_json::Value)> {
    let body = json!({ "bank_code": SANDBOX_BANK, "account": account, "amount": money(amount) });
    let answer = person.post("/wallet/v1/top-ups", &body).await?.expect(202)?;
    Ok((text(&answer, "/id")?.to_owned(), answer))
}

/// Waits for an end; gives its name.
pub(super) async fn until_ended(person: &Person, id: &str) -> anyhow::Result<String> {
    eventually("the top-up's end", || async {
        let seen = person.get(&format!("/wallet/v1/top-ups/{id}")).await?.expect(200)?;
        let state = text(&seen, "/state")?.to_owned();
        Ok(matches!(state.as_str(), "completed" | "failed").then_some(state))
    })
    .await
}

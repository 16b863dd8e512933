//! A daughter pays for the citizen, who has confirmed it with their PIN, by a token that says both of them, until the citizen ends it.

use anyhow::ensure;
use chrono::{TimeDelta, Utc};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::person::send;
use super::script::Script;
use super::shop::Shop;
use super::{Answer, Person, money, text};

/// What the daughter may pay at once, and what she pays, in đồng.
const LIMIT: u64 = 5_000;
const DELEGATIONS: &str = "/identity/v1/me/delegations";

/// Proposed by one, confirmed by the other, used within its limits, ended by either.
pub(super) async fn pays_for_the_citizen(
    script: &mut Script,
    (citizen, pin): (&Person, &str),
    shop: &Shop,
) -> anyhow::Result<()> {
    script.chapter("A daughter pays for the citizen");
    let daughter = citizen.world.sign_up().await?;
    let id = script
        .step("the daughter proposes it to the citizen's number, and the citizen confirms with their PIN", async {
            let until = Utc::now() + TimeDelta::days(1);
            let body = json!({
                "side": "guardian", "phone": citizen.phone, "kinds": ["merchant"], "until": until,
                "limits": { "transaction": LIMIT, "day": LIMIT, "month": LIMIT },
            });
            let made = daughter.post(DELEGATIONS, &body).await?.expect(201)?;
            let id = text(&made, "/id")?.to_owned();
            let confirmation = format!("{DELEGATIONS}/{id}/confirmation");
            let without = citizen.post(&confirmation, &json!({})).await?;
            ensure!(without.body["code"] == "pin-proof-required", "their money, their PIN: {without:?}");
            let confirmed = citizen.post(&confirmation, &json!({ "pin": pin })).await?.expect(200)?;
            ensure!(confirmed["state"] == "active", "both have said so: {confirmed}");
            Ok((id, vec![confirmed.to_string()]))
        })
        .await?;
    let acting = script
        .step("the daughter gets a token to act by, and pays", async {
            let answer = daughter.post(&format!("{DELEGATIONS}/{id}/tokens"), &Value::Null).await?.expect(201)?;
            let acting = text(&answer, "/access_token")?.to_owned();
            let paid = pay(citizen, (&acting, shop), LIMIT).await?.expect(201)?;
            ensure!(paid["acted_by"] == json!(daughter.id().await?), "it says who acted: {paid}");
            Ok((acting, vec![paid.to_string()]))
        })
        .await?;
    script
        .step("more than agreed is refused, and so is everything else of the citizen's", async {
            let more = pay(citizen, (&acting, shop), 1_000).await?;
            ensure!(more.body["code"] == "delegation-limit", "above the limit: {more:?}");
            let wallet = send(citizen.world.request(Method::GET, "/wallet/v1/wallet")?.bearer_auth(&acting)).await?;
            ensure!(wallet.status == 401, "the wallet stays closed: {wallet:?}");
            Ok(((), vec![more.refused()?, wallet.refused()?]))
        })
        .await?;
    script
        .step("the citizen ends it", async {
            let ended = send(citizen.request(Method::DELETE, &format!("{DELEGATIONS}/{id}"))?).await?;
            ensure!(ended.status == 204, "ended: {ended:?}");
            let late = pay(citizen, (&acting, shop), 1_000).await?;
            ensure!([401, 403].contains(&late.status.as_u16()), "nothing is paid any more: {late:?}");
            Ok(((), vec![late.refused()?]))
        })
        .await
}

/// Pays at the shop with the citizen's money, by a token to act by.
async fn pay(citizen: &Person, (acting, shop): (&str, &Shop), amount: u64) -> anyhow::Result<Answer> {
    let order = json!({ "till_id": shop.till, "amount": money(amount) });
    let request = citizen.world.request(Method::POST, "/wallet/v1/payments")?.bearer_auth(acting);
    send(request.header("idempotency-key", Uuid::new_v4().to_string()).json(&order)).await
}

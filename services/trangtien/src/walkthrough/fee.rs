//! A public-service fee: an agency's program asks for it, the citizen pays it beside the bills, the agency hears of it.
//!
//! The admin who registers the program is made on the city's own machine, as `trangtien admin grant-role` does it; everything else is
//! public HTTP. Where the city runs elsewhere, the chapter is left out and said so.

use std::path::Path;

use anyhow::{Context as _, ensure};
use chrono::{Days, Utc};
use identity::officer::RoleKind;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::person::{Person, World, eventually, items, money};
use super::script::Script;
use super::{bill, dong, text};
use crate::admin;
use crate::database::Place;
use crate::up::settings::SANDBOX_AGENCY;

/// A procedure of the portal, and what it costs when it is filed online.
const PROCEDURE: &str = "1.000005";
pub(super) const FEE: u64 = 120_000;

/// From the agency's program to the agency's books; gives the program's token, where the city is on this machine.
pub(super) async fn from_notice_to_event(
    script: &mut Script,
    person: &Person,
    data_dir: Option<&Path>,
) -> anyhow::Result<Option<String>> {
    script.chapter("A fee of a public service");
    let Some(data_dir) = data_dir else {
        script
            .note("An agency's program is registered by an admin who is made on the city's own machine (--data-dir).");
        return Ok(None);
    };
    let world = &person.world;
    let token = script
        .step("an admin registers the agency's program, which gets a token of its own", program(world, data_dir))
        .await?;
    let reference = format!("H57-{}", Uuid::new_v4().simple());
    let notice = script
        .step(&format!("the agency asks for {}", dong(FEE)), async {
            let body = notice_to(&person.phone, &reference);
            let issued = issue(world, &token, &body).await?;
            ensure!(issue(world, &token, &body).await?["id"] == issued["id"], "one reference is one notice");
            Ok((issued.clone(), vec![issued.to_string()]))
        })
        .await?;
    script
        .step("it stands beside the bills, and one touch pays it", async {
            let list = person.get("/wallet/v1/bills?state=open").await?.expect(200)?;
            let fee = items(&list).iter().find(|bill| bill["id"] == notice["id"]).context("the notice is listed")?;
            ensure!(fee["kind"] == "fee" && fee["amount"] == money(FEE), "{fee}");
            let paid = bill::pay(person, fee, FEE).await?;
            Ok(((), vec![format!("{}, {}", fee["biller_name"], fee["details"]["procedure_name"]), paid]))
        })
        .await?;
    script
        .step("the agency hears of it, signed, and not who paid", async {
            let heard = eventually("the agency's message", || async {
                let heard = world.outside(&format!("/agencies/{SANDBOX_AGENCY}/events")).await?;
                let mut heard = heard.as_array().into_iter().flatten();
                Ok(heard.find(|one| one["event"]["data"]["reference"] == reference.as_str()).cloned())
            })
            .await?;
            ensure!(heard["event"]["type"] == "fee.paid", "{heard}");
            let user = person.id().await?;
            ensure!(!heard.to_string().contains(&user.to_string()), "it names the citizen: {heard}");
            Ok(((), vec![heard["event"].to_string()]))
        })
        .await?;
    Ok(Some(token))
}

/// A program of the agency, registered by an admin: its access token.
async fn program(world: &World, data_dir: &Path) -> anyhow::Result<(String, Vec<String>)> {
    let admin = world.sign_up().await?;
    let reason = "walkthrough".parse().map_err(|error| anyhow::anyhow!("a reason: {error}"))?;
    admin::grant_role(&Place::running_in(data_dir), (admin.id().await?, RoleKind::Admin, None), reason).await?;
    let client = json!({
        "name": { "vi": "Một cửa điện tử", "en": "One-stop desk" }, "access": "confidential",
        "grant_types": ["client_credentials"], "scopes": ["fees:write"], "agency": SANDBOX_AGENCY,
    });
    let client = admin.post("/identity/v1/clients", &client).await?.expect(201)?;
    let (id, secret) = (text(&client, "/client_id")?, text(&client, "/client_secret")?);
    let form = [("grant_type", "client_credentials"), ("scope", "fees:write")];
    let asked = world.request(Method::POST, "/oauth2/token")?.basic_auth(id, Some(secret)).form(&form);
    let answer = asked.send().await?;
    ensure!(answer.status() == 200, "no token: {}", answer.text().await?);
    let tokens: Value = answer.json().await?;
    let token = text(&tokens, "/access_token")?.to_owned();
    Ok((token, vec![format!("client {id} of {SANDBOX_AGENCY}, scope {}", tokens["scope"])]))
}

/// The fee, of whoever has a number.
pub(super) fn notice_to(phone: &str, reference: &str) -> Value {
    let due_on = Utc::now().date_naive() + Days::new(10);
    json!({
        "reference": reference, "procedure": PROCEDURE, "channel": "online", "amount": money(FEE),
        "due_on": due_on, "payer": { "phone": phone },
    })
}

/// Asks for a fee, as the agency's program.
pub(super) async fn issue(world: &World, token: &str, body: &Value) -> anyhow::Result<Value> {
    let request = world.request(Method::POST, "/wallet/v1/fee-notices")?.bearer_auth(token);
    let answer = request.header("idempotency-key", Uuid::new_v4().to_string()).json(body).send().await?;
    ensure!(answer.status() == 201, "refused: {}", answer.text().await?);
    Ok(answer.json().await?)
}

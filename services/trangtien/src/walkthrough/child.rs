//! A child without a telephone: an officer of the ward registers them with their papers, the citizen confirms, brings money and pays for
//! them within limits, and hears what the child's account would be told; until the child has a number and speaks for themself.
//!
//! The officer is made on the city's own machine, as `trangtien admin grant-role` does it; everything else is public HTTP. Where the
//! city runs elsewhere, the chapter is left out and said so.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use chrono::{Datelike as _, Months, TimeDelta, Utc};
use identity::officer::RoleKind;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::fee::FEE;
use super::person::{items, send};
use super::report::PLACE;
use super::script::Script;
use super::shop::Shop;
use super::{Answer, Person, World, bill, dong, eventually, fee, money, text, top_up};
use crate::admin;
use crate::database::Place;

const OFFICES: &str = "/identity/v1/dependents";
const MINE: &str = "/identity/v1/me/dependents";
const DELEGATIONS: &str = "/identity/v1/me/delegations";
/// Huế's agency that keeps the register of a ward's people.
const REGISTRAR: &str = "UBND";
const NAME: &str = "Nguyễn Minh An";
/// What the guardian brings, may pay at once, and pays at the shop, in đồng.
const BROUGHT: u64 = 300_000;
const LIMIT: u64 = 150_000;
const MEAL: u64 = 25_000;

/// The child's account, as the guardian knows it.
struct Child {
    registration: String,
    delegation: String,
}

/// Who stands for the child: signed in, with their PIN and the citizen number that they proved.
pub(super) type Guardian<'a> = (&'a Person, &'a str, &'a str);

/// From the papers to a number of the child's own; the agency's program asks the child for a fee.
pub(super) async fn without_a_telephone(
    script: &mut Script,
    (citizen, pin, number): Guardian<'_>,
    shop: &Shop,
    machine: Option<(&Path, String)>,
) -> anyhow::Result<()> {
    script.chapter("A child without a telephone");
    let Some((data_dir, program)) = machine else {
        script.note("Whoever registers the child is made an officer on the city's own machine (--data-dir).");
        return Ok(());
    };
    let guardian = citizen.renewed().await?;
    let registration = registered(script, &guardian.world, number, data_dir).await?;
    let child = confirmed(script, &guardian, registration).await?;
    let acting = topped_up(script, &guardian, &child).await?;
    paid(script, (&guardian, &acting), shop).await?;
    let own = on_their_own(script, (&guardian, pin), &child).await?;
    charged(script, (&own, &acting), &program).await?;
    ended(script, (&guardian, &own, &acting), (&child, shop)).await
}

/// An officer of the ward registers the child: the registration.
async fn registered(script: &mut Script, world: &World, guardian: &str, data_dir: &Path) -> anyhow::Result<String> {
    let born = Utc::now().date_naive() - Months::new(10 * 12);
    // Registered in Huế, a boy born since 2000.
    let number = format!("0462{:02}{:06}", born.year() % 100, rand::random_range(1..1_000_000_u32));
    script
        .step("an officer of the ward registers the child, with the papers of both", async {
            let (lat, lon) = PLACE;
            let place = world.get(&format!("/reports/v1/locate?lat={lat}&lon={lon}")).await?.expect(200)?;
            let ward = text(&place, "/ward/code")?;
            let officer = world.sign_up().await?;
            let post = (officer.id().await?, RoleKind::AgencyOfficer, Some(&*format!("{REGISTRAR}-{ward}")));
            let reason = "walkthrough".parse().map_err(|error| anyhow::anyhow!("a reason: {error}"))?;
            admin::grant_role(&Place::running_in(data_dir), post, reason).await?;
            let form = json!({
                "ward": ward, "guardian_citizen_number": guardian, "citizen_number": number, "full_name": NAME,
                "date_of_birth": born, "kinds": ["merchant", "fee"], "until": Utc::now() + TimeDelta::days(30),
                "limits": { "transaction": LIMIT, "day": 2 * LIMIT, "month": 2 * LIMIT }, "reason": "walkthrough",
            });
            let made = officer.post(OFFICES, &form).await?.expect(201)?;
            ensure!(made["state"] == "proposed" && made["dependent_id"].is_null(), "no account yet: {made}");
            ensure!(!made.to_string().contains(NAME), "no name comes back: {made}");
            Ok((text(&made, "/id")?.to_owned(), vec![format!("201 {} in ward {ward}, {}", made["id"], made["state"])]))
        })
        .await
}

/// The guardian's word, with which the account begins.
async fn confirmed(script: &mut Script, guardian: &Person, registration: String) -> anyhow::Result<Child> {
    script
        .step("the citizen hears of it, and confirms: the child has an account", async {
            let asked = heard(guardian, ("dependent-registered", &registration)).await?;
            let mine = guardian.get(MINE).await?.expect(200)?;
            let theirs = items(&mine).iter().find(|one| one["id"] == registration.as_str()).context("it is listed")?;
            ensure!(theirs["full_name"] == NAME, "the guardian sees who it is: {theirs}");
            let path = format!("{MINE}/{registration}/confirmation");
            let bound = guardian.post(&path, &Value::Null).await?.expect(200)?;
            ensure!(bound["without_phone"] == true, "it has no number: {bound}");
            let delegation = text(&bound, "/delegation_id")?.to_owned();
            Ok((Child { registration, delegation }, vec![asked["title"].to_string(), bound.to_string()]))
        })
        .await
}

/// The guardian, with a token to act by, brings money: the app with that token.
async fn topped_up(script: &mut Script, guardian: &Person, child: &Child) -> anyhow::Result<Person> {
    let (acting, top_up) = script
        .step(&format!("brings {} to the child's wallet from a bank account of their own", dong(BROUGHT)), async {
            // From then on what the child's account would be told comes to the guardian.
            heard(guardian, ("delegation-began", &child.delegation)).await?;
            let token = guardian.post(&tokens(child), &Value::Null).await?.expect(201)?;
            let acting = guardian.with_token(text(&token, "/access_token")?);
            let account = top_up::open_account(guardian).await?;
            let (id, accepted) = top_up::ask(&acting, &account, BROUGHT).await?;
            let ended = top_up::until_ended(&acting, &id).await?;
            ensure!(ended == "completed", "it ended as {ended}");
            Ok(((acting, id), vec![accepted.to_string()]))
        })
        .await?;
    script
        .step("hears of it, for the child has no telephone to be told on", async {
            let told = heard(guardian, ("top-up-completed", &top_up)).await?;
            ensure!(text(&told, "/body")?.starts_with("About the account"), "it says whose: {told}");
            Ok(((), vec![told["body"].to_string()]))
        })
        .await?;
    Ok(acting)
}

/// The guardian pays with the child's money, and no more than was agreed.
async fn paid(script: &mut Script, (guardian, acting): (&Person, &Person), shop: &Shop) -> anyhow::Result<()> {
    let payment = script
        .step(&format!("pays {} at the shop with the child's money", dong(MEAL)), async {
            let paid = pay(acting, shop, MEAL).await?.expect(201)?;
            ensure!(paid["acted_by"] == json!(guardian.id().await?), "it says who acted: {paid}");
            Ok((text(&paid, "/id")?.to_owned(), vec![paid.to_string()]))
        })
        .await?;
    script
        .step("and hears of that too, once", async {
            let told = heard(guardian, ("payment-acted", &payment)).await?;
            ensure!(told["data"]["side"] == "guardian", "as the one who paid: {told}");
            Ok(((), vec![told["body"].to_string()]))
        })
        .await?;
    script
        .step("more than was agreed at once is refused, and so is a report in the child's name", async {
            let more = pay(acting, shop, LIMIT + 1).await?;
            ensure!(more.body["code"] == "delegation-limit", "above the limit: {more:?}");
            ensure!(more.body["period"] == "transaction", "of one payment: {more:?}");
            let (lat, lon) = PLACE;
            let report = json!({ "category": "HT", "text": "Ổ gà", "position": { "lat": lat, "lon": lon } });
            let report = acting.post("/reports/v1/reports", &report).await?;
            ensure!(report.status == 401, "reports are one's own: {report:?}");
            Ok(((), vec![more.refused()?, report.refused()?]))
        })
        .await
}

/// The child gets a number, by the guardian and a code that was sent to it: signed in.
async fn on_their_own(script: &mut Script, (guardian, pin): (&Person, &str), child: &Child) -> anyhow::Result<Person> {
    let (world, phone) = (&guardian.world, World::new_phone());
    script
        .step("the guardian can't leave the child with nobody", async {
            let left = end(guardian, child).await?;
            ensure!(left.body["code"] == "dependent-without-phone", "the child has no number: {left:?}");
            Ok(((), vec![left.refused()?]))
        })
        .await?;
    script
        .step("the child gets a telephone: a code that was sent to it gives the account its number", async {
            let challenge = world.ask_code_for((&phone, guardian.device), "attach-phone").await?;
            let (message, code) = world.read_sms(&challenge).await?;
            let proof = json!({ "challenge_id": challenge.id, "code": code, "pin": pin });
            let attached = guardian.post(&format!("{MINE}/{}/phone", child.registration), &proof).await?;
            ensure!(attached.status == 204, "attached: {attached:?}");
            Ok(((), vec![message]))
        })
        .await?;
    script
        .step("and the child signs in with it", async {
            let challenge = world.ask_code_for((&phone, Uuid::new_v4()), "sign-in").await?;
            let (_, code) = world.read_sms(&challenge).await?;
            let (own, answer) = world.start_session(&challenge, &code).await?;
            ensure!(answer["user"]["new"] == false, "it is the account that was kept for them: {answer}");
            let balance = own.balance().await?;
            ensure!(balance == BROUGHT - MEAL, "the balance is {balance}");
            Ok((own, vec![format!("201 user {}, balance {}", answer["user"], dong(balance))]))
        })
        .await
}

/// An agency asks the child for a fee, and the guardian, whose delegation goes on, pays it.
async fn charged(script: &mut Script, (own, acting): (&Person, &Person), program: &str) -> anyhow::Result<()> {
    script
        .step(&format!("an agency asks the child for {}, and the guardian pays it", dong(FEE)), async {
            let reference = format!("H57-{}", Uuid::new_v4().simple());
            let notice = fee::issue(&own.world, program, &fee::notice_to(&own.phone, &reference)).await?;
            let list = acting.get("/wallet/v1/bills?state=open").await?.expect(200)?;
            let asked = items(&list).iter().find(|bill| bill["id"] == notice["id"]).context("it is listed")?;
            let payment = bill::settled(acting, asked).await?;
            let balance = own.balance().await?;
            ensure!(payment["state"] == "paid" && balance == BROUGHT - MEAL - FEE, "{payment}; {balance}");
            Ok(((), vec![payment.to_string(), format!("balance {}", dong(balance))]))
        })
        .await
}

/// The child takes it back.
async fn ended(
    script: &mut Script,
    (guardian, own, acting): (&Person, &Person, &Person),
    (child, shop): (&Child, &Shop),
) -> anyhow::Result<()> {
    script
        .step("the child takes it back: nothing is paid any more, and the token ends everywhere", async {
            let over = end(own, child).await?;
            ensure!(over.status == 204, "ended: {over:?}");
            let (since, late) = (Instant::now(), pay(acting, shop, MEAL).await?);
            ensure!([401, 403].contains(&late.status.as_u16()), "nothing is paid any more: {late:?}");
            let closed = eventually("the end of the token", || async {
                let bills = acting.get("/wallet/v1/bills").await?;
                Ok((bills.status == 401).then_some(bills))
            })
            .await?;
            let took = since.elapsed().as_millis();
            let next = guardian.post(&tokens(child), &Value::Null).await?;
            ensure!(next.body["code"] == "delegation-over", "there is no other: {next:?}");
            let refusals = [late.refused()?, closed.refused()?, next.refused()?];
            Ok(((), refusals.into_iter().chain([format!("the token was good nowhere after {took} ms")]).collect()))
        })
        .await
}

/// Pays at the shop with the child's money.
async fn pay(acting: &Person, shop: &Shop, amount: u64) -> anyhow::Result<Answer> {
    acting.post("/wallet/v1/payments", &json!({ "till_id": shop.till, "amount": money(amount) })).await
}

async fn end(person: &Person, child: &Child) -> anyhow::Result<Answer> {
    send(person.request(Method::DELETE, &format!("{DELEGATIONS}/{}", child.delegation))?).await
}

fn tokens(child: &Child) -> String {
    format!("{DELEGATIONS}/{}/tokens", child.delegation)
}

/// Waits for the one message of a kind that is about something, by its id.
async fn heard(person: &Person, (kind, about): (&str, &str)) -> anyhow::Result<Value> {
    eventually("the message in the app", || async {
        let inbox = person.get("/notifications/v1/inbox?limit=200").await?.expect(200)?;
        let mut told =
            items(&inbox).iter().filter(|one| one["kind"] == kind && one["data"].to_string().contains(about));
        let first = told.next().cloned();
        ensure!(told.next().is_none(), "it is told once: {inbox}");
        Ok(first)
    })
    .await
}

//! A citizen gets a copy of everything, leaves, and nothing that says who they were is left: in both shapes of the city.

use anyhow::{Context as _, Result, ensure};
use chrono::TimeDelta;
use harness::{Answer, Citizen, City, eventually};
use journeys::privacy::Secrets;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

const NAME: &str = "Nguyễn Thị Mốc Riêng";
const TOKEN: &str = "push-token-of-one-who-leaves";
const DIGITS: &str = "0905777123";
const WORDS: &str = "trước cửa nhà mốc riêng";
const NOTE: &str = "ghi chú mốc riêng";
const PLACE: (f64, f64) = (16.46371, 107.59093);
const CLOSING: &str = "/identity/v1/me/closing";

#[tokio::test]
async fn a_citizen_leaves_one_process() -> Result<()> {
    leaves(City::all_in_one().await?).await
}

#[tokio::test]
async fn a_citizen_leaves_one_process_per_role() -> Result<()> {
    leaves(City::split().await?).await
}

async fn leaves(city: City) -> Result<()> {
    let visitor = city.visitor()?;
    let shop = visitor.sign_up().await?.open_shop("Chè Hẻm").await?;
    let citizen = visitor.sign_up().await?;
    call(&citizen, Method::PATCH, "/identity/v1/me", &json!({ "display_name": NAME })).await?.expect(200)?;
    let device = json!({ "token": TOKEN, "platform": "fcm", "name": "Máy riêng" });
    citizen.post("/notifications/v1/devices", &device).await?.expect(201)?;
    let account = citizen.bank_account(1_000_000).await?;
    let top_up = citizen.request_top_up(city.bank(), &account, 90_000).await?;
    ensure!(citizen.top_up_ended(&top_up).await? == "completed", "the bank has the money");
    let report = json!({
        "category": "HT", "text": format!("Ổ gà {WORDS}, gọi {DIGITS}"), "attributes": { "damage": "pothole", "depth_cm": 30 },
        "position": { "lat": PLACE.0, "lon": PLACE.1 }, "address": format!("Kiệt 1, {WORDS}"),
    });
    let filed = citizen.insist("/reports/v1/reports", &report).await?.expect(201)?;
    let marks =
        [NAME, TOKEN, DIGITS, WORDS, NOTE, &account, &citizen.phone, &citizen.phone[3..]].map(ToOwned::to_owned);
    let places = [PLACE.0.to_string(), PLACE.1.to_string()];

    let refused = closed(&citizen, "refused").await?;
    ensure!(refused["hindrances"][0]["code"] == "balance-not-zero", "money goes out first: {refused}");
    let all = json!({ "qr_payload": shop.qr, "amount": harness::money(90_000), "note": NOTE });
    citizen.post("/wallet/v1/payments", &all).await?.expect(201)?;

    let document = export(&citizen).await?.to_string();
    for mark in marks[..6].iter().chain(&places).map(String::as_str).chain([citizen.phone.as_str(), "90000"]) {
        ensure!(document.contains(mark), "the copy has {mark}: {document:.4000}");
    }
    closed(&citizen, "cooling").await?;
    let late = json!({ "bank_code": city.bank(), "account": account, "amount": harness::money(10_000) });
    let late = citizen.post("/wallet/v1/top-ups", &late).await?;
    ensure!(late.status.is_client_error(), "nothing begins any more: {late:?}");
    call(&citizen, Method::DELETE, CLOSING, &Value::Null).await?.expect(204)?;
    let again = eventually("the wallet to be open again", || async {
        let top_up = json!({ "bank_code": city.bank(), "account": account, "amount": harness::money(10_000) });
        let asked = citizen.post("/wallet/v1/top-ups", &top_up).await?;
        Ok((asked.status == 202).then_some(asked.body))
    })
    .await?;
    ensure!(citizen.top_up_ended(again["id"].as_str().context("id")?).await? == "completed", "it works as before");
    citizen.pay(&shop.qr, 10_000, &Uuid::new_v4().to_string()).await?.expect(201)?;

    closed(&citizen, "cooling").await?;
    city.drained().await?;
    city.advance(TimeDelta::hours(49)).await?;
    eventually("everything to be erased", || async {
        let state: String = sqlx::query_scalar("SELECT state FROM identity.closing ORDER BY id DESC LIMIT 1")
            .fetch_one(&city.admin())
            .await?;
        Ok((state == "erased").then_some(()))
    })
    .await?;
    let mut secrets = Secrets::new(marks.to_vec());
    absent_in_tables(&city, &[marks.as_slice(), &places].concat()).await?;
    let stays = "SELECT category || ' ' || coalesce(ward_code, '') FROM reports.report WHERE id = $1";
    let id: Uuid = filed["id"].as_str().context("id")?.parse()?;
    let stays: String = sqlx::query_scalar(stays).bind(id).fetch_one(&city.admin()).await?;
    ensure!(stays.starts_with("HT ") && stays.len() > 3, "what it was about and in which ward stays: {stays}");
    secrets.absent_in_events(&city).await?;
    city.log().lines().try_for_each(|line| secrets.absent("the log", line.as_bytes()))?;
    let somebody = signed_up_again(&citizen).await?;
    ensure!(somebody != citizen.user.to_string(), "the number is free for a new account");
    city.finish().await
}

async fn call(citizen: &Citizen, method: Method, path: &str, body: &Value) -> Result<Answer> {
    let request = citizen.visitor.request(method, path)?.bearer_auth(&citizen.token);
    let request = if body.is_null() { request } else { request.json(body) };
    let answer = request.send().await?;
    let status = answer.status();
    let text = answer.text().await?;
    Ok(Answer { status, body: serde_json::from_str(&text).unwrap_or(Value::Null) })
}

/// Signs up with the number of somebody who has left; the id of the new account.
async fn signed_up_again(left: &Citizen) -> Result<String> {
    let (visitor, path) = (&left.visitor, format!("/sms?to={}", left.phone.replace('+', "%2B")));
    let sent = async || {
        let messages = visitor.outside(&path).await?;
        anyhow::Ok(messages.as_array().or_else(|| messages["items"].as_array()).cloned().unwrap_or_default())
    };
    let before = sent().await?.len();
    let device = Uuid::new_v4();
    let ask = json!({ "phone": left.phone, "purpose": "sign-in", "device_id": device });
    let asked = visitor.post("/identity/v1/otp", &ask).await?.expect(202)?;
    let newest = eventually("the SMS with the code", || async {
        let messages = sent().await?;
        Ok((messages.len() > before).then(|| messages[0]["text"].as_str().unwrap_or_default().to_owned()))
    })
    .await?;
    let digits = newest.split(|letter: char| !letter.is_ascii_digit()).find(|word| word.len() == 6);
    let code = digits.context("a code")?;
    let session =
        json!({ "challenge_id": asked["challenge_id"], "code": code, "device": { "id": device, "name": "new" } });
    let session = visitor.post("/identity/v1/sessions", &session).await?.expect(201)?;
    Ok(session["user"]["id"].as_str().context("user.id")?.to_owned())
}

/// The copy of everything.
async fn export(citizen: &Citizen) -> Result<Value> {
    let asked = citizen.insist("/identity/v1/me/exports", &json!({})).await?.expect(202)?;
    let id = asked["id"].as_str().context("id")?.to_owned();
    eventually("every service to hand over its part", || async {
        let shown = citizen.get(&format!("/identity/v1/me/exports/{id}")).await?.expect(200)?;
        Ok((shown["state"] == "ready").then_some(()))
    })
    .await?;
    eventually("the message that it is ready", || async {
        let inbox = citizen.get("/notifications/v1/inbox").await?.expect(200)?;
        Ok(inbox.to_string().contains(&id).then_some(()))
    })
    .await?;
    citizen.get(&format!("/identity/v1/me/exports/{id}/document")).await?.expect(200)
}

/// Asks to leave, and waits until all services have answered.
async fn closed(citizen: &Citizen, state: &str) -> Result<Value> {
    call(citizen, Method::POST, CLOSING, &json!({})).await?.expect(202)?;
    let shown = eventually("every service to answer", || async {
        let shown = citizen.get(CLOSING).await?.expect(200)?;
        Ok((shown["state"] != "asked").then_some(shown))
    })
    .await?;
    ensure!(shown["state"] == state, "{shown}");
    Ok(shown)
}

/// No row of any table holds one of the marks, as text or as the bytes of it.
async fn absent_in_tables(city: &City, marks: &[String]) -> Result<()> {
    let admin = city.admin();
    let tables: Vec<(String, String)> = sqlx::query_as(
        "SELECT table_schema::text, table_name::text FROM information_schema.tables
         WHERE table_type = 'BASE TABLE' AND table_schema IN ('identity', 'wallet', 'reports', 'notifications', 'ioc', 'ledger')",
    )
    .fetch_all(&admin)
    .await?;
    ensure!(tables.len() > 80, "there are many tables: {}", tables.len());
    for (schema, table) in tables {
        for mark in marks {
            let hex: String = mark.bytes().map(|byte| format!("{byte:02x}")).collect();
            let sql = format!(
                "SELECT row::text FROM {schema}.{table} AS row WHERE row::text LIKE '%' || $1 || '%' OR row::text LIKE '%' || $2 || '%' LIMIT 1"
            );
            let found: Option<String> =
                sqlx::query_scalar(AssertSqlSafe(sql)).bind(mark).bind(&hex).fetch_optional(&admin).await?;
            ensure!(found.is_none(), "{schema}.{table} tells {mark}: {found:?}");
        }
    }
    Ok(())
}

//! Bad input over public HTTP: each gets a 4xx problem with a stable code; never a 5xx and never a half-done effect.

use anyhow::{Context as _, Result, ensure};
use harness::{Citizen, City, money};
use reqwest::{Body, Method};
use serde_json::{Value, json};
use uuid::Uuid;

/// POSTs raw bytes as JSON; gives status and code.
async fn raw(citizen: &Citizen, path: &str, body: impl Into<Body>) -> Result<(u16, String)> {
    let request = citizen.visitor.request(Method::POST, path)?.bearer_auth(&citizen.token);
    let request =
        request.header("content-type", "application/json").header("idempotency-key", Uuid::new_v4().to_string());
    let response = request.body(body).send().await?;
    let status = response.status().as_u16();
    let kind = response.headers().get("content-type").context("content-type")?.to_str()?.to_owned();
    ensure!(kind == "application/problem+json", "{path}: {status} {kind}");
    let problem: Value = response.json().await?;
    for language in ["title", "detail", "trace_id"] {
        ensure!(problem[language].as_str().is_some_and(|text| !text.is_empty()), "{language} in {problem}");
    }
    Ok((status, problem["code"].as_str().context("code")?.to_owned()))
}

/// So many kilobytes.
fn whole(kilobytes: usize) -> Body {
    vec![b'x'; kilobytes * 1024].into()
}

/// So many kilobytes that come in chunks and do not say how many they are.
fn chunked(kilobytes: usize) -> Body {
    let chunks = (0..kilobytes).map(|_| Ok::<_, std::io::Error>(vec![b'x'; 1024]));
    Body::wrap_stream(futures::stream::iter(chunks))
}

#[tokio::test]
async fn bodies_amounts_and_ids_in_one_process() -> Result<()> {
    bodies_amounts_and_ids(City::all_in_one().await?).await
}

#[tokio::test]
async fn bodies_amounts_and_ids_with_one_process_per_role() -> Result<()> {
    bodies_amounts_and_ids(City::split().await?).await
}

async fn bodies_amounts_and_ids(city: City) -> Result<()> {
    let citizen = city.visitor()?.sign_up().await?;
    let till = Uuid::new_v4();
    let pay = |amount: Value| {
        json!({"till_id": till, "amount": {"amount": amount, "currency": "VND"}}).to_string().into_bytes()
    };
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("broken JSON", b"{".to_vec()),
        ("broken UTF-8", b"{\"till_id\":\"\xff\xfe\"}".to_vec()),
        ("unknown field", json!({"till_id": till, "amount": money(1), "tip": 1}).to_string().into_bytes()),
        ("wrong type", json!({"till_id": 7, "amount": money(1)}).to_string().into_bytes()),
        ("amount as number", pay(json!(1_000))),
        ("negative", pay(json!("-1000"))),
        ("zero", pay(json!("0"))),
        ("fraction", pay(json!("1000.5"))),
        ("exponent", pay(json!("1e3"))),
        ("past 64 bits", pay(json!("99999999999999999999"))),
        ("absurd length", pay(json!("9".repeat(5_000)))),
        (
            "another currency",
            json!({"till_id": till, "amount": {"amount": "1", "currency": "USD"}}).to_string().into_bytes(),
        ),
        ("huge", vec![b'x'; 1_000_000]),
        ("deep", "[".repeat(30_000).into_bytes()),
        ("empty", Vec::new()),
        ("unknown till", pay(json!("1000"))),
    ];
    for path in [
        "/wallet/v1/payments",
        "/wallet/v1/top-ups",
        "/wallet/v1/merchants",
        "/wallet/v1/qr/decode",
        "/identity/v1/otp",
        "/identity/v1/sessions",
        "/notifications/v1/devices",
    ] {
        for (name, body) in &cases {
            let (status, code) = raw(&citizen, path, body.clone()).await.with_context(|| format!("{path}: {name}"))?;
            ensure!((400..500).contains(&status) && !code.is_empty(), "{path}: {name}: {status} {code}");
        }
        for (name, body) in [("says its length", whole(1_000)), ("does not", chunked(1_000))] {
            let answer = raw(&citizen, path, body).await.with_context(|| format!("{path}: a body that {name}"))?;
            ensure!(answer == (413, "body-too-large".to_owned()), "{path}: a body that {name}: {answer:?}");
        }
        let (status, _) = raw(&citizen, path, chunked(20)).await.with_context(|| format!("{path}: in chunks"))?;
        ensure!((400..500).contains(&status) && status != 413, "{path}: in chunks: {status}");
    }
    ensure!(citizen.balance().await? == 0, "nothing happened");
    city.finish().await
}

#[tokio::test]
async fn tokens_keys_and_qr_codes_in_one_process() -> Result<()> {
    tokens_keys_and_qr_codes(City::all_in_one().await?).await
}

#[tokio::test]
async fn tokens_keys_and_qr_codes_with_one_process_per_role() -> Result<()> {
    tokens_keys_and_qr_codes(City::split().await?).await
}

async fn tokens_keys_and_qr_codes(city: City) -> Result<()> {
    let visitor = city.visitor()?;
    let citizen = visitor.sign_up().await?;
    for token in ["", "x", "a.b.c", &format!("{}x", citizen.token), &citizen.refresh_token] {
        let forged = Citizen { token: token.to_owned(), ..citizen.clone() };
        let answer = forged.get("/wallet/v1/wallet").await?;
        ensure!((answer.status.as_u16(), answer.code()) == (401, "unauthenticated"), "{token:.20}: {answer:?}");
    }
    let keyless = visitor
        .request(Method::POST, "/wallet/v1/payments")?
        .bearer_auth(&citizen.token)
        .json(&json!({}))
        .send()
        .await?;
    ensure!(keyless.status().as_u16() == 400, "no idempotency key: {}", keyless.status());
    // A right CRC over a wrong inner length: the first example of the VietQR format document as it was published.
    let published = "00020101021138570010A00000072701270006970403011200110123456780208QRIBFTTA53037045802VN6304F4E5";
    let answer = visitor.post("/wallet/v1/qr/decode", &json!({ "payload": published })).await?;
    ensure!(answer.status.as_u16() == 422 && answer.code().starts_with("qr-"), "{answer:?}");
    for path in ["/nowhere", "/wallet/v1/top-ups/not-an-id", &format!("/wallet/v1/top-ups/{}", Uuid::new_v4())] {
        let answer = citizen.get(path).await?;
        ensure!((answer.status.as_u16(), answer.code()) == (404, "not-found"), "{path}: {answer:?}");
    }
    for query in ["limit=0", "limit=100000", "limit=x", "cursor=nonsense", "unknown=1"] {
        let answer = citizen.get(&format!("/wallet/v1/transactions?{query}")).await?;
        ensure!(answer.status.as_u16() == 400 && answer.code() == "invalid-query", "{query}: {answer:?}");
    }
    city.finish().await
}

#[tokio::test]
async fn an_expired_session_is_refused_in_one_process() -> Result<()> {
    an_expired_session_is_refused(City::all_in_one().await?).await
}

#[tokio::test]
async fn an_expired_session_is_refused_with_one_process_per_role() -> Result<()> {
    an_expired_session_is_refused(City::split().await?).await
}

async fn an_expired_session_is_refused(city: City) -> Result<()> {
    let citizen = city.visitor()?.sign_up().await?;
    citizen.get("/wallet/v1/wallet").await?.expect(200)?;
    city.advance(chrono::TimeDelta::minutes(11)).await?;
    let answer = citizen.get("/wallet/v1/wallet").await?;
    ensure!((answer.status.as_u16(), answer.code()) == (401, "unauthenticated"), "{answer:?}");
    city.finish().await
}

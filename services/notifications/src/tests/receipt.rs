//! Receipts of text messages: what the gateway says afterwards, however often, late, in whatever order, and whoever says it.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use chrono::{DateTime, TimeDelta, Utc};
use http::{HeaderMap, Method, StatusCode};
use platform::config::Secret;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::alert::{Officer, draft_of};
use super::{Role, Town, until};
use crate::ReceiptConfig;
use crate::alert::tell::Teller;
use crate::receipt::PATH;

type Caught = (HeaderMap, Bytes);

/// A town whose gateway sends its receipts here, and those that come.
async fn town() -> (Town, mpsc::UnboundedReceiver<Caught>) {
    let mut town = Town::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let (catch, caught) = mpsc::unbounded_channel::<Caught>();
    let take = async |State(catch): State<mpsc::UnboundedSender<Caught>>, headers: HeaderMap, body: Bytes| {
        catch.send((headers, body)).ok();
        StatusCode::NO_CONTENT
    };
    let router = Router::new().route(PATH, axum::routing::post(take)).with_state(catch);
    tokio::spawn(async move { axum::serve(listener, router).await });
    let sms = town.config.sms.as_mut().unwrap();
    sms.receipts = Some(ReceiptConfig { secret: Secret::new(sms.token.expose()), base_url: Some(base_url) });
    (town, caught)
}

/// Hands a receipt to the role.
async fn hand(town: &Town, role: &Role, (headers, body): &Caught) -> (u16, String) {
    let request = town.client.post(format!("{}{PATH}", role.url)).body(body.clone());
    let signed = ["x-timestamp", "x-signature"].iter().fold(request, |request, name| match headers.get(*name) {
        Some(value) => request.header(*name, value),
        None => request,
    });
    let response = signed.send().await.unwrap();
    let status = response.status().as_u16();
    let problem: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap_or_default();
    (status, problem["code"].as_str().unwrap_or_default().to_owned())
}

/// A receipt as the gateway would sign it now.
fn receipt(town: &Town, body: &Value) -> Caught {
    let (body, now) = (Bytes::from(body.to_string()), town.clock.now().timestamp());
    let secret = town.config.sms.as_ref().unwrap().token.expose();
    let signature = sandbox::sign(secret, &Method::POST, PATH, now, &body);
    let mut headers = HeaderMap::new();
    headers.insert("x-timestamp", now.into());
    headers.insert("x-signature", signature.parse().unwrap());
    (headers, body)
}

fn word(message: Uuid, status: &str, at: DateTime<Utc>) -> Value {
    json!({ "message_id": "theirs", "reference": message, "status": status, "at": at })
}

async fn kept(town: &Town, message: Uuid) -> Option<String> {
    let status = sqlx::query_scalar("SELECT status FROM notifications.sms_receipt WHERE message_id = $1");
    status.bind(message).fetch_optional(&town.pool).await.unwrap()
}

/// A citizen's text message that the gateway took.
async fn text_of(town: &Town, recipient: Uuid) -> Uuid {
    town.settled(recipient, "sms").await;
    let id = sqlx::query_scalar("SELECT id FROM notifications.message WHERE recipient = $1 AND channel = 'sms'");
    id.bind(recipient).fetch_one(&town.pool).await.unwrap()
}

/// An extreme warning for one citizen, who has no device.
async fn warned(town: &Town, role: &Role) -> (Uuid, String) {
    let citizen = Officer::with(town, role, &[]);
    town.identity.speaks(citizen.id, "vi");
    citizen.call(Method::PUT, "/wards", Some(&json!({ "codes": ["19774"] }))).await;
    let (one, two) = (Officer::with(town, role, &["ioc.operator"]), Officer::with(town, role, &["ioc.lead"]));
    let mut body = draft_of(town, &["19774"]);
    body["content"]["severity"] = json!("extreme");
    let alert = one.draft(&body).await;
    two.release(&alert).await;
    until(async || {
        (town.count("SELECT count(*) FROM notifications.message WHERE channel = 'sms'").await == 1).then_some(())
    })
    .await;
    (text_of(town, citizen.id).await, alert)
}

#[tokio::test]
async fn a_gateways_receipt_is_kept_once_and_a_forged_or_stale_one_is_not() {
    let (town, mut caught) = town().await;
    let role = town.role().await;
    let (message, _) = warned(&town, &role).await;
    let real = caught.recv().await.expect("the gateway says what became of it");
    let invalid = (401, "signature-invalid".to_owned());
    let said: Value = serde_json::from_slice(&real.1).unwrap();
    assert_eq!((&said["reference"], &said["status"]), (&json!(message), &json!("delivered")));

    let forged = (real.0.clone(), Bytes::from(said.to_string().replace("delivered", "undelivered")));
    assert_eq!(hand(&town, &role, &forged).await, invalid, "another word under the same signature");
    assert_eq!(hand(&town, &role, &(HeaderMap::new(), real.1.clone())).await, invalid);
    let mut other = real.0.clone();
    other.insert("x-timestamp", (town.clock.now().timestamp() + 1).into());
    assert_eq!(hand(&town, &role, &(other, real.1.clone())).await, invalid);
    assert_eq!(kept(&town, message).await, None);

    for _ in 0..2 {
        assert_eq!(hand(&town, &role, &real).await.0, 204, "also when it comes twice");
    }
    assert_eq!(kept(&town, message).await.as_deref(), Some("delivered"));
    assert_eq!(role.metric("sms_receipts_total status=\"delivered\"").as_deref(), Some("1"));
    town.later(TimeDelta::minutes(6));
    assert_eq!(hand(&town, &role, &real).await, invalid, "an old signature proves nothing");
    role.stop().await;
}

#[tokio::test]
async fn the_newest_word_stands_and_what_a_phone_has_it_has() {
    let (town, _caught) = town().await;
    let role = town.role().await;
    let (message, alert) = warned(&town, &role).await;
    let at = town.clock.now();
    let lead = Officer::with(&town, &role, &["ioc.lead"]);
    let reach = async || lead.call(Method::GET, &format!("/alerts/{alert}/reach"), None).await.1;
    assert_eq!(
        reach().await["channels"]["sms"],
        json!({ "queued": 1, "unconfirmed": 1, "delivered": 0, "failed": 0 }),
        "the gateway took it"
    );
    for (status, seconds, stands) in [
        ("queued", 1, None),
        ("expired", 20, Some("undelivered")),
        ("failed", 10, Some("undelivered")),
        ("delivered", 5, Some("delivered")),
        ("undelivered", 30, Some("delivered")),
    ] {
        let said = receipt(&town, &word(message, status, at + TimeDelta::seconds(seconds)));
        assert_eq!(hand(&town, &role, &said).await.0, 204, "{status}");
        assert_eq!(kept(&town, message).await.as_deref(), stands, "{status}");
        if stands == Some("undelivered") {
            let now = reach().await;
            assert_eq!(now["channels"]["sms"], json!({ "queued": 1, "unconfirmed": 0, "delivered": 0, "failed": 1 }));
            assert_eq!(now["wards"][0]["channels"]["sms"]["failed"], 1);
        }
    }
    assert_eq!(reach().await["channels"]["sms"], json!({ "queued": 1, "unconfirmed": 0, "delivered": 1, "failed": 0 }));
    let teller = Teller { pool: town.pool.clone(), clock: town.clock.clone() };
    let id = alert.parse::<Uuid>().unwrap().into();
    // Nothing is left to count once everybody has it.
    until(async || teller.tell(id).await.unwrap().is_none().then_some(())).await;
    let far = receipt(&town, &word(Uuid::now_v7(), "delivered", at));
    assert_eq!(hand(&town, &role, &far).await, (404, "not-found".to_owned()));
    let in_app: Uuid = sqlx::query_scalar("SELECT id FROM notifications.message WHERE channel = 'in-app'")
        .fetch_one(&town.pool)
        .await
        .unwrap();
    assert_eq!(hand(&town, &role, &receipt(&town, &word(in_app, "delivered", at))).await.0, 404, "no text message");
    for (body, refused) in [(json!({}), (422, "invalid-body")), (json!([]), (422, "invalid-body"))] {
        let (status, code) = hand(&town, &role, &receipt(&town, &body)).await;
        assert_eq!((status, code.as_str()), refused, "{body}");
    }
    role.stop().await;
}

//! What ends codes and sessions of clients, and what does not: signing out, forgetting a browser, taking back, disabling.

use http::{Method, Request, StatusCode, header};
use proto::identity::v1::{SessionRevoked, SessionStarted};
use serde_json::{Value, json};

use super::{App, Browser, PHONE, claims, encode, program, send, with_token};
use crate::audit::Origin;
use crate::citizen::CitizenId;
use crate::testing::{Stage, eventually};

const END: &str = "/oauth2/end-session";

/// A code that waits.
async fn waiting(stage: &Stage, app: &App, browser: &mut Browser) -> String {
    browser.get(stage, &app.ask(&[])).await.back().remove("code").expect("a code")
}

/// Whether somebody is signed in.
async fn is_signed_in(stage: &Stage, app: &App, browser: &mut Browser) -> bool {
    browser.get(stage, &app.ask(&[("prompt", "none")])).await.back().contains_key("code")
}

async fn citizen(stage: &Stage) -> CitizenId {
    let id: uuid::Uuid = sqlx::query_scalar("SELECT citizen_id FROM identity.session WHERE client = 'browser'")
        .fetch_one(&stage.admin())
        .await
        .expect("a sign-in");
    id.into()
}

async fn change(stage: &Stage, (method, place): (Method, &str), body: Value) -> StatusCode {
    let admin = stage.officer("admin").await;
    let request = Request::builder().method(method).uri(place).header(header::AUTHORIZATION, format!("Bearer {admin}"));
    let request = request.header(header::CONTENT_TYPE, "application/json");
    send(stage, request.body(body.to_string().into()).expect("a request")).await.status
}

#[tokio::test]
async fn an_id_token_signs_out_in_its_own_browser_only() {
    let stage = Stage::new().await;
    let app = stage.register(json!({})).await;
    let (mut browser, mut other) = (Browser::default(), Browser::default());
    let code = browser.code(&stage, &app.ask(&[])).await;
    other.code(&stage, &app.ask(&[])).await;
    let tokens = app.exchange(&stage, &code).await.json();
    let hint = tokens["id_token"].as_str().expect("an ID token");
    // A form without cookies is sent on, and changes none.
    let form = program(&stage, END, &[("id_token_hint", hint)]).await;
    let place = format!("{END}?{}", encode(&[("id_token_hint", hint)]));
    assert_eq!((form.status, form.header("location")), (StatusCode::SEE_OTHER, place.as_str()));
    assert!(form.headers.get(header::SET_COOKIE).is_none());
    assert!(is_signed_in(&stage, &app, &mut browser).await, "who has the token alone ends nothing");
    let asked = other.get(&stage, &place).await;
    assert!(asked.text.contains("Do you want to sign out"), "it was made elsewhere: {}", asked.text);
    let long = other.get(&stage, &format!("{END}?state={}", "s".repeat(8_192))).await;
    assert_eq!(long.status, StatusCode::BAD_REQUEST);
    let long = other.get(&stage, &app.ask(&[("login_hint", &"9".repeat(8_192))])).await;
    assert_eq!(long.status, StatusCode::BAD_REQUEST);
    assert!(browser.get(&stage, &place).await.text.contains("Signed out"));
    assert!(!is_signed_in(&stage, &app, &mut browser).await && is_signed_in(&stage, &app, &mut other).await);
}

#[tokio::test]
async fn a_code_ends_with_its_sign_in_its_browser_and_its_consent() {
    let stage = Stage::new().await;
    let app = stage.register(json!({})).await;
    let mut browser = Browser::default();
    browser.code(&stage, &app.ask(&[])).await;
    let left = waiting(&stage, &app, &mut browser).await;
    let asked = browser.get(&stage, END).await;
    browser.post(&stage, END, &[("ticket", &asked.ticket())]).await;
    assert_eq!(app.exchange(&stage, &left).await.error().1, "invalid_grant", "signed out");

    let code = browser.code(&stage, &app.ask(&[])).await;
    let device = claims(app.exchange(&stage, &code).await.json()["id_token"].as_str().expect("a token"))["sid"].clone();
    let device: uuid::Uuid = sqlx::query_scalar("SELECT device_id FROM identity.session WHERE id::text = $1")
        .bind(device.as_str())
        .fetch_one(&stage.admin())
        .await
        .expect("a session");
    let left = waiting(&stage, &app, &mut browser).await;
    let phone = stage.sign_in(PHONE, crate::device::DeviceId::generate()).await;
    stage.identity.remove_device(phone.citizen.id, device.into(), Origin::default()).await.expect("removed");
    assert_eq!(app.exchange(&stage, &left).await.error().1, "invalid_grant", "the browser was forgotten");

    browser.code(&stage, &app.ask(&[])).await;
    let left = waiting(&stage, &app, &mut browser).await;
    // As if the withdrawal had not seen the code yet.
    sqlx::query("DELETE FROM identity.consent").execute(&stage.admin()).await.expect("taken back");
    assert_eq!(app.exchange(&stage, &left).await.error().1, "invalid_grant", "nothing is given without consent");
}

#[tokio::test]
async fn no_code_is_given_for_a_sign_in_that_ended_meanwhile() {
    let stage = Stage::new().await;
    let app = stage.register(json!({})).await;
    let mut browser = Browser::default();
    browser.code(&stage, &app.ask(&[])).await;
    let who = citizen(&stage).await;
    let id: uuid::Uuid = sqlx::query_scalar("SELECT id FROM identity.session WHERE client = 'browser'")
        .fetch_one(&stage.admin())
        .await
        .expect("a sign-in");
    let mut conn = stage.identity.pool.acquire().await.expect("a connection");
    let session = crate::session::find(&mut conn, id.into(), stage.identity.now()).await.expect("read").expect("there");
    drop(conn);
    assert_eq!(session.citizen, who);
    stage.identity.sign_out_browser(&session, Origin::default()).await.expect("signed out");
    let ticket = crate::openid::ticket::Ticket {
        query: app.ask(&[]).split_once('?').expect("a query").1.to_owned(),
        device: session.device,
        begun_at: stage.identity.now(),
        language: "en".to_owned(),
        sent: None,
    };
    let word = (crate::openid::authorise::Word::Unsaid, Origin::default());
    let step = stage.identity.proceed(&ticket, Some(&session), word).await.expect("judged");
    assert!(matches!(step, crate::openid::authorise::Step::SignIn(_)));
}

#[tokio::test]
async fn another_citizen_in_the_browser_signs_the_former_out() {
    let stage = Stage::new().await;
    let app = stage.register(json!({})).await;
    let mut browser = Browser::default();
    let code = browser.code(&stage, &app.ask(&[])).await;
    let tokens = app.exchange(&stage, &code).await.json();
    let page = browser.get(&stage, &app.ask(&[("prompt", "login")])).await;
    let page = browser.sign_in(&stage, &page, "0933333333").await;
    assert_eq!(page.status, StatusCode::OK, "asks for consent");
    assert_eq!(stage.count("session WHERE client = 'browser' AND ended_at IS NULL").await, 1);
    let refresh = app.refresh(&stage, tokens["refresh_token"].as_str().expect("a token")).await;
    assert_eq!(refresh.error().1, "invalid_grant");
}

#[tokio::test]
async fn what_is_taken_from_a_client_is_taken_from_what_it_holds() {
    let stage = Stage::new().await;
    let app = stage.register(json!({})).await;
    let code = Browser::default().code(&stage, &app.ask(&[("scope", "openid phone offline_access")])).await;
    let tokens = app.exchange(&stage, &code).await.json();
    let access = tokens["access_token"].as_str().expect("a token").to_owned();
    let place = format!("/identity/v1/clients/{}", app.id);
    let narrowed = json!({ "scopes": ["openid", "offline_access"] });
    assert_eq!(change(&stage, (Method::PATCH, &place), narrowed).await, StatusCode::OK);
    assert_eq!(stage.count("client WHERE epoch = 1").await, 1, "its own tokens are cut off");
    let info = with_token(&stage, Method::GET, "/oauth2/userinfo", &access).await.json();
    assert!(info["phone_number"].is_null() && info["sub"].is_string(), "{info}");
    let next = app.refresh(&stage, tokens["refresh_token"].as_str().expect("a token")).await.json();
    assert_eq!(next["scope"], "openid offline_access");
    let revoked = stage.events::<SessionRevoked>().await.len();
    for _ in 0..2 {
        assert_eq!(change(&stage, (Method::DELETE, &place), Value::Null).await, StatusCode::NO_CONTENT);
    }
    assert_eq!(stage.count("session WHERE end_reason = 'client-disabled'").await, 1);
    assert_eq!(stage.events::<SessionRevoked>().await.len(), revoked + 1);
    assert_eq!(stage.count("audit WHERE action = 'session.end' AND reason = 'client-disabled'").await, 1);
}

#[tokio::test]
async fn a_code_gives_nothing_that_the_end_of_its_client_does_not_see() {
    let stage = Stage::new().await;
    let app = stage.register(json!({})).await;
    let code = Browser::default().code(&stage, &app.ask(&[])).await;
    let mut held = platform::db::begin(&stage.admin()).await.expect("a transaction");
    sqlx::query("UPDATE identity.client SET disabled_at = $1")
        .bind(stage.identity.now())
        .execute(&mut *held)
        .await
        .expect("disabled");
    let disabling = async {
        let waits =
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        eventually("the exchange waits for the client's row", async || {
            sqlx::query_scalar::<_, i64>(waits).fetch_one(&stage.admin()).await.expect("a query") > 0
        })
        .await;
        held.commit().await.expect("disabled");
    };
    let (answer, ()) = tokio::join!(app.exchange(&stage, &code), disabling);
    assert_eq!(answer.error().1, "invalid_grant", "{}", answer.text);
    assert_eq!(stage.count("session WHERE client NOT IN ('app', 'browser')").await, 0);
}

#[tokio::test]
async fn a_client_that_any_program_can_pass_for_asks_each_time() {
    let stage = Stage::new().await;
    let loopback = "http://127.0.0.1:3000/cb";
    let app = stage.register(json!({ "access": "public", "redirect_uris": [loopback, super::CALLBACK] })).await;
    let mut browser = Browser::default();
    browser.code(&stage, &app.ask(&[])).await;
    let none = browser.get(&stage, &app.ask(&[("redirect_uri", loopback), ("prompt", "none")])).await;
    assert!(none.header("location").contains("error=consent_required"), "{}", none.header("location"));
    let asked = browser.get(&stage, &app.ask(&[("redirect_uri", loopback)])).await;
    assert!(asked.text.contains("Allow access"), "{}", asked.text);
    assert!(is_signed_in(&stage, &app, &mut browser).await, "by HTTPS nothing is asked again");
    let admin = stage.officer("admin").await;
    let own = json!({ "first_party": true, "access": "public", "redirect_uris": [loopback] });
    let refused = stage.try_register(&admin, own, "own").await;
    assert_eq!((refused.status.as_u16(), refused.json()["field"].as_str()), (422, Some("redirect_uris")));
}

#[tokio::test]
async fn a_session_of_the_citys_own_page_is_told_of() {
    let stage = Stage::new().await;
    let app = stage.register(json!({ "first_party": true })).await;
    let code = Browser::default().code(&stage, &app.ask(&[])).await;
    let before = stage.events::<SessionStarted>().await.len();
    assert_eq!(app.exchange(&stage, &code).await.status, StatusCode::OK);
    assert_eq!(stage.events::<SessionStarted>().await.len(), before + 1);
}

//! What clients wish for at the authorisation endpoint: whom, and where to. How they wish somebody to sign in is in `vneid_sign_in`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use http::{StatusCode, header};
use serde_json::{Value, json};

use super::{App, Browser, PHONE, VERIFIER, claims, encode};
use crate::audit::Behest;
use crate::testing::Stage;
use crate::{Urgency, key};

const BYE: &str = "https://tickets.example/bye";

/// An ID token of whoever signs in in a browser.
async fn id_token(stage: &Stage, app: &App, browser: &mut Browser) -> String {
    let code = browser.code(stage, &app.ask(&[])).await;
    let tokens = app.exchange(stage, &code).await.json();
    tokens["id_token"].as_str().expect("an ID token").to_owned()
}

async fn keys(stage: &Stage) -> Vec<Value> {
    let jwks = key::jwks(&stage.identity.pool, stage.identity.now()).await.expect("a key set");
    jwks["keys"].as_array().expect("keys").iter().map(|key| key["kid"].clone()).collect()
}

#[tokio::test]
async fn a_hint_is_read_though_its_key_has_left_the_key_set() {
    let stage = Stage::new().await;
    let app = stage.register(json!({})).await;
    let mut browser = Browser::default();
    let hint = id_token(&stage, &app, &mut browser).await;
    let kid = jsonwebtoken::decode_header(&hint).expect("a header").kid.expect("a key id");
    let behest = Behest::of_process("test", "due");
    assert!(stage.identity.rotate_keys(Urgency::Now, &behest).await.expect("rotated"));
    stage.clock.advance(TimeDelta::seconds(661));
    stage.identity.remove_keys().await.expect("looked");
    assert!(!keys(&stage).await.contains(&json!(kid)), "no token of it is alive");
    let same = browser.get(&stage, &app.ask(&[("prompt", "none"), ("id_token_hint", &hint)])).await.back();
    assert!(same.contains_key("code"), "{same:?}");
    let end = encode(&[("id_token_hint", &hint), ("post_logout_redirect_uri", BYE)]);
    let done = browser.get(&stage, &format!("/oauth2/end-session?{end}")).await;
    assert_eq!((done.status, done.header("location")), (StatusCode::SEE_OTHER, BYE), "{}", done.text);
    let none = browser.get(&stage, &app.ask(&[("prompt", "none")])).await.back();
    assert_eq!(none["error"], "login_required", "signed out");
    stage.clock.advance(TimeDelta::days(181));
    stage.identity.remove_keys().await.expect("removed");
    let gone = browser.get(&stage, &app.ask(&[("id_token_hint", &hint)])).await.back();
    assert_eq!(gone["error"], "invalid_request", "no session of its time is left");
}

#[tokio::test]
async fn only_whom_a_hint_means_gets_a_code_and_no_page_comes_again_without_end() {
    let stage = Stage::new().await;
    let app = stage.register(json!({})).await;
    let hint = id_token(&stage, &app, &mut Browser::default()).await;
    let asked = app.ask(&[("id_token_hint", &hint)]);
    let mut other = Browser::default();
    let page = other.get(&stage, &app.ask(&[])).await;
    let page = other.sign_in(&stage, &page, "0933333333").await;
    other.allow(&stage, &page).await.back();
    stage.clock.advance(TimeDelta::seconds(1));
    let page = other.get(&stage, &asked).await;
    assert!(page.text.contains("name=\"phone\""), "who is there is not meant: {}", page.text);
    let back = other.sign_in(&stage, &page, "0933333333").await.back();
    assert_eq!((back["error"].as_str(), back["state"].as_str()), ("login_required", "xyz"));
    stage.clock.advance(TimeDelta::seconds(1));
    let page = other.get(&stage, &asked).await;
    let back = other.sign_in(&stage, &page, PHONE).await.back();
    assert!(back.contains_key("code"), "{back:?}");
    let tokens = app.exchange(&stage, &back["code"]).await.json();
    assert_eq!(claims(tokens["id_token"].as_str().expect("a token"))["sub"], claims(&hint)["sub"]);
    // What is no ID token of this client means nobody.
    let elsewhere = stage.register(json!({})).await;
    let foreign = id_token(&stage, &elsewhere, &mut Browser::default()).await;
    let forged = format!("{}x", hint);
    let named = |kid: &str| {
        let header = json!({"alg": "RS256", "typ": "JWT", "kid": kid}).to_string();
        format!("{}.e30.AA", URL_SAFE_NO_PAD.encode(header))
    };
    let (nul, long) = (named("\0"), named(&"k".repeat(1_000)));
    for unread in ["x", "a.b.c", &foreign, &forged, &nul, &long] {
        for prompt in ["", "none"] {
            let back = other.get(&stage, &app.ask(&[("id_token_hint", unread), ("prompt", prompt)])).await.back();
            assert_eq!(back["error"], "invalid_request", "{unread}");
        }
    }
}

#[tokio::test]
async fn a_program_on_the_citizens_machine_is_answered_at_the_port_that_it_got() {
    let stage = Stage::new().await;
    let uris = ["http://127.0.0.1/cb", "http://[::1]/cb"];
    let app = stage.register(json!({ "access": "public", "redirect_uris": uris })).await;
    let mut browser = Browser::default();
    for (place, policy) in [
        ("http://127.0.0.1:49152/cb", "form-action 'self' http://127.0.0.1:49152;"),
        ("http://[::1]:49153/cb", "form-action 'self' http:;"),
    ] {
        let mut page = browser.get(&stage, &app.ask(&[("redirect_uri", place)])).await;
        if page.text.contains("name=\"phone\"") {
            page = browser.sign_in(&stage, &page, PHONE).await;
        }
        assert!(page.header("content-security-policy").contains(policy), "{:?}", page.headers);
        let given = browser.allow(&stage, &page).await;
        let location = given.headers.get(header::LOCATION).and_then(|place| place.to_str().ok()).expect("a place");
        let (at, query) = location.split_once('?').expect("parameters");
        assert_eq!(at, place);
        let code = super::pairs(query)["code"].clone();
        let fields = [
            ("grant_type", "authorization_code"),
            ("code", &code),
            ("redirect_uri", place),
            ("code_verifier", VERIFIER),
        ];
        let tokens = app.post(&stage, "/oauth2/token", &fields).await;
        assert_eq!(tokens.status, StatusCode::OK, "{}", tokens.text);
    }
    let path = browser.get(&stage, &app.ask(&[("redirect_uri", "http://127.0.0.1:49152/other")])).await;
    assert_eq!(path.status, StatusCode::BAD_REQUEST);
    assert!(path.text.contains("<title>This can&#x27;t be done – Tràng Tiền</title>"), "{}", path.text);
}

#[tokio::test]
async fn clients_of_oauth_find_the_same_document() {
    let stage = Stage::new().await;
    let mut browser = Browser::default();
    let openid = browser.get(&stage, "/.well-known/openid-configuration").await;
    let oauth = browser.get(&stage, "/.well-known/oauth-authorization-server").await;
    assert_eq!((oauth.status, oauth.json()), (StatusCode::OK, openid.json()));
    assert_eq!(oauth.header("access-control-allow-origin"), "*");
}

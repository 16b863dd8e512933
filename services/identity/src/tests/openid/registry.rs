//! Clients as admins keep them, and consents as citizens do.

use http::{Method, Request, StatusCode, header};
use platform::auth::AuthError;
use serde_json::{Value, json};

use super::{Browser, send, with_token};
use crate::device::DeviceId;
use crate::testing::Stage;

async fn change(stage: &Stage, token: &str, (method, place): (Method, &str), body: Value) -> super::Page {
    let request = Request::builder().method(method).uri(place).header(header::AUTHORIZATION, format!("Bearer {token}"));
    let request = request.header(header::CONTENT_TYPE, "application/json");
    send(stage, request.body(body.to_string().into()).expect("a request")).await
}

#[tokio::test]
async fn only_admins_register_and_a_secret_is_shown_once() {
    let stage = Stage::new().await;
    let citizen = stage.sign_in("0911111111", DeviceId::generate()).await.tokens.access;
    assert_eq!(stage.try_register(&citizen, json!({}), "k").await.status, StatusCode::FORBIDDEN);
    let admin = stage.officer("admin").await;
    let made = stage.try_register(&admin, json!({}), "one").await;
    let replay = stage.try_register(&admin, json!({}), "one").await;
    assert_eq!((made.status, replay.text.as_str()), (StatusCode::CREATED, made.text.as_str()), "the same answer again");
    let other = stage.try_register(&admin, json!({ "first_party": true }), "one").await;
    assert_eq!((other.status.as_u16(), other.json()["code"].as_str()), (422, Some("idempotency-key-reused")));
    let made = made.json();
    let (id, secret) = (made["client_id"].as_str().expect("an id"), made["client_secret"].as_str().expect("a secret"));
    let place = format!("/identity/v1/clients/{id}");
    let shown = with_token(&stage, Method::GET, &place, &admin).await;
    assert!(!shown.text.contains(secret) && shown.json().get("client_secret").is_none(), "{}", shown.text);
    let kept: String = sqlx::query_scalar("SELECT string_agg(k::text, '') || (SELECT string_agg(c::text, '') FROM identity.client c) FROM identity.idempotency_key k")
        .fetch_one(&stage.admin())
        .await
        .expect("rows");
    assert!(!kept.contains(secret), "nothing keeps it as it is");
    let listed = with_token(&stage, Method::GET, "/identity/v1/clients?limit=1", &admin).await.json();
    assert_eq!(listed["items"][0]["client_id"], id);
    for (changed, field) in [
        (json!({ "redirect_uris": ["http://tickets.example/cb"] }), "redirect_uris"),
        (json!({ "scopes": ["fees:write"] }), "scopes"),
        (json!({ "grant_types": ["client_credentials"], "access": "public" }), "grant_types"),
    ] {
        let refused = stage.try_register(&admin, changed, field).await;
        assert_eq!((refused.status.as_u16(), refused.json()["field"].as_str()), (422, Some(field)));
    }
    assert_eq!(stage.count("audit WHERE action = 'client.register'").await, 1);
}

#[tokio::test]
async fn a_client_is_changed_renewed_and_disabled() {
    let stage = Stage::new().await;
    let agency = json!({
        "grant_types": ["client_credentials"], "scopes": ["fees:write"], "redirect_uris": [],
        "post_logout_redirect_uris": [], "agency": "UBND-HUE",
    });
    let mut app = stage.register(agency).await;
    let admin = stage.officer("admin").await;
    let place = format!("/identity/v1/clients/{}", app.id);
    let edit = json!({ "name": { "vi": "Một cửa", "en": "One stop" } });
    let changed = change(&stage, &admin, (Method::PATCH, &place), edit).await;
    assert_eq!((changed.status, changed.header("etag")), (StatusCode::OK, "\"2\""), "{}", changed.text);
    let bad = change(&stage, &admin, (Method::PATCH, &place), json!({ "scopes": ["openid"] })).await;
    assert_eq!(bad.status, StatusCode::UNPROCESSABLE_ENTITY);
    let grant = [("grant_type", "client_credentials")];
    let token = async |app: &super::App| {
        let given = app.post(&stage, "/oauth2/token", &grant).await.json();
        given["access_token"].as_str().unwrap_or_default().to_owned()
    };
    let old = token(&app).await;
    stage.principal(&old).await;
    let renewed = change(&stage, &admin, (Method::PUT, &format!("{place}/secret")), Value::Null).await;
    let secret = renewed.json()["client_secret"].as_str().map(str::to_owned);
    assert_eq!(app.post(&stage, "/oauth2/token", &grant).await.error().1, "invalid_client");
    assert_eq!(stage.context.verifier.verify(&old).await, Err(AuthError::Stale));
    app.secret = secret;
    let new = token(&app).await;
    stage.principal(&new).await;
    for _ in 0..2 {
        let gone = change(&stage, &admin, (Method::DELETE, &place), Value::Null).await;
        assert_eq!(gone.status, StatusCode::NO_CONTENT);
    }
    assert_eq!(app.post(&stage, "/oauth2/token", &grant).await.error().1, "invalid_client");
    assert_eq!(stage.context.verifier.verify(&new).await, Err(AuthError::Stale));
    let late = change(&stage, &admin, (Method::PATCH, &place), json!({})).await;
    assert_eq!((late.status.as_u16(), late.json()["code"].as_str()), (409, Some("client-disabled")));
}

#[tokio::test]
async fn a_citizen_sees_what_apps_know_and_takes_it_back() {
    let stage = Stage::new().await;
    let app = stage.register(json!({})).await;
    let mut browser = Browser::default();
    let code = browser.code(&stage, &app.ask(&[("scope", "openid phone offline_access")])).await;
    let given = app.exchange(&stage, &code).await.json();
    let unused = browser.get(&stage, &app.ask(&[("scope", "openid")])).await.back().remove("code").expect("a code");
    let phone = stage.sign_in(super::PHONE, DeviceId::generate()).await.tokens.access;
    let listed = with_token(&stage, Method::GET, "/identity/v1/me/consents", &phone).await.json();
    let item = &listed["items"][0];
    assert_eq!((&item["client_id"], &item["scopes"]), (&json!(app.id), &json!(["openid", "phone", "offline_access"])));
    assert_eq!(item["name"]["vi"], "Vé tham quan");
    let place = format!("/identity/v1/me/consents/{}", app.id);
    let stranger = stage.sign_in("0922222222", DeviceId::generate()).await.tokens.access;
    assert_eq!(with_token(&stage, Method::DELETE, &place, &stranger).await.status, StatusCode::NOT_FOUND);
    assert_eq!(with_token(&stage, Method::DELETE, &place, &phone).await.status, StatusCode::NO_CONTENT);
    assert_eq!(with_token(&stage, Method::DELETE, &place, &phone).await.status, StatusCode::NOT_FOUND);
    let access = given["access_token"].as_str().expect("a token");
    assert_eq!(app.introspect(&stage, access).await["active"], false);
    let refresh = given["refresh_token"].as_str().expect("a token");
    assert_eq!(app.refresh(&stage, refresh).await.error().1, "invalid_grant");
    assert_eq!(app.exchange(&stage, &unused).await.error().1, "invalid_grant", "a code that waits gives nothing");
    let page = browser.get(&stage, &app.ask(&[])).await;
    assert!(page.text.contains("Allow access"), "it asks again: {}", page.text);
    assert_eq!(stage.count("audit WHERE action IN ('consent.give', 'consent.withdraw')").await, 2);
}

#[tokio::test]
async fn a_page_of_the_citys_own_sees_the_citizen_and_asks_for_no_consent() {
    let stage = Stage::new().await;
    let app = stage.register(json!({ "first_party": true })).await;
    let mut browser = Browser::default();
    let page = browser.get(&stage, &app.ask(&[])).await;
    let code = browser.sign_in(&stage, &page, "0987654321").await.back().remove("code").expect("a code at once");
    let given = app.exchange(&stage, &code).await.json();
    let principal = stage.principal(given["access_token"].as_str().expect("a token")).await;
    assert!(principal.has_role("admin"), "and its tokens say the roles: {:?}", principal.roles);
    assert_eq!(stage.count("consent").await, 0);
}

//! The hosted pages: sign-in, consent, languages, forms of others, signing out.

use chrono::TimeDelta;
use http::{Method, StatusCode, header};
use serde_json::json;

use super::{Browser, CALLBACK, ISSUER, PHONE, claims, pairs, send, with_token};
use crate::testing::Stage;

#[tokio::test]
async fn a_citizen_signs_in_agrees_and_comes_back_with_a_code() {
    let stage = Stage::new().await;
    let app = stage.register(json!({})).await;
    let mut browser = Browser::default();
    let page = browser.get(&stage, &app.ask(&[("acr_values", "x"), ("unknown", "y")])).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(
        page.text.contains("Sign in to use Tickets") && page.text.contains("<label for=\"phone\">"),
        "{}",
        page.text
    );
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-") && !policy.contains("unsafe"), "{policy}");
    assert!(policy.contains("form-action 'self' https://tickets.example;"), "{policy}");
    assert!(!page.text.contains("<script"), "no script at all");
    let page = browser.sign_in(&stage, &page, PHONE).await;
    assert!(page.text.contains("to see your telephone number") && page.text.contains("+84******678"), "{}", page.text);
    let back = browser.allow(&stage, &page).await.back();
    assert_eq!((back["state"].as_str(), back["iss"].as_str()), ("xyz", ISSUER));

    // Signed in and agreed: the next time nothing is asked.
    let again = browser.get(&stage, &app.ask(&[("prompt", "none")])).await.back();
    assert!(again.contains_key("code") && again["code"] != back["code"]);
    let wider = browser.get(&stage, &app.ask(&[("scope", "openid offline_access")])).await;
    assert!(wider.text.contains("to keep this access"), "a new scope is asked for: {}", wider.text);
    let none = browser.get(&stage, &app.ask(&[("scope", "openid offline_access"), ("prompt", "none")])).await.back();
    assert_eq!(none["error"], "consent_required");
    let denied =
        browser.post(&stage, "/oauth2/sign-in", &[("ticket", &wider.ticket()), ("action", "deny")]).await.back();
    assert_eq!(
        (denied["error"].as_str(), denied["state"].as_str(), denied["iss"].as_str()),
        ("access_denied", "xyz", ISSUER)
    );
}

#[tokio::test]
async fn a_sign_in_is_asked_for_again_when_the_client_wishes() {
    let stage = Stage::new().await;
    let app = stage.register(json!({})).await;
    let mut browser = Browser::default();
    let none = browser.get(&stage, &app.ask(&[("prompt", "none")])).await.back();
    assert_eq!(none["error"], "login_required");
    let code = browser.code(&stage, &app.ask(&[])).await;
    let first = app.exchange(&stage, &code).await.json();
    stage.clock.advance(TimeDelta::seconds(120));
    for wish in [("prompt", "login"), ("max_age", "60"), ("prompt", "select_account")] {
        let page = browser.get(&stage, &app.ask(&[wish])).await;
        assert!(page.text.contains("name=\"phone\""), "{wish:?}");
    }
    let late = browser.get(&stage, &app.ask(&[("prompt", "none"), ("max_age", "60")])).await.back();
    assert_eq!(late["error"], "login_required");
    let page = browser.get(&stage, &app.ask(&[("prompt", "login"), ("max_age", "60")])).await;
    let back = browser.sign_in(&stage, &page, PHONE).await.back();
    let second = app.exchange(&stage, &back["code"]).await.json();
    let time = |tokens: &serde_json::Value| claims(tokens["id_token"].as_str().expect("a token"))["auth_time"].as_i64();
    let between = time(&second).zip(time(&first)).map(|(later, earlier)| later - earlier);
    assert!(between.is_some_and(|seconds| seconds >= 120), "{between:?}");
    // A hint that means somebody else is no sign-in.
    let hint = first["id_token"].as_str().expect("a token");
    let same = browser.get(&stage, &app.ask(&[("prompt", "none"), ("id_token_hint", hint)])).await.back();
    assert!(same.contains_key("code"));
    let mut other = Browser::default();
    let page = other.get(&stage, &app.ask(&[])).await;
    let page = other.sign_in(&stage, &page, "0933333333").await;
    other.allow(&stage, &page).await.back();
    let foreign = other.get(&stage, &app.ask(&[("prompt", "none"), ("id_token_hint", hint)])).await.back();
    assert_eq!(foreign["error"], "login_required");
}

#[tokio::test]
async fn a_wrong_code_is_counted_and_said() {
    let stage = Stage::new().await;
    let app = stage.register(json!({})).await;
    let mut browser = Browser::default();
    let page = browser.get(&stage, &app.ask(&[])).await;
    let bad = browser
        .post(&stage, "/oauth2/sign-in", &[("ticket", &page.ticket()), ("action", "phone"), ("phone", "12")])
        .await;
    assert_eq!(bad.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(bad.text.contains("role=\"alert\"") && bad.text.contains("aria-invalid=\"true\""), "{}", bad.text);
    let asked = browser
        .post(&stage, "/oauth2/sign-in", &[("ticket", &page.ticket()), ("action", "phone"), ("phone", PHONE)])
        .await;
    let right = stage.newest_code().await;
    let wrong = if right.ends_with('0') { format!("{}1", &right[..5]) } else { format!("{}0", &right[..5]) };
    for left in (0..5).rev() {
        let fields = [("ticket", asked.ticket()), ("action", "code".to_owned()), ("code", wrong.clone())];
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let page = browser.post(&stage, "/oauth2/sign-in", &fields).await;
        assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(page.text.contains(&format!("{left} tries are left")), "{}", page.text);
    }
    let dead = browser
        .post(&stage, "/oauth2/sign-in", &[("ticket", &asked.ticket()), ("action", "code"), ("code", &right)])
        .await;
    assert!(dead.text.contains("name=\"phone\"") && dead.status == StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(stage.count("session WHERE client = 'browser'").await, 0);
}

#[tokio::test]
async fn pages_speak_both_languages() {
    let stage = Stage::new().await;
    let app = stage.register(json!({})).await;
    let mut browser = Browser::default();
    let page = browser.get(&stage, &app.ask(&[("ui_locales", "vi")])).await;
    assert!(page.text.contains("<html lang=\"vi\">") && page.text.contains("Vé tham quan"), "{}", page.text);
    let page = browser.post(&stage, "/oauth2/sign-in", &[("ticket", &page.ticket()), ("action", "en")]).await;
    assert!(page.text.contains("<html lang=\"en\">") && page.text.contains("Telephone number"));
    let page = browser
        .post(&stage, "/oauth2/sign-in", &[("ticket", &page.ticket()), ("action", "phone"), ("phone", PHONE)])
        .await;
    let page = browser.post(&stage, "/oauth2/sign-in", &[("ticket", &page.ticket()), ("action", "vi")]).await;
    assert!(page.text.contains("Mã 6 chữ số"), "the step stays: {}", page.text);
}

#[tokio::test]
async fn a_form_of_another_browser_or_another_site_is_refused() {
    let stage = Stage::new().await;
    let app = stage.register(json!({})).await;
    let (mut victim, mut attacker) = (Browser::default(), Browser::default());
    victim.code(&stage, &app.ask(&[])).await;
    let page = attacker.get(&stage, &app.ask(&[("scope", "openid offline_access")])).await;
    let forged = victim.post(&stage, "/oauth2/sign-in", &[("ticket", &page.ticket()), ("action", "allow")]).await;
    assert_eq!(forged.status, StatusCode::BAD_REQUEST, "{}", forged.text);
    let bare =
        Browser::default().post(&stage, "/oauth2/sign-in", &[("ticket", &page.ticket()), ("action", "allow")]).await;
    assert_eq!(bare.status, StatusCode::BAD_REQUEST);
    let none = attacker.post(&stage, "/oauth2/sign-in", &[("action", "allow")]).await;
    assert_eq!(none.status, StatusCode::BAD_REQUEST);
    stage.clock.advance(TimeDelta::minutes(31));
    let late = attacker.post(&stage, "/oauth2/sign-in", &[("ticket", &page.ticket()), ("action", "vi")]).await;
    assert_eq!(late.status, StatusCode::BAD_REQUEST, "a ticket ends");
}

#[tokio::test]
async fn what_a_client_asks_wrongly_stays_with_us_or_goes_back_to_it() {
    let stage = Stage::new().await;
    let app = stage.register(json!({})).await;
    let mut browser = Browser::default();
    for changed in [
        [("client_id", "nobody")],
        [("client_id", "018f3a2b-1111-7222-8333-944455556666")],
        [("redirect_uri", "https://tickets.example/cb/")],
        [("redirect_uri", "https://evil.example/cb")],
        [("redirect_uri", "")],
    ] {
        let page = browser.get(&stage, &app.ask(&changed)).await;
        assert_eq!(page.status, StatusCode::BAD_REQUEST, "{changed:?}");
        assert!(page.headers.get(header::LOCATION).is_none() && page.text.contains("role=\"alert\""));
    }
    for (changed, error) in [
        ([("code_challenge_method", "plain")], "invalid_request"),
        ([("code_challenge", "")], "invalid_request"),
        ([("response_type", "token")], "unsupported_response_type"),
        ([("scope", "fees:write")], "invalid_scope"),
        ([("request", "eyJhbGciOiJub25lIn0.e30.")], "request_not_supported"),
        ([("prompt", "none login")], "invalid_request"),
    ] {
        let back = browser.get(&stage, &app.ask(&changed)).await.back();
        assert_eq!((back["error"].as_str(), back["state"].as_str(), back["iss"].as_str()), (error, "xyz", ISSUER));
    }
    // By POST the browser is sent to the same request by GET, with which its cookies come.
    let ask = app.ask(&[]);
    let fields = pairs(ask.split_once('?').expect("a query").1);
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let sent_on = browser.post(&stage, "/oauth2/authorize", &fields).await;
    assert_eq!(sent_on.status, StatusCode::SEE_OTHER);
    let page = browser.get(&stage, sent_on.header("location")).await;
    assert!(page.text.contains("name=\"phone\""));
}

#[tokio::test]
async fn a_citizen_signs_out_of_the_browser() {
    let stage = Stage::new().await;
    let app = stage.register(json!({})).await;
    let mut browser = Browser::default();
    let code = browser.code(&stage, &app.ask(&[])).await;
    let tokens = app.exchange(&stage, &code).await.json();
    let hint = tokens["id_token"].as_str().expect("an ID token");
    let bye = "https://tickets.example/bye";
    let end = |fields: &[(&str, &str)]| format!("/oauth2/end-session?{}", super::encode(fields));

    let foreign = browser.get(&stage, &end(&[("id_token_hint", hint), ("post_logout_redirect_uri", CALLBACK)])).await;
    assert_eq!(foreign.status, StatusCode::BAD_REQUEST, "not registered for that");
    let asked =
        browser.get(&stage, &end(&[("client_id", &app.id), ("post_logout_redirect_uri", bye), ("state", "s")])).await;
    assert!(asked.status == StatusCode::OK && asked.text.contains("Do you want to sign out"), "{}", asked.text);
    assert!(
        browser.get(&stage, &app.ask(&[("prompt", "none")])).await.back().contains_key("code"),
        "asking ends nothing"
    );
    let done =
        browser.post(&stage, "/oauth2/end-session", &[("ticket", &asked.ticket()), ("action", "sign-out")]).await;
    assert_eq!((done.status, done.header("location")), (StatusCode::SEE_OTHER, "https://tickets.example/bye?state=s"));
    let none = browser.get(&stage, &app.ask(&[("prompt", "none")])).await.back();
    assert_eq!(none["error"], "login_required");
    let refresh = app.refresh(&stage, tokens["refresh_token"].as_str().expect("a token")).await;
    assert_eq!(refresh.error(), (400, "invalid_grant".to_owned()), "what was granted for the sign-in ends with it");

    // With a hint it is done at once, and what was granted for longer stays.
    let page = browser.get(&stage, &app.ask(&[("scope", "openid offline_access")])).await;
    let page = browser.sign_in(&stage, &page, PHONE).await;
    let code = browser.allow(&stage, &page).await.back().remove("code").expect("a code");
    let tokens = app.exchange(&stage, &code).await.json();
    let hint = tokens["id_token"].as_str().expect("an ID token");
    let done = browser.get(&stage, &end(&[("id_token_hint", hint), ("post_logout_redirect_uri", bye)])).await;
    assert_eq!((done.status, done.header("location")), (StatusCode::SEE_OTHER, bye));
    let refresh = app.refresh(&stage, tokens["refresh_token"].as_str().expect("a token")).await;
    assert_eq!(refresh.status, StatusCode::OK, "{}", refresh.text);
    let out = browser.get(&stage, "/oauth2/end-session").await;
    assert!(out.text.contains("Signed out"), "nobody is there: {}", out.text);
}

#[tokio::test]
async fn a_browser_is_a_device_that_can_be_signed_out_from_afar() {
    let stage = Stage::new().await;
    let app = stage.register(json!({})).await;
    let mut browser = Browser::default();
    let code = browser.code(&stage, &app.ask(&[])).await;
    let tokens = app.exchange(&stage, &code).await.json();
    let phone = stage.sign_in(PHONE, crate::device::DeviceId::generate()).await;
    let listed = with_token(&stage, Method::GET, "/identity/v1/me/devices", &phone.tokens.access).await.json();
    let items = listed["items"].as_array().expect("devices");
    let web = items.iter().find(|item| item["name"] == "Web browser").expect("the browser is listed");
    assert_eq!(web["signed_in"], true);
    let gone = with_token(
        &stage,
        Method::DELETE,
        &format!("/identity/v1/me/devices/{}", web["id"].as_str().expect("an id")),
        &phone.tokens.access,
    )
    .await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    let none = browser.get(&stage, &app.ask(&[("prompt", "none")])).await.back();
    assert_eq!(none["error"], "login_required");
    let refresh = app.refresh(&stage, tokens["refresh_token"].as_str().expect("a token")).await;
    assert_eq!(refresh.error().1, "invalid_grant");
    // The cookie is no app's refresh token.
    let mut other = Browser::default();
    other.code(&stage, &app.ask(&[])).await;
    let cookie = other.cookies["trangtien-session"].clone();
    let body = json!({ "refresh_token": cookie }).to_string();
    let request = http::Request::builder().method(Method::POST).uri("/identity/v1/sessions/refresh");
    let request = request.header(header::CONTENT_TYPE, "application/json").body(body.into()).expect("a request");
    assert_eq!(send(&stage, request).await.status, StatusCode::UNAUTHORIZED);
}

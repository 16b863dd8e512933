//! The endpoints of programs: tokens, introspection, revocation, userinfo, and what they refuse.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::TimeDelta;
use http::{Method, Request, StatusCode, header};
use platform::auth::AuthError;
use serde_json::{Value, json};

use super::{App, Browser, CALLBACK, ISSUER, VERIFIER, claims, encode, program, send, with_token};
use crate::testing::Stage;

async fn tokens(stage: &Stage, app: &App, changed: &[(&str, &str)]) -> Value {
    let code = Browser::default().code(stage, &app.ask(changed)).await;
    let answer = app.exchange(stage, &code).await;
    assert_eq!((answer.status, answer.header("cache-control")), (StatusCode::OK, "no-store"), "{}", answer.text);
    answer.json()
}

fn text<'a>(tokens: &'a Value, name: &str) -> &'a str {
    tokens[name].as_str().unwrap_or_else(|| panic!("{name} in {tokens}"))
}

#[tokio::test]
async fn a_code_gives_tokens_that_tell_the_client_and_nobody_else() {
    let stage = Stage::new().await;
    let app = stage.register(json!({})).await;
    let given = tokens(&stage, &app, &[]).await;
    assert_eq!((text(&given, "token_type"), text(&given, "scope")), ("Bearer", "openid profile phone"));
    let id = claims(text(&given, "id_token"));
    assert_eq!((text(&id, "iss"), text(&id, "aud"), text(&id, "nonce")), (ISSUER, app.id.as_str(), "n-0S6"));
    assert_eq!((text(&id, "acr"), &id["amr"]), ("urn:trangtien:acr:otp", &json!(["otp", "sms"])));
    let header: Value = serde_json::from_slice(
        &URL_SAFE_NO_PAD.decode(text(&given, "id_token").split('.').next().unwrap_or_default()).expect("base64url"),
    )
    .expect("JSON");
    assert_eq!(text(&header, "alg"), "RS256");
    let access = text(&given, "access_token");
    assert_eq!(claims(access)["sub"], id["sub"]);
    let citizen = stage.sign_in(super::PHONE, crate::device::DeviceId::generate()).await.citizen;
    assert_ne!(text(&id, "sub"), citizen.id.to_string(), "the subject is the client's own");
    // It opens nothing of the city's.
    assert_eq!(stage.context.verifier.verify(access).await, Err(AuthError::Invalid));
    let me = with_token(&stage, Method::GET, "/identity/v1/me", access).await;
    assert_eq!(me.status, StatusCode::UNAUTHORIZED);
    let info = with_token(&stage, Method::GET, "/oauth2/userinfo", access).await.json();
    let known =
        json!({ "sub": id["sub"], "locale": "en", "phone_number": "+84912345678", "phone_number_verified": true });
    assert_eq!(info, known);

    // Another sector, another subject; the same sector, the same; EdDSA if the client was registered so.
    let other = stage
        .register(
            json!({ "redirect_uris": ["https://other.example/cb", CALLBACK], "id_token_signed_response_alg": "EdDSA" }),
        )
        .await;
    let elsewhere = tokens(&stage, &other, &[("scope", "openid")]).await;
    assert_ne!(claims(text(&elsewhere, "id_token"))["sub"], id["sub"]);
    assert!(
        text(&elsewhere, "id_token").starts_with(&URL_SAFE_NO_PAD.encode("{\"typ\":\"JWT\",\"alg\":\"EdDSA\"")[..30])
    );
    let sister = stage.register(json!({ "access": "public" })).await;
    let same = tokens(&stage, &sister, &[]).await;
    assert_eq!(claims(text(&same, "id_token"))["sub"], id["sub"]);
}

#[tokio::test]
async fn a_code_is_good_once_and_its_replay_ends_what_it_gave() {
    let stage = Stage::new().await;
    let app = stage.register(json!({})).await;
    let mut browser = Browser::default();
    let code = browser.code(&stage, &app.ask(&[])).await;
    let (one, other) = tokio::join!(app.exchange(&stage, &code), app.exchange(&stage, &code));
    let (good, bad) = if one.status == StatusCode::OK { (one, other) } else { (other, one) };
    assert_eq!((good.status, bad.error()), (StatusCode::OK, (400, "invalid_grant".to_owned())));
    let given = good.json();
    assert_eq!(app.introspect(&stage, text(&given, "access_token")).await, json!({ "active": false }));
    assert_eq!(app.refresh(&stage, text(&given, "refresh_token")).await.error().1, "invalid_grant");
    assert_eq!(stage.count("session WHERE end_reason = 'code-replayed'").await, 1);

    let code = browser.get(&stage, &app.ask(&[])).await.back().remove("code").expect("a code");
    stage.clock.advance(TimeDelta::seconds(61));
    assert_eq!(app.exchange(&stage, &code).await.error().1, "invalid_grant", "a code lives a minute");
}

#[tokio::test]
async fn a_code_needs_its_verifier_its_redirect_uri_and_its_client() {
    let stage = Stage::new().await;
    let app = stage.register(json!({})).await;
    let mut browser = Browser::default();
    browser.code(&stage, &app.ask(&[])).await;
    let fresh =
        async |browser: &mut Browser| browser.get(&stage, &app.ask(&[])).await.back().remove("code").expect("a code");
    let long = "x".repeat(43);
    for (name, value) in [
        ("code_verifier", long.as_str()),
        ("code_verifier", &URL_SAFE_NO_PAD.encode(crate::openid::client::sha256(VERIFIER.as_bytes()))),
        ("redirect_uri", "https://tickets.example/cb/"),
    ] {
        let code = fresh(&mut browser).await;
        let mut fields = vec![("grant_type", "authorization_code"), ("code", code.as_str())];
        fields.extend([("redirect_uri", CALLBACK), ("code_verifier", VERIFIER)].iter().filter(|(own, _)| *own != name));
        fields.push((name, value));
        assert_eq!(
            app.post(&stage, "/oauth2/token", &fields).await.error(),
            (400, "invalid_grant".to_owned()),
            "{name}"
        );
        assert_eq!(app.exchange(&stage, &code).await.error().1, "invalid_grant", "there is no second try");
    }
    let thief = stage.register(json!({})).await;
    let code = fresh(&mut browser).await;
    assert_eq!(thief.exchange(&stage, &code).await.error().1, "invalid_grant");
    assert_eq!(app.exchange(&stage, &code).await.status, StatusCode::OK, "another client uses nothing up");
    let missing = app.post(&stage, "/oauth2/token", &[("grant_type", "authorization_code"), ("code", "x")]).await;
    assert_eq!(missing.error(), (400, "invalid_request".to_owned()));
}

#[tokio::test]
async fn refresh_tokens_rotate_and_a_replay_ends_the_family() {
    let stage = Stage::new().await;
    let app = stage.register(json!({})).await;
    let first = tokens(&stage, &app, &[]).await;
    let second = app.refresh(&stage, text(&first, "refresh_token")).await.json();
    let id = claims(text(&second, "id_token"));
    assert!(id.get("nonce").is_none() && id["sub"] == claims(text(&first, "id_token"))["sub"]);
    let narrow =
        [("grant_type", "refresh_token"), ("refresh_token", text(&second, "refresh_token")), ("scope", "openid")];
    let third = app.post(&stage, "/oauth2/token", &narrow).await.json();
    assert_eq!((text(&third, "scope"), text(&claims(text(&third, "access_token")), "scope")), ("openid", "openid"));
    let thief = stage.register(json!({})).await;
    assert_eq!(thief.refresh(&stage, text(&third, "refresh_token")).await.error().1, "invalid_grant");
    let wide = [
        ("grant_type", "refresh_token"),
        ("refresh_token", text(&third, "refresh_token")),
        ("scope", "openid offline_access"),
    ];
    assert_eq!(app.post(&stage, "/oauth2/token", &wide).await.error().1, "invalid_scope");
    stage.clock.advance(TimeDelta::seconds(11));
    let fourth = app.refresh(&stage, text(&third, "refresh_token")).await.json();
    assert_ne!(fourth["refresh_token"], third["refresh_token"], "what was refused used nothing up");
    assert_eq!(app.refresh(&stage, text(&first, "refresh_token")).await.error(), (400, "invalid_grant".to_owned()));
    assert_eq!(app.refresh(&stage, text(&fourth, "refresh_token")).await.error().1, "invalid_grant");
    assert_eq!(app.introspect(&stage, text(&third, "access_token")).await["active"], false);
}

#[tokio::test]
async fn who_a_client_is_is_proved() {
    let stage = Stage::new().await;
    let app = stage.register(json!({})).await;
    let refused = (401, "invalid_client".to_owned());
    for (id, secret) in [(app.id.as_str(), Some("wrong")), (&app.id, None), ("nobody", Some("x"))] {
        let mut fields = vec![("grant_type", "client_credentials"), ("client_id", id)];
        fields.extend(secret.map(|secret| ("client_secret", secret)));
        let answer = program(&stage, "/oauth2/token", &fields).await;
        assert!(answer.header("www-authenticate").starts_with("Basic"), "{}", answer.text);
        assert_eq!(answer.error(), refused, "{id}");
    }
    // By the header too.
    let code = Browser::default().code(&stage, &app.ask(&[])).await;
    let secret = app.secret.clone().expect("a secret");
    let request = Request::builder().method(Method::POST).uri("/oauth2/token");
    let request =
        request.header(header::AUTHORIZATION, format!("Basic {}", STANDARD.encode(format!("{}:{secret}", app.id))));
    let request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    let body = encode(&[
        ("grant_type", "authorization_code"),
        ("code", &code),
        ("redirect_uri", CALLBACK),
        ("code_verifier", VERIFIER),
    ]);
    assert_eq!(send(&stage, request.body(body.into()).expect("a request")).await.status, StatusCode::OK);
    let public = stage.register(json!({ "access": "public" })).await;
    let guess =
        [("grant_type", "refresh_token"), ("client_id", &*public.id), ("client_secret", "x"), ("refresh_token", "y")];
    assert_eq!(program(&stage, "/oauth2/token", &guess).await.error(), refused, "a public client has no secret");
    let asks = program(&stage, "/oauth2/introspect", &[("client_id", &public.id), ("token", "x")]).await;
    assert_eq!(asks.error(), refused, "a public client asks nothing");
    let odd = app.post(&stage, "/oauth2/token", &[("grant_type", "password")]).await;
    assert_eq!(odd.error(), (400, "unsupported_grant_type".to_owned()));
    let not_own = app.post(&stage, "/oauth2/token", &[("grant_type", "client_credentials")]).await;
    assert_eq!(not_own.error(), (400, "unauthorized_client".to_owned()));
}

#[tokio::test]
async fn pages_of_other_origins_may_be_clients() {
    let stage = Stage::new().await;
    let app = stage.register(json!({ "access": "public" })).await;
    for place in ["/oauth2/token", "/oauth2/userinfo", "/oauth2/revoke"] {
        let asked =
            Request::builder().method(Method::OPTIONS).uri(place).body(String::new().into()).expect("a request");
        let asked = send(&stage, asked).await;
        assert_eq!(
            (asked.status, asked.header("access-control-allow-origin")),
            (StatusCode::NO_CONTENT, "*"),
            "{place}"
        );
    }
    let code = Browser::default().code(&stage, &app.ask(&[])).await;
    let answer = app.exchange(&stage, &code).await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (StatusCode::OK, "*"));
    assert_eq!(app.exchange(&stage, &code).await.header("access-control-allow-origin"), "*", "refusals too");
    let page = Browser::default().get(&stage, &app.ask(&[])).await;
    assert_eq!(page.header("access-control-allow-origin"), "", "never the pages, which read cookies");
}

fn agency() -> Value {
    json!({
        "grant_types": ["client_credentials"], "scopes": ["fees:write"], "redirect_uris": [],
        "post_logout_redirect_uris": [], "agency": "UBND-HUE",
    })
}

#[tokio::test]
async fn a_client_gets_a_token_for_itself_with_scopes_that_it_was_granted() {
    let stage = Stage::new().await;
    let app = stage.register(agency()).await;
    let fields = [("grant_type", "client_credentials"), ("scope", "fees:write")];
    let given = app.post(&stage, "/oauth2/token", &fields).await.json();
    assert_eq!((text(&given, "scope"), given.get("refresh_token"), given.get("id_token")), ("fees:write", None, None));
    let access = text(&given, "access_token");
    let principal = stage.principal(access).await;
    assert!(principal.is_client && principal.agency.as_deref() == Some("UBND-HUE") && principal.roles.is_empty());
    // It is no citizen's.
    for place in ["/identity/v1/me", "/identity/v1/me/devices", "/identity/v1/clients"] {
        assert_eq!(with_token(&stage, Method::GET, place, access).await.status, StatusCode::FORBIDDEN, "{place}");
    }
    assert_eq!(with_token(&stage, Method::GET, "/oauth2/userinfo", access).await.error().1, "insufficient_scope");
    for scope in ["tokens:introspect", "fees:write tokens:introspect", "fees:write unknown", "openid"] {
        let fields = [("grant_type", "client_credentials"), ("scope", scope)];
        assert_eq!(
            app.post(&stage, "/oauth2/token", &fields).await.error(),
            (400, "invalid_scope".to_owned()),
            "{scope}"
        );
    }
    assert_eq!(app.introspect(&stage, access).await["active"], true);
    assert_eq!(app.post(&stage, "/oauth2/revoke", &[("token", access)]).await.status, StatusCode::OK);
    assert_eq!(app.introspect(&stage, access).await["active"], false);
    assert_eq!(stage.context.verifier.verify(access).await, Err(AuthError::Revoked));
    assert_eq!(stage.count("audit WHERE action = 'session.end' AND reason = 'token-revoked'").await, 1);
}

#[tokio::test]
async fn a_client_gives_its_own_token_back_to_all_replicas_at_once() {
    let stage = Stage::new().await;
    let app = stage.register(agency()).await;
    let fields = [("grant_type", "client_credentials"), ("scope", "fees:write")];
    let given = app.post(&stage, "/oauth2/token", &fields).await.json();
    let access = text(&given, "access_token");
    let replicas = [stage.identity.clone(), stage.replica(), stage.replica()];
    let client = stage.identity.client(&app.id).await.expect("read").expect("registered");
    let back = replicas.iter().map(|replica| replica.revoke_token(&client, access, None));
    let done = futures::future::join_all(back).await;
    assert!(done.iter().all(Result::is_ok), "{done:?}");
    assert_eq!(stage.count("revocation").await, 1);
    assert_eq!(stage.count("audit WHERE action = 'session.end' AND reason = 'token-revoked'").await, 1);
}

#[tokio::test]
async fn a_client_learns_of_its_own_tokens_and_ends_them() {
    let stage = Stage::new().await;
    let app = stage.register(json!({})).await;
    let other = stage.register(json!({})).await;
    let mut all = agency();
    all["scopes"] = json!(["tokens:introspect"]);
    let gateway = stage.register(all).await;
    let given = tokens(&stage, &app, &[]).await;
    let (access, refresh) = (text(&given, "access_token"), text(&given, "refresh_token"));
    let own = app.introspect(&stage, access).await;
    assert_eq!(
        (&own["active"], text(&own, "scope"), text(&own, "client_id")),
        (&json!(true), "openid profile phone", app.id.as_str())
    );
    let held = app.introspect(&stage, refresh).await;
    assert_eq!((&held["active"], &held["sub"], &held["iss"]), (&json!(true), &own["sub"], &json!(ISSUER)));
    assert_eq!(gateway.introspect(&stage, access).await["active"], true);
    for token in [access, refresh] {
        assert_eq!(other.introspect(&stage, token).await, json!({ "active": false }));
        assert_eq!(other.post(&stage, "/oauth2/revoke", &[("token", token)]).await.error().1, "invalid_grant");
    }
    for token in ["", "x", "a.b.c", &format!("{access}x"), text(&given, "id_token")] {
        let said = app.post(&stage, "/oauth2/introspect", &[("token", token)]).await;
        assert!(said.status == StatusCode::BAD_REQUEST || said.json() == json!({ "active": false }), "{token}");
    }
    assert_eq!(app.post(&stage, "/oauth2/revoke", &[("token", "nonsense")]).await.status, StatusCode::OK);
    assert_eq!(app.introspect(&stage, access).await["active"], true, "others end nothing");
    let back = app.post(&stage, "/oauth2/revoke", &[("token", refresh), ("token_type_hint", "refresh_token")]).await;
    assert_eq!(back.status, StatusCode::OK);
    for token in [access, refresh] {
        assert_eq!(app.introspect(&stage, token).await, json!({ "active": false }));
    }
    assert_eq!(
        with_token(&stage, Method::GET, "/oauth2/userinfo", access).await.error(),
        (401, "invalid_token".to_owned())
    );
    assert_eq!(app.refresh(&stage, refresh).await.error().1, "invalid_grant");
}

#[tokio::test]
async fn tokens_of_other_makers_and_forms_are_not_good() {
    let stage = Stage::new().await;
    let app = stage.register(json!({})).await;
    let given = tokens(&stage, &app, &[]).await;
    let access = text(&given, "access_token");
    let mut parts = access.split('.');
    let (_, body, signature) = (parts.next(), parts.next().expect("a body"), parts.next().expect("a signature"));
    let kid = claims_of_header(access)["kid"].clone();
    let with =
        |header: Value, signature: &str| format!("{}.{body}.{signature}", URL_SAFE_NO_PAD.encode(header.to_string()));
    let forged = [
        with(json!({ "alg": "none", "typ": "at+jwt", "kid": kid }), ""),
        with(json!({ "alg": "HS256", "typ": "at+jwt", "kid": kid }), signature),
        with(json!({ "alg": "RS256", "typ": "at+jwt", "kid": kid }), signature),
        with(json!({ "alg": "EdDSA", "typ": "JWT", "kid": kid }), signature),
        text(&given, "id_token").to_owned(),
    ];
    for token in &forged {
        let answer = with_token(&stage, Method::GET, "/oauth2/userinfo", token).await;
        assert_eq!(answer.error(), (401, "invalid_token".to_owned()), "{token}");
        assert_eq!(app.introspect(&stage, token).await, json!({ "active": false }));
    }
    let app_token = stage.sign_in("0977777777", crate::device::DeviceId::generate()).await.tokens.access;
    let scopeless = with_token(&stage, Method::GET, "/oauth2/userinfo", &app_token).await;
    assert_eq!(scopeless.error(), (403, "insufficient_scope".to_owned()));
    stage.clock.advance(TimeDelta::seconds(606));
    assert_eq!(with_token(&stage, Method::GET, "/oauth2/userinfo", access).await.error().1, "invalid_token", "expired");
    let bare =
        send(&stage, Request::builder().uri("/oauth2/userinfo").body(String::new().into()).expect("a request")).await;
    assert_eq!((bare.status, bare.header("www-authenticate")), (StatusCode::UNAUTHORIZED, "Bearer"));
}

fn claims_of_header(token: &str) -> Value {
    let first = token.split('.').next().expect("three parts");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(first).expect("base64url")).expect("JSON")
}

//! Signing in by VNeID: who is linked, who is not; whose visit it is; what VNeID's and our own troubles leave behind.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use http::{Method, StatusCode};
use proto::identity::v1::{DeviceAdded, SessionStarted, TierChanged, VneidLinked};
use serde_json::{Value, json};
use url::Url;

use super::ekyc::Scene;
use super::http::Answer;
use super::openid::{Browser, claims};
use super::vneid::verdict;
use crate::device::DeviceId;
use crate::openid::client::sha256;
use crate::testing::eventually;

const BEGIN: &str = "/identity/v1/vneid";
const LINK: &str = "/identity/v1/me/vneid";
const RETURNS: &str = "/identity/v1/vneid/returns";
pub(super) const NUMBER: &str = "046199012345";
pub(super) const STRANGER: &str = "046199054321";
pub(super) const PHONE: &str = "0912345678";
/// What the app keeps.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

impl Scene {
    /// A citizen who has linked their account, on a device of theirs.
    pub(super) async fn linked_citizen(&self) -> DeviceId {
        self.known(NUMBER, "one").await;
        self.known(STRANGER, "two").await;
        let device = DeviceId::generate();
        let opened = self.stage.sign_in(PHONE, device).await;
        assert_eq!(self.linked(&opened.tokens.access, NUMBER).await.status, StatusCode::OK);
        device
    }

    async fn try_begin_sign_in(&self, device: DeviceId) -> Answer {
        let challenge = URL_SAFE_NO_PAD.encode(sha256(VERIFIER.as_bytes()));
        self.stage.call(Method::POST, BEGIN).json(json!({ "device_id": device, "challenge": challenge })).await
    }

    async fn begin_sign_in(&self, device: DeviceId) -> Url {
        let begun = self.try_begin_sign_in(device).await;
        assert_eq!(begun.status, StatusCode::CREATED, "{}", begun.body);
        begun.text("authorization_url").parse().expect("a URL")
    }

    /// Comes back to the app, with something else in place of what came.
    async fn come_back(&self, device: DeviceId, back: &Value, other: Value) -> Answer {
        let mut body = back.clone();
        body["verifier"] = json!(VERIFIER);
        body["device"] = json!({ "id": device, "name": "Máy của Hương" });
        body.as_object_mut().expect("an object").extend(other.as_object().expect("an object").clone());
        self.stage.call(Method::POST, RETURNS).json(body).await
    }

    pub(super) async fn signed_in(&self, device: DeviceId, number: &str) -> Answer {
        let back = self.visit(&self.begin_sign_in(device).await, number).await;
        self.come_back(device, &back, json!({})).await
    }

    /// Sessions, devices, records of them, links: what nobody's failure may change.
    async fn standing(&self) -> Vec<i64> {
        let mut counts = Vec::new();
        for table in ["session", "device", "audit WHERE action NOT LIKE '%.refuse'", "outbox", "vneid_link", "citizen"]
        {
            let rows = sqlx::query_scalar(sqlx::AssertSqlSafe(format!("SELECT count(*) FROM identity.{table}")));
            counts.push(rows.fetch_one(&self.stage.admin()).await.expect("a query"));
        }
        counts
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_linked_signs_in_by_the_rules_of_devices() {
    let scene = Scene::new().await;
    let known = scene.linked_citizen().await;
    let stranger = DeviceId::generate();
    let opened = scene.signed_in(stranger, NUMBER).await;
    assert_eq!(opened.status, StatusCode::CREATED, "{}", opened.body);
    assert_eq!((&opened.body["user"]["new"], &opened.body["user"]["tier"]), (&json!(false), &json!(1)));
    let token = opened.text("access_token");
    let said = claims(&token);
    assert_eq!((&said["acr"], &said["amr"]), (&json!("urn:trangtien:acr:vneid"), &json!(["vneid"])));
    let principal = scene.stage.principal(&token).await;
    assert_eq!(principal.client, "app");
    let refresh = opened.text("refresh_token");
    scene.stage.identity.refresh(&refresh, None).await.expect("a session like any other");
    // The device that the citizen had is known, and its former session ends.
    assert_eq!(scene.signed_in(known, NUMBER).await.status, StatusCode::CREATED);
    let started = scene.stage.events::<SessionStarted>().await;
    assert_eq!(started.iter().map(|event| event.new_device).collect::<Vec<_>>(), [true, true, false]);
    let added = scene.stage.events::<DeviceAdded>().await;
    assert_eq!(added.iter().map(|event| event.first).collect::<Vec<_>>(), [true, false]);
    assert_eq!(scene.stage.count("session WHERE end_reason = 'replaced'").await, 1);
    assert_eq!(scene.stage.count("audit WHERE action = 'session.start' AND reason = 'vneid'").await, 2);
    assert_eq!(scene.stage.count("audit WHERE action = 'device.add'").await, 2);
    assert_eq!(scene.stage.count("vneid_sign_in").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_linked_or_has_left_is_sent_to_sign_in_by_phone() {
    let scene = Scene::new().await;
    let device = scene.linked_citizen().await;
    let before = scene.standing().await;
    let refused = scene.signed_in(device, STRANGER).await;
    assert_eq!(verdict(&refused), (403, "vneid-not-linked"));
    assert!(refused.text("detail").contains("Sign in by phone"), "{}", refused.body);
    assert!(!refused.body.to_string().contains("345678"), "it tells nothing of anybody: {}", refused.body);
    assert_eq!(scene.standing().await, before);
    // Between the look at the link and the lock of the citizen somebody was erased.
    let erased = "UPDATE identity.citizen SET erased_at = $1, data_key = '', phone = '', tier = 0";
    sqlx::query(erased).bind(scene.stage.clock.now()).execute(&scene.stage.admin()).await.expect("erased");
    assert_eq!(verdict(&scene.signed_in(device, NUMBER).await), (403, "vneid-not-linked"));
    sqlx::query("DELETE FROM identity.vneid_link").execute(&scene.stage.admin()).await.expect("erased with them");
    assert_eq!(verdict(&scene.signed_in(device, NUMBER).await), (403, "vneid-not-linked"));
    assert_eq!(scene.stage.count("session").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_was_taken_back_signs_nobody_in() {
    let scene = Scene::new().await;
    scene.known(NUMBER, "one").await;
    let device = DeviceId::generate();
    let opened = scene.stage.sign_in(PHONE, device).await;
    let token = opened.tokens.access;
    let unlink = async |token: &str| scene.stage.call(Method::DELETE, LINK).token(token).empty().await;
    assert_eq!(verdict(&unlink(&token).await), (404, "not-found"), "nothing to take back");
    assert_eq!(scene.linked(&token, NUMBER).await.status, StatusCode::OK);
    let back = scene.visit(&scene.begin_sign_in(device).await, NUMBER).await;
    let again = scene.visit(&scene.begin(&token).await, NUMBER).await;
    assert_eq!(unlink(&token).await.status, StatusCode::NO_CONTENT);
    assert_eq!(verdict(&unlink(&token).await), (404, "not-found"));
    assert_eq!(verdict(&scene.come_back(device, &back, json!({})).await), (403, "vneid-not-linked"));
    assert_eq!(verdict(&scene.return_with(&token, &again).await), (422, "vneid-state-unknown"), "begun before");
    let shown = scene.show(&token).await;
    assert_eq!((&shown["tier"], &shown["vneid_linked"]), (&json!(1), &json!(false)), "the session goes on");
    assert_eq!(scene.stage.count("audit WHERE action = 'vneid.unlink'").await, 1);
    assert_eq!(scene.linked(&token, NUMBER).await.status, StatusCode::OK, "it may be linked again");
    assert_eq!(scene.stage.events::<VneidLinked>().await.len(), 2, "and that is told, at whatever tier");
    assert_eq!(scene.stage.events::<TierChanged>().await.len(), 1);
    scene.stage.clock.advance(TimeDelta::seconds(900));
    let old = scene.stage.identity.refresh(&opened.tokens.refresh, None).await.expect("refreshed").access;
    assert_eq!(verdict(&unlink(&old).await), (403, "session-not-fresh"));
    assert_eq!(scene.stage.count("vneid_link").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_taken_back_while_somebody_signs_in_lets_nobody_in() {
    let scene = Scene::new().await;
    let device = scene.linked_citizen().await;
    let back = scene.visit(&scene.begin_sign_in(device).await, NUMBER).await;
    let admin = scene.stage.admin();
    let mut held = platform::db::begin(&admin).await.expect("a transaction");
    sqlx::query("SELECT id FROM identity.citizen FOR UPDATE").execute(&mut *held).await.expect("locked");
    sqlx::query("DELETE FROM identity.vneid_link").execute(&mut *held).await.expect("taken back");
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let taken_back = async {
        eventually("the sign-in waits for the citizen", async || {
            sqlx::query_scalar::<_, i64>(waiting).fetch_one(&admin).await.expect("a query") == 1
        })
        .await;
        held.commit().await.expect("committed");
    };
    let (answer, ()) = tokio::join!(scene.come_back(device, &back, json!({})), taken_back);
    assert_eq!(verdict(&answer), (403, "vneid-not-linked"));
    assert_eq!(scene.stage.count("session").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_return_serves_the_device_that_began_the_visit_once() {
    let scene = Scene::new().await;
    let device = scene.linked_citizen().await;
    let back = scene.visit(&scene.begin_sign_in(device).await, NUMBER).await;
    let before = scene.standing().await;
    let unknown = (422, "vneid-state-unknown");
    assert_eq!(verdict(&scene.come_back(DeviceId::generate(), &back, json!({})).await), unknown, "another device");
    for (other, what) in [
        (json!({ "verifier": "EBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk" }), "whoever knows the device's id alone"),
        (json!({ "verifier": "" }), "nothing"),
        (json!({ "state": "x" }), "another state"),
        (json!({ "state": "x".repeat(2_049) }), "a state without end"),
    ] {
        assert_eq!(verdict(&scene.come_back(device, &back, other).await), unknown, "{what}");
    }
    // A session's visit is no sign-in, nor is a sign-in's a session's.
    let token = scene.token("0987654321").await;
    let linking = scene.stage.call(Method::POST, "/identity/v1/me/vneid/returns").token(&token).json(back.clone());
    assert_eq!(verdict(&linking.await), unknown);
    let app = scene.stage.register(json!({})).await;
    let mut browser = known_browser(&scene, &app.ask(&[])).await;
    let place = format!("/oauth2/vneid?state={}&code=x", back["state"].as_str().expect("a state"));
    let refused = browser.get(&scene.stage, &place).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST, "nor does a browser come back for an app");
    assert_eq!(scene.stage.count("vneid_sign_in").await, 1);
    assert_eq!(scene.come_back(device, &back, json!({})).await.status, StatusCode::CREATED, "the visit still waits");
    let after = scene.standing().await;
    assert_ne!(after, before);
    assert_eq!(verdict(&scene.come_back(device, &back, json!({})).await), unknown, "once");
    assert_eq!(scene.standing().await, after);
    // A code of another visit: verifier and nonce are not its own. Then neither visit is good any more.
    let (first, second) = (scene.begin_sign_in(device).await, scene.begin_sign_in(device).await);
    let (first, mut second) = (scene.visit(&first, NUMBER).await, scene.visit(&second, NUMBER).await);
    second["code"] = first["code"].clone();
    assert_eq!(verdict(&scene.come_back(device, &second, json!({})).await), (403, "vneid-refused"));
    assert_eq!(verdict(&scene.come_back(device, &first, json!({})).await), (403, "vneid-refused"), "its code is used");
    let late = scene.visit(&scene.begin_sign_in(device).await, NUMBER).await;
    scene.stage.clock.advance(TimeDelta::minutes(10));
    assert_eq!(verdict(&scene.come_back(device, &late, json!({})).await), unknown);
    assert_eq!(scene.stage.count("vneid_sign_in").await, 1);
    scene.stage.identity.prune().await.expect("prunes");
    assert_eq!(scene.stage.count("vneid_sign_in").await, 0);
    assert_eq!(scene.stage.count("audit WHERE action = 'session.start' AND reason = 'vneid'").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_return_that_comes_many_times_at_once_begins_one_session() {
    let scene = Scene::new().await;
    let device = scene.linked_citizen().await;
    let back = scene.visit(&scene.begin_sign_in(device).await, NUMBER).await;
    let tries = (0..8).map(|_| scene.come_back(device, &back, json!({})));
    let answers = futures::future::join_all(tries).await;
    let opened = answers.iter().filter(|answer| answer.status == StatusCode::CREATED).count();
    let unknown = answers.iter().filter(|answer| verdict(answer) == (422, "vneid-state-unknown")).count();
    assert_eq!((opened, unknown), (1, 7));
    assert_eq!(scene.stage.count("audit WHERE action = 'session.start' AND reason = 'vneid'").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn troubles_of_vneid_and_of_ours_leave_nothing_half_done() {
    let scene = Scene::new().await;
    let device = scene.linked_citizen().await;
    let back = scene.visit(&scene.begin_sign_in(device).await, NUMBER).await;
    let before = scene.standing().await;
    scene.steer("/vneid/faults", json!({ "error_rate": 1.0 })).await;
    assert_eq!(verdict(&scene.try_begin_sign_in(device).await), (503, "vneid-unavailable"));
    assert_eq!(verdict(&scene.come_back(device, &back, json!({})).await), (503, "vneid-unavailable"));
    scene.steer("/vneid/faults", json!({})).await;
    assert_eq!(verdict(&scene.come_back(device, &back, json!({})).await), (422, "vneid-state-unknown"), "begin again");
    assert_eq!(scene.standing().await, before);
    for challenge in
        ["", "x", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-c", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cMA"]
    {
        let body = json!({ "device_id": device, "challenge": challenge });
        assert_eq!(
            verdict(&scene.stage.call(Method::POST, BEGIN).json(body).await),
            (422, "invalid-body"),
            "{challenge}"
        );
    }
    scene.stage.redis.kill().await;
    assert_eq!(verdict(&scene.try_begin_sign_in(device).await), (503, "vneid-unavailable"), "visits can't be counted");
    assert_eq!(scene.stage.count("vneid_sign_in").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_begins_only_so_many_visits() {
    let scene = Scene::with(|config| config.caps.device = crate::config::Cap { burst: 2, refill_seconds: 60 }).await;
    let device = DeviceId::generate();
    for _ in 0..2 {
        scene.begin_sign_in(device).await;
    }
    let capped = scene.try_begin_sign_in(device).await;
    assert_eq!(verdict(&capped), (429, "vneid-too-many"));
    assert!(capped.body["retry_after"].as_u64().is_some_and(|seconds| (1..=60).contains(&seconds)), "{}", capped.body);
    scene.begin_sign_in(DeviceId::generate()).await;
    scene.stage.clock.advance(TimeDelta::seconds(60));
    scene.begin_sign_in(device).await;
}

/// A browser with a cookie of its own.
async fn known_browser(scene: &Scene, place: &str) -> Browser {
    let mut browser = Browser::default();
    let page = browser.get(&scene.stage, place).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text);
    assert!(page.headers.contains_key("set-cookie"), "it is known from now on");
    browser
}

/// Presses the button, and follows the page to VNeID.
pub(super) async fn pressed(scene: &Scene, browser: &mut Browser, place: &str) -> Url {
    let page = browser.get(&scene.stage, place).await;
    assert!(page.text.contains("Sign in with VNeID"), "{}", page.text);
    let onward =
        browser.post(&scene.stage, "/oauth2/sign-in", &[("ticket", &page.ticket()), ("action", "vneid")]).await;
    assert_eq!(onward.status, StatusCode::OK, "{}", onward.text);
    assert!(
        onward.text.contains("http-equiv=\"refresh\"") && onward.text.contains("Go on to VNeID"),
        "{}",
        onward.text
    );
    assert!(!onward.text.contains("<script"), "no script at all");
    let (_, rest) = onward.text.split_once("<a href=\"").expect("a link");
    let link = rest.split_once('"').expect("its end").0.replace("&amp;", "&").replace("&#x2f;", "/");
    link.parse().expect("a URL")
}

/// Where a browser is sent to, at the pages.
pub(super) fn local(back: &Url) -> String {
    assert!(back.as_str().starts_with("https://hue.example.org/oauth2/vneid?"), "{back}");
    format!("{}?{}", back.path(), back.query().unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hosted_page_offers_vneid_and_goes_on_where_it_was() {
    let scene = Scene::new().await;
    scene.linked_citizen().await;
    let app = scene.stage.register(json!({})).await;
    let mut browser = Browser::default();
    let url = pressed(&scene, &mut browser, &app.ask(&[])).await;
    let back = local(&scene.way_back(&url, NUMBER).await);
    let other = known_browser(&scene, &app.ask(&[])).await.get(&scene.stage, &back).await;
    assert_eq!(other.status, StatusCode::BAD_REQUEST, "another browser");
    assert_eq!(scene.stage.count("vneid_sign_in").await, 1, "the visit still waits");
    let consent = browser.get(&scene.stage, &back).await;
    assert!(
        consent.text.contains("to see your telephone number") && consent.text.contains("+84******678"),
        "{}",
        consent.text
    );
    let given = browser.allow(&scene.stage, &consent).await.back();
    assert!(given.contains_key("code") && given["state"] == "xyz", "{given:?}");
    let tokens = app.exchange(&scene.stage, &given["code"]).await.json();
    let said = claims(tokens["id_token"].as_str().expect("a token"));
    assert_eq!((&said["acr"], &said["amr"]), (&json!("urn:trangtien:acr:vneid"), &json!(["vneid"])));
    assert_eq!(browser.get(&scene.stage, &back).await.status, StatusCode::BAD_REQUEST, "once");
    // The browser is signed in, as by phone.
    assert!(browser.get(&scene.stage, &app.ask(&[("prompt", "none")])).await.back().contains_key("code"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hosted_page_says_why_vneid_did_not_do_and_asks_for_a_number() {
    let scene = Scene::new().await;
    scene.linked_citizen().await;
    let app = scene.stage.register(json!({})).await;
    let mut browser = Browser::default();
    for (number, status, says) in
        [(STRANGER, 403, "Sign in by phone, then link your account"), ("046199099999", 403, "VNeID does not vouch")]
    {
        let url = pressed(&scene, &mut browser, &app.ask(&[])).await;
        let page = browser.get(&scene.stage, &local(&scene.way_back(&url, number).await)).await;
        assert_eq!(page.status.as_u16(), status, "{}", page.text);
        assert!(page.text.contains(says) && page.text.contains("name=\"phone\""), "{}", page.text);
        assert!(page.text.contains("role=\"alert\""), "{}", page.text);
    }
    assert_eq!(scene.stage.count("session WHERE client = 'browser'").await, 0);
    let page = browser.get(&scene.stage, &app.ask(&[])).await;
    scene.steer("/vneid/faults", json!({ "error_rate": 1.0 })).await;
    let away = browser.post(&scene.stage, "/oauth2/sign-in", &[("ticket", &page.ticket()), ("action", "vneid")]).await;
    assert_eq!(away.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(away.text.contains("VNeID can&#x27;t be reached") && away.text.contains("name=\"phone\""), "{}", away.text);
    let page = browser.sign_in(&scene.stage, &away, PHONE).await;
    assert!(page.text.contains("+84******678"), "by phone it goes on: {}", page.text);
    for junk in ["", "?state=x", "?state=x&code=y", "?state=x&state=y", "?code=%ff"] {
        let page = browser.get(&scene.stage, &format!("/oauth2/vneid{junk}")).await;
        assert_eq!(page.status, StatusCode::BAD_REQUEST, "{junk}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_offer_vneid_only_where_it_may_send_browsers_back() {
    let scene = Scene::with(|config| {
        config.vneid.as_mut().expect("VNeID is set up").page_redirect_uri = None;
    })
    .await;
    let app = scene.stage.register(json!({})).await;
    let mut browser = Browser::default();
    let page = browser.get(&scene.stage, &app.ask(&[("ui_locales", "vi")])).await;
    assert!(!page.text.contains("VNeID"), "{}", page.text);
    let forced =
        browser.post(&scene.stage, "/oauth2/sign-in", &[("ticket", &page.ticket()), ("action", "vneid")]).await;
    assert_eq!(forced.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(forced.text.contains("<html lang=\"vi\">") && forced.text.contains("VNeID"), "{}", forced.text);
}
